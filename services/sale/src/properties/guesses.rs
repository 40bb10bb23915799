//! Guesses at passwords: the numbers of an hour hold however they are spread, by clocks that differ, and nobody waits for ever.

use super::holds;
use crate::guesses::{
    FREE, FROM_ALL_ADDRESSES_AT_ONCE, FROM_ALL_ADDRESSES_IN_AN_HOUR, FROM_ONE_ADDRESS_IN_AN_HOUR,
    FromAllAddresses, FromOneAddress, Wait,
};
use jiff::Timestamp;
use proptest::{collection::vec, prelude::*, sample::select};

const HOUR: i64 = 3_600_000;

fn at(millisecond: i64) -> Timestamp {
    Timestamp::from_millisecond(millisecond).unwrap()
}

/// The most of these instants in any stretch of so many milliseconds, its end not included.
fn most_within(mut instants: Vec<i64>, milliseconds: i64) -> usize {
    instants.sort_unstable();
    let from = |first: &i64| {
        let until = first + milliseconds;
        instants.partition_point(|instant| *instant < until)
            - instants.partition_point(|instant| instant < first)
    };
    instants.iter().map(from).max().unwrap_or(0)
}

/// When somebody tries again.
#[derive(Debug, Clone, Copy)]
enum Next {
    /// As soon as it is allowed.
    AsTold,
    /// When the address starts over.
    Forgotten,
    /// So many milliseconds later.
    After(i64),
}

fn tries() -> impl Strategy<Value = Vec<(Next, u32)>> {
    let next = prop_oneof![
        12 => Just(Next::AsTold),
        1 => Just(Next::Forgotten),
        3 => (0..2_000_i64).prop_map(Next::After),
        1 => (0..2 * HOUR).prop_map(Next::After),
    ];
    vec((next, any::<u32>()), 0..80)
}

/// What comes of tries from one address: the state, and when the guesses were read to be. Each process reads a clock of its own,
/// up to `behind` milliseconds late.
fn from_one_address(tries: Vec<(Next, u32)>, behind: i64) -> (Option<FromOneAddress>, Vec<i64>) {
    let (mut time, mut state, mut guesses) = (0, None::<FromOneAddress>, Vec::new());
    for (next, late) in tries {
        let not_before =
            |then: fn(FromOneAddress) -> Timestamp| state.map_or(0, |state| then(state).as_millisecond());
        time = match next {
            Next::AsTold => time.max(not_before(|state| state.next_at)),
            Next::Forgotten => time.max(not_before(FromOneAddress::forgotten_at)),
            Next::After(pause) => time + pause,
        };
        let read = time - i64::from(late) % (behind + 1);
        if let Ok(after) = FromOneAddress::one_more(state, at(read)) {
            state = Some(after);
            guesses.push(read);
        }
    }
    (state, guesses)
}

/// What comes of crowds at one account, each with the reading of its clock and its size.
fn from_all_addresses(crowds: Vec<(i64, usize)>) -> (Option<FromAllAddresses>, Vec<i64>) {
    let (mut state, mut guesses) = (None, Vec::new());
    for (read, tries) in crowds {
        for _ in 0..tries {
            if let Ok(after) = FromAllAddresses::one_more(state, at(read)) {
                state = Some(after);
                guesses.push(read);
            }
        }
    }
    (state, guesses)
}

fn crowds(most: usize) -> impl Strategy<Value = Vec<(i64, usize)>> {
    vec((0..3 * HOUR, 1..most), 0..60)
}

/// The hour in which the number holds is shorter by what clocks differ, at either end; with one clock it is the whole hour.
/// Clocks that differ by more make nobody forget either: see the tests of the rules themselves.
#[test]
fn one_address_never_has_more_than_its_number_in_an_hour() {
    let behind = select(vec![0, 0, 1, 1_000, 60_000, 600_000_i64]);
    holds((tries(), behind), |(tries, behind)| {
        let (_, guesses) = from_one_address(tries, behind);
        let most = most_within(guesses, HOUR - 2 * behind);
        prop_assert!(most <= FROM_ONE_ADDRESS_IN_AN_HOUR as usize, "{} guesses", most);
        Ok(())
    });
}

/// A crowd of requests at one moment is counted in another order than that of the clocks that read it.
#[test]
fn a_crowd_within_seconds_has_the_free_guesses_in_any_order() {
    holds(vec(0..29_000_i64, 0..60), |readings| {
        let (mut state, mut free) = (None, 0);
        for read in &readings {
            if let Ok(after) = FromOneAddress::one_more(state, at(*read)) {
                (state, free) = (Some(after), free + 1);
            }
        }
        prop_assert_eq!(free, readings.len().min(FREE as usize));
        Ok(())
    });
}

/// By clocks of any kind, also those that were put back by days: whoever waits as told is let in, and nobody is told to wait for
/// longer than an hour after the latest reading.
#[test]
fn no_wait_is_for_ever() {
    let behind = select(vec![0, 600_000, 48 * HOUR]);
    let later = prop_oneof![-HOUR..HOUR, -240 * HOUR..240 * HOUR];
    holds(
        (tries(), behind, crowds(60), later),
        |(tries, behind, crowds, later)| {
            let (address, guesses) = from_one_address(tries, behind);
            let latest = guesses.into_iter().max().unwrap_or(0);
            if let Err(Wait(wait)) = FromOneAddress::one_more(address, at(latest + later)) {
                let then = at(latest + later) + wait;
                prop_assert!(!wait.is_zero() && then <= at(latest + HOUR), "{:?}", wait);
                prop_assert!(FromOneAddress::one_more(address, then).is_ok());
            }
            let (account, guesses) = from_all_addresses(crowds);
            let latest = guesses.into_iter().max().unwrap_or(0);
            if let Err(Wait(wait)) = FromAllAddresses::one_more(account, at(latest + later)) {
                let then = at(latest + later) + wait;
                prop_assert!(!wait.is_zero() && then <= at(latest + HOUR), "{:?}", wait);
                prop_assert!(FromAllAddresses::one_more(account, then).is_ok());
            }
            Ok(())
        },
    );
}

/// Whatever the clocks say: each guess puts off the whole allowance by as much as it costs.
#[test]
fn all_addresses_never_have_more_than_their_numbers_by_any_clocks() {
    holds(crowds(60), |crowds| {
        let (_, guesses) = from_all_addresses(crowds);
        let at_once = most_within(guesses.clone(), 1);
        prop_assert!(
            at_once <= FROM_ALL_ADDRESSES_AT_ONCE as usize,
            "{} at once",
            at_once
        );
        let most = most_within(guesses, HOUR);
        prop_assert!(most <= FROM_ALL_ADDRESSES_IN_AN_HOUR as usize, "{} guesses", most);
        Ok(())
    });
}

/// So an owner who knows the password does not use up the allowance, and adds nothing to that of others either.
#[test]
fn a_guess_that_was_given_back_was_never_made() {
    holds(
        (crowds(4), 0..3 * HOUR, 0..3 * HOUR),
        |(mut crowds, now, later)| {
            crowds.sort_unstable();
            let (before, _) = from_all_addresses(crowds);
            if let Ok(after) = FromAllAddresses::one_more(before, at(now)) {
                let probe = at(now + later);
                prop_assert_eq!(
                    FromAllAddresses::one_more(Some(after.one_less()), probe),
                    FromAllAddresses::one_more(before, probe)
                );
            }
            Ok(())
        },
    );
}
