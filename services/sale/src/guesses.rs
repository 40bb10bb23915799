//! How fast passwords may be guessed: what one address may try at one account, and what all addresses together may.
//!
//! A guess is counted before the password is looked at, so a hundred at once are a hundred. The numbers that hold in any
//! hour are [`FROM_ONE_ADDRESS_IN_AN_HOUR`] and [`FROM_ALL_ADDRESSES_IN_AN_HOUR`].

use jiff::Timestamp;
use std::time::Duration;

/// Wrong passwords from one address that cost no wait.
pub const FREE: u32 = 5;
/// The wait after the last free one; each further wrong password doubles it.
const FIRST_WAIT: Duration = Duration::from_secs(30);
/// The longest wait.
const LONGEST_WAIT: Duration = Duration::from_secs(3_600);
/// How long after the end of a wait its address starts over. Shorter than an hour, and two starts could fall into one.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(3_600);

/// The most guesses at one account's password that one address has in any hour.
pub const FROM_ONE_ADDRESS_IN_AN_HOUR: u32 = 11;

/// The most guesses at one account's password that all addresses together have in any hour, those aside from which its
/// owner has logged in before.
pub const FROM_ALL_ADDRESSES_IN_AN_HOUR: u32 = 100;
/// How many of them may come at once.
pub const FROM_ALL_ADDRESSES_AT_ONCE: u32 = 50;
/// One more becomes free in this time: 50 at once and 50 spread over the hour.
const SPREAD: Duration = Duration::from_secs(72);

/// Too many guesses: how long to wait for the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wait(pub Duration);

/// The guesses that one address has made at one account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FromOneAddress {
    /// Guesses so far.
    pub made: u32,
    /// When the next one may come.
    pub next_at: Timestamp,
}

impl FromOneAddress {
    /// Counts one more guess.
    ///
    /// # Errors
    /// [`Wait`] when it comes too early.
    pub fn one_more(before: Option<Self>, now: Timestamp) -> Result<Self, Wait> {
        let made = match before {
            // Of the free ones several may come at once, and be counted in another order than that of their clocks.
            Some(before) if before.made >= FREE && now < before.next_at => {
                return Err(Wait(between(now, before.next_at)));
            }
            Some(before) if now < before.forgotten_at() => before.made.saturating_add(1),
            _ => 1,
        };
        // Never earlier than it was, so that two processes whose clocks differ do not make each other forget; and never later than the
        // longest wait from now, so that a clock that was ahead keeps nobody out.
        let next_at = now + wait_after(made);
        let at_least = before.map_or(next_at, |before| before.next_at.min(now + LONGEST_WAIT));
        Ok(Self {
            made,
            next_at: next_at.max(at_least),
        })
    }

    /// When the address starts over.
    pub fn forgotten_at(self) -> Timestamp {
        self.next_at + FORGOTTEN_AFTER
    }
}

/// What follows the guess with this number.
fn wait_after(made: u32) -> Duration {
    made.checked_sub(FREE).map_or(Duration::ZERO, |beyond| {
        FIRST_WAIT.saturating_mul(1 << beyond.min(16)).min(LONGEST_WAIT)
    })
}

/// The guesses that all addresses have made at one account, as the instant at which they will all be free again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FromAllAddresses {
    /// When the account has its whole allowance again.
    pub free_at: Timestamp,
}

impl FromAllAddresses {
    /// Counts one more guess.
    ///
    /// # Errors
    /// [`Wait`] when the allowance is used up.
    pub fn one_more(before: Option<Self>, now: Timestamp) -> Result<Self, Wait> {
        let from = before.map_or(now, |before| before.free_at.max(now));
        let free_at = from + SPREAD;
        let furthest = now + SPREAD * FROM_ALL_ADDRESSES_AT_ONCE;
        if free_at > furthest {
            return Err(Wait(between(furthest, free_at)));
        }
        Ok(Self { free_at })
    }

    /// Takes one guess back: it was the owner's.
    #[must_use]
    pub fn one_less(self) -> Self {
        Self {
            free_at: self.free_at - SPREAD,
        }
    }
}

