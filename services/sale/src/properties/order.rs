//! The life of an order: whatever inventory answers and whoever decides, in any order and any number of times, it comes to at
//! most one end.

use super::holds;
use crate::order::{
    Confirmation, Decision, FailureReason, InventoryOutcome, InventoryStatus, OrderState, OrderStatus,
    Verdict,
};
use jiff::Timestamp;
use proptest::{collection::vec, prelude::*, sample::select};

pub(super) const DECISIONS: [Decision; 4] = [
    Decision::Cancel,
    Decision::Pay,
    Decision::Decline,
    Decision::Expire,
];
const OUTCOMES: [InventoryOutcome; 6] = [
    InventoryOutcome::Reserved { expires_at: None },
    InventoryOutcome::Reserved {
        expires_at: Some(Timestamp::UNIX_EPOCH),
    },
    InventoryOutcome::Rejected {
        reason: FailureReason::SoldOut,
    },
    InventoryOutcome::Paid,
    InventoryOutcome::HoldExpired,
    InventoryOutcome::Released,
];

#[derive(Debug, Clone, Copy)]
enum Event {
    Hears(InventoryOutcome),
    IsDecided(Decision),
}

impl Event {
    /// What the order becomes by it, if anything.
    fn makes(self, state: OrderState, confirmation: Confirmation) -> Option<OrderState> {
        match self {
            Self::Hears(outcome) => state.after(outcome, confirmation),
            Self::IsDecided(decision) => match state.decide(decision) {
                Verdict::Becomes(next) => Some(next),
                Verdict::Already | Verdict::Final | Verdict::NotHeld => None,
            },
        }
    }
}

/// Also those that no order comes to by these rules: a store may hold what another version has written.
fn states() -> impl Strategy<Value = OrderState> {
    use {InventoryStatus as I, OrderStatus as O};
    let statuses = vec![O::Pending, O::Confirmed, O::Failed, O::Cancelled, O::Expired];
    let inventories = vec![I::Pending, I::Reserved, I::Rejected, I::Released];
    (select(statuses), select(inventories)).prop_map(|(status, inventory)| OrderState { status, inventory })
}

fn confirmations() -> impl Strategy<Value = Confirmation> {
    select(vec![Confirmation::Automatic, Confirmation::Payment])
}

fn lives() -> impl Strategy<Value = (Confirmation, Vec<Event>)> {
    let event = prop_oneof![
        select(&OUTCOMES).prop_map(Event::Hears),
        select(&DECISIONS).prop_map(Event::IsDecided),
    ];
    (confirmations(), vec(event, 0..20))
}

/// The end that a decision leads to.
fn end_of(decision: Decision) -> OrderStatus {
    match decision {
        Decision::Cancel => OrderStatus::Cancelled,
        Decision::Pay => OrderStatus::Confirmed,
        Decision::Decline => OrderStatus::Failed,
        Decision::Expire => OrderStatus::Expired,
    }
}

/// So whoever was told that an order is paid, cancelled or expired was told the truth for ever, and nobody else is told another.
#[test]
fn an_order_that_is_over_stays_as_it_is() {
    holds((states(), lives()), |(mut state, (confirmation, events))| {
        let mut end = state.status.is_terminal().then_some(state);
        for event in events {
            let next = event.makes(state, confirmation);
            if let Some(end) = end {
                prop_assert_eq!(next, None, "{:?} changed {:?}", event, end);
            }
            state = next.unwrap_or(state);
            if state.status.is_terminal() {
                end = Some(state);
            }
        }
        Ok(())
    });
}

