//! Reads one partition in order, and notices when the topic is no longer the one that was read before.
//!
//! An offset says where in a log to go on, and not in which log. A broker that comes back without its disk, or a topic that
//! was deleted and made anew, has other records at the same offsets, and going on would pass over some of them in silence,
//! without any error where the new log is longer than the old one was. So each record says after which one it was written
//! ([`AFTER`]), and a reader remembers the last one that it has read. Where the next record does not say it was written after that
//! one, it looks whether that one is still there, and it looks now and then where nothing comes: a log that was made anew may end
//! exactly where the old one did. A relay that has just begun says nothing, which is no gap. A record that says it was written
//! after another one than the last that is there follows one that the broker has lost before anybody read it.

use crate::fnv::Fnv;
use jiff::Timestamp;
use mongodb::bson::DateTime;
use platform::{
    backends::kafka::{self, CALL_DEADLINE, KafkaCredentials, KafkaError, Request, within},
    traces::context::TRACEPARENT,
};
use rskafka::{client::partition::PartitionClient, record::Record};
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// Bytes asked for at once.
const FETCH_BYTES: i32 = 512 * 1024;
/// Bytes asked for where one record is wanted: the broker sends a whole batch, however large it is.
const ONE_BATCH: i32 = 2;
/// How often it is looked whether the last record that was read is still there, while nothing comes.
const LOOK_BACK_EVERY: Duration = Duration::from_secs(10);
/// Records that are read once more at the most where a log has lost its end: what is before them has been read, and what was lost
/// is said again in any case.
const READ_AGAIN: i64 = 10_000;
/// How long the broker holds an empty answer back, in milliseconds.
const LONG_POLL_MS: i32 = 500;

/// What is remembered of the last record that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastRead {
    /// A hash of its key, its value and its time.
    pub print: i64,
    /// Its time: when its message was written.
    pub at: DateTime,
}

/// The header of a record that says after which one it was written: the hash of that one.
pub const AFTER: &str = "after";

impl LastRead {
    /// Whether a record says that it was written after this one; `None` where it says nothing.
    fn is_before(self, record: &Record) -> Option<bool> {
        let said = record.headers.get(AFTER)?;
        Some(said.as_slice() == self.print.to_be_bytes())
    }

    /// Of a record.
    pub fn of(record: &Record) -> Self {
        let millis = record.timestamp.timestamp_millis();
        let mut hash = Fnv::default();
        for part in [
            record.key.as_deref(),
            record.value.as_deref(),
            Some(&millis.to_be_bytes()),
        ] {
            let part = part.unwrap_or_default();
            hash = hash.with(&part.len().to_be_bytes()).with(part);
        }
        Self {
            print: hash.value().cast_signed(),
            at: DateTime::from_millis(millis),
        }
    }
}

/// The trace context that a record carries.
pub fn traceparent(record: &Record) -> Option<String> {
    let value = record.headers.get(TRACEPARENT)?;
    String::from_utf8(value.clone()).ok()
}

/// How records came to be missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Cause {
    /// Another record stands where the last one stood: the topic was made anew, or has lost its end and grown again.
    Replaced,
    /// The partition ends before a record that was read, or written.
    CutOff,
    /// They were deleted before they were read, as retention does.
    Deleted,
    /// The broker had taken them, and has lost them before anybody read them.
    Unread,
}

impl Cause {
    /// All there are.
    pub(crate) const ALL: [Self; 4] = [Self::Replaced, Self::CutOff, Self::Deleted, Self::Unread];

    /// The name that metrics use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Replaced => "replaced",
            Self::CutOff => "cut_off",
            Self::Deleted => "deleted",
            Self::Unread => "unread",
        }
    }
}

/// A gap: what was to be read next is gone, or may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// The offset that was to be read next.
    pub wanted: i64,
    /// Where it is gone on. What was read before may come again.
    pub found: i64,
    /// Why.
    pub cause: Cause,
    /// When the message of the last record before the gap was written, if there was one.
    pub since: Option<Timestamp>,
}

/// What reading came to.
#[derive(Debug)]
pub enum Read {
    /// Records with their offsets, in order, without a gap to those before; none where there are no new ones yet.
    Records(Vec<(i64, Record)>),
    /// Records are missing.
    Gap(Gap),
}

