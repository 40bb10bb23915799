//! What is said of a sale: every condition, each from the facts that it stands for.

use super::{
    control::Halt,
    evidence::{Books, Knowledge, ready},
    observed::Observed,
    obstacle::{self, Obstacle},
    pin,
    reconcile::PAUSED_ANNOTATION,
    status::Finding,
};
use crate::{
    backends::Look,
    calls::CallError,
    catalogue::Catalogue,
    phase::{self, Evidence, Schedule},
    push::{CLOCKS_AGREE, Heard, Receipts},
    rehearsal::{Progress, Verdict, limits::Reading},
};
use crds::{
    Component, FlashSaleStatus,
    rehearsal::Expectation,
    status::{ConditionType, Rehearsed},
};
use jiff::{SignedDuration, Timestamp};
use sale::phase::Phase;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// How long an open sale may be without something that it needs before that is said: a replica that starts, and an answer that
/// takes a second, are nothing to wake anybody for.
pub const LAPSE: Duration = Duration::from_secs(10);

/// The conditions that follow from a look at the backends.
pub fn of_backends(look: &Look) -> Vec<Finding> {
    use ConditionType as C;
    // While nobody has looked, as after a start of the operator, what was found before stands.
    let Some(unreachable) = &look.unreachable else {
        return Vec::new();
    };
    let reachable = match unreachable.as_slice() {
        [] => Finding::new(
            C::BackendsReachable,
            true,
            "AllAnswer",
            "MongoDB, Kafka and Redis answer",
        ),
        sentences => Finding::new(C::BackendsReachable, false, look.reason, sentences.join("; ")),
    };
    let topics = match (&look.ownership, &look.topics) {
        (Err(sentence), _) if unreachable.is_empty() => Some(Finding::new(
            C::TopicsReady,
            false,
            "PlaceRefused",
            sentence.as_str(),
        )),
        (_, Err(sentence)) => Some(Finding::new(
            C::TopicsReady,
            false,
            "TopicsMissing",
            sentence.as_str(),
        )),
        (_, Ok(Some(()))) => Some(Finding::new(
            C::TopicsReady,
            true,
            "TopicsExist",
            "every topic exists",
        )),
        // What was found before stands.
        (_, Ok(None)) => None,
    };
    [Some(reachable), topics].into_iter().flatten().collect()
}

/// The conditions that follow from what is known of a sale whose services are there.
pub fn of(known: &Knowledge) -> Vec<Finding> {
    let mut findings = of_backends(&known.brought.backends);
    findings.push(workloads(&known.rolled_out, &known.hindered));
    match &known.brought.catalogue {
        Err(error) => findings.push(Finding::new(
            ConditionType::CatalogReady,
            false,
            "InventoryNoAnswer",
            error.to_string(),
        )),
        Ok(catalogue) => {
            findings.push(self::catalogue(catalogue));
            findings.extend(conserved(catalogue, &known.books, known.at));
        }
    }
    findings
}

/// What the sale's own processes say of their work, where they cannot do some of it: they know better than whoever looks from outside.
pub fn of_processes(receipts: &Receipts) -> Option<Finding> {
    let kind = ConditionType::BackendsReachable;
    let first_few: Vec<_> = receipts.failing.iter().take(TOLD).map(|one| first(one)).collect();
    (!first_few.is_empty()).then(|| Finding::new(kind, false, "ProcessesSay", first_few.join("; ")))
}

fn catalogue(catalogue: &Catalogue) -> Finding {
    let kind = ConditionType::CatalogReady;
    if !catalogue.lost.is_empty() {
        let message = format!(
            "the inventory no longer has {}; put the sale's database back, for made anew they would be sold twice",
            catalogue.lost.join(", ")
        );
        Finding::new(kind, false, "ProductsLost", message)
    } else if catalogue.is_ready() {
        let message = "the inventory holds the products as they are written";
        Finding::new(kind, true, "AsWritten", message)
    } else if catalogue.problems.is_empty() {
        Finding::new(kind, false, "ChangeUnderWay", "an edit of stock is on its way")
    } else {
        Finding::new(kind, false, "ChangeRefused", catalogue.problems.join("; "))
    }
}

