//! How many units of one product an order asks for.

use serde::{Deserialize, Serialize};

/// 1 to 100 units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "i64", into = "i64")]
pub struct Quantity(u32);

/// The refusal of a quantity outside 1 to 100.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("quantity must be a whole number from 1 to 100, not {0}")]
pub struct InvalidQuantity(i64);

impl Quantity {
    /// The most units of a line.
    pub const MOST: u32 = 100;

    /// Checks and wraps a number of units.
    ///
    /// # Errors
    /// [`InvalidQuantity`] outside 1 to 100.
    pub fn new(units: i64) -> Result<Self, InvalidQuantity> {
        match u32::try_from(units) {
            Ok(n @ 1..=Self::MOST) => Ok(Self(n)),
            _ => Err(InvalidQuantity(units)),
        }
    }

    /// The number of units.
    pub fn get(self) -> u32 {
        self.0
    }
}

impl TryFrom<i64> for Quantity {
    type Error = InvalidQuantity;
    fn try_from(units: i64) -> Result<Self, Self::Error> {
        Self::new(units)
    }
}

impl From<Quantity> for i64 {
    fn from(quantity: Quantity) -> Self {
        i64::from(quantity.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_to_a_hundred() {
        for (n, ok) in [
            (0, false),
            (-1, false),
            (1, true),
            (100, true),
            (101, false),
            (i64::MAX, false),
        ] {
            assert_eq!(Quantity::new(n).is_ok(), ok, "{n}");
        }
    }
}
