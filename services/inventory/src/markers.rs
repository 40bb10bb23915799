//! Whether Redis still knows every key that has made an order.
//!
//! Gateways mark the key of each order in Redis, so that its repeat passes although nothing is left. A Redis that has begun anew may
//! have lost marks: all of them, or those of its last moments, as after a crash with a log that is synced every second, or with a
//! replica that takes over. Then the gateways are told to ask the order service about keys that they do not know.

use crate::store::Store;
use fred::{
    clients::Client,
    error::Error,
    interfaces::KeysInterface,
    types::{Expiration, SetOptions},
};
use platform::{
    backends::{
        mongo::{self, MongoError},
        redis,
    },
    gate::{GateKeys, MARKERS_ARE_LOST, MARKERS_ARE_WHOLE, SAID_FOR_SECONDS, TRIES_LAST_SECONDS},
};

/// What is said of the markers of one sale.
#[derive(Debug, Clone)]
pub(crate) struct Markers {
    redis: Client,
    keys: GateKeys,
}

impl Markers {
    /// Those under a sale's prefix.
    pub(crate) fn new(redis: Client, prefix: &str) -> Self {
        Self {
            redis,
            keys: GateKeys::new(prefix),
        }
    }

    /// Says what is lost if Redis is another one than when something was said the last time. Of one that is empty the database knows:
    /// where no order was made yet nothing is lost, and while it does not answer nothing is said.
    pub(crate) async fn look(&self, store: &Store) -> Result<(), Error> {
        let (said, by): (Option<String>, Option<String>) = (
            self.redis.get(self.keys.markers()).await?,
            self.redis.get(self.run_key()).await?,
        );
        let run = redis::run(&self.redis).await;
        if said.is_some() {
            return match (by, run) {
                (Some(by), Some(run)) if by != run => self.say_lost(Some(&run)).await,
                // Said by an earlier version.
                (None, run) => self.said_in(run.as_deref()).await,
                _ => Ok(()),
            };
        }
        let reader = store.clone();
        match mongo::detached(async move { reader.has_an_order().await.map_err(MongoError::from) }).await {
            Ok(true) => self.say_lost(run.as_deref()).await,
            Ok(false) => self.say_whole(run.as_deref()).await,
            Err(error) => {
                tracing::debug!(%error, "cannot look for orders");
                Ok(())
            }
        }
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

    async fn say_lost(&self, run: Option<&str>) -> Result<(), Error> {
        tracing::warn!(
            "Redis has begun anew and may have lost what it knew of this sale's orders; repeats are looked up from now on"
        );
        // First, for from the next word on it would count as long ago.
        self.set(&self.keys.tries_unknown(), "1", TRIES_LAST_SECONDS, None)
            .await?;
        self.set(&self.keys.markers(), MARKERS_ARE_LOST, SAID_FOR_SECONDS, None)
            .await?;
        self.said_in(run).await
    }

    async fn say_whole(&self, run: Option<&str>) -> Result<(), Error> {
        // Another process may have seen an order since.
        let new = Some(SetOptions::NX);
        self.set(&self.keys.markers(), MARKERS_ARE_WHOLE, SAID_FOR_SECONDS, new)
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
