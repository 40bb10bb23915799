//! The account of a sale that is over: every order by what became of it. The order service counts it, and the operator reports it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What became of the orders of a sale.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Account {
    /// When the count began, by this process's clock.
    pub counted_at: Timestamp,
    /// All orders.
    pub accepted: u64,
    /// Orders by status, as on the wire: `CONFIRMED`, `FAILED`, `CANCELLED`, `EXPIRED`, and `PENDING` for those without an end.
    pub by_status: BTreeMap<String, u64>,
    /// Orders that failed, by reason as it is stored.
    pub failed_by_reason: BTreeMap<String, u64>,
    /// Sum of the confirmed orders, in minor units of the sale's currency.
    pub sold_for_minor: i64,
    /// When the first order was accepted.
    pub first_order_at: Option<Timestamp>,
    /// When the last order was accepted.
    pub last_order_at: Option<Timestamp>,
    /// When the first of the orders that were confirmed in the end was accepted.
    pub first_sale_at: Option<Timestamp>,
    /// When the last of those was accepted.
    pub last_sale_at: Option<Timestamp>,
    /// The second in which most orders were accepted.
    pub busiest_second: Option<Timestamp>,
    /// How many were accepted in it.
    pub most_orders_in_a_second: u64,
    /// Documents that could not be read; they are in no other number.
    pub unreadable: u64,
}

/// How far the count of a sale's orders has come: what the order service answers at `/internal/account`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "camelCase")]
pub enum Count {
    /// The doors are open: there is nothing final to count.
    Open,
    /// It is under way; ask again.
    Counting,
    /// It is done.
    Counted {
        /// The account.
        account: Box<Account>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One of the two may be of an earlier version, which says less.
    #[test]
    fn what_an_earlier_version_does_not_say_is_nothing() {
        let count =
            serde_json::from_str::<Count>(r#"{"state": "counted", "account": {"accepted": 3}}"#).unwrap();
        let Count::Counted { account } = count else {
            panic!("{count:?}");
        };
        assert_eq!((account.accepted, account.unreadable), (3, 0));
    }
}
