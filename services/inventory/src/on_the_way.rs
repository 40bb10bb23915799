//! What is on its way between the parts of a sale: messages that wait in the outbox, records that no lane has handled, and what a broker
//! has lost and nobody has said again.

use crate::{settle::GROUP, store::Store};
use events::{Topic, lag, lag::LagError, losses::Losses};
use futures::TryStreamExt;
use mongodb::{
    Database,
    bson::{Document, doc},
};
use platform::{
    backends::{
        kafka::KafkaCredentials,
        mongo::{self, MongoError},
    },
    config::Config,
};
use std::{collections::HashSet, time::Duration};

/// How long it may take to find out whether orders are on their way.
const PROOF: Duration = Duration::from_secs(2);
/// The most orders of waiting messages that are looked up one by one.
const MOST_UNSENT: usize = 100_000;

/// Where messages are that somebody has not heard yet.
#[derive(Debug, Clone)]
pub struct OnTheWay {
    database: Database,
    kafka: KafkaCredentials,
    topic_prefix: String,
}

/// Which orders may still be moved by what is on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Moving {
    /// Any of them: records are not handled, or nobody knows.
    Any,
    /// Those whose messages wait in the outbox.
    These(HashSet<String>),
}

impl Moving {
    /// Whether an order may.
    pub fn includes(&self, order: &str) -> bool {
        match self {
            Self::Any => true,
            Self::These(orders) => orders.contains(order),
        }
    }
}

impl OnTheWay {
    /// In a sale's database and topics.
    pub fn new(database: &Database, kafka: KafkaCredentials, config: &Config) -> Self {
        Self {
            database: database.clone(),
            kafka,
            topic_prefix: config.kafka.topic_prefix.clone(),
        }
    }

    /// Whether no order is on its way to inventory. Not knowing is not the same as none.
    pub async fn has_no_order(&self, store: &Store) -> bool {
        let outbox = store.outbox.clone();
        let look = async {
            // What a broker has lost is on its way until it has been said again. First, for what is said again then is in the
            // outbox, and last, for a gap may be met meanwhile.
            if !self.nothing_is_lost().await? {
                return Ok(false);
            }
            // In this order: an order that goes on meanwhile is seen at least once.
            let waits =
                mongo::detached(
                    async move { outbox.has(Topic::OrderCreated).await.map_err(MongoError::from) },
                );
            if waits.await? {
                return Ok(false);
            }
            let behind = lag::of(
                &self.database,
                &self.kafka,
                &self.topic_prefix,
                GROUP,
                Topic::OrderCreated,
            );
            if behind.await? > 0 {
                return Ok(false);
            }
            self.nothing_is_lost().await
        };
        match tokio::time::timeout(PROOF, look).await {
            Ok(Ok(none)) => none,
            Ok(Err(error)) => {
                tracing::debug!(%error, "nobody knows whether orders are on their way");
                false
            }
            Err(_) => false,
        }
    }

    /// Which orders are still moved by what was said up to now.
    pub async fn moving(&self) -> Moving {
        let look = async {
            // First and last, as above.
            let mended = self.nothing_is_lost().await?;
            let unsent = self.unsent().await?;
            let behind = lag::total(&self.database, &self.kafka, &self.topic_prefix).await?;
            Ok::<_, LagError>(match unsent {
                Some(orders) if mended && behind == 0 && self.nothing_is_lost().await? => {
                    Moving::These(orders)
                }
                _ => Moving::Any,
            })
        };
        look.await.unwrap_or_else(|error| {
            tracing::warn!(%error, "nobody knows what is on its way: what messages might mend is not called a difference");
            Moving::Any
        })
    }

    async fn nothing_is_lost(&self) -> Result<bool, LagError> {
        let losses = Losses::new(&self.database);
        let open = mongo::detached(async move { losses.open().await.map_err(MongoError::from) });
        Ok(open.await?.is_empty())
    }

    /// The orders of messages in the outbox; `None` where there are too many to look at.
    async fn unsent(&self) -> Result<Option<HashSet<String>>, MongoError> {
        let outbox = self.database.collection::<Document>("outbox");
        mongo::detached(async move {
            let keys = outbox
                .find(doc! {})
                .projection(doc! {"key": 1, "messages.key": 1})
                .batch_size(32);
            let (mut found, mut orders) = (keys.await?, HashSet::new());
            while let Some(document) = found.try_next().await? {
                orders.extend(keys_of(&document).map(str::to_owned));
                if orders.len() >= MOST_UNSENT {
                    return Ok(None);
                }
            }
            Ok(Some(orders))
        })
        .await
    }
}

/// The orders of a document of the outbox, which is one message or several.
fn keys_of(document: &Document) -> impl Iterator<Item = &str> {
    let several = document.get_array("messages").into_iter().flatten();
    let several = several.filter_map(|message| message.as_document()?.get_str("key").ok());
    document.get_str("key").into_iter().chain(several)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_orders_of_one_message_and_of_several_are_found() {
        let one = doc! {"_id": "1", "key": "a"};
        let several = doc! {"_id": "2", "messages": [{"key": "b"}, {"key": "c"}]};
        let keys: Vec<&str> = [&one, &several].into_iter().flat_map(keys_of).collect();
        assert_eq!(keys, ["a", "b", "c"]);
    }
}
