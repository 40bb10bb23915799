//! Reads every partition of `order.status` and pushes to the sockets of this process. Each partition is read from where
//! its lane stands: what is before that is in the store, which every socket reads first, and what comes after is pushed,
//! also what a notifier that died had not stored yet. So a process takes sockets once it knows where the lanes stand;
//! sockets that it has already by then may have missed something, and are asked to connect again.

use crate::{
    hub::Hub,
    record::{self, is_said_again},
    store::Notification,
};
use events::{
    Message, Topic,
    lanes::{LaneStore, lane_id},
};
use platform::{
    backends::{
        kafka::{CALL_DEADLINE, KafkaCredentials, KafkaError, within},
        mongo::{self, MongoError},
    },
    config::Kafka,
    health::ReadinessGate,
    retry::Backoff,
};
use rskafka::client::partition::OffsetAt;
use std::{sync::Arc, time::Duration};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How long a new process waits for the lanes before it takes sockets regardless.
const AT_MOST: Duration = Duration::from_secs(10);
/// Bytes asked for at once.
const FETCH_BYTES: i32 = 512 * 1024;
/// How long the broker holds an empty answer back, in milliseconds.
const LONG_POLL_MS: i32 = 500;

/// One partition of `order.status`.
#[derive(Debug)]
struct Partition {
    hub: Arc<Hub>,
    credentials: KafkaCredentials,
    topic: String,
    number: i32,
}

/// Reads until the process ends; releases the gate once nothing can be missed any more.
pub async fn run(
    hub: Arc<Hub>,
    lanes: LaneStore,
    credentials: KafkaCredentials,
    config: Kafka,
    ready: ReadinessGate,
    stop: CancellationToken,
) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = follow_all(hub, lanes, credentials, config, ready) => {}
    }
}

async fn follow_all(
    hub: Arc<Hub>,
    lanes: LaneStore,
    credentials: KafkaCredentials,
    config: Kafka,
    ready: ReadinessGate,
) {
    let stored = stored(&lanes, config.partitions, ready).await;
    hub.cut_off_all();
    let topic = format!("{}{}", config.topic_prefix, Topic::OrderStatus.plain_name());
    let mut readers = JoinSet::new();
    for (number, from) in (0..config.partitions).zip(stored) {
        let partition = Partition {
            hub: Arc::clone(&hub),
            credentials: credentials.clone(),
            topic: topic.clone(),
            number,
        };
        readers.spawn(async move { partition.follow(from).await });
    }
    if let Some(ended) = readers.join_next().await {
        tracing::error!(?ended, "a reader of order.status ended");
    }
}

/// Up to where the messages of each partition are in the store; `None` for one of which nobody has stored any.
async fn stored(lanes: &LaneStore, partitions: i32, ready: ReadinessGate) -> Vec<Option<i64>> {
    let asking = async {
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
        loop {
            match offsets(lanes.clone(), partitions).await {
                Ok(offsets) => return offsets,
                Err(error) if backoff.attempts() == 3 => {
                    tracing::warn!(%error, "cannot read where the lanes stand; trying on");
                }
                Err(_) => {}
            }
            tokio::time::sleep(backoff.next_wait()).await;
        }
    };
    tokio::pin!(asking);
    match ready.release_within(AT_MOST, &mut asking).await {
        Some(offsets) => offsets,
        None => asking.await,
    }
}

async fn offsets(lanes: LaneStore, partitions: i32) -> Result<Vec<Option<i64>>, MongoError> {
    mongo::detached(async move {
        let mut offsets = Vec::new();
        for partition in 0..partitions {
            let lane = lane_id(record::GROUP, Topic::OrderStatus, partition);
            offsets.push(lanes.current(&lane).await?.map(|lane| lane.offset));
        }
        Ok(offsets)
    })
    .await
}

impl Partition {
    async fn follow(&self, from: Option<i64>) {
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
        let mut next = from;
        loop {
            let Err(error) = self.read(&mut next, &mut backoff).await;
            // What was to be read next is gone: on from what there is, and whoever missed something reads the store.
            if error.is_offset_out_of_range() {
                next = None;
                self.hub.cut_off_all();
            }
            if backoff.attempts() == 3 {
                tracing::warn!(topic = self.topic, partition = self.number, %error, "cannot follow; trying on");
            }
            tokio::time::sleep(backoff.next_wait()).await;
        }
    }

    async fn read(
        &self,
        next: &mut Option<i64>,
        backoff: &mut Backoff,
    ) -> Result<std::convert::Infallible, KafkaError> {
        let reader = self.credentials.reader(&self.topic, self.number).await?;
        let mut at = match *next {
            Some(at) => at,
            None => within(CALL_DEADLINE, reader.get_offset(OffsetAt::Earliest)).await?,
        };
        loop {
            *next = Some(at);
            let poll = reader.fetch_records(at, 1..FETCH_BYTES, LONG_POLL_MS);
            let (records, _high_watermark) = within(CALL_DEADLINE, poll).await?;
            backoff.reset();
            for record in records {
                at = at.max(record.offset + 1);
                // What cannot be read is the lane's business: it goes to the dead letters there.
                if let Ok(message) = Message::decode(record.record.value.as_deref(), None)
                    && !is_said_again(&message)
                    && let Some(notification) = Notification::of(&message)
                {
                    self.hub.push(&notification);
                }
            }
        }
    }
}
