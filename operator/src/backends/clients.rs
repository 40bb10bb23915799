//! One set of clients for each set of credentials, shared by all the sales that use it: to log in takes longer than what is asked.

use fred::interfaces::ClientLike;
use platform::backends::{
    Credentials,
    kafka::{self, KafkaError},
    mongo::{self, MongoError},
    redis,
};
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::OnceCell;

/// How long a set that nobody uses is kept.
const UNUSED: Duration = Duration::from_secs(600);
/// How old a list of all topics may be where it shows that all is well.
const TOPICS_AGE: Duration = Duration::from_secs(5);
/// How long a connection to Redis may take.
const REDIS_CONNECT: Duration = Duration::from_secs(3);

/// The partitions of every topic of a broker, by the topic's name.
pub type Topics = BTreeMap<String, Vec<i32>>;

/// All sets, by the hash of the Secret that leads to them.
#[derive(Debug, Default)]
pub struct Clients {
    sets: Mutex<HashMap<String, (Instant, Arc<Set>)>>,
}

/// The clients of one set of credentials, each made when it is first asked for.
pub struct Set {
    credentials: Credentials,
    mongo: OnceCell<mongodb::Client>,
    kafka: OnceCell<Arc<rskafka::client::Client>>,
    redis: OnceCell<fred::clients::Client>,
    topics: tokio::sync::Mutex<Option<(Instant, Arc<Topics>)>>,
}

impl std::fmt::Debug for Set {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Set").finish_non_exhaustive()
    }
}

impl Clients {
    /// The set that belongs to a Secret.
    pub fn of(&self, hash: &str, credentials: &Credentials) -> Arc<Set> {
        let mut sets = self.lock();
        sets.retain(|known, (used, _)| known == hash || used.elapsed() < UNUSED);
        let (used, set) = sets
            .entry(hash.to_owned())
            .or_insert_with(|| (Instant::now(), Arc::new(Set::new(credentials.clone()))));
        *used = Instant::now();
        Arc::clone(set)
    }

    /// Drops a set that does not answer: the next look begins anew.
    pub fn drop_if(&self, hash: &str, set: &Arc<Set>) {
        let mut sets = self.lock();
        if sets.get(hash).is_some_and(|(_, known)| Arc::ptr_eq(known, set)) {
            sets.remove(hash);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, (Instant, Arc<Set>)>> {
        self.sets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Set {
    /// Nothing is connected yet.
    pub fn new(credentials: Credentials) -> Self {
        Self {
            credentials,
            mongo: OnceCell::new(),
            kafka: OnceCell::new(),
            redis: OnceCell::new(),
            topics: tokio::sync::Mutex::default(),
        }
    }

    /// The database.
    ///
    /// # Errors
    /// When the names in its address cannot be resolved.
    pub async fn mongo(&self) -> Result<&mongodb::Client, MongoError> {
        let uri = &self.credentials.mongodb_uri;
        self.mongo.get_or_try_init(|| mongo::client(uri)).await
    }

    /// The broker.
    ///
    /// # Errors
    /// [`KafkaError`].
    pub async fn kafka(&self) -> Result<&Arc<rskafka::client::Client>, KafkaError> {
        self.kafka
            .get_or_try_init(|| self.credentials.kafka.connect())
            .await
    }

    /// All topics, as they were a moment ago.
    ///
    /// # Errors
    /// [`KafkaError`].
    pub async fn topics(&self) -> Result<Arc<Topics>, KafkaError> {
        let mut known = self.topics.lock().await;
        if let Some((at, topics)) = &*known
            && at.elapsed() < TOPICS_AGE
        {
            return Ok(Arc::clone(topics));
        }
        let asked = Instant::now();
        let topics = Arc::new(kafka::topics(self.kafka().await?).await?);
        *known = Some((asked, Arc::clone(&topics)));
        Ok(topics)
    }

    /// Redis, once it is connected.
    ///
    /// # Errors
    /// fred's error.
    pub async fn redis(&self) -> Result<&fred::clients::Client, fred::error::Error> {
        self.redis
            .get_or_try_init(|| async {
                let client = redis::client(&self.credentials.redis_url)?;
                match tokio::time::timeout(REDIS_CONNECT, client.wait_for_connect()).await {
                    Ok(Ok(())) => Ok(client),
                    Ok(Err(error)) => {
                        let _closed = client.quit().await;
                        Err(error)
                    }
                    Err(_) => {
                        let _closed = client.quit().await;
                        Err(fred::error::Error::new(
                            fred::error::ErrorKind::Timeout,
                            format!("no connection within {REDIS_CONNECT:?}"),
                        ))
                    }
                }
            })
            .await
    }
}

/// A client of Redis would go on connecting for ever.
impl Drop for Set {
    fn drop(&mut self) {
        if let (Some(client), Ok(runtime)) = (self.redis.take(), tokio::runtime::Handle::try_current()) {
            runtime.spawn(async move {
                let _closed = client.quit().await;
            });
        }
    }
}
