//! What came of a scenario, as JSON and as a table.

use crate::{
    environment::Environment,
    load::{Shot, Verdict},
    memory::{self, Memory},
    processes::{Usage, is_whole},
    scenario::Scenario,
    settle::Course,
    stages::{self, Took},
};
use anyhow::Context;
use hdrhistogram::Histogram;
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt::Write,
    path::Path,
    time::{Duration, Instant},
};

/// The figures of one scenario. Rates count from the first order's intended start: of answers to the last answer, of
/// confirmations to the last confirmation. CPU is everything from the first order until the last one is settled.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Figures {
    /// The scenario.
    pub(crate) name: &'static str,
    accepted_per_s: f64,
    /// Orders confirmed in a second.
    pub(crate) confirmed_per_s: f64,
    refused_per_s: f64,
    accept_p50_ms: Option<f64>,
    accept_p99_ms: Option<f64>,
    refuse_p50_ms: Option<f64>,
    refuse_p99_ms: Option<f64>,
    terminal_p50_ms: Option<f64>,
    terminal_p99_ms: Option<f64>,
    /// CPU seconds for a thousand orders, accepted or not, by process.
    cpu_s_per_1000: BTreeMap<String, f64>,
    /// Resident memory at the end, by process.
    rss_mb: BTreeMap<String, f64>,
    /// What the backends have counted for each order, accepted or not.
    counts_per_order: BTreeMap<&'static str, f64>,
    stock: u32,
    orders: usize,
    accepted: usize,
    confirmed: i64,
    /// Orders that were not accepted, by the code of the answer; without a clean answer, by what happened.
    not_accepted: BTreeMap<String, usize>,
    /// Orders whose time to terminal was measured.
    terminal_sample: u64,
    /// Where their time went.
    stages: Vec<Took>,
    /// What the services had in memory.
    memory: Memory,
}

/// What was observed of a scenario.
#[derive(Debug)]
pub(crate) struct Observed<'a> {
    /// The scenario.
    pub(crate) scenario: Scenario,
    /// Every order.
    pub(crate) shots: &'a [Shot],
    /// When the orders of waiting buyers ended.
    pub(crate) ends: &'a HashMap<usize, Instant>,
    /// The product.
    pub(crate) course: &'a Course,
    /// Processes before the first order.
    pub(crate) before: &'a BTreeMap<String, Usage>,
    /// Processes after the last was settled.
    pub(crate) after: &'a BTreeMap<String, Usage>,
    /// What the backends have counted for each order.
    pub(crate) counts: BTreeMap<&'static str, f64>,
    /// Where the time of orders went.
    pub(crate) stages: Vec<Took>,
    /// What the services had in memory.
    pub(crate) memory: Memory,
}

impl Observed<'_> {
    /// The figures.
    pub(crate) fn figures(&self) -> anyhow::Result<Figures> {
        let first = self
            .shots
            .iter()
            .map(|shot| shot.intended)
            .min()
            .context("no order was fired")?;
        let last = self.shots.iter().map(|shot| shot.answered).max().unwrap_or(first);
        let (mut accept, mut refuse, mut terminal) = (latencies()?, latencies()?, latencies()?);
        let mut not_accepted = BTreeMap::new();
        let mut refused = 0;
        for shot in self.shots {
            let latency = micros(shot.answered - shot.intended);
            match &shot.verdict {
                Verdict::Accepted => accept.saturating_record(latency),
                Verdict::Refused(code) => {
                    refused += 1;
                    refuse.saturating_record(latency);
                    *not_accepted.entry(code.clone()).or_default() += 1;
                }
                Verdict::Unknown(why) => *not_accepted.entry(why.clone()).or_default() += 1,
            }
            if let (Verdict::Accepted, Some(end)) = (&shot.verdict, self.ends.get(&shot.buyer)) {
                terminal.saturating_record(micros(end.saturating_duration_since(shot.intended)));
            }
        }
        let accepted = usize::try_from(accept.len())?;
        let orders = self.shots.len();
        Ok(Figures {
            name: self.scenario.label,
            accepted_per_s: rate(accepted, last - first),
            confirmed_per_s: self
                .course
                .last_sold
                .map_or(0.0, |at| rate(self.course.sold, at - first)),
            refused_per_s: rate(refused, last - first),
            accept_p50_ms: quantile(&accept, 0.5),
            accept_p99_ms: quantile(&accept, 0.99),
            refuse_p50_ms: quantile(&refuse, 0.5),
            refuse_p99_ms: quantile(&refuse, 0.99),
            terminal_p50_ms: quantile(&terminal, 0.5),
            terminal_p99_ms: quantile(&terminal, 0.99),
            cpu_s_per_1000: self.cpu(orders),
            rss_mb: self
                .after
                .iter()
                .map(|(name, usage)| (name.clone(), rounded(usage.rss_mb)))
                .collect(),
            counts_per_order: self
                .counts
                .iter()
                .map(|(name, count)| (*name, (count * 1_000.0).round() / 1_000.0))
                .collect(),
            stock: self.scenario.stock,
            orders,
            accepted,
            confirmed: self.course.sold,
            not_accepted,
            terminal_sample: terminal.len(),
            stages: self.stages.clone(),
            memory: self.memory.clone(),
        })
    }

    fn cpu(&self, orders: usize) -> BTreeMap<String, f64> {
        let spent = |(name, after): (&String, &Usage)| {
            let before = self.before.get(name).copied().unwrap_or_default();
            let seconds = (after.cpu_seconds - before.cpu_seconds) * 1_000.0 / orders as f64;
            (name.clone(), (seconds * 10_000.0).round() / 10_000.0)
        };
        self.after.iter().map(spent).collect()
    }
}

