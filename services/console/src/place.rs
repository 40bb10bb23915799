//! Where the data of a sale is, for somebody who looks into it.

use mongodb::{Client, Database};
use platform::{
    backends::{
        self, EnvironmentError, Lookup,
        kafka::{CALL_DEADLINE, KafkaCredentials, KafkaError},
        mongo::{self, MongoError, MongoUri, Transactions},
    },
    config::Config,
};
use rskafka::client::Client as KafkaClient;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

/// How long a connection to Kafka is used: it may lead to a broker that is gone.
const KAFKA_LASTS: Duration = Duration::from_secs(60);

/// How long after a try that failed nobody tries again: those who wait would each wait for it in turn.
const KAFKA_RESTS: Duration = Duration::from_secs(2);

/// The connection to Kafka.
#[derive(Default)]
enum Connected {
    #[default]
    NotYet,
    Since(Instant, Arc<KafkaClient>),
    FailedAt(Instant),
}

/// The database and the topics of a sale.
pub struct Place {
    /// The sale's configuration.
    pub config: Config,
    /// Its database.
    pub database: Database,
    /// Transactions on it; see [`Self::change`].
    pub transactions: Transactions,
    /// Where Kafka is.
    pub kafka: KafkaCredentials,
    connected: Mutex<Connected>,
    client: Client,
    /// The client looks into it for as long as it lives.
    _uri: MongoUri,
}

impl Place {
    /// Where these values lead. No connection is made yet.
    ///
    /// # Errors
    /// When the names in it cannot be resolved.
    pub async fn open(config: Config, leads: Leads) -> Result<Self, MongoError> {
        let Leads { uri, kafka } = leads;
        let client = mongo::client(&uri).await?;
        let database = client.database(&config.data.database);
        let name = format!("console-{}", uuid::Uuid::new_v4().simple());
        Ok(Self {
            config,
            transactions: Transactions::new(&database, uri.user(), name),
            database,
            kafka,
            connected: Mutex::default(),
            client,
            _uri: uri,
        })
    }

    /// The accounts that the sale's buyers have.
    pub fn accounts(&self) -> Database {
        self.client.database(&self.config.data.accounts_database)
    }

    /// Does something that takes transactions. Only for so long are they noted in the sale's database: whoever but looks leaves no trace
    /// there, and brings no database back that was wiped.
    ///
    /// # Errors
    /// Those of the work.
    pub async fn change<T, E>(&self, work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        let stop = CancellationToken::new();
        let noted = tokio::spawn(self.transactions.clone().keep(stop.clone()));
        let done = work.await;
        stop.cancel();
        if let Err(error) = noted.await {
            tracing::warn!(%error, "the transactions of this process were not noted");
        }
        done
    }

    /// A connection to Kafka, which looks into one share. Where none was made a moment ago, none is tried again at once.
    ///
    /// # Errors
    /// [`KafkaError`].
    pub async fn kafka(&self) -> Result<Arc<KafkaClient>, KafkaError> {
        let mut connected = self.connected.lock().await;
        match &*connected {
            Connected::Since(at, client) if at.elapsed() < KAFKA_LASTS => return Ok(Arc::clone(client)),
            Connected::FailedAt(at) if at.elapsed() < KAFKA_RESTS => {
                return Err(KafkaError::Deadline(CALL_DEADLINE));
            }
            _ => {}
        }
        match self.kafka.connect().await {
            Ok(client) => {
                *connected = Connected::Since(Instant::now(), Arc::clone(&client));
                Ok(client)
            }
            Err(error) => {
                *connected = Connected::FailedAt(Instant::now());
                Err(error)
            }
        }
    }

    /// Forgets the connection to Kafka: something went wrong with it.
    pub async fn disconnect(&self) {
        *self.connected.lock().await = Connected::NotYet;
    }
}

/// The values that lead to MongoDB and Kafka.
#[derive(Debug, Clone)]
pub struct Leads {
    uri: MongoUri,
    kafka: KafkaCredentials,
}

impl Leads {
    /// Reads them, where passwords may go there.
    ///
    /// # Errors
    /// [`EnvironmentError`], naming the value.
    pub fn read(get: Lookup<'_>) -> Result<Self, EnvironmentError> {
        let uri = backends::mongodb(get)?;
        backends::keep_secret("MONGODB_URI", uri.transport(), get)?;
        let kafka = backends::kafka(get)?;
        backends::keep_secret("KAFKA_BROKERS", kafka.transport(), get)?;
        Ok(Self { uri, kafka })
    }
}
