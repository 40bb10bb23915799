//! Ready and Degraded, which sum the others up.

use crate::{
    controller::status::Finding,
    phase::{Evidence, Schedule},
};
use crds::{Component, FlashSaleStatus, status::ConditionType};
use jiff::Timestamp;
use sale::phase::Phase;
use std::{collections::BTreeSet, time::Duration};

/// How long an open sale may be without something that it needs before that is said: a replica that starts, and an answer that
/// takes a second, are nothing to wake anybody for.
pub const LAPSE: Duration = Duration::from_secs(10);

/// What Ready and Degraded follow from.
#[derive(Debug)]
pub struct Summary<'a> {
    /// The facts.
    pub evidence: &'a Evidence,
    /// When it opens.
    pub schedule: &'a Schedule,
    /// The services with a replica that takes requests.
    pub serving: &'a BTreeSet<Component>,
    /// Whether a gateway and an order service say that they can do their work.
    pub can_decide: bool,
    /// Whether every gateway and order service can do all of its work.
    pub processes_work: bool,
    /// Whether the warm-up waits for the backends.
    pub claiming: bool,
    /// Whether its host leads to another sale.
    pub host_is_taken: bool,
    /// What could not be done, with its reason.
    pub failure: Option<(&'static str, String)>,
    /// For how long something has been missing from the open sale.
    pub missing_for: Duration,
}

