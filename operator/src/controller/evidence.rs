//! What is known about a sale beyond the API server: its backends, its inventory and its orders.

use super::{
    backends_secret::{self, PlaintextConsent, Unusable},
    cleanup,
    context::Context,
    fetch::Observed,
    status::Finding,
};
use crate::{
    backends::Look,
    calls::{CallError, ServiceCalls},
    catalogue::{self, Catalogue},
    ownership::Claimant,
    push::Receipts,
};
use crds::{
    Component, FlashSaleStatus, ValidSale,
    status::{ConditionType, OrderNumbers},
};
use jiff::Timestamp;
use sale::phase::Phase;
use serde::Deserialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// How long the order service may take to say whether a sale that drains is settled: longer than it takes to look at
/// the most partitions there can be.
const SETTLEMENT_DEADLINE: Duration = Duration::from_secs(12);

/// What was found out.
#[derive(Debug)]
pub struct Knowledge {
    /// When it was asked for.
    pub at: Timestamp,
    /// The backends.
    pub backends: Look,
    /// The products.
    pub catalogue: Result<Catalogue, CallError>,
    /// What the inventory has found of its books.
    pub books: Result<Books, CallError>,
    /// The orders.
    pub settlement: Result<Settlement, CallError>,
    /// The services that are rolled out.
    pub rolled_out: BTreeSet<Component>,
    /// What hinders those that are not.
    pub hindered: BTreeMap<Component, String>,
}

/// What the inventory says of its books.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Books {
    /// The last look at the ledger; none before the first.
    ledger: Option<Ledger>,
    /// The last audit of everything, if somebody has asked for one.
    audit: Option<Audit>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Ledger {
    at: Timestamp,
    differences: Vec<String>,
}

/// How long a look at the ledger is taken for the present: six times as long as inventory has from one to the next.
const RECENT: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Audit {
    differences: Option<Vec<String>>,
}

impl Books {
    /// Since when nobody has looked at the ledger, where that is too long ago.
    fn stale_since(&self, now: Timestamp) -> Option<Timestamp> {
        let looked = self.ledger.as_ref()?.at;
        (now > looked + RECENT).then_some(looked)
    }

    /// What does not fit; `None` where nobody has looked yet.
    fn differences(&self) -> Option<Vec<&str>> {
        let ledger = self.ledger.as_ref()?.differences.iter();
        let audit = self
            .audit
            .iter()
            .flat_map(|audit| audit.differences.iter().flatten());
        Some(ledger.chain(audit).map(String::as_str).collect())
    }
}

/// What the order service says about its orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Settlement {
    accepted: i64,
    pending: i64,
    confirmed: i64,
    failed: i64,
    cancelled: i64,
    expired: i64,
    outbox: i64,
    lag: i64,
    /// Not known to earlier versions.
    #[serde(default)]
    held: i64,
    /// Not known to earlier versions.
    #[serde(default)]
    losses: i64,
}

impl Settlement {
    /// Whether nothing is under way.
    pub fn is_settled(&self) -> bool {
        [self.pending, self.outbox, self.lag, self.held, self.losses]
            .iter()
            .all(|left| *left == 0)
    }
}

/// Asks everybody at once; none of the answers takes much longer than a second, but for the settlement that a sale
/// cannot end without.
pub async fn gather(
    context: &Context,
    sale: &ValidSale,
    status: &FlashSaleStatus,
    observed: &Observed,
    claimant: &Claimant,
    backends_hash: &str,
    token: &str,
) -> Knowledge {
    let at = context.clock.now();
    let calls = |component| ServiceCalls::new(&context.http, component, observed.replica(component), token);
    let (inventory, mut orders) = (calls(Component::Inventory), calls(Component::Order));
    if status.phase() == Phase::Draining {
        orders = orders.within(SETTLEMENT_DEADLINE);
    }
    let (backends, catalogue, books, settlement) = tokio::join!(
        look(context, sale, observed, claimant, backends_hash),
        catalogue::bring(&inventory, sale, &status.products),
        inventory.get::<Books>("/api/inventory/audit"),
        orders.get::<Settlement>("/internal/settlement"),
    );
    Knowledge {
        at,
        backends,
        catalogue,
        books,
        settlement,
        rolled_out: observed.rolled_out(&sale.id.name),
        hindered: observed.hindered(&sale.id.name),
    }
}

