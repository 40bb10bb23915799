//! The metrics of a process. Each crate declares its own beside the code that counts, and names them in a list, `metrics()`, which the
//! process goes through as it starts: so every series that is known by then is there from the first scrape, and one that counts nothing
//! says zero. This module renders them, writes their reference, and holds the ones that every process has.

use crate::{event_loop, health, http};
use prometheus::{
    Encoder, HistogramVec, IntGaugeVec, TextEncoder, core::Collector, proto::MetricType,
    register_histogram_vec, register_int_gauge_vec,
};
use std::{fmt::Write, sync::LazyLock};

/// A metric that some code declares.
pub type Metric = &'static dyn Collector;

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

/// Buckets for what takes from a millisecond to ten seconds.
pub const SECONDS: [f64; 13] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// Seconds from a request's arrival to its answer, by service, method, route pattern and status.
pub static HTTP_SECONDS: LazyLock<HistogramVec> = LazyLock::new(|| {
    must(register_histogram_vec!(
        "quicksale_http_request_duration_seconds",
        "Seconds from a request's arrival to its answer.",
        &["service", "method", "route", "status"],
        SECONDS.to_vec()
    ))
});

static BUILD_INFO: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    must(register_int_gauge_vec!(
        "quicksale_build_info",
        "Always 1; its label is the version of the executable.",
        &["version"]
    ))
});

/// Those that every process has.
pub fn of_every_process() -> Vec<Metric> {
    BUILD_INFO.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
    let mut all: Vec<Metric> = vec![&*BUILD_INFO, &*HTTP_SECONDS];
    all.extend(http::connections::metrics());
    all.extend(event_loop::metrics());
    all.extend(health::metrics());
    all
}

/// All metrics of the process in the Prometheus text format.
pub fn render() -> String {
    let mut text = Vec::new();
    if let Err(error) = TextEncoder::new().encode(&prometheus::gather(), &mut text) {
        tracing::error!(%error, "cannot render metrics");
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// A part of the reference: the metrics of some processes.
pub struct Part {
    /// Which processes, as a heading.
    pub heading: &'static str,
    /// A sentence about them.
    pub what: &'static str,
    /// Their metrics.
    pub metrics: Vec<Metric>,
}

/// The reference of some metrics in Markdown.
pub fn reference(parts: &[Part]) -> String {
    let mut out = String::new();
    for Part {
        heading,
        what,
        metrics,
    } in parts
    {
        // Writing to a string cannot fail.
        let _ = write!(
            out,
            "\n## {heading}\n{what}\n\n| metric | type | labels | what |\n|---|---|---|---|\n"
        );
        for line in metrics.iter().flat_map(|metric| lines(*metric)) {
            let _ = writeln!(out, "{line}");
        }
    }
    out
}

/// The lines about one metric.
fn lines(metric: Metric) -> Vec<String> {
    // Families without a child have a type as well.
    let families = metric.collect();
    let described = metric.desc().into_iter().zip(families);
    let line = |(desc, family): (&prometheus::core::Desc, prometheus::proto::MetricFamily)| {
        let kind = match family.get_field_type() {
            MetricType::COUNTER => "counter",
            MetricType::GAUGE => "gauge",
            MetricType::HISTOGRAM => "histogram",
            MetricType::SUMMARY => "summary",
            MetricType::UNTYPED => "untyped",
        };
        let labels: Vec<String> = desc
            .variable_labels
            .iter()
            .map(|label| format!("`{label}`"))
            .collect();
        format!(
            "| `{}` | {kind} | {} | {} |",
            desc.fq_name,
            labels.join(", "),
            desc.help
        )
    };
    described.map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_process_shows_what_it_has_before_anything_has_happened() {
        let all = of_every_process();
        let shown = render();
        assert!(shown.contains(&format!(
            "quicksale_build_info{{version=\"{}\"}} 1",
            env!("CARGO_PKG_VERSION")
        )));
        // Other tests of this process count as well.
        for name in [
            "quicksale_event_loop_lag_seconds_count ",
            "quicksale_work_failing ",
        ] {
            assert!(shown.contains(name), "{name} in {shown}");
        }
        let reference = reference(&[Part {
            heading: "Every process",
            what: "All of them.",
            metrics: all,
        }]);
        assert!(reference.contains(
            "| `quicksale_http_request_duration_seconds` | histogram | `service`, `method`, `route`, `status` | "
        ), "{reference}");
    }
}
