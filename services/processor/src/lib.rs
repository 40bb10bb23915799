//! The processor: takes what the outbox holds to Kafka.
//!
//! One replica relays at a time, by a lease like that of a lane; the others stand by. A message that was written to
//! Kafka but not yet removed from the outbox is written again after a crash: readers handle repeats.

use events::{
    lanes::{LaneStore, LeaseTerms},
    outbox::{Entry, Outbox},
    producer::Producer,
};
use futures::{FutureExt, future::BoxFuture};
use mongodb::Database;
use platform::{
    backends::{
        kafka::KafkaCredentials,
        mongo::{self, MongoError},
    },
    clock::Clock,
    config::Config,
    health::{Health, Heartbeat},
    metrics::must,
    retry::Backoff,
};
use prometheus::{IntCounter, IntGauge, register_int_counter, register_int_gauge};
use std::{
    sync::LazyLock,
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

/// Entries taken from the outbox at once.
const BATCH: i64 = 1_000;
/// How long an empty outbox is left alone. It adds to the time to an order's end, twice; looking costs one indexed
/// read of an empty collection.
const IDLE: Duration = Duration::from_millis(10);
/// How long entries that wait are passed over before it is looked from the oldest on again.
const LOOKS_BEHIND: Duration = Duration::from_secs(1);
/// The lease that makes one replica the relay.
const LEASE: &str = "processor/outbox/0";
/// How long the relay may take for one turn before the process counts as stuck.
const STUCK: Duration = Duration::from_secs(120);

static PUBLISHED: LazyLock<IntCounter> = LazyLock::new(|| {
    must(register_int_counter!(
        "quicksale_outbox_published_total",
        "Messages that Kafka has acknowledged."
    ))
});
static RELAYING: LazyLock<IntGauge> = LazyLock::new(|| {
    must(register_int_gauge!(
        "quicksale_outbox_relaying",
        "1 where this process is the relay."
    ))
});

/// What the service is built from.
pub struct Dependencies {
    /// The sale's configuration.
    pub config: Config,
    /// The sale's own database.
    pub database: Database,
    /// Kafka.
    pub kafka: KafkaCredentials,
    /// Health of the process.
    pub health: Health,
    /// Cancelled when the process ends.
    pub stop: CancellationToken,
    /// Name of this process among the workers of the sale.
    pub instance: String,
}

/// The named tasks that the processor consists of.
pub fn build(deps: Dependencies) -> Vec<(&'static str, BoxFuture<'static, ()>)> {
    let relay = Relay {
        outbox: Outbox::new(&deps.database),
        leases: LaneStore::new(&deps.database),
        producer: Producer::new(deps.kafka, deps.config.kafka.topic_prefix.clone()),
        owner: deps.instance,
        terms: LeaseTerms::default(),
        clock: Clock::System,
        leading_since: None,
        after: None,
    };
    let heart = deps.health.heartbeat("outbox relay", STUCK);
    vec![("outbox relay", relay.run(deps.stop, heart).boxed())]
}

struct Relay {
    outbox: Outbox,
    leases: LaneStore,
    producer: Producer,
    owner: String,
    terms: LeaseTerms,
    clock: Clock,
    /// When the lease was last renewed; `None` while another replica relays.
    leading_since: Option<Instant>,
    /// Entries up to this one wait for partitions that are left alone; until when that is taken for granted.
    after: Option<(String, Instant)>,
}

impl Relay {
    async fn run(mut self, stop: CancellationToken, heart: Heartbeat) {
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
        while !stop.is_cancelled() {
            heart.beat();
            let wait = match self.turn().await {
                Ok(0) => {
                    backoff.reset();
                    if self.leading_since.is_some() {
                        IDLE
                    } else {
                        self.terms.renew_every
                    }
                }
                Ok(_more_may_be_waiting) => {
                    backoff.reset();
                    continue;
                }
                Err(error) => {
                    if backoff.attempts() == 2 {
                        tracing::warn!(%error, "the outbox cannot be relayed; trying on");
                    }
                    backoff.next_wait()
                }
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
        if self.leading_since.is_some()
            && let Err(error) = self.leases.release(LEASE, &self.owner).await
        {
            tracing::debug!(%error, "lease not released; it will run out");
        }
    }

    /// One batch. Returns how many messages were taken to Kafka.
    async fn turn(&mut self) -> Result<usize, RelayError> {
        if !self.lead().await? {
            return Ok(0);
        }
        let (outbox, after) = (self.outbox.clone(), self.after.clone().map(|(id, _)| id));
        let entries: Vec<Entry> =
            mongo::detached(async move { outbox.oldest(after, BATCH).await.map_err(MongoError::from) })
                .await?;
        let Some(last) = entries.last().map(|entry| entry.id.clone()) else {
            return Ok(self.begin_anew());
        };
        let is_whole = i64::try_from(entries.len()).is_ok_and(|found| found == BATCH);
        let published = self.producer.publish(&entries).await;
        let count = published.ids.len();
        self.look_behind(is_whole && published.waiting > 0, last);
        PUBLISHED.inc_by(count as u64);
        let (outbox, done, failed) = (self.outbox.clone(), published.ids, published.failed);
        mongo::detached(async move {
            if !done.is_empty() {
                outbox.remove(&done).await?;
            }
            if !failed.is_empty() {
                outbox.count_attempt(&failed).await?;
            }
            Ok::<_, MongoError>(())
        })
        .await?;
        match published.failure {
            Some(error) => Err(error.into()),
            None => Ok(count.max(usize::from(self.after.is_some()))),
        }
    }

    /// Where some of a page belong to partitions that are left alone, the next one is looked at; for a while only, since
    /// entries may also appear before the page.
    fn look_behind(&mut self, page_waits: bool, last: String) {
        let until = self.after.take().map(|(_, until)| until);
        let until = until.unwrap_or_else(|| Instant::now() + LOOKS_BEHIND);
        if page_waits && Instant::now() < until {
            self.after = Some((last, until));
        }
    }

    /// At the end: from the beginning the next time.
    fn begin_anew(&mut self) -> usize {
        self.after = None;
        0
    }

    /// Whether this replica is the relay, renewing its lease in time.
    async fn lead(&mut self) -> Result<bool, MongoError> {
        if self
            .leading_since
            .is_some_and(|at| at.elapsed() < self.terms.renew_every)
        {
            return Ok(true);
        }
        let (leases, owner) = (self.leases.clone(), self.owner.clone());
        let (terms, now) = (self.terms, self.clock.now());
        let leads = mongo::detached(async move {
            leases
                .hold(LEASE, &owner, terms, now)
                .await
                .map_err(MongoError::from)
        })
        .await?;
        self.leading_since = leads.then(Instant::now);
        RELAYING.set(i64::from(leads));
        Ok(leads)
    }
}

/// Why a batch did not go through; its entries are still in the outbox.
#[derive(Debug, thiserror::Error)]
enum RelayError {
    #[error(transparent)]
    Kafka(#[from] platform::backends::kafka::KafkaError),
    #[error(transparent)]
    Mongo(#[from] MongoError),
}
