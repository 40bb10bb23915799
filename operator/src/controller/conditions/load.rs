//! What is said of a rehearsal's load.

use crate::{
    controller::status::Finding,
    rehearsal::{Progress, Verdict, limits::Reading},
};
use crds::{
    rehearsal::Expectation,
    status::{ConditionType, Rehearsed},
};

/// How a rehearsal stands: what it has found, once its load has ended, and what is said of it.
pub fn rehearsed(load: Progress, expect: &Expectation, looks: &[Reading]) -> (Option<Rehearsed>, Finding) {
    let kind = ConditionType::HoldsLoad;
    let expected_per_second = expect.orders_per_second;
    match load {
        Progress::Waiting(sale) => {
            let message = format!(
                "the load waits while the sale {} in {} is open on the same backends, from which it would take; set \
                 spec.load.besideOpenSales to Allow to begin all the same",
                sale.name, sale.namespace
            );
            (None, Finding::new(kind, false, "WaitsForSale", message))
        }
        Progress::UnderWay(None) => {
            let message = "the load is under way; kubectl logs of its pod has each rate";
            (None, Finding::new(kind, false, "UnderWay", message))
        }
        Progress::UnderWay(Some(obstacle)) => (
            None,
            Finding::new(
                kind,
                false,
                obstacle.cause.reason(),
                obstacle.sentence("the load"),
            ),
        ),
        Progress::Failed(why) => {
            let rehearsed = Rehearsed {
                expected_per_second,
                ..Rehearsed::default()
            };
            let message = format!("the load has found nothing out: {why}; apply another rehearsal");
            (Some(rehearsed), Finding::new(kind, false, "LoadFailed", message))
        }
        Progress::Ended(found) => {
            let verdict = Verdict::of(*found, expect, looks);
            let rehearsed = Rehearsed {
                held_per_second: Some(verdict.found.held_per_second.into()),
                expected_per_second,
                limited_by: verdict.limited_by.first().map(|limit| limit.of.clone()),
            };
            let (holds, reason) = match verdict.holds {
                None => (true, "Measured"),
                Some(true) => (true, "Holds"),
                Some(false) => (false, "FallsShort"),
            };
            (
                Some(rehearsed),
                Finding::new(kind, holds, reason, verdict.sentence()),
            )
        }
    }
}
