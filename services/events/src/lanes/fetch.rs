//! Reads one lane from Kafka, ahead of the committer by as much as the channel holds.

use crate::{
    reader::{Gap, LastRead, Read, Reader},
    topics::Topic,
};
use platform::{backends::kafka::KafkaCredentials, health::Work, retry::Backoff};
use rskafka::record::Record;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

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

/// Records of one lane, in order. There is no gap to the ones before, or it is said.
#[derive(Debug, Clone)]
pub(super) struct Fetched {
    pub(super) lane: Lane,
    pub(super) from: i64,
    pub(super) to: i64,
    pub(super) records: Vec<(i64, Record)>,
    /// Set where records are missing; then there are none.
    pub(super) gap: Option<Gap>,
    /// When they were.
    pub(super) at: Instant,
}

impl Fetched {
    /// Some of its records, which take the lane from one offset to another. What has a gap has none.
    pub(super) fn piece(&self, from: i64, to: i64, records: &[(i64, Record)]) -> Self {
        Self {
            lane: self.lane.clone(),
            from,
            to,
            records: records.to_vec(),
            gap: None,
            at: self.at,
        }
    }
}

/// Reads until the lane is lost.
pub(super) async fn run(
    lane: Lane,
    start: (i64, Option<LastRead>),
    credentials: KafkaCredentials,
    prefix: String,
    out: mpsc::Sender<Fetched>,
    work: Work,
) {
    let topic = format!("{prefix}{}", lane.topic.plain_name());
    let reader = Reader::new(credentials, topic, lane.partition, Some(start.0), start.1);
    let lost = lane.lost.clone();
    tokio::select! {
        () = lost.cancelled() => {}
        () = read(lane, start.0, reader, out, &work) => {}
    }
}

async fn read(lane: Lane, mut next: i64, mut reader: Reader, out: mpsc::Sender<Fetched>, work: &Work) {
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(1));
    loop {
        let read = match reader.read().await {
            Ok(read) => {
                work.done();
                read
            }
            Err(error) => {
                work.failed(&error);
                if backoff.attempts() == 3 {
                    tracing::warn!(lane = %lane.id, %error, "cannot read; trying on");
                }
                tokio::time::sleep(backoff.next_wait()).await;
                continue;
            }
        };
        let (to, records, gap) = match read {
            Read::Records(records) => {
                backoff.reset();
                let Some((last, _)) = records.last() else {
                    continue;
                };
                (last + 1, records, None)
            }
            Read::Gap(gap) => {
                tracing::error!(
                    lane = %lane.id, wanted = gap.wanted, found = gap.found, cause = gap.cause.as_str(),
                    "records were lost by the broker; going on with what there is"
                );
                // A partition that changes again and again must not fill the database with gaps.
                tokio::time::sleep(backoff.next_wait()).await;
                (gap.found, Vec::new(), Some(gap))
            }
        };
        let batch = Fetched {
            lane: lane.clone(),
            from: next,
            to,
            records,
            gap,
            at: Instant::now(),
        };
        next = to;
        if out.send(batch).await.is_err() {
            return;
        }
    }
}
