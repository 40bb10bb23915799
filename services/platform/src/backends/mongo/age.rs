//! How long ago something was, by what a document says.

use jiff::Timestamp;
use mongodb::bson::DateTime;
use std::time::Duration;

/// From then until now. The clock of whoever wrote it may be ahead of ours: then it is no time at all.
pub fn age(at: DateTime, now: Timestamp) -> Duration {
    let millis = now.as_millisecond().saturating_sub(at.timestamp_millis());
    Duration::from_millis(millis.max(0).unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_faster_clock_has_written_is_no_time_ago() {
        let now = Timestamp::UNIX_EPOCH;
        for (at, millis) in [(-1_500, 1_500), (0, 0), (7, 0)] {
            assert_eq!(age(DateTime::from_millis(at), now), Duration::from_millis(millis));
        }
    }
}
