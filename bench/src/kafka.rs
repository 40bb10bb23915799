//! Requests to Kafka, as the services count them: the broker's own counts are not asked for.

use crate::metrics::Metrics;
use std::collections::BTreeMap;

/// Kinds of requests, by the name they have in tables and by their label.
const KINDS: [(&str, &str); 4] = [
    ("Kafka requests: fetch", "fetch"),
    ("Kafka requests: metadata", "metadata"),
    ("Kafka requests: offset", "offset"),
    ("Kafka requests: produce", "produce"),
];

/// How many there were for each of so many orders; nothing where the services do not count them.
pub(crate) fn requests_for_each_order(counted: &Metrics, orders: usize) -> BTreeMap<&'static str, f64> {
    const NAME: &str = "quicksale_kafka_requests_total";
    if counted.sum(NAME, &[]) <= 0.0 {
        return BTreeMap::new();
    }
    let each = |(name, kind)| {
        (
            name,
            counted.sum(NAME, &[("request", kind)]) / orders.max(1) as f64,
        )
    };
    KINDS.into_iter().map(each).collect()
}
