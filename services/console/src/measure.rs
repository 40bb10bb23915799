//! What the metrics of a sale's processes come to: rates, percentiles and levels, one number for the sale each.

use crate::scrape::{Sample, Target, Wanted};
use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

/// The most lanes, and the most products, that have a line of their own: those with the most lag, and units.
const MOST_OF_A_KIND: usize = 64;
/// How long a process that does not answer is remembered.
const FORGOTTEN: Duration = Duration::from_secs(60);

/// What a line in a chart is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Line {
    /// A number of the sale.
    Sale(String),
    /// The lag of a lane.
    Lane {
        /// Who reads.
        group: String,
        /// What.
        topic: String,
        /// Which part of it.
        partition: i32,
    },
    /// The units of a product that are left.
    Left {
        /// The product.
        sku: String,
    },
}

/// How the points of a minute become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gather {
    /// Their mean.
    Mean,
    /// The highest.
    Highest,
}

impl Line {
    fn sale(name: &str) -> Self {
        Self::Sale(name.to_owned())
    }

    /// How its points become one: of percentiles and ages the worst is what matters.
    pub fn gather(&self) -> Gather {
        match self {
            Self::Sale(name) if WORST.contains(&name.as_str()) => Gather::Highest,
            _ => Gather::Mean,
        }
    }
}

const WORST: [&str; 5] = [
    "orderP50",
    "orderP90",
    "orderP99",
    "eventLoopP99",
    "outboxOldestSeconds",
];

/// The numbers of a moment.
pub type Numbers = BTreeMap<Line, f64>;

/// A circuit between the gateways and a service.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Circuit {
    /// The service.
    pub service: String,
    /// Whether some gateway sends it nothing for the moment.
    pub open: bool,
}

const HTTP_BUCKET: &str = "quicksale_http_request_duration_seconds_bucket";
const HTTP_COUNT: &str = "quicksale_http_request_duration_seconds_count";
const LOOP_BUCKET: &str = "quicksale_event_loop_lag_seconds_bucket";
const ACCEPTED: &str = "quicksale_orders_accepted_total";
const ENDED: &str = "quicksale_orders_ended_total";
const REFUSED: &str = "quicksale_orders_refused_total";
const PENDING: &str = "quicksale_orders_pending";
const SOCKETS: &str = "quicksale_sockets";
const OUTBOX: &str = "quicksale_outbox_entries";
const OLDEST: &str = "quicksale_outbox_oldest_seconds";
const RELAYING: &str = "quicksale_outbox_relaying";
const LAG: &str = "quicksale_lane_lag";
const UNITS: &str = "quicksale_units";
const CIRCUIT: &str = "quicksale_gateway_circuit_open";

/// The series that are looked at here.
pub const WANTED: Wanted = Wanted {
    name: |name| {
        [
            HTTP_BUCKET,
            HTTP_COUNT,
            LOOP_BUCKET,
            ACCEPTED,
            ENDED,
            REFUSED,
            PENDING,
            SOCKETS,
            OUTBOX,
            OLDEST,
            RELAYING,
            LAG,
            UNITS,
            CIRCUIT,
        ]
        .contains(&name)
    },
    // Every service counts its requests, and those of the gateway are what buyers see.
    sample: |sample| match sample.name.as_str() {
        HTTP_COUNT => sample.label("service") == "gateway",
        HTTP_BUCKET => is_of_orders(sample),
        _ => true,
    },
};

/// Whether a series is about the answers to orders at the gateway.
fn is_of_orders(sample: &Sample) -> bool {
    sample.label("service") == "gateway"
        && sample.label("method") == "POST"
        && sample.label("route") == "/api/orders"
}

/// Follows the metrics of a sale's processes from scrape to scrape.
#[derive(Debug, Default)]
pub struct Meter {
    /// Where the counters of each process stood when it answered last.
    counters: HashMap<Target, (Instant, HashMap<Count, f64>)>,
}

/// What counters are added up for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Count {
    /// A rate.
    Rate(String),
    /// A bucket of the latency of orders, by its bound.
    Order(u64),
    /// A bucket of how late the event loop is.
    Loop(u64),
}

/// What one look at all processes has brought.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// The numbers of the moment.
    pub numbers: Numbers,
    /// The circuits.
    pub circuits: Vec<Circuit>,
}

