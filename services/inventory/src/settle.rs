//! The lane handler: reserves new orders and follows orders to their end, a whole batch in one transaction.

use crate::{
    hold::Terms,
    plan,
    store::{Origin, Store, StoreError},
};
use events::{
    Message, Payload, Topic,
    lanes::{ApplyError, Handler},
};
use futures::{FutureExt, future::BoxFuture};
use mongodb::ClientSession;
use platform::clock::Clock;
use sale::{
    OrderId,
    order::{FailureReason, InventoryOutcome},
};

/// Applies `order.created` and `order.status` to reservations and stock.
#[derive(Debug)]
pub struct Settle {
    store: Store,
    terms: Terms,
    clock: Clock,
}

impl Settle {
    /// A handler on a store.
    pub fn new(store: Store, terms: Terms, clock: Clock) -> Self {
        Self { store, terms, clock }
    }
}

impl Handler for Settle {
    fn group(&self) -> &'static str {
        "inventory"
    }

    fn topics(&self) -> &'static [Topic] {
        &[Topic::OrderCreated, Topic::OrderStatus]
    }

    fn apply<'s>(
        &'s self,
        session: &'s mut ClientSession,
        messages: &'s [Message],
    ) -> BoxFuture<'s, Result<(), ApplyError>> {
        async move {
            let known = self
                .store
                .known(session, messages)
                .await
                .map_err(|error| match error {
                    StoreError::Mongo(error) => ApplyError::Mongo(error),
                    // A broken account must stop the lane, not sell on: the batch is tried again until it is repaired.
                    StoreError::Broken(broken) => {
                        tracing::error!(%broken, "refusing to move stock");
                        ApplyError::Mongo(platform::backends::mongo::MongoError::Panicked(
                            broken.to_string(),
                        ))
                    }
                })?;
            let now = self.clock.now();
            let plan = plan::plan(messages, known, self.terms, now);
            self.store.write(session, &plan, Origin::Order, now).await?;
            Ok(())
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
