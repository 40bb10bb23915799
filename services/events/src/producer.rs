//! Writes outbox entries to Kafka.

use crate::{
    outbox::Entry,
    reader::{AFTER, LastRead},
    topics::partition_of,
};
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
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

/// Partitions written to at the same time.
const CONCURRENT_PARTITIONS: usize = 16;
/// Bytes of records written to a partition at once: half of what a broker takes by default (`message.max.bytes`), for a
/// batch that is refused for its size would be refused for ever. One record always goes.
const BATCH_BYTES: usize = 512 * 1024;

/// How long a partition that did not take its records is left alone: the others go on meanwhile.
const LEFT_ALONE: Duration = Duration::from_secs(2);
/// How long such a partition has for its answer when it is tried again: that long the others wait for it.
const PROBE: Duration = Duration::from_millis(500);

/// How long nothing at all may go through before the connection is made anew.
const NOTHING_GOES: Duration = Duration::from_secs(10);

/// A writer to the topics of one sale. It connects when it must and starts anew when nothing goes through.
///
/// A partition without a leader, or a topic that is gone, keeps its own entries waiting and no others.
#[derive(Debug)]
pub struct Producer {
    credentials: KafkaCredentials,
    prefix: String,
    connection: Option<Connection>,
    /// Those that did not take their records, and when they are tried again.
    stuck: HashMap<Way, Instant>,
    /// When something went through the last time.
    went: Instant,
}

/// Where records go: a topic without its prefix, and a partition.
type Way = (String, i32);

#[derive(Debug)]
struct Connection {
    client: Arc<Client>,
    topics: BTreeMap<String, Vec<i32>>,
    partitions: HashMap<Way, Arc<PartitionClient>>,
    /// The hash of the record that was written last, as far as it is known.
    last: HashMap<Way, i64>,
}

/// What a round of publishing came to.
#[derive(Debug, Default)]
pub struct Published {
    /// Entries that Kafka has acknowledged.
    pub ids: Vec<String>,
    /// Entries that it has not taken.
    pub failed: Vec<String>,
    /// Entries that wait because theirs is a partition that is left alone for now.
    pub waiting: usize,
    /// Why nothing at all goes through, if nothing does.
    pub failure: Option<KafkaError>,
}

impl Producer {
    /// A producer that has not connected yet.
    pub fn new(credentials: KafkaCredentials, prefix: impl Into<String>) -> Self {
        Self {
            credentials,
            prefix: prefix.into(),
            connection: None,
            stuck: HashMap::new(),
            went: Instant::now(),
        }
    }

    /// Writes entries and says which of them Kafka has acknowledged. Entries of one key stay in order.
    pub async fn publish(&mut self, entries: &[Entry]) -> Published {
        let mut published = Published::default();
        let groups = match self.groups(entries).await {
            Ok(groups) => groups,
            Err(error) => {
                self.connection = None;
                published.failure = Some(error);
                return published;
            }
        };
        let now = Instant::now();
        let is_left_alone = |way: &Way| self.stuck.get(way).is_some_and(|until| now < *until);
        let (alone, due): (Vec<_>, Vec<_>) = groups.into_iter().partition(|(way, _)| is_left_alone(way));
        published.waiting = alone.iter().map(|(_, group)| group.ids.len()).sum();
        let Some(connection) = &self.connection else {
            return published;
        };
        let chained = due.into_iter().map(|(way, group)| {
            let (group, last) = group.after(connection.last.get(&way).copied());
            (way, group, last)
        });
        let chained: Vec<_> = chained.collect();
        let (prefix, stuck) = (&self.prefix, &self.stuck);
        let mut answers = stream::iter(chained)
            .map(|(way, group, last)| async move {
                let patience = if stuck.contains_key(&way) {
                    PROBE
                } else {
                    CALL_DEADLINE
                };
                let writing = connection.write(prefix, &way, group.records);
                let written = tokio::time::timeout(patience, writing)
                    .await
                    .unwrap_or(Err(KafkaError::Deadline(patience)));
                (way, group.ids, written.map(|client| (client, last)))
            })
            .buffer_unordered(CONCURRENT_PARTITIONS);
        let (mut clients, mut failed, mut failure) = (Vec::new(), Vec::new(), None);
        while let Some((way, ids, written)) = answers.next().await {
            match written {
                Ok((client, last)) => {
                    published.ids.extend(ids);
                    clients.push((way, client, last));
                }
                Err(error) => {
                    tracing::debug!(topic = way.0, partition = way.1, %error, "not taken");
                    published.failed.extend(ids);
                    failed.push(way);
                    failure.get_or_insert(error);
                }
            }
        }
        drop(answers);
        if !self.remember(clients, failed) {
            published.failure = failure;
        }
        published
    }

