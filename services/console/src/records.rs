//! Records of a sale's topics, for people who look for a message.

use crate::{place::Place, problems::no_kafka};
use events::topics::Topic;
use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use platform::{
    backends::kafka::{self, CALL_DEADLINE, KafkaError, Request, within},
    http::problem::Problem,
};
use rskafka::{
    chrono::DateTime,
    client::{
        Client,
        partition::{OffsetAt, PartitionClient},
    },
    record::Record,
};
use serde::Serialize;
use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

/// Bytes asked for at once.
const FETCH: i32 = 512 * 1024;
/// How long a broker holds an empty answer back, in milliseconds.
const WAIT: i32 = 100;
/// How long one looks for records of a key.
const LOOKS_FOR: Duration = Duration::from_secs(3);
/// The most records that are looked at for those of a key.
const MOST_LOOKED_AT: usize = 50_000;
/// How long a look at all partitions may take, and a read of one.
const PATIENCE: Duration = Duration::from_secs(8);
/// Partitions that are asked at the same time.
const CONCURRENCY: usize = 8;
/// The most of a value that is shown, in bytes.
const SHOWN: usize = 64 * 1024;

/// A topic of a sale, and what it carries.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TopicView {
    /// Without the sale's prefix.
    topic: &'static str,
    kind: Kind,
    partitions: Vec<PartitionView>,
}

#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
enum Kind {
    Work,
    DeadLetters,
}

#[derive(Debug, Clone, Serialize)]
struct PartitionView {
    partition: i32,
    earliest: Option<i64>,
    end: Option<i64>,
    records: Option<i64>,
    problem: Option<String>,
}

/// Where one begins to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// So many before the end.
    Last(i64),
    /// At an offset, or the first one behind it that is there.
    Offset(i64),
    /// At the first record that was written then or later.
    Time(Timestamp),
}

/// Some records of a partition.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Records {
    items: Vec<RecordView>,
    /// The first offset that is there.
    earliest: i64,
    /// The offset that is written next.
    end: i64,
    /// Where to go on.
    next: i64,
    /// Records that were looked at.
    scanned: usize,
    /// Whether there are more to look at before the end.
    gave_up: bool,
}

/// A record as it is shown.
#[derive(Debug, Clone, Serialize)]
struct RecordView {
    offset: i64,
    time: Timestamp,
    key: String,
    headers: Vec<Header>,
    /// Where it is JSON.
    value: Option<serde_json::Value>,
    /// Where it is not, as far as it is text.
    text: Option<String>,
    /// Bytes of the value.
    size: usize,
}

#[derive(Debug, Clone, Serialize)]
struct Header {
    name: String,
    value: String,
}

/// The plain name of a topic of sales, if it is one.
pub fn known(name: &str) -> Option<&'static str> {
    let names = Topic::ALL
        .into_iter()
        .flat_map(|topic| [topic.plain_name(), topic.dead_letter_name()]);
    names.into_iter().find(|known| *known == name)
}

/// The topics of a sale with where their partitions begin and end.
///
/// # Errors
/// 503 where Kafka does not answer. A partition that does not says so in its place.
pub async fn topics(place: &Place) -> Result<Vec<TopicView>, Problem> {
    connected(place, async |client| {
        let there = kafka::topics(&client).await?;
        let mut topics = Vec::new();
        for topic in Topic::ALL {
            for (name, kind) in [
                (topic.plain_name(), Kind::Work),
                (topic.dead_letter_name(), Kind::DeadLetters),
            ] {
                let full = format!("{}{name}", place.config.kafka.topic_prefix);
                let partitions = there.get(&full).cloned().unwrap_or_default();
                let look = |partition| look_at(Arc::clone(&client), full.clone(), partition);
                let looks: Vec<_> = partitions.into_iter().map(look).collect();
                topics.push(TopicView {
                    topic: name,
                    kind,
                    partitions: stream::iter(looks).buffered(CONCURRENCY).collect().await,
                });
            }
        }
        Ok(topics)
    })
    .await
    .map_err(|error| no_kafka(&error))
}

