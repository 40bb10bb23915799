//! The lane handler: writes each notification once.

use crate::store::{Notification, Store};
use events::{
    Message, Topic,
    lanes::{ApplyError, Handler, Repeats},
};
use futures::{FutureExt, future::BoxFuture};
use mongodb::ClientSession;
use platform::clock::Clock;

/// The group that stores notifications.
pub(crate) const GROUP: &str = "notifier";

/// Writes `order.status` to the store.
#[derive(Debug)]
pub struct Record {
    store: Store,
    clock: Clock,
}

impl Record {
    /// A handler on a store.
    pub fn new(store: Store, clock: Clock) -> Self {
        Self { store, clock }
    }
}

impl Handler for Record {
    type Effect = ();

    fn group(&self) -> &'static str {
        GROUP
    }

    fn topics(&self) -> &'static [Topic] {
        &[Topic::OrderStatus]
    }

    fn apply<'s>(
        &'s self,
        session: &'s mut ClientSession,
        messages: &'s [Message],
        repeats: Repeats,
    ) -> BoxFuture<'s, Result<(), ApplyError>> {
        async move {
            let orders: Vec<&str> = messages.iter().map(|m| m.order_id.as_str()).collect();
            let said_again = self.store.said_again(session, &orders).await?;
            let mut new: Vec<Notification> = Vec::with_capacity(messages.len());
            for message in messages {
                let Some(notification) = Notification::of(message) else {
                    continue;
                };
                let mut before = new.iter().chain(&said_again);
                let is_known = if notification.again {
                    // Others may have heard, and not from this process.
                    before.any(|before| before.says_the_same(&notification))
                        || self.store.knows(session, &notification).await?
                } else {
                    // What was taken for lost has come after all.
                    before.any(|before| before.again && before.says_the_same(&notification))
                };
                if !is_known {
                    new.push(notification);
                }
            }
            self.store.add(session, new, repeats, self.clock.now()).await?;
            Ok(())
        }
        .boxed()
    }
}
