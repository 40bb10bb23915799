//! The scripts of the gate and the limiter, and how Redis is asked to run them: while one call is under way, the next ones gather, and go
//! together as one. A call costs both sides several times what a script in it does.
//!
//! All of them are one text, by the name that Redis has for it. A Redis that has begun anew does not know it, whatever data it has come back
//! with (but before version 7 with replicas, whose data hold the scripts). So one that does not know it is a sign of that, and before it gets
//! the text it is said that markers may be lost: no buyer is refused by data that are older than Redis, not even for the half second
//! until inventory has looked.

use fred::{
    clients::Client,
    error::{Error, ErrorKind},
    interfaces::LuaInterface,
    types::{MultipleKeys, MultipleValues, Value},
    util::sha1_hash,
};
use futures::{StreamExt, stream::FuturesUnordered};
use platform::{
    backends::redis::COMMAND_DEADLINE,
    gate::{self, GateKeys},
    health::Work,
    metrics::{Metric, must},
};
use prometheus::{Histogram, HistogramVec, register_histogram, register_histogram_vec};
use std::{
    future::Future,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// Calls under way at a time: while Redis works on one, the next is on its way.
const CALLS: usize = 2;
/// Scripts in one call: Redis does nothing else for that time, which is a millisecond or two.
const TOGETHER: usize = 64;
/// Keys and arguments in one call, unless a single script has more. An order of a hundred products has four hundred, and Redis takes as long
/// for it as for dozens of others.
const WORDS: usize = 2_000;
/// Scripts that wait for a call; more are told that Redis is not available. Redis does as many in a tenth of a second.
const LINE: usize = 4_096;

static SECONDS: LazyLock<HistogramVec> = LazyLock::new(|| {
    must(register_histogram_vec!(
        "quicksale_gate_script_duration_seconds",
        "Seconds until a script of the gate or the limiter was answered, by what it does: the wait for others that go with it is in it, and errors are.",
        &["script"],
        vec![
            0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5
        ]
    ))
});
static SENT_TOGETHER: LazyLock<Histogram> = LazyLock::new(|| {
    must(register_histogram!(
        "quicksale_gate_scripts_sent_together",
        "Scripts of the gate and the limiter that Redis was asked to run in one call.",
        vec![1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0]
    ))
});

/// All there are.
fn all() -> impl Iterator<Item = &'static Script> {
    crate::gate::scripts()
        .into_iter()
        .chain(crate::limiter::scripts())
}

/// What is counted here.
pub(crate) fn metrics() -> Vec<Metric> {
    for script in all() {
        SECONDS.with_label_values(&[script.name]);
    }
    vec![&*SECONDS, &*SENT_TOGETHER]
}

/// A script. It is the body of a function, with its own KEYS and ARGV, and returns numbers.
#[derive(Debug)]
pub(crate) struct Script {
    /// What it does, as metrics name it.
    name: &'static str,
    text: String,
    seconds: Histogram,
}

impl Script {
    pub(crate) fn new(name: &'static str, text: impl Into<String>) -> Self {
        Self {
            name,
            text: text.into(),
            seconds: SECONDS.with_label_values(&[name]),
        }
    }
}

/// Runs the scripts that it is told: keys and arguments of all of them one after the other, and for each its name and how many it has of
/// both. Each answers by itself, with numbers, or with a sentence where it has failed.
const RUN: &str = r"
local said, key, at = {}, 0, 1
while at <= #ARGV do
  local keys, arguments = {}, {}
  for i = 1, tonumber(ARGV[at + 1]) do keys[i] = KEYS[key + i] end
  for i = 1, tonumber(ARGV[at + 2]) do arguments[i] = ARGV[at + 2 + i] end
  local done, answer = pcall(scripts[ARGV[at]], keys, arguments)
  if not done then answer = tostring(type(answer) == 'table' and answer.err or answer) end
  if answer == nil then answer = 'a script has said nothing' end
  said[#said + 1] = answer
  key, at = key + #keys, at + 3 + #arguments
end
return said
";

/// All scripts as Redis knows them.
#[derive(Debug)]
struct Text {
    text: String,
    hash: String,
}

impl Text {
    fn of<'s>(scripts: impl IntoIterator<Item = &'s Script>) -> Self {
        let mut text = "local scripts = {}\n".to_owned();
        for Script { name, text: body, .. } in scripts {
            text += &format!("scripts['{name}'] = function(KEYS, ARGV)\n{body}\nend\n");
        }
        text += RUN;
        let hash = sha1_hash(&text);
        Self { text, hash }
    }
}

/// One script to run.
#[derive(Debug)]
struct Ask {
    script: &'static Script,
    keys: Vec<String>,
    arguments: Vec<String>,
    begun: Instant,
    answer: oneshot::Sender<Result<Vec<i64>, Error>>,
}

/// Has Redis run scripts. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Scripts(mpsc::Sender<Ask>);

/// What calls are made with.
#[derive(Debug)]
struct Caller {
    redis: Client,
    keys: GateKeys,
    text: Text,
    /// Whether Redis does what it is asked to.
    work: Work,
    fails: AtomicBool,
}

/// Scripts under a sale's prefix, and the task that has Redis run them. It lasts until the process is told to end; what is asked after that is
/// still answered, for as long as there is somebody who may ask.
pub fn start(
    redis: Client,
    prefix: &str,
    work: Work,
    stop: CancellationToken,
) -> (Scripts, impl Future<Output = ()> + use<>) {
    let (asks, line) = mpsc::channel(LINE);
    let caller = Caller {
        redis,
        keys: GateKeys::new(prefix),
        text: Text::of(all()),
        work,
        fails: AtomicBool::new(false),
    };
    let serve = async move {
        let serving = tokio::spawn(Arc::new(caller).serve(line));
        tokio::select! {
            _ended = serving => {}
            () = stop.cancelled() => {}
        }
    };
    (Scripts(asks), serve)
}

