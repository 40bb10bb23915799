//! Where the data of a sale is, for somebody who looks into it.

use mongodb::{Client, Database};
use platform::{
    backends::{
        self, EnvironmentError, Lookup,
        kafka::{KafkaCredentials, KafkaError},
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

/// The database and the topics of a sale.
pub struct Place {
    /// The sale's configuration.
    pub config: Config,
    /// Its database.
    pub database: Database,
    /// Transactions on it.
    pub transactions: Transactions,
    /// Where Kafka is.
    pub kafka: KafkaCredentials,
    connected: Mutex<Option<(Instant, Arc<KafkaClient>)>>,
    stop: CancellationToken,
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
            stop: CancellationToken::new(),
            client,
            _uri: uri,
        })
    }

    /// Begins what must run beside transactions, until the place is dropped.
    pub fn keep(&self) {
        tokio::spawn(self.transactions.clone().keep(self.stop.clone()));
    }

    /// The accounts that the sale's buyers have.
    pub fn accounts(&self) -> Database {
        self.client.database(&self.config.data.accounts_database)
    }

    /// A connection to Kafka, which looks into one share.
    ///
    /// # Errors
    /// [`KafkaError`].
    pub async fn kafka(&self) -> Result<Arc<KafkaClient>, KafkaError> {
        let mut connected = self.connected.lock().await;
        if let Some((at, client)) = &*connected
            && at.elapsed() < KAFKA_LASTS
        {
            return Ok(Arc::clone(client));
        }
        let client = self.kafka.connect().await?;
        *connected = Some((Instant::now(), Arc::clone(&client)));
        Ok(client)
    }

    /// Forgets the connection to Kafka: something went wrong with it.
    pub async fn disconnect(&self) {
        *self.connected.lock().await = None;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.stop.cancel();
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
