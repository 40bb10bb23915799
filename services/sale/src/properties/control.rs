//! The control document: the doors of a sale open once and close once, by whatever times it was given.

use super::holds;
use crate::{
    SaleId,
    control::{Admission, ControlDocument},
};
use jiff::Timestamp;
use proptest::{collection::vec, option, prelude::*};

fn at(millisecond: i64) -> Timestamp {
    Timestamp::from_millisecond(millisecond).unwrap()
}

/// Few enough instants that some of them meet.
fn instants() -> impl Strategy<Value = Timestamp> {
    prop_oneof![4 => (0..12_i64).prop_map(at), 1 => (-1_000_000..1_000_000_i64).prop_map(at)]
}

fn documents() -> impl Strategy<Value = ControlDocument> {
    let times = (
        option::weighted(0.9, instants()),
        option::weighted(0.7, instants()),
    );
    (times, any::<bool>(), option::weighted(0.2, Just(()))).prop_map(
        |((opens_at, closes_at), halted, closed)| {
            let sale = SaleId {
                namespace: "shop".into(),
                name: "laptops".into(),
            };
            ControlDocument {
                opens_at,
                closes_at,
                halted,
                closed: closed.is_some(),
                ..ControlDocument::open_now(sale, at(0))
            }
        },
    )
}

#[test]
fn doors_open_once_and_close_once() {
    let reached = |admission| match admission {
        Admission::NotOpen { .. } => 0,
        Admission::Open | Admission::Halted => 1,
        Admission::Closed => 2,
    };
    holds((documents(), vec(instants(), 0..20)), |(document, mut clock)| {
        clock.sort();
        let mut so_far = 0;
        for now in clock {
            let here = reached(document.admission(now));
            prop_assert!(here >= so_far, "{} at {}", here, now);
            so_far = here;
        }
        Ok(())
    });
}

#[test]
fn an_order_is_let_in_between_the_times_and_at_no_other() {
    holds((documents(), instants()), |(document, now)| {
        let begun = document.opens_at.is_some_and(|start| start <= now);
        let over = document.closes_at.is_some_and(|end| end <= now);
        let open = begun && !over && !document.halted && !document.closed;
        prop_assert_eq!(document.admission(now) == Admission::Open, open);
        Ok(())
    });
}

/// The operator may halt and close at any instant, and what a buyer hears otherwise stays true.
#[test]
fn the_switches_only_ever_close_doors() {
    holds((documents(), instants()), |(document, now)| {
        let with = |halted, closed| {
            let document = ControlDocument {
                halted,
                closed,
                ..document.clone()
            };
            document.admission(now)
        };
        let by_the_times = with(false, false);
        let halted = match by_the_times {
            Admission::Open => Admission::Halted,
            other => other,
        };
        prop_assert_eq!(with(true, false), halted);
        prop_assert_eq!(with(false, true), Admission::Closed);
        prop_assert_eq!(with(true, true), Admission::Closed);
        Ok(())
    });
}

/// Whoever comes back at the time that was named is let in or told that something has changed, never to wait for that time again.
#[test]
fn the_time_that_a_buyer_is_told_is_later_and_true() {
    holds((documents(), instants()), |(document, now)| {
        if let Admission::NotOpen { opens_at: Some(then) } = document.admission(now) {
            prop_assert!(then > now);
            let waits_again = matches!(document.admission(then), Admission::NotOpen { .. });
            prop_assert!(!waits_again);
        }
        Ok(())
    });
}
