//! What the services keep in memory for each socket, each buyer and each order that is under way.
//!
//! A process gives back little of what it has once had, so what comes after something larger shows no growth: run such a scenario alone.

use crate::processes::Usage;
use serde::Serialize;
use std::{collections::BTreeMap, fmt::Write};

/// Fewer are not told apart from what comes and goes.
const ENOUGH: usize = 1_000;

/// Resident memory of the services in the course of a scenario, and what it was for.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct Memory {
    /// Before anybody has come.
    settled_mb: f64,
    /// Once the sockets are open.
    with_sockets_mb: f64,
    /// The most while orders came.
    at_most_mb: f64,
    /// Once all is settled.
    at_the_end_mb: f64,
    sockets: usize,
    in_flight: usize,
    buyers: usize,
    bytes_for_each_socket: Option<f64>,
    bytes_for_each_in_flight: Option<f64>,
    bytes_for_each_buyer: Option<f64>,
}

/// The moments at which memory is looked at.
#[derive(Debug)]
pub(crate) struct Moments<'a> {
    /// Before anybody has come.
    pub(crate) settled: &'a BTreeMap<String, Usage>,
    /// Once the sockets are open.
    pub(crate) with_sockets: &'a BTreeMap<String, Usage>,
    /// The most while orders came, by name.
    pub(crate) at_most: &'a BTreeMap<String, Usage>,
    /// Once all is settled.
    pub(crate) at_the_end: &'a BTreeMap<String, Usage>,
}

impl Memory {
    /// Of the services, with so many sockets, orders in flight at a time, and buyers that nobody has seen before.
    pub(crate) fn of(moments: &Moments<'_>, sockets: usize, in_flight: usize, buyers: usize) -> Self {
        let mb = |usage: &BTreeMap<String, Usage>| usage.get(SERVICES).map_or(0.0, |usage| usage.rss_mb);
        let [settled, with_sockets, at_most, at_the_end] = [
            moments.settled,
            moments.with_sockets,
            moments.at_most,
            moments.at_the_end,
        ]
        .map(mb);
        let each = |from: f64, to: f64, many: usize| {
            (many >= ENOUGH).then(|| ((to - from) * 1_048_576.0 / many as f64).round())
        };
        Self {
            settled_mb: tenths(settled),
            with_sockets_mb: tenths(with_sockets),
            at_most_mb: tenths(at_most),
            at_the_end_mb: tenths(at_the_end),
            sockets,
            in_flight,
            buyers,
            bytes_for_each_socket: each(settled, with_sockets, sockets),
            bytes_for_each_in_flight: each(with_sockets, at_most, in_flight),
            // Of buyers with sockets, which are gone in the end, nothing can be told.
            bytes_for_each_buyer: each(with_sockets, at_the_end, buyers).filter(|_| sockets == 0),
        }
    }
}

/// What the services are called among the processes, in all.
const SERVICES: &str = "quicksale";

fn tenths(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}

/// Scenarios below each other, as a Markdown table.
pub(crate) fn table<'a>(scenarios: impl Iterator<Item = (&'a str, &'a Memory)>) -> String {
    let mut text = String::from(
        "| services' memory | settled, MB | with sockets | at most | in the end | bytes for each socket (n) | for each order in flight (n) \
         | for each buyer (n) |\n|---|---|---|---|---|---|---|---|\n",
    );
    for (name, m) in scenarios {
        let each = |bytes: Option<f64>, many: usize| {
            bytes.map_or_else(|| "-".to_owned(), |bytes| format!("{bytes:.0} ({many})"))
        };
        let _infallible = writeln!(
            text,
            "| {name} | {:.1} | {:.1} | {:.1} | {:.1} | {} | {} | {} |",
            m.settled_mb,
            m.with_sockets_mb,
            m.at_most_mb,
            m.at_the_end_mb,
            each(m.bytes_for_each_socket, m.sockets),
            each(m.bytes_for_each_in_flight, m.in_flight),
            each(m.bytes_for_each_buyer, m.buyers),
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_divided_by_what_it_was_for() {
        let at = |rss_mb| {
            let usage = Usage {
                cpu_seconds: 0.0,
                rss_mb,
            };
            BTreeMap::from([(SERVICES.to_owned(), usage)])
        };
        let moments = Moments {
            settled: &at(100.0),
            with_sockets: &at(110.0),
            at_most: &at(150.0),
            at_the_end: &at(120.0),
        };
        let none = Memory::of(&moments, 0, 4_096, 20_480);
        assert_eq!(none.bytes_for_each_buyer, Some(512.0));
        assert_eq!(none.bytes_for_each_in_flight, Some(10_240.0));
        let memory = Memory::of(&moments, 10_240, 256, 20_480);
        assert_eq!(memory.bytes_for_each_socket, Some(1_024.0));
        assert_eq!(memory.bytes_for_each_in_flight, None, "256 are too few");
        assert_eq!(memory.bytes_for_each_buyer, None, "they had sockets");
        let table = table([("sockets", &memory)].into_iter());
        assert!(
            table.ends_with("| sockets | 100.0 | 110.0 | 150.0 | 120.0 | 1024 (10240) | - | - |\n"),
            "{table}"
        );
    }
}
