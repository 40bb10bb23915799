//! Whether others are alive, by the beats that they write and by no clock but this process's own monotonic one. Clocks of different
//! machines may differ by any amount, and a moment that one of them wrote says nothing to another.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Beats of others, as this process has seen them.
#[derive(Debug, Default)]
pub struct Pulses {
    seen: Mutex<HashMap<String, Seen>>,
}

#[derive(Debug)]
struct Seen {
    beat: i64,
    /// When this beat was seen for the first time.
    since: Instant,
    /// When it was looked at the last time.
    looked: Instant,
}

impl Pulses {
    /// Notes a look at somebody's beat, and says whether it has stood still for so long. Who has not looked for as long knows
    /// nothing and begins anew: it may have stood still itself, together with all others.
    pub fn is_still(&self, whose: &str, beat: i64, at_most: Duration, now: Instant) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Seen {
            beat,
            since: now,
            looked: now,
        };
        let entry = seen.entry(whose.to_owned()).or_insert_with(new);
        if entry.beat != beat || now.saturating_duration_since(entry.looked) > at_most {
            *entry = new();
        }
        entry.looked = now;
        now.saturating_duration_since(entry.since) > at_most
    }

    /// For how long somebody's beat has stood still, as far as it was looked at.
    pub fn still_for(&self, whose: &str, now: Instant) -> Duration {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(whose)
            .map_or(Duration::ZERO, |seen| now.saturating_duration_since(seen.since))
    }

    /// Forgets everybody but these.
    pub fn keep_only(&self, of: impl Fn(&str) -> bool) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.retain(|whose, _| of(whose));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn whoever_beats_is_alive_and_whoever_does_not_is_dead_after_a_while() {
        let (pulses, begin) = (Pulses::default(), Instant::now());
        for second in 0..20 {
            let now = begin + SECOND * second;
            assert!(!pulses.is_still("alive", second.into(), SECOND * 5, now));
            assert_eq!(
                pulses.is_still("dead", 7, SECOND * 5, now),
                second > 5,
                "{second}"
            );
        }
        assert_eq!(pulses.still_for("dead", begin + SECOND * 19), SECOND * 19);
    }

    #[test]
    fn who_has_stood_still_itself_condemns_nobody() {
        let (pulses, begin) = (Pulses::default(), Instant::now());
        assert!(!pulses.is_still("other", 7, SECOND * 5, begin));
        // Both were frozen, and this one wakes up first.
        let woken = begin + SECOND * 60;
        for second in 0..=5 {
            assert!(!pulses.is_still("other", 7, SECOND * 5, woken + SECOND * second));
        }
        assert!(pulses.is_still("other", 7, SECOND * 5, woken + SECOND * 6));
    }
}
