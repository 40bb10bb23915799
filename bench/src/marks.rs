//! What orders cost on the way: whether the last ones of a long run cost more than the first.

use crate::{
    load::Crowd,
    processes::{self, Usage, Watched},
};
use std::{
    collections::BTreeMap,
    fmt::Write,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How often it is looked.
const EVERY: Duration = Duration::from_millis(250);
/// How many of the first and of the last orders are told of.
const ORDERS: usize = 20_000;
/// Fewer orders in all are not told apart.
const LEAST: usize = 100_000;

/// Usage after so many orders.
type Mark = (usize, BTreeMap<String, Usage>);

/// What was noted.
#[derive(Debug)]
pub(crate) struct Noted(Vec<Mark>);

/// What is noted on the way.
#[derive(Debug)]
pub(crate) struct Marks {
    noting: JoinHandle<Vec<Mark>>,
    stop: CancellationToken,
}

impl Marks {
    /// Begins to look.
    pub(crate) fn watch(crowd: Arc<Crowd>, watched: Vec<Watched>) -> Self {
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let noting = tokio::spawn(async move {
            let mut marks = Vec::new();
            while !stopped.is_cancelled() {
                if let Ok(usage) = processes::usage(&watched) {
                    marks.push((crowd.answered.load(Ordering::Relaxed), usage));
                }
                tokio::select! {
                    () = stopped.cancelled() => {}
                    () = tokio::time::sleep(EVERY) => {}
                }
            }
            marks
        });
        Self { noting, stop }
    }

    /// Ends it.
    pub(crate) async fn end(self) -> Noted {
        self.stop.cancel();
        Noted(self.noting.await.unwrap_or_default())
    }
}

impl Noted {
    /// The most that each name had in memory at a time.
    pub(crate) fn at_most(&self) -> BTreeMap<String, Usage> {
        let mut most = BTreeMap::<String, Usage>::new();
        for (name, usage) in self.0.iter().flat_map(|(_, usage)| usage) {
            let known = most.entry(name.clone()).or_insert(*usage);
            if usage.rss_mb > known.rss_mb {
                *known = *usage;
            }
        }
        most
    }

    /// Lines for people, where there were enough orders.
    pub(crate) fn lines(&self) -> Vec<String> {
        let Self(marks) = self;
        let all = marks.last().map_or(0, |(orders, _)| *orders);
        if all < LEAST {
            return Vec::new();
        }
        let first = cost(marks, 0, ORDERS).map(|cost| format!("the first {ORDERS} orders cost{cost}"));
        let last = cost(marks, all - ORDERS, all).map(|cost| format!("the last {ORDERS} orders cost{cost}"));
        first.into_iter().chain(last).collect()
    }
}

/// CPU seconds for a thousand orders from one to another, by process, as near as it was looked.
fn cost(marks: &[Mark], from: usize, to: usize) -> Option<String> {
    let begin = marks.iter().rfind(|(orders, _)| *orders <= from)?;
    let end = marks.iter().find(|(orders, _)| *orders >= to)?;
    let orders = (end.0 - begin.0) as f64;
    let mut text = String::new();
    for (name, after) in &end.1 {
        let spent = after.cpu_seconds - begin.1.get(name).copied().unwrap_or_default().cpu_seconds;
        let _infallible = write!(text, " {name} {:.3}", spent * 1_000.0 / orders);
    }
    text.push_str(" CPU s per 1,000");
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_some_orders_cost_is_told() {
        let usage = |cpu_seconds| {
            BTreeMap::from([(
                "database".to_owned(),
                Usage {
                    cpu_seconds,
                    rss_mb: 1.0,
                },
            )])
        };
        let marks = [(0, usage(1.0)), (1_000, usage(1.5)), (3_000, usage(2.0))];
        assert_eq!(cost(&marks, 0, 1_000).unwrap(), " database 0.500 CPU s per 1,000");
        assert_eq!(
            cost(&marks, 1_500, 3_000).unwrap(),
            " database 0.250 CPU s per 1,000"
        );
        assert!(cost(&marks, 0, 4_000).is_none());
    }
}
