//! Reads every partition of `order.status` from now on and pushes to the sockets of this process. What was before is in
//! the store, and every socket reads that first. So a process takes sockets once it knows where "now" is; sockets that
//! it has already by then may have missed something, and are asked to connect again.

use crate::{hub::Hub, store::Notification};
use events::{Message, Topic};
use futures::future::join_all;
use platform::{
    backends::kafka::{CALL_DEADLINE, KafkaCredentials, KafkaError, within},
    config::Kafka,
    health::ReadinessGate,
    retry::Backoff,
};
use rskafka::client::partition::OffsetAt;
use std::{sync::Arc, time::Duration};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How long a new process waits for Kafka before it takes sockets regardless: what is stored can be read without.
const AT_MOST: Duration = Duration::from_secs(10);
/// Bytes asked for at once.
const FETCH_BYTES: i32 = 512 * 1024;
/// How long the broker holds an empty answer back, in milliseconds.
const LONG_POLL_MS: i32 = 500;

/// One partition of `order.status`.
#[derive(Debug, Clone)]
struct Partition {
    hub: Arc<Hub>,
    credentials: KafkaCredentials,
    topic: String,
    number: i32,
}

/// Reads until the process ends; releases the gate once nothing can be missed any more.
pub async fn run(
    hub: Arc<Hub>,
    credentials: KafkaCredentials,
    config: Kafka,
    ready: ReadinessGate,
    stop: CancellationToken,
) {
    let topic = format!("{}{}", config.topic_prefix, Topic::OrderStatus.plain_name());
    let partitions = (0..config.partitions).map(|number| Partition {
        hub: Arc::clone(&hub),
        credentials: credentials.clone(),
        topic: topic.clone(),
        number,
    });
    tokio::select! {
        () = stop.cancelled() => {}
        () = follow_all(&hub, partitions.collect(), ready) => {}
    }
}

async fn follow_all(hub: &Hub, partitions: Vec<Partition>, ready: ReadinessGate) {
    let ends = ends(&partitions, ready).await;
    hub.cut_off_all();
    let mut readers = JoinSet::new();
    for (partition, end) in partitions.into_iter().zip(ends) {
        readers.spawn(async move { partition.follow(end).await });
    }
    if let Some(ended) = readers.join_next().await {
        tracing::error!(?ended, "a reader of order.status ended");
    }
}

async fn ends(partitions: &[Partition], ready: ReadinessGate) -> Vec<i64> {
    let ends = join_all(partitions.iter().map(Partition::end));
    tokio::pin!(ends);
    let in_time = tokio::time::timeout(AT_MOST, &mut ends).await;
    ready.release();
    if let Ok(ends) = in_time {
        return ends;
    }
    tracing::warn!(waited = ?AT_MOST, "taking sockets without Kafka: nothing is pushed until it answers");
    ends.await
}

impl Partition {
    /// Where the partition ends now, asked until Kafka answers.
    async fn end(&self) -> i64 {
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
        loop {
            match self.offset(OffsetAt::Latest).await {
                Ok(end) => return end,
                Err(error) => self.pause(&error, &mut backoff).await,
            }
        }
    }

    async fn offset(&self, at: OffsetAt) -> Result<i64, KafkaError> {
        let reader = self.credentials.reader(&self.topic, self.number).await?;
        within(CALL_DEADLINE, reader.get_offset(at)).await
    }

    async fn pause(&self, error: &KafkaError, backoff: &mut Backoff) {
        if backoff.attempts() == 3 {
            tracing::warn!(topic = self.topic, partition = self.number, %error, "cannot follow; trying on");
        }
        tokio::time::sleep(backoff.next_wait()).await;
    }

    async fn follow(&self, from: i64) {
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
        let mut next = from;
        loop {
            let Err(error) = self.read(&mut next, &mut backoff).await;
            // What was to be read next is gone: on from what there is, and whoever missed something reads the store.
            if error.is_offset_out_of_range()
                && let Ok(first) = self.offset(OffsetAt::Earliest).await
            {
                next = first;
                self.hub.cut_off_all();
            }
            self.pause(&error, &mut backoff).await;
        }
    }

    async fn read(
        &self,
        next: &mut i64,
        backoff: &mut Backoff,
    ) -> Result<std::convert::Infallible, KafkaError> {
        let reader = self.credentials.reader(&self.topic, self.number).await?;
        loop {
            let poll = reader.fetch_records(*next, 1..FETCH_BYTES, LONG_POLL_MS);
            let (records, _high_watermark) = within(CALL_DEADLINE, poll).await?;
            backoff.reset();
            for record in records {
                *next = (*next).max(record.offset + 1);
                // What cannot be read is the lane's business: it goes to the dead letters there.
                if let Ok(message) = Message::decode(record.record.value.as_deref(), None)
                    && let Some(notification) = Notification::of(&message)
                {
                    self.hub.push(&notification);
                }
            }
        }
    }
}
