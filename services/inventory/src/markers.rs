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
    backends::mongo::{self, MongoError},
    gate::{self, GateKeys, MARKERS_ARE_LOST, MARKERS_ARE_WHOLE, SAID_FOR_SECONDS, TRIES_LAST_SECONDS},
};

/// KEYS: what is said of markers, whether tries may be unknown.
/// ARGV: lost, whole, seconds.
/// Takes back that some are lost, unless that was said within the time of a try.
const TAKE_BACK: &str = "if redis.call('GET', KEYS[1]) == ARGV[1] and redis.call('EXISTS', KEYS[2]) == 0 then \
                         redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3]) end";

/// KEYS: which look goes on, what is said of markers, in which run of Redis.
/// ARGV: this look, whole, seconds, the run or nothing.
/// Says that they are whole, unless something was said or Redis was emptied since the look began.
const SAY_WHOLE: &str = r"
if redis.call('GET', KEYS[1]) ~= ARGV[1] or redis.call('EXISTS', KEYS[2]) == 1 then return end
redis.call('SET', KEYS[2], ARGV[2], 'EX', ARGV[3])
if ARGV[4] ~= '' then redis.call('SET', KEYS[3], ARGV[4], 'EX', ARGV[3]) end
";

/// KEYS: what is said of markers, in which run of Redis, whether tries may be unknown.
/// ARGV: lost, seconds, the run or nothing, the seconds of tries.
/// Says that they are lost, unless something was said.
const SAY_LOST: &str = r"
if redis.call('EXISTS', KEYS[1]) == 1 then return end
redis.call('SET', KEYS[3], '1', 'EX', ARGV[4])
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
if ARGV[3] ~= '' then redis.call('SET', KEYS[2], ARGV[3], 'EX', ARGV[2]) end
";

/// How long nobody else looks into the database: longer than a call may take. It ends when the answer is there.
const LOOK_SECONDS: i64 = 10;

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
    /// where no order was made and nothing was ever said, nothing is lost, and while it does not answer nothing is said.
    pub(crate) async fn look(&self, store: &Store) -> Result<(), Error> {
        let run = gate::notice_a_new_run(&self.redis, &self.keys).await?;
        let said: Option<String> = self.redis.get(self.keys.markers()).await?;
        match said.as_deref() {
            None => self.look_for_the_first_time(store, run.unwrap_or_default()).await,
            Some(MARKERS_ARE_LOST) => self.look_whether_any_is_missing(store).await,
            Some(_) => Ok(()),
        }
    }

    /// Nothing is said: the sale is new, or Redis is empty. One process looks at a time: the note that it leaves would tell another one
    /// that Redis was emptied.
    async fn look_for_the_first_time(&self, store: &Store, run: String) -> Result<(), Error> {
        let look = uuid::Uuid::now_v7().to_string();
        let (expiry, new) = (Some(Expiration::EX(LOOK_SECONDS)), Some(SetOptions::NX));
        let taken: Option<String> = self.redis.set(self.look_key(), &look, expiry, new, false).await?;
        if taken.is_none() {
            return Ok(());
        }
        let seconds = SAID_FOR_SECONDS.to_string();
        match self
            .ask(store, async |store| {
                store.speaks_of_markers_for_the_first_time().await
            })
            .await
        {
            Some(true) => {
                let keys = vec![self.look_key(), self.keys.markers(), self.keys.run()];
                let words = vec![look, MARKERS_ARE_WHOLE.to_owned(), seconds, run];
                self.redis.eval::<(), _, _, _>(SAY_WHOLE, keys, words).await?;
            }
            Some(false) => {
                tracing::warn!(
                    "Redis is empty and may have lost what it knew of this sale's orders; repeats are looked up from now on"
                );
                let keys = vec![self.keys.markers(), self.keys.run(), self.keys.tries_unknown()];
                let words = vec![
                    MARKERS_ARE_LOST.to_owned(),
                    seconds,
                    run,
                    TRIES_LAST_SECONDS.to_string(),
                ];
                self.redis.eval::<(), _, _, _>(SAY_LOST, keys, words).await?;
            }
            None => {}
        }
        self.redis
            .set(self.look_key(), "", Some(Expiration::PX(1)), None, false)
            .await
    }

    /// Where the tries of before have ended and none of them has made an order, no marker is missing: as where Redis began anew before
    /// the sale.
    async fn look_whether_any_is_missing(&self, store: &Store) -> Result<(), Error> {
        if self.redis.exists::<i64, _>(self.keys.tries_unknown()).await? > 0 {
            return Ok(());
        }
        if self.ask(store, async |store| store.has_an_order().await).await != Some(false) {
            return Ok(());
        }
        let keys = vec![self.keys.markers(), self.keys.tries_unknown()];
        let words = vec![
            MARKERS_ARE_LOST.to_owned(),
            MARKERS_ARE_WHOLE.to_owned(),
            SAID_FOR_SECONDS.to_string(),
        ];
        self.redis.eval(TAKE_BACK, keys, words).await
    }

    /// Asks the database; `None` where it does not answer.
    async fn ask<F>(&self, store: &Store, question: impl FnOnce(Store) -> F) -> Option<bool>
    where
        F: Future<Output = Result<bool, mongodb::error::Error>> + Send + 'static,
    {
        let question = question(store.clone());
        match mongo::detached(async move { question.await.map_err(MongoError::from) }).await {
            Ok(answer) => Some(answer),
            Err(error) => {
                tracing::warn!(%error, "it is not known whether Redis has lost what it knew of orders; nobody is refused meanwhile");
                None
            }
        }
    }

    /// Has what was said outlive the next hour.
    pub(crate) async fn keep(&self) -> Result<(), Error> {
        for key in [self.keys.markers(), self.keys.run()] {
            self.redis.expire::<(), _>(key, SAID_FOR_SECONDS, None).await?;
        }
        Ok(())
    }

    /// Which look at the database goes on.
    fn look_key(&self) -> String {
        format!("{}gate:look", self.keys.prefix())
    }
}
