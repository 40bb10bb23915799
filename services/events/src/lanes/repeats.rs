//! Whether it is worth while to look for what may be there already.

use super::Repeats;
use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

/// For how many batches repeats are expected after one: who sends something again does so with many.
const AFTERWARDS: u32 = 64;

/// What is expected of the next batch. A message that comes again is rare, and to look for each one that might be costs the database one
/// read for each; so the first try goes without, and its duplicate key says that it was wrong.
#[derive(Debug, Clone, Default)]
pub struct Expectation(Arc<AtomicU32>);

impl Expectation {
    /// What to expect of a batch at this try.
    pub fn of_try(&self, earlier_tries: u32) -> Repeats {
        if earlier_tries > 0 || self.0.load(Ordering::Relaxed) > 0 {
            Repeats::Possible
        } else {
            Repeats::Unlikely
        }
    }

    /// A batch has met what was there already.
    pub fn has_met_one(&self) {
        self.0.store(AFTERWARDS, Ordering::Relaxed);
    }

    /// A batch was written.
    pub fn batch_is_done(&self) {
        let less = |left: u32| left.checked_sub(1);
        let _none_left = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeat_makes_the_next_batches_look() {
        let expectation = Expectation::default();
        assert_eq!(expectation.of_try(0), Repeats::Unlikely);
        assert_eq!(expectation.of_try(1), Repeats::Possible);
        expectation.has_met_one();
        for _ in 0..AFTERWARDS {
            assert_eq!(expectation.of_try(0), Repeats::Possible);
            expectation.batch_is_done();
        }
        assert_eq!(expectation.of_try(0), Repeats::Unlikely);
        expectation.batch_is_done();
        assert_eq!(expectation.of_try(0), Repeats::Unlikely);
    }
}