/// A reader of one partition, with a connection of its own.
#[derive(Debug)]
pub struct Reader {
    credentials: KafkaCredentials,
    topic: String,
    partition: i32,
    next: Option<i64>,
    last: Option<LastRead>,
    client: Option<PartitionClient>,
    /// When the last record that was read was seen in its place.
    looked_back: Option<Instant>,
}

impl Reader {
    /// A reader that has not connected yet. It begins at an offset, or at the first record that there is; `last` is what was
    /// remembered of the record before.
    pub fn new(
        credentials: KafkaCredentials,
        topic: String,
        partition: i32,
        next: Option<i64>,
        last: Option<LastRead>,
    ) -> Self {
        Self {
            credentials,
            topic,
            partition,
            next,
            last,
            client: None,
            looked_back: None,
        }
    }

    /// The offset of the record that is read next, once it is known.
    pub fn next(&self) -> Option<i64> {
        self.next
    }

    /// The next records. Waits for half a second where there are none.
    ///
    /// # Errors
    /// Kafka's; the next call connects anew.
    pub async fn read(&mut self) -> Result<Read, KafkaError> {
        let client = match self.client.take() {
            Some(client) => client,
            None => self.credentials.reader(&self.topic, self.partition).await?,
        };
        let next = match self.next {
            Some(next) => next,
            None => kafka::log_begin(&client).await?,
        };
        self.next = Some(next);
        match fetch(&client, next, FETCH_BYTES, LONG_POLL_MS).await {
            Ok(mut records) => {
                if let Some(cause) = self.gap(&client, &records).await? {
                    return self.pass(client, Some(cause)).await;
                }
                records.truncate(without_a_gap(&records));
                if let Some((offset, record)) = records.last() {
                    self.next = Some(offset + 1);
                    self.last = Some(LastRead::of(record));
                    self.looked_back = Some(Instant::now());
                }
                self.client = Some(client);
                Ok(Read::Records(records))
            }
            Err(error) if error.is_offset_out_of_range() => self.pass(client, None).await,
            Err(error) => Err(error),
        }
    }

    /// Whether records are missing between what was read last and what comes next, which may be nothing. What was read last is looked
    /// for after the record was read: if it is there then, it was there before.
    async fn gap(
        &mut self,
        client: &PartitionClient,
        records: &[(i64, Record)],
    ) -> Result<Option<Cause>, KafkaError> {
        let Some((next, last)) = self.next.zip(self.last) else {
            return Ok(None);
        };
        let follows = match records.first() {
            None if self.looked_back.is_some_and(|at| at.elapsed() < LOOK_BACK_EVERY) => return Ok(None),
            None => None,
            Some((_, first)) => last.is_before(first),
        };
        if follows == Some(true) {
            return Ok(None);
        }
        if !is_there(client, next - 1, last).await? {
            return Ok(Some(Cause::Replaced));
        }
        self.looked_back = Some(Instant::now());
        Ok((follows == Some(false)).then_some(Cause::Unread))
    }

    /// Goes on with what there is.
    async fn pass(&mut self, client: PartitionClient, cause: Option<Cause>) -> Result<Read, KafkaError> {
        let wanted = self.next.unwrap_or(0);
        let first = kafka::log_begin(&client).await?;
        let end = kafka::log_end(&client).await?;
        let cause = cause.unwrap_or(if first > wanted {
            Cause::Deleted
        } else {
            Cause::CutOff
        });
        let found = go_on_at(cause, wanted, first, end);
        self.client = Some(client);
        self.next = Some(found);
        Ok(Read::Gap(Gap {
            wanted,
            found,
            cause,
            since: self
                .last
                .take()
                .and_then(|last| Timestamp::from_millisecond(last.at.timestamp_millis()).ok()),
        }))
    }
}

/// How many of some records follow each other, as far as they say.
fn without_a_gap(records: &[(i64, Record)]) -> usize {
    let follows = |pair: &[(i64, Record)]| match pair {
        [(_, before), (_, next)] => LastRead::of(before).is_before(next) != Some(false),
        _ => true,
    };
    records
        .windows(2)
        .position(|pair| !follows(pair))
        .map_or(records.len(), |at| at + 1)
}

