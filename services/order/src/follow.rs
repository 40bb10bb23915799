//! The lane handler: moves orders on by what inventory says.

use crate::{
    document::{self, Order},
    store::Store,
};
use events::{
    Message, Payload, Topic,
    lanes::{ApplyError, Handler},
    message::OrderStatusChanged,
};
use futures::{FutureExt, future::BoxFuture};
use mongodb::{
    ClientSession,
    bson::{self, DateTime, doc},
};
use platform::clock::Clock;
use sale::{
    OrderId,
    order::{Confirmation, FailureReason, InventoryOutcome, OrderState, OrderStatus},
};
use std::collections::HashMap;

/// Applies `inventory.result` to orders.
#[derive(Debug)]
pub struct Follow {
    store: Store,
    confirmation: Confirmation,
    clock: Clock,
}

/// One order's step.
#[derive(Debug, Clone)]
struct Step {
    order: OrderId,
    to: OrderState,
    reason: Option<FailureReason>,
}

impl Follow {
    /// A handler on a store.
    pub fn new(store: Store, confirmation: Confirmation, clock: Clock) -> Self {
        Self {
            store,
            confirmation,
            clock,
        }
    }

    /// The steps of a batch, and the orders as they are after it. An answer about an order that is not there belongs
    /// to a reservation made by hand and moves nothing here.
    fn steps(&self, messages: &[Message], orders: &mut HashMap<OrderId, Order>) -> Vec<Step> {
        let mut steps = Vec::new();
        for message in messages {
            let Payload::InventoryResult(outcome) = &message.payload else {
                continue;
            };
            let Some(order) = orders.get_mut(&message.order_id) else {
                continue;
            };
            let Some(to) = order.state().after(*outcome, self.confirmation) else {
                continue;
            };
            let reason = match outcome {
                InventoryOutcome::Rejected { reason } => Some(*reason),
                _ => None,
            };
            order.status = to.status;
            order.inventory_status = to.inventory;
            order.reason = reason;
            steps.push(Step {
                order: order.id.clone(),
                to,
                reason,
            });
        }
        steps
    }

    async fn write(&self, session: &mut ClientSession, steps: &[Step]) -> Result<(), ApplyError> {
        let now = DateTime::from_millis(self.clock.now().as_millisecond());
        for ((to, reason), ids) in by_end(steps) {
            let reason = bson::serialize_to_bson(&reason).map_err(mongodb::error::Error::from)?;
            let (status, inventory) = (to.status.as_str(), to.inventory.as_str());
            self.store
                .orders
                .update_many(
                    doc! {"_id": {"$in": ids}},
                    doc! {"$set": {"status": status, "inventoryStatus": inventory, "reason": reason, "updatedAt": now}},
                )
                .session(&mut *session)
                .await?;
        }
        Ok(())
    }
}

/// The orders that steps lead to the same end. An order with several steps is at the end of its last one only: the groups
/// are written in any order.
fn by_end(steps: &[Step]) -> HashMap<(OrderState, Option<FailureReason>), Vec<&str>> {
    let ends: HashMap<&str, _> = steps
        .iter()
        .map(|step| (step.order.as_str(), (step.to, step.reason)))
        .collect();
    let mut groups: HashMap<_, Vec<_>> = HashMap::new();
    for (order, end) in ends {
        groups.entry(end).or_default().push(order);
    }
    groups
}

/// The message that tells the world of an order's new status.
pub(crate) fn status_message(order: &Order, now: jiff::Timestamp) -> Message {
    let payload = Payload::OrderStatus(OrderStatusChanged {
        user_id: order.user_id.clone(),
        status: order.status,
        inventory_status: order.inventory_status,
        message: document::message(order.status, order.reason).to_owned(),
        reason: order.reason,
    });
    Message::new(order.id.clone(), now, order.traceparent.clone(), payload)
}

impl Handler for Follow {
    fn group(&self) -> &'static str {
        "order"
    }

    fn topics(&self) -> &'static [Topic] {
        &[Topic::InventoryResult]
    }

    fn apply<'s>(
        &'s self,
        session: &'s mut ClientSession,
        messages: &'s [Message],
    ) -> BoxFuture<'s, Result<(), ApplyError>> {
        async move {
            let ids: Vec<&str> = messages.iter().map(|m| m.order_id.as_str()).collect();
            let mut orders = self.store.orders_in(session, &ids).await?;
            let steps = self.steps(messages, &mut orders);
            self.write(session, &steps).await?;
            let now = self.clock.now();
            let mut news = Vec::with_capacity(steps.len());
            for step in steps.iter().filter(|step| step.to.status.is_terminal()) {
                let Some(order) = orders.get(&step.order) else {
                    continue;
                };
                if step.to.status != OrderStatus::Confirmed {
                    self.store
                        .return_quota(session, &order.user_id, &order.items)
                        .await?;
                }
                news.push(status_message(order, now));
            }
            self.store.outbox.append(session, &news).await?;
            Ok(())
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sale::UserId;

    /// Payments that came while nobody read, for instance: both answers about an order are in one batch.
    #[test]
    fn an_order_that_a_batch_moves_twice_is_written_once_where_it_ends() {
        let accepted = OrderState::ACCEPTED;
        let after = |state: OrderState, outcome| state.after(outcome, Confirmation::Payment).unwrap();
        let held = after(accepted, InventoryOutcome::Reserved);
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
            to,
            reason: None,
        });
        let ends = [(held, &waits), (paid, &pays), (expired, &runs_out)];
        let ends = ends.map(|(end, order)| ((end, None), vec![order.as_str()]));
        assert_eq!(by_end(&steps), ends.into());
    }
}
