//! Transactions that are retried within bounds, and whose locks do not outlive their process for long.

use super::{MongoError, sessions::Register};
use crate::{
    metrics::{Metric, SECONDS, must},
    retry::Backoff,
};
use futures::future::BoxFuture;
use mongodb::{
    Client, ClientSession, Database,
    error::{Error, ErrorKind, TRANSIENT_TRANSACTION_ERROR, UNKNOWN_TRANSACTION_COMMIT_RESULT, WriteFailure},
    options::{ReadConcern, TransactionOptions, WriteConcern},
};
use prometheus::{HistogramVec, IntCounter, register_histogram_vec, register_int_counter};
use std::{
    sync::{Arc, LazyLock},
    time::{Duration, Instant},
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Attempts at one transaction before its caller hears of the conflict.
const ATTEMPTS: u32 = 12;
/// An abort that takes longer may not have been heard. The driver looks for a server for longer than that, unless the connection string
/// says otherwise.
const SOON: Duration = Duration::from_secs(1);

static SECONDS_OF: LazyLock<HistogramVec> = LazyLock::new(|| {
    must(register_histogram_vec!(
        "quicksale_database_transaction_duration_seconds",
        "Seconds of a try of a transaction, from its begin to the answer to its commit, by its end: committed, or failed, as after a conflict.",
        &["end"],
        SECONDS.to_vec()
    ))
});
static AGAIN: LazyLock<IntCounter> = LazyLock::new(|| {
    must(register_int_counter!(
        "quicksale_database_transaction_retries_total",
        "Tries of transactions after the first one, mostly after a conflict with somebody who wrote the same."
    ))
});

/// What is measured here.
pub(super) fn metrics() -> Vec<Metric> {
    for end in ["committed", "failed"] {
        SECONDS_OF.with_label_values(&[end]);
    }
    vec![&*SECONDS_OF, &*AGAIN]
}

/// Runs the transactions of a process on a sale's database.
///
/// A process that dies in the middle of a transaction leaves its locks behind until the server gives the transaction
/// up, after a minute unless it is told otherwise (`transactionLifetimeLimitSeconds`). So each process writes down
/// under which sessions it works, and the others end the sessions of one that is dead; see [`Self::keep`].
#[derive(Debug, Clone)]
pub struct Transactions {
    client: Client,
    register: Arc<Register>,
    commits: Commits,
}

/// Tells somebody of this process that a transaction was committed. One that happens while nobody waits is told to who waits next.
#[derive(Debug, Clone, Default)]
pub struct Commits(Arc<Notify>);

impl Commits {
    /// Waits for the next one.
    pub async fn next(&self) {
        self.0.notified().await;
    }
}

/// Why a transaction was not carried through, as [`Transactions`] needs to know it.
pub trait TransactionError {
    /// The database's error; `None` where the work was given up for another reason.
    fn of_database(&self) -> Option<&MongoError>;

    /// Whether running the same transaction again can help: the server says so, or somebody else has ended it.
    fn is_transient(&self) -> bool {
        self.of_database().is_some_and(MongoError::is_transient)
    }
}

impl TransactionError for MongoError {
    fn of_database(&self) -> Option<&MongoError> {
        Some(self)
    }

    fn is_transient(&self) -> bool {
        matches!(self, Self::Driver(error) if error.contains_label(TRANSIENT_TRANSACTION_ERROR) || was_interrupted(error))
    }
}

/// Server errors that end a transaction from outside, and that carry no label: InterruptedAtShutdown, Interrupted (its session was
/// ended), InterruptedDueToReplStateChange, and TransactionExceededLifetimeLimitSeconds.
const INTERRUPTIONS: [i32; 4] = [11_600, 11_601, 11_602, 290];

/// Whether somebody else has ended the transaction: nothing of it is there, and it can be run again.
fn was_interrupted(error: &Error) -> bool {
    let interrupts = |code: i32| INTERRUPTIONS.contains(&code);
    match error.kind.as_ref() {
        ErrorKind::Command(refused) => interrupts(refused.code),
        ErrorKind::Write(WriteFailure::WriteError(refused)) => interrupts(refused.code),
        ErrorKind::InsertMany(refused) => refused
            .write_errors
            .iter()
            .flatten()
            .any(|error| interrupts(error.code)),
        _ => false,
    }
}

impl Transactions {
    /// For the process `instance`, whose name no other process has or had, and which logs in as `user`.
    pub fn new(database: &Database, user: Option<String>, instance: impl Into<String>) -> Self {
        Self {
            client: database.client().clone(),
            register: Arc::new(Register::new(database, user, instance.into())),
            commits: Commits::default(),
        }
    }

    /// What tells of commits. It is for one who waits.
    pub fn commits(&self) -> Commits {
        self.commits.clone()
    }

    /// Says that this process lives, and ends the transactions of those that do not, and its own that were cut off, until it ends.
    /// Must run beside all use of [`Self::run`].
    pub async fn keep(self, stop: CancellationToken) {
        self.register.keep(&self.client, stop).await;
    }

    /// Runs `body` in a transaction with snapshot reads and a majority commit, again from the start when the server
    /// reports a conflict, a bounded number of times with jitter. `body` must have no effect outside of its session.
    ///
    /// A commit whose outcome is unknown is sent again: committing twice is safe.
    ///
    /// # Errors
    /// Whatever `body` returns, or the driver's error after the last attempt.
    pub async fn run<T, E, F>(&self, body: F) -> Result<T, E>
    where
        E: From<MongoError> + TransactionError,
        F: for<'s> FnMut(&'s mut ClientSession) -> BoxFuture<'s, Result<T, E>>,
    {
        self.run_up_to(ATTEMPTS, body).await
    }

    /// The same for so many attempts at the most: for whoever has something better to do than the same again.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub async fn run_up_to<T, E, F>(&self, attempts: u32, mut body: F) -> Result<T, E>
    where
        E: From<MongoError> + TransactionError,
        F: for<'s> FnMut(&'s mut ClientSession) -> BoxFuture<'s, Result<T, E>>,
    {
        let mut backoff = Backoff::new(Duration::from_millis(2), Duration::from_millis(200));
        loop {
            let begun = Instant::now();
            let tried = self.attempt(&mut body).await;
            let end = if tried.is_ok() { "committed" } else { "failed" };
            SECONDS_OF
                .with_label_values(&[end])
                .observe(begun.elapsed().as_secs_f64());
            let error = match tried {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            if !error.is_transient() || backoff.attempts() + 1 >= attempts {
                return Err(error);
            }
            AGAIN.inc();
            tokio::time::sleep(backoff.next_wait()).await;
        }
    }

    /// Does something about many things, `most` in a transaction, that can also be done later, and gives way to whoever writes the same:
    /// where the server does not take a transaction its halves go alone, and one thing that it does not take is left. Returns what `body`
    /// has counted.
    ///
    /// # Errors
    /// Where the database is away, or nothing is taken for another reason than a conflict.
    pub async fn give_way<I, F>(&self, things: &[I], most: usize, body: F) -> Result<u64, MongoError>
    where
        I: Clone,
        F: for<'s> Fn(&'s mut ClientSession, Vec<I>) -> BoxFuture<'s, Result<u64, MongoError>>,
    {
        let mut left: Vec<&[I]> = things.chunks(most.max(1)).rev().collect();
        let (mut counted, mut refused) = (0, None);
        while let Some(some) = left.pop() {
            match self.run_up_to(1, |session| body(session, some.to_vec())).await {
                Ok(number) => counted += number,
                Err(error) if !error.was_refused() => return Err(error),
                Err(_) if some.len() > 1 => {
                    let (first, second) = some.split_at(some.len() / 2);
                    left.extend([second, first]);
                }
                Err(error) if error.is_conflict() => {
                    tracing::debug!(%error, "somebody else writes it; it is left for later");
                }
                Err(error) => refused = Some(error),
            }
        }
        match refused {
            Some(error) if counted == 0 => Err(error),
            Some(error) => {
                tracing::warn!(%error, "the database does not take everything; the rest is done");
                Ok(counted)
            }
            None => Ok(counted),
        }
    }

    async fn attempt<T, E, F>(&self, body: &mut F) -> Result<T, E>
    where
        E: From<MongoError> + TransactionError,
        F: for<'s> FnMut(&'s mut ClientSession) -> BoxFuture<'s, Result<T, E>>,
    {
        let driver = |error: Error| E::from(MongoError::Driver(error));
        let mut session = self.client.start_session().await.map_err(driver)?;
        self.register.note(session.id()).await.map_err(driver)?;
        let options = TransactionOptions::builder()
            .read_concern(ReadConcern::snapshot())
            .write_concern(WriteConcern::majority())
            .build();
        session
            .start_transaction()
            .with_options(options)
            .await
            .map_err(driver)?;
        let mut aborted_soon = true;
        let tried = match body(&mut session).await {
            Ok(value) => match commit(&mut session).await {
                Ok(()) => {
                    self.commits.0.notify_one();
                    Ok(value)
                }
                Err(error) => Err(driver(error)),
            },
            Err(error) => {
                let begun = Instant::now();
                if let Err(abort) = session.abort_transaction().await {
                    tracing::debug!(%abort, "the transaction had ended before");
                }
                // The driver keeps to itself whether the server has heard it.
                aborted_soon = begun.elapsed() < SOON;
                Err(error)
            }
        };
        let answered = |error: &E| error.of_database().is_none_or(MongoError::was_refused);
        if let Err(error) = &tried
            && !(answered(error) && aborted_soon)
        {
            self.register.keep_cut_off(session);
        }
        tried
    }
}

async fn commit(session: &mut ClientSession) -> Result<(), Error> {
    let mut backoff = Backoff::new(Duration::from_millis(10), Duration::from_millis(500));
    loop {
        match session.commit_transaction().await {
            Err(error)
                if error.contains_label(UNKNOWN_TRANSACTION_COMMIT_RESULT)
                    && backoff.attempts() < ATTEMPTS =>
            {
                tokio::time::sleep(backoff.next_wait()).await;
            }
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mongodb::bson::{deserialize_from_document, doc};

    /// A process that was taken for dead has its sessions ended, and lives.
    #[test]
    fn a_transaction_that_somebody_else_has_ended_is_run_again() {
        for (code, is_transient) in [
            (11_600, true),
            (11_601, true),
            (11_602, true),
            (290, true),
            (13, false),
            (121, false),
        ] {
            let refused = doc! {"code": code, "codeName": "", "errmsg": "no"};
            let refused = ErrorKind::Command(deserialize_from_document(refused).unwrap());
            let error = MongoError::Driver(Error::from(refused));
            assert_eq!(error.is_transient(), is_transient, "{code}");
        }
    }
}
