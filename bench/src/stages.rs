//! Where an order's time goes: what the services have observed of each of its stages while a scenario ran.

use crate::metrics::{Label, Metrics};
use serde::Serialize;
use std::fmt::Write;

/// A stage, and the histogram that has its time.
struct Stage {
    name: &'static str,
    metric: &'static str,
    labels: &'static [Label<'static>],
}

const fn stage(name: &'static str, metric: &'static str, labels: &'static [Label<'static>]) -> Stage {
    Stage { name, metric, labels }
}

/// In the order in which an order comes to them. Those of messages begin when one is said, inside of the transaction that writes it, so that
/// the commit is in them.
const STAGES: [Stage; 20] = [
    stage(
        "gateway: Redis counts the request and takes units",
        "quicksale_gate_script_duration_seconds",
        &[("script", "count_and_take")],
    ),
    stage(
        "gateway: waits to be sent on",
        "quicksale_order_send_wait_seconds",
        &[],
    ),
    stage(
        "order: waits for its batch",
        "quicksale_order_queue_wait_seconds",
        &[("work", "accept")],
    ),
    stage(
        "order: its batch is committed",
        "quicksale_order_batch_duration_seconds",
        &[("work", "accept")],
    ),
    stage(
        "order: answers a request of several",
        "quicksale_http_request_duration_seconds",
        &[("service", "order"), ("route", "/internal/orders")],
    ),
    stage(
        "gateway: Redis is told what became of it",
        "quicksale_gate_script_duration_seconds",
        &[("script", "settle")],
    ),
    stage(
        "gateway: accepts an order, in all",
        "quicksale_http_request_duration_seconds",
        &[
            ("service", "gateway"),
            ("route", "/api/orders"),
            ("method", "POST"),
            ("status", "201"),
        ],
    ),
    stage(
        "relay: order.created is said until Kafka has it",
        "quicksale_outbox_delay_seconds",
        &[("topic", "order.created")],
    ),
    stage(
        "lane: order.created is said until inventory has done it",
        "quicksale_lane_delay_seconds",
        &[("group", "inventory"), ("topic", "order.created")],
    ),
    stage(
        "relay: inventory.result",
        "quicksale_outbox_delay_seconds",
        &[("topic", "inventory.result")],
    ),
    stage(
        "lane: inventory.result, by order",
        "quicksale_lane_delay_seconds",
        &[("group", "order"), ("topic", "inventory.result")],
    ),
    stage(
        "relay: order.status",
        "quicksale_outbox_delay_seconds",
        &[("topic", "order.status")],
    ),
    stage(
        "lane: order.status, by inventory",
        "quicksale_lane_delay_seconds",
        &[("group", "inventory"), ("topic", "order.status")],
    ),
    stage(
        "lane: order.status, by the notifier",
        "quicksale_lane_delay_seconds",
        &[("group", "notifier"), ("topic", "order.status")],
    ),
    stage(
        "lane: fetched until committed, inventory",
        "quicksale_lane_wait_seconds",
        &[("group", "inventory")],
    ),
    stage(
        "lane: fetched until committed, order",
        "quicksale_lane_wait_seconds",
        &[("group", "order")],
    ),
    stage(
        "lane: fetched until committed, notifier",
        "quicksale_lane_wait_seconds",
        &[("group", "notifier")],
    ),
    stage(
        "broker: a request with records is acknowledged",
        "quicksale_kafka_produce_duration_seconds",
        &[],
    ),
    stage(
        "accepted until confirmed",
        "quicksale_order_end_duration_seconds",
        &[("status", "CONFIRMED")],
    ),
    stage(
        "changed until a socket is handed it",
        "quicksale_push_delay_seconds",
        &[],
    ),
];

/// How long a stage took.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Took {
    /// Which one.
    pub(crate) stage: &'static str,
    /// How often it was gone through.
    pub(crate) times: f64,
    /// On average.
    pub(crate) mean_ms: f64,
    /// What 99 of 100 did not exceed, estimated from buckets.
    pub(crate) p99_ms: f64,
}

/// The stages that were gone through, by what was observed meanwhile.
pub(crate) fn gone_through(observed: &Metrics) -> Vec<Took> {
    let took = |stage: &Stage| {
        let times = observed.histogram(stage.metric, stage.labels);
        let (mean, p99) = times.mean().zip(times.quantile(0.99))?;
        Some(Took {
            stage: stage.name,
            times: times.count(),
            mean_ms: hundredths(mean * 1_000.0),
            p99_ms: hundredths(p99 * 1_000.0),
        })
    };
    STAGES.iter().filter_map(took).collect()
}

fn hundredths(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}

/// Scenarios side by side, as a Markdown table.
pub(crate) fn table(scenarios: &[(&str, &[Took])]) -> String {
    let mut text = String::from("| mean / p99 ms |");
    for (name, _) in scenarios {
        let _infallible = write!(text, " {name} |");
    }
    text.push_str("\n|---|");
    text.push_str(&"---|".repeat(scenarios.len()));
    for Stage { name, .. } in &STAGES {
        let cells: Vec<_> = scenarios
            .iter()
            .map(|(_, all)| all.iter().find(|took| took.stage == *name))
            .collect();
        if cells.iter().all(Option::is_none) {
            continue;
        }
        let _infallible = write!(text, "\n| {name} |");
        for cell in cells {
            let _infallible = match cell {
                Some(took) => write!(text, " {:.1} / {:.1} |", took.mean_ms, took.p99_ms),
                None => write!(text, " - |"),
            };
        }
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scenarios_stand_side_by_side() {
        let took = |mean_ms| {
            vec![Took {
                stage: "order: waits for its batch",
                times: 5.0,
                mean_ms,
                p99_ms: 20.0,
            }]
        };
        let (hot, trickle) = (took(7.25), Vec::new());
        let table = table(&[("hot", hot.as_slice()), ("trickle", trickle.as_slice())]);
        assert_eq!(
            table,
            "| mean / p99 ms | hot | trickle |\n|---|---|---|\n| order: waits for its batch | 7.2 / 20.0 | - |\n"
        );
    }
}
