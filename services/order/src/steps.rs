//! Where orders have come to, written for many of them at a time.

use crate::document::Order;
use jiff::Timestamp;
use mongodb::{
    ClientSession, Collection,
    bson::{self, DateTime, doc},
    error::Error,
};
use sale::{
    OrderId,
    order::{FailureReason, OrderState},
};
use std::collections::HashMap;

/// One order's step.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub(crate) order: OrderId,
    pub(crate) to: Target,
}

/// Where a step leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Target {
    pub(crate) state: OrderState,
    pub(crate) reason: Option<FailureReason>,
    /// Until when it waits for a payment, if it does.
    pub(crate) hold_expires_at: Option<Timestamp>,
}

impl Target {
    /// Whether its buyer has something to hear: it is over, or is to be paid.
    pub(crate) fn is_news(self) -> bool {
        self.state.status.is_terminal() || self.hold_expires_at.is_some()
    }
}

/// Writes steps, with one command for all orders that come to the same, and returns how many orders there were. Of orders that are not
/// `from` some state nothing is written, where that is said.
///
/// # Errors
/// The driver's.
pub(crate) async fn write(
    orders: &Collection<Order>,
    session: &mut ClientSession,
    steps: &[Step],
    from: Option<OrderState>,
    now: Timestamp,
) -> Result<u64, Error> {
    let mut written = 0;
    for (to, ids) in by_target(steps) {
        let mut set = doc! {
            "status": to.state.status.as_str(),
            "inventoryStatus": to.state.inventory.as_str(),
            "updatedAt": time(now),
        };
        if let Some(reason) = to.reason {
            set.insert("reason", bson::serialize_to_bson(&reason)?);
        }
        if let Some(at) = to.hold_expires_at {
            set.insert("holdExpiresAt", time(at));
        }
        let mut which = doc! {"_id": {"$in": ids}};
        if let Some(from) = from {
            which.insert("status", from.status.as_str());
            which.insert("inventoryStatus", from.inventory.as_str());
        }
        let done = orders.update_many(which, doc! {"$set": set});
        written += done.session(&mut *session).await?.matched_count;
    }
    Ok(written)
}

/// A stored time.
pub(crate) fn timestamp(at: DateTime) -> Timestamp {
    Timestamp::from_millisecond(at.timestamp_millis()).unwrap_or_default()
}

/// A time as it is stored.
pub(crate) fn time(at: Timestamp) -> DateTime {
    DateTime::from_millis(at.as_millisecond())
}

/// The orders that steps lead to the same end. An order with several steps is at the end of its last one only: the groups
/// are written in any order.
fn by_target(steps: &[Step]) -> HashMap<Target, Vec<&str>> {
    let ends: HashMap<&str, _> = steps.iter().map(|step| (step.order.as_str(), step.to)).collect();
    let mut groups: HashMap<_, Vec<_>> = HashMap::new();
    for (order, end) in ends {
        groups.entry(end).or_default().push(order);
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;
    use sale::{
        UserId,
        order::{Confirmation, InventoryOutcome},
    };

    /// Payments that came while nobody read, for instance: both answers about an order are in one batch.
    #[test]
    fn of_several_steps_of_an_order_the_last_is_kept() {
        let accepted = OrderState::ACCEPTED;
        let at = |state| Target {
            state,
            reason: None,
            hold_expires_at: None,
        };
        let after = |state: OrderState, outcome| state.after(outcome, Confirmation::Payment).unwrap();
        let held = after(accepted, InventoryOutcome::Reserved { expires_at: None });
        let (paid, expired) = (
            after(held, InventoryOutcome::Paid),
            after(held, InventoryOutcome::HoldExpired),
        );
        let [waits, pays, runs_out] =
            ["waits", "pays", "runs out"].map(|key| OrderId::derive(&UserId::new("ada"), key));
        let steps = [
            (&pays, held),
            (&waits, held),
            (&runs_out, held),
            (&pays, paid),
            (&runs_out, expired),
        ]
        .map(|(order, to)| Step {
            order: order.clone(),
            to: at(to),
        });
        let ends = [(held, &waits), (paid, &pays), (expired, &runs_out)];
        let ends = ends.map(|(end, order)| (at(end), vec![order.as_str()]));
        assert_eq!(by_target(&steps), ends.into());
    }
}
