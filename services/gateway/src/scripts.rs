//! The gate's scripts, by the names that Redis has for them.
//!
//! A Redis that has begun anew knows none, whatever data it has come back with (but before version 7 with replicas, whose data hold the
//! scripts). So one that does not know a script is a sign of that, and before it gets the script it is said that markers may be lost: no buyer
//! is refused by data that are older than Redis, not even for the half second until inventory has looked.

use fred::{
    clients::Client,
    error::Error,
    interfaces::LuaInterface,
    types::{FromValue, MultipleKeys, MultipleValues},
    util::sha1_hash,
};
use platform::gate::{self, GateKeys};

/// A script and its name.
#[derive(Debug)]
pub(crate) struct Script {
    text: String,
    hash: String,
}

impl Script {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        let text = text.into();
        let hash = sha1_hash(&text);
        Self { text, hash }
    }

    /// Runs it.
    pub(crate) async fn run<R: FromValue>(
        &self,
        redis: &Client,
        names: &GateKeys,
        keys: Vec<String>,
        arguments: Vec<String>,
    ) -> Result<R, Error> {
        let (keys, arguments) = (MultipleKeys::from(keys), MultipleValues::try_from(arguments)?);
        match redis
            .evalsha(self.hash.as_str(), keys.clone(), arguments.clone())
            .await
        {
            Err(error) if is_not_known(&error) => {
                gate::notice_a_new_run(redis, names).await?;
                redis.eval(self.text.as_str(), keys, arguments).await
            }
            answer => answer,
        }
    }
}

fn is_not_known(error: &Error) -> bool {
    error.details().starts_with("NOSCRIPT")
}
