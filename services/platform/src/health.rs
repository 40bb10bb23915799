//! Readiness is what parts release when they are warm; liveness is that loops which should turn do turn. A process that is alive and
//! cannot do its work, since something that it needs is away, says so, and stays ready: what it can still do it does, and another
//! process would find the same.

use crate::metrics::{Metric, must};
use prometheus::{IntGauge, register_int_gauge};
use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

/// How long work may fail before it is said.
const FAILS_FOR: Duration = Duration::from_secs(20);

/// How long ago the last try may be.
const TRIED_WITHIN: Duration = Duration::from_secs(60);

static FAILING: LazyLock<IntGauge> = LazyLock::new(|| {
    must(register_int_gauge!(
        "quicksale_work_failing",
        "Kinds of work of this process that have failed for more than 20 seconds on end; /readyz names them."
    ))
});

/// What is counted here.
pub(crate) fn metrics() -> Vec<Metric> {
    vec![&*FAILING]
}

/// The health of a process, shared by its parts and its admin server.
#[derive(Debug, Clone)]
pub struct Health {
    state: Arc<Mutex<State>>,
    stop: CancellationToken,
}

#[derive(Debug, Default)]
struct State {
    /// What is waited for, and why it is not there, once somebody has said so.
    waiting_for: BTreeMap<&'static str, Option<String>>,
    loops: BTreeMap<String, (Instant, Duration)>,
    /// Work that fails.
    failing: BTreeMap<String, Failing>,
}

/// Work that has failed and was not done since.
#[derive(Debug)]
struct Failing {
    since: Instant,
    /// When it was tried the last time.
    tried: Instant,
    why: String,
}

/// Held by a part that is not ready yet.
#[derive(Debug)]
pub struct ReadinessGate {
    name: &'static str,
    health: Health,
}

/// Beaten by a loop each time it turns.
#[derive(Debug, Clone)]
pub struct Heartbeat {
    name: String,
    health: Health,
}

/// Told by a kind of work whether it can be done.
#[derive(Debug)]
pub struct Work {
    name: String,
    health: Health,
}

impl Health {
    /// A process that is ready once every gate is released, until it is asked to stop.
    pub fn new(stop: CancellationToken) -> Self {
        Self {
            state: Arc::default(),
            stop,
        }
    }

    /// Keeps the process from being ready until the gate is released.
    pub fn gate(&self, name: &'static str) -> ReadinessGate {
        self.lock().waiting_for.insert(name, None);
        ReadinessGate {
            name,
            health: self.clone(),
        }
    }

    /// Makes the process count as dead when the loop has not turned for `at_most`.
    pub fn heartbeat(&self, name: impl Into<String>, at_most: Duration) -> Heartbeat {
        let name = name.into();
        self.lock().loops.insert(name.clone(), (Instant::now(), at_most));
        Heartbeat {
            name,
            health: self.clone(),
        }
    }

    /// A kind of work that may come to fail.
    pub fn work(&self, name: impl Into<String>) -> Work {
        Work {
            name: name.into(),
            health: self.clone(),
        }
    }

    /// Which work has failed for a while, and why; empty when all is done.
    pub fn failing(&self) -> Vec<String> {
        self.failing_at(Instant::now())
    }

    fn failing_at(&self, now: Instant) -> Vec<String> {
        let state = self.lock();
        let long = |(name, work): (&String, &Failing)| {
            let for_so_long = now.saturating_duration_since(work.since);
            // Where nobody has tried for a while, nobody knows.
            let is_tried = now.saturating_duration_since(work.tried) < TRIED_WITHIN;
            let why = &work.why;
            (for_so_long > FAILS_FOR && is_tried)
                .then(|| format!("{name} has failed for {} s: {why}", for_so_long.as_secs()))
        };
        let failing: Vec<String> = state.failing.iter().filter_map(long).collect();
        FAILING.set(i64::try_from(failing.len()).unwrap_or(i64::MAX));
        failing
    }

    /// Whether some work has failed for so long, and nothing of it was done meanwhile.
    pub fn has_failed_for(&self, work: &str, how_long: Duration, now: Instant) -> bool {
        let state = self.lock();
        let since = state.failing.get(work).map(|failing| failing.since);
        since.is_some_and(|since| now.saturating_duration_since(since) >= how_long)
    }

    /// Why the process is not ready; empty when it is.
    pub fn not_ready(&self) -> Vec<String> {
        if self.stop.is_cancelled() {
            return vec!["stopping".to_owned()];
        }
        self.lock()
            .waiting_for
            .iter()
            .map(|(name, why)| match why {
                Some(why) => format!("waiting for {name}: {why}"),
                None => format!("waiting for {name}"),
            })
            .collect()
    }

