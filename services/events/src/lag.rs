//! How far the lanes are behind their topics.

use crate::{
    lanes::lane_id,
    topics::{GROUPS, Topic},
};
use futures::{StreamExt, TryStreamExt, stream};
use mongodb::{
    Database,
    bson::{Document, doc},
};
use platform::backends::{
    kafka::{self, KafkaCredentials, KafkaError},
    mongo::{self, MongoError},
};
use std::{collections::HashMap, time::Duration};

/// Partitions that are asked at the same time, each over a connection of its own.
const CONCURRENCY: usize = 16;

/// Why the lag is not known.
#[derive(Debug, thiserror::Error)]
pub enum LagError {
    /// Kafka.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    /// MongoDB.
    #[error(transparent)]
    Mongo(#[from] MongoError),
    /// Not known in time.
    #[error("MongoDB and Kafka did not answer everything within {0:?}")]
    Deadline(Duration),
}

/// Where the lanes stand.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Offsets(HashMap<String, i64>);

impl Offsets {
    /// As a sale's database has them.
    ///
    /// # Errors
    /// The driver's.
    pub async fn read(database: &Database) -> mongodb::error::Result<Self> {
        let lanes = database.collection::<Document>(crate::lanes::COLLECTION);
        let documents: Vec<Document> = lanes
            .find(doc! {"offset": {"$exists": true}})
            .await?
            .try_collect()
            .await?;
        let offset =
            |lane: Document| Some((lane.get_str("_id").ok()?.to_owned(), lane.get_i64("offset").ok()?));
        Ok(Self(documents.into_iter().filter_map(offset).collect()))
    }

    /// The offset of the record that a group handles next.
    pub fn next(&self, group: &str, topic: Topic, partition: i32) -> i64 {
        let lane = lane_id(group, topic, partition);
        self.0.get(&lane).copied().unwrap_or(0)
    }

    /// Records of a log which ends there that a group has not handled, to be sure of: of ends and offsets that are not of one moment the
    /// offsets must be the older ones.
    pub fn behind(&self, group: &str, topic: Topic, partition: i32, end: i64) -> u64 {
        // An offset beyond the end is one of another log, which has records that nobody has handled: that is no lag of zero.
        end.abs_diff(self.next(group, topic, partition))
    }
}

/// Records that some group has not handled yet, over all lanes of the sale.
///
/// # Errors
/// [`LagError`]: not knowing is not the same as zero.
pub async fn total(
    database: &Database,
    credentials: &KafkaCredentials,
    prefix: &str,
) -> Result<u64, LagError> {
    let database = database.clone();
    let offsets =
        mongo::detached(async move { Offsets::read(&database).await.map_err(MongoError::from) }).await?;
    let latest = ends(credentials, prefix, &Topic::ALL).await?;
    let all = GROUPS
        .iter()
        .flat_map(|(group, topics)| topics.iter().map(move |topic| (*group, *topic)));
    Ok(all
        .map(|(group, topic)| behind(&offsets, &latest, group, topic))
        .sum())
}

/// Records of one topic that one group has not handled yet.
///
/// # Errors
/// [`LagError`]: not knowing is not the same as zero.
pub async fn of(
    database: &Database,
    credentials: &KafkaCredentials,
    prefix: &str,
    group: &str,
    topic: Topic,
) -> Result<u64, LagError> {
    let database = database.clone();
    let offsets =
        mongo::detached(async move { Offsets::read(&database).await.map_err(MongoError::from) }).await?;
    let latest = ends(credentials, prefix, &[topic]).await?;
    Ok(behind(&offsets, &latest, group, topic))
}

/// Where each partition of some topics ends.
async fn ends(
    credentials: &KafkaCredentials,
    prefix: &str,
    of: &[Topic],
) -> Result<HashMap<(Topic, i32), i64>, KafkaError> {
    let client = credentials.connect().await?;
    let topics = kafka::topics(&client).await?;
    let mut partitions = Vec::new();
    for topic in of {
        let name = format!("{prefix}{}", topic.plain_name());
        let of_topic = topics
            .get(&name)
            .ok_or_else(|| KafkaError::NoTopic(name.clone()))?;
        partitions.extend(of_topic.iter().map(|partition| (*topic, *partition)));
    }
    stream::iter(partitions)
        .map(async |(topic, partition)| {
            let name = format!("{prefix}{}", topic.plain_name());
            let log = kafka::partition(&client, &name, partition).await?;
            Ok(((topic, partition), kafka::log_end(&log).await?))
        })
        .buffer_unordered(CONCURRENCY)
        .try_collect()
        .await
}

fn behind(offsets: &Offsets, ends: &HashMap<(Topic, i32), i64>, group: &str, topic: Topic) -> u64 {
    let of_topic = ends.iter().filter(|((t, _), _)| *t == topic);
    of_topic
        .map(|((_, partition), end)| offsets.behind(group, topic, *partition, *end))
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_beyond_the_end_of_a_log_is_no_lag_of_zero() {
        let topic = Topic::OrderCreated;
        let ends = HashMap::from([
            ((topic, 0), 10),
            ((topic, 1), 4),
            ((Topic::OrderStatus, 0), 1_000),
        ]);
        let behind = |group: &str, offsets: &[(&str, i32, i64)]| {
            let offsets = offsets
                .iter()
                .map(|(group, partition, offset)| (lane_id(group, topic, *partition), *offset))
                .collect();
            super::behind(&Offsets(offsets), &ends, group, topic)
        };
        let ours = "inventory";
        assert_eq!(behind(ours, &[(ours, 0, 10), (ours, 1, 4)]), 0);
        assert_eq!(behind(ours, &[(ours, 0, 7), (ours, 1, 4)]), 3);
        assert_eq!(
            behind(ours, &[(ours, 0, 10)]),
            4,
            "nobody has begun with the other partition"
        );
        assert_eq!(
            behind(ours, &[(ours, 0, 10), ("notifier", 1, 4)]),
            4,
            "others have handled it"
        );
        assert_eq!(
            behind(ours, &[(ours, 0, 10), (ours, 1, 6)]),
            2,
            "it is another log"
        );
        assert_eq!(
            behind(ours, &[(ours, 0, 8), (ours, 1, 6)]),
            4,
            "one does not make up for the other"
        );
    }
}
