//! Whether the backends of a sale answer, and the sale's data in them.
//!
//! A backend that does not answer takes seconds to find out about, and a change of the control document must not
//! wait for that. So the look happens in a task of its own, and a reconciliation waits for it only for a moment.

pub mod clients;

use crate::{
    ownership::{Claim, Claimant, Owner, database, keys, topics as topic_marks},
    topics,
};
use clients::{Clients, Set};
use crds::valid::TopicPlan;
use platform::backends::{Credentials, kafka::KafkaError, mongo};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::{sync::watch, task::JoinHandle};

/// For the condition of backends that were asked.
const NO_ANSWER: &str = "NoAnswer";
/// How long a good answer is believed.
const FRESH: Duration = Duration::from_secs(15);
/// How long a bad answer is believed.
const FRESH_FAILURE: Duration = Duration::from_secs(1);
/// How long a look may take: every call in it has a deadline, so that one under way is over by then.
const LONGEST_LOOK: Duration = Duration::from_secs(15);
/// How long a look is waited for before it is given up: longer than it may take.
const LOOK_ENDS: Duration = Duration::from_secs(20);
/// How long a reconciliation waits for the look that it asked for.
const PATIENCE: Duration = Duration::from_millis(700);

/// What the backends of a sale answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// What does not answer; empty when all do. `None` while nobody has looked.
    pub unreachable: Option<Vec<String>>,
    /// Why not all of them answer, in a word for the condition.
    pub reason: &'static str,
    /// Whose the topics, the database and the keys are; `Ok` when they are all the sale's own.
    pub ownership: Result<(), String>,
    /// What is wrong with the topics; `None` when they were not looked at.
    pub topics: Result<Option<()>, String>,
}

/// What a sale uses in its backends.
#[derive(Debug, Clone)]
pub struct Place {
    /// Its topics.
    pub topics: TopicPlan,
    /// Its database.
    pub database: String,
    /// The prefix of its keys.
    pub redis_prefix: String,
}

impl Look {
    fn none_yet() -> Self {
        Self {
            unreachable: None,
            reason: NO_ANSWER,
            ownership: Err("not looked at yet".to_owned()),
            topics: Ok(None),
        }
    }

    /// What is known when there is nothing to look with.
    pub fn impossible(reason: &'static str, sentence: &str) -> Self {
        Self {
            unreachable: Some(vec![sentence.to_owned()]),
            reason,
            ownership: Err(sentence.to_owned()),
            topics: Ok(None),
        }
    }

    fn is_good(&self) -> bool {
        self.topics == Ok(Some(()))
            && self.ownership.is_ok()
            && self.unreachable.as_ref().is_some_and(Vec::is_empty)
    }
}

/// The latest look at the backends of each sale.
#[derive(Debug, Default)]
pub struct Backends {
    sales: Mutex<HashMap<String, Arc<Entry>>>,
    clients: Arc<Clients>,
}

#[derive(Debug)]
struct Entry {
    fingerprint: String,
    latest: watch::Sender<(Option<Instant>, Look)>,
    running: Mutex<Option<JoinHandle<()>>>,
}

/// Whoever does not lead any more looks no more either.
impl Drop for Entry {
    fn drop(&mut self) {
        let running = self.running.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = running.take() {
            running.abort();
        }
    }
}

impl Backends {
    /// The latest look, after a short wait for a new one where the last is too old. `hash` names the
    /// credentials: when they or the topics change, what was known is forgotten.
    pub async fn look(
        &self,
        hash: &str,
        credentials: &Credentials,
        place: &Place,
        claimant: &Claimant,
    ) -> Look {
        let fingerprint = format!("{hash}/{:?}", place.topics);
        let entry = self.entry(&claimant.owner.uid, &fingerprint);
        let (at, look) = entry.latest.borrow().clone();
        let fresh = if look.is_good() { FRESH } else { FRESH_FAILURE };
        if at.is_some_and(|at| at.elapsed() < fresh) {
            return look;
        }
        let mut news = entry.latest.subscribe();
        news.mark_unchanged();
        self.start_look(&entry, hash, credentials, place, claimant);
        let _timed_out = tokio::time::timeout(PATIENCE, news.changed()).await;
        entry.latest.borrow().1.clone()
    }

