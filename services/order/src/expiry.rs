//! Ends orders whose hold has run out without a payment. Their units go back when inventory hears of it.

use crate::{
    decide::{self, DecideError},
    document::Order,
    store::Store,
};
use futures::TryStreamExt;
use jiff::Timestamp;
use mongodb::{
    IndexModel,
    bson::{DateTime, doc},
    options::IndexOptions,
};
use platform::{backends::mongo, clock::Clock};
use sale::{OrderId, order::OrderStatus};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often it is looked for such orders: a hold ends within this time after its deadline.
const EVERY: Duration = Duration::from_secs(1);
/// Orders ended in one transaction. Where there are more, the next follows at once.
const BATCH: i64 = 100;

/// Of the orders only those that wait for a payment are in it.
pub(crate) fn index() -> IndexModel {
    let waiting = doc! {"status": OrderStatus::Pending.as_str(), "holdExpiresAt": {"$exists": true}};
    IndexModel::builder()
        .keys(doc! {"holdExpiresAt": 1})
        .options(IndexOptions::builder().partial_filter_expression(waiting).build())
        .build()
}

/// Ends them until the process ends. Every replica may do it: an order ends once, by a change of its document.
pub async fn run(store: Store, clock: Clock, stop: CancellationToken) {
    let mut tick = tokio::time::interval(EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => {}
        }
        while !stop.is_cancelled() {
            let (store, now) = (store.clone(), clock.now());
            match mongo::detached(async move { end_due(&store, now).await }).await {
                Ok(BATCH) => {}
                Ok(_) => break,
                Err(error) => {
                    tracing::warn!(%error, "cannot end orders whose hold has run out; trying again");
                    break;
                }
            }
        }
    }
}

/// Returns how many were due.
async fn end_due(store: &Store, now: Timestamp) -> Result<i64, DecideError> {
    let due = doc! {
        "status": OrderStatus::Pending.as_str(),
        "holdExpiresAt": {"$exists": true, "$lte": DateTime::from_millis(now.as_millisecond())},
    };
    let due: Vec<Order> = store
        .orders
        .find(due)
        .sort(doc! {"holdExpiresAt": 1})
        .limit(BATCH)
        .await?
        .try_collect()
        .await?;
    if due.is_empty() {
        return Ok(0);
    }
    let ids: Vec<OrderId> = due.iter().map(|order| order.id.clone()).collect();
    decide::expire(store, &ids, now).await?;
    Ok(i64::try_from(due.len()).unwrap_or(BATCH))
}
