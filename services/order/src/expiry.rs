//! Ends orders whose hold has run out without a payment. Their units go back when inventory hears of it.

use crate::{decide, store::Store};
use futures::TryStreamExt;
use jiff::Timestamp;
use mongodb::{
    IndexModel,
    bson::{DateTime, doc},
    options::IndexOptions,
};
use platform::{
    backends::mongo::{self, MongoError},
    clock::Clock,
};
use sale::{OrderId, order::OrderStatus};
use serde::Deserialize;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often it is looked for such orders.
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
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    tracing::warn!(%error, "cannot end orders whose hold has run out; trying again");
                    break;
                }
            }
        }
    }
}

/// What is read of an order whose hold has run out.
#[derive(Debug, Deserialize)]
struct Due {
    #[serde(rename = "_id")]
    id: OrderId,
}

/// Returns whether there may be more.
async fn end_due(store: &Store, now: Timestamp) -> Result<bool, MongoError> {
    let due = doc! {
        "status": OrderStatus::Pending.as_str(),
        "holdExpiresAt": {"$exists": true, "$lte": DateTime::from_millis(now.as_millisecond())},
    };
    let due: Vec<Due> = store
        .orders
        .clone_with_type::<Due>()
        .find(due)
        .projection(doc! {"_id": 1})
        .sort(doc! {"holdExpiresAt": 1})
        .limit(BATCH)
        .await?
        .try_collect()
        .await?;
    let is_full = i64::try_from(due.len()).unwrap_or(BATCH) >= BATCH;
    let ended = decide::expire(store, due.into_iter().map(|order| order.id).collect(), now).await;
    // Those about which nobody can decide are due again at once.
    Ok(is_full && ended > 0)
}
