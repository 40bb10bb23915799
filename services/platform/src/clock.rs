//! The clock is passed in, so that a test can put a process at any instant.

use jiff::{SignedDuration, Timestamp};
use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

/// Where the current time comes from.
#[derive(Debug, Clone, Default)]
pub enum Clock {
    /// The machine's clock.
    #[default]
    System,
    /// The machine's clock, as it would be if it went wrong by so much.
    Wrong(SignedDuration),
    /// A clock that stands still until it is moved.
    Manual(ManualClock),
}

/// How far a process's clock is wrong, in milliseconds: for tests of what becomes of a sale whose machines disagree about the time.
const WRONG_BY: &str = "QUICKSALE_CLOCK_WRONG_BY_MS";

impl Clock {
    /// The clock of this process: the machine's, unless its environment says that it is wrong.
    ///
    /// # Errors
    /// When what it says is no number.
    pub fn of_process() -> Result<Self, std::num::ParseIntError> {
        match std::env::var(WRONG_BY) {
            Ok(millis) => Ok(Self::Wrong(SignedDuration::from_millis(millis.parse()?))),
            Err(_) => Ok(Self::System),
        }
    }

    /// The current instant.
    pub fn now(&self) -> Timestamp {
        match self {
            Self::System => Timestamp::now(),
            Self::Wrong(by) => Timestamp::now().saturating_add(*by).unwrap_or(Timestamp::MAX),
            Self::Manual(manual) => manual.now(),
        }
    }
}

/// A clock for tests.
#[derive(Debug, Clone)]
pub struct ManualClock(Arc<AtomicI64>);

impl ManualClock {
    /// A clock that shows the given instant (millisecond precision).
    pub fn at(now: Timestamp) -> Self {
        Self(Arc::new(AtomicI64::new(now.as_millisecond())))
    }

    /// Moves the clock.
    pub fn advance(&self, by: std::time::Duration) {
        self.0.fetch_add(
            i64::try_from(by.as_millis()).unwrap_or(i64::MAX),
            Ordering::SeqCst,
        );
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_millisecond(self.0.load(Ordering::SeqCst)).unwrap_or(Timestamp::UNIX_EPOCH)
    }
}