    /// Forgets a sale, and waits until a look at it that is under way is over: it would make again what is deleted.
    pub async fn forget(&self, sale_uid: &str) {
        let entry = {
            let mut sales = self.sales.lock().unwrap_or_else(PoisonError::into_inner);
            sales.remove(sale_uid)
        };
        let running = entry.and_then(|entry| {
            let mut running = entry.running.lock().unwrap_or_else(PoisonError::into_inner);
            running.take()
        });
        if let Some(mut running) = running
            && tokio::time::timeout(LOOK_ENDS, &mut running).await.is_err()
        {
            running.abort();
        }
    }

    fn entry(&self, sale_uid: &str, fingerprint: &str) -> Arc<Entry> {
        let mut sales = self.sales.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = sales
            .get(sale_uid)
            .filter(|entry| entry.fingerprint == fingerprint)
        {
            return Arc::clone(entry);
        }
        // A look with what was known before may still be under way, and must be over before anything is deleted.
        let running = sales.get(sale_uid).and_then(|before| {
            let mut running = before.running.lock().unwrap_or_else(PoisonError::into_inner);
            running.take()
        });
        let entry = Arc::new(Entry {
            fingerprint: fingerprint.to_owned(),
            latest: watch::Sender::new((None, Look::none_yet())),
            running: Mutex::new(running),
        });
        sales.insert(sale_uid.to_owned(), Arc::clone(&entry));
        entry
    }

    /// Starts a look unless one is under way. Every call in it has a deadline, so the task ends within seconds.
    fn start_look(
        &self,
        entry: &Arc<Entry>,
        hash: &str,
        credentials: &Credentials,
        place: &Place,
        claimant: &Claimant,
    ) {
        let mut running = entry.running.lock().unwrap_or_else(PoisonError::into_inner);
        if running.as_ref().is_some_and(|task| !task.is_finished()) {
            return;
        }
        let latest = entry.latest.clone();
        let (clients, hash) = (Arc::clone(&self.clients), hash.to_owned());
        let set = clients.of(&hash, credentials);
        let (place, claimant) = (place.clone(), claimant.clone());
        *running = Some(tokio::spawn(async move {
            let looking = look_now(&set, &place, &claimant);
            let look = tokio::time::timeout(LONGEST_LOOK, looking).await;
            let look = look.unwrap_or_else(|_| {
                let sentence = format!("the backends did not answer within {LONGEST_LOOK:?} together");
                Look::impossible(NO_ANSWER, &sentence)
            });
            if look.unreachable.as_ref().is_none_or(|silent| !silent.is_empty()) {
                clients.drop_if(&hash, &set);
            }
            latest.send_replace((Some(Instant::now()), look));
        }));
    }
}

async fn look_now(set: &Set, place: &Place, claimant: &Claimant) -> Look {
    let (database, topics, keys) = tokio::join!(
        claim_database(set, place, claimant),
        claim_topics(set, place, claimant),
        claim_keys(set, place, claimant)
    );
    let topics_are_ours = topics == Ok(Claim::Granted);
    let (mut unreachable, mut refused) = (Vec::new(), Vec::new());
    for claim in [database, topics, keys] {
        match claim {
            Ok(Claim::Granted) => {}
            Ok(Claim::Refused(sentence) | Claim::NotYet(sentence)) => refused.push(sentence),
            Err(sentence) => unreachable.push(sentence),
        }
    }
    let ownership = match (unreachable.first(), refused.is_empty()) {
        (_, false) => Err(refused.join("; ")),
        (Some(silent), true) => Err(silent.clone()),
        (None, true) => Ok(()),
    };
    // Nothing is made before all of it is known to be the sale's. One that has begun gets a lost topic back whatever else
    // is silent.
    let topics = match &ownership {
        Ok(()) => ensure_topics(set, place, claimant, &mut unreachable)
            .await
            .map(Some),
        Err(_) if claimant.has_begun && topics_are_ours => {
            ensure_topics(set, place, claimant, &mut unreachable)
                .await
                .map(Some)
        }
        Err(_) => Ok(None),
    };
    Look {
        reason: NO_ANSWER,
        unreachable: Some(unreachable),
        ownership,
        topics,
    }
}

