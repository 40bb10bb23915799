//! What the books of a sale must agree on: the ledger with the stock accounts, the reservations with both, and each order with
//! its reservation.

use crate::{
    OrderId, ProductId,
    ledger::Sums,
    order::{OrderStatus, ReservationState},
};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Two books that say different things.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", tag = "kind")]
pub enum Difference {
    /// The entries of a product add up to other numbers than those of its account.
    Ledger {
        /// The product.
        product: ProductId,
        /// What the entries add up to.
        ledger: Sums,
        /// What the account says.
        account: Sums,
    },
    /// Entries of a product are missing.
    Entries {
        /// The product.
        product: ProductId,
        /// How many there are.
        found: i64,
        /// The number of the last one.
        last: i64,
    },
    /// The reservations of a product add up to other numbers than those of its account.
    Reservations {
        /// The product.
        product: ProductId,
        /// What is held by the reservations.
        reserved: i64,
        /// What is sold by the reservations.
        sold: i64,
        /// What the account says.
        account: Sums,
    },
    /// An order and its reservation do not fit.
    Order {
        /// The order.
        order: OrderId,
        /// Where the order stands, if there is one.
        status: Option<OrderStatus>,
        /// Where its reservation stands, if there is one.
        reservation: Option<ReservationState>,
    },
    /// An order holds other units than it asked for.
    Items {
        /// The order.
        order: OrderId,
    },
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ledger {
                product,
                ledger:
                    Sums {
                        stock,
                        reserved,
                        sold,
                    },
                account,
            } => write!(
                f,
                "the ledger of product {product} adds up to stock {stock}, reserved {reserved}, sold {sold}, and its account \
                 says {}, {}, {}",
                account.stock, account.reserved, account.sold
            ),
            Self::Entries { product, found, last } => write!(
                f,
                "the ledger of product {product} has {found} entries, and the last one is number {last}"
            ),
            Self::Reservations {
                product,
                reserved,
                sold,
                account,
            } => write!(
                f,
                "the reservations of product {product} hold {reserved} and have sold {sold}, and its account says {} and {}",
                account.reserved, account.sold
            ),
            Self::Order {
                order,
                status,
                reservation,
            } => write!(
                f,
                "order {order} is {}, and its reservation is {}",
                status.map_or("unknown", OrderStatus::as_str),
                reservation.map_or("missing", ReservationState::as_str)
            ),
            Self::Items { order } => write!(f, "order {order} holds other units than it asked for"),
        }
    }
}

/// Whether an order and its reservation fit. What is on its way from one to the other is no difference while it can be: `settled`
/// says that neither has changed for longer than that takes.
pub fn fits(order: Option<OrderStatus>, reservation: Option<ReservationState>, settled: bool) -> bool {
    use OrderStatus as O;
    use ReservationState as R;
    match (order, reservation) {
        (None, Some(R::Held | R::Confirmed)) => !settled,
        (None, None | Some(R::Rejected | R::Released)) => true,
        (Some(O::Pending), None | Some(R::Held)) => true,
        (Some(O::Pending), Some(R::Rejected | R::Released)) => !settled,
        (Some(O::Pending), Some(R::Confirmed)) => false,
        (Some(O::Confirmed), Some(R::Confirmed)) => true,
        (Some(O::Confirmed), Some(R::Held)) => !settled,
        (Some(O::Confirmed), None | Some(R::Rejected | R::Released)) => false,
        (Some(O::Failed | O::Cancelled | O::Expired), Some(R::Held)) => !settled,
        (Some(O::Failed | O::Cancelled | O::Expired), Some(R::Confirmed)) => false,
        (Some(O::Failed | O::Cancelled | O::Expired), None | Some(R::Rejected | R::Released)) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sold_unit_belongs_to_a_confirmed_order_and_the_other_way_round() {
        use OrderStatus as O;
        use ReservationState as R;
        for settled in [false, true] {
            for status in [O::Pending, O::Failed, O::Cancelled, O::Expired] {
                assert!(!fits(Some(status), Some(R::Confirmed), settled), "{status:?}");
            }
            for reservation in [None, Some(R::Rejected), Some(R::Released)] {
                assert!(!fits(Some(O::Confirmed), reservation, settled), "{reservation:?}");
            }
            assert!(fits(Some(O::Confirmed), Some(R::Confirmed), settled));
        }
    }

    #[test]
    fn units_are_held_for_an_order_that_is_over_only_until_it_is_heard_of() {
        use OrderStatus as O;
        for status in [
            None,
            Some(O::Confirmed),
            Some(O::Failed),
            Some(O::Cancelled),
            Some(O::Expired),
        ] {
            assert!(fits(status, Some(ReservationState::Held), false), "{status:?}");
            assert!(!fits(status, Some(ReservationState::Held), true), "{status:?}");
        }
        assert!(fits(Some(O::Pending), Some(ReservationState::Held), true));
    }
}
