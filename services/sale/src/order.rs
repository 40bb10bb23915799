//! The life of an order: its states and the only ways from one to another.

use serde::{Deserialize, Serialize};

/// The longest idempotency key, in characters.
pub const LONGEST_IDEMPOTENCY_KEY: usize = 255;
/// The most lines of an order, each of another product.
pub const MOST_ITEMS: usize = 100;

/// Where an order stands for its buyer. Everything but `Pending` is terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum OrderStatus {
    /// Accepted, and not decided yet (or, with confirmation by payment, not paid yet).
    Pending,
    /// The buyer has the units.
    Confirmed,
    /// The order could not be fulfilled; see its [`FailureReason`].
    Failed,
    /// Called off by the buyer or an admin before it was confirmed.
    Cancelled,
    /// The hold ran out before it was paid.
    Expired,
}

impl OrderStatus {
    /// Whether nothing can change any more.
    pub fn is_terminal(self) -> bool {
        self != Self::Pending
    }

    /// The name on the wire: `PENDING`, `CONFIRMED`, …
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Confirmed => "CONFIRMED",
            Self::Failed => "FAILED",
            Self::Cancelled => "CANCELLED",
            Self::Expired => "EXPIRED",
        }
    }
}

/// Where the units of an order stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum InventoryStatus {
    /// Inventory has not answered yet.
    Pending,
    /// Every item is held, or sold when the order is confirmed.
    Reserved,
    /// Inventory refused; nothing is held.
    Rejected,
    /// Units were held and have been given back.
    Released,
}

impl InventoryStatus {
    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Reserved => "RESERVED",
            Self::Rejected => "REJECTED",
            Self::Released => "RELEASED",
        }
    }
}

/// Why an accepted order failed. Stable names: clients branch on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureReason {
    /// No units were left when its turn came.
    SoldOut,
    /// A product of the order no longer exists.
    UnknownProduct,
    /// The order could not be processed; an operator finds it among the dead letters.
    Unprocessable,
}

impl FailureReason {
    /// A sentence for the buyer.
    pub fn message(self) -> &'static str {
        match self {
            Self::SoldOut => "Sold out: no units were left when your order's turn came.",
            Self::UnknownProduct => "A product of this order is no longer sold.",
            Self::Unprocessable => "Your order could not be processed. Nothing was charged.",
        }
    }
}

/// How an order becomes confirmed once its units are held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
pub enum Confirmation {
    /// At once.
    #[default]
    Automatic,
    /// When it has been paid; the hold lasts for the sale's reservation TTL.
    Payment,
}

/// What inventory says became of an order's units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum InventoryOutcome {
    /// All items are held.
    Reserved,
    /// Nothing is held.
    Rejected {
        /// Why.
        reason: FailureReason,
    },
    /// A held order was paid.
    Paid,
    /// The hold ran out: the units go back when the order says that it is over.
    HoldExpired,
    /// An operator or service wants the units back; they go when the order says that it is over.
    Released,
}

/// The part of an order that its rules look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct OrderState {
    /// For the buyer.
    pub status: OrderStatus,
    /// For the units.
    pub inventory: InventoryStatus,
}

impl OrderState {
    /// A newly accepted order.
    pub const ACCEPTED: Self = Self {
        status: OrderStatus::Pending,
        inventory: InventoryStatus::Pending,
    };

    /// The state after inventory's answer, or `None` when the answer changes nothing (a repeat, or an answer that
    /// was overtaken by a cancellation). Never leaves a terminal status.
    pub fn after(self, outcome: InventoryOutcome, confirmation: Confirmation) -> Option<Self> {
        use InventoryStatus as I;
        use OrderStatus as O;
        if self.status != O::Pending {
            return None;
        }
        let next = match (outcome, self.inventory) {
            (InventoryOutcome::Reserved, I::Pending) => match confirmation {
                Confirmation::Automatic => Self {
                    status: O::Confirmed,
                    inventory: I::Reserved,
                },
                Confirmation::Payment => Self {
                    status: O::Pending,
                    inventory: I::Reserved,
                },
            },
            (InventoryOutcome::Rejected { .. }, I::Pending) => Self {
                status: O::Failed,
                inventory: I::Rejected,
            },
            (InventoryOutcome::Paid, I::Pending | I::Reserved) => Self {
                status: O::Confirmed,
                inventory: I::Reserved,
            },
            (InventoryOutcome::HoldExpired, I::Pending | I::Reserved) => Self {
                status: O::Expired,
                inventory: I::Released,
            },
            (InventoryOutcome::Released, I::Pending | I::Reserved) => Self {
                status: O::Cancelled,
                inventory: I::Released,
            },
            _ => return None,
        };
        Some(next)
    }

    /// The state after a cancellation, or `None` when the order is already terminal.
    pub fn cancelled(self) -> Option<Self> {
        (self.status == OrderStatus::Pending).then_some(Self {
            status: OrderStatus::Cancelled,
            inventory: InventoryStatus::Released,
        })
    }
}

/// Where a reservation stands. It is keyed by its order, so an order can hold units only once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum ReservationState {
    /// Units are held.
    Held,
    /// Units are sold.
    Confirmed,
    /// Units went back.
    Released,
    /// There were none to hold; remembered so that a repeated message gets the same answer.
    Rejected,
}

impl ReservationState {
    /// The name in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Held => "HELD",
            Self::Confirmed => "CONFIRMED",
            Self::Released => "RELEASED",
            Self::Rejected => "REJECTED",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use InventoryOutcome as Out;

    const OUTCOMES: [Out; 5] = [
        Out::Reserved,
        Out::Rejected {
            reason: FailureReason::SoldOut,
        },
        Out::Paid,
        Out::HoldExpired,
        Out::Released,
    ];

    #[test]
    fn reserved_confirms_at_once_or_waits_for_payment() {
        let confirmed = OrderState::ACCEPTED
            .after(Out::Reserved, Confirmation::Automatic)
            .unwrap();
        assert_eq!(
            (confirmed.status, confirmed.inventory),
            (OrderStatus::Confirmed, InventoryStatus::Reserved)
        );
        let held = OrderState::ACCEPTED
            .after(Out::Reserved, Confirmation::Payment)
            .unwrap();
        assert_eq!(
            (held.status, held.inventory),
            (OrderStatus::Pending, InventoryStatus::Reserved)
        );
        assert_eq!(
            held.after(Out::Paid, Confirmation::Payment).unwrap().status,
            OrderStatus::Confirmed
        );
        assert_eq!(
            held.after(Out::HoldExpired, Confirmation::Payment)
                .unwrap()
                .status,
            OrderStatus::Expired
        );
    }

    #[test]
    fn a_repeat_changes_nothing_and_terminal_is_terminal() {
        for confirmation in [Confirmation::Automatic, Confirmation::Payment] {
            for first in OUTCOMES {
                let Some(state) = OrderState::ACCEPTED.after(first, confirmation) else {
                    continue;
                };
                assert_eq!(state.after(first, confirmation), None, "{first:?} twice");
                if state.status.is_terminal() {
                    for second in OUTCOMES {
                        assert_eq!(
                            state.after(second, confirmation),
                            None,
                            "{first:?} then {second:?}"
                        );
                    }
                    assert_eq!(state.cancelled(), None);
                }
            }
        }
    }
}
