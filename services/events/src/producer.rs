//! Writes outbox entries to Kafka.

use crate::{
    outbox::Entry,
    reader::{AFTER, LastRead},
    spans::Told,
    topics::partition_of,
};
use futures::{StreamExt, stream};
use platform::{
    backends::kafka::{self, CALL_DEADLINE, KafkaCredentials, KafkaError, Request, within},
    metrics::{Metric, SECONDS, must},
    traces::{Span, SpanKind, context::TRACEPARENT},
};
use prometheus::{Histogram, register_histogram};
use rskafka::{
    client::{
        Client,
        partition::{Compression, PartitionClient},
    },
    record::Record,
};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    ops::Range,
    sync::{Arc, LazyLock},
    time::{Duration, Instant},
};

/// Partitions written to at the same time.
const CONCURRENT_PARTITIONS: usize = 16;
/// Bytes of records written to a partition at once: half of what a broker takes by default (`message.max.bytes`), for a
/// batch that is refused for its size would be refused for ever. One record always goes.
const BATCH_BYTES: usize = 512 * 1024;

/// How long a partition that did not take its records has for its answer when it is tried again: that long the others
/// wait for it. It doubles with each try, up to what every call has, for a partition may also be slow.
const PROBE: Duration = Duration::from_millis(500);
/// A partition is left alone for so many times as long as it has for its answer, so that the others, which go on
/// meanwhile, wait for it a fifth of the time at most.
const LEFT_ALONE: u32 = 4;

/// How long nothing at all may go through before the connection is made anew.
const NOTHING_GOES: Duration = Duration::from_secs(10);

static PRODUCE_SECONDS: LazyLock<Histogram> = LazyLock::new(|| {
    must(register_histogram!(
        "quicksale_kafka_produce_duration_seconds",
        "Seconds until Kafka has acknowledged the records of a request.",
        SECONDS.to_vec()
    ))
});

/// What is counted here.
pub fn metric() -> Metric {
    &*PRODUCE_SECONDS
}

/// A writer to the topics of one sale. It connects when it must and starts anew when nothing goes through.
///
/// A partition without a leader, or a topic that is gone, keeps its own entries waiting and no others.
#[derive(Debug)]
pub struct Producer {
    credentials: KafkaCredentials,
    prefix: String,
    connection: Option<Connection>,
    /// Those that did not take their records.
    stuck: HashMap<Way, Stuck>,
    /// When something went through the last time.
    went: Instant,
}

/// Where records go: a topic without its prefix, and a partition.
pub type Way = (String, i32);

/// A partition that did not take its records.
#[derive(Debug, Clone, Copy)]
struct Stuck {
    /// When it is tried again.
    until: Instant,
    /// How long it has for its answer then.
    patience: Duration,
}

