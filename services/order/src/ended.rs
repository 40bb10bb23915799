//! What is counted of orders that have come to their end, once the transaction that ended them is committed.

use crate::document::Order;
use jiff::Timestamp;
use mongodb::bson::DateTime;
use platform::{
    backends::mongo,
    metrics::{Metric, must},
};
use prometheus::{HistogramVec, IntCounterVec, register_histogram_vec, register_int_counter_vec};
use sale::order::OrderStatus;
use std::{sync::LazyLock, time::Duration};

static ENDED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    must(register_int_counter_vec!(
        "quicksale_orders_ended_total",
        "Orders that have come to their end, by what it is: CONFIRMED, FAILED, CANCELLED or EXPIRED.",
        &["status"]
    ))
});
static SECONDS: LazyLock<HistogramVec> = LazyLock::new(|| {
    must(register_histogram_vec!(
        "quicksale_order_end_duration_seconds",
        "Seconds from an order's acceptance to its end, by the clocks of the two processes; with confirmation by payment the buyer's time is in it.",
        &["status"],
        vec![
            0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0
        ]
    ))
});

/// What is counted here.
pub(crate) fn metrics() -> Vec<Metric> {
    for status in OrderStatus::ENDS {
        ENDED.with_label_values(&[status.as_str()]);
        SECONDS.with_label_values(&[status.as_str()]);
    }
    vec![&*ENDED, &*SECONDS]
}

/// An order that has ended.
#[derive(Debug, Clone, Copy)]
pub struct Ended {
    status: OrderStatus,
    after: Duration,
}

impl Ended {
    /// An order that ends now, if it does.
    pub(crate) fn of(order: &Order, status: OrderStatus, now: Timestamp) -> Option<Self> {
        Self::since(order.created_at, status, now)
    }

    /// The same by when it was accepted.
    pub(crate) fn since(accepted_at: DateTime, status: OrderStatus, now: Timestamp) -> Option<Self> {
        status.is_terminal().then(|| Self {
            status,
            after: mongo::age(accepted_at, now),
        })
    }

    /// Counts it.
    pub(crate) fn count(self) {
        let labels = &[self.status.as_str()];
        ENDED.with_label_values(labels).inc();
        SECONDS
            .with_label_values(labels)
            .observe(self.after.as_secs_f64());
    }
}