    /// Which loops are stuck; empty when the process is alive.
    pub fn stuck(&self) -> Vec<String> {
        let state = self.lock();
        let late = |(name, (at, most)): (&String, &(Instant, Duration))| {
            (at.elapsed() > *most).then(|| format!("{name} has not turned for {} s", at.elapsed().as_secs()))
        };
        state.loops.iter().filter_map(late).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ReadinessGate {
    /// Why this part is not ready yet, for `/readyz`.
    pub fn waits(&self, why: &dyn std::fmt::Display) {
        let why = why.to_string();
        self.health.lock().waiting_for.insert(self.name, Some(why));
    }

    /// This part is ready.
    pub fn release(self) {
        self.health.lock().waiting_for.remove(self.name);
        tracing::info!(part = self.name, "ready");
    }

    /// Releases the gate once the work is done, or after a while regardless: for what makes a part answer better, and
    /// must not keep the process from answering at all. `None` if the work is still to be done.
    pub async fn release_within<T>(self, at_most: Duration, work: impl Future<Output = T>) -> Option<T> {
        let done = tokio::time::timeout(at_most, work).await.ok();
        if done.is_none() {
            tracing::warn!(part = self.name, waited = ?at_most, "taking requests without this part");
        }
        self.release();
        done
    }
}

impl Heartbeat {
    /// The loop has turned.
    pub fn beat(&self) {
        if let Some(entry) = self.health.lock().loops.get_mut(&self.name) {
            entry.0 = Instant::now();
        }
    }

    /// The loop has ended, and nobody waits for it to turn any more.
    pub fn retire(self) {
        self.health.lock().loops.remove(&self.name);
    }
}

impl Work {
    /// It was done, or there was nothing to do.
    pub fn done(&self) {
        self.health.lock().failing.remove(&self.name);
    }

    /// It could not be done.
    pub fn failed(&self, why: &dyn std::fmt::Display) {
        let mut state = self.health.lock();
        let why = why.to_string();
        match state.failing.get_mut(&self.name) {
            Some(work) => {
                work.tried = Instant::now();
                work.why = why;
            }
            None => {
                let now = Instant::now();
                let failing = Failing {
                    since: now,
                    tried: now,
                    why,
                };
                state.failing.insert(self.name.clone(), failing);
            }
        }
    }
}

impl Drop for Work {
    /// Nobody does it here any more.
    fn drop(&mut self) {
        self.done();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[test]
    fn work_that_fails_for_a_while_is_named_and_keeps_nobody_from_being_ready() {
        let health = Health::new(CancellationToken::new());
        let (batches, reading) = (health.work("batches"), health.work("reading"));
        let now = Instant::now();
        batches.failed(&"the first time");
        batches.failed(&"no primary");
        reading.failed(&"no broker");
        let later = now + FAILS_FOR + Duration::from_secs(5);
        assert!(health.failing_at(now + FAILS_FOR).is_empty());
        let named = health.failing_at(later);
        assert_eq!(named.len(), 2, "{named:?}");
        assert!(health.has_failed_for("batches", FAILS_FOR, later));
        assert!(
            !health.has_failed_for("batches", FAILS_FOR, now)
                && !health.has_failed_for("other", FAILS_FOR, later)
        );
        assert!(named[0].starts_with("batches has failed for 2") && named[0].ends_with(": no primary"));
        assert!(health.not_ready().is_empty());
        batches.done();
        drop(reading);
        assert!(health.failing_at(later).is_empty());
    }

    #[test]
    fn ready_when_every_gate_is_released_and_until_asked_to_stop() {
        let stop = CancellationToken::new();
        let health = Health::new(stop.clone());
        let (a, b) = (health.gate("a"), health.gate("b"));
        a.release();
        assert_eq!(health.not_ready(), ["waiting for b"]);
        b.waits(&"no primary");
        assert_eq!(health.not_ready(), ["waiting for b: no primary"]);
        b.release();
        assert!(health.not_ready().is_empty());
        stop.cancel();
        assert_eq!(health.not_ready(), ["stopping"]);
    }

    #[tokio::test]
    async fn a_gate_is_released_by_its_work_or_in_the_end_without_it() {
        let health = Health::new(CancellationToken::new());
        let at_most = Duration::from_millis(1);
        for (name, work, done) in [
            ("done", std::future::ready(1).left_future(), Some(1)),
            ("late", std::future::pending().right_future(), None),
        ] {
            let gate = health.gate(name);
            assert_eq!(health.not_ready().len(), 1);
            assert_eq!(gate.release_within(at_most, work).await, done, "{name}");
            assert!(health.not_ready().is_empty());
        }
    }

    #[test]
    fn a_loop_that_does_not_turn_is_stuck() {
        let health = Health::new(CancellationToken::new());
        let heart = health.heartbeat("relay", Duration::ZERO);
        std::thread::sleep(Duration::from_millis(2));
        assert_eq!(health.stuck().len(), 1);
        health.lock().loops.get_mut("relay").unwrap().1 = Duration::from_secs(60);
        heart.beat();
        assert!(health.stuck().is_empty());
    }
}