/// Whether every replica that decides by the control document has it, as they have answered. Nothing is said while there are none.
pub fn control_in_force(receipts: &Receipts) -> Option<Finding> {
    let kind = ConditionType::ControlInForce;
    if receipts.audience == 0 && receipts.unheard == 0 {
        return None;
    }
    let told = numbers(&receipts.gateways, &receipts.orders);
    if receipts.everywhere() {
        let message = format!("{told} go by the control document");
        return Some(Finding::new(kind, true, "Confirmed", message));
    }
    let mut message = format!("{told} have confirmed the control document");
    if !receipts.silent.is_empty() {
        message = format!(
            "{message}; no answer from {}: let the operator reach port 9090 of the sale's pods, or delete a pod that hangs",
            some(&receipts.silent)
        );
    }
    Some(Finding::new(kind, false, "NotEverywhere", message))
}

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

/// Whether those who open and close the doors go by the operator's time; nothing where nobody said the time.
pub fn clocks(receipts: &Receipts) -> Option<Finding> {
    let kind = ConditionType::ClocksAgree;
    if receipts.clocks == 0 {
        return None;
    }
    let wrong: Vec<_> = receipts
        .wrong_clocks
        .iter()
        .map(|(pod, by)| wrong(pod, *by))
        .collect();
    Some(match wrong.as_slice() {
        [] => Finding::new(
            kind,
            true,
            "Agree",
            format!(
                "the clocks of gateways and order services are within {CLOCKS_AGREE:#} of the operator's"
            ),
        ),
        wrong => {
            let message = format!(
                "{}: doors open and close that much too early or too late; have NTP set the clocks of all nodes, the operator's too",
                some(wrong)
            );
            Finding::new(kind, false, "ClockSkew", message)
        }
    })
}

fn wrong(pod: &str, by: SignedDuration) -> String {
    // Whole seconds: what is off by more and less from look to look is no news.
    let seconds = by
        .round(jiff::Unit::Second)
        .map_or_else(|_| by.as_secs(), |by| by.as_secs());
    let side = if by.is_negative() { "behind" } else { "ahead of" };
    format!("the clock of {pod} is {} s {side} the operator's", seconds.abs())
}

/// The first few of several, and how many more there are.
fn some(all: &[String]) -> String {
    let told = all
        .iter()
        .take(TOLD)
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(", ");
    match all.len().saturating_sub(TOLD) {
        0 => told,
        more => format!("{told} and {more} more"),
    }
}

fn numbers(gateways: &Heard, orders: &Heard) -> String {
    format!(
        "{} of {} gateways and {} of {} order services",
        gateways.in_force, gateways.audience, orders.in_force, orders.audience
    )
}

/// Whether new orders are refused: by those who decide about them, not by what is written.
pub fn halted(halt: Option<Halt>, receipts: &Receipts) -> Finding {
    let kind = ConditionType::Halted;
    let obeyed = receipts.in_force() == receipts.audience;
    let told = numbers(&receipts.gateways, &receipts.orders);
    let (reason, why) = match halt {
        None if obeyed => return Finding::new(kind, false, "NotRequested", "spec.halted is not set"),
        None => {
            let message = format!("spec.halted is not set any more; {told} know it");
            return Finding::new(kind, false, "Resuming", message);
        }
        Some(Halt::OnRequest) => ("OnRequest", "spec.halted is set"),
        Some(Halt::BooksDiffer) => (
            "BooksDiffer",
            "the books differ, as StockConserved says (set spec.onAuditDifference to Continue to sell on)",
        ),
    };
    if obeyed {
        let message = format!("new orders are refused and accepted ones settle: {why}; {told} obey");
        return Finding::new(kind, true, reason, message);
    }
    let reason = match halt {
        Some(Halt::BooksDiffer) => reason,
        _ => "NotEverywhere",
    };
    let message = format!(
        "{why}; {told} refuse new orders, and the others may still take some: ControlInForce says who"
    );
    Finding::new(kind, false, reason, message)
}

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

/// Whether the pods run what is written. What would start those of an open sale anew waits.
pub fn up_to_date(held: &[Component]) -> Finding {
    let kind = ConditionType::UpToDate;
    if held.is_empty() {
        return Finding::new(kind, true, "AsWritten", "the pods run what is written");
    }
    let names: Vec<_> = held.iter().map(|component| component.as_str()).collect();
    let message = format!(
        "the pods of {} keep what the sale was opened with; for what is written now they would start anew, which waits for the next sale: set \
         the annotation {}=true to do it now",
        names.join(", "),
        pin::ALLOW_ANNOTATION
    );
    Finding::new(kind, false, "RolloutHeld", message)
}

