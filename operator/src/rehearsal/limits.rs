//! Who is the limit of a sale under load: what its processes have counted between two moments.

use crate::report::figures::samples;
use crds::Component;
use jiff::{SignedDuration, Timestamp};
use std::{
    collections::BTreeMap,
    fmt::{self, Display, Formatter},
};

/// How far a look may be from the moment that it stands for: looks are some seconds apart.
const NEAR: SignedDuration = SignedDuration::from_secs(6);
/// A process whose tasks are woken later than this on average waits for CPU, in seconds: a timer alone takes up to 0.002.
const WAITS_FOR_CPU: f64 = 0.012;
/// A transaction that takes longer than this on average makes orders wait, in seconds.
const SLOW_TRANSACTION: f64 = 0.1;
/// A script of the gate that takes longer than this on average does, in seconds.
const SLOW_SCRIPT: f64 = 0.05;
/// A request to Kafka that takes longer than this on average makes decisions wait, in seconds.
const SLOW_PRODUCE: f64 = 0.1;

/// A sum and a count, of which the mean is looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Mean {
    sum: f64,
    count: f64,
}

impl Mean {
    fn since(self, before: Self) -> Option<f64> {
        let count = self.count - before.count;
        (count > 0.0).then(|| (self.sum - before.sum) / count)
    }

    fn add(&mut self, suffix: &str, value: f64) {
        match suffix {
            "sum" => self.sum += value,
            "count" => self.count += value,
            _ => {}
        }
    }
}

/// What the processes of a service had counted at a moment.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Counted {
    cpu_seconds: f64,
    wake_up: Mean,
    transaction: Mean,
    script: Mean,
    produce: Mean,
    refused: f64,
}

/// What all processes had counted at a moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    at: Timestamp,
    services: BTreeMap<String, Counted>,
}

impl Reading {
    /// One of nobody yet.
    pub fn at(at: Timestamp) -> Self {
        Self {
            at,
            services: BTreeMap::new(),
        }
    }

    /// Adds what a process of a service says.
    pub fn add(&mut self, service: &str, text: &str) {
        let counted = self.services.entry(service.to_owned()).or_default();
        for sample in samples(text) {
            counted.add(sample.name, sample.value);
        }
    }
}

impl Counted {
    fn add(&mut self, name: &str, value: f64) {
        let (metric, suffix) = name.rsplit_once('_').unwrap_or((name, ""));
        match metric {
            "process_cpu_seconds" => self.cpu_seconds += value,
            "quicksale_event_loop_lag_seconds" => self.wake_up.add(suffix, value),
            "quicksale_database_transaction_duration_seconds" => self.transaction.add(suffix, value),
            "quicksale_gate_script_duration_seconds" => self.script.add(suffix, value),
            "quicksale_kafka_produce_duration_seconds" => self.produce.add(suffix, value),
            "quicksale_order_queue_refused" => self.refused += value,
            _ => {}
        }
    }
}

/// Who is short of something, and what to do.
#[derive(Debug, Clone, PartialEq)]
pub struct Limit {
    /// A service, or mongodb, kafka or redis.
    pub of: String,
    /// What was seen.
    pub seen: String,
    /// What to do.
    pub remedy: String,
}

impl Display for Limit {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "The limit is {}: {}; {}", self.of, self.seen, self.remedy)
    }
}

/// Who was short of something between two moments, the first of them first; nobody where no figure shows it, or nobody looked.
pub fn between(looks: &[Reading], from: Timestamp, until: Timestamp) -> Vec<Limit> {
    let near = |look: &&Reading, to: Timestamp| look.at.duration_since(to).abs() <= NEAR;
    let first = looks
        .iter()
        .filter(|look| near(look, from))
        .min_by_key(|look| look.at.duration_since(from).abs());
    let last = looks
        .iter()
        .filter(|look| near(look, until))
        .min_by_key(|look| look.at.duration_since(until).abs());
    let (Some(first), Some(last)) = (first, last) else {
        return Vec::new();
    };
    let seconds = last.at.duration_since(first.at).as_secs_f64();
    if seconds <= 0.0 {
        return Vec::new();
    }
    let mut limits = Vec::new();
    limits.extend(cpu(first, last, seconds));
    let slow = |of: fn(&Counted) -> Mean| -> Option<f64> {
        let means = last.services.iter().filter_map(|(name, counted)| {
            let before = first.services.get(name).copied().unwrap_or_default();
            of(counted).since(of(&before))
        });
        means.max_by(f64::total_cmp)
    };
    // Where processes wait for CPU, their own waits are in what they measure of others.
    if limits.is_empty() {
        let all = [
            (
                "mongodb",
                "a transaction",
                slow(|c| c.transaction),
                SLOW_TRANSACTION,
                "give it a faster disk, or more CPU and memory",
            ),
            (
                "redis",
                "a script of the gate",
                slow(|c| c.script),
                SLOW_SCRIPT,
                "give it a core of its own, and a shorter way",
            ),
            (
                "kafka",
                "a request to write",
                slow(|c| c.produce),
                SLOW_PRODUCE,
                "give its brokers faster disks, or more of them",
            ),
        ];
        for (of, what, mean, bound, remedy) in all {
            if let Some(mean) = mean.filter(|mean| *mean > bound) {
                limits.push(Limit {
                    of: of.to_owned(),
                    seen: format!("{what} took {:.0} ms on average", mean * 1_000.0),
                    remedy: remedy.to_owned(),
                });
            }
        }
    }
    if limits.is_empty() {
        limits.extend(queue(first, last));
    }
    limits
}

