//! MongoDB: connections, deadlines, and transactions that are retried within bounds.

use crate::retry::Backoff;
use futures::future::BoxFuture;
use mongodb::{
    Client, ClientSession, Database,
    error::{Error, TRANSIENT_TRANSACTION_ERROR, UNKNOWN_TRANSACTION_COMMIT_RESULT},
    options::{ClientOptions, ReadConcern, SelectionCriteria, TransactionOptions, WriteConcern},
};
use secrecy::{ExposeSecret, SecretString};
use std::{future::Future, time::Duration};

/// How long a request waits for the database before it is told that the system is busy.
pub const CALL_DEADLINE: Duration = Duration::from_secs(5);
/// How long the driver looks for a server. Shorter than [`CALL_DEADLINE`], so that the driver gives up first.
const SERVER_SELECTION: Duration = Duration::from_secs(3);
/// Connections of a process when the URI names no `maxPoolSize`: the committers use few, readers the rest.
const POOL_SIZE: u32 = 64;
/// Attempts at one transaction before its caller hears of the conflict.
const TRANSACTION_ATTEMPTS: u32 = 12;

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
}

impl MongoError {
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

/// Prepares a client. No connection is made yet.
///
/// # Errors
/// When the URI is not valid.
pub async fn client(uri: &SecretString) -> Result<Client, MongoError> {
    let mut options = ClientOptions::parse(uri.expose_secret()).await?;
    options.app_name.get_or_insert_with(|| "quicksale".to_owned());
    options.max_pool_size.get_or_insert(POOL_SIZE);
    options.server_selection_timeout.get_or_insert(SERVER_SELECTION);
    options.connect_timeout.get_or_insert(SERVER_SELECTION);
    options.write_concern.get_or_insert_with(WriteConcern::majority);
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
    match tokio::time::timeout(CALL_DEADLINE, tokio::spawn(work)).await {
        Ok(Ok(result)) => result,
        Ok(Err(panicked)) => Err(MongoError::Panicked(panicked.to_string()).into()),
        Err(_) => Err(MongoError::Deadline(CALL_DEADLINE).into()),
    }
}

/// Runs `body` in a transaction with snapshot reads and a majority commit, again from the start when the server
/// reports a conflict, a bounded number of times with jitter. `body` must have no effect outside of its session.
///
/// A commit whose outcome is unknown is sent again: committing twice is safe.
///
/// # Errors
/// Whatever `body` returns, or the driver's error after the last attempt.
pub async fn transaction<T, E, F>(client: &Client, mut body: F) -> Result<T, E>
where
    E: From<MongoError> + TransientError,
    F: for<'s> FnMut(&'s mut ClientSession) -> BoxFuture<'s, Result<T, E>>,
{
    let mut backoff = Backoff::new(Duration::from_millis(2), Duration::from_millis(200));
    loop {
        let error = match attempt(client, &mut body).await {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        if !error.is_transient() || backoff.attempts() >= TRANSACTION_ATTEMPTS {
            return Err(error);
        }
        tokio::time::sleep(backoff.next_wait()).await;
    }
}

/// Tells whether running the same transaction again can help.
pub trait TransientError {
    /// Whether the server labelled the error as transient.
    fn is_transient(&self) -> bool;
}

impl TransientError for MongoError {
    fn is_transient(&self) -> bool {
        matches!(self, Self::Driver(error) if error.contains_label(TRANSIENT_TRANSACTION_ERROR))
    }
}

async fn attempt<T, E, F>(client: &Client, body: &mut F) -> Result<T, E>
where
    E: From<MongoError>,
    F: for<'s> FnMut(&'s mut ClientSession) -> BoxFuture<'s, Result<T, E>>,
{
    let driver = |error: Error| E::from(MongoError::Driver(error));
    let mut session = client.start_session().await.map_err(driver)?;
    let options = TransactionOptions::builder()
        .read_concern(ReadConcern::snapshot())
        .write_concern(WriteConcern::majority())
        .build();
    session
        .start_transaction()
        .with_options(options)
        .await
        .map_err(driver)?;
    match body(&mut session).await {
        Ok(value) => {
            commit(&mut session).await.map_err(driver)?;
            Ok(value)
        }
        Err(error) => {
            if let Err(abort) = session.abort_transaction().await {
                tracing::debug!(%abort, "the server ends the aborted transaction by itself");
            }
            Err(error)
        }
    }
}

async fn commit(session: &mut ClientSession) -> Result<(), Error> {
    let mut backoff = Backoff::new(Duration::from_millis(10), Duration::from_millis(500));
    loop {
        match session.commit_transaction().await {
            Err(error)
                if error.contains_label(UNKNOWN_TRANSACTION_COMMIT_RESULT)
                    && backoff.attempts() < TRANSACTION_ATTEMPTS =>
            {
                tokio::time::sleep(backoff.next_wait()).await;
            }
            done => return done,
        }
    }
}
