//! How fast work that comes in is taken up, where each piece of it costs something beside what is in it: a transaction, a request.
//!
//! Somebody who takes up whatever there is at once does one thing after the other while things come slowly, and has no time left for larger
//! batches when they come faster. So after each batch there is a rest, no longer than the batch took: half of the time at the
//! most is spent on small batches, and nothing waits longer for the next one than for the one before. A batch that is large is followed at once.

use std::time::{Duration, Instant};

/// The longest rest: what is slow need not be made slower.
const LONGEST: Duration = Duration::from_millis(20);

/// When the next batch begins.
#[derive(Debug, Default)]
pub struct Pace {
    /// Until when it rests.
    until: Option<Instant>,
}

impl Pace {
    /// A batch has ended that began then, and was so large that there is nothing to gain from a larger one, or was not.
    pub fn batch_ended(&mut self, began: Instant, now: Instant, was_large: bool) {
        let took = now.saturating_duration_since(began).min(LONGEST);
        self.until = (!was_large).then(|| now + took);
    }

    /// How long to wait before the next batch; nothing where it has waited so long already.
    pub fn rest(&self, now: Instant) -> Duration {
        self.until
            .map_or(Duration::ZERO, |until| until.saturating_duration_since(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_batches_are_followed_by_a_rest_as_long_as_they_were_and_large_ones_by_none() {
        let began = Instant::now();
        let after = |millis| began + Duration::from_millis(millis);
        let mut pace = Pace::default();
        assert_eq!(pace.rest(began), Duration::ZERO, "the first");
        pace.batch_ended(began, after(6), false);
        assert_eq!(pace.rest(after(6)), Duration::from_millis(6));
        assert_eq!(pace.rest(after(10)), Duration::from_millis(2));
        assert_eq!(
            pace.rest(after(13)),
            Duration::ZERO,
            "nothing has come for longer"
        );
        pace.batch_ended(after(13), after(913), false);
        assert_eq!(pace.rest(after(913)), LONGEST);
        pace.batch_ended(after(913), after(950), true);
        assert_eq!(pace.rest(after(950)), Duration::ZERO);
    }
}