async fn look_at(client: Arc<Client>, topic: String, partition: i32) -> PartitionView {
    let ends = async {
        let log = kafka::partition(&client, &topic, partition).await?;
        ends(&log).await
    };
    partition_view(partition, ends.await)
}

/// Does something with the connection to Kafka, within bounds. Where that fails, the next one begins with a new connection.
async fn connected<T>(
    place: &Place,
    work: impl AsyncFnOnce(Arc<Client>) -> Result<T, KafkaError>,
) -> Result<T, KafkaError> {
    let working = async {
        let client = place.kafka().await?;
        work(client).await
    };
    let done = tokio::time::timeout(PATIENCE, working).await;
    let done = done.unwrap_or(Err(KafkaError::Deadline(PATIENCE)));
    if done.is_err() {
        place.disconnect().await;
    }
    done
}

fn partition_view(partition: i32, ends: Result<(i64, i64), KafkaError>) -> PartitionView {
    match ends {
        Ok((earliest, end)) => PartitionView {
            partition,
            earliest: Some(earliest),
            end: Some(end),
            records: Some(end - earliest),
            problem: None,
        },
        Err(error) => PartitionView {
            partition,
            earliest: None,
            end: None,
            records: None,
            problem: Some(error.to_string()),
        },
    }
}

/// Where the partitions of some topics end.
///
/// # Errors
/// [`KafkaError`]: what is not known is not zero.
pub async fn ends_of(place: &Place, topics: &[Topic]) -> Result<HashMap<(Topic, i32), i64>, KafkaError> {
    connected(place, async |client| {
        let there = kafka::topics(&client).await?;
        let mut looks = Vec::new();
        for topic in topics {
            let full = format!("{}{}", place.config.kafka.topic_prefix, topic.plain_name());
            for partition in there.get(&full).cloned().unwrap_or_default() {
                looks.push(end_of(Arc::clone(&client), full.clone(), (*topic, partition)));
            }
        }
        stream::iter(looks)
            .buffer_unordered(CONCURRENCY)
            .try_collect()
            .await
    })
    .await
}

async fn end_of(
    client: Arc<Client>,
    full: String,
    (topic, partition): (Topic, i32),
) -> Result<((Topic, i32), i64), KafkaError> {
    let log = kafka::partition(&client, &full, partition).await?;
    Ok(((topic, partition), kafka::log_end(&log).await?))
}

async fn ends(log: &PartitionClient) -> Result<(i64, i64), KafkaError> {
    let earliest = kafka::log_begin(log).await?;
    Ok((earliest, kafka::log_end(log).await?))
}

/// Reads records of one partition: so many, all or those of one key.
///
/// # Errors
/// 404 where there is no such partition, 503 where Kafka does not answer.
pub async fn read(
    place: &Place,
    topic: &str,
    partition: i32,
    from: Start,
    key: Option<&str>,
    limit: usize,
) -> Result<Records, Problem> {
    let full = format!("{}{topic}", place.config.kafka.topic_prefix);
    let found = connected(place, async |client| {
        let there = kafka::topics(&client).await?;
        if !there
            .get(&full)
            .is_some_and(|partitions| partitions.contains(&partition))
        {
            return Ok(None);
        }
        let log = kafka::partition(&client, &full, partition).await?;
        let (earliest, end) = ends(&log).await?;
        // A topic that is made anew in between ends before it began.
        let end = end.max(earliest);
        let start = start(&log, from, earliest, end).await?;
        let found = collect(&log, start.clamp(earliest, end), key, limit, (earliest, end)).await?;
        Ok(Some(found))
    });
    let found = found.await.map_err(|error| no_kafka(&error))?;
    found.ok_or_else(|| Problem::not_found("partition"))
}

