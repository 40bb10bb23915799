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
use platform::{
    gate::{self, GateKeys},
    metrics::{Metric, must},
};
use prometheus::{HistogramVec, register_histogram_vec};
use std::{sync::LazyLock, time::Instant};

static SECONDS: LazyLock<HistogramVec> = LazyLock::new(|| {
    must(register_histogram_vec!(
        "quicksale_gate_script_duration_seconds",
        "Seconds until Redis has answered a script of the gate or the limiter, by what it does; errors included.",
        &["script"],
        vec![
            0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5
        ]
    ))
});

/// What is counted here.
pub(crate) fn metrics() -> Vec<Metric> {
    vec![&*SECONDS]
}

/// A script and its name.
#[derive(Debug)]
pub(crate) struct Script {
    /// What it does, as metrics name it.
    name: &'static str,
    text: String,
    hash: String,
}

impl Script {
    pub(crate) fn new(name: &'static str, text: impl Into<String>) -> Self {
        let text = text.into();
        let hash = sha1_hash(&text);
        Self { name, text, hash }
    }

    /// Shows it as one that has not run yet.
    pub(crate) fn show(&self) {
        SECONDS.with_label_values(&[self.name]);
    }

    /// Runs it. Where Redis does not know it, it has begun anew, which the gate has to be told of: `names` are its keys.
    pub(crate) async fn run<R: FromValue>(
        &self,
        redis: &Client,
        names: Option<&GateKeys>,
        keys: Vec<String>,
        arguments: Vec<String>,
    ) -> Result<R, Error> {
        let begun = Instant::now();
        let answer = self.answer(redis, names, keys, arguments).await;
        SECONDS
            .with_label_values(&[self.name])
            .observe(begun.elapsed().as_secs_f64());
        answer
    }

    async fn answer<R: FromValue>(
        &self,
        redis: &Client,
        names: Option<&GateKeys>,
        keys: Vec<String>,
        arguments: Vec<String>,
    ) -> Result<R, Error> {
        let (keys, arguments) = (MultipleKeys::from(keys), MultipleValues::try_from(arguments)?);
        match redis
            .evalsha(self.hash.as_str(), keys.clone(), arguments.clone())
            .await
        {
            Err(error) if is_not_known(&error) => {
                if let Some(names) = names {
                    gate::notice_a_new_run(redis, names).await?;
                }
                redis.eval(self.text.as_str(), keys, arguments).await
            }
            answer => answer,
        }
    }
}

fn is_not_known(error: &Error) -> bool {
    error.details().starts_with("NOSCRIPT")
}
