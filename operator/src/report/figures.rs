//! What the processes of a sale have counted, read from the text of their `/metrics` and added up.

use serde::Serialize;
use std::collections::BTreeMap;

/// Requests that were answered, by time: of each bound how many took no longer.
#[derive(Debug, Clone, Default, PartialEq)]
struct Histogram {
    /// Seconds as they are written, with how many were at most that.
    buckets: BTreeMap<Bound, u64>,
}

/// The upper bound of a bucket, in seconds; ordered as numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Bound(f64);

impl Eq for Bound {}

impl PartialOrd for Bound {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Bound {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

/// How long something took, as far as a histogram knows: each part took no longer than so many seconds, `null` for longer than the
/// longest bound.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Times {
    /// How many there were.
    pub count: u64,
    /// Half of them.
    pub p50_at_most_seconds: Option<f64>,
    /// Nine of ten.
    pub p90_at_most_seconds: Option<f64>,
    /// All but one of a hundred.
    pub p99_at_most_seconds: Option<f64>,
}

impl Histogram {
    fn times(&self) -> Option<Times> {
        let (_, count) = self.buckets.last_key_value()?;
        let within = |percent: u64| {
            let needed = (count * percent).div_ceil(100);
            let (bound, _) = self.buckets.iter().find(|(_, up_to)| **up_to >= needed)?;
            bound.0.is_finite().then_some(bound.0)
        };
        (*count > 0).then(|| Times {
            count: *count,
            p50_at_most_seconds: within(50),
            p90_at_most_seconds: within(90),
            p99_at_most_seconds: within(99),
        })
    }
}

/// Numbers of all processes that were asked, since each of them started.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Figures {
    /// Orders that gateways refused, by the code of the answer.
    pub refused: BTreeMap<String, u64>,
    /// Counters of what went wrong, by their metric.
    pub troubles: BTreeMap<&'static str, u64>,
    accepts: Histogram,
    ends: Histogram,
}

/// What goes wrong and is put right by itself, by its metric.
pub const TROUBLES: [&str; 7] = [
    "quicksale_lane_batches_overdue_total",
    "quicksale_lane_losses_total",
    "quicksale_dead_letters_total",
    "quicksale_gate_corrections_total",
    "quicksale_orders_asked_again_total",
    "quicksale_gateway_circuit_refused_total",
    "quicksale_order_queue_refused_total",
];

impl Figures {
    /// Adds what one process has counted.
    pub fn add(&mut self, text: &str) {
        for sample in samples(text) {
            let count = sample.count();
            let label = |name: &str| sample.label(name);
            match sample.name {
                "quicksale_orders_refused_total" => {
                    let code = label("code").unwrap_or_default().to_owned();
                    *self.refused.entry(code).or_default() += count;
                }
                "quicksale_http_request_duration_seconds_bucket"
                    if label("service") == Some("gateway")
                        && label("route") == Some("/api/orders")
                        && label("method") == Some("POST")
                        && label("status") == Some("201") =>
                {
                    self.accepts.add(&sample);
                }
                "quicksale_order_end_duration_seconds_bucket" if label("status") == Some("CONFIRMED") => {
                    self.ends.add(&sample);
                }
                name => {
                    if let Some(trouble) = TROUBLES.iter().find(|trouble| **trouble == name) {
                        *self.troubles.entry(trouble).or_default() += count;
                    }
                }
            }
        }
    }

    /// How long orders took that were accepted, from their arrival at a gateway to the answer.
    pub fn accepts(&self) -> Option<Times> {
        self.accepts.times()
    }

    /// How long orders took from their acceptance until they were confirmed.
    pub fn confirmations(&self) -> Option<Times> {
        self.ends.times()
    }
}

impl Histogram {
    fn add(&mut self, sample: &Sample<'_>) {
        let bound = sample.label("le").and_then(|bound| match bound {
            "+Inf" => Some(f64::INFINITY),
            bound => bound.parse().ok(),
        });
        if let Some(bound) = bound {
            *self.buckets.entry(Bound(bound)).or_default() += sample.count();
        }
    }
}

/// What a process says, line by line.
pub fn samples(text: &str) -> impl Iterator<Item = Sample<'_>> {
    text.lines().filter_map(Sample::read)
}

/// A line of the text format.
#[derive(Debug)]
pub struct Sample<'a> {
    /// The metric, with the suffix of its part.
    pub name: &'a str,
    labels: &'a str,
    /// Its value.
    pub value: f64,
}

impl<'a> Sample<'a> {
    /// Reads it; `None` for comments and for what is no sample.
    fn read(line: &'a str) -> Option<Self> {
        if line.starts_with('#') {
            return None;
        }
        let (series, value) = line.trim_end().rsplit_once(' ')?;
        let (name, labels) = match series.split_once('{') {
            Some((name, labels)) => (name, labels.strip_suffix('}')?),
            None => (series, ""),
        };
        Some(Self {
            name,
            labels,
            value: value.parse().ok()?,
        })
    }

    /// A label's value. Those that are read here have no character that would be escaped.
    fn label(&self, name: &str) -> Option<&'a str> {
        self.labels.split("\",").find_map(|pair| {
            let (key, value) = pair.split_once("=\"")?;
            (key == name).then(|| value.trim_end_matches('"'))
        })
    }

    /// As a count; a counter is a whole number that is never negative.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a counter of this size would take centuries"
    )]
    fn count(&self) -> u64 {
        self.value.max(0.0) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_processes_have_counted_is_added_up() {
        let bucket = |le: &str, n: u32| {
            format!(
                "quicksale_http_request_duration_seconds_bucket{{method=\"POST\",route=\"/api/orders\",service=\"gateway\",\
                 status=\"201\",le=\"{le}\"}} {n}\n"
            )
        };
        let text = format!(
            "# TYPE x counter\nquicksale_orders_refused_total{{code=\"sold_out\"}} 7\nquicksale_lane_losses_total{{cause=\"unread\",\
             group=\"order\"}} 2\nother_total 9\n{}{}{}{}",
            bucket("0.005", 50),
            bucket("0.025", 90),
            bucket("0.1", 98),
            bucket("+Inf", 100),
        );
        let mut figures = Figures::default();
        figures.add(&text);
        figures.add("quicksale_orders_refused_total{code=\"sold_out\"} 3\nbroken line {\n");
        assert_eq!(figures.refused, BTreeMap::from([("sold_out".to_owned(), 10)]));
        assert_eq!(
            figures.troubles,
            BTreeMap::from([("quicksale_lane_losses_total", 2)])
        );
        let expected = Times {
            count: 100,
            p50_at_most_seconds: Some(0.005),
            p90_at_most_seconds: Some(0.025),
            p99_at_most_seconds: None,
        };
        assert_eq!(figures.accepts(), Some(expected));
        assert_eq!(figures.confirmations(), None);
    }
}