fn between(earlier: Timestamp, later: Timestamp) -> Duration {
    later.duration_since(earlier).try_into().unwrap_or(Duration::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    #[test]
    fn clocks_that_differ_by_an_hour_make_each_other_forget_nothing() {
        let (mut state, mut made) = (None, 0);
        for second in 0..600 {
            let ahead = Duration::from_secs(if second % 2 == 0 { 0 } else { 3_600 });
            let now = start() + Duration::from_secs(second) + ahead;
            if let Ok(next) = FromOneAddress::one_more(state, now) {
                state = Some(next);
                made += 1;
            }
        }
        assert!(made <= FROM_ONE_ADDRESS_IN_AN_HOUR, "{made} guesses");
    }

    const HOUR: Duration = Duration::from_secs(3_600);

    fn start() -> Timestamp {
        Timestamp::from_second(1_000_000).unwrap()
    }

    /// The most guesses in any hour for somebody who tries every second for a day, pausing after `patience` guesses for
    /// as long as it takes to be forgotten.
    fn most_in_an_hour(patience: u32) -> usize {
        let (mut state, mut recent, mut most) = (None, VecDeque::new(), 0);
        let mut paused_until = start();
        for second in 0..24 * 3_600 {
            let now = start() + Duration::from_secs(second);
            if now < paused_until {
                continue;
            }
            if let Ok(next) = FromOneAddress::one_more(state, now) {
                recent.push_back(now);
                state = Some(next);
                if next.made == patience {
                    paused_until = next.forgotten_at();
                }
            }
            while recent.front().is_some_and(|first| *first + HOUR <= now) {
                recent.pop_front();
            }
            most = most.max(recent.len());
        }
        most
    }

    #[test]
    fn one_address_never_has_more_than_its_number_in_an_hour() {
        assert_eq!(
            most_in_an_hour(u32::MAX),
            FROM_ONE_ADDRESS_IN_AN_HOUR as usize,
            "the documented number is exact"
        );
        for patience in 1..=12 {
            assert!(
                most_in_an_hour(patience) <= FROM_ONE_ADDRESS_IN_AN_HOUR as usize,
                "{patience}"
            );
        }
    }

    #[test]
    fn free_guesses_at_once_are_counted_in_any_order() {
        let mut state = None;
        for early_by in 0..u64::from(FREE) {
            let now = start() - Duration::from_millis(early_by);
            state = Some(FromOneAddress::one_more(state, now).unwrap());
        }
        let Wait(wait) = FromOneAddress::one_more(state, start() + Duration::from_secs(1)).unwrap_err();
        assert!(wait > Duration::from_secs(28), "{wait:?}");
    }

    #[test]
    fn the_wait_doubles_to_an_hour() {
        let waits: Vec<u64> = (1..=14).map(|made| wait_after(made).as_secs()).collect();
        assert_eq!(
            waits,
            [0, 0, 0, 0, 30, 60, 120, 240, 480, 960, 1_920, 3_600, 3_600, 3_600]
        );
        assert_eq!(wait_after(u32::MAX), LONGEST_WAIT);
    }

    #[test]
    fn whoever_waits_as_told_is_let_in() {
        let (mut state, mut now) = (None, start());
        for _ in 0..20 {
            let next = FromOneAddress::one_more(state, now).unwrap();
            state = Some(next);
            if next.next_at > now {
                let Wait(wait) = FromOneAddress::one_more(state, now).unwrap_err();
                now += wait;
            }
        }
    }

    #[test]
    fn all_addresses_never_have_more_than_their_number_in_an_hour() {
        let (mut state, mut recent, mut most, mut at_once) = (None, VecDeque::new(), 0, 0);
        for second in 0..3 * 3_600 {
            let now = start() + Duration::from_secs(second);
            while let Ok(next) = FromAllAddresses::one_more(state, now) {
                state = Some(next);
                recent.push_back(now);
            }
            if second == 0 {
                at_once = recent.len();
            }
            while recent.front().is_some_and(|first| *first + HOUR <= now) {
                recent.pop_front();
            }
            most = most.max(recent.len());
        }
        assert_eq!(at_once, FROM_ALL_ADDRESSES_AT_ONCE as usize);
        assert!(most <= FROM_ALL_ADDRESSES_IN_AN_HOUR as usize, "{most}");
        let last = start() + Duration::from_secs(3 * 3_600 - 1);
        let Wait(wait) = FromAllAddresses::one_more(state, last).unwrap_err();
        assert!(wait <= SPREAD, "{wait:?}");
    }

    #[test]
    fn a_guess_that_was_the_owners_is_given_back() {
        let full = (0..FROM_ALL_ADDRESSES_AT_ONCE).fold(None, |state, _| {
            Some(FromAllAddresses::one_more(state, start()).unwrap())
        });
        FromAllAddresses::one_more(full, start()).unwrap_err();
        let less = full.map(FromAllAddresses::one_less);
        assert!(FromAllAddresses::one_more(less, start()).is_ok());
    }
}
