//! Reads one partition in order, and notices when the topic is no longer the one that was read before.
//!
//! An offset says where in a log to go on, and not in which log. A broker that comes back without its disk, or a topic that
//! was deleted and made anew, has other records at the same offsets, and going on would pass over some of them in silence,
//! without any error where the new log is longer than the old one was. So each record says after which one it was written
//! ([`AFTER`]), and a reader remembers the last one that it has read. Where the two differ it looks whether that one is still there:
//! a relay that has just begun, or a record that was written twice, is no gap.

use crate::fnv::Fnv;
use jiff::Timestamp;
use mongodb::bson::DateTime;
use platform::backends::kafka::{CALL_DEADLINE, KafkaCredentials, KafkaError, within};
use rskafka::{
    client::partition::{OffsetAt, PartitionClient},
    record::Record,
};
use serde::{Deserialize, Serialize};

/// Bytes asked for at once.
const FETCH_BYTES: i32 = 512 * 1024;
/// Bytes asked for where one record is wanted: the broker sends a whole batch, however large it is.
const ONE_BATCH: i32 = 2;
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
    /// Whether a record says that it was written after this one.
    fn is_before(self, record: &Record) -> bool {
        let said = record.headers.get(AFTER);
        said.is_some_and(|said| said.as_slice() == self.print.to_be_bytes())
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

/// How records came to be missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Cause {
    /// Another record stands where the last one stood: the topic was made anew, or has lost its end and grown again.
    Replaced,
    /// The partition ends before the record that was read last.
    CutOff,
    /// They were deleted before they were read, as retention does.
    Deleted,
}

impl Cause {
    /// The name that metrics use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Replaced => "replaced",
            Self::CutOff => "cut_off",
            Self::Deleted => "deleted",
        }
    }
}

/// A gap: what was to be read next is gone, or may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// The offset that was to be read next.
    pub wanted: i64,
    /// Where it is gone on: the first record that there is. What was read before may come again.
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
        }
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
            None => within(CALL_DEADLINE, client.get_offset(OffsetAt::Earliest)).await?,
        };
        self.next = Some(next);
        match fetch(&client, next, FETCH_BYTES, LONG_POLL_MS).await {
            Ok(records) => {
                if let Some((_, first)) = records.first()
                    && self.is_another(&client, first).await?
                {
                    return self.pass(client, Some(Cause::Replaced)).await;
                }
                if let Some((offset, record)) = records.last() {
                    self.next = Some(offset + 1);
                    self.last = Some(LastRead::of(record));
                }
                self.client = Some(client);
                Ok(Read::Records(records))
            }
            Err(error) if error.is_offset_out_of_range() => self.pass(client, None).await,
            Err(error) => Err(error),
        }
    }

    /// Whether what comes next does not follow what was read last. What was read last is looked for after the record was read: if it is
    /// there then, it was there before.
    async fn is_another(&self, client: &PartitionClient, record: &Record) -> Result<bool, KafkaError> {
        let Some((next, last)) = self.next.zip(self.last) else {
            return Ok(false);
        };
        if last.is_before(record) {
            return Ok(false);
        }
        match fetch(client, next - 1, ONE_BATCH, 0).await {
            Ok(records) => Ok(!records
                .first()
                .is_some_and(|(offset, record)| *offset == next - 1 && LastRead::of(record) == last)),
            Err(error) if error.is_offset_out_of_range() => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Goes on with what there is.
    async fn pass(&mut self, client: PartitionClient, cause: Option<Cause>) -> Result<Read, KafkaError> {
        let wanted = self.next.unwrap_or(0);
        let found = within(CALL_DEADLINE, client.get_offset(OffsetAt::Earliest)).await?;
        let cause = cause.unwrap_or(if found > wanted {
            Cause::Deleted
        } else {
            Cause::CutOff
        });
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

async fn fetch(
    client: &PartitionClient,
    from: i64,
    bytes: i32,
    wait_ms: i32,
) -> Result<Vec<(i64, Record)>, KafkaError> {
    let poll = client.fetch_records(from, 1..bytes, wait_ms);
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
    fn records_that_differ_in_anything_have_different_prints() {
        let record = |key: &[u8], value: Option<&[u8]>, millis| Record {
            key: Some(key.to_vec()),
            value: value.map(<[u8]>::to_vec),
            headers: BTreeMap::new(),
            timestamp: rskafka::chrono::DateTime::from_timestamp_millis(millis).unwrap(),
        };
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
