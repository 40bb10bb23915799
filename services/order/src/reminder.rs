//! Asks inventory again about orders that it has not answered. A record that the broker has lost, a partition that was made
//! anew, or an answer that could not be read would leave an order without an end otherwise.
//!
//! Asking twice does no more than asking once: inventory holds units for an order once, and answers a repeat from what it
//! has stored. An order is asked about less and less often, so that a long standstill makes no flood.

use crate::{
    accept,
    document::Order,
    steps::time,
    store::{Found, Store},
};
use futures::FutureExt;
use jiff::{SignedDuration, Timestamp};
use mongodb::{
    ClientSession, IndexModel,
    bson::{DateTime, Document, doc},
    options::IndexOptions,
};
use platform::{
    backends::mongo::{Aside, MongoError, OneAtATime},
    clock::Clock,
    metrics::{Metric, must},
    rounds::Rounds,
};
use prometheus::{IntCounter, register_int_counter};
use sale::{
    OrderId,
    order::{InventoryStatus, OrderStatus},
};
use std::{
    collections::HashSet,
    sync::LazyLock,
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

/// How often it is looked for such orders.
const EVERY: Duration = Duration::from_secs(5);
/// How long inventory has for its first answer; for each further one twice as long as before.
const PATIENCE: SignedDuration = SignedDuration::from_secs(30);
/// The most that this grows to.
const LONGEST_PATIENCE: SignedDuration = SignedDuration::from_mins(10);
/// Orders looked up at once. Where there are more, the next follow at once.
const BATCH: i64 = 200;
/// Orders asked about in one transaction.
const AT_ONCE: usize = 25;

static ASKED_AGAIN: LazyLock<IntCounter> = LazyLock::new(|| {
    must(register_int_counter!(
        "quicksale_orders_asked_again_total",
        "Times when inventory was asked again about an order that it had not answered in time."
    ))
});

/// What is counted here.
pub(crate) fn metrics() -> Vec<Metric> {
    vec![&*ASKED_AGAIN]
}

/// When inventory is asked about an order that it was asked about so often.
pub(crate) fn ask_at(now: Timestamp, asked: i32) -> DateTime {
    let doubled = u32::try_from(asked)
        .ok()
        .and_then(|asked| 2_i32.checked_pow(asked));
    let patience = doubled.and_then(|times| PATIENCE.checked_mul(times));
    let at = now + patience.map_or(LONGEST_PATIENCE, |patience| patience.min(LONGEST_PATIENCE));
    time(at)
}

/// Of the orders only those that wait for inventory are in it.
pub(crate) fn index() -> IndexModel {
    let waiting = doc! {"inventoryStatus": InventoryStatus::Pending.as_str()};
    IndexModel::builder()
        .keys(doc! {"askAt": 1})
        .options(IndexOptions::builder().partial_filter_expression(waiting).build())
        .build()
}

/// Orders that wait for inventory's answer.
pub(crate) fn unanswered() -> Document {
    doc! {"status": OrderStatus::Pending.as_str(), "inventoryStatus": InventoryStatus::Pending.as_str()}
}

/// Asks until the process ends. Every replica may do it: who asks about an order moves the time of the next asking.
pub async fn run(store: Store, clock: Clock, stop: CancellationToken) {
    let mut rounds = Rounds::every(EVERY, &stop);
    let (alone, mut aside) = (OneAtATime::default(), Aside::new(Instant::now()));
    while rounds.another().await {
        while !stop.is_cancelled() {
            let (store, now) = (store.clone(), clock.now());
            let due = aside.others(due(now), Instant::now());
            match alone
                .detached(async move { ask_again(&store, due, now).await })
                .await
            {
                Ok((asked, unreadable)) => {
                    aside.add(unreadable.iter().map(OrderId::as_str));
                    if asked == 0 {
                        break;
                    }
                    ASKED_AGAIN.inc_by(asked);
                    tracing::warn!(
                        orders = asked,
                        "inventory had not answered in time and was asked again"
                    );
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot ask about unanswered orders; trying again");
                    break;
                }
            }
        }
    }
}

/// Orders that are to be asked about by now.
fn due(now: Timestamp) -> Document {
    let mut due = unanswered();
    due.insert(
        "$or",
        [
            doc! {"askAt": {"$lte": time(now)}},
            // Accepted by a version that did not ask again.
            doc! {"askAt": null, "createdAt": {"$lte": time(now - PATIENCE)}},
        ],
    );
    due
}

/// Returns how many were asked about, and which could not be read.
async fn ask_again(
    store: &Store,
    due: Document,
    now: Timestamp,
) -> Result<(u64, HashSet<OrderId>), MongoError> {
    let Found { orders, unreadable } = store.some(due, BATCH).await?;
    let due: Vec<Order> = orders.into_values().collect();
    if due.is_empty() {
        return Ok((0, unreadable));
    }
    // Their answers may be coming in at this moment.
    let asked = store
        .transactions
        .give_way(&due, AT_ONCE, |session, due| {
            let store = store.clone();
            async move { ask(&store, session, &due, now).await }.boxed()
        })
        .await?;
    Ok((asked, unreadable))
}

/// Asks about those that nobody has asked about, and that nothing was said of, meanwhile.
async fn ask(
    store: &Store,
    session: &mut ClientSession,
    due: &[Order],
    now: Timestamp,
) -> Result<u64, MongoError> {
    let mut messages = Vec::with_capacity(due.len());
    for order in due {
        let mut as_found = unanswered();
        as_found.insert("_id", order.id.as_str());
        as_found.insert("askAt", order.ask_at);
        let asked = order.asked.saturating_add(1);
        let done = store
            .orders
            .update_one(
                as_found,
                doc! {"$set": {"asked": asked, "askAt": ask_at(now, asked)}},
            )
            .session(&mut *session)
            .await?;
        if done.matched_count == 1 {
            messages.push(accept::created(order, now));
        }
    }
    store.outbox.append(session, &messages).await?;
    Ok(messages.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_asking_waits_twice_as_long_up_to_ten_minutes() {
        let waits = [0, 1, 2, 4, 5, 31, i32::MAX, -1]
            .map(|asked| ask_at(Timestamp::UNIX_EPOCH, asked).timestamp_millis() / 1_000);
        assert_eq!(waits, [30, 60, 120, 480, 600, 600, 600, 600]);
    }
}
