//! Waiting between attempts: exponential, with full jitter, bounded.

use std::time::Duration;

/// A schedule of waits. The n-th wait is a random time up to `first * 2^n`, at most `most` ("full jitter",
/// <https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>).
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    most: Duration,
    attempt: u32,
}

impl Backoff {
    /// A schedule that starts around `first` and never waits longer than `most`.
    pub fn new(first: Duration, most: Duration) -> Self {
        Self {
            first,
            most,
            attempt: 0,
        }
    }

    /// The next wait.
    pub fn next_wait(&mut self) -> Duration {
        let ceiling = self
            .first
            .saturating_mul(1 << self.attempt.min(16))
            .min(self.most);
        self.attempt = self.attempt.saturating_add(1);
        // At least a tenth of the ceiling: a wait of nothing would make a busy loop of a failing call.
        ceiling.mul_f64(rand::random::<f64>().max(0.1))
    }

    /// How many waits there have been since the last success.
    pub fn attempts(&self) -> u32 {
        self.attempt
    }

    /// Starts over after a success.
    pub fn reset(&mut self) {
        self.attempt = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_bound_and_start_over() {
        let mut backoff = Backoff::new(Duration::from_millis(10), Duration::from_millis(80));
        for attempt in 0..40 {
            let ceiling = Duration::from_millis(10 << attempt.min(3));
            let wait = backoff.next_wait();
            assert!(wait <= ceiling && wait >= ceiling / 11, "{attempt}: {wait:?}");
        }
        backoff.reset();
        assert!(backoff.next_wait() <= Duration::from_millis(10));
    }
}