impl Scripts {
    /// Has Redis run one.
    ///
    /// # Errors
    /// Redis does not answer, the script has failed, or too many wait for it.
    pub(crate) async fn run(
        &self,
        script: &'static Script,
        keys: Vec<String>,
        arguments: Vec<String>,
    ) -> Result<Vec<i64>, Error> {
        let begun = Instant::now();
        let (answer, answered) = oneshot::channel();
        let ask = Ask {
            script,
            keys,
            arguments,
            begun,
            answer,
        };
        let said = match self.0.try_send(ask) {
            Ok(()) => answered
                .await
                .unwrap_or_else(|_| Err(not_available("the process ends"))),
            Err(_) => Err(not_available("too many wait for Redis")),
        };
        script.seconds.observe(begun.elapsed().as_secs_f64());
        said
    }
}

fn not_available(why: &'static str) -> Error {
    Error::new(ErrorKind::Timeout, why)
}

impl Caller {
    async fn serve(self: Arc<Self>, mut line: mpsc::Receiver<Ask>) {
        let mut calls = FuturesUnordered::new();
        let mut asks = Vec::with_capacity(TOGETHER);
        loop {
            while calls.len() < CALLS && !asks.is_empty() {
                let together: Vec<Ask> = asks.drain(..fits_in_a_call(&asks)).collect();
                calls.push(Arc::clone(&self).call(together));
            }
            tokio::select! {
                _done = calls.next(), if !calls.is_empty() => {}
                come = line.recv_many(&mut asks, TOGETHER), if calls.len() < CALLS => {
                    if come == 0 {
                        break;
                    }
                }
            }
        }
        while calls.next().await.is_some() {}
    }

    /// Runs scripts in one call, and hands everybody their answer.
    async fn call(self: Arc<Self>, mut asks: Vec<Ask>) {
        // Redis has stood still since these came: who has waited so long is not kept waiting for a call as well.
        for late in asks.extract_if(.., |ask| ask.begun.elapsed() > COMMAND_DEADLINE) {
            drop(
                late.answer
                    .send(Err(not_available("Redis has not answered in time"))),
            );
        }
        if asks.is_empty() {
            return;
        }
        #[expect(clippy::cast_precision_loss, reason = "64 at the most")]
        SENT_TOGETHER.observe(asks.len() as f64);
        let (mut keys, mut words) = (
            Vec::with_capacity(asks.len() * 9),
            Vec::with_capacity(asks.len() * 13),
        );
        for ask in &mut asks {
            words.push(Value::from_static_str(ask.script.name));
            words.push(count(ask.keys.len()));
            words.push(count(ask.arguments.len()));
            words.extend(ask.arguments.drain(..).map(Value::from));
            keys.append(&mut ask.keys);
        }
        let said = self
            .run(MultipleKeys::from(keys), MultipleValues::Array(words))
            .await;
        let mut said = match said {
            Ok(Value::Array(said)) if said.len() == asks.len() => Ok(said.into_iter()),
            Ok(_) => Err(Error::new(
                ErrorKind::Parse,
                "Redis has not answered as scripts do",
            )),
            Err(error) => Err(error),
        };
        self.note(said.as_ref().err());
        for ask in asks {
            let answer = match &mut said {
                Ok(said) => said
                    .next()
                    .map_or_else(|| Err(not_available("no answer")), numbers),
                Err(error) => Err(error.clone()),
            };
            // Whoever asked may have gone.
            drop(ask.answer.send(answer));
        }
    }

    /// Says to whoever asks after this process whether Redis can be used.
    fn note(&self, error: Option<&Error>) {
        match error {
            Some(error) => {
                self.fails.store(true, Ordering::Relaxed);
                self.work.failed(error);
            }
            None if self.fails.swap(false, Ordering::Relaxed) => self.work.done(),
            None => {}
        }
    }

    /// Where Redis does not know the scripts, it has begun anew, which the gate has to be told of.
    async fn run(&self, keys: MultipleKeys, words: MultipleValues) -> Result<Value, Error> {
        let known = self
            .redis
            .evalsha(self.text.hash.as_str(), keys.clone(), words.clone());
        match known.await {
            Err(error) if is_not_known(&error) => {
                gate::notice_a_new_run(&self.redis, &self.keys).await?;
                self.redis.eval(self.text.text.as_str(), keys, words).await
            }
            answer => answer,
        }
    }
}

/// How many of those that wait go next.
fn fits_in_a_call(asks: &[Ask]) -> usize {
    let mut words = 0;
    let fits = |ask: &&Ask| {
        words += ask.keys.len() + ask.arguments.len();
        words <= WORDS
    };
    asks.iter().take_while(fits).count().max(1)
}

fn count(of: usize) -> Value {
    Value::Integer(i64::try_from(of).unwrap_or(i64::MAX))
}

/// What a script has said.
fn numbers(said: Value) -> Result<Vec<i64>, Error> {
    match said {
        Value::Array(_) | Value::Integer(_) => said.convert(),
        failed => Err(Error::new(
            ErrorKind::Unknown,
            failed
                .into_string()
                .unwrap_or_else(|| "a script has failed".to_owned()),
        )),
    }
}

fn is_not_known(error: &Error) -> bool {
    error.details().starts_with("NOSCRIPT")
}