impl Meter {
    /// What these scrapes come to. Of a process that has not answered for a minute, and of a new one, only levels are known; one that has
    /// missed a look is counted over the time since it answered last.
    pub fn measure(&mut self, scrapes: &[(Target, Vec<Sample>)], now: Instant) -> Measured {
        self.counters
            .retain(|_, (at, _)| now.duration_since(*at) < FORGOTTEN);
        let mut grown: HashMap<Count, f64> = HashMap::new();
        let mut rates: HashMap<String, f64> = HashMap::new();
        for (target, samples) in scrapes {
            let counters = counters(samples);
            if let Some((at, before)) = self.counters.get(target) {
                let seconds = now.duration_since(*at).as_secs_f64().max(0.001);
                for (count, value) in &counters {
                    // One that has begun anew counts from zero.
                    let from = before
                        .get(count)
                        .copied()
                        .filter(|from| from <= value)
                        .unwrap_or(0.0);
                    let by = value - from;
                    match count {
                        Count::Rate(name) => *rates.entry(name.clone()).or_default() += by / seconds,
                        bucket => *grown.entry(bucket.clone()).or_default() += by,
                    }
                }
            }
            self.counters.insert(target.clone(), (now, counters));
        }
        let mut numbers = levels(scrapes);
        numbers.extend(rates.into_iter().map(|(name, rate)| (Line::Sale(name), rate)));
        let (mut orders, mut delays) = (BTreeMap::new(), BTreeMap::new());
        for (count, by) in grown {
            match count {
                Count::Order(bound) => orders.insert(bound, by),
                Count::Loop(bound) => delays.insert(bound, by),
                Count::Rate(_) => None,
            };
        }
        // A status that was never answered has no series.
        if numbers.contains_key(&Line::sale("requests")) {
            numbers.entry(Line::sale("errors")).or_insert(0.0);
        }
        for (name, buckets, part) in [
            ("orderP50", &orders, 0.5),
            ("orderP90", &orders, 0.9),
            ("orderP99", &orders, 0.99),
            ("eventLoopP99", &delays, 0.99),
        ] {
            if let Some(value) = quantile(buckets, part) {
                numbers.insert(Line::sale(name), value);
            }
        }
        Measured {
            numbers,
            circuits: circuits(scrapes),
        }
    }
}

/// The counters of a process, those of the same meaning added up.
fn counters(samples: &[Sample]) -> HashMap<Count, f64> {
    let mut counters: HashMap<Count, f64> = HashMap::new();
    for sample in samples {
        for count in counts(sample) {
            *counters.entry(count).or_default() += sample.value;
        }
    }
    counters
}

fn counts(sample: &Sample) -> Vec<Count> {
    let rate = |name: &str| Count::Rate(name.to_owned());
    match sample.name.as_str() {
        ACCEPTED => vec![rate("accepted")],
        ENDED => vec![rate(&sample.label("status").to_lowercase())],
        REFUSED => vec![rate(&format!("refused.{}", sample.label("code")))],
        HTTP_COUNT if sample.label("service") == "gateway" => {
            let mut rates = vec![rate("requests")];
            if sample.label("status").starts_with('5') {
                rates.push(rate("errors"));
            }
            rates
        }
        HTTP_BUCKET if is_of_orders(sample) => bound(sample).map(Count::Order).into_iter().collect(),
        LOOP_BUCKET => bound(sample).map(Count::Loop).into_iter().collect(),
        _ => Vec::new(),
    }
}

/// The bound of a bucket in microseconds.
fn bound(sample: &Sample) -> Option<u64> {
    let bound: f64 = sample.label("le").parse().ok()?;
    if bound.is_infinite() {
        return Some(u64::MAX);
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "seconds of a histogram's bound"
    )]
    Some((bound * 1e6).round() as u64)
}

/// A quantile in seconds of buckets that each count what is below their bound, as Prometheus' `histogram_quantile` has it; `None` where
/// nothing was counted.
#[expect(clippy::cast_precision_loss, reason = "bounds are below an hour")]
fn quantile(buckets: &BTreeMap<u64, f64>, part: f64) -> Option<f64> {
    let all = *buckets.get(&u64::MAX)?;
    if all <= 0.0 {
        return None;
    }
    let wanted = all * part;
    let (mut low, mut below) = (0.0, 0.0);
    for (bound, count) in buckets {
        if *bound == u64::MAX {
            break;
        }
        let high = *bound as f64 / 1e6;
        if *count >= wanted {
            let inside = count - below;
            let share = if inside > 0.0 {
                (wanted - below) / inside
            } else {
                0.0
            };
            return Some(low + (high - low) * share);
        }
        (low, below) = (high, *count);
    }
    Some(low)
}

