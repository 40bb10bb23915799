//! What is known about a sale beyond the API server, when all that it needs was brought: its products, its books and its orders.
//! Nothing here changes anything of a sale that is under way; one that has settled is audited and counted for its report.

use super::{bring::Brought, closing::Closing, observed::Observed, obstacle::Obstacle};
use crate::{
    calls::{CallError, ServiceCalls},
    catalogue,
    phase::Evidence,
    push::Receipts,
    rehearsal::limits::Reading,
    scrape, unready,
};
use crds::{
    Component, FlashSaleStatus, ValidSale,
    status::{OrderNumbers, ProductStatus},
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
    /// The backends and the products, as they were brought.
    pub brought: Brought,
    /// What the inventory has found of its books.
    pub books: Result<Books, CallError>,
    /// The orders.
    pub settlement: Result<Settlement, CallError>,
    /// The accounts of the products after the last order had settled; they are final.
    pub last_accounts: Option<Vec<ProductStatus>>,
    /// The services that are rolled out.
    pub rolled_out: BTreeSet<Component>,
    /// What the processes of a rehearsal under load had counted.
    pub look: Option<Reading>,
    /// What hinders those that are not rolled out.
    pub hindered: BTreeMap<Component, Obstacle>,
}

/// What the inventory says of its books.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Books {
    /// The last look at the ledger; none before the first.
    pub(super) ledger: Option<Ledger>,
    /// The last audit of everything, if somebody has asked for one.
    pub(super) audit: Option<Audit>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Ledger {
    pub(super) at: Timestamp,
    pub(super) differences: Vec<String>,
}

/// How long a look at the ledger is taken for the present: six times as long as inventory has from one to the next.
pub(super) const RECENT: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Audit {
    pub(super) differences: Option<Vec<String>>,
}

impl Books {
    /// Since when nobody has looked at the ledger, where that is too long ago.
    pub(super) fn stale_since(&self, now: Timestamp) -> Option<Timestamp> {
        let looked = self.ledger.as_ref()?.at;
        (now > looked + RECENT).then_some(looked)
    }

    /// What does not fit; `None` where nobody has looked yet.
    pub(super) fn differences(&self) -> Option<Vec<&str>> {
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
        self.under_way().iter().all(|(left, _)| *left == 0)
    }

    /// What is under way, and how much of it.
    pub fn under_way(&self) -> [(i64, Thing); 5] {
        [
            (
                self.pending,
                Thing("order without an end", "orders without an end"),
            ),
            (
                self.held,
                Thing("order whose units are held", "orders whose units are held"),
            ),
            (self.outbox, Thing("message to send", "messages to send")),
            (self.lag, Thing("message to handle", "messages to handle")),
            (
                self.losses,
                Thing("gap in a topic to mend", "gaps in topics to mend"),
            ),
        ]
    }
}

/// One of something, and several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thing(pub &'static str, pub &'static str);

impl Thing {
    /// So many of it, as people say it.
    pub fn count(self, how_many: i64) -> String {
        let Self(one, several) = self;
        match how_many {
            1 => format!("1 {one}"),
            _ => format!("{how_many} {several}"),
        }
    }
}

/// What is asked about.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// To ask with.
    pub http: &'a reqwest::Client,
    /// Which sale.
    pub sale: &'a ValidSale,
    /// Where it stands.
    pub phase: Phase,
    /// When.
    pub at: Timestamp,
}

