//! The lane handler: writes each notification once.

use crate::store::{Notification, Store};
use events::{
    Message, Payload, Topic,
    lanes::{ApplyError, Handler},
};
use futures::{FutureExt, future::BoxFuture};
use mongodb::ClientSession;

/// The group that stores notifications.
pub(crate) const GROUP: &str = "notifier";

/// Writes `order.status` to the store.
#[derive(Debug)]
pub struct Record {
    store: Store,
}

impl Record {
    /// A handler on a store.
    pub fn new(store: Store) -> Self {
        Self { store }
    }
}

/// Whether the buyer was told before, unless that was lost.
pub(crate) fn is_said_again(message: &Message) -> bool {
    matches!(&message.payload, Payload::OrderStatus(change) if change.again)
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
    ) -> BoxFuture<'s, Result<(), ApplyError>> {
        async move {
            let mut new: Vec<Notification> = Vec::with_capacity(messages.len());
            for message in messages {
                let Some(notification) = Notification::of(message) else {
                    continue;
                };
                // Where it is said again, it may be others who have not heard.
                if is_said_again(message)
                    && (new.iter().any(|before| before.says_the_same(&notification))
                        || self.store.knows(session, &notification).await?)
                {
                    continue;
                }
                new.push(notification);
            }
            self.store.add(session, new).await?;
            Ok(())
        }
        .boxed()
    }
}
