//! How many orders have not come to their end, as a metric.

use crate::{fence::Fence, store::Store};
use futures::FutureExt;
use mongodb::ClientSession;
use platform::{
    backends::mongo::{self, MongoError},
    metrics::{Metric, must},
    rounds::Rounds,
};
use prometheus::{IntGauge, register_int_gauge};
use std::{sync::LazyLock, time::Duration};
use tokio_util::sync::CancellationToken;

/// How often it is counted: a few documents, however many orders there are.
const EVERY: Duration = Duration::from_secs(5);

static PENDING: LazyLock<IntGauge> = LazyLock::new(|| {
    must(register_int_gauge!(
        "quicksale_orders_pending",
        "Accepted orders that have not come to their end, those that wait for a payment included. Each order process shows the same."
    ))
});

/// What is counted here.
pub(crate) fn metrics() -> Vec<Metric> {
    vec![&*PENDING]
}

/// Counts until the process ends.
pub(crate) async fn run(store: Store, fence: Fence, stop: CancellationToken) {
    let mut rounds = Rounds::every(EVERY, &stop);
    while rounds.another().await {
        let (store, fence) = (store.clone(), fence.clone());
        let counted = mongo::detached(async move { count(&store, &fence).await });
        match counted.await {
            Ok(pending) => PENDING.set(i64::try_from(pending).unwrap_or(i64::MAX)),
            Err(error) => tracing::debug!(%error, "cannot count the orders; trying again"),
        }
    }
}

async fn count(store: &Store, fence: &Fence) -> Result<u64, MongoError> {
    store
        .transactions
        .run(|session| {
            let (store, fence) = (store.clone(), fence.clone());
            async move { count_in(&store, &fence, session).await }.boxed()
        })
        .await
}

async fn count_in(store: &Store, fence: &Fence, session: &mut ClientSession) -> Result<u64, MongoError> {
    let accepted = fence.passed(session).await?;
    let ended = store.tally.ends(session).await?.sum();
    Ok(accepted.saturating_sub(ended))
}
