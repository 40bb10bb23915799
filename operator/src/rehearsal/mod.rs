//! What a rehearsal has found: the most orders a second that the sale held, what that is compared with what is expected, and who is the
//! limit.
//!
//! - [`limits`] reads from what the processes have counted which of them, or which backend, was short of something.

pub mod limits;

use crate::{controller::obstacle::Obstacle, report::figures::Sample};
use crds::rehearsal::Expectation;
use limits::{Limit, Reading};
use quicksale_load::rehearsal::{Arrival, Found};

/// How the load of a rehearsal stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// It goes on, or is to begin; and what keeps it from that, if something does.
    UnderWay(Option<Obstacle>),
    /// It has ended with these words.
    Ended(Box<Found>),
    /// It has ended without any, for this reason.
    Failed(String),
}

/// What is made of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// What the load has found.
    pub found: Found,
    /// Orders a second that are expected.
    pub expected_per_second: Option<i64>,
    /// Buyers who are expected.
    pub expected_buyers: Option<i64>,
    /// Whether that is held; none where nothing is expected.
    pub holds: Option<bool>,
    /// Who is the limit, as far as that can be told.
    pub limited_by: Vec<Limit>,
}

impl Verdict {
    /// Compares what was found with what is expected.
    pub fn of(found: Found, expect: &Expectation, looks: &[Reading]) -> Self {
        let holds = expect
            .orders_per_second
            .map(|expected| i64::from(found.held_per_second) >= expected);
        // Who is the limit shows where it was too much; a load that was held had none.
        let limited_by = match (found.failed_from, found.failed_until) {
            (Some(from), Some(until)) => limits::between(looks, from, until),
            _ => Vec::new(),
        };
        Self {
            expected_per_second: expect.orders_per_second,
            expected_buyers: expect.buyers,
            holds,
            limited_by,
            found,
        }
    }

    /// In one sentence.
    pub fn sentence(&self) -> String {
        let Found {
            held_per_second: held,
            failed_per_second,
            why,
            p99_millis,
            ..
        } = &self.found;
        let mut sentence = match self.expected_per_second {
            Some(expected) => format!("{held} orders/s are held, {expected} are expected"),
            None => format!("{held} orders/s are held"),
        };
        if *held > 0 {
            sentence = format!("{sentence}; 99 of 100 were answered within {p99_millis} ms");
        }
        if let Some(buyers) = self.expected_buyers.filter(|_| *held > 0) {
            let seconds = buyers.div_euclid(i64::from(*held)) + 1;
            sentence = format!("{sentence}; {buyers} buyers would all be answered after {seconds} s");
        }
        sentence = match (failed_per_second, why) {
            (Some(failed), Some(why)) => format!("{sentence}. At {failed}/s {why}"),
            (None, _) => {
                let field = match self.found.arrival {
                    Arrival::Burst => "buyers",
                    Arrival::Steps | Arrival::Steady => "ordersPerSecond",
                };
                format!("{sentence}. More was not asked for: raise spec.load.{field} to find the limit")
            }
            (Some(_), None) => sentence,
        };
        for limit in &self.limited_by {
            sentence = format!("{sentence}. {limit}");
        }
        sentence
    }
}

/// What one process says of its resources, read from the text of its `/metrics`.
pub fn samples(text: &str) -> impl Iterator<Item = Sample<'_>> {
    text.lines().filter_map(Sample::read)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(held: u32, failed: Option<u32>) -> Found {
        Found {
            arrival: Arrival::Steps,
            held_per_second: held,
            failed_per_second: failed,
            why: failed.map(|_| "one of a hundred orders waited 1500 ms for its answer".into()),
            held_from: None,
            held_until: None,
            failed_from: None,
            failed_until: None,
            p99_millis: 210,
            orders: 1,
            accepted: 1,
        }
    }

    #[test]
    fn what_was_found_is_compared_with_what_is_expected() {
        let expect = |rate, buyers| Expectation {
            buyers,
            orders_per_second: rate,
        };
        let verdict = Verdict::of(found(300, Some(330)), &expect(Some(500), Some(20_000)), &[]);
        assert_eq!(verdict.holds, Some(false));
        assert_eq!(
            verdict.sentence(),
            "300 orders/s are held, 500 are expected; 99 of 100 were answered within 210 ms; 20000 buyers would all be answered after 67 s. \
             At 330/s one of a hundred orders waited 1500 ms for its answer"
        );
        let verdict = Verdict::of(found(1_000, None), &expect(Some(500), None), &[]);
        assert_eq!(verdict.holds, Some(true));
        assert!(
            verdict
                .sentence()
                .ends_with("raise spec.load.ordersPerSecond to find the limit")
        );
        assert_eq!(Verdict::of(found(5, None), &expect(None, None), &[]).holds, None);
        let burst = Found {
            arrival: Arrival::Burst,
            ..found(5, None)
        };
        let sentence = Verdict::of(burst, &expect(None, None), &[]).sentence();
        assert!(
            sentence.ends_with("raise spec.load.buyers to find the limit"),
            "{sentence}"
        );
    }
}