/// From a microsecond to two minutes, to three digits.
fn latencies() -> anyhow::Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, 120_000_000, 3)?)
}

fn micros(latency: Duration) -> u64 {
    u64::try_from(latency.as_micros()).unwrap_or(u64::MAX).max(1)
}

fn quantile(histogram: &Histogram<u64>, quantile: f64) -> Option<f64> {
    (!histogram.is_empty()).then(|| rounded(histogram.value_at_quantile(quantile) as f64 / 1_000.0))
}

fn rate(count: impl TryInto<u64>, time: Duration) -> f64 {
    let count = count.try_into().unwrap_or(0) as f64;
    if time.is_zero() {
        0.0
    } else {
        rounded(count / time.as_secs_f64())
    }
}

fn rounded(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}

/// Writes `results.json` and `environment.json`.
pub(crate) fn write(dir: &Path, figures: &[Figures], environment: &Environment) -> anyhow::Result<()> {
    std::fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let put = |name: &str, json: String| {
        let path = dir.join(name);
        std::fs::write(&path, json + "\n").with_context(|| format!("cannot write {}", path.display()))
    };
    put("results.json", serde_json::to_string_pretty(figures)?)?;
    put("environment.json", serde_json::to_string_pretty(environment)?)
}

/// A scenario in a line, for who waits for the others.
pub(crate) fn line(f: &Figures) -> String {
    let cpu = |name: &str| f.cpu_s_per_1000.get(name).copied().unwrap_or_default();
    format!(
        "{}: accepted {:.0}/s, confirmed {:.0}/s, refused {:.0}/s; CPU s per 1,000: quicksale {:.3}, mongodb {:.3}, all {:.3}",
        f.name,
        f.accepted_per_s,
        f.confirmed_per_s,
        f.refused_per_s,
        cpu("quicksale"),
        cpu("mongodb"),
        f.cpu_s_per_1000
            .iter()
            .filter(|(name, _)| is_whole(name))
            .map(|(_, cpu)| cpu)
            .sum::<f64>()
    )
}

