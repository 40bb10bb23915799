//! The report of a sale: what was sold, what became of every order, what went wrong. Counted once, when nothing can change any more, and
//! kept for good.
//!
//! - [`figures`] adds up what the processes have counted;
//! - [`text`] says the report to people.

pub mod figures;
pub mod text;

use crds::{
    flashsale::Mode,
    status::{DegradedSpan, ProductStatus, Rehearsed},
};
use figures::Times;
use jiff::Timestamp;
use sale::{Currency, SaleId, account::Account};
use serde::Serialize;
use std::collections::BTreeMap;

/// Which shape the report has.
pub const VERSION: &str = "quicksale.io/report/v1";

/// The report.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// [`VERSION`].
    pub version: &'static str,
    /// Of which sale.
    pub sale: SaleId,
    /// The FlashSale's uid: another one of the same name is another sale.
    pub uid: String,
    /// Sale or Rehearsal.
    pub mode: Mode,
    /// Of every amount of money.
    pub currency: Currency,
    /// When what happened.
    pub times: Moments,
    /// The account of each product.
    pub products: Vec<Units>,
    /// The orders; none where the order service could not count them.
    pub orders: Option<Orders>,
    /// Orders that were refused at the door.
    pub refused: Refusals,
    /// How long orders took.
    pub durations: Durations,
    /// What went wrong.
    pub faults: Faults,
    /// What a rehearsal with a load has found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rehearsal: Option<RehearsalResult>,
    /// Whether the books agree.
    pub audit: AuditResult,
    /// What ran.
    pub versions: Versions,
    /// What could not be found out, and why.
    pub missing: Vec<String>,
}

/// What a rehearsal with a load has found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RehearsalResult {
    /// In numbers.
    #[serde(flatten)]
    pub rehearsed: Rehearsed,
    /// In one sentence.
    pub verdict: String,
}

/// When what happened; each as an instant, or not at all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Moments {
    /// The warm-up began.
    pub claimed_at: Option<Timestamp>,
    /// It was to open.
    pub opens_at: Option<Timestamp>,
    /// Its doors were open.
    pub opened_at: Option<Timestamp>,
    /// Its doors were shut.
    pub closed_at: Option<Timestamp>,
    /// Every order had its end.
    pub settled_at: Option<Timestamp>,
}

/// The account of a product: stock = available + reserved + sold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Units {
    sku: String,
    stock: i64,
    sold: i64,
    reserved: i64,
    available: i64,
}

impl From<&ProductStatus> for Units {
    fn from(product: &ProductStatus) -> Self {
        Self {
            sku: product.sku.clone(),
            stock: product.stock,
            sold: product.sold,
            reserved: product.reserved,
            available: product.available,
        }
    }
}

/// What became of the orders.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Orders {
    /// What the order service has counted.
    #[serde(flatten)]
    pub account: Account,
    /// Sum of the confirmed orders, as a decimal number of the sale's currency.
    pub sold_for: String,
}

/// Orders that were refused.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Refusals {
    /// As the status counted them while the sale was on, or as the gateways did that were there at the end, whichever is more: the one
    /// lacks the last seconds, and the other what went with a gateway.
    pub total: i64,
    /// By the code of the answer, as the gateways counted that were there at the end, each since it started.
    pub by_code: BTreeMap<String, u64>,
}

impl Refusals {
    /// Refusals of which the status has counted so many, and the gateways these.
    pub fn new(counted: i64, by_code: BTreeMap<String, u64>) -> Self {
        let at_the_end = i64::try_from(by_code.values().sum::<u64>()).unwrap_or(i64::MAX);
        Self {
            total: counted.max(at_the_end),
            by_code,
        }
    }
}

/// How long orders took, as the processes counted that were there at the end, each since it started.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Durations {
    /// From an order's arrival at a gateway until it was accepted.
    pub acceptance: Option<Times>,
    /// From its acceptance until it was confirmed.
    pub confirmation: Option<Times>,
}

/// What went wrong.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Faults {
    /// When the sale was open without something that it needs.
    pub degraded: Vec<DegradedSpan>,
    /// Restarts of containers of the pods that were there at the end, by service.
    pub restarts: BTreeMap<String, u32>,
    /// Counters of the processes that were there at the end, by metric.
    pub counters: BTreeMap<String, u64>,
}

/// What the audit of all books has found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", tag = "result")]
pub enum AuditResult {
    /// Ledger, stock, reservations and orders agree.
    #[serde(rename_all = "camelCase")]
    Agrees {
        /// When it was begun, by inventory's clock.
        started_at: Timestamp,
        /// Orders looked at.
        orders: u64,
    },
    /// They do not.
    #[serde(rename_all = "camelCase")]
    Differs {
        /// When it was begun.
        started_at: Timestamp,
        /// Where, a hundred at the most.
        differences: Vec<String>,
    },
    /// Nobody knows.
    Unknown,
}

/// What ran.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Versions {
    /// The operator that wrote this.
    pub operator: String,
    /// The image of each service at the end.
    pub images: BTreeMap<String, String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_fewer_were_refused_than_are_named() {
        let by_code = || BTreeMap::from([("sold_out".to_owned(), 3), ("busy".to_owned(), 4)]);
        assert_eq!(Refusals::new(5, by_code()).total, 7, "the last seconds");
        assert_eq!(Refusals::new(9, by_code()).total, 9, "a gateway that is gone");
    }
}
