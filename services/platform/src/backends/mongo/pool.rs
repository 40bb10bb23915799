//! What is known of the connections to the database: the driver says it, at no cost for its commands.

use crate::metrics::{Metric, SECONDS, must};
use mongodb::event::{EventHandler, cmap::CmapEvent};
use prometheus::{
    Histogram, IntCounter, IntGaugeVec, register_histogram, register_int_counter, register_int_gauge_vec,
};
use std::sync::LazyLock;

static CONNECTIONS: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    must(register_int_gauge_vec!(
        "quicksale_database_connections",
        "Connections to MongoDB: open, and of these in_use.",
        &["state"]
    ))
});
static WAIT: LazyLock<Histogram> = LazyLock::new(|| {
    must(register_histogram!(
        "quicksale_database_pool_wait_seconds",
        "Seconds that a command waited for a connection to MongoDB.",
        SECONDS.to_vec()
    ))
});
static REFUSED: LazyLock<IntCounter> = LazyLock::new(|| {
    must(register_int_counter!(
        "quicksale_database_pool_failures_total",
        "Times when a command got no connection to MongoDB."
    ))
});

/// What is measured here.
pub(super) fn metrics() -> Vec<Metric> {
    for state in ["open", "in_use"] {
        CONNECTIONS.with_label_values(&[state]);
    }
    vec![&*CONNECTIONS, &*WAIT, &*REFUSED]
}

/// Keeps the metrics, told by the driver.
pub(super) fn observer() -> EventHandler<CmapEvent> {
    let (open, in_use) = (
        CONNECTIONS.with_label_values(&["open"]),
        CONNECTIONS.with_label_values(&["in_use"]),
    );
    EventHandler::callback(move |event| match event {
        CmapEvent::ConnectionCreated(_) => open.inc(),
        CmapEvent::ConnectionClosed(_) => open.dec(),
        CmapEvent::ConnectionCheckedOut(out) => {
            in_use.inc();
            WAIT.observe(out.duration.as_secs_f64());
        }
        CmapEvent::ConnectionCheckedIn(_) => in_use.dec(),
        CmapEvent::ConnectionCheckoutFailed(_) => REFUSED.inc(),
        _ => {}
    })
}
