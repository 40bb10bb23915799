//! Whether the backends of a sale answer, and the sale's data in them.
//!
//! A backend that does not answer takes seconds to find out about, and a change of the control document must not
//! wait for that. So the look happens in a task of its own, and a reconciliation waits for it only for a moment.

use crate::topics;
use crds::valid::TopicPlan;
use platform::backends::{Credentials, mongo, redis};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::{sync::watch, task::JoinHandle};

/// How long a good answer is believed.
const FRESH: Duration = Duration::from_secs(5);
/// How long a bad answer is believed.
const FRESH_FAILURE: Duration = Duration::from_secs(1);
/// How long a reconciliation waits for the look that it asked for.
const PATIENCE: Duration = Duration::from_millis(700);

/// What the backends of a sale answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// What does not answer; empty when all do. `None` while nobody has looked.
    pub unreachable: Option<Vec<String>>,
    /// What is wrong with the topics; `Ok` when they are there.
    pub topics: Result<(), String>,
}

impl Look {
    fn none_yet() -> Self {
        Self {
            unreachable: None,
            topics: Err("not looked at yet".to_owned()),
        }
    }
}

/// The latest look at the backends of each sale.
#[derive(Debug, Default)]
pub struct Backends {
    sales: Mutex<HashMap<String, Arc<Entry>>>,
}

#[derive(Debug)]
struct Entry {
    fingerprint: String,
    latest: watch::Sender<(Option<Instant>, Look)>,
    running: Mutex<Option<JoinHandle<()>>>,
}

impl Backends {
    /// The latest look, after a short wait for a new one where the last is too old. `fingerprint` names the
    /// credentials and the topics: when it changes, what was known is forgotten.
    pub async fn look(
        &self,
        sale_uid: &str,
        fingerprint: &str,
        credentials: &Credentials,
        topics: &TopicPlan,
    ) -> Look {
        let entry = self.entry(sale_uid, fingerprint);
        let (at, look) = entry.latest.borrow().clone();
        let good = look.topics.is_ok() && look.unreachable.as_ref().is_some_and(Vec::is_empty);
        let fresh = if good { FRESH } else { FRESH_FAILURE };
        if at.is_some_and(|at| at.elapsed() < fresh) {
            return look;
        }
        let mut news = entry.latest.subscribe();
        news.mark_unchanged();
        start_look(&entry, credentials, topics);
        let _timed_out = tokio::time::timeout(PATIENCE, news.changed()).await;
        entry.latest.borrow().1.clone()
    }

    /// Forgets a sale.
    pub fn forget(&self, sale_uid: &str) {
        self.sales
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(sale_uid);
    }

    fn entry(&self, sale_uid: &str, fingerprint: &str) -> Arc<Entry> {
        let mut sales = self.sales.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = sales
            .get(sale_uid)
            .filter(|entry| entry.fingerprint == fingerprint)
        {
            return Arc::clone(entry);
        }
        let entry = Arc::new(Entry {
            fingerprint: fingerprint.to_owned(),
            latest: watch::Sender::new((None, Look::none_yet())),
            running: Mutex::default(),
        });
        sales.insert(sale_uid.to_owned(), Arc::clone(&entry));
        entry
    }
}

/// Starts a look unless one is under way. Every call in it has a deadline, so the task ends within seconds.
fn start_look(entry: &Arc<Entry>, credentials: &Credentials, topics: &TopicPlan) {
    let mut running = entry.running.lock().unwrap_or_else(PoisonError::into_inner);
    if running.as_ref().is_some_and(|task| !task.is_finished()) {
        return;
    }
    let (latest, credentials, topics) = (entry.latest.clone(), credentials.clone(), topics.clone());
    *running = Some(tokio::spawn(async move {
        let look = look_now(&credentials, &topics).await;
        latest.send_replace((Some(Instant::now()), look));
    }));
}

async fn look_now(credentials: &Credentials, plan: &TopicPlan) -> Look {
    let (mongodb, kafka, redis) = tokio::join!(
        ask_mongodb(credentials),
        topics::ensure(&credentials.kafka, plan),
        ask_redis(credentials)
    );
    let mut unreachable = Vec::new();
    if let Err(error) = mongodb {
        let login = error.is_login_refused();
        unreachable.push(silence("MongoDB", "MONGODB_URI", login, &error));
    }
    if let Err(error) = redis {
        let login = *error.kind() == fred::error::ErrorKind::Auth;
        unreachable.push(silence("Redis", "REDIS_URL", login, &error));
    }
    let topics = kafka.map_err(|error| {
        error.refusal().unwrap_or_else(|| {
            let sentence = silence("Kafka", "KAFKA_BROKERS with KAFKA_SASL_*", false, &error);
            unreachable.push(sentence.clone());
            sentence
        })
    });
    Look {
        unreachable: Some(unreachable),
        topics,
    }
}

/// What is said of a backend that is not there. Whoever wrote the Secret chose the addresses, so the sentence must not
/// tell a closed port from an open one or from another protocol; whether a login was refused only a backend can say.
fn silence(backend: &str, keys: &str, login_refused: bool, error: &dyn std::error::Error) -> String {
    tracing::info!(backend, error = error.to_string(), "no answer");
    if login_refused {
        format!("{backend} refuses the credentials in {keys}; correct them in the backends Secret")
    } else {
        format!(
            "{backend} does not answer at {keys}; see that it runs there and that the operator may reach it"
        )
    }
}

async fn ask_mongodb(credentials: &Credentials) -> Result<(), mongo::MongoError> {
    let client = mongo::client(&credentials.mongodb_uri).await?;
    mongo::ping(&client.database("admin")).await
}

async fn ask_redis(credentials: &Credentials) -> Result<(), fred::error::Error> {
    use fred::interfaces::ClientLike;
    let client = redis::client(&credentials.redis_url)?;
    let deadline = Duration::from_secs(3);
    let answer = match tokio::time::timeout(deadline, client.wait_for_connect()).await {
        Ok(Ok(())) => redis::ping(&client).await,
        Ok(Err(error)) => Err(error),
        Err(_) => Err(fred::error::Error::new(
            fred::error::ErrorKind::Timeout,
            "no connection within 3 s",
        )),
    };
    // The client would go on connecting for ever.
    let _closed = client.quit().await;
    answer
}

/// Drops a sale's own database.
///
/// # Errors
/// [`mongo::MongoError`].
pub async fn drop_database(credentials: &Credentials, database: &str) -> Result<(), mongo::MongoError> {
    let client = mongo::client(&credentials.mongodb_uri).await?;
    let database = client.database(database);
    mongo::detached(async move { database.drop().await.map_err(mongo::MongoError::from) }).await
}