/// The figures as two Markdown tables: the scenarios, and their processes.
pub(crate) fn table(figures: &[Figures]) -> String {
    let ms = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.1}"));
    let mut text = String::from(
        "| scenario | orders | accepted/s | confirmed/s | refused/s | accept p50 / p99 ms | refuse p50 / p99 ms \
         | terminal p50 / p99 ms (n) |\n|---|---|---|---|---|---|---|---|\n",
    );
    for f in figures {
        let _infallible = writeln!(
            text,
            "| {} | {} | {:.0} | {:.0} | {:.0} | {} / {} | {} / {} | {} / {} ({}) |",
            f.name,
            f.orders,
            f.accepted_per_s,
            f.confirmed_per_s,
            f.refused_per_s,
            ms(f.accept_p50_ms),
            ms(f.accept_p99_ms),
            ms(f.refuse_p50_ms),
            ms(f.refuse_p99_ms),
            ms(f.terminal_p50_ms),
            ms(f.terminal_p99_ms),
            f.terminal_sample,
        );
    }
    text.push_str("\n| scenario | process | CPU s per 1,000 orders | RSS MB |\n|---|---|---|---|\n");
    for f in figures {
        for (process, cpu) in &f.cpu_s_per_1000 {
            let rss = f.rss_mb.get(process).copied().unwrap_or_default();
            let _infallible = writeln!(text, "| {} | {process} | {cpu:.3} | {rss:.0} |", f.name);
        }
    }
    let names: BTreeSet<&str> = figures
        .iter()
        .flat_map(|f| f.counts_per_order.keys().copied())
        .collect();
    if !names.is_empty() {
        text.push_str("\n| for each order |");
        for f in figures {
            let _infallible = write!(text, " {} |", f.name);
        }
        text.push_str("\n|---|");
        text.push_str(&"---|".repeat(figures.len()));
        for name in names {
            let _infallible = write!(text, "\n| {name} |");
            for f in figures {
                let count = f.counts_per_order.get(name).copied().unwrap_or_default();
                let _infallible = write!(text, " {count:.2} |");
            }
        }
        text.push('\n');
    }
    text.push('\n');
    text.push_str(&memory::table(figures.iter().map(|f| (f.name, &f.memory))));
    if figures.iter().any(|f| !f.stages.is_empty()) {
        text.push('\n');
        let scenarios: Vec<_> = figures.iter().map(|f| (f.name, f.stages.as_slice())).collect();
        text.push_str(&stages::table(&scenarios));
    }
    for f in figures.iter().filter(|f| !f.not_accepted.is_empty()) {
        let _infallible = writeln!(text, "\n{}: not accepted {:?}", f.name, f.not_accepted);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{options::Options, scenario};
    use clap::Parser;

    #[test]
    fn figures_count_from_the_intended_start() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let shot = |buyer, intended, answered, verdict| Shot {
            buyer,
            intended: at(intended),
            answered: at(answered),
            verdict,
        };
        let shots = [
            shot(0, 0, 10, Verdict::Accepted),
            shot(1, 500, 530, Verdict::Accepted),
            shot(2, 900, 1_000, Verdict::Refused("sold_out".to_owned())),
        ];
        let course = Course {
            sold: 2,
            last_sold: Some(at(2_000)),
            ..Course::default()
        };
        let (before, after) = (
            BTreeMap::from([(
                "kafka".to_owned(),
                Usage {
                    cpu_seconds: 5.0,
                    rss_mb: 1.0,
                },
            )]),
            BTreeMap::from([(
                "kafka".to_owned(),
                Usage {
                    cpu_seconds: 5.3,
                    rss_mb: 2.0,
                },
            )]),
        );
        let observed = Observed {
            scenario: Scenario {
                label: "sold-out",
                stock: 2,
                ..scenario::warm_up(&Options::parse_from(["bench", "--keys", "keys"]))
            },
            shots: &shots,
            ends: &HashMap::from([(1, at(700)), (2, at(5_000))]),
            course: &course,
            before: &before,
            after: &after,
            counts: BTreeMap::from([("look-ups", 14.38)]),
            stages: Vec::new(),
            memory: Memory::default(),
        };
        let figures = observed.figures().unwrap();
        assert_eq!(
            (
                figures.accepted_per_s,
                figures.refused_per_s,
                figures.confirmed_per_s
            ),
            (2.0, 1.0, 1.0)
        );
        assert_eq!(
            (figures.terminal_sample, figures.terminal_p50_ms),
            (1, Some(200.1))
        );
        assert_eq!(figures.cpu_s_per_1000["kafka"], 100.0);
        assert_eq!(figures.not_accepted["sold_out"], 1);
        let json = serde_json::to_value(&figures).unwrap();
        for key in [
            "name",
            "accept_p50_ms",
            "accept_p99_ms",
            "terminal_p99_ms",
            "cpu_s_per_1000",
            "rss_mb",
        ] {
            assert!(json.get(key).is_some(), "{key}");
        }
        let table = table(&[figures]);
        assert!(table.contains("| sold-out | 3 | 2 | 1 | 1 |") && table.contains("| look-ups | 14.38 |"));
    }
}