/// Looks at the backends of a sale and, where that can be done, marks its place in them as its own and makes its topics.
pub async fn look(
    context: &Context,
    sale: &ValidSale,
    observed: &Observed,
    claimant: &Claimant,
    backends_hash: &str,
) -> Look {
    let consent = PlaintextConsent::of(sale, context.settings.plaintext_passwords);
    match backends_secret::operators(observed.backends.as_ref(), consent) {
        Ok(credentials) => {
            let fingerprint = format!("{backends_hash}/{:?}", sale.topics);
            let place = cleanup::place(sale);
            context
                .backends
                .look(&fingerprint, &credentials, &place, claimant)
                .await
        }
        Err(why) => match &observed.backends_refused {
            Some(sentence) => Look::impossible("NotForThisNamespace", sentence),
            None => self::unusable(&why),
        },
    }
}

/// What is known when the Secret cannot be used, or may not.
pub fn unusable(why: &Unusable) -> Look {
    Look::impossible(why.reason(), why.sentence())
}

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

impl Knowledge {
    /// The conditions that follow.
    pub fn findings(&self) -> Vec<Finding> {
        use ConditionType as C;
        let mut findings = of_backends(&self.backends);
        findings.push(workloads(&self.rolled_out, &self.hindered));
        match &self.catalogue {
            Err(error) => findings.push(Finding::new(
                C::CatalogReady,
                false,
                "InventoryNoAnswer",
                error.to_string(),
            )),
            Ok(catalogue) => {
                findings.push(if catalogue.is_ready() {
                    Finding::new(
                        C::CatalogReady,
                        true,
                        "AsWritten",
                        "the inventory holds the products as they are written",
                    )
                } else if catalogue.problems.is_empty() {
                    Finding::new(
                        C::CatalogReady,
                        false,
                        "ChangeUnderWay",
                        "an edit of stock is on its way",
                    )
                } else {
                    Finding::new(
                        C::CatalogReady,
                        false,
                        "ChangeRefused",
                        catalogue.problems.join("; "),
                    )
                });
                findings.extend(conserved(&catalogue.unbalanced, &self.books, self.at));
            }
        }
        findings
    }

    /// Writes the numbers that are known into the status; what is not known stays as it was.
    pub fn record_numbers(&self, status: &mut FlashSaleStatus, receipts: &Receipts) {
        status.ready = Some(ready(&self.rolled_out));
        if let Ok(catalogue) = &self.catalogue {
            status.products.clone_from(&catalogue.products);
            status.stock = Some(catalogue.products.iter().map(|p| p.stock).sum());
            status.sold = Some(catalogue.products.iter().map(|p| p.sold).sum());
        }
        let before = status.orders.unwrap_or_default();
        // Each process counts from its own start; a restart must not make the number fall.
        let rejected = before
            .rejected
            .max(i64::try_from(receipts.refused).unwrap_or(i64::MAX));
        status.orders = Some(match &self.settlement {
            Ok(s) => OrderNumbers {
                accepted: s.accepted,
                confirmed: s.confirmed,
                failed: s.failed + s.cancelled + s.expired,
                pending: s.pending,
                rejected,
            },
            Err(_) => OrderNumbers { rejected, ..before },
        });
    }
}

/// The most differences that a condition tells of.
const TOLD: usize = 3;

