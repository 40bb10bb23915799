//! Reads one lane from Kafka, ahead of the committer by as much as the channel holds.

use crate::topics::Topic;
use platform::{
    backends::kafka::{CALL_DEADLINE, KafkaCredentials, KafkaError, within},
    retry::Backoff,
};
use rskafka::{
    client::partition::{OffsetAt, PartitionClient},
    record::Record,
};
use std::{sync::Arc, time::Duration};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Bytes asked for at once.
const FETCH_BYTES: i32 = 512 * 1024;
/// How long the broker holds an empty answer back, in milliseconds.
const LONG_POLL_MS: i32 = 500;

/// A lane as its owner holds it.
#[derive(Debug, Clone)]
pub(super) struct Lane {
    pub(super) id: Arc<str>,
    pub(super) topic: Topic,
    pub(super) partition: i32,
    pub(super) epoch: i64,
    /// Cancelled when the lane is lost or given up.
    pub(super) lost: CancellationToken,
}

/// Records of one lane, in order, without a gap to the ones before.
#[derive(Debug, Clone)]
pub(super) struct Fetched {
    pub(super) lane: Lane,
    pub(super) from: i64,
    pub(super) to: i64,
    pub(super) records: Vec<(i64, Record)>,
}

/// Reads until the lane is lost.
pub(super) async fn run(
    lane: Lane,
    start: i64,
    credentials: KafkaCredentials,
    prefix: String,
    out: mpsc::Sender<Fetched>,
) {
    let lost = lane.lost.clone();
    tokio::select! {
        () = lost.cancelled() => {}
        () = read(lane, start, credentials, prefix, out) => {}
    }
}

async fn read(
    lane: Lane,
    mut next: i64,
    credentials: KafkaCredentials,
    prefix: String,
    out: mpsc::Sender<Fetched>,
) {
    let topic = format!("{prefix}{}", lane.topic.plain_name());
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(1));
    let mut reader: Option<PartitionClient> = None;
    loop {
        let fetched = match &reader {
            Some(reader) => fetch(reader, next).await,
            None => match credentials.reader(&topic, lane.partition).await {
                Ok(new) => {
                    reader = Some(new);
                    continue;
                }
                Err(error) => Err(error),
            },
        };
        match fetched {
            Ok(records) if records.is_empty() => backoff.reset(),
            Ok(records) => {
                backoff.reset();
                let to = records.last().map_or(next, |(offset, _)| offset + 1);
                let batch = Fetched {
                    lane: lane.clone(),
                    from: next,
                    to,
                    records,
                };
                next = to;
                if out.send(batch).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                if error.is_offset_out_of_range()
                    && let Some(reader) = &reader
                {
                    next = skip_to_what_is_left(reader, &lane, next, &out).await;
                } else {
                    reader = None;
                }
                if backoff.attempts() == 3 {
                    tracing::warn!(lane = %lane.id, %error, "cannot read; trying on");
                }
                tokio::time::sleep(backoff.next_wait()).await;
            }
        }
    }
}

async fn fetch(reader: &PartitionClient, from: i64) -> Result<Vec<(i64, Record)>, KafkaError> {
    let poll = reader.fetch_records(from, 1..FETCH_BYTES, LONG_POLL_MS);
    let (records, _high_watermark) = within(CALL_DEADLINE, poll).await?;
    Ok(records
        .into_iter()
        .map(|r| (r.offset, r.record))
        .filter(|(offset, _)| *offset >= from)
        .collect())
}

/// The broker no longer has the offset (retention) or does not have it yet (the topic was made anew). The records
/// are gone either way; going on is all that is left, and the log says so.
async fn skip_to_what_is_left(
    reader: &PartitionClient,
    lane: &Lane,
    wanted: i64,
    out: &mpsc::Sender<Fetched>,
) -> i64 {
    match within(CALL_DEADLINE, reader.get_offset(OffsetAt::Earliest)).await {
        Ok(earliest) if earliest != wanted => {
            tracing::error!(lane = %lane.id, wanted, earliest, "records were lost by the broker; going on with what is left");
            let jump = Fetched {
                lane: lane.clone(),
                from: wanted,
                to: earliest,
                records: Vec::new(),
            };
            if out.send(jump).await.is_err() {
                return wanted;
            }
            earliest
        }
        Ok(_) | Err(_) => wanted,
    }
}
