//! Whether a system has held a rate: every order was answered in time, and what was accepted did not pile up behind.

use crate::orders::{Shot, Verdict};
use serde::Serialize;
use std::{collections::BTreeMap, time::Duration};

/// What a system has to keep to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// All but one of a hundred orders are answered within this.
    pub answered_within: Duration,
    /// An order that is placed right after the load is decided within this.
    pub decided_within: Duration,
    /// At most so many of a thousand orders get no clean answer: an error, or the word to try again later.
    pub failures_in_a_thousand: usize,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            answered_within: Duration::from_secs(1),
            decided_within: Duration::from_secs(3),
            failures_in_a_thousand: 2,
        }
    }
}

/// What a sale refuses an order for in its ordinary course.
const OF_THE_SALE: [&str; 3] = ["sold_out", "units_held", "customer_limit"];

/// What came of a rate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// Orders a second that were fired.
    pub per_second: u32,
    /// Orders in all.
    pub orders: usize,
    /// Orders that were accepted.
    pub accepted: usize,
    /// Orders that were refused for a reason of the sale, by code.
    pub refused: BTreeMap<String, usize>,
    /// Orders without a clean answer, by what was seen instead.
    pub failed: BTreeMap<String, usize>,
    /// All but one of a hundred were answered within so many milliseconds.
    pub p99_millis: u64,
    /// How long an order right after the load waited for its decision, in milliseconds; none where that took too long.
    pub decided_millis: Option<u64>,
    /// Why the rate was not held; none where it was.
    pub why_not: Option<String>,
}

impl Step {
    /// Judges the orders of one rate. `decided` is how long an order right after them waited.
    pub fn of(per_second: u32, shots: &[Shot], decided: Option<Duration>, terms: Terms) -> Self {
        let mut step = Self {
            per_second,
            orders: shots.len(),
            accepted: 0,
            refused: BTreeMap::new(),
            failed: BTreeMap::new(),
            p99_millis: 0,
            decided_millis: decided.map(millis),
            why_not: None,
        };
        for shot in shots {
            match &shot.verdict {
                Verdict::Accepted => step.accepted += 1,
                Verdict::Refused(code) if OF_THE_SALE.contains(&code.as_str()) => {
                    *step.refused.entry(code.clone()).or_default() += 1;
                }
                // Whoever is taken for somebody else, or asks too often, has found out nothing about the sale.
                Verdict::Refused(code) => *step.failed.entry(code.clone()).or_default() += 1,
                Verdict::Unknown(what) => {
                    let what: String = what.chars().take(80).collect();
                    *step.failed.entry(what).or_default() += 1;
                }
            }
        }
        step.p99_millis = millis(p99(shots));
        step.why_not = step.why_not(terms);
        step
    }

    /// Whether it was held.
    pub fn is_held(&self) -> bool {
        self.why_not.is_none()
    }

    fn why_not(&self, terms: Terms) -> Option<String> {
        let failed: usize = self.failed.values().sum();
        if failed * 1_000 > self.orders * terms.failures_in_a_thousand {
            let worst = self.failed.iter().max_by_key(|(_, count)| **count);
            let worst = worst.map_or("", |(what, _)| what.as_str());
            return Some(format!(
                "{failed} of {} orders got no clean answer ({worst})",
                self.orders
            ));
        }
        if self.p99_millis > millis(terms.answered_within) {
            return Some(format!(
                "one of a hundred orders waited {} ms for its answer",
                self.p99_millis
            ));
        }
        match self.decided_millis {
            Some(decided) if decided <= millis(terms.decided_within) => None,
            Some(decided) => Some(format!(
                "an order right after the load was decided after {decided} ms"
            )),
            None => Some("an order right after the load was not decided in time".to_owned()),
        }
    }
}

fn p99(shots: &[Shot]) -> Duration {
    let since = |shot: &Shot| -> Duration { shot.answered.saturating_duration_since(shot.intended) };
    let mut latencies: Vec<Duration> = shots.iter().map(since).collect();
    latencies.sort_unstable();
    let at = (latencies.len() * 99).div_ceil(100).saturating_sub(1);
    latencies.get(at).copied().unwrap_or_default()
}

fn millis(of: Duration) -> u64 {
    u64::try_from(of.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    fn shots(latencies: &[u64], verdict: &Verdict) -> Vec<Shot> {
        let intended = Instant::now();
        let shot = |millis: &u64| Shot {
            buyer: 0,
            intended,
            answered: intended + Duration::from_millis(*millis),
            verdict: verdict.clone(),
        };
        latencies.iter().map(shot).collect()
    }

    fn held(shots: &[Shot], decided: Option<u64>) -> bool {
        Step::of(100, shots, decided.map(Duration::from_millis), Terms::default()).is_held()
    }

    #[test]
    fn a_rate_is_held_where_orders_are_answered_and_decided_in_time() {
        let quick = shots(&[10; 1_000], &Verdict::Accepted);
        assert!(held(&quick, Some(200)));
        assert!(!held(&quick, Some(3_001)));
        assert!(!held(&quick, None));
        let mut late = quick.clone();
        late.extend(shots(&[1_500; 9], &Verdict::Accepted));
        assert!(held(&late, Some(1)), "one of a hundred may be late");
        late.extend(shots(&[1_500; 10], &Verdict::Accepted));
        assert!(!held(&late, Some(1)));
        // What the sale refuses for a reason is an answer.
        let mut mixed = quick;
        mixed.extend(shots(&[5; 1_000], &Verdict::Refused("sold_out".into())));
        assert!(held(&mixed, Some(1)));
        mixed.extend(shots(&[5; 4], &Verdict::Unknown("busy".into())));
        assert!(held(&mixed, Some(1)));
        mixed.extend(shots(&[5], &Verdict::Unknown("busy".into())));
        mixed.extend(shots(&[5], &Verdict::Refused("rate_limited".into())));
        let step = Step::of(100, &mixed, Some(Duration::ZERO), Terms::default());
        assert_eq!(
            step.why_not.as_deref(),
            Some("6 of 2006 orders got no clean answer (busy)")
        );
        assert!(!held(&[], None));
    }
}
