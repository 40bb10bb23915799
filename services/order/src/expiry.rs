//! Ends orders whose hold has run out without a payment. Their units go back when inventory hears of it.

use crate::{decide, steps::time, store::Store};
use futures::TryStreamExt;
use jiff::Timestamp;
use mongodb::{
    IndexModel,
    bson::{Document, doc},
    options::IndexOptions,
};
use platform::{
    backends::mongo::{Aside, MongoError, OneAtATime},
    clock::Clock,
    rounds::Rounds,
};
use sale::{OrderId, order::OrderStatus};
use serde::Deserialize;
use std::time::{Duration, Instant};
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
    let mut rounds = Rounds::every(EVERY, &stop);
    let (alone, mut aside) = (OneAtATime::default(), Aside::new(Instant::now()));
    while rounds.another().await {
        while !stop.is_cancelled() {
            let (store, now) = (store.clone(), clock.now());
            let due = aside.others(due(now), Instant::now());
            match alone
                .detached(async move { end_due(&store, due, now).await })
                .await
            {
                Ok(Ended { undecided, is_all }) => {
                    aside.add(undecided.iter().map(OrderId::as_str));
                    if is_all {
                        break;
                    }
                }
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

/// Orders whose hold has run out.
fn due(now: Timestamp) -> Document {
    doc! {
        "status": OrderStatus::Pending.as_str(),
        "holdExpiresAt": {"$exists": true, "$lte": time(now)},
    }
}

/// What a round came to.
#[derive(Debug)]
struct Ended {
    /// Those about which nobody could decide.
    undecided: Vec<OrderId>,
    /// Whether there are no more for now.
    is_all: bool,
}

async fn end_due(store: &Store, due: Document, now: Timestamp) -> Result<Ended, MongoError> {
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
    let is_all = i64::try_from(due.len()).unwrap_or(BATCH) < BATCH;
    let due = due.into_iter().map(|order| order.id).collect();
    Ok(match decide::expire(store, due, now).await {
        Some(undecided) => Ended { undecided, is_all },
        // Those that are left are due again in a moment.
        None => Ended {
            undecided: Vec::new(),
            is_all: true,
        },
    })
}
