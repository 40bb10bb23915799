//! What the acceptance of an order counts: the limit for each customer, and the total.

use super::holds;
use crate::{
    Money, ProductId, Quantity, Sku,
    catalogue::{PricedItem, total, within_customer_limit},
    order::MOST_ITEMS,
};
use proptest::{collection::vec, prelude::*};

/// The largest whole number that a reader in a browser can hold exactly.
const LARGEST_IN_A_BROWSER: i64 = (1 << 53) - 1;

/// Small numbers, and those that the smallest sum would wrap around.
fn units() -> impl Strategy<Value = u64> {
    prop_oneof![6 => 0..12_u64, 1 => any::<u64>(), 1 => (0..20_u64).prop_map(|less| u64::MAX - less)]
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Takes(u64),
    /// The first order that still counts ends without being bought.
    GivesBack,
}

#[test]
fn a_customer_never_holds_more_than_the_limit_and_is_never_refused_less() {
    let step = prop_oneof![
        7 => units().prop_map(Step::Takes),
        3 => Just(Step::GivesBack),
    ];
    holds((0..20_u32, vec(step, 0..60)), |(limit, steps)| {
        let mut orders = std::collections::VecDeque::new();
        for step in steps {
            let held: u64 = orders.iter().sum();
            match step {
                Step::Takes(wanted) => {
                    let fits = u128::from(held) + u128::from(wanted) <= limit.into();
                    prop_assert_eq!(within_customer_limit(Some(limit), held, wanted), fits);
                    if fits {
                        orders.push_back(wanted);
                    }
                }
                Step::GivesBack => drop(orders.pop_front()),
            }
            prop_assert!(orders.iter().sum::<u64>() <= limit.into());
        }
        Ok(())
    });
}

/// One order of many units has no chance that many of few do not have.
#[test]
fn the_limit_is_the_same_in_one_order_and_in_two() {
    holds(
        (0..20_u32, units(), units(), units()),
        |(limit, held, first, second)| {
            let together = first
                .checked_add(second)
                .is_some_and(|both| within_customer_limit(Some(limit), held, both));
            let one_by_one = within_customer_limit(Some(limit), held, first)
                && within_customer_limit(Some(limit), held + first, second);
            prop_assert_eq!(together, one_by_one);
            Ok(())
        },
    );
}

#[test]
fn what_is_already_held_over_a_limit_that_came_later_lets_nothing_through() {
    holds((any::<u32>(), any::<u64>(), units()), |(limit, held, wanted)| {
        prop_assert!(within_customer_limit(None, held, wanted));
        if held >= limit.into() && wanted > 0 {
            prop_assert!(!within_customer_limit(Some(limit), held, wanted));
        }
        Ok(())
    });
}

fn items(prices: impl Strategy<Value = i64>, most: usize) -> impl Strategy<Value = Vec<PricedItem>> {
    let item = (prices, 1..=100_i64).prop_map(|(price, units)| PricedItem {
        product_id: ProductId::new("p"),
        sku: Sku::parse("S").unwrap(),
        quantity: Quantity::new(units).unwrap(),
        price: Money::from_minor(price),
    });
    vec(item, 0..=most)
}

fn exact(items: &[PricedItem]) -> i128 {
    let lines = items
        .iter()
        .map(|item| i128::from(item.price.minor()) * i128::from(item.quantity.get()));
    lines.sum()
}

#[test]
fn every_order_within_the_bounds_has_a_total_that_a_browser_can_read() {
    let prices = prop_oneof![0..=Money::MAX_MINOR, Just(Money::MAX_MINOR)];
    holds(items(prices, MOST_ITEMS), |items| {
        let sum = total(&items).map(Money::minor);
        prop_assert_eq!(sum.map(i128::from), Some(exact(&items)));
        prop_assert!(sum <= Some(LARGEST_IN_A_BROWSER));
        Ok(())
    });
}

#[test]
fn a_total_that_does_not_fit_is_none_and_never_a_smaller_one() {
    let prices = prop_oneof![0..=i64::MAX, 0..=i64::MAX / 500, Just(i64::MAX)];
    holds(items(prices, 8), |items| {
        let wanted = i64::try_from(exact(&items)).ok();
        prop_assert_eq!(total(&items).map(Money::minor), wanted);
        Ok(())
    });
}
