//! What the services have counted for each order, beside what the backends have.

use crate::metrics::{Label, Metrics};
use std::collections::BTreeMap;

const REQUESTS: &str = "quicksale_kafka_requests_total";

/// Counters, by the name they have in tables: which one, and with which labels.
const COUNTERS: [(&str, &str, &[Label<'static>]); 5] = [
    ("Kafka requests: fetch", REQUESTS, &[("request", "fetch")]),
    ("Kafka requests: metadata", REQUESTS, &[("request", "metadata")]),
    ("Kafka requests: offset", REQUESTS, &[("request", "offset")]),
    ("Kafka requests: produce", REQUESTS, &[("request", "produce")]),
    (
        "transactions tried again",
        "quicksale_database_transaction_retries_total",
        &[],
    ),
];

/// How much each has grown for each of so many orders; those that the services do not have are left out.
pub(crate) fn for_each_order(grown: &Metrics, orders: usize) -> BTreeMap<&'static str, f64> {
    let known = COUNTERS
        .into_iter()
        .filter(|(_, counter, labels)| grown.has(counter, labels));
    let each = |(name, counter, labels)| (name, grown.sum(counter, labels) / orders.max(1) as f64);
    known.map(each).collect()
}