/// The reason of a sale whose objects are to be left alone.
pub const PAUSED: &str = "Paused";

/// What is said of a sale whose objects are to be left alone.
pub fn paused() -> Finding {
    let message = format!(
        "nothing is made, changed or put right for this sale while the annotation {PAUSED_ANNOTATION}=true is there; it is opened, halted, closed \
         and settled all the same. Take the annotation away to go on"
    );
    Finding::new(ConditionType::UpToDate, false, PAUSED, message)
}

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
            ConditionType::Degraded => ("False", "AsExpected"),
            _ => ("True", "Open"),
        };
        let was_good = status
            .condition(kind)
            .is_some_and(|c| (c.status.as_str(), c.reason.as_str()) == good);
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

/// What is known of a sale that is over: whether the services that readers need are there.
pub fn afterwards(observed: &Observed, sale: &str, status: &mut FlashSaleStatus) -> Finding {
    let rolled_out = observed.rolled_out(sale);
    status.ready = Some(ready(&rolled_out));
    if !observed.has_services(sale) {
        let message = "the services were removed: nobody reads this sale any more";
        return Finding::new(ConditionType::WorkloadsReady, false, "Removed", message);
    }
    workloads(&rolled_out, &observed.hindered(sale))
}

/// The most differences that a condition tells of.
const TOLD: usize = 3;

