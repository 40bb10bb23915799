//! The lane handler: moves orders on by what inventory says.

use crate::{
    document::Order,
    ended::Ended,
    resend,
    steps::{self, Step, Target, time},
    store::{Found, Store},
    tally::By,
    unasked::{self, Unasked},
};
use events::{
    Message, Payload, Topic,
    lanes::{ApplyError, Handler, Repeats},
    message::OrderStatusChanged,
};
use futures::{FutureExt, future::BoxFuture};
use jiff::{SignedDuration, Timestamp};
use mongodb::ClientSession;
use platform::{clock::Clock, config::Config};
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
    /// How long an order waits for its payment at the least.
    holds_for: SignedDuration,
    clock: Clock,
}

impl Follow {
    /// A handler on a store.
    pub fn new(store: Store, config: &Config, clock: Clock) -> Self {
        let seconds = i64::try_from(config.reservation_ttl_seconds).unwrap_or(i64::MAX);
        Self {
            store,
            confirmation: config.confirmation,
            holds_for: SignedDuration::from_secs(seconds),
            clock,
        }
    }

    /// The steps of a batch, and the orders as they are after it.
    fn steps(
        &self,
        messages: &[&Message],
        orders: &mut HashMap<OrderId, Order>,
        now: Timestamp,
    ) -> Vec<Step> {
        // From when it can be paid: the answer may be late, or of a clock that is behind. It ends by the clock of whichever process of
        // this service is ahead.
        let at_least = now.saturating_add(self.holds_for).unwrap_or(Timestamp::MAX);
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
                InventoryOutcome::Reserved { expires_at } if !state.status.is_terminal() => {
                    (None, expires_at.map(|at| at.max(at_least)))
                }
                _ => (outcome.reason(), None),
            };
            order.status = state.status;
            order.inventory_status = state.inventory;
            order.reason = reason;
            order.hold_expires_at = hold_expires_at.map(time);
            steps.push(Step {
                order: order.id.clone(),
                to: Target {
                    state,
                    reason,
                    hold_expires_at,
                },
            });
        }
        steps
    }
}

impl Follow {
    /// Writes what follows from answers where no order was looked at, if each of them was only accepted until now.
    async fn write_unasked(
        &self,
        session: &mut ClientSession,
        unasked: Unasked,
        now: Timestamp,
    ) -> Result<Vec<Ended>, ApplyError> {
        let Unasked { steps, news, ended } = unasked;
        let from = Some(OrderState::ACCEPTED);
        let written = steps::write(&self.store.orders, session, &steps, from, now).await?;
        if written != steps.len() as u64 {
            return Err(ApplyError::NotAsExpected);
        }
        let statuses = steps.iter().map(|step| step.to.state.status);
        self.store.tally.count(session, By::Lane, statuses).await?;
        self.store.outbox.append(session, &news).await?;
        Ok(ended)
    }
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
fn unheard(messages: &[&Message], orders: &HashMap<OrderId, Order>, now: Timestamp) -> Vec<Message> {
    let holds = |message: &&&Message| {
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

/// The message that tells the world of an order's new status, under the trace of the request that placed it.
pub(crate) fn status_message(order: &Order, now: Timestamp) -> Message {
    status_message_under(order, order.traceparent.clone(), now)
}

fn status_message_under(order: &Order, traceparent: Option<String>, now: Timestamp) -> Message {
    let payload = Payload::OrderStatus(OrderStatusChanged {
        user_id: order.user_id.clone(),
        status: order.status,
        inventory_status: order.inventory_status,
        message: order.message().into_owned(),
        reason: order.reason,
        hold_expires_at: order.waits_until(),
        again: false,
    });
    Message::new(order.id.clone(), now, traceparent, payload)
}

/// The group that reads what inventory says.
pub(crate) const GROUP: &str = "order";

impl Handler for Follow {
    type Effect = Vec<Ended>;

    fn group(&self) -> &'static str {
        GROUP
    }

    fn topics(&self) -> &'static [Topic] {
        &[Topic::InventoryResult]
    }

    fn apply<'s>(
        &'s self,
        session: &'s mut ClientSession,
        messages: &'s [Message],
        repeats: Repeats,
    ) -> BoxFuture<'s, Result<Self::Effect, ApplyError>> {
        async move {
            let now = self.clock.now();
            if repeats == Repeats::Unlikely
                && let Some(unasked) = unasked::outcome(messages, self.confirmation, now)
            {
                return self.write_unasked(session, unasked, now).await;
            }
            let ids: Vec<&str> = messages.iter().map(|m| m.order_id.as_str()).collect();
            let Found {
                mut orders,
                unreadable,
            } = self.store.orders_in(session, &ids).await?;
            // What is said of an order that cannot be read is asked about again.
            let readable = |message: &&Message| !unreadable.contains(&message.order_id);
            let messages: Vec<&Message> = messages.iter().filter(readable).collect();
            let mut news = unheard(&messages, &orders, now);
            let steps = self.steps(&messages, &mut orders, now);
            steps::write(&self.store.orders, session, &steps, None, now).await?;
            let statuses = steps.iter().map(|step| step.to.state.status);
            self.store.tally.count(session, By::Lane, statuses).await?;
            // What follows from a message goes on under it, and not under the request that the order began with.
            let came: HashMap<&OrderId, &String> = messages
                .iter()
                .filter_map(|message| Some((&message.order_id, message.traceparent.as_ref()?)))
                .collect();
            for step in steps.iter().filter(|step| step.to.is_news()) {
                let Some(order) = orders.get(&step.order) else {
                    continue;
                };
                let status = step.to.state.status;
                // A later step of the same batch has ended it: that is the news.
                if status != order.status {
                    continue;
                }
                let under = came.get(&order.id).map(|context| (*context).clone());
                let under = under.or_else(|| order.traceparent.clone());
                news.push(status_message_under(order, under, now));
            }
            self.store.outbox.append(session, &news).await?;
            let ended = steps
                .iter()
                .filter_map(|step| Ended::of(orders.get(&step.order)?, step.to.state.status, now));
            Ok(ended.collect())
        }
        .boxed()
    }

    fn committed(&self, effect: Self::Effect) -> BoxFuture<'_, ()> {
        effect.into_iter().for_each(Ended::count);
        std::future::ready(()).boxed()
    }
}
