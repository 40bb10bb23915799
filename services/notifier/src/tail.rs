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
    reader::{Read, Reader, traceparent},
};
use platform::{
    backends::{
        kafka::KafkaCredentials,
        mongo::{self, MongoError},
    },
    clock::Clock,
    config::Kafka,
    health::ReadinessGate,
    metrics::{Metric, must},
    retry::Backoff,
};
use prometheus::{Histogram, register_histogram};
use rskafka::record::Record;
use std::{
    sync::{
        Arc, LazyLock,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{task::JoinSet, time::MissedTickBehavior};
use tokio_util::sync::CancellationToken;

/// How long a new process waits for the lanes before it takes sockets regardless.
const AT_MOST: Duration = Duration::from_secs(10);
/// How often it is looked how far the readers are behind the store.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// How far they may be behind. Then the store tells more than they do, and sockets are asked to connect again and read it.
const BEHIND: Duration = Duration::from_secs(30);

static DELAY: LazyLock<Histogram> = LazyLock::new(|| {
    must(register_histogram!(
        "quicksale_push_delay_seconds",
        "Seconds from an order's change until its buyer's sockets are handed the news, by the clocks of the two processes; of buyers who listen.",
        vec![0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0]
    ))
});

/// What is counted here.
pub(crate) fn metrics() -> Vec<Metric> {
    vec![&*DELAY]
}

/// One partition of `order.status`.
#[derive(Debug)]
struct Partition {
    hub: Arc<Hub>,
    store: Store,
    credentials: KafkaCredentials,
    topic: String,
    number: i32,
    clock: Clock,
    /// The offset of the record that is pushed next.
    pushed: Arc<AtomicI64>,
}

/// What is read, and for whom.
#[derive(Debug)]
pub struct Tail {
    /// The sockets of this process.
    pub hub: Arc<Hub>,
    /// What they have been told before.
    pub store: Store,
    /// Where the lanes stand.
    pub lanes: LaneStore,
    /// Kafka.
    pub credentials: KafkaCredentials,
    /// The sale's topics.
    pub config: Kafka,
    /// What delays are measured by.
    pub clock: Clock,
}

impl Tail {
    /// Reads until the process ends; releases the gate once nothing can be missed any more.
    pub async fn run(self, ready: ReadinessGate, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.follow_all(ready) => {}
        }
    }

    async fn follow_all(self, ready: ReadinessGate) {
        let Self {
            hub,
            store,
            lanes,
            credentials,
            config,
            clock,
        } = self;
        let stored = stored(&lanes, config.partitions, ready).await;
        hub.cut_off_all();
        let topic = format!("{}{}", config.topic_prefix, Topic::OrderStatus.plain_name());
        let mut readers = JoinSet::new();
        let begin = |lane: &Option<Lease>| Arc::new(AtomicI64::new(lane.map_or(0, |lane| lane.offset)));
        let pushed: Vec<Arc<AtomicI64>> = stored.iter().map(begin).collect();
        for ((number, from), pushed) in (0..config.partitions).zip(stored).zip(&pushed) {
            let partition = Partition {
                hub: Arc::clone(&hub),
                store: store.clone(),
                credentials: credentials.clone(),
                topic: topic.clone(),
                clock: clock.clone(),
                number,
                pushed: Arc::clone(pushed),
            };
            readers.spawn(async move { partition.follow(from).await });
        }
        readers.spawn(keep_up(hub, lanes, pushed));
        if let Some(ended) = readers.join_next().await {
            tracing::error!(?ended, "a reader of order.status ended");
        }
    }
}

/// Ends the sockets where a reader has been behind the store for a while: whoever comes back is told from there.
async fn keep_up(hub: Arc<Hub>, lanes: LaneStore, pushed: Vec<Arc<AtomicI64>>) {
    let mut debts = vec![Debt::default(); pushed.len()];
    let mut tick = tokio::time::interval(LOOK_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let partitions = i32::try_from(pushed.len()).unwrap_or(i32::MAX);
        // Who does not know how far the store is knows nothing better than what is pushed.
        let Ok(stored) = offsets(lanes.clone(), partitions).await else {
            continue;
        };
        let mut is_behind = false;
        for ((debt, stored), pushed) in debts.iter_mut().zip(stored).zip(&pushed) {
            let stored = stored.map_or(0, |lane| lane.offset);
            is_behind |= debt.look(pushed.load(Ordering::Acquire), stored, Instant::now());
        }
        if is_behind {
            tracing::warn!(
                "a reader of order.status is behind the store; sockets are asked to connect again"
            );
            hub.cut_off_all();
        }
    }
}

/// What is stored of a partition and was not pushed when it was looked.
#[derive(Debug, Clone, Default)]
struct Debt {
    owed: Option<(i64, Instant)>,
}

impl Debt {
    /// Whether what was stored once has not been pushed for too long. It begins anew then.
    fn look(&mut self, pushed: i64, stored: i64, now: Instant) -> bool {
        self.owed = self.owed.filter(|(offset, _)| pushed < *offset);
        match self.owed {
            None if pushed < stored => {
                self.owed = Some((stored, now));
                false
            }
            Some((_, since)) if now.saturating_duration_since(since) >= BEHIND => {
                self.owed = None;
                true
            }
            _ => false,
        }
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
                    self.pushed.store(reader.next().unwrap_or(0), Ordering::Release);
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
        if let Ok(message) = Message::decode(record.value.as_deref(), traceparent(record))
            && let Some(notification) = Notification::of(&message)
            && (!notification.again || self.has_not_heard(&notification).await)
        {
            let notification = Arc::new(notification);
            let sockets = self.hub.push(&notification);
            if sockets > 0 {
                let since = mongo::age(notification.created_at, self.clock.now());
                DELAY.observe(since.as_secs_f64());
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_stays_behind_the_store_is_noticed() {
        let (mut debt, begun) = (Debt::default(), Instant::now());
        let mut look = |pushed, stored, seconds| {
            let now = begun + Duration::from_secs(seconds);
            debt.look(pushed, stored, now)
        };
        assert!(!look(5, 5, 0));
        assert!(!look(5, 9, 10), "a moment ago it was even");
        // It goes on, and so does the store.
        assert!(!look(9, 20, 40));
        assert!(!look(9, 30, 50));
        assert!(!look(9, 40, 69));
        assert!(
            look(9, 50, 70),
            "for thirty seconds it has not come to what was stored then"
        );
        assert!(!look(9, 50, 90), "and for thirty more it is waited");
        assert!(look(19, 50, 120));
        assert!(!look(50, 50, 130));
    }
}
