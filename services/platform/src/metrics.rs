//! The metrics of a process. Each crate declares its own beside the code that counts; this module renders them and
//! holds the ones that every process has.

use prometheus::{Encoder, HistogramVec, TextEncoder, register_histogram_vec};
use std::sync::LazyLock;

/// Builds a metric once. A name that is taken is a mistake of ours which shows at the first start, in any test.
///
/// # Panics
/// When the metric's name or labels are not valid or are taken.
#[expect(
    clippy::panic,
    reason = "a wrong metric definition must fail the first start, not hide"
)]
pub fn must<T>(metric: prometheus::Result<T>) -> T {
    metric.unwrap_or_else(|error| panic!("metric definition: {error}"))
}

/// Seconds from a request's arrival to its answer, by service, method, route pattern and status.
pub static HTTP_SECONDS: LazyLock<HistogramVec> = LazyLock::new(|| {
    must(register_histogram_vec!(
        "quicksale_http_request_duration_seconds",
        "Seconds from a request's arrival to its answer.",
        &["service", "method", "route", "status"],
        vec![
            0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0
        ]
    ))
});

/// All metrics of the process in the Prometheus text format.
pub fn render() -> String {
    let mut text = Vec::new();
    if let Err(error) = TextEncoder::new().encode(&prometheus::gather(), &mut text) {
        tracing::error!(%error, "cannot render metrics");
    }
    String::from_utf8_lossy(&text).into_owned()
}
