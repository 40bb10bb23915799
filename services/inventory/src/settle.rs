//! The lane handler: reserves new orders and follows orders to their end, a whole batch in one transaction.

use crate::{
    gate::Gate,
    hold::Terms,
    plan,
    recent::{Changed, Recent},
    store::{Origin, Store},
};
use events::{
    Message, Payload, Topic,
    lanes::{ApplyError, Handler, Repeats, Sharing},
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
    recent: Recent,
    clock: Clock,
}

impl Settle {
    /// A handler on a store, which opens the gate for units that come back.
    pub fn new(store: Store, gate: Gate, terms: Terms, clock: Clock) -> Self {
        Self {
            store,
            gate,
            terms,
            recent: Recent::default(),
            clock,
        }
    }
}

/// What follows from a committed batch.
#[derive(Debug, Default)]
pub struct Settled {
    /// Units that are for sale again.
    freed: BTreeMap<ProductId, u64>,
    holds: Changed,
}

/// The group that moves units.
pub(crate) const GROUP: &str = "inventory";

impl Handler for Settle {
    type Effect = Settled;

    fn group(&self) -> &'static str {
        GROUP
    }

    fn topics(&self) -> &'static [Topic] {
        &[Topic::OrderCreated, Topic::OrderStatus]
    }

    /// Nearly every batch writes the accounts of the products that most are sold of.
    fn sharing(&self) -> Sharing {
        Sharing::OneAtATime
    }

    fn apply<'s>(
        &'s self,
        session: &'s mut ClientSession,
        messages: &'s [Message],
        repeats: Repeats,
    ) -> BoxFuture<'s, Result<Self::Effect, ApplyError>> {
        async move {
            let known = self.store.known(session, messages, &self.recent, repeats).await?;
            let now = self.clock.now();
            let plan = plan::plan(messages, known, self.terms, now);
            if plan.leaves_orders_alone && repeats == Repeats::Unlikely {
                return Err(ApplyError::NotAsExpected);
            }
            self.store.write(session, &plan, Origin::Order, now).await?;
            Ok(Settled {
                holds: Changed::by(&plan),
                freed: plan.freed,
            })
        }
        .boxed()
    }

    fn committed(&self, Settled { freed, holds }: Self::Effect) -> BoxFuture<'_, ()> {
        self.recent.note(holds);
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