/// Whether no unit was made up or lost. What nobody has looked at stays as it was found before.
fn conserved(unbalanced: &[String], books: &Result<Books, CallError>, now: Timestamp) -> Option<Finding> {
    let kind = ConditionType::StockConserved;
    if !unbalanced.is_empty() {
        let skus = unbalanced.join(", ");
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

/// What is known of a sale that is over: whether the services that readers need are there.
pub fn afterwards(observed: &Observed, sale: &str, status: &mut FlashSaleStatus) -> Finding {
    let rolled_out = observed.rolled_out(sale);
    status.ready = Some(ready(&rolled_out));
    if observed.images(sale).is_empty() {
        let message = "the services were removed: nobody reads this sale any more";
        return Finding::new(ConditionType::WorkloadsReady, false, "Removed", message);
    }
    workloads(&rolled_out, &observed.hindered(sale))
}

/// How many of the services are rolled out, as people read it.
fn ready(rolled_out: &BTreeSet<Component>) -> String {
    format!("{}/{}", rolled_out.len(), Component::ALL.len())
}

/// The most characters of what the cluster says of one service: such sentences name pods, images and quotas at length.
const SENTENCE: usize = 300;

fn workloads(rolled_out: &BTreeSet<Component>, hindered: &BTreeMap<Component, String>) -> Finding {
    let kind = ConditionType::WorkloadsReady;
    let missing = Component::ALL.into_iter().filter(|c| !rolled_out.contains(c));
    let missing: Vec<_> = missing.collect();
    if missing.is_empty() {
        return Finding::new(kind, true, "RolledOut", "every service is rolled out");
    }
    let each = missing.iter().map(|component| match hindered.get(component) {
        Some(why) => {
            format!("{} ({})", component.as_str(), first(why))
        }
        None => component.as_str().to_owned(),
    });
    let message = format!("waiting for {}", each.collect::<Vec<_>>().join(", "));
    let is_hindered = missing.iter().any(|component| hindered.contains_key(component));
    let reason = if is_hindered { "Hindered" } else { "RollingOut" };
    Finding::new(kind, false, reason, message)
}

#[cfg(test)]
mod tests {
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

    /// Orders may all be over while units of theirs are still held, or while what a broker has lost is still to be said again.
    #[test]
    fn a_sale_is_settled_once_nothing_is_under_way_anywhere() {
        let settled = Settlement {
            accepted: 9,
            pending: 0,
            confirmed: 4,
            failed: 2,
            cancelled: 2,
            expired: 1,
            outbox: 0,
            lag: 0,
            held: 0,
            losses: 0,
        };
        assert!(settled.is_settled());
        for unsettled in [
            Settlement {
                pending: 1,
                ..settled
            },
            Settlement { outbox: 1, ..settled },
            Settlement { lag: 1, ..settled },
            Settlement { held: 1, ..settled },
            Settlement { losses: 1, ..settled },
        ] {
            assert!(!unsettled.is_settled(), "{unsettled:?}");
        }
        let said = |more: serde_json::Value| -> Settlement {
            let mut numbers = serde_json::json!({
                "accepted": 9, "pending": 0, "confirmed": 4, "failed": 2, "cancelled": 2, "expired": 1,
                "outbox": 0, "lag": 0,
            });
            let more = more.as_object().unwrap().clone();
            numbers.as_object_mut().unwrap().extend(more);
            serde_json::from_value(numbers).unwrap()
        };
        // An earlier version says nothing of the two.
        assert_eq!(said(serde_json::json!({})), settled);
        assert!(!said(serde_json::json!({"held": 1, "deadLetters": 0, "losses": 0})).is_settled());
        assert!(!said(serde_json::json!({"held": 0, "deadLetters": 0, "losses": 1})).is_settled());
        assert!(said(serde_json::json!({"held": 0, "deadLetters": 1, "losses": 0})).is_settled());
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
        let conserved =
            |unbalanced: &[String], books: &_| super::conserved(unbalanced, books, Timestamp::UNIX_EPOCH);
        assert!(conserved(&[], &books(None, &[])).is_none());
        assert!(conserved(&[], &Err(CallError::NoReplica(Component::Inventory))).is_none());
        let late = Timestamp::UNIX_EPOCH + RECENT * 2;
        let old = super::conserved(&[], &books(Some(&[]), &[]), late).unwrap();
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
        let (reason, message) = says(&BTreeMap::from([(second, "exceeded quota: q".repeat(100))]));
        assert_eq!(reason, "Hindered");
        assert!(
            message.contains(&format!("{} (exceeded quota: q", second.as_str())),
            "{message}"
        );
        assert!(message.len() < 400, "{message}");
    }
}