async fn ensure_topics(
    set: &Set,
    place: &Place,
    claimant: &Claimant,
    unreachable: &mut Vec<String>,
) -> Result<(), String> {
    let ensured = async {
        // What was seen a moment ago is enough to know that nothing is to be made.
        if claimant.has_begun && topics::are_there(&*set.topics().await?, &place.topics) {
            return Ok(());
        }
        topics::ensure(set.kafka().await?, &place.topics).await
    };
    ensured.await.map_err(|error: topics::TopicError| {
        error.refusal().unwrap_or_else(|| {
            let sentence = kafka_is_silent(&error);
            unreachable.push(sentence.clone());
            sentence
        })
    })
}

async fn claim_database(set: &Set, place: &Place, claimant: &Claimant) -> Result<Claim, String> {
    let asked = async {
        let client = set.mongo().await?;
        mongo::ping(&client.database(&place.database)).await?;
        database::claim(client, &place.database, claimant).await
    };
    asked.await.map_err(|error| mongodb_is_silent(&error))
}

async fn claim_topics(set: &Set, place: &Place, claimant: &Claimant) -> Result<Claim, String> {
    let asked = async {
        let plan = &place.topics;
        if topic_marks::are_held(&*set.topics().await?, &plan.prefix, claimant) {
            return Ok(Claim::Granted);
        }
        let client = set.kafka().await?;
        topic_marks::claim(client, &plan.prefix, plan.replication_factor, claimant).await
    };
    asked
        .await
        .or_else(|error: KafkaError| match topics::refusal(&error) {
            Some(sentence) => Ok(Claim::Refused(sentence)),
            None => Err(kafka_is_silent(&error)),
        })
}

async fn claim_keys(set: &Set, place: &Place, claimant: &Claimant) -> Result<Claim, String> {
    let claimed = async { keys::claim(set.redis().await?, &place.redis_prefix, claimant).await };
    claimed.await.map_err(|error| {
        let login_refused = *error.kind() == fred::error::ErrorKind::Auth;
        silence("Redis", "REDIS_URL", login_refused, &error)
    })
}

fn mongodb_is_silent(error: &mongo::MongoError) -> String {
    silence("MongoDB", "MONGODB_URI", error.is_login_refused(), error)
}

fn kafka_is_silent(error: &dyn std::error::Error) -> String {
    silence("Kafka", "KAFKA_BROKERS with KAFKA_SASL_*", false, error)
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

/// Why a sale's data could not be deleted.
#[derive(Debug, thiserror::Error)]
pub enum WipeError {
    /// The topics.
    #[error("cannot delete the sale's topics: {0}")]
    Topics(String),
    /// The database.
    #[error("cannot drop the sale's database: {0}")]
    Database(String),
}

/// What became of a sale's data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wiped {
    /// Whether its topics were deleted; not if they carry another's mark.
    pub topics: bool,
    /// Whether its database was dropped; not if it carries another's mark.
    pub database: bool,
}

/// Deletes the topics, the database and the mark in Redis, as far as they are the sale's own.
///
/// # Errors
/// [`WipeError`].
pub async fn wipe(credentials: &Credentials, place: &Place, claimant: &Claimant) -> Result<Wiped, WipeError> {
    let owner: &Owner = &claimant.owner;
    // Clients of its own: what is shared may be in the middle of anything.
    let set = Set::new(credentials.clone());
    let topics = async {
        let (prefix, copies) = (&place.topics.prefix, place.topics.replication_factor);
        let client = set.kafka().await?;
        // What the sale made before there were marks gets one now, unless another's is there.
        if claimant.has_begun
            && let Claim::NotYet(sentence) = topic_marks::claim(client, prefix, copies, claimant).await?
        {
            return Ok(Err(sentence));
        }
        topic_marks::remove(client, prefix, claimant).await.map(Ok)
    };
    let topics = topics
        .await
        .unwrap_or_else(|error| Err(topics::refusal(&error).unwrap_or_else(|| kafka_is_silent(&error))))
        .map_err(WipeError::Topics)?;
    let database = async {
        let client = set.mongo().await?;
        if claimant.has_begun {
            database::claim(client, &place.database, claimant).await?;
        }
        database::remove(client, &place.database, owner).await
    };
    let database = database
        .await
        .map_err(|error| WipeError::Database(mongodb_is_silent(&error)))?;
    let unmarked = async { keys::remove(set.redis().await?, &place.redis_prefix, owner).await };
    if let Err(error) = unmarked.await {
        tracing::debug!(%error, "the mark in Redis is left to its end");
    }
    Ok(Wiped { topics, database })
}
