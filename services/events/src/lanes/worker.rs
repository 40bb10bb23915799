//! The worker of one group in one process: ownership, fetches and the committer.

use super::{
    ApplyError, BATCH_RECORDS, HANDLED, Handler, LaneStore, LeaseTerms, OVERDUE,
    commit::{Committer, Place, Poison},
    fetch::Fetched,
    ownership::Ownership,
    split::{BatchSize, by_lane, count, first_records, lanes},
};
use mongodb::{
    Database,
    error::{ErrorKind, WriteFailure},
};
use platform::{
    backends::{
        kafka::KafkaCredentials,
        mongo::{self, MongoError, Transactions},
    },
    clock::Clock,
    health::{Health, Heartbeat, Work},
    retry::Backoff,
};
use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Fetches that wait for the committer; with 512 KiB each this bounds the memory of a worker.
const QUEUE: usize = 32;
/// Fetches that go into one transaction.
const FETCHES_IN_A_BATCH: usize = 16;
/// Records that go into one transaction, unless a single fetch has more.
const RECORDS_IN_A_BATCH: usize = 1_000;
/// How long the server must have refused a batch for something in a message before its messages are tried one by one, and the
/// one that it refuses goes to the dead letters.
const PATIENCE: Duration = Duration::from_secs(60);
/// What MongoDB refuses in a document, whoever writes it and whenever: InvalidBSON, DocumentValidationFailure,
/// BSONObjectTooLarge and the two of an update or an insert that would make a document too large. Whatever else it refuses,
/// such as for want of rights or of room, it may take later.
const IN_THE_MESSAGE: [i32; 5] = [22, 121, 10_334, 17_419, 17_420];
/// How long one attempt to commit may take: longer than the database waits for a lock or looks for a new primary.
const BATCH_DEADLINE: Duration = Duration::from_secs(20);
/// After how long a lane that somebody holds up is tried again, where nothing else comes.
const HELD_UP: Duration = Duration::from_millis(200);
/// How often a worker without work says that it is alive.
const IDLE: Duration = Duration::from_secs(10);
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
    /// The clock that documents are dated by.
    pub clock: Clock,
}