impl Stuck {
    fn again(before: Option<&Self>, now: Instant) -> Self {
        let patience = before.map_or(PROBE, |stuck| (stuck.patience * 2).min(CALL_DEADLINE));
        Self {
            until: now + patience * LEFT_ALONE,
            patience,
        }
    }
}

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
    /// Where it has put them: the offsets of each partition.
    pub written: Vec<(Way, Range<i64>)>,
    /// Entries that it has not taken.
    pub failed: Vec<String>,
    /// Where entries are left: what comes later for the same partitions may not overtake them.
    pub left: HashSet<Way>,
    /// Whether there were more entries for a partition than go at once: they come next.
    pub more: bool,
    /// Why Kafka cannot be reached at all, if it cannot.
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

    /// Writes entries and says which of them Kafka has acknowledged. Entries of one key stay in order; those for
    /// partitions where older ones are left (`behind`) are left too.
    pub async fn publish(&mut self, entries: Vec<Entry>, behind: &HashSet<Way>) -> Published {
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
        let is_left_alone =
            |way: &Way| behind.contains(way) || self.stuck.get(way).is_some_and(|stuck| now < stuck.until);
        let (alone, due): (Vec<_>, Vec<_>) = groups.into_iter().partition(|(way, _)| is_left_alone(way));
        published.left.extend(alone.into_iter().map(|(way, _)| way));
        let full: HashSet<Way> = due
            .iter()
            .filter(|(_, group)| group.full)
            .map(|(way, _)| way.clone())
            .collect();
        let Some(connection) = &self.connection else {
            return published;
        };
        let chained = due.into_iter().map(|(way, mut group)| {
            group.trace(&self.prefix, &way.0);
            let (group, last) = group.after(connection.last.get(&way).copied());
            (way, group, last)
        });
        let chained: Vec<_> = chained.collect();
        let (prefix, stuck) = (&self.prefix, &self.stuck);
        let mut answers = stream::iter(chained)
            .map(|(way, mut group, last)| async move {
                let patience = stuck.get(&way).map_or(CALL_DEADLINE, |stuck| stuck.patience);
                let writing = connection.write(prefix, &way, group.records);
                let written = tokio::time::timeout(patience, writing)
                    .await
                    .unwrap_or(Err(KafkaError::Deadline(patience)));
                end_spans(&mut group.spans, way.1, written.as_ref());
                (way, group.ids, written.map(|written| (written, last)))
            })
            .buffer_unordered(CONCURRENT_PARTITIONS);
        let (mut clients, mut failed) = (Vec::new(), Vec::new());
        while let Some((way, ids, written)) = answers.next().await {
            match written {
                Ok((Written { client, at }, last)) => {
                    published.ids.extend(ids);
                    published.written.extend(at.map(|at| (way.clone(), at)));
                    published.more |= full.contains(&way);
                    clients.push((way, client, last));
                }
                Err(error) => {
                    tracing::debug!(topic = way.0, partition = way.1, %error, "not taken");
                    published.failed.extend(ids);
                    failed.push(way);
                }
            }
        }
        drop(answers);
        published.left.extend(failed.iter().cloned());
        self.remember(clients, failed);
        published
    }

    /// Forgets which records were written last: others have written since.
    pub fn others_have_written(&mut self) {
        if let Some(connection) = &mut self.connection {
            connection.last.clear();
        }
    }

    /// Keeps what was learnt.
    fn remember(&mut self, clients: Vec<(Way, Arc<PartitionClient>, i64)>, failed: Vec<Way>) {
        let now = Instant::now();
        if !clients.is_empty() {
            self.went = now;
        }
        // Not a single one: it may be the connection, or the whole of Kafka, which connecting anew will tell.
        let all_at_once = clients.is_empty() && self.stuck.is_empty();
        if !failed.is_empty() && (all_at_once || now.duration_since(self.went) > NOTHING_GOES) {
            self.connection = None;
        }
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
            let stuck = Stuck::again(self.stuck.get(&way), now);
            if self.stuck.insert(way.clone(), stuck).is_none() {
                tracing::warn!(
                    topic = way.0,
                    partition = way.1,
                    "takes no messages; the others go on"
                );
            }
        }
    }

    /// What goes where. Where a topic is unknown, its first partition stands for all of it.
    async fn groups(&mut self, entries: Vec<Entry>) -> Result<BTreeMap<Way, Group>, KafkaError> {
        let mut groups: BTreeMap<Way, Group> = BTreeMap::new();
        let prefix = self.prefix.clone();
        let connection = self.connect().await?;
        let named: BTreeSet<&str> = entries.iter().map(|entry| entry.topic.as_str()).collect();
        if named
            .iter()
            .any(|topic| !connection.topics.contains_key(&format!("{prefix}{topic}")))
        {
            connection.topics = kafka::topics(&connection.client).await?;
        }
        let partitions: HashMap<String, i32> = named
            .into_iter()
            .map(|name| {
                let topic = connection.topics.get(&format!("{prefix}{name}"));
                let partitions = topic.map_or(1, |partitions| i32::try_from(partitions.len()).unwrap_or(1));
                (name.to_owned(), partitions)
            })
            .collect();
        for entry in entries {
            let partitions = partitions.get(&entry.topic).copied().unwrap_or(1);
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
    /// Writes records.
    async fn write(
        &self,
        prefix: &str,
        (topic, partition): &Way,
        records: Vec<Record>,
    ) -> Result<Written, KafkaError> {
        let way = (topic.clone(), *partition);
        let topic = format!("{prefix}{topic}");
        if !self.topics.contains_key(&topic) {
            return Err(KafkaError::NoTopic(topic));
        }
        let client = match self.partitions.get(&way) {
            Some(client) => Arc::clone(client),
            None => Arc::new(kafka::partition(&self.client, &topic, *partition).await?),
        };
        Request::Produce.count();
        let begun = Instant::now();
        let offsets = within(CALL_DEADLINE, client.produce(records, Compression::NoCompression)).await?;
        PRODUCE_SECONDS.observe(begun.elapsed().as_secs_f64());
        let at = offsets
            .first()
            .zip(offsets.last())
            .map(|(first, last)| *first..*last + 1);
        Ok(Written { client, at })
    }
}

/// What was written.
struct Written {
    /// What it went through.
    client: Arc<PartitionClient>,
    /// Where it is.
    at: Option<Range<i64>>,
}

/// What goes to one partition at once.
#[derive(Default)]
struct Group {
    ids: Vec<String>,
    records: Vec<Record>,
    /// One for each record, where they are traced.
    spans: Vec<Span>,
    bytes: usize,
    full: bool,
}

impl Group {
    /// Begins the span of each record's way to Kafka, and puts its context into the record. Every try has spans of its own.
    fn trace(&mut self, prefix: &str, topic: &str) {
        for (record, id) in self.records.iter_mut().zip(&self.ids) {
            let came = record.headers.get(TRACEPARENT).map(Vec::as_slice);
            let came = came.and_then(|context| std::str::from_utf8(context).ok());
            let mut span = Span::start(SpanKind::Producer, came, || format!("send {topic}"));
            let Some(context) = span.context() else {
                return;
            };
            let order = record.key.as_deref().unwrap_or_default();
            Told {
                operation: "send",
                topic,
                prefix,
                id,
                order: std::str::from_utf8(order).unwrap_or_default(),
            }
            .to(&mut span);
            record
                .headers
                .insert(TRACEPARENT.to_owned(), context.into_bytes());
            self.spans.push(span);
        }
    }

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
    fn add(&mut self, entry: Entry) {
        let (id, record) = record(entry);
        let bytes = record.approximate_size();
        self.full |= !self.records.is_empty() && self.bytes + bytes > BATCH_BYTES;
        if self.full {
            return;
        }
        self.bytes += bytes;
        self.ids.push(id);
        self.records.push(record);
    }
}

/// Ends the spans of a partition's records.
fn end_spans(spans: &mut Vec<Span>, partition: i32, written: Result<&Written, &KafkaError>) {
    let offsets = written.ok().and_then(|written| written.at.clone());
    let offsets = offsets
        .into_iter()
        .flatten()
        .map(Some)
        .chain(std::iter::repeat(None));
    for (mut span, offset) in spans.drain(..).zip(offsets) {
        span.set("messaging.destination.partition.id", partition.to_string());
        if let Some(offset) = offset {
            span.set("messaging.kafka.offset", offset);
        }
        if let Err(error) = written {
            span.set("error.type", "not_taken");
            span.fail(error.to_string());
        }
    }
}

/// The id of an entry, and the record that says it.
fn record(entry: Entry) -> (String, Record) {
    let mut headers = BTreeMap::new();
    if let Some(traceparent) = entry.traceparent {
        headers.insert(TRACEPARENT.to_owned(), traceparent.into_bytes());
    }
    let record = Record {
        key: Some(entry.key.into_bytes()),
        value: Some(entry.payload.into_bytes()),
        headers,
        timestamp: rskafka::chrono::DateTime::from_timestamp_millis(entry.created_at.timestamp_millis())
            .unwrap_or_default(),
    };
    (entry.id, record)
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
            group.add(entry(id, bytes));
        }
        assert_eq!(group.ids, ["a"]);
        let mut group = Group::default();
        group.add(entry("large", 2 * BATCH_BYTES));
        assert_eq!((group.ids.len(), group.records.len()), (1, 1));
    }

    #[test]
    fn a_stuck_partition_gets_more_time_and_takes_a_fifth_of_the_others() {
        let now = Instant::now();
        let mut stuck = Stuck::again(None, now);
        assert_eq!(stuck.patience, PROBE);
        for _ in 0..8 {
            assert_eq!(stuck.until - now, stuck.patience * LEFT_ALONE);
            stuck = Stuck::again(Some(&stuck), now);
        }
        assert_eq!(
            stuck.patience, CALL_DEADLINE,
            "a slow partition has as long as any"
        );
    }
}
