//! What the operator counts.

use crate::{controller::trail, sale_metrics::SaleMetrics};
use platform::{
    backends::{kafka, mongo},
    metrics::{Metric, Part, must, of_every_process, reference},
};
use prometheus::{
    Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, register_histogram, register_histogram_vec,
    register_int_counter, register_int_counter_vec, register_int_gauge,
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

/// Failures of watches.
pub static WATCH_ERRORS: LazyLock<IntCounter> = LazyLock::new(|| {
    must(register_int_counter!(
        "quicksale_operator_watch_errors_total",
        "Failures of the watches of sales' objects, each of which is tried again."
    ))
});

/// Requests to the API server.
pub static API_REQUESTS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    must(register_int_counter_vec!(
        "quicksale_operator_api_requests_total",
        "Requests to the API server, by method. A watch is one for as long as it lasts.",
        &["method"]
    ))
});

/// Seconds from the moment in which an edit was seen until every door goes by it.
pub static SWITCH_SECONDS: LazyLock<Histogram> = LazyLock::new(|| {
    must(register_histogram!(
        "quicksale_operator_switch_duration_seconds",
        "Seconds from an edit that the doors of a sale go by, as the operator's watch shows it, until every replica has confirmed it.",
        vec![0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0]
    ))
});

/// Whether this replica is the leader.
pub static LEADER: LazyLock<IntGauge> = LazyLock::new(|| {
    must(register_int_gauge!(
        "quicksale_operator_leader",
        "1 on the replica that reconciles, 0 on the others."
    ))
});

/// How the API server is asked.
const METHODS: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];
/// What becomes of a control document that is sent.
const PUSH_RESULTS: [&str; 2] = ["delivered", "failed"];

/// What the operator counts, shown as zero from now on.
pub fn own() -> Vec<Metric> {
    RECONCILE_SECONDS.with_label_values(&["ok"]);
    for method in METHODS {
        API_REQUESTS.with_label_values(&[method]);
    }
    for result in PUSH_RESULTS {
        CONTROL_PUSHES.with_label_values(&[result]);
    }
    vec![
        &*LEADER,
        &*RECONCILE_SECONDS,
        &*CONTROL_PUSHES,
        &*CONTROL_PUSH_SECONDS,
        &*SWITCH_SECONDS,
        &*WATCH_ERRORS,
        &*API_REQUESTS,
    ]
}

/// All that a process of the operator shows from its first scrape on.
pub fn show() {
    own();
    trail::metric();
    of_every_process();
    mongo::metrics();
    kafka::metrics();
}

/// The operator's part of the reference of metrics, in Markdown.
pub fn markdown() -> String {
    static SALES: LazyLock<SaleMetrics> = LazyLock::new(|| SaleMetrics::fixed([]));
    let sales: Vec<Metric> = vec![&*SALES];
    reference(&[
        Part {
            heading: "Operator",
            what: "It has those of every process, of the database and of the audit trail as well.",
            metrics: own(),
        },
        Part {
            heading: "Sales",
            what: "Shown by the replica of the operator that leads. A sale's own processes say more of it.",
            metrics: sales,
        },
    ])
}
