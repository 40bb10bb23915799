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
    /// The backends.
    pub backends: Look,
    /// The products.
    pub catalogue: Result<Catalogue, CallError>,
    /// The orders.
    pub settlement: Result<Settlement, CallError>,
    /// The services that are rolled out.
    pub rolled_out: BTreeSet<Component>,
    /// What hinders those that are not.
    pub hindered: BTreeMap<Component, String>,
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
}

impl Settlement {
    /// Whether nothing is under way.
    pub fn is_settled(&self) -> bool {
        self.pending == 0 && self.outbox == 0 && self.lag == 0
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
    let calls = |component| ServiceCalls::new(&context.http, component, observed.replica(component), token);
    let (inventory, mut orders) = (calls(Component::Inventory), calls(Component::Order));
    if status.phase() == Phase::Draining {
        orders = orders.within(SETTLEMENT_DEADLINE);
    }
    let (backends, catalogue, settlement) = tokio::join!(
        look(context, sale, observed, claimant, backends_hash),
        catalogue::bring(&inventory, sale, &status.products),
        orders.get::<Settlement>("/internal/settlement"),
    );
    Knowledge {
        backends,
        catalogue,
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
                findings.push(if catalogue.unbalanced.is_empty() {
                    Finding::new(C::StockConserved, true, "AccountsBalance", "stock is available + reserved + sold for every product")
                } else {
                    let skus = catalogue.unbalanced.join(", ");
                    Finding::new(C::StockConserved, false, "AccountBroken", format!("the units of {skus} do not add up; halt the sale and look into the inventory's log"))
                });
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
            let why: String = why.chars().take(SENTENCE).collect();
            format!("{} ({why})", component.as_str())
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
