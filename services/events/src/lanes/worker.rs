//! The worker of one group in one process: ownership, fetches and the committer.

use super::{
    ApplyError, HANDLED, Handler, LaneStore, LeaseTerms, commit::Committer, fetch::Fetched,
    ownership::Ownership,
};
use mongodb::Database;
use platform::{
    backends::{
        kafka::KafkaCredentials,
        mongo::{MongoError, Transactions, TransientError},
    },
    clock::Clock,
    health::{Health, Heartbeat},
    retry::Backoff,
};
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Fetches that wait for the committer; with 512 KiB each this bounds the memory of a worker.
const QUEUE: usize = 32;
/// Fetches that go into one transaction.
const FETCHES_IN_A_BATCH: usize = 16;
/// Records that go into one transaction, unless a single fetch has more.
const RECORDS_IN_A_BATCH: usize = 1_000;
/// Tries of a batch that the server refuses for no passing reason, before its messages are tried one by one.
const STUBBORN_TRIES: u32 = 4;
/// How long a loop may take for one turn before the process counts as stuck.
const STUCK: Duration = Duration::from_secs(120);

/// What a worker needs to know.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Kafka.
    pub kafka: KafkaCredentials,
    /// Prefix of the sale's topics.
    pub topic_prefix: String,
    /// Partitions of each topic.
    pub partitions: i32,
    /// Name of this process, unique among the workers of the sale.
    pub owner: String,
    /// Lease terms.
    pub terms: LeaseTerms,
    /// The clock that leases run out by.
    pub clock: Clock,
}

impl Settings {
    /// The settings that follow from a sale's configuration.
    pub fn of(config: &platform::config::Config, kafka: KafkaCredentials, owner: impl Into<String>) -> Self {
        Self {
            kafka,
            topic_prefix: config.kafka.topic_prefix.clone(),
            partitions: config.kafka.partitions,
            owner: owner.into(),
            terms: LeaseTerms::default(),
            clock: Clock::System,
        }
    }
}

/// The worker of one group in this process.
pub struct LaneWorker<H> {
    settings: Settings,
    database: Database,
    transactions: Transactions,
    handler: Arc<H>,
    health: Health,
}

impl<H: Handler> LaneWorker<H> {
    /// A worker that has not started yet.
    pub fn new(
        settings: Settings,
        database: Database,
        transactions: Transactions,
        handler: Arc<H>,
        health: Health,
    ) -> Self {
        Self {
            settings,
            database,
            transactions,
            handler,
            health,
        }
    }

    /// Works until the process ends.
    pub async fn run(self, stop: CancellationToken) {
        let group = self.handler.group();
        let (out, fetched) = mpsc::channel(QUEUE);
        let ownership = Ownership::new(
            self.settings.clone(),
            group,
            self.handler.topics(),
            LaneStore::new(&self.database),
            out,
        );
        let committer = Committer::new(&self.database, self.transactions, Arc::clone(&self.handler));
        let heart = self.health.heartbeat(group, STUCK);
        let beat = heart.clone();
        tokio::join!(
            ownership.run(stop.clone(), beat),
            commit_loop(committer, fetched, stop, heart)
        );
    }
}

async fn commit_loop<H: Handler>(
    committer: Committer<H>,
    mut fetched: mpsc::Receiver<Fetched>,
    stop: CancellationToken,
    heart: Heartbeat,
) {
    let committer = Arc::new(committer);
    loop {
        let first = tokio::select! {
            () = stop.cancelled() => return,
            first = fetched.recv() => first,
        };
        let Some(first) = first else { return };
        let batch = gather(first, &mut fetched);
        // The database work runs in a task of its own and is awaited to its end, also while stopping.
        let work = commit_until_done(Arc::clone(&committer), batch, stop.clone(), heart.clone());
        if let Err(error) = tokio::spawn(work).await {
            tracing::error!(%error, "the committer failed");
            return;
        }
    }
}

/// Whatever has gathered while the last commit was under way.
fn gather(first: Fetched, fetched: &mut mpsc::Receiver<Fetched>) -> Vec<Fetched> {
    let mut records = first.records.len();
    let mut batch = vec![first];
    while batch.len() < FETCHES_IN_A_BATCH && records < RECORDS_IN_A_BATCH {
        match fetched.try_recv() {
            Ok(next) => {
                records += next.records.len();
                batch.push(next);
            }
            Err(_) => break,
        }
    }
    batch
}

/// Commits a batch, for as long as the database takes to come back; gives up only what is lost or poisonous.
async fn commit_until_done<H: Handler>(
    committer: Arc<Committer<H>>,
    mut batch: Vec<Fetched>,
    stop: CancellationToken,
    heart: Heartbeat,
) {
    let mut poison = HashMap::new();
    let mut backoff = Backoff::new(Duration::from_millis(20), Duration::from_secs(2));
    let mut refused = 0;
    loop {
        batch.retain(|part| !part.lane.lost.is_cancelled());
        if batch.is_empty() {
            return;
        }
        heart.beat();
        let error = match committer.commit(&batch, &poison).await {
            Ok(records) => {
                HANDLED
                    .with_label_values(&[committer.handler.group()])
                    .inc_by(records as u64);
                return;
            }
            Err(error) => error,
        };
        match error {
            ApplyError::Poison { id, reason } => {
                poison.insert(id, reason);
                continue;
            }
            ApplyError::LaneLost => match committer.drop_lost(batch.clone()).await {
                Ok(kept) => batch = kept,
                Err(error) => tracing::warn!(%error, "cannot look up lanes; trying on"),
            },
            ApplyError::Mongo(error) => {
                tracing::warn!(group = committer.handler.group(), %error, "cannot commit; trying on");
                refused += u32::from(is_refusal(&error));
                if refused >= STUBBORN_TRIES {
                    commit_one_by_one(&committer, &batch, &mut poison).await;
                    refused = 0;
                }
            }
        }
        if stop.is_cancelled() && backoff.attempts() > 3 {
            // Nothing is lost: the records are read again by the next owner.
            return;
        }
        tokio::time::sleep(backoff.next_wait()).await;
    }
}

/// Finds the messages that the database refuses by trying each alone, without moving any offset for good: a message
/// that passes alone is committed with its offset, the first that does not is marked, and the batch goes on.
async fn commit_one_by_one<H: Handler>(
    committer: &Committer<H>,
    batch: &[Fetched],
    poison: &mut HashMap<String, String>,
) {
    for part in batch {
        let mut from = part.from;
        for (offset, record) in &part.records {
            let single = Fetched {
                lane: part.lane.clone(),
                from,
                to: offset + 1,
                records: vec![(*offset, record.clone())],
            };
            match committer.commit(std::slice::from_ref(&single), poison).await {
                Ok(_) => from = offset + 1,
                Err(ApplyError::Mongo(error)) if is_refusal(&error) => {
                    if let Ok(message) = crate::Message::decode(record.value.as_deref(), None) {
                        poison.insert(message.id, error.to_string());
                    }
                    return;
                }
                Err(_) => return,
            }
        }
    }
}

/// Whether the server understood the work and will not do it, as opposed to being away or busy.
fn is_refusal(error: &MongoError) -> bool {
    use mongodb::error::ErrorKind;
    match error {
        MongoError::Driver(driver) if !error.is_transient() => matches!(
            driver.kind.as_ref(),
            ErrorKind::Command(_)
                | ErrorKind::Write(_)
                | ErrorKind::InsertMany(_)
                | ErrorKind::BsonSerialization(_)
        ),
        _ => false,
    }
}