/// Asks everybody at once; none of the answers takes much longer than a second, but for the settlement that a sale
/// cannot end without.
pub async fn gather(
    question: Question<'_>,
    observed: &Observed,
    brought: Brought,
    closing: &mut Closing,
    calls: impl Fn(Component) -> ServiceCalls,
) -> Knowledge {
    let Question {
        http,
        sale,
        phase,
        at,
    } = question;
    let (inventory, mut orders) = (calls(Component::Inventory), calls(Component::Order));
    if phase == Phase::Draining {
        orders = orders.within(SETTLEMENT_DEADLINE);
    }
    let rolled_out = observed.rolled_out(&sale.id.name);
    let look = async {
        let is_under_load = sale.load.is_some() && phase == Phase::Live;
        if !is_under_load {
            return None;
        }
        let mut reading = Reading::at(at);
        for part in scrape::in_parts(&observed.pods) {
            for (pod, text) in scrape::ask(http, &part).await {
                // Who does not answer is missing from this reading.
                reading.add(&pod.component, &text.unwrap_or_default());
            }
        }
        Some(reading)
    };
    let (look, books, settlement, mut hindered) = tokio::join!(
        look,
        inventory.get::<Books>("/api/inventory/audit"),
        orders.get::<Settlement>("/internal/settlement"),
        unready::ask(http, &observed.pods, &rolled_out, at),
    );
    // What the cluster says is the cause of what the process says, where both say something.
    hindered.extend(observed.hindered(&sale.id.name));
    // What was read before the last order settled may lack it, and nobody looks again once the sale has ended.
    let is_settled = settlement.as_ref().is_ok_and(Settlement::is_settled);
    let last_accounts = match phase == Phase::Draining && is_settled {
        true => {
            let accounts = catalogue::accounts(&inventory, sale);
            let (accounts, ()) = tokio::join!(accounts, closing.go_on(http, &calls, &observed.pods));
            let accepted = settlement.as_ref().map_or(0, |numbers| numbers.accepted);
            accounts
                .ok()
                .filter(|_| closing.is_done(accepted, &observed.pods))
        }
        false => None,
    };
    Knowledge {
        at,
        brought,
        books,
        settlement,
        last_accounts,
        rolled_out,
        look,
        hindered,
    }
}

impl Knowledge {
    /// As facts. What was read before a Deployment was changed, or while an object was refused (`unsettled`), says nothing
    /// about it.
    pub fn facts(&self, facts: Evidence, unsettled: bool, receipts: &Receipts) -> Evidence {
        let catalogue = self.brought.catalogue.as_ref().ok();
        let backends = &self.brought.backends;
        Evidence {
            backends_reachable: backends.unreachable.as_ref().is_some_and(Vec::is_empty),
            claimed: backends.ownership.is_ok(),
            topics_ready: backends.topics == Ok(Some(())),
            workloads_ready: self.rolled_out.len() == Component::ALL.len() && !unsettled,
            catalogue_ready: catalogue.is_some_and(|c| c.can_be_sold()),
            no_unit_left: catalogue.is_some_and(|c| c.no_unit_left),
            stock_changes: catalogue.is_none_or(|c| c.stock_changes),
            // An end without its last numbers would be wrong for ever.
            settled: self.last_accounts.is_some(),
            silent_orders: receipts.silent_orders > 0,
            ..facts
        }
    }

    /// Writes the numbers that are known into the status; what is not known stays as it was.
    pub fn record_numbers(&self, status: &mut FlashSaleStatus, refused: u64) {
        status.ready = Some(ready(&self.rolled_out));
        if let Ok(catalogue) = &self.brought.catalogue {
            status.products.clone_from(&catalogue.products);
        }
        for last in self.last_accounts.iter().flatten() {
            if let Some(product) = status.products.iter_mut().find(|p| p.sku == last.sku) {
                *product = ProductStatus {
                    applied_stock: product.applied_stock,
                    stock_change: product.stock_change.take(),
                    ..last.clone()
                };
            }
        }
        if self.brought.catalogue.is_ok() || self.last_accounts.is_some() {
            status.stock = Some(status.products.iter().map(|p| p.stock).sum());
            status.sold = Some(status.products.iter().map(|p| p.sold).sum());
        }
        let before = status.orders.unwrap_or_default();
        let rejected = i64::try_from(refused).unwrap_or(i64::MAX);
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

/// How many of the services are rolled out, as people read it.
pub fn ready(rolled_out: &BTreeSet<Component>) -> String {
    format!("{}/{}", rolled_out.len(), Component::ALL.len())
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