/// The services whose processes waited for CPU, the one that used most of it first.
fn cpu(first: &Reading, last: &Reading, seconds: f64) -> Option<Limit> {
    let used = |name: &str| {
        let now = last.services.get(name).map_or(0.0, |counted| counted.cpu_seconds);
        let before = first
            .services
            .get(name)
            .map_or(0.0, |counted| counted.cpu_seconds);
        ((now - before) / seconds).max(0.0)
    };
    let waits = |name: &String| {
        let before = first.services.get(name).copied().unwrap_or_default();
        let mean = last.services.get(name)?.wake_up.since(before.wake_up)?;
        (mean > WAITS_FOR_CPU).then_some(mean)
    };
    let waiting = last.services.keys().filter_map(|name| Some((name, waits(name)?)));
    let (name, mean) = waiting.max_by(|(a, _), (b, _)| used(a).total_cmp(&used(b)))?;
    let all: f64 = last.services.keys().map(|name| used(name)).sum();
    Some(Limit {
        of: name.clone(),
        seen: format!(
            "it used {:.1} cores of the {all:.1} that all services used, and was woken {:.0} ms late on average for want of CPU",
            used(name),
            mean * 1_000.0
        ),
        remedy: format!("give spec.services.{name} more replicas or CPU, and the cluster nodes that have it"),
    })
}

/// Where the order service had to send requests away.
fn queue(first: &Reading, last: &Reading) -> Option<Limit> {
    let order = Component::Order.as_str();
    let before = first.services.get(order).copied().unwrap_or_default();
    let refused = last.services.get(order)?.refused - before.refused;
    (refused > 0.0).then(|| Limit {
        of: order.to_owned(),
        seen: format!("its queue was full, and {refused:.0} requests were told to come back"),
        remedy: format!("give spec.services.{order} more replicas"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(second: i64, services: &[(&str, &str)]) -> Reading {
        let mut reading = Reading::at(Timestamp::from_second(second).unwrap());
        services
            .iter()
            .for_each(|(service, text)| reading.add(service, text));
        reading
    }

    fn limits(first: &[(&str, &str)], last: &[(&str, &str)]) -> Vec<String> {
        let looks = [look(100, first), look(110, last)];
        let at = |second| Timestamp::from_second(second).unwrap();
        let found = between(&looks, at(101), at(112));
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_service_that_waits_for_cpu_is_the_limit_before_any_backend() {
        let first = [
            ("order", "process_cpu_seconds_total 5\n"),
            ("gateway", "process_cpu_seconds_total 2\n"),
        ];
        let order = "process_cpu_seconds_total 17\nquicksale_event_loop_lag_seconds_sum 2.5\nquicksale_event_loop_lag_seconds_count 100\n\
                     quicksale_database_transaction_duration_seconds_sum{end=\"committed\"} 90\n\
                     quicksale_database_transaction_duration_seconds_count{end=\"committed\"} 100\n";
        let gateway = "process_cpu_seconds_total 7\nquicksale_event_loop_lag_seconds_sum 1.9\nquicksale_event_loop_lag_seconds_count 100\n";
        let found = limits(&first, &[("order", order), ("gateway", gateway)]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(
            found[0],
            "The limit is order: it used 1.2 cores of the 1.7 that all services used, and was woken 25 ms late on average for want of CPU; \
             give spec.services.order more replicas or CPU, and the cluster nodes that have it"
        );
    }

    #[test]
    fn a_slow_backend_is_named_and_so_is_a_full_queue() {
        let slow = "quicksale_database_transaction_duration_seconds_sum 30\nquicksale_database_transaction_duration_seconds_count 100\n";
        let found = limits(&[("order", "")], &[("order", slow)]);
        assert!(
            found[0].starts_with("The limit is mongodb: a transaction took 300 ms on average; "),
            "{found:?}"
        );
        let full = "quicksale_order_queue_refused_total{work=\"accept\"} 7\n";
        let found = limits(&[("order", "")], &[("order", full)]);
        assert!(
            found[0].starts_with("The limit is order: its queue was full, and 7 requests"),
            "{found:?}"
        );
        assert!(limits(&[("order", "")], &[("order", "")]).is_empty());
    }

    #[test]
    fn nobody_is_the_limit_where_nobody_looked() {
        let at = |second| Timestamp::from_second(second).unwrap();
        assert!(between(&[], at(0), at(10)).is_empty());
        assert!(between(&[look(100, &[])], at(0), at(10)).is_empty());
    }
}
