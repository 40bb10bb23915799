//! The lane handler: moves orders on by what inventory says.

use crate::{document::Order, resend, store::Store, tally::By};
use events::{
    Message, Payload, Topic,
    lanes::{ApplyError, Handler},
    message::OrderStatusChanged,
};
use futures::{FutureExt, future::BoxFuture};
use jiff::{SignedDuration, Timestamp};
use mongodb::{
    ClientSession,
    bson::{self, DateTime, doc},
};
use platform::clock::Clock;
use sale::{
    OrderId, UserId,
    order::{Confirmation, FailureReason, InventoryOutcome, InventoryStatus, OrderState, OrderStatus},
};
use std::collections::{BTreeSet, HashMap};

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
    to: End,
}

/// Where a step leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct End {
    state: OrderState,
    reason: Option<FailureReason>,
    /// Until when it waits for a payment, if it does.
    hold_expires_at: Option<Timestamp>,
}

impl End {
    /// Whether its buyer has something to hear: it is over, or is to be paid.
    fn is_news(self) -> bool {
        self.state.status.is_terminal() || self.hold_expires_at.is_some()
    }
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

    /// The steps of a batch, and the orders as they are after it.
    fn steps(&self, messages: &[Message], orders: &mut HashMap<OrderId, Order>) -> Vec<Step> {
        let mut steps = Vec::new();
        for message in messages {
            let Payload::InventoryResult(outcome) = &message.payload else {
                continue;
            };
            let Some(order) = orders.get_mut(&message.order_id) else {
                continue;
            };
            let state = order.state().after(*outcome, self.confirmation);
            let Some(state) = state.or_else(|| still_waits(order, *outcome)) else {
                continue;
            };
            let (reason, hold_expires_at) = match outcome {
                InventoryOutcome::Rejected { reason } => (Some(*reason), None),
                InventoryOutcome::Reserved { expires_at } if !state.status.is_terminal() => {
                    (None, *expires_at)
                }
                _ => (None, None),
            };
            order.status = state.status;
            order.inventory_status = state.inventory;
            order.reason = reason;
            order.hold_expires_at = hold_expires_at.map(time);
            steps.push(Step {
                order: order.id.clone(),
                to: End {
                    state,
                    reason,
                    hold_expires_at,
                },
            });
        }
        steps
    }

    async fn write(&self, session: &mut ClientSession, steps: &[Step]) -> Result<(), ApplyError> {
        let now = DateTime::from_millis(self.clock.now().as_millisecond());
        for (to, ids) in by_end(steps) {
            let reason = bson::serialize_to_bson(&to.reason).map_err(mongodb::error::Error::from)?;
            let mut set = doc! {
                "status": to.state.status.as_str(),
                "inventoryStatus": to.state.inventory.as_str(),
                "reason": reason,
                "updatedAt": now,
            };
            if let Some(at) = to.hold_expires_at {
                set.insert("holdExpiresAt", time(at));
            }
            self.store
                .orders
                .update_many(doc! {"_id": {"$in": ids}}, doc! {"$set": set})
                .session(&mut *session)
                .await?;
        }
        Ok(())
    }
}

/// The orders that steps lead to the same end. An order with several steps is at the end of its last one only: the groups
/// are written in any order.
fn by_end(steps: &[Step]) -> HashMap<End, Vec<&str>> {
    let ends: HashMap<&str, _> = steps.iter().map(|step| (step.order.as_str(), step.to)).collect();
    let mut groups: HashMap<_, Vec<_>> = HashMap::new();
    for (order, end) in ends {
        groups.entry(end).or_default().push(order);
    }
    groups
}

fn time(at: Timestamp) -> DateTime {
    DateTime::from_millis(at.as_millisecond())
}

/// The state of an order that waits for a payment, and does not know until when: it was held by an earlier version.
fn still_waits(order: &Order, outcome: InventoryOutcome) -> Option<OrderState> {
    let waits = order.status == OrderStatus::Pending && order.inventory_status == InventoryStatus::Reserved;
    let now_known = matches!(outcome, InventoryOutcome::Reserved { expires_at: Some(_) });
    (waits && now_known && order.hold_expires_at.is_none()).then(|| order.state())
}

/// How long after its end inventory may still say what it said before that: only later has it not heard of the end.
const HEARD_WITHIN: SignedDuration = SignedDuration::from_secs(30);

/// What inventory must be told once more: orders that were over before this batch and whose units it holds all the same, and those
/// that do not exist.
fn unheard(messages: &[Message], orders: &HashMap<OrderId, Order>, now: Timestamp) -> Vec<Message> {
    let holds = |message: &&Message| {
        matches!(
            message.payload,
            Payload::InventoryResult(
                InventoryOutcome::Reserved { .. }
                    | InventoryOutcome::Paid
                    | InventoryOutcome::HoldExpired
                    | InventoryOutcome::Released
            )
        )
    };
    let mut asked: BTreeSet<&OrderId> = BTreeSet::new();
    let asking = messages.iter().filter(holds).map(|message| &message.order_id);
    let once = asking.filter(|id| asked.insert(id)).collect::<Vec<_>>();
    let answer = |id: &OrderId| match orders.get(id) {
        None => Some(unknown(id, now)),
        Some(order) if order.status.is_terminal() && time(now - HEARD_WITHIN) >= order.updated_at => {
            Some(resend::again(order, now))
        }
        Some(_) => None,
    };
    once.into_iter().filter_map(answer).collect()
}

/// Units that are held for an order that does not exist go back. Nobody waits for it, so nobody else is told.
fn unknown(id: &OrderId, now: Timestamp) -> Message {
    tracing::error!(order = %id, "units are held for an order that does not exist; giving them back");
    let payload = Payload::OrderStatus(OrderStatusChanged {
        user_id: UserId::new(""),
        status: OrderStatus::Failed,
        inventory_status: InventoryStatus::Released,
        message: String::new(),
        reason: Some(FailureReason::Unprocessable),
        hold_expires_at: None,
        again: false,
    });
    Message::new(id.clone(), now, None, payload)
}

/// The message that tells the world of an order's new status.
pub(crate) fn status_message(order: &Order, now: Timestamp) -> Message {
    let payload = Payload::OrderStatus(OrderStatusChanged {
        user_id: order.user_id.clone(),
        status: order.status,
        inventory_status: order.inventory_status,
        message: order.message().into_owned(),
        reason: order.reason,
        hold_expires_at: order.waits_until(),
        again: false,
    });
    Message::new(order.id.clone(), now, order.traceparent.clone(), payload)
}

impl Handler for Follow {
    type Effect = ();

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
            let now = self.clock.now();
            let mut news = unheard(messages, &orders, now);
            let steps = self.steps(messages, &mut orders);
            self.write(session, &steps).await?;
            let ended = steps.iter().map(|step| step.to.state.status);
            self.store.tally.count(session, By::Lane, ended).await?;
            for step in steps.iter().filter(|step| step.to.is_news()) {
                let Some(order) = orders.get(&step.order) else {
                    continue;
                };
                let status = step.to.state.status;
                // A later step of the same batch has ended it: that is the news.
                if status != order.status {
                    continue;
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

    /// Payments that came while nobody read, for instance: both answers about an order are in one batch.
    #[test]
    fn of_several_steps_of_an_order_the_last_is_kept() {
        let accepted = OrderState::ACCEPTED;
        let at = |state| End {
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
        assert_eq!(by_end(&steps), ends.into());
    }
}
