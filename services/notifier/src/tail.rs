//! Reads every partition of `order.status` and pushes to the sockets of this process. Each partition is read from where
//! its lane stands: what is before that is in the store, which every socket reads first, and what comes after is pushed,
//! also what a notifier that died had not stored yet. So a process takes sockets once it knows where the lanes stand;
//! sockets that it has already by then may have missed something, and are asked to connect again.

use crate::{
    hub::Hub,
    record,
    store::{Notification, Store},
};
use events::{
    Message, Topic,
    lanes::{LaneStore, Lease, lane_id},
    reader::{Read, Reader},
};
use platform::{
    backends::{
        kafka::KafkaCredentials,
        mongo::{self, MongoError},
    },
    config::Kafka,
    health::ReadinessGate,
    retry::Backoff,
};
use rskafka::record::Record;
use std::{sync::Arc, time::Duration};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How long a new process waits for the lanes before it takes sockets regardless.
const AT_MOST: Duration = Duration::from_secs(10);
/// One partition of `order.status`.
#[derive(Debug)]
struct Partition {
    hub: Arc<Hub>,
    store: Store,
    credentials: KafkaCredentials,
    topic: String,
    number: i32,
}

/// Reads until the process ends; releases the gate once nothing can be missed any more.
pub async fn run(
    hub: Arc<Hub>,
    store: Store,
    lanes: LaneStore,
    credentials: KafkaCredentials,
    config: Kafka,
    ready: ReadinessGate,
    stop: CancellationToken,
) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = follow_all(hub, store, lanes, credentials, config, ready) => {}
    }
}

async fn follow_all(
    hub: Arc<Hub>,
    store: Store,
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
            store: store.clone(),
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
async fn stored(lanes: &LaneStore, partitions: i32, ready: ReadinessGate) -> Vec<Option<Lease>> {
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

async fn offsets(lanes: LaneStore, partitions: i32) -> Result<Vec<Option<Lease>>, MongoError> {
    mongo::detached(async move {
        let mut offsets = Vec::new();
        for partition in 0..partitions {
            let lane = lane_id(record::GROUP, Topic::OrderStatus, partition);
            offsets.push(lanes.current(&lane).await?);
        }
        Ok(offsets)
    })
    .await
}

impl Partition {
    async fn follow(&self, from: Option<Lease>) {
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
        let mut reader = Reader::new(
            self.credentials.clone(),
            self.topic.clone(),
            self.number,
            from.map(|lane| lane.offset),
            from.and_then(|lane| lane.last),
        );
        loop {
            match reader.read().await {
                Ok(Read::Records(records)) => {
                    backoff.reset();
                    for (_, record) in records {
                        self.push(&record).await;
                    }
                    continue;
                }
                // On with what there is, and whoever missed something reads the store.
                Ok(Read::Gap(_)) => self.hub.cut_off_all(),
                Err(error) if backoff.attempts() == 3 => {
                    tracing::warn!(topic = self.topic, partition = self.number, %error, "cannot follow; trying on");
                }
                Err(_) => {}
            }
            tokio::time::sleep(backoff.next_wait()).await;
        }
    }

    /// What cannot be read is the lane's business: it goes to the dead letters there.
    async fn push(&self, record: &Record) {
        if let Ok(message) = Message::decode(record.value.as_deref(), None)
            && let Some(notification) = Notification::of(&message)
            && (!notification.again || self.has_not_heard(&notification).await)
        {
            self.hub.push(&notification);
        }
    }

    /// Whether something that is said again is news for somebody who listens.
    async fn has_not_heard(&self, again: &Notification) -> bool {
        if !self.hub.listens(&again.user_id) {
            return false;
        }
        let (store, asked) = (self.store.clone(), again.clone());
        let told =
            mongo::detached(async move { store.told_before(&asked).await.map_err(MongoError::from) }).await;
        match told {
            Ok(told) => !told,
            Err(error) => {
                tracing::debug!(%error, "whether a buyer has been told is not known; the store will tell");
                false
            }
        }
    }
}