/// What stands at some level now.
fn levels(scrapes: &[(Target, Vec<Sample>)]) -> Numbers {
    let mut numbers = Numbers::new();
    let (mut lanes, mut left) = (Numbers::new(), Numbers::new());
    // A relay that has gone over to another process still shows what it knew last for a moment.
    let relays = |samples: &[Sample]| samples.iter().any(|one| one.name == RELAYING && one.value > 0.0);
    for (_, samples) in scrapes {
        let is_relay = relays(samples);
        for sample in samples.iter().filter(|sample| sample.value.is_finite()) {
            let at_least = |numbers: &mut Numbers, line: Line| {
                let known = numbers.entry(line).or_insert(sample.value);
                *known = known.max(sample.value);
            };
            match sample.name.as_str() {
                PENDING => at_least(&mut numbers, Line::sale("pending")),
                OUTBOX if is_relay => at_least(&mut numbers, Line::sale("outboxEntries")),
                OLDEST if is_relay => at_least(&mut numbers, Line::sale("outboxOldestSeconds")),
                SOCKETS => *numbers.entry(Line::sale("sockets")).or_default() += sample.value,
                LAG if is_relay => {
                    let partition = sample.label("partition").parse().unwrap_or(-1);
                    let (group, topic) = (sample.label("group").to_owned(), sample.label("topic").to_owned());
                    at_least(
                        &mut lanes,
                        Line::Lane {
                            group,
                            topic,
                            partition,
                        },
                    );
                }
                UNITS => {
                    let state = sample.label("state");
                    if ["available", "reserved", "sold"].contains(&state) {
                        *numbers.entry(Line::sale(state)).or_default() += sample.value;
                    }
                    if state == "available" {
                        let sku = sample.label("sku").to_owned();
                        at_least(&mut left, Line::Left { sku });
                    }
                }
                _ => {}
            }
        }
    }
    if !lanes.is_empty() {
        numbers.insert(Line::sale("lag"), lanes.values().sum());
    }
    numbers.extend(highest(lanes));
    numbers.extend(highest(left));
    numbers
}

/// Those of the highest values.
fn highest(numbers: Numbers) -> impl Iterator<Item = (Line, f64)> {
    let mut numbers: Vec<_> = numbers.into_iter().collect();
    numbers.sort_by(|(_, one), (_, other)| other.total_cmp(one));
    numbers.into_iter().take(MOST_OF_A_KIND)
}

