//! The lane handler: reserves new orders and follows orders to their end, a whole batch in one transaction.

use crate::{
    gate::Gate,
    hold::Terms,
    plan,
    store::{Origin, Store},
};
use events::{
    Message, Payload, Topic,
    lanes::{ApplyError, Handler, Repeats},
};
use futures::{FutureExt, future::BoxFuture};
use mongodb::ClientSession;
use platform::clock::Clock;
use sale::{
    OrderId, ProductId,
    order::{FailureReason, InventoryOutcome},
};
use std::collections::BTreeMap;

/// Applies `order.created` and `order.status` to reservations and stock.
#[derive(Debug)]
pub struct Settle {
    store: Store,
    gate: Gate,
    terms: Terms,
    clock: Clock,
}

impl Settle {
    /// A handler on a store, which opens the gate for units that come back.
    pub fn new(store: Store, gate: Gate, terms: Terms, clock: Clock) -> Self {
        Self {
            store,
            gate,
            terms,
            clock,
        }
    }
}

/// The group that moves units.
pub(crate) const GROUP: &str = "inventory";

impl Handler for Settle {
    /// Units that are for sale again.
    type Effect = BTreeMap<ProductId, u64>;

    fn group(&self) -> &'static str {
        GROUP
    }

    fn topics(&self) -> &'static [Topic] {
        &[Topic::OrderCreated, Topic::OrderStatus]
    }

    fn apply<'s>(
        &'s self,
        session: &'s mut ClientSession,
        messages: &'s [Message],
        repeats: Repeats,
    ) -> BoxFuture<'s, Result<Self::Effect, ApplyError>> {
        async move {
            let known = self.store.known(session, messages, repeats).await?;
            let now = self.clock.now();
            let plan = plan::plan(messages, known, self.terms, now);
            if plan.leaves_orders_alone && repeats == Repeats::Unlikely {
                return Err(ApplyError::NotAsExpected);
            }
            self.store.write(session, &plan, Origin::Order, now).await?;
            Ok(plan.freed)
        }
        .boxed()
    }

    fn committed(&self, freed: Self::Effect) -> BoxFuture<'_, ()> {
        async move {
            for (product, units) in freed {
                let units = i64::try_from(units).unwrap_or(i64::MAX);
                self.gate.add(&product, units).await;
            }
        }
        .boxed()
    }

    fn give_up(&self, order_id: &str) -> Option<Message> {
        let outcome = InventoryOutcome::Rejected {
            reason: FailureReason::Unprocessable,
        };
        Some(Message::new(
            OrderId::new(order_id),
            self.clock.now(),
            None,
            Payload::InventoryResult(outcome),
        ))
    }
}