    /// Keeps what was learnt, and says whether the connection is of use.
    fn remember(&mut self, clients: Vec<(Way, Arc<PartitionClient>, i64)>, failed: Vec<Way>) -> bool {
        let now = Instant::now();
        if !clients.is_empty() {
            self.went = now;
        }
        // Not a single one: it is the connection, or the whole of Kafka.
        let all_at_once = clients.is_empty() && self.stuck.is_empty();
        if !failed.is_empty() && (all_at_once || now.duration_since(self.went) > NOTHING_GOES) {
            self.connection = None;
            self.stuck.clear();
            return false;
        }
        let until = now + LEFT_ALONE;
        if let Some(connection) = &mut self.connection {
            for way in &failed {
                // It may have another leader.
                connection.partitions.remove(way);
                // It may have taken them all the same.
                connection.last.remove(way);
            }
            for (way, client, last) in &clients {
                connection.partitions.insert(way.clone(), Arc::clone(client));
                connection.last.insert(way.clone(), *last);
            }
        }
        for (way, ..) in clients {
            self.stuck.remove(&way);
        }
        for way in failed {
            if self.stuck.insert(way.clone(), until).is_none() {
                tracing::warn!(
                    topic = way.0,
                    partition = way.1,
                    "takes no messages; the others go on"
                );
            }
        }
        true
    }

    /// What goes where. Where a topic is unknown, its first partition stands for all of it.
    async fn groups(&mut self, entries: &[Entry]) -> Result<BTreeMap<Way, Group>, KafkaError> {
        let mut groups: BTreeMap<Way, Group> = BTreeMap::new();
        let prefix = self.prefix.clone();
        let connection = self.connect().await?;
        let named: BTreeSet<String> = entries.iter().map(|e| format!("{prefix}{}", e.topic)).collect();
        if named.iter().any(|topic| !connection.topics.contains_key(topic)) {
            connection.topics = kafka::topics(&connection.client).await?;
        }
        for entry in entries {
            let topic = connection.topics.get(&format!("{prefix}{}", entry.topic));
            let partitions = topic.map_or(1, |partitions| i32::try_from(partitions.len()).unwrap_or(1));
            let way = (entry.topic.clone(), partition_of(&entry.key, partitions));
            groups.entry(way).or_default().add(entry);
        }
        Ok(groups)
    }

    async fn connect(&mut self) -> Result<&mut Connection, KafkaError> {
        if self.connection.is_none() {
            let client = self.credentials.connect().await?;
            self.connection = Some(Connection {
                client,
                topics: BTreeMap::new(),
                partitions: HashMap::new(),
                last: HashMap::new(),
            });
        }
        self.connection
            .as_mut()
            .ok_or_else(|| KafkaError::NoTopic(String::new()))
    }
}

impl Connection {
    /// Writes records and returns the client that they went through.
    async fn write(
        &self,
        prefix: &str,
        (topic, partition): &Way,
        records: Vec<Record>,
    ) -> Result<Arc<PartitionClient>, KafkaError> {
        let way = (topic.clone(), *partition);
        let topic = format!("{prefix}{topic}");
        if !self.topics.contains_key(&topic) {
            return Err(KafkaError::NoTopic(topic));
        }
        let client = match self.partitions.get(&way) {
            Some(client) => Arc::clone(client),
            None => Arc::new(kafka::partition(&self.client, &topic, *partition).await?),
        };
        within(CALL_DEADLINE, client.produce(records, Compression::NoCompression)).await?;
        Ok(client)
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
    /// The same records, each of which says after which one it is written, and the hash of the last of them.
    fn after(mut self, mut last: Option<i64>) -> (Self, i64) {
        for record in &mut self.records {
            if let Some(last) = last {
                record
                    .headers
                    .insert(AFTER.to_owned(), last.to_be_bytes().to_vec());
            }
            last = Some(LastRead::of(record).print);
        }
        (self, last.unwrap_or(0))
    }

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
