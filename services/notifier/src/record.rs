//! The lane handler: writes each notification once.

use crate::store::{Notification, Store};
use events::{
    Message, Topic,
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

impl Handler for Record {
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
            self.store
                .add(session, messages.iter().filter_map(Notification::of).collect())
                .await?;
            Ok(())
        }
        .boxed()
    }
}