impl Summary<'_> {
    /// What buyers need to place an order: whoever lets them in, knows the products and takes the order.
    fn can_order(&self) -> bool {
        let needed = [
            Component::Gateway,
            Component::Auth,
            Component::Inventory,
            Component::Order,
        ];
        needed.iter().all(|component| self.serving.contains(component))
            && self.can_decide
            && !self.host_is_taken
    }

    /// What is missing from a sale that is open, though orders may be placed.
    fn lacks(&self) -> Vec<&'static str> {
        let facts = self.evidence;
        let without = |component| (!self.serving.contains(&component)).then_some(component);
        let mut lacks: Vec<_> = Component::ALL
            .into_iter()
            .filter_map(without)
            .map(Component::as_str)
            .collect();
        let others = [
            (facts.backends_reachable && self.processes_work, "a backend"),
            (facts.topics_ready, "topics"),
            (facts.catalogue_ready, "the products as they are written"),
            (!self.host_is_taken, "its host"),
            (
                facts.control_in_force,
                "a replica that confirms the control document",
            ),
        ];
        lacks.extend(others.iter().filter(|(there, _)| !there).map(|(_, what)| *what));
        lacks
    }

    /// Whether anything is missing now.
    pub fn is_complete(&self) -> bool {
        self.lacks().is_empty()
    }

    /// Ready and Degraded.
    pub fn findings(&self, status: &FlashSaleStatus, now: Timestamp) -> [Finding; 2] {
        let (ready, reason, message) = self.ready(status, now);
        let lacks = self.lacks();
        let impaired = status.phase() == Phase::Live
            && !lacks.is_empty()
            && self.is_news(status, ConditionType::Degraded);
        let degraded = match &self.failure {
            // In the words of the report that follows, or the condition would change to and fro.
            Some((reason, sentence)) => Finding::new(ConditionType::Degraded, true, reason, sentence.clone()),
            None if impaired => {
                let message = format!(
                    "the sale is open without {}; see the other conditions",
                    lacks.join(", ")
                );
                Finding::new(ConditionType::Degraded, true, "Impaired", message)
            }
            None => Finding::new(
                ConditionType::Degraded,
                false,
                "AsExpected",
                "nothing that should work is missing",
            ),
        };
        [
            Finding::new(ConditionType::Ready, ready, reason, message),
            degraded,
        ]
    }

    /// What has been missing for a moment is said only where it was said before, or where the sale has just opened without it.
    fn is_news(&self, status: &FlashSaleStatus, kind: ConditionType) -> bool {
        let good = match kind {
            ConditionType::Degraded => (Some(false), "AsExpected"),
            _ => (Some(true), "Open"),
        };
        let was_good = status
            .condition(kind)
            .is_some_and(|c| (c.holds(), c.reason.as_str()) == good);
        !was_good || self.missing_for >= LAPSE
    }

    fn ready(&self, status: &FlashSaleStatus, now: Timestamp) -> (bool, &'static str, String) {
        let complete = self.evidence.ready_to_sell() && self.evidence.control_in_force;
        let late = self.schedule.opening().filter(|at| now > *at + LAPSE);
        let (ready, reason, message) = match status.phase() {
            Phase::Pending if self.claiming => (
                false,
                "WaitingForBackends",
                "the warm-up begins once backends, topics and database are there and the sale's own",
            ),
            Phase::Pending => (false, "WaitingForWarmUp", "the warm-up has not begun"),
            Phase::Warming if late.is_some() => (
                false,
                "Late",
                "the opening time has passed and no gateway or no order service has run; see WorkloadsReady",
            ),
            Phase::Warming if complete => (
                false,
                "WaitingForOpening",
                "everything is ready; waiting for the opening time",
            ),
            Phase::Warming => (
                false,
                "WarmingUp",
                "backends, topics, services and catalogue are being made ready",
            ),
            Phase::Live if self.can_order() || !self.is_news(status, ConditionType::Ready) => {
                (true, "Open", "orders are taken")
            }
            Phase::Live => (
                false,
                "Impaired",
                "the sale is open and orders cannot be placed; see the other conditions",
            ),
            Phase::Draining => (
                false,
                "Draining",
                "the doors are being closed, and accepted orders are settling; see Settled",
            ),
            Phase::Ended => (true, "Ended", "every order is settled"),
        };
        (ready, reason, message.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A replica that starts, or an answer that takes a second, is nothing to wake anybody for.
    #[test]
    fn an_open_sale_is_ready_while_orders_can_be_placed_and_does_not_flap() {
        let all: BTreeSet<_> = Component::ALL.into_iter().collect();
        let schedule = Schedule {
            opens_at: None,
            closes_at: None,
            warm_up: Duration::ZERO,
            decided: None,
            opened_at: Some(Timestamp::UNIX_EPOCH),
        };
        let good = Evidence {
            backends_reachable: true,
            topics_ready: true,
            catalogue_ready: true,
            control_in_force: true,
            ..Evidence::default()
        };
        let live = |findings: &[Finding]| {
            let mut status = FlashSaleStatus {
                phase: Some(Phase::Live),
                ..FlashSaleStatus::default()
            };
            crate::controller::status::record(&mut status, findings, 1, Timestamp::UNIX_EPOCH);
            status
        };
        let says = |evidence: &Evidence, serving: &BTreeSet<_>, missing_for, before: &FlashSaleStatus| {
            let summary = Summary {
                evidence,
                schedule: &schedule,
                serving,
                can_decide: true,
                processes_work: true,
                claiming: false,
                host_is_taken: false,
                failure: None,
                missing_for,
            };
            summary.findings(before, Timestamp::UNIX_EPOCH)
        };
        let now = Duration::ZERO;
        let well = says(&good, &all, now, &live(&[]));
        assert_eq!([well[0].holds, well[1].holds], [true, false]);
        let before = live(&well);
        // Not all replicas of a service are there, while it scales: nothing is missing.
        assert_eq!(says(&good, &all, LAPSE, &before), well);
        let without_order: BTreeSet<_> = all.iter().copied().filter(|c| *c != Component::Order).collect();
        assert_eq!(says(&good, &without_order, now, &before), well);
        let ill = says(&good, &without_order, LAPSE, &before);
        assert_eq!([ill[0].holds, ill[1].holds], [false, true]);
        assert!(ill[1].message.contains("order"), "{}", ill[1].message);
        // What was ill stays so until it is well.
        assert_eq!(says(&good, &without_order, now, &live(&ill)), ill);
        // Buyers can order without it, and are not told of their orders.
        let without_notifier: BTreeSet<_> = all
            .iter()
            .copied()
            .filter(|c| *c != Component::Notifier)
            .collect();
        let muted = says(&good, &without_notifier, LAPSE, &before);
        assert_eq!([muted[0].holds, muted[1].holds], [true, true]);
        // One that opens without what it needs says so at once.
        let opening = says(&good, &without_order, now, &live(&[]));
        assert_eq!([opening[0].holds, opening[1].holds], [false, true]);
    }
}