impl Settings {
    /// The settings that follow from a sale's configuration.
    pub fn of(
        config: &platform::config::Config,
        kafka: KafkaCredentials,
        owner: impl Into<String>,
        clock: Clock,
    ) -> Self {
        Self {
            kafka,
            topic_prefix: config.kafka.topic_prefix.clone(),
            partitions: config.kafka.partitions,
            owner: owner.into(),
            terms: LeaseTerms::default(),
            clock,
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
        let clock = self.settings.clock.clone();
        let committer = Committer::new(
            &self.database,
            self.transactions,
            Arc::clone(&self.handler),
            clock,
            &self.settings.topic_prefix,
        );
        let ownership = Ownership::new(
            self.settings.clone(),
            (group, self.handler.sharing()),
            self.handler.topics(),
            LaneStore::new(&self.database),
            out,
            (self.health.clone(), Arc::clone(&committer.elsewhere)),
        );
        let heart = self.health.heartbeat(format!("{group} batches"), STUCK);
        let leases = self.health.heartbeat(format!("{group} leases"), STUCK);
        let work = self.health.work(format!("{group} batches"));
        tokio::join!(
            ownership.run(stop.clone(), leases),
            commit_loop(committer, fetched, stop, Signs { heart, work })
        );
    }
}

/// How others know how the committing goes.
struct Signs {
    heart: Heartbeat,
    work: Work,
}

async fn commit_loop<H: Handler>(
    committer: Committer<H>,
    mut fetched: mpsc::Receiver<Fetched>,
    stop: CancellationToken,
    signs: Signs,
) {
    let committer = Arc::new(committer);
    let (mut size, mut held_up) = (BatchSize::default(), Vec::new());
    let mut idle = tokio::time::interval(IDLE);
    loop {
        let first = tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(HELD_UP), if !held_up.is_empty() => None,
            first = fetched.recv(), if held_up.len() < QUEUE => match first {
                None => return,
                first => first,
            },
            _ = idle.tick() => {
                signs.heart.beat();
                continue;
            }
        };
        let mut batch = first.map_or_else(Vec::new, |first| gather(first, &mut fetched));
        if !held_up.is_empty() {
            // Last, and before what comes behind it in its lanes.
            let (its, others) = by_lane(&batch, &held_up);
            batch = [others, held_up, its].concat();
        }
        held_up = commit_until_done(&committer, batch, &mut size, &stop, &signs).await;
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

/// Commits a batch, for as long as the database takes to come back; gives up only what is lost or poisonous. Returns what is left of lanes
/// whose next record somebody else's writes keep from being committed: whatever comes of other lanes need not wait for it.
async fn commit_until_done<H: Handler>(
    committer: &Arc<Committer<H>>,
    batch: Vec<Fetched>,
    size: &mut BatchSize,
    stop: &CancellationToken,
    signs: &Signs,
) -> Vec<Fetched> {
    let mut batch = Arc::new(batch);
    let mut poison = Poison::new();
    let mut backoff = Backoff::new(Duration::from_millis(20), Duration::from_secs(2));
    let mut refusals = Refusals::default();
    // Single records that have met conflicts since anything was committed.
    let mut stuck = 0;
    loop {
        if batch.iter().any(|part| part.lane.lost.is_cancelled()) {
            Arc::make_mut(&mut batch).retain(|part| !part.lane.lost.is_cancelled());
        }
        if batch.is_empty() {
            signs.work.done();
            return Vec::new();
        }
        signs.heart.beat();
        let (some, left) = first_records(&batch, size.most());
        let Ok(attempt) = attempt(committer, &some, &poison).await else {
            signs.work.failed(&"a batch has no end");
            give_up_lanes(committer, &batch);
            return Vec::new();
        };
        let error = match attempt {
            Ok(records) => {
                signs.work.done();
                let group = &[committer.handler.group()];
                HANDLED.with_label_values(group).inc_by(records as u64);
                BATCH_RECORDS.with_label_values(group).observe(records as f64);
                size.grow();
                stuck = 0;
                if left.is_empty() {
                    return left;
                }
                batch = Arc::new(left);
                backoff.reset();
                continue;
            }
            Err(error) => error,
        };
        match error {
            // It is looked at from the second try on.
            ApplyError::NotAsExpected => {
                tracing::warn!(
                    group = committer.handler.group(),
                    "a batch is not as expected; trying on"
                );
            }
            ApplyError::LaneLost => match drop_lost(committer, &batch).await {
                Ok(kept) => batch = Arc::new(kept),
                Err(error) => tracing::warn!(%error, "cannot look up lanes; trying on"),
            },
            ApplyError::Mongo(error) => {
                signs.work.failed(&error);
                let records = count(&some);
                tracing::warn!(group = committer.handler.group(), %error, records, "cannot commit; trying on");
                if error.is_conflict() {
                    size.shrink(records);
                    if records == 1 {
                        stuck += 1;
                        let (its, others) = by_lane(&batch, &some);
                        batch = Arc::new([others, its].concat());
                        if stuck >= lanes(&batch) {
                            return Arc::unwrap_or_clone(batch);
                        }
                    }
                }
                if refusals.are_for_good(lies_in_a_message(&error), Instant::now()) {
                    if commit_one_by_one(committer, &batch, &mut poison).await.is_err() {
                        give_up_lanes(committer, &batch);
                        return Vec::new();
                    }
                    refusals = Refusals::default();
                }
            }
        }
        if stop.is_cancelled() && backoff.attempts() > 3 {
            // Nothing is lost: the records are read again by the next owner.
            return Vec::new();
        }
        tokio::time::sleep(backoff.next_wait()).await;
    }
}

/// A batch that the database neither carries through nor refuses in time. What comes of it later fails as soon as somebody else owns the
/// lanes.
#[derive(Debug)]
struct NoEnd;

/// One attempt to commit, in a task of its own: a call of the driver must not be dropped.
async fn attempt<H: Handler>(
    committer: &Arc<Committer<H>>,
    batch: &Arc<Vec<Fetched>>,
    poison: &Poison,
) -> Result<Result<usize, ApplyError>, NoEnd> {
    let (committer, batch, poison) = (Arc::clone(committer), Arc::clone(batch), poison.clone());
    let work = tokio::spawn(async move { committer.commit(&batch, &poison).await });
    match tokio::time::timeout(BATCH_DEADLINE, work).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(panicked)) => Ok(Err(MongoError::Panicked(panicked.to_string()).into())),
        Err(_) => Err(NoEnd),
    }
}

/// Lets others have the lanes of a batch that has no end.
fn give_up_lanes<H: Handler>(committer: &Committer<H>, batch: &[Fetched]) {
    let group = committer.handler.group();
    committer.elsewhere.store(true, Ordering::Release);
    OVERDUE.with_label_values(&[group]).inc();
    tracing::error!(group, waited = ?BATCH_DEADLINE, "a batch has no end; giving its lanes up");
    for part in batch {
        part.lane.lost.cancel();
    }
}

/// Since when a batch has been refused for something in a message, without another answer in between.
#[derive(Debug, Default)]
struct Refusals {
    since: Option<Instant>,
}