/// Units are sold with the order that is confirmed, and held for no order that ended otherwise.
#[test]
fn where_the_units_are_follows_from_how_the_order_stands() {
    holds(lives(), |(confirmation, events)| {
        let mut state = OrderState::ACCEPTED;
        for event in events {
            state = event.makes(state, confirmation).unwrap_or(state);
            let fits = match state.status {
                OrderStatus::Pending => matches!(
                    state.inventory,
                    InventoryStatus::Pending | InventoryStatus::Reserved
                ),
                OrderStatus::Confirmed => state.inventory == InventoryStatus::Reserved,
                OrderStatus::Failed => matches!(
                    state.inventory,
                    InventoryStatus::Rejected | InventoryStatus::Released
                ),
                OrderStatus::Cancelled | OrderStatus::Expired => state.inventory == InventoryStatus::Released,
            };
            prop_assert!(fits, "{:?} after {:?}", state, event);
        }
        Ok(())
    });
}

/// Who asks again, because an answer was lost, hears that it is so already; who asks for another end hears that there is one.
#[test]
fn a_decision_is_answered_by_how_the_order_stands() {
    holds(
        (lives(), select(&DECISIONS)),
        |((confirmation, events), decision)| {
            let mut state = OrderState::ACCEPTED;
            for event in events {
                state = event.makes(state, confirmation).unwrap_or(state);
            }
            match state.decide(decision) {
                Verdict::Becomes(next) => {
                    prop_assert_eq!(state.status, OrderStatus::Pending);
                    prop_assert_eq!(next.status, end_of(decision));
                    let needs_units = matches!(decision, Decision::Pay | Decision::Expire);
                    prop_assert!(!needs_units || state.inventory == InventoryStatus::Reserved);
                    prop_assert_eq!(next.decide(decision), Verdict::Already);
                    for other in DECISIONS.into_iter().filter(|other| *other != decision) {
                        prop_assert_eq!(next.decide(other), Verdict::Final, "{:?}", other);
                    }
                }
                Verdict::Already => prop_assert_eq!(state.status, end_of(decision)),
                Verdict::Final => {
                    prop_assert!(state.status.is_terminal());
                    prop_assert_ne!(state.status, end_of(decision));
                }
                // Only the buyer and the shop can end an order whose units inventory has not found yet.
                Verdict::NotHeld => {
                    prop_assert!(matches!(decision, Decision::Pay | Decision::Expire));
                    prop_assert_eq!(state, OrderState::ACCEPTED);
                }
            }
            Ok(())
        },
    );
}

/// Answers of inventory come at least once, so each may come again, and late.
#[test]
fn an_answer_that_comes_again_changes_nothing() {
    holds(lives(), |(confirmation, events)| {
        let mut state = OrderState::ACCEPTED;
        let mut heard = Vec::new();
        for event in events {
            state = event.makes(state, confirmation).unwrap_or(state);
            if let Event::Hears(outcome) = event {
                heard.push(outcome);
            }
            for earlier in &heard {
                prop_assert_eq!(state.after(*earlier, confirmation), None, "{:?} again", earlier);
            }
        }
        Ok(())
    });
}

/// Inventory takes back what it holds by other answers, each with another end.
#[test]
fn an_order_whose_units_are_held_is_not_sold_out_any_more() {
    holds((lives(), confirmations()), |((_, events), confirmation)| {
        let mut state = OrderState::ACCEPTED;
        for event in events {
            let next = event.makes(state, confirmation).unwrap_or(state);
            if state.inventory == InventoryStatus::Reserved {
                prop_assert_ne!(next.inventory, InventoryStatus::Rejected, "{:?}", event);
            }
            state = next;
        }
        Ok(())
    });
}

/// An order that waits for a payment is confirmed by a payment and by nothing else.
#[test]
fn nothing_but_a_payment_confirms_an_order_that_waits_for_one() {
    holds(lives(), |(_, events)| {
        let mut state = OrderState::ACCEPTED;
        for event in events {
            let next = event.makes(state, Confirmation::Payment).unwrap_or(state);
            if next.status == OrderStatus::Confirmed && state.status != OrderStatus::Confirmed {
                prop_assert!(
                    matches!(
                        event,
                        Event::Hears(InventoryOutcome::Paid) | Event::IsDecided(Decision::Pay)
                    ),
                    "{:?}",
                    event
                );
            }
            state = next;
        }
        Ok(())
    });
}
