//! Reads what a process shows of itself: the text format of Prometheus.

use std::{collections::HashMap, time::Duration};
use url::Url;

/// How long a process has for its metrics.
const PATIENCE: Duration = Duration::from_secs(2);
/// The most that is read of one, in bytes.
const MOST: usize = 4 * 1024 * 1024;
/// The most samples that are kept of one: some hundred are wanted.
const MOST_SAMPLES: usize = 5_000;

/// Where the metrics of a process are.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Target {
    /// What it is.
    pub component: String,
    /// Its name.
    pub name: String,
    /// `http://…/metrics`
    pub url: Url,
}

/// One line of a scrape.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// The series' name, such as `quicksale_orders_accepted_total`.
    pub name: String,
    /// Its labels.
    pub labels: HashMap<String, String>,
    /// Its value.
    pub value: f64,
}

impl Sample {
    /// A label, empty where there is none of that name.
    pub fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }
}

/// Which series are kept: by their names, which is quick, and then by their labels.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// Whether series of a name are looked at.
    pub name: fn(&str) -> bool,
    /// Whether one of them is kept.
    pub sample: fn(&Sample) -> bool,
}

/// Why there are none.
#[derive(Debug, thiserror::Error)]
pub enum ScrapeError {
    /// No answer, or no good one.
    #[error("{0}")]
    Http(#[from] reqwest::Error),
    /// It has no end.
    #[error("the metrics have more than {MOST} bytes")]
    TooLarge,
}

/// Asks processes for their metrics.
#[derive(Debug, Clone)]
pub struct Scraper(reqwest::Client);

impl Scraper {
    /// One that has asked nobody yet.
    ///
    /// # Errors
    /// When there can be no HTTP client.
    pub fn new() -> Result<Self, reqwest::Error> {
        // A proxy that leads out knows no pods.
        let client = reqwest::Client::builder().timeout(PATIENCE).no_proxy();
        Ok(Self(client.redirect(reqwest::redirect::Policy::none()).build()?))
    }

    /// What a process shows of the series that are wanted.
    ///
    /// # Errors
    /// [`ScrapeError`].
    pub async fn scrape(&self, target: &Target, wanted: Wanted) -> Result<Vec<Sample>, ScrapeError> {
        let mut answer = self.0.get(target.url.clone()).send().await?.error_for_status()?;
        let mut text = Vec::new();
        while let Some(part) = answer.chunk().await? {
            text.extend_from_slice(&part);
            if text.len() > MOST {
                return Err(ScrapeError::TooLarge);
            }
        }
        let text = String::from_utf8_lossy(&text);
        let samples = text.lines().filter_map(|line| sample(line, wanted));
        Ok(samples.take(MOST_SAMPLES).collect())
    }
}

/// Reads a line; `None` for a comment, what is not wanted, and what is no sample.
fn sample(line: &str, wanted: Wanted) -> Option<Sample> {
    let end = line.find(['{', ' '])?;
    let (name, rest) = line.split_at(end);
    if name.starts_with('#') || !(wanted.name)(name) {
        return None;
    }
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(inside) => labels(inside)?,
        None => (HashMap::new(), rest),
    };
    let value = rest.split_ascii_whitespace().next()?.parse().ok()?;
    let sample = Sample {
        name: name.to_owned(),
        labels,
        value,
    };
    (wanted.sample)(&sample).then_some(sample)
}

/// Reads labels up to their closing brace, and returns what is behind it.
fn labels(mut text: &str) -> Option<(HashMap<String, String>, &str)> {
    let mut labels = HashMap::new();
    loop {
        text = text.trim_start_matches([',', ' ']);
        if let Some(rest) = text.strip_prefix('}') {
            return Some((labels, rest));
        }
        let (name, rest) = text.split_once("=\"")?;
        let (value, rest) = quoted(rest)?;
        labels.insert(name.to_owned(), value);
        text = rest;
    }
}

/// Reads a text up to its closing quote.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match letters.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_prometheus_writes_them() {
        let all = Wanted {
            name: |_| true,
            sample: |_| true,
        };
        let read = sample(r#"a_total{x="1",y="say \"hi\", {a}\\\n"} 2.5 1700000000"#, all).unwrap();
        assert_eq!((read.name.as_str(), read.value), ("a_total", 2.5));
        assert_eq!((read.label("x"), read.label("y")), ("1", "say \"hi\", {a}\\\n"));
        assert_eq!(read.label("z"), "");
        assert_eq!(sample("up 1", all).unwrap().value, 1.0);
        assert!(sample("gone NaN", all).unwrap().value.is_nan());
        for nothing in ["# HELP up Whether", "", "up", r#"a{x="1" 2"#, "up one"] {
            assert!(sample(nothing, all).is_none(), "{nothing}");
        }
        let others = Wanted {
            name: |name| name != "up",
            ..all
        };
        assert!(sample("up 1", others).is_none());
        let labelled = Wanted {
            sample: |sample| sample.label("x") == "1",
            ..all
        };
        assert!(sample(r#"a{x="1"} 2"#, labelled).is_some() && sample(r#"a{x="2"} 2"#, labelled).is_none());
    }
}
