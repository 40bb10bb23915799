//! MongoDB: connections and deadlines; [`Transactions`] for work that must happen whole.

mod age;
mod aside;
mod cut_off;
mod documents;
mod last_of_each;
mod numbers;
mod one_at_a_time;
mod pool;
mod sessions;
mod transactions;
mod update_each;
mod uri;

pub use age::age;
pub use aside::Aside;
pub use documents::Read;
pub use last_of_each::{Last, last_of_each};
pub use numbers::whole_number;
pub use one_at_a_time::OneAtATime;
pub use transactions::{Commits, TransactionError, Transactions};
pub use update_each::{Change, update_each};
pub use uri::MongoUri;

use crate::{health::ReadinessGate, metrics::Metric, retry::Backoff};
use mongodb::{
    Client, Database,
    error::Error,
    options::{Acknowledgment, ReadConcern, SelectionCriteria, WriteConcern},
};
use std::{future::Future, time::Duration};
use tokio::sync::Semaphore;
use tracing::Instrument;

/// How long a request waits for the database before it is told that the system is busy.
pub const CALL_DEADLINE: Duration = Duration::from_secs(5);
/// How long the driver looks for a server. Shorter than [`CALL_DEADLINE`], so that the driver gives up first.
const SERVER_SELECTION: Duration = Duration::from_secs(3);
/// Pieces of work under way in a process at a time: while the database hangs, requests must not heap up behind its connections. Who
/// finds no place in time is told that the system is busy.
const MOST_AT_ONCE: usize = 1_024;
/// Connections of a process when the URI names no `maxPoolSize`: the committers use few, readers the rest.
const POOL_SIZE: u32 = 64;

/// Why a piece of database work failed.
#[derive(Debug, thiserror::Error)]
pub enum MongoError {
    /// The driver or the server said no.
    #[error("MongoDB: {0}")]
    Driver(#[from] Error),
    /// No answer in time.
    #[error("MongoDB did not answer within {0:?}")]
    Deadline(Duration),
    /// The work itself panicked.
    #[error("database work ended early: {0}")]
    Panicked(String),
    /// The same work, begun before, goes on: see [`OneAtATime`].
    #[error("the same work, begun earlier, is not done yet: MongoDB is slow or stands still")]
    StillAtWork,
}

impl MongoError {
    /// Whether the server refused the login.
    pub fn is_login_refused(&self) -> bool {
        use mongodb::error::ErrorKind;
        let Self::Driver(error) = self else { return false };
        match error.kind.as_ref() {
            ErrorKind::Authentication { .. } => true,
            // AuthenticationFailed (18).
            ErrorKind::Command(command) => command.code == 18,
            _ => false,
        }
    }

    /// Whether somebody else writes the same: later, or in smaller parts, it may go.
    pub fn is_conflict(&self) -> bool {
        self.is_transient() && self.was_refused()
    }

    /// Whether the server has answered, and refuses: a conflict, but also rights, room, or what is written. A part of it may be taken.
    pub fn was_refused(&self) -> bool {
        use mongodb::error::ErrorKind;
        let Self::Driver(error) = self else { return false };
        matches!(
            error.kind.as_ref(),
            ErrorKind::Command(_) | ErrorKind::Write(_) | ErrorKind::InsertMany(_) | ErrorKind::Bson(_)
        )
    }

    /// Whether a unique index refused a write.
    pub fn is_duplicate_key(&self) -> bool {
        matches!(self, Self::Driver(error) if is_duplicate_key(error))
    }
}

/// Whether a unique index refused a write (server error 11000).
pub fn is_duplicate_key(error: &Error) -> bool {
    use mongodb::error::{ErrorKind, WriteFailure};
    match error.kind.as_ref() {
        ErrorKind::Write(WriteFailure::WriteError(write)) => write.code == 11_000,
        ErrorKind::InsertMany(many) => many
            .write_errors
            .as_ref()
            .is_some_and(|errors| errors.iter().any(|e| e.code == 11_000)),
        ErrorKind::Command(command) => command.code == 11_000,
        _ => false,
    }
}

/// What a process counts that uses MongoDB.
pub fn metrics() -> Vec<Metric> {
    let mut all = pool::metrics();
    all.extend(transactions::metrics());
    all
}

/// Prepares a client. No connection is made yet. Keep the connection string for as long as the client: what it says about TLS
/// is looked at whenever a server is found.
///
/// # Errors
/// When the names in the URI cannot be resolved.
pub async fn client(uri: &MongoUri) -> Result<Client, MongoError> {
    let mut options = uri.options().await?;
    options.app_name.get_or_insert_with(|| "quicksale".to_owned());
    options.max_pool_size.get_or_insert(POOL_SIZE);
    options.cmap_event_handler = Some(pool::observer());
    options.server_selection_timeout.get_or_insert(SERVER_SELECTION);
    options.connect_timeout.get_or_insert(SERVER_SELECTION);
    // A string that names only how long to wait for it, or the journal, leaves this to the server.
    let concern = options.write_concern.get_or_insert_with(WriteConcern::majority);
    concern.w.get_or_insert(Acknowledgment::Majority);
    options.read_concern.get_or_insert_with(ReadConcern::majority);
    options
        .selection_criteria
        .get_or_insert(SelectionCriteria::ReadPreference(
            mongodb::options::ReadPreference::Primary,
        ));
    Ok(Client::with_options(options)?)
}

/// Whether the database answers.
///
/// # Errors
/// [`MongoError`].
pub async fn ping(database: &Database) -> Result<(), MongoError> {
    let database = database.clone();
    detached(async move {
        database.run_command(mongodb::bson::doc! {"ping": 1}).await?;
        Ok(())
    })
    .await
}

/// Prepares a database, such as its indexes, as soon as it answers, then lasts as long as the process.
pub async fn prepare<F, E>(
    mut work: impl FnMut() -> F,
    ready: ReadinessGate,
    stop: tokio_util::sync::CancellationToken,
) where
    F: Future<Output = Result<(), E>>,
    E: std::fmt::Display,
{
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
    loop {
        match work().await {
            Ok(()) => break,
            Err(error) => {
                tracing::warn!(%error, "cannot prepare the database yet; trying on");
                ready.waits(&error);
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(backoff.next_wait()) => {}
        }
    }
    ready.release();
    stop.cancelled().await;
}

/// Runs database work in a task of its own and waits for it within [`CALL_DEADLINE`].
///
/// A request whose client hangs up is dropped wherever it waits; a driver call dropped midway can leave the driver's
/// state corrupt, so the work itself always runs to its end.
///
/// # Errors
/// [`MongoError`].
pub async fn detached<T, E, F>(work: F) -> Result<T, E>
where
    T: Send + 'static,
    E: From<MongoError> + Send + 'static,
    F: Future<Output = Result<T, E>> + Send + 'static,
{
    static PLACES: Semaphore = Semaphore::const_new(MOST_AT_ONCE);
    let work = Box::pin(work);
    let placed = async {
        let place = PLACES.acquire().await;
        let work = async move {
            let _until_it_has_ended = place;
            work.await
        };
        tokio::spawn(work.in_current_span()).await
    };
    match tokio::time::timeout(CALL_DEADLINE, placed).await {
        Ok(Ok(result)) => result,
        Ok(Err(panicked)) => Err(MongoError::Panicked(panicked.to_string()).into()),
        Err(_) => Err(MongoError::Deadline(CALL_DEADLINE).into()),
    }
}