impl Refusals {
    /// Counts an answer, and says whether it has been the same for long enough.
    fn are_for_good(&mut self, lies_in_a_message: bool, now: Instant) -> bool {
        if !lies_in_a_message {
            self.since = None;
            return false;
        }
        now.duration_since(*self.since.get_or_insert(now)) >= PATIENCE
    }
}

/// The parts of a batch whose lanes are still ours.
async fn drop_lost<H: Handler>(
    committer: &Arc<Committer<H>>,
    batch: &[Fetched],
) -> Result<Vec<Fetched>, MongoError> {
    let (committer, batch) = (Arc::clone(committer), batch.to_vec());
    mongo::detached(async move { Ok::<_, MongoError>(committer.drop_lost(batch).await?) }).await
}

/// Finds the messages that the database refuses by trying each alone, without moving any offset for good: a message
/// that passes alone is committed with its offset, the first that does not is marked, and the batch goes on.
async fn commit_one_by_one<H: Handler>(
    committer: &Arc<Committer<H>>,
    batch: &[Fetched],
    poison: &mut Poison,
) -> Result<(), NoEnd> {
    for part in batch {
        if part.records.is_empty()
            && attempt(committer, &Arc::new(vec![part.clone()]), poison)
                .await?
                .is_err()
        {
            return Ok(());
        }
        let mut from = part.from;
        for record in &part.records {
            let (offset, _) = record;
            let single = part.piece(from, offset + 1, std::slice::from_ref(record));
            match attempt(committer, &Arc::new(vec![single]), poison).await? {
                Ok(_) => from = offset + 1,
                Err(ApplyError::Mongo(error)) if lies_in_a_message(&error) => {
                    let place = Place {
                        lane: Arc::clone(&part.lane.id),
                        offset: *offset,
                    };
                    poison.insert(place, error.to_string());
                    return Ok(());
                }
                Err(_) => return Ok(()),
            }
        }
    }
    Ok(())
}

/// Whether what is written can never be written, as opposed to a server that is away, busy, full or does not let us.
fn lies_in_a_message(error: &MongoError) -> bool {
    let MongoError::Driver(driver) = error else {
        return false;
    };
    let (code, also) = match driver.kind.as_ref() {
        ErrorKind::Command(refused) => (Some(refused.code), None),
        ErrorKind::Write(WriteFailure::WriteError(refused)) => (Some(refused.code), None),
        ErrorKind::InsertMany(refused) => (None, refused.write_errors.as_ref()),
        _ => (None, None),
    };
    let mut codes = code
        .into_iter()
        .chain(also.into_iter().flatten().map(|refused| refused.code));
    codes.any(|code| IN_THE_MESSAGE.contains(&code))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A password that is being changed, or a full disk, costs no message.
    #[test]
    fn only_what_is_refused_for_itself_and_for_a_minute_is_given_up() {
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let mut refusals = Refusals::default();
        for (lies_in_a_message, seconds, for_good) in [
            (true, 0, false),
            (true, 59, false),
            (false, 60, false),
            (true, 61, false),
            (true, 120, false),
            (true, 121, true),
        ] {
            assert_eq!(
                refusals.are_for_good(lies_in_a_message, at(seconds)),
                for_good,
                "after {seconds} s"
            );
        }
    }

    /// What is refused for want of rights or room, or since somebody has ended the session, is taken later.
    #[test]
    fn only_a_document_that_is_refused_for_itself_lies_in_a_message() {
        use mongodb::bson::{deserialize_from_document, doc};
        for (code, lies) in [
            (22, true),
            (121, true),
            (10_334, true),
            (17_419, true),
            (17_420, true),
            (13, false),
            (8_000, false),
            (11_601, false),
        ] {
            let refused = doc! {"code": code, "codeName": "", "errmsg": "no"};
            let several = doc! {"writeErrors": [refused.clone()]};
            for kind in [
                ErrorKind::Command(deserialize_from_document(refused.clone()).unwrap()),
                ErrorKind::Write(WriteFailure::WriteError(
                    deserialize_from_document(refused).unwrap(),
                )),
                ErrorKind::InsertMany(deserialize_from_document(several).unwrap()),
            ] {
                let error = MongoError::Driver(mongodb::error::Error::from(kind));
                assert_eq!(lies_in_a_message(&error), lies, "{error}");
            }
        }
        assert!(!lies_in_a_message(&MongoError::Deadline(BATCH_DEADLINE)));
        assert!(!lies_in_a_message(&MongoError::Panicked(
            "within the work".to_owned()
        )));
    }
}
