//! Whether Redis still knows every key that has made an order.
//!
//! Gateways mark the key of each order in Redis, so that its repeat passes although nothing is left. A Redis that has begun anew may
//! have lost marks: all of them, or those of its last moments, as after a crash with a log that is synced every second, or with a
//! replica that takes over. Then the gateways are told to ask the order service about keys that they do not know.

use crate::store::Store;
use fred::{
    clients::Client,
    error::Error,
    interfaces::{KeysInterface, LuaInterface},
    types::{Expiration, SetOptions},
};
use platform::{
    backends::{
        mongo::{self, MongoError},
        redis,
    },
    gate::{GateKeys, MARKERS_ARE_LOST, MARKERS_ARE_WHOLE, SAID_FOR_SECONDS, TRIES_LAST_SECONDS},
};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// KEYS: what is said of markers, whether tries may be unknown. ARGV: lost, whole, seconds. Takes back that some are lost, unless it was
/// said anew meanwhile.
const NONE_IS_MISSING: &str = "if redis.call('GET', KEYS[1]) == ARGV[1] and redis.call('EXISTS', KEYS[2]) == 0 then \
                               redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3]) end";

/// KEYS: who looks, what is said of markers. ARGV: this look, whole, seconds. Says that they are whole, if nothing was said meanwhile and
/// Redis was not emptied since the look began.
const ALL_ARE_THERE: &str = "if redis.call('GET', KEYS[1]) == ARGV[1] and redis.call('EXISTS', KEYS[2]) == 0 then \
                             redis.call('SET', KEYS[2], ARGV[2], 'EX', ARGV[3]) return 1 else return 0 end";
/// How long a look at the database may take: longer than any call has. Another process looks after that.
const LOOK_SECONDS: i64 = 10;

/// What is said of the markers of one sale.
#[derive(Debug, Clone)]
pub(crate) struct Markers {
    redis: Client,
    keys: GateKeys,
    /// Whether this process knows that the database remembers that something was said.
    is_remembered: Arc<AtomicBool>,
}

impl Markers {
    /// Those under a sale's prefix.
    pub(crate) fn new(redis: Client, prefix: &str) -> Self {
        Self {
            redis,
            keys: GateKeys::new(prefix),
            is_remembered: Arc::default(),
        }
    }

    /// Says what is lost if Redis is another one than when something was said the last time. Of one that is empty the database knows:
    /// where no order was made and nothing was ever said, nothing is lost, and while it does not answer nothing is said.
    pub(crate) async fn look(&self, store: &Store) -> Result<(), Error> {
        let (said, by): (Option<String>, Option<String>) = (
            self.redis.get(self.keys.markers()).await?,
            self.redis.get(self.run_key()).await?,
        );
        let run = redis::run(&self.redis).await;
        match (said.as_deref(), by, run.as_deref()) {
            (Some(_), Some(by), Some(run)) if by != run => self.say_lost(Some(run), None).await,
            (Some(said), by, run) => {
                if by.is_none() {
                    // Said by an earlier version.
                    self.said_in(run).await?;
                }
                self.remember(store).await;
                if said == MARKERS_ARE_LOST {
                    self.look_whether_any_is_missing(store).await?;
                }
                Ok(())
            }
            (None, _, run) => self.look_for_the_first_time(store, run).await,
        }
    }

    /// Nothing is said: the sale is new, or Redis is empty.
    async fn look_for_the_first_time(&self, store: &Store, run: Option<&str>) -> Result<(), Error> {
        // Gone with all the rest if Redis is emptied before the database has answered.
        let look = uuid::Uuid::now_v7().to_string();
        let new = Some(SetOptions::NX);
        self.set(&self.look_key(), &look, LOOK_SECONDS, new).await?;
        let reader = store.clone();
        let may_miss_some = mongo::detached(async move {
            let may = reader.has_said_markers().await? || reader.has_an_order().await?;
            Ok::<_, MongoError>(may)
        });
        match may_miss_some.await {
            // Unless another process has said something meanwhile.
            Ok(true) => self.say_lost(run, Some(SetOptions::NX)).await,
            Ok(false) => {
                let keys = vec![self.look_key(), self.keys.markers()];
                let words = vec![look, MARKERS_ARE_WHOLE.to_owned(), SAID_FOR_SECONDS.to_string()];
                let said: i64 = self.redis.eval(ALL_ARE_THERE, keys, words).await?;
                if said == 1 {
                    self.said_in(run).await
                } else {
                    Ok(())
                }
            }
            Err(error) => {
                tracing::debug!(%error, "cannot look for orders");
                Ok(())
            }
        }
    }

    /// Keeps in the database that something was said, once for each process: a Redis that is empty then has lost it.
    async fn remember(&self, store: &Store) {
        if self.is_remembered.load(Ordering::Relaxed) {
            return;
        }
        let writer = store.clone();
        match mongo::detached(async move { writer.note_said_markers().await.map_err(MongoError::from) }).await
        {
            Ok(()) => self.is_remembered.store(true, Ordering::Relaxed),
            Err(error) => tracing::debug!(%error, "cannot keep that markers were spoken of; trying again"),
        }
    }

    /// Where the tries of before have ended and none of them has made an order, no marker is missing: as where Redis began anew before
    /// the sale.
    async fn look_whether_any_is_missing(&self, store: &Store) -> Result<(), Error> {
        if self.redis.exists::<i64, _>(self.keys.tries_unknown()).await? > 0 {
            return Ok(());
        }
        let reader = store.clone();
        let has_an_order =
            mongo::detached(async move { reader.has_an_order().await.map_err(MongoError::from) });
        if !matches!(has_an_order.await, Ok(false)) {
            return Ok(());
        }
        let keys = vec![self.keys.markers(), self.keys.tries_unknown()];
        let words = vec![
            MARKERS_ARE_LOST.to_owned(),
            MARKERS_ARE_WHOLE.to_owned(),
            SAID_FOR_SECONDS.to_string(),
        ];
        self.redis.eval::<(), _, _, _>(NONE_IS_MISSING, keys, words).await
    }

    /// Has what was said outlive the next hour.
    pub(crate) async fn keep(&self) -> Result<(), Error> {
        for key in [self.keys.markers(), self.run_key()] {
            self.redis.expire::<(), _>(key, SAID_FOR_SECONDS, None).await?;
        }
        Ok(())
    }

    /// The run of Redis in which it was said.
    fn run_key(&self) -> String {
        format!("{}gate:run", self.keys.prefix())
    }

    /// Which look at the database goes on.
    fn look_key(&self) -> String {
        format!("{}gate:look", self.keys.prefix())
    }

    async fn say_lost(&self, run: Option<&str>, only: Option<SetOptions>) -> Result<(), Error> {
        tracing::warn!(
            "Redis has begun anew and may have lost what it knew of this sale's orders; repeats are looked up from now on"
        );
        // First, for from the next word on it would count as long ago.
        self.set(&self.keys.tries_unknown(), "1", TRIES_LAST_SECONDS, None)
            .await?;
        self.set(&self.keys.markers(), MARKERS_ARE_LOST, SAID_FOR_SECONDS, only)
            .await?;
        self.said_in(run).await
    }

    async fn said_in(&self, run: Option<&str>) -> Result<(), Error> {
        match run {
            Some(run) => self.set(&self.run_key(), run, SAID_FOR_SECONDS, None).await,
            None => Ok(()),
        }
    }

    async fn set(&self, key: &str, word: &str, seconds: i64, only: Option<SetOptions>) -> Result<(), Error> {
        let expiry = Some(Expiration::EX(seconds));
        self.redis.set(key, word, expiry, only, false).await
    }
}
