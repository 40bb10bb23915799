//! The life of an order: its states and the only ways from one to another.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The longest idempotency key, in characters.
pub const LONGEST_IDEMPOTENCY_KEY: usize = 255;
/// The most lines of an order, each of another product.
pub const MOST_ITEMS: usize = 100;

/// The longest that units may wait for a payment, in hours: 30 days.
pub const LONGEST_HOLD_HOURS: u32 = 720;

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
    /// Those from which nothing leads on.
    pub const ENDS: [Self; 4] = [Self::Confirmed, Self::Failed, Self::Cancelled, Self::Expired];

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
    /// The order could not be processed: its message is among the dead letters, or something else is held under its id.
    Unprocessable,
    /// It was not paid.
    PaymentFailed,
}

impl FailureReason {
    /// A sentence for the buyer.
    pub fn message(self) -> &'static str {
        match self {
            Self::SoldOut => "Sold out: no units were left when your order's turn came.",
            Self::UnknownProduct => "A product of this order is no longer sold.",
            Self::Unprocessable => "Your order could not be processed.",
            Self::PaymentFailed => "The payment failed and the order is over. To try again, place a new one.",
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
    Reserved {
        /// Until when, if they wait for a payment.
        #[serde(default, skip_serializing_if = "Option::is_none", rename = "expiresAt")]
        expires_at: Option<Timestamp>,
    },
    /// Nothing is held.
    Rejected {
        /// Why.
        reason: FailureReason,
    },
    /// A held order was paid.
    Paid,
    /// The hold ran out: the units go back when the order says that it is over. Sent by earlier versions only; an order knows by
    /// itself when its hold is over.
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

impl InventoryOutcome {
    /// Why there are no units for the order, where that is so.
    pub fn reason(self) -> Option<FailureReason> {
        match self {
            Self::Rejected { reason } => Some(reason),
            _ => None,
        }
    }
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
            (InventoryOutcome::Reserved { .. }, I::Pending) => match confirmation {
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

    /// What a decision makes of the order.
    pub fn decide(self, decision: Decision) -> Verdict {
        use InventoryStatus as I;
        use OrderStatus as O;
        let ends = |status, inventory| Verdict::Becomes(Self { status, inventory });
        match (decision, self.status, self.inventory) {
            (Decision::Cancel, O::Pending, _) => ends(O::Cancelled, I::Released),
            (Decision::Decline, O::Pending, _) => ends(O::Failed, I::Released),
            (Decision::Pay, O::Pending, I::Reserved) => ends(O::Confirmed, I::Reserved),
            (Decision::Pay, O::Pending, _) => Verdict::NotHeld,
            (Decision::Expire, O::Pending, I::Reserved) => ends(O::Expired, I::Released),
            // What is not held has no end yet.
            (Decision::Expire, O::Pending, _) => Verdict::NotHeld,
            (Decision::Cancel, O::Cancelled, _)
            | (Decision::Decline, O::Failed, _)
            | (Decision::Pay, O::Confirmed, _)
            | (Decision::Expire, O::Expired, _) => Verdict::Already,
            _ => Verdict::Final,
        }
    }
}

/// What somebody decides about an order, from outside of the stock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Its buyer, or an admin, calls it off.
    Cancel,
    /// It is paid.
    Pay,
    /// Its payment has failed.
    Decline,
    /// Its hold has run out.
    Expire,
}

impl Decision {
    /// Why an order that ends by it has failed, if it has.
    pub fn reason(self) -> Option<FailureReason> {
        match self {
            Self::Cancel | Self::Pay | Self::Expire => None,
            Self::Decline => Some(FailureReason::PaymentFailed),
        }
    }
}

/// What a decision comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The order becomes this.
    Becomes(OrderState),
    /// The order is so since before.
    Already,
    /// The order has come to another end.
    Final,
    /// Its units are not held yet.
    NotHeld,
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

    const RESERVED: Out = Out::Reserved { expires_at: None };
    const DECISIONS: [Decision; 4] = [
        Decision::Cancel,
        Decision::Pay,
        Decision::Decline,
        Decision::Expire,
    ];
    const OUTCOMES: [Out; 5] = [
        RESERVED,
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
            .after(RESERVED, Confirmation::Automatic)
            .unwrap();
        assert_eq!(
            (confirmed.status, confirmed.inventory),
            (OrderStatus::Confirmed, InventoryStatus::Reserved)
        );
        let held = OrderState::ACCEPTED
            .after(RESERVED, Confirmation::Payment)
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
                    for decision in DECISIONS {
                        let verdict = state.decide(decision);
                        assert!(
                            matches!(verdict, Verdict::Already | Verdict::Final),
                            "{first:?} then {decision:?}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn whoever_decides_second_hears_what_the_first_has_made_of_it() {
        let held = OrderState::ACCEPTED
            .after(RESERVED, Confirmation::Payment)
            .unwrap();
        for first in DECISIONS {
            let Verdict::Becomes(ended) = held.decide(first) else {
                panic!("{first:?} ends a held order");
            };
            for second in DECISIONS {
                let expected = if first == second {
                    Verdict::Already
                } else {
                    Verdict::Final
                };
                assert_eq!(ended.decide(second), expected, "{first:?} then {second:?}");
            }
        }
        let expired = held.after(Out::HoldExpired, Confirmation::Payment).unwrap();
        assert_eq!(expired.decide(Decision::Pay), Verdict::Final);
        // Units that are not held cannot be sold.
        assert_eq!(OrderState::ACCEPTED.decide(Decision::Pay), Verdict::NotHeld);
    }
}
