//! The ledger of units: what moved where and why. Whoever adds its entries up gets the numbers of the stock account, so that a number
//! can be checked against how it came about.

use serde::{Deserialize, Serialize};

/// Where units are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// Not in this sale.
    Outside,
    /// For sale.
    Available,
    /// Held for an order.
    Reserved,
    /// Of confirmed orders.
    Sold,
}

/// Why units moved, and with that from where to where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cause {
    /// Stock was added.
    Stocked,
    /// Stock was taken away.
    Withdrawn,
    /// An order holds them.
    Reserved,
    /// Its order gave them back.
    Released,
    /// Its order is confirmed.
    Sold,
    /// They were sold to an order that does not exist any more.
    Returned,
}

impl Cause {
    /// Where the units come from.
    pub fn from(self) -> Place {
        match self {
            Self::Stocked => Place::Outside,
            Self::Withdrawn | Self::Reserved => Place::Available,
            Self::Released | Self::Sold => Place::Reserved,
            Self::Returned => Place::Sold,
        }
    }

    /// Where they go.
    pub fn to(self) -> Place {
        match self {
            Self::Withdrawn => Place::Outside,
            Self::Stocked | Self::Released | Self::Returned => Place::Available,
            Self::Reserved => Place::Reserved,
            Self::Sold => Place::Sold,
        }
    }
}

/// Sums of entries. Below zero only where entries are missing or wrong.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sums {
    /// All units.
    pub stock: i64,
    /// Units held.
    pub reserved: i64,
    /// Units of confirmed orders.
    pub sold: i64,
}

impl Sums {
    /// Adds an entry.
    pub fn add(&mut self, cause: Cause, units: i64) {
        for (place, units) in [(cause.from(), -units), (cause.to(), units)] {
            match place {
                // Stock is all that is not outside.
                Place::Outside => self.stock -= units,
                Place::Available => {}
                Place::Reserved => self.reserved += units,
                Place::Sold => self.sold += units,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stock::Stock;

    /// Every move of an account, and its entry.
    #[test]
    fn entries_add_up_to_the_account() {
        let (mut account, mut sums) = (Stock::new(0), Sums::default());
        let moves: [(Cause, u64); 7] = [
            (Cause::Stocked, 10),
            (Cause::Reserved, 7),
            (Cause::Released, 2),
            (Cause::Sold, 4),
            (Cause::Withdrawn, 3),
            (Cause::Returned, 1),
            (Cause::Reserved, 2),
        ];
        for (cause, units) in moves {
            let delta = i64::try_from(units).unwrap();
            match cause {
                Cause::Stocked => account.adjust(delta).unwrap(),
                Cause::Withdrawn => account.adjust(-delta).unwrap(),
                Cause::Reserved => account.reserve(units).unwrap(),
                Cause::Released => account.release(units).unwrap(),
                Cause::Sold => account.confirm(units).unwrap(),
                Cause::Returned => account.take_back(units).unwrap(),
            }
            sums.add(cause, delta);
            let of_account = [account.total(), account.reserved(), account.sold()];
            let of_account = of_account.map(|units| i64::try_from(units).unwrap());
            assert_eq!([sums.stock, sums.reserved, sums.sold], of_account, "{cause:?}");
        }
    }
}