async fn start(log: &PartitionClient, from: Start, earliest: i64, end: i64) -> Result<i64, KafkaError> {
    match from {
        Start::Last(records) => Ok((end - records).max(earliest)),
        Start::Offset(offset) => Ok(offset),
        Start::Time(time) => {
            let Some(time) = DateTime::from_timestamp_millis(time.as_millisecond()) else {
                return Ok(earliest);
            };
            Request::Offset.count();
            let found = within(CALL_DEADLINE, log.get_offset(OffsetAt::Timestamp(time))).await?;
            // Nothing is as new as that.
            Ok(if found < 0 { end } else { found })
        }
    }
}

async fn collect(
    log: &PartitionClient,
    start: i64,
    key: Option<&str>,
    limit: usize,
    (earliest, end): (i64, i64),
) -> Result<Records, KafkaError> {
    let until = Instant::now() + LOOKS_FOR;
    let (mut items, mut next, mut scanned) = (Vec::new(), start, 0);
    while next < end && items.len() < limit && scanned < MOST_LOOKED_AT && Instant::now() < until {
        Request::Fetch.count();
        let (fetched, _) = within(CALL_DEADLINE, log.fetch_records(next, 1..FETCH, WAIT)).await?;
        let before = next;
        for record in fetched {
            if items.len() == limit {
                break;
            }
            next = record.offset + 1;
            scanned += 1;
            if key.is_none_or(|key| record.record.key.as_deref() == Some(key.as_bytes())) {
                items.push(view(record.offset, record.record));
            }
        }
        if next == before {
            // What stands there is no record, as where a broker has compacted or marked something.
            break;
        }
    }
    Ok(Records {
        items,
        earliest,
        end,
        next,
        scanned,
        gave_up: next < end,
    })
}

fn view(offset: i64, record: Record) -> RecordView {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let value = record.value.unwrap_or_default();
    let is_shown_whole = value.len() <= SHOWN;
    let json = serde_json::from_slice(&value).ok().filter(|_| is_shown_whole);
    RecordView {
        offset,
        time: Timestamp::from_millisecond(record.timestamp.timestamp_millis()).unwrap_or_default(),
        key: text(record.key.as_deref().unwrap_or_default()),
        headers: record
            .headers
            .iter()
            .map(|(name, value)| Header {
                name: name.clone(),
                value: std::str::from_utf8(value).map_or_else(|_| hex::encode(value), str::to_owned),
            })
            .collect(),
        text: json.is_none().then(|| text(&value[..value.len().min(SHOWN)])),
        value: json,
        size: value.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn what_is_json_is_shown_as_json_and_everything_else_as_text() {
        let record = |value: &[u8]| Record {
            key: Some(b"o1".to_vec()),
            value: Some(value.to_vec()),
            headers: BTreeMap::from([
                ("after".to_owned(), vec![0xff, 0x00]),
                ("traceparent".to_owned(), b"00-a-b-01".to_vec()),
            ]),
            timestamp: DateTime::from_timestamp_millis(5).unwrap(),
        };
        let shown = view(7, record(br#"{"a":1}"#));
        assert_eq!((shown.offset, shown.key.as_str(), shown.text), (7, "o1", None));
        assert_eq!(shown.value.unwrap()["a"], 1);
        assert_eq!(shown.headers[0].value, "ff00");
        assert_eq!(shown.headers[1].value, "00-a-b-01");
        let large = format!("\"{}\"", "x".repeat(SHOWN));
        let shown = view(7, record(large.as_bytes()));
        assert_eq!(
            (shown.value, shown.text.unwrap().len(), shown.size),
            (None, SHOWN, SHOWN + 2)
        );
    }

    #[test]
    fn only_topics_of_sales_are_read() {
        assert_eq!(known("order.created"), Some("order.created"));
        assert_eq!(
            known("order.status.dead-letter"),
            Some("order.status.dead-letter")
        );
        assert_eq!(known("__consumer_offsets"), None);
    }
}
