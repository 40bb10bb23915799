//! Noticing that this process has stood still: stopped, swapped out, or without a CPU for seconds.
//!
//! Requests that came meanwhile wait in its sockets, and look new when it goes on. Whoever sent one has been told by then that nobody knows
//! what became of it, and may have asked another process, which has refused it.

use crate::rounds::Rounds;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

/// How often the process notes that it goes on.
const EVERY: Duration = Duration::from_millis(250);
/// A standstill is longer than this: well above what a busy machine takes, and less than anybody waits for an answer.
const LONG: Duration = Duration::from_secs(5);
/// How long after a standstill requests from before it may still be read.
const READ_WITHIN: Duration = Duration::from_secs(2);

/// Whether the process has stood still, for all who ask.
#[derive(Debug, Clone)]
pub struct Standstill(Arc<Times>);

/// In milliseconds from `begun` on.
#[derive(Debug)]
struct Times {
    begun: Instant,
    /// When the process noted the last time that it goes on.
    noted: AtomicU64,
    /// Until when what is read may be from before a standstill.
    stale_until: AtomicU64,
}

impl Standstill {
    /// Of a process that has just begun.
    pub fn new(now: Instant) -> Self {
        Self(Arc::new(Times {
            begun: now,
            noted: AtomicU64::new(0),
            stale_until: AtomicU64::new(0),
        }))
    }

    /// Notes that the process goes on, until it ends.
    pub async fn watch(self, stop: CancellationToken) {
        let mut rounds = Rounds::every(EVERY, &stop);
        while rounds.another().await {
            self.note(Instant::now());
        }
    }

    /// Whether what is read now may have been sent before a standstill.
    pub fn may_be_stale(&self, now: Instant) -> bool {
        self.is_long(now) || self.millis(now) < self.0.stale_until.load(Ordering::Acquire)
    }

    fn note(&self, now: Instant) {
        if self.is_long(now) {
            let until = self.millis(now + READ_WITHIN);
            self.0.stale_until.store(until, Ordering::Release);
            tracing::warn!("this process has stood still; requests from before that are answered busy");
        }
        self.0.noted.store(self.millis(now), Ordering::Release);
    }

    fn is_long(&self, now: Instant) -> bool {
        let noted = Duration::from_millis(self.0.noted.load(Ordering::Acquire));
        now.saturating_duration_since(self.0.begun).saturating_sub(noted) > LONG
    }

    fn millis(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.0.begun).as_millis();
        u64::try_from(since).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_right_after_a_standstill_may_be_stale() {
        let begun = Instant::now();
        let at = |millis| begun + Duration::from_millis(millis);
        let process = Standstill::new(begun);
        for millis in [0, 250, 5_000] {
            assert!(!process.may_be_stale(at(millis)), "{millis}");
            process.note(at(millis));
        }
        // A request is read before the process notes that it goes on again.
        assert!(process.may_be_stale(at(10_001)));
        process.note(at(10_100));
        assert!(process.may_be_stale(at(12_099)));
        assert!(!process.may_be_stale(at(12_100)));
        process.note(at(12_200));
        assert!(!process.may_be_stale(at(12_300)));
    }
}
