//! When the slowest answers were: all at once, such as at the start or in a pause of the database, or now and then.

use crate::load::Shot;
use std::{
    collections::BTreeMap,
    fmt::Write,
    time::{Duration, Instant},
};

/// A line for people: the slowest hundredth, by the second of the run in which the orders were meant to start.
pub(crate) fn line(shots: &[Shot]) -> Option<String> {
    let begun = shots.iter().map(|shot| shot.intended).min()?;
    let waits = shots.iter().map(|shot| (shot.intended, shot.answered));
    let (least, seconds) = slowest(begun, waits.collect());
    let mut line = format!(
        "the slowest hundredth of answers took {} ms or more; they were asked for in second",
        least.as_millis()
    );
    for (second, orders) in seconds {
        let _infallible = write!(line, " {second} ({orders})");
    }
    Some(line)
}

/// The least wait among the slowest hundredth, and how many of them began in which second.
fn slowest(begun: Instant, waits: Vec<(Instant, Instant)>) -> (Duration, BTreeMap<u64, usize>) {
    let mut waits: Vec<_> = waits
        .into_iter()
        .map(|(asked, answered)| (answered.saturating_duration_since(asked), asked))
        .collect();
    waits.sort_unstable_by(|one, other| other.cmp(one));
    waits.truncate(waits.len().div_ceil(100));
    let least = waits.last().map_or(Duration::ZERO, |(wait, _)| *wait);
    let mut seconds = BTreeMap::new();
    for (_, asked) in waits {
        *seconds
            .entry(asked.saturating_duration_since(begun).as_secs())
            .or_default() += 1;
    }
    (least, seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_shows_as_one_second() {
        let begun = Instant::now();
        let at = |millis| begun + Duration::from_millis(millis);
        let waits = (0..400).map(|order| {
            let asked = order * 20;
            let paused = (2_000..2_060).contains(&asked) || asked == 7_000;
            (at(asked), at(asked + if paused { 900 } else { 10 }))
        });
        let (least, seconds) = slowest(begun, waits.collect());
        assert_eq!(least, Duration::from_millis(900));
        assert_eq!(seconds, BTreeMap::from([(2, 3), (7, 1)]));
    }
}
