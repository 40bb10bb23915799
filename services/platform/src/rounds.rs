//! Work that comes again and again until its process ends.

use std::time::Duration;
use tokio::time::{Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

/// Rounds of work: the first one at once, the next ones a period apart. One that takes longer is followed by the next at once, and that
/// by a whole period: rounds that were missed are not made up for.
#[derive(Debug)]
pub struct Rounds {
    tick: Interval,
    stop: CancellationToken,
}

impl Rounds {
    /// Rounds a period apart until `stop` is cancelled.
    ///
    /// # Panics
    /// Where the period is zero.
    pub fn every(period: Duration, stop: &CancellationToken) -> Self {
        let mut tick = tokio::time::interval(period);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            tick,
            stop: stop.clone(),
        }
    }

    /// Waits for the next round. `false` means that there is none: the process ends.
    pub async fn another(&mut self) -> bool {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => false,
            _ = self.tick.tick() => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_round_comes_at_once_and_none_after_the_end() {
        let stop = CancellationToken::new();
        let mut rounds = Rounds::every(Duration::from_secs(24 * 3_600), &stop);
        assert!(rounds.another().await);
        let stopping = stop.clone();
        tokio::spawn(async move { stopping.cancel() });
        assert!(!rounds.another().await);
        // Also where one is due.
        let mut rounds = Rounds::every(Duration::from_secs(1), &stop);
        assert!(!rounds.another().await);
    }
}
