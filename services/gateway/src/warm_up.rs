//! A new gateway takes no requests before it can answer them as well as the one that it replaces.

use crate::products::Products;
use fred::clients::Client;
use platform::{backends::redis, health::ReadinessGate};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How long it waits. After that it takes requests regardless: what needs no Redis, such as looking at an order, must
/// not depend on one.
const AT_MOST: Duration = Duration::from_secs(10);
/// Between two looks.
const EVERY: Duration = Duration::from_millis(50);

/// Releases the gate once Redis answers and the products are known, then lasts as long as the process.
pub(crate) async fn run(redis: Client, products: Products, ready: ReadinessGate, stop: CancellationToken) {
    let warm = async {
        while redis::ping(&redis).await.is_err() || !products.are_known() {
            tokio::time::sleep(EVERY).await;
        }
    };
    tokio::select! {
        () = stop.cancelled() => return,
        _late_or_not = ready.release_within(AT_MOST, warm) => {}
    }
    stop.cancelled().await;
}