fn circuits(scrapes: &[(Target, Vec<Sample>)]) -> Vec<Circuit> {
    let mut circuits: BTreeMap<&str, bool> = BTreeMap::new();
    let samples = scrapes.iter().flat_map(|(_, samples)| samples);
    for sample in samples.filter(|sample| sample.name == CIRCUIT) {
        *circuits.entry(sample.label("service")).or_default() |= sample.value > 0.0;
    }
    let circuit = |(service, open): (&str, bool)| Circuit {
        service: service.to_owned(),
        open,
    };
    circuits.into_iter().map(circuit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(name: &str) -> Target {
        Target {
            component: "gateway".to_owned(),
            name: name.to_owned(),
            url: "http://127.0.0.1:9090/metrics".parse().unwrap(),
        }
    }

    /// So many seconds after some moment.
    fn after(seconds: u64) -> Instant {
        static BEGIN: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
        *BEGIN + Duration::from_secs(seconds)
    }

    fn sample(name: &str, labels: &[(&str, &str)], value: f64) -> Sample {
        let labels = labels
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Sample {
            name: name.to_owned(),
            labels: labels.collect(),
            value,
        }
    }

    fn number(measured: &Measured, name: &str) -> Option<f64> {
        measured.numbers.get(&Line::sale(name)).copied()
    }

    #[test]
    fn rates_are_those_of_all_processes_whoever_begins_anew() {
        let mut meter = Meter::default();
        let accepted = |value| vec![sample(ACCEPTED, &[], value)];
        let first = meter.measure(
            &[(target("a"), accepted(100.0)), (target("b"), accepted(50.0))],
            after(5),
        );
        assert_eq!(number(&first, "accepted"), None, "nobody knows since when");
        let second = meter.measure(
            &[(target("a"), accepted(110.0)), (target("b"), accepted(5.0))],
            after(10),
        );
        assert_eq!(
            number(&second, "accepted"),
            Some(3.0),
            "10 and, from zero, 5 in 5 s"
        );
        // What a process has counted while it did not answer is spread over that time.
        let alone = meter.measure(&[(target("b"), accepted(5.0))], after(15));
        assert_eq!(number(&alone, "accepted"), Some(0.0));
        let back = meter.measure(
            &[(target("a"), accepted(130.0)), (target("b"), accepted(5.0))],
            after(20),
        );
        assert_eq!(number(&back, "accepted"), Some(2.0), "20 in 10 s");
        // One that is new counts from the next look on, one that is gone no more.
        let third = meter.measure(
            &[(target("a"), accepted(130.0)), (target("c"), accepted(1_000.0))],
            after(25),
        );
        assert_eq!(number(&third, "accepted"), Some(0.0));
    }

    #[test]
    fn where_requests_are_counted_no_errors_are_none() {
        let mut meter = Meter::default();
        let requests =
            |status, value| sample(HTTP_COUNT, &[("service", "gateway"), ("status", status)], value);
        meter.measure(&[(target("a"), vec![requests("200", 1.0)])], after(5));
        let good = meter.measure(&[(target("a"), vec![requests("200", 6.0)])], after(10));
        assert_eq!(
            (number(&good, "requests"), number(&good, "errors")),
            (Some(1.0), Some(0.0))
        );
        let bad = meter.measure(
            &[(target("a"), vec![requests("200", 6.0), requests("503", 5.0)])],
            after(15),
        );
        assert_eq!(number(&bad, "errors"), Some(1.0));
    }

    #[test]
    fn percentiles_are_of_what_has_come_since_the_last_look() {
        let mut meter = Meter::default();
        let labels = |le: &'static str| {
            [
                ("service", "gateway"),
                ("method", "POST"),
                ("route", "/api/orders"),
                ("le", le),
            ]
        };
        let page = |fast: f64, slow: f64| {
            vec![
                sample(HTTP_BUCKET, &labels("0.01"), fast),
                sample(HTTP_BUCKET, &labels("0.1"), fast + slow),
                sample(HTTP_BUCKET, &labels("+Inf"), fast + slow),
            ]
        };
        meter.measure(&[(target("a"), page(1_000.0, 0.0))], after(5));
        let measured = meter.measure(&[(target("a"), page(1_000.0, 100.0))], after(10));
        let p50 = number(&measured, "orderP50").unwrap();
        assert!((p50 - 0.055).abs() < 1e-9, "{p50}: half-way from 10 to 100 ms");
        let idle = meter.measure(&[(target("a"), page(1_000.0, 100.0))], after(15));
        assert_eq!(
            number(&idle, "orderP99"),
            None,
            "nothing came, so nothing is known"
        );
    }

    #[test]
    fn what_only_the_relay_knows_is_taken_from_the_relay() {
        let lag = |value| {
            sample(
                LAG,
                &[
                    ("group", "order"),
                    ("topic", "inventory.result"),
                    ("partition", "3"),
                ],
                value,
            )
        };
        let old = vec![sample(RELAYING, &[], 0.0), sample(OUTBOX, &[], 900.0), lag(70.0)];
        let new = vec![sample(RELAYING, &[], 1.0), sample(OUTBOX, &[], 2.0), lag(7.0)];
        let measured = Meter::default().measure(&[(target("old"), old), (target("new"), new)], after(5));
        assert_eq!(number(&measured, "outboxEntries"), Some(2.0));
        assert_eq!(number(&measured, "lag"), Some(7.0));
        let lane = Line::Lane {
            group: "order".to_owned(),
            topic: "inventory.result".to_owned(),
            partition: 3,
        };
        assert_eq!(measured.numbers.get(&lane), Some(&7.0));
    }

    #[test]
    fn units_are_added_up_and_a_circuit_is_open_where_one_gateway_says_so() {
        let units = |sku, state, value| sample(UNITS, &[("sku", sku), ("state", state)], value);
        let circuit = |value| sample(CIRCUIT, &[("service", "order")], value);
        let one = vec![
            units("A", "available", 5.0),
            units("B", "available", 2.0),
            units("A", "sold", 1.0),
            circuit(0.0),
        ];
        let measured =
            Meter::default().measure(&[(target("a"), one), (target("b"), vec![circuit(1.0)])], after(5));
        assert_eq!(number(&measured, "available"), Some(7.0));
        assert_eq!(number(&measured, "sold"), Some(1.0));
        assert_eq!(
            measured.numbers.get(&Line::Left { sku: "B".to_owned() }),
            Some(&2.0)
        );
        let open = Circuit {
            service: "order".to_owned(),
            open: true,
        };
        assert_eq!(measured.circuits, [open]);
    }
}