/// Where it is gone on behind a gap.
fn go_on_at(cause: Cause, wanted: i64, first: i64, end: i64) -> i64 {
    match cause {
        Cause::Unread => wanted,
        Cause::Deleted => first,
        Cause::Replaced | Cause::CutOff => first.max(end - READ_AGAIN),
    }
}

/// Whether a record still stands where it was read. Where all before it was deleted nobody can tell, and nothing says otherwise.
async fn is_there(client: &PartitionClient, offset: i64, read: LastRead) -> Result<bool, KafkaError> {
    match fetch(client, offset, ONE_BATCH, 0).await {
        Ok(records) => match records.first() {
            Some((found, record)) => Ok(*found == offset && LastRead::of(record) == read),
            // A new leader may not know yet how far its log is.
            None => {
                let end = kafka::log_end(client).await?;
                if end > offset {
                    return Err(KafkaError::EndNotKnown);
                }
                Ok(false)
            }
        },
        Err(error) if error.is_offset_out_of_range() => {
            let first = kafka::log_begin(client).await?;
            Ok(first == offset + 1)
        }
        Err(error) => Err(error),
    }
}

async fn fetch(
    client: &PartitionClient,
    from: i64,
    bytes: i32,
    wait_ms: i32,
) -> Result<Vec<(i64, Record)>, KafkaError> {
    let poll = client.fetch_records(from, 1..bytes, wait_ms);
    Request::Fetch.count();
    let (records, _high_watermark) = within(CALL_DEADLINE, poll).await?;
    Ok(records
        .into_iter()
        .map(|r| (r.offset, r.record))
        .filter(|(offset, _)| *offset >= from)
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn behind_a_gap_it_is_gone_on_where_nothing_new_is_left_out() {
        assert_eq!(go_on_at(Cause::Unread, 7, 0, 9), 7);
        assert_eq!(go_on_at(Cause::Deleted, 7, 8, 20), 8);
        assert_eq!(go_on_at(Cause::CutOff, 7, 0, 5), 0);
        assert_eq!(
            go_on_at(Cause::Replaced, 7, 0, 3 * READ_AGAIN),
            2 * READ_AGAIN,
            "a long log is not read from its beginning"
        );
    }

    fn record(key: &[u8], value: Option<&[u8]>, millis: i64) -> Record {
        Record {
            key: Some(key.to_vec()),
            value: value.map(<[u8]>::to_vec),
            headers: BTreeMap::new(),
            timestamp: rskafka::chrono::DateTime::from_timestamp_millis(millis).unwrap(),
        }
    }

    #[test]
    fn what_follows_another_record_than_the_one_before_it_is_read_later() {
        let after = |before: &Record, key: &[u8]| {
            let mut next = record(key, None, 1);
            let print = LastRead::of(before).print.to_be_bytes().to_vec();
            next.headers.insert(AFTER.to_owned(), print);
            next
        };
        let first = record(b"a", None, 1);
        let second = after(&first, b"b");
        let silent = record(b"c", None, 1);
        let after_a_lost_one = after(&record(b"lost", None, 1), b"d");
        let read = |records: &[&Record]| {
            let records: Vec<_> = (0..)
                .zip(records.iter().map(|record| (*record).clone()))
                .collect();
            without_a_gap(&records)
        };
        assert_eq!(read(&[]), 0);
        assert_eq!(read(&[&first, &second, &silent]), 3);
        assert_eq!(read(&[&first, &second, &after_a_lost_one, &silent]), 2);
    }

    #[test]
    fn records_that_differ_in_anything_have_different_prints() {
        let all = [
            record(b"a", Some(b"b"), 1),
            record(b"ab", Some(b""), 1),
            record(b"", Some(b"ab"), 1),
            record(b"a", Some(b"b"), 2),
            record(b"a", None, 1),
        ];
        for (n, one) in all.iter().enumerate() {
            for (m, other) in all.iter().enumerate() {
                assert_eq!(LastRead::of(one) == LastRead::of(other), n == m, "{n} {m}");
            }
        }
    }
}
