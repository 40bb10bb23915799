//! Finds the highest rate that is held, with few tries: upwards until one is not, twice, and then between the two.

/// How much higher the next rate is while nothing has failed.
const UP: f64 = 1.3;
/// The search ends where the lowest rate that failed is no further above the highest that was held.
const CLOSE: f64 = 1.1;
/// A rate has failed when it has so often: once may be a hiccup.
const FAILURES: u32 = 2;

/// The most tries of one search; fewer than half of them are usual.
pub const MOST_TRIES: u32 = 60;

/// A search.
#[derive(Debug, Clone, PartialEq)]
pub struct Search {
    most: u32,
    next: u32,
    held: Option<u32>,
    failed: Option<u32>,
    failures: u32,
    tries: u32,
    is_over: bool,
}

impl Search {
    /// Begins at a rate, and goes to no higher one than `most`.
    pub fn new(first: u32, most: u32) -> Self {
        let most = most.max(1);
        Self {
            most,
            next: first.clamp(1, most),
            held: None,
            failed: None,
            failures: 0,
            tries: 0,
            is_over: false,
        }
    }

    /// The rate to try next; `None` once there is nothing more to find out.
    pub fn next(&self) -> Option<u32> {
        (!self.is_over && self.tries < MOST_TRIES).then_some(self.next)
    }

    /// What came of it.
    pub fn note(&mut self, was_held: bool) {
        self.tries += 1;
        if was_held {
            self.held = Some(self.held.map_or(self.next, |held| held.max(self.next)));
            self.failures = 0;
        } else {
            self.failures += 1;
            if self.failures < FAILURES {
                return;
            }
            self.failures = 0;
            self.failed = Some(self.next);
        }
        self.choose();
    }

    /// The highest rate that was held.
    pub fn held(&self) -> Option<u32> {
        self.held
    }

    /// The lowest rate that was not.
    pub fn failed(&self) -> Option<u32> {
        self.failed
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rate is far below what a float holds exactly, and above zero"
    )]
    fn choose(&mut self) {
        let rounded = |rate: f64| (rate.round() as u32).max(1);
        let (next, is_over) = match (self.held, self.failed) {
            (Some(held), None) => {
                let next = rounded(f64::from(held) * UP).max(held + 1).min(self.most);
                (next, held >= self.most)
            }
            (None, Some(failed)) => ((failed / 2).max(1), failed == 1),
            (Some(held), Some(failed)) => {
                let between = rounded((f64::from(held) * f64::from(failed)).sqrt());
                let is_close = f64::from(failed) <= f64::from(held) * CLOSE;
                (between, is_close || between <= held || between >= failed)
            }
            (None, None) => (self.next, false),
        };
        (self.next, self.is_over) = (next, is_over);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is found where everything up to `capacity` is held, and in how many tries.
    fn found(first: u32, most: u32, capacity: u32) -> (Option<u32>, Option<u32>, usize) {
        let mut search = Search::new(first, most);
        let mut tries = 0;
        while let Some(rate) = search.next() {
            tries += 1;
            assert!(tries < 60, "{search:?}");
            search.note(rate <= capacity);
        }
        (search.held(), search.failed(), tries)
    }

    #[test]
    fn what_is_held_is_found_within_a_tenth() {
        for capacity in [1, 7, 40, 333, 1_000, 4_999] {
            let (held, failed, tries) = found(50, 10_000, capacity);
            let (held, failed) = (f64::from(held.unwrap()), f64::from(failed.unwrap()));
            let capacity = f64::from(capacity);
            assert!(
                held <= capacity && capacity < failed,
                "{held} {capacity} {failed}"
            );
            assert!(failed <= held * CLOSE || failed - held <= 1.0, "{held} {failed}");
            assert!(tries <= 40, "{tries} tries for {capacity}");
        }
    }

    #[test]
    fn nothing_above_the_most_is_tried_and_a_system_that_holds_nothing_is_given_up() {
        assert_eq!(found(50, 100, 1_000).0, Some(100));
        assert_eq!(found(500, 100, 1_000).0, Some(100));
        assert_eq!(found(50, 100, 0).0, None);
    }

    #[test]
    fn one_hiccup_is_no_failure() {
        let mut search = Search::new(100, 100);
        search.note(false);
        assert_eq!(search.next(), Some(100));
        search.note(true);
        assert_eq!(
            (search.held(), search.failed(), search.next()),
            (Some(100), None, None)
        );
    }
}
