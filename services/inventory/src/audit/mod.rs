//! Checks the books of a sale against each other.
//!
//! - [`accounts`] compares ledger and reservations with the stock accounts, all from one moment;
//! - [`orders`] goes through orders and reservations side by side;
//! - [`full`] runs both when somebody asks;
//! - [`watch`] follows the ledger as it grows, so that a difference is known within seconds, whatever the size of the sale.

mod accounts;
pub mod full;
mod orders;
pub mod watch;

use crate::{
    on_the_way::OnTheWay,
    store::{Store, StoreError},
};
use jiff::Timestamp;
use sale::books::Difference;
use serde::{Deserialize, Serialize};

/// The most differences that are named; that there are more is said.
pub const MOST_NAMED: usize = 100;

/// What an audit has found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Audit {
    /// Products looked at.
    pub products: u64,
    /// Entries of the ledger that were added up.
    pub entries: u64,
    /// Orders looked at.
    pub orders: u64,
    /// Reservations looked at.
    pub reservations: u64,
    /// Orders that differ from their reservations and may yet be moved by a message on its way: audit again once it has come.
    #[serde(default)]
    pub moving: u64,
    /// What does not fit, at the most a hundred of each kind of look.
    pub differences: Vec<Difference>,
    /// Whether there are more.
    pub more: bool,
}

impl Audit {
    /// Whether the books agree.
    pub fn agrees(&self) -> bool {
        self.differences.is_empty()
    }

    pub(crate) fn name(&mut self, difference: Difference) {
        if self.differences.len() < MOST_NAMED {
            self.differences.push(difference);
        } else {
            self.more = true;
        }
    }
}

/// Checks everything, the accounts beside the orders. Reads each order and entry once, and each reservation twice.
///
/// # Errors
/// The store's: books that could not be read do not agree.
pub async fn run(store: &Store, on_the_way: &OnTheWay, now: Timestamp) -> Result<Audit, StoreError> {
    let of_orders = async {
        let mut audit = Audit::default();
        let moving = on_the_way.moving().await;
        orders::check(store, &mut audit, &moving, now).await?;
        Ok(audit)
    };
    let (mut audit, of_orders) = tokio::try_join!(accounts::check(store), of_orders)?;
    audit.orders = of_orders.orders;
    audit.reservations = of_orders.reservations;
    audit.moving = of_orders.moving;
    audit.more |= of_orders.more;
    audit.differences.extend(of_orders.differences);
    Ok(audit)
}
