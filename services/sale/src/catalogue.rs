//! What the acceptance of an order looks at: products, their prices and the limit for each customer.

use crate::{Money, ProductId, Quantity, Sku};
use serde::{Deserialize, Serialize};

/// A product as the order service prices it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PricedProduct {
    /// Its id.
    pub id: ProductId,
    /// Its SKU.
    pub sku: Sku,
    /// Price of one unit.
    pub price: Money,
    /// Units one customer may hold and buy; `None` for any number.
    pub limit_per_customer: Option<u32>,
}

/// One line of an accepted order, with the price at the time of acceptance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PricedItem {
    /// The product.
    pub product_id: ProductId,
    /// Its SKU.
    pub sku: Sku,
    /// Units.
    pub quantity: Quantity,
    /// Price of one unit, in minor units.
    pub price: Money,
}

/// The total of an order, `None` when it does not fit the largest amount.
pub fn total(items: &[PricedItem]) -> Option<Money> {
    items.iter().try_fold(Money::from_minor(0), |sum, item| {
        sum.plus(item.price.times(item.quantity.get())?)
    })
}

/// Whether `wanted` more units are within the limit of a customer who already holds or bought `held`.
pub fn within_customer_limit(limit: Option<u32>, held: u64, wanted: u64) -> bool {
    limit.is_none_or(|limit| held.saturating_add(wanted) <= u64::from(limit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_total_is_the_exact_sum() {
        let item = |minor, n| PricedItem {
            product_id: ProductId::new("p"),
            sku: Sku::parse("S").unwrap(),
            quantity: Quantity::new(n).unwrap(),
            price: Money::from_minor(minor),
        };
        assert_eq!(total(&[item(79_999, 3), item(1, 100)]).unwrap().minor(), 240_097);
        assert_eq!(total(&[item(i64::MAX, 2)]), None);
    }

    #[test]
    fn the_limit_counts_what_is_held() {
        assert!(within_customer_limit(None, 1_000, 100));
        assert!(within_customer_limit(Some(2), 1, 1));
        assert!(!within_customer_limit(Some(2), 2, 1));
    }
}
