//! What the operator counts.

use platform::metrics::must;
use prometheus::{
    Histogram, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, register_histogram,
    register_histogram_vec, register_int_counter_vec, register_int_gauge, register_int_gauge_vec,
};
use std::sync::LazyLock;

/// Seconds of a reconciliation, by its result.
pub static RECONCILE_SECONDS: LazyLock<HistogramVec> = LazyLock::new(|| {
    must(register_histogram_vec!(
        "quicksale_operator_reconcile_duration_seconds",
        "Seconds of a reconciliation, by its result.",
        &["result"],
        vec![0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0]
    ))
});

/// Control documents sent to replicas, by result.
pub static CONTROL_PUSHES: LazyLock<IntCounterVec> = LazyLock::new(|| {
    must(register_int_counter_vec!(
        "quicksale_operator_control_pushes_total",
        "Control documents sent to replicas, by result.",
        &["result"]
    ))
});

/// Seconds until every replica answered a control document.
pub static CONTROL_PUSH_SECONDS: LazyLock<Histogram> = LazyLock::new(|| {
    must(register_histogram!(
        "quicksale_operator_control_push_duration_seconds",
        "Seconds until every replica answered a control document.",
        vec![0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0]
    ))
});

/// Whether this replica is the leader.
pub static LEADER: LazyLock<IntGauge> = LazyLock::new(|| {
    must(register_int_gauge!(
        "quicksale_operator_leader",
        "1 on the replica that reconciles, 0 on the others."
    ))
});

/// Sales by phase, as the leader sees them.
pub static SALES: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    must(register_int_gauge_vec!(
        "quicksale_operator_sales",
        "Sales by phase, as the leader sees them.",
        &["phase"]
    ))
});