/// Whether no unit was made up or lost. What nobody has looked at stays as it was found before.
fn conserved(catalogue: &Catalogue, books: &Result<Books, CallError>, now: Timestamp) -> Option<Finding> {
    let kind = ConditionType::StockConserved;
    if !catalogue.lost.is_empty() {
        let message = "the account of a product that was sold from is gone, as CatalogReady says";
        return Some(Finding::new(kind, false, "ProductsLost", message));
    }
    if !catalogue.unbalanced.is_empty() {
        let skus = catalogue.unbalanced.join(", ");
        let message = format!("the units of {skus} do not add up; the inventory's log says more");
        return Some(Finding::new(kind, false, "AccountBroken", message));
    }
    let books = books.as_ref().ok()?;
    let differences = books.differences()?;
    if differences.is_empty() {
        if let Some(looked) = books.stale_since(now) {
            let message =
                format!("the books agreed at {looked}; inventory has not looked since, and its log says why");
            return Some(Finding::new(kind, true, "LookIsOld", message));
        }
        let message = "every movement of units is in the ledger, and it adds up to the stock";
        return Some(Finding::new(kind, true, "BooksAgree", message));
    }
    let told: Vec<String> = differences.iter().take(TOLD).map(|one| first(one)).collect();
    let more = match differences.len().saturating_sub(TOLD) {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    let message = format!(
        "{}{more}; quicksale audit says all, and ends the halt once the books agree",
        told.join("; ")
    );
    Some(Finding::new(kind, false, "BooksDiffer", message))
}

/// As much of a sentence as a condition has room for.
fn first(sentence: &str) -> String {
    sentence.chars().take(SENTENCE).collect()
}

/// The most characters of one sentence of others that a condition repeats.
const SENTENCE: usize = 300;

fn workloads(rolled_out: &BTreeSet<Component>, hindered: &BTreeMap<Component, Obstacle>) -> Finding {
    let kind = ConditionType::WorkloadsReady;
    let missing = Component::ALL.into_iter().filter(|c| !rolled_out.contains(c));
    let missing: Vec<_> = missing.collect();
    if missing.is_empty() {
        return Finding::new(kind, true, "RolledOut", "every service is rolled out");
    }
    let in_the_way: BTreeMap<_, _> = missing
        .iter()
        .filter_map(|component| Some((*component, hindered.get(component)?.clone())))
        .collect();
    let others = missing
        .iter()
        .filter(|component| !in_the_way.contains_key(component));
    let others: Vec<_> = others.map(|component| component.as_str()).collect();
    let others = match others.as_slice() {
        [] => String::new(),
        others => format!("waiting for {}", others.join(", ")),
    };
    match obstacle::tell(&in_the_way) {
        None => Finding::new(kind, false, "RollingOut", others),
        Some((reason, sentence)) if others.is_empty() => Finding::new(kind, false, reason, sentence),
        Some((reason, sentence)) => Finding::new(kind, false, reason, format!("{sentence}. Also {others}")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{
        backends_secret::Unusable,
        bring::unusable,
        evidence::{Audit, Ledger, RECENT},
    };
    use super::*;

    /// Somebody who reads that nothing answers looks at the network.
    #[test]
    fn a_secret_that_may_not_be_used_is_no_backend_that_does_not_answer() {
        let refused = unusable(&Unusable::Plaintext("passwords would go".to_owned()));
        let [finding] = &of_backends(&refused)[..] else {
            panic!("{:?}", of_backends(&refused));
        };
        assert_eq!(finding.kind, ConditionType::BackendsReachable);
        assert!(!finding.holds);
        assert_eq!(
            (finding.reason, &*finding.message),
            ("PlaintextRefused", "passwords would go")
        );
    }

    #[test]
    fn books_that_differ_are_told_of_and_those_nobody_has_looked_at_say_nothing() {
        let books = |ledger: Option<&[&str]>, audit: &[&str]| {
            let lines = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect();
            Ok(Books {
                ledger: ledger.map(|differences| Ledger {
                    at: Timestamp::UNIX_EPOCH,
                    differences: lines(differences),
                }),
                audit: Some(Audit {
                    differences: Some(lines(audit)),
                }),
            })
        };
        let held = |unbalanced: &[String]| Catalogue {
            unbalanced: unbalanced.to_vec(),
            ..Catalogue::default()
        };
        let conserved = |unbalanced: &[String], books: &_| {
            super::conserved(&held(unbalanced), books, Timestamp::UNIX_EPOCH)
        };
        assert!(conserved(&[], &books(None, &[])).is_none());
        assert!(conserved(&[], &Err(CallError::NoReplica(Component::Inventory))).is_none());
        let late = Timestamp::UNIX_EPOCH + RECENT * 2;
        let old = super::conserved(&held(&[]), &books(Some(&[]), &[]), late).unwrap();
        assert_eq!((old.holds, old.reason), (true, "LookIsOld"));
        let agree = conserved(&[], &books(Some(&[]), &[])).unwrap();
        assert_eq!((agree.holds, agree.reason), (true, "BooksAgree"));
        let long = "x".repeat(10_000);
        let differ = conserved(&[], &books(Some(&["a", long.as_str()]), &["c", "d", "e"])).unwrap();
        assert_eq!((differ.holds, differ.reason), (false, "BooksDiffer"));
        assert!(differ.message.starts_with("a; xxx"), "{}", differ.message);
        assert!(differ.message.contains("; c; and 2 more;"), "{}", differ.message);
        assert!(differ.message.len() < 600, "{}", differ.message);
        let broken = conserved(&["A".to_owned()], &books(Some(&[]), &[])).unwrap();
        assert_eq!((broken.holds, broken.reason), (false, "AccountBroken"));
        let gone = Catalogue {
            lost: vec!["A".to_owned()],
            ..Catalogue::default()
        };
        let gone = super::conserved(&gone, &books(Some(&[]), &[]), Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!((gone.holds, gone.reason), (false, "ProductsLost"));
    }

    fn receipts(gateways: (usize, usize), orders: (usize, usize)) -> Receipts {
        let heard = |(in_force, audience)| Heard {
            in_force,
            audience,
            failing: 0,
        };
        Receipts {
            gateways: heard(gateways),
            orders: heard(orders),
            audience: gateways.1 + orders.1,
            ..Receipts::default()
        }
    }

    /// A gateway that was not reached sells on.
    #[test]
    fn a_sale_is_halted_where_everybody_who_decides_obeys() {
        let all = halted(Some(Halt::OnRequest), &receipts((4, 4), (1, 1)));
        assert_eq!((all.holds, all.reason), (true, "OnRequest"));
        let three = halted(Some(Halt::OnRequest), &receipts((3, 4), (1, 1)));
        assert_eq!((three.holds, three.reason), (false, "NotEverywhere"));
        assert!(three.message.contains("3 of 4 gateways"), "{}", three.message);
        let books = halted(Some(Halt::BooksDiffer), &receipts((3, 4), (1, 1)));
        assert_eq!((books.holds, books.reason), (false, "BooksDiffer"));
        let open = halted(None, &receipts((4, 4), (1, 1)));
        assert_eq!((open.holds, open.reason), (false, "NotRequested"));
        let opening = halted(None, &receipts((3, 4), (1, 1)));
        assert_eq!((opening.holds, opening.reason), (false, "Resuming"));
    }

    #[test]
    fn whoever_has_not_confirmed_the_document_is_named() {
        assert_eq!(control_in_force(&Receipts::default()), None);
        let all = control_in_force(&receipts((2, 2), (1, 1))).unwrap();
        assert!(all.holds && all.message.contains("2 of 2 gateways and 1 of 1 order services"));
        let silent = Receipts {
            unheard: 1,
            silent: vec!["shoes-gateway-7".to_owned()],
            ..receipts((1, 2), (1, 1))
        };
        let some = control_in_force(&silent).unwrap();
        assert_eq!((some.holds, some.reason), (false, "NotEverywhere"));
        assert!(
            some.message.contains("no answer from shoes-gateway-7"),
            "{}",
            some.message
        );
        // Doors that cannot be reached are not closed because there are none.
        assert!(!control_in_force(&receipts((2, 2), (0, 0))).unwrap().holds);
    }

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

    /// It was seen that every gateway refused orders for want of Redis while all conditions were fine.
    #[test]
    fn what_processes_cannot_do_is_said_whatever_the_operator_sees() {
        let mut all = receipts((2, 2), (1, 1));
        assert!(of_processes(&all).is_none() && all.can_decide());
        all.failing = vec!["shoes-gateway-1: asking Redis has failed for 25 s: timeout".to_owned()];
        all.gateways.failing = 1;
        assert!(all.can_decide(), "the other one can");
        all.gateways.failing = 2;
        assert!(!all.can_decide());
        let said = of_processes(&all).unwrap();
        assert_eq!((said.holds, said.reason), (false, "ProcessesSay"));
        assert!(said.message.contains("asking Redis"), "{}", said.message);
    }

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
            super::super::status::record(&mut status, findings, 1, Timestamp::UNIX_EPOCH);
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

    #[test]
    fn services_that_are_awaited_are_told_with_what_hinders_them() {
        let all: BTreeSet<_> = Component::ALL.into_iter().collect();
        assert!(workloads(&all, &BTreeMap::new()).holds);
        let but_two: BTreeSet<_> = Component::ALL.into_iter().skip(2).collect();
        let [first, second] = [Component::ALL[0], Component::ALL[1]];
        let says = |hindered: &BTreeMap<_, _>| {
            let finding = workloads(&but_two, hindered);
            assert!(!finding.holds);
            (finding.reason, finding.message)
        };
        let plain = format!("waiting for {}, {}", first.as_str(), second.as_str());
        assert_eq!(says(&BTreeMap::new()), ("RollingOut", plain));
        let quota = Obstacle::of_refused_pods(&"exceeded quota: q".repeat(100));
        let (reason, message) = says(&BTreeMap::from([(second, quota)]));
        assert_eq!(reason, "QuotaExceeded");
        let begins = format!(
            "{}: the namespace's quota or limit range allows no pod (exceeded quota: q",
            second.as_str()
        );
        assert!(message.starts_with(&begins), "{message}");
        let ends = format!(
            "; raise it, or ask for less in spec.services. Also waiting for {}",
            first.as_str()
        );
        assert!(message.ends_with(&ends), "{message}");
        assert!(message.len() < 600, "{message}");
    }

    #[test]
    fn a_wrong_clock_is_told_of_with_its_side() {
        let receipts = |wrong: &[(&str, i64)], clocks| Receipts {
            wrong_clocks: wrong
                .iter()
                .map(|(pod, millis)| ((*pod).to_owned(), SignedDuration::from_millis(*millis)))
                .collect(),
            clocks,
            ..Receipts::default()
        };
        assert_eq!(clocks(&receipts(&[], 0)), None);
        assert!(clocks(&receipts(&[], 2)).unwrap().holds);
        let found = clocks(&receipts(&[("a", 4_600), ("b", -2_300)], 2)).unwrap();
        assert_eq!((found.holds, found.reason), (false, "ClockSkew"));
        assert!(
            found.message.starts_with(
                "the clock of a is 5 s ahead of the operator's, the clock of b is 2 s behind the operator's: "
            ),
            "{}",
            found.message
        );
    }
}
