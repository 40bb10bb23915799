//! What the services have counted themselves: their `/metrics`, added up over all processes.

use crate::client::Client;
use std::{collections::HashMap, net::SocketAddr};

/// Values by series, as text: the name with its labels.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Metrics(HashMap<String, f64>);

/// Which of the series of one name, by one of their labels.
pub(crate) type Label<'a> = (&'a str, &'a str);

/// What was observed of something.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Histogram {
    count: f64,
    sum: f64,
    /// Bounds, each with how many were no more than that; in order.
    buckets: Vec<(f64, f64)>,
}

impl Metrics {
    /// Of these processes.
    pub(crate) async fn read(client: &Client, processes: &[SocketAddr]) -> anyhow::Result<Self> {
        let mut all = Self::default();
        for address in processes {
            all.add(&client.text(format!("http://{address}/metrics")).await?);
        }
        Ok(all)
    }

    fn add(&mut self, text: &str) {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        for (series, value) in lines.filter_map(|line| line.rsplit_once(' ')) {
            if let Ok(value) = value.parse::<f64>() {
                *self.0.entry(series.to_owned()).or_default() += value;
            }
        }
    }

    /// By how much each has grown.
    #[must_use]
    pub(crate) fn since(&self, before: &Self) -> Self {
        let grown = |(series, now): (&String, &f64)| {
            let then = before.0.get(series).copied().unwrap_or_default();
            (series.clone(), now - then)
        };
        Self(self.0.iter().map(grown).collect())
    }

    /// The sum of the series of a name which have these labels.
    pub(crate) fn sum(&self, name: &str, labels: &[Label<'_>]) -> f64 {
        self.series(name, labels).map(|(_, value)| value).sum()
    }

    /// Whether there are any.
    pub(crate) fn has(&self, name: &str, labels: &[Label<'_>]) -> bool {
        self.series(name, labels).next().is_some()
    }

    /// The histogram of a name, over all of its series which have these labels.
    pub(crate) fn histogram(&self, name: &str, labels: &[Label<'_>]) -> Histogram {
        let mut buckets: Vec<(f64, f64)> = Vec::new();
        for (series, below) in self.series(&format!("{name}_bucket"), labels) {
            let Some(bound) = label(series, "le").and_then(bound) else {
                continue;
            };
            match buckets.iter_mut().find(|(known, _)| *known == bound) {
                Some((_, sum)) => *sum += below,
                None => buckets.push((bound, below)),
            }
        }
        buckets.sort_by(|(one, _), (other, _)| one.total_cmp(other));
        Histogram {
            count: self.sum(&format!("{name}_count"), labels),
            sum: self.sum(&format!("{name}_sum"), labels),
            buckets,
        }
    }

    fn series<'a>(&'a self, name: &'a str, labels: &'a [Label<'a>]) -> impl Iterator<Item = (&'a str, f64)> {
        let is_meant = move |series: &str| {
            let (own, _) = series.split_once('{').unwrap_or((series, ""));
            own == name
                && labels
                    .iter()
                    .all(|(key, value)| label(series, key) == Some(value))
        };
        let all = self.0.iter().map(|(series, value)| (series.as_str(), *value));
        all.filter(move |(series, _)| is_meant(series))
    }
}

impl Histogram {
    /// How many were observed.
    pub(crate) fn count(&self) -> f64 {
        self.count
    }

    /// Their mean, if there are any.
    pub(crate) fn mean(&self) -> Option<f64> {
        (self.count > 0.0).then(|| self.sum / self.count)
    }

    /// What so many of them did not exceed, as far as buckets tell: inside of one it is taken that they are spread evenly, and beyond the last
    /// bound nothing is known.
    pub(crate) fn quantile(&self, quantile: f64) -> Option<f64> {
        if self.count <= 0.0 {
            return None;
        }
        let rank = quantile * self.count;
        let (mut lower, mut before) = (0.0, 0.0);
        for (bound, below) in &self.buckets {
            if *below >= rank && bound.is_finite() {
                let inside = below - before;
                let part = if inside > 0.0 {
                    (rank - before) / inside
                } else {
                    1.0
                };
                return Some(lower + (bound - lower) * part);
            }
            if bound.is_finite() {
                (lower, before) = (*bound, *below);
            }
        }
        Some(lower)
    }
}

/// The value of a label. None of ours has a quote in it.
fn label<'a>(series: &'a str, key: &str) -> Option<&'a str> {
    let (_, labels) = series.split_once('{')?;
    labels.trim_end_matches('}').split("\",").find_map(|pair| {
        let (name, value) = pair.split_once("=\"")?;
        (name == key).then(|| value.trim_end_matches('"'))
    })
}

fn bound(text: &str) -> Option<f64> {
    match text {
        "+Inf" => Some(f64::INFINITY),
        number => number.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = "# HELP wait_seconds Seconds.\nrequests_total{request=\"fetch\"} 5\n";
    const AFTER: &str = "requests_total{request=\"fetch\"} 7\nrequests_total{request=\"produce\",by=\"me\"} 4\nrequests_total_of_others 9\n\
        wait_seconds_bucket{work=\"accept\",le=\"0.1\"} 50\nwait_seconds_bucket{work=\"accept\",le=\"0.2\"} 90\n\
        wait_seconds_bucket{work=\"accept\",le=\"+Inf\"} 100\nwait_seconds_sum{work=\"accept\"} 20\nwait_seconds_count{work=\"accept\"} 100\n\
        wait_seconds_bucket{work=\"decide\",le=\"0.1\"} 1\nwait_seconds_sum{work=\"decide\"} 0.1\nwait_seconds_count{work=\"decide\"} 1\n";

    fn metrics(texts: &[&str]) -> Metrics {
        let mut all = Metrics::default();
        for text in texts {
            all.add(text);
        }
        all
    }

    #[test]
    fn processes_are_added_up_and_what_was_before_is_taken_away() {
        let grown = metrics(&[AFTER, AFTER]).since(&metrics(&[BEFORE]));
        assert_eq!(grown.sum("requests_total", &[("request", "fetch")]), 9.0);
        assert_eq!(grown.sum("requests_total", &[("request", "produce")]), 8.0);
        assert_eq!(grown.sum("requests_total", &[]), 17.0);
        assert_eq!(grown.sum("requests_total", &[("request", "commit")]), 0.0);
        assert!(grown.has("requests_total", &[]) && !grown.has("requests_total", &[("request", "commit")]));
    }

    #[test]
    fn a_histogram_has_a_mean_and_estimates_of_what_most_did_not_exceed() {
        let of = |labels: &[Label<'_>]| metrics(&[AFTER]).histogram("wait_seconds", labels);
        let accept = of(&[("work", "accept")]);
        assert_eq!((accept.count(), accept.mean()), (100.0, Some(0.2)));
        let near = |quantile, expected: f64| {
            let estimate = accept.quantile(quantile).unwrap();
            assert!((estimate - expected).abs() < 1e-9, "{quantile}: {estimate}");
        };
        near(0.5, 0.1);
        near(0.7, 0.15);
        near(0.99, 0.2);
        assert_eq!(of(&[]).count(), 101.0);
        assert_eq!(of(&[("work", "rest")]).mean(), None);
        assert_eq!(of(&[("work", "rest")]).quantile(0.5), None);
    }
}
