//! What is said of accepted orders on their way to an end.

use super::some;
use crate::{
    controller::{evidence::Knowledge, status::Finding},
    phase::{self, Evidence},
};
use crds::{FlashSaleStatus, status::ConditionType};
use jiff::Timestamp;
use sale::phase::Phase;
use std::time::Duration;

/// Whether every accepted order has its end, and none is taken any more.
pub fn settled(
    status: &FlashSaleStatus,
    known: Option<&Knowledge>,
    evidence: &Evidence,
    silent: &[String],
    longest_hold: Duration,
    now: Timestamp,
) -> Option<Finding> {
    let kind = ConditionType::Settled;
    match status.phase() {
        Phase::Pending | Phase::Warming => return None,
        Phase::Live => {
            return Some(Finding::new(kind, false, "Selling", "orders are taken"));
        }
        Phase::Ended => {
            return Some(Finding::new(
                kind,
                true,
                "EveryOrder",
                "every accepted order has its end",
            ));
        }
        Phase::Draining => {}
    }
    let under_way = match known.map(|known| &known.settlement) {
        Some(Ok(settlement)) => {
            let left = settlement.under_way().into_iter().filter(|(left, _)| *left > 0);
            let left: Vec<_> = left.map(|(left, what)| what.count(left)).collect();
            match (
                left.is_empty(),
                evidence.control_in_force && !evidence.silent_orders,
            ) {
                (false, _) => left.join(", "),
                (true, false) if !silent.is_empty() => format!(
                    "no answer from {}, which may still take orders: let the operator reach it, or delete it by force where its node is lost",
                    some(silent)
                ),
                (true, false) => "not every door is known to be closed, as ControlInForce says".to_owned(),
                (true, true) => "every order has its end; the books are audited for the report".to_owned(),
            }
        }
        Some(Err(error)) => format!("what is under way is not known: {error}"),
        None => "what is under way is not known yet".to_owned(),
    };
    let by = status
        .draining_since
        .map(|since| phase::drained_by(since, longest_hold));
    Some(match by {
        Some(by) if now > by => Finding::new(
            kind,
            false,
            "DrainStalled",
            format!(
                "this should have been over by {by}: {under_way}; see \"is it settled?\" in docs/operations.md. Nothing is dropped \
                 meanwhile"
            ),
        ),
        Some(by) => Finding::new(
            kind,
            false,
            "Settling",
            format!("{under_way}; holds are over by {by}"),
        ),
        None => Finding::new(kind, false, "Settling", under_way),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drain_says_how_far_it_is_and_when_it_stalls() {
        let status = FlashSaleStatus {
            phase: Some(Phase::Draining),
            draining_since: Some(Timestamp::UNIX_EPOCH),
            ..FlashSaleStatus::default()
        };
        let at = |second| Timestamp::from_second(second).unwrap();
        let hold = Duration::from_secs(600);
        let says = |now| settled(&status, None, &Evidence::default(), &[], hold, now).unwrap();
        assert_eq!((says(at(659)).holds, says(at(659)).reason), (false, "Settling"));
        assert!(
            says(at(5))
                .message
                .contains("holds are over by 1970-01-01T00:11:00Z")
        );
        assert_eq!(says(at(661)).reason, "DrainStalled");
        let live = FlashSaleStatus {
            phase: Some(Phase::Live),
            ..FlashSaleStatus::default()
        };
        let selling = settled(&live, None, &Evidence::default(), &[], hold, at(5)).unwrap();
        assert_eq!((selling.holds, selling.reason), (false, "Selling"));
    }
}
