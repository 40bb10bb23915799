//! Writes outbox entries to Kafka.

use crate::{outbox::Entry, topics::partition_of};
use futures::{StreamExt, stream};
use platform::backends::kafka::{self, CALL_DEADLINE, KafkaCredentials, KafkaError, within};
use rskafka::{
    client::{
        Client,
        partition::{Compression, PartitionClient},
    },
    record::Record,
};
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

/// Partitions written to at the same time.
const CONCURRENT_PARTITIONS: usize = 16;
/// Bytes of records written to a partition at once: half of what a broker takes by default (`message.max.bytes`), for a
/// batch that is refused for its size would be refused for ever. One record always goes.
const BATCH_BYTES: usize = 512 * 1024;

/// A writer to the topics of one sale. It connects when it must and starts anew after an error.
#[derive(Debug)]
pub struct Producer {
    credentials: KafkaCredentials,
    prefix: String,
    connection: Option<Connection>,
}

#[derive(Debug)]
struct Connection {
    client: Arc<Client>,
    topics: BTreeMap<String, Vec<i32>>,
    partitions: HashMap<(String, i32), Arc<PartitionClient>>,
}

/// What a round of publishing came to.
#[derive(Debug, Default)]
pub struct Published {
    /// Entries that Kafka has acknowledged.
    pub ids: Vec<String>,
    /// The first failure, if any; the other entries stay where they are.
    pub failure: Option<KafkaError>,
}

impl Producer {
    /// A producer that has not connected yet.
    pub fn new(credentials: KafkaCredentials, prefix: impl Into<String>) -> Self {
        Self {
            credentials,
            prefix: prefix.into(),
            connection: None,
        }
    }

    /// Writes entries and says which of them Kafka has acknowledged. Entries of one key stay in order.
    pub async fn publish(&mut self, entries: &[Entry]) -> Published {
        let mut published = Published::default();
        let batches = match self.batches(entries).await {
            Ok(batches) => batches,
            Err(error) => {
                self.connection = None;
                published.failure = Some(error);
                return published;
            }
        };
        let mut answers = stream::iter(batches)
            .map(|batch| async move {
                let written = within(
                    CALL_DEADLINE,
                    batch.partition.produce(batch.records, Compression::NoCompression),
                )
                .await;
                (batch.ids, written)
            })
            .buffer_unordered(CONCURRENT_PARTITIONS);
        while let Some((ids, written)) = answers.next().await {
            match written {
                Ok(_offsets) => published.ids.extend(ids),
                Err(error) => published.failure = Some(error),
            }
        }
        drop(answers);
        if published.failure.is_some() {
            self.connection = None;
        }
        published
    }

    async fn batches(&mut self, entries: &[Entry]) -> Result<Vec<Batch>, KafkaError> {
        let mut grouped: BTreeMap<(String, i32), Group> = BTreeMap::new();
        let prefix = self.prefix.clone();
        let connection = self.connect().await?;
        for entry in entries {
            let topic = format!("{prefix}{}", entry.topic);
            let partitions = connection.partitions_of(&topic).await?;
            let key = (topic, partition_of(&entry.key, partitions));
            grouped.entry(key).or_default().add(entry);
        }
        let mut batches = Vec::with_capacity(grouped.len());
        for ((topic, partition), group) in grouped {
            batches.push(Batch {
                partition: connection.partition(&topic, partition).await?,
                ids: group.ids,
                records: group.records,
            });
        }
        Ok(batches)
    }

    async fn connect(&mut self) -> Result<&mut Connection, KafkaError> {
        if self.connection.is_none() {
            let client = self.credentials.connect().await?;
            self.connection = Some(Connection {
                client,
                topics: BTreeMap::new(),
                partitions: HashMap::new(),
            });
        }
        self.connection
            .as_mut()
            .ok_or_else(|| KafkaError::NoTopic(String::new()))
    }
}

/// What goes to one partition at once.
#[derive(Default)]
struct Group {
    ids: Vec<String>,
    records: Vec<Record>,
    bytes: usize,
    full: bool,
}

impl Group {
    /// Adds an entry while there is room; what comes after the first that finds none waits for the next turn, behind
    /// it.
    fn add(&mut self, entry: &Entry) {
        let record = record(entry);
        let bytes = record.approximate_size();
        self.full |= !self.records.is_empty() && self.bytes + bytes > BATCH_BYTES;
        if self.full {
            return;
        }
        self.bytes += bytes;
        self.ids.push(entry.id.clone());
        self.records.push(record);
    }
}

struct Batch {
    partition: Arc<PartitionClient>,
    ids: Vec<String>,
    records: Vec<Record>,
}

impl Connection {
    async fn partitions_of(&mut self, topic: &str) -> Result<i32, KafkaError> {
        if !self.topics.contains_key(topic) {
            self.topics = kafka::topics(&self.client).await?;
        }
        let partitions = self
            .topics
            .get(topic)
            .ok_or_else(|| KafkaError::NoTopic(topic.to_owned()))?;
        Ok(i32::try_from(partitions.len()).unwrap_or(1))
    }

    async fn partition(&mut self, topic: &str, partition: i32) -> Result<Arc<PartitionClient>, KafkaError> {
        let key = (topic.to_owned(), partition);
        if let Some(client) = self.partitions.get(&key) {
            return Ok(Arc::clone(client));
        }
        let client = Arc::new(kafka::partition(&self.client, topic, partition).await?);
        self.partitions.insert(key, Arc::clone(&client));
        Ok(client)
    }
}

fn record(entry: &Entry) -> Record {
    let mut headers = BTreeMap::new();
    if let Some(traceparent) = &entry.traceparent {
        headers.insert("traceparent".to_owned(), traceparent.clone().into_bytes());
    }
    Record {
        key: Some(entry.key.clone().into_bytes()),
        value: Some(entry.payload.clone().into_bytes()),
        headers,
        timestamp: rskafka::chrono::DateTime::from_timestamp_millis(entry.created_at.timestamp_millis())
            .unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_finds_no_room_waits_and_nothing_overtakes_it() {
        let entry = |id: &str, bytes: usize| Entry {
            id: id.to_owned(),
            topic: "order.created".to_owned(),
            key: "k".to_owned(),
            payload: "x".repeat(bytes),
            published: false,
            attempts: 0,
            traceparent: None,
            created_at: mongodb::bson::DateTime::from_millis(0),
        };
        let mut group = Group::default();
        for (id, bytes) in [("a", BATCH_BYTES / 2), ("b", BATCH_BYTES), ("c", 1)] {
            group.add(&entry(id, bytes));
        }
        assert_eq!(group.ids, ["a"]);
        let mut group = Group::default();
        group.add(&entry("large", 2 * BATCH_BYTES));
        assert_eq!((group.ids.len(), group.records.len()), (1, 1));
    }
}
