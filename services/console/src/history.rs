//! The last hours of a sale in numbers: every five seconds of the last half hour, and every minute of the last twelve hours. Kept in
//! memory, bounded, and gone with the process.

use crate::measure::{Gather, Line, Numbers};
use jiff::Timestamp;
use std::collections::{BTreeMap, VecDeque};

/// Seconds between two looks.
pub const STEP: i64 = 5;
/// Seconds of the coarser points.
const MINUTE: i64 = 60;
/// Points of the last half hour.
const FINE: usize = 360;
/// Points of the last twelve hours.
const COARSE: usize = 720;
/// The most lines of a sale.
const MOST_LINES: usize = 256;

/// A sale's numbers over time.
#[derive(Debug)]
pub struct History {
    fine: Columns,
    coarse: Columns,
    /// The minute that is being gathered.
    minute: Option<Minute>,
}

#[derive(Debug)]
struct Minute {
    number: i64,
    lines: BTreeMap<Line, (f64, u32)>,
}

/// What was asked for: for each line as many points as the others have.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// Seconds from point to point.
    pub step: i64,
    /// When the first point is.
    pub from: Timestamp,
    /// When the last one is.
    pub to: Timestamp,
    /// The points; `None` where nothing is known.
    pub lines: BTreeMap<Line, Vec<Option<f32>>>,
}

impl Default for History {
    fn default() -> Self {
        Self {
            fine: Columns::new(STEP, FINE),
            coarse: Columns::new(MINUTE, COARSE),
            minute: None,
        }
    }
}

impl History {
    /// Adds the numbers of a moment. What is not newer than what is there is left out.
    pub fn add(&mut self, at: Timestamp, numbers: &Numbers) {
        self.fine.add(at, numbers);
        let number = at.as_second().div_euclid(MINUTE);
        if self.minute.as_ref().is_some_and(|minute| minute.number != number) {
            self.end_minute();
        }
        let minute = self.minute.get_or_insert_with(|| Minute {
            number,
            lines: BTreeMap::new(),
        });
        for (line, value) in numbers {
            let (sum, points) = minute.lines.entry(line.clone()).or_insert((0.0, 0));
            match line.gather() {
                Gather::Mean => *sum += value,
                Gather::Highest => *sum = sum.max(*value),
            }
            *points += 1;
        }
    }

    fn end_minute(&mut self) {
        let Some(minute) = self.minute.take() else { return };
        let value = |(line, (sum, points)): (Line, (f64, u32))| {
            let value = match line.gather() {
                Gather::Mean => sum / f64::from(points),
                Gather::Highest => sum,
            };
            (line, value)
        };
        let numbers: Numbers = minute.lines.into_iter().map(value).collect();
        if let Ok(at) = Timestamp::from_second(minute.number * MINUTE) {
            self.coarse.add(at, &numbers);
        }
    }

    /// The last so many minutes, as fine as they are kept.
    pub fn last(&self, minutes: i64, now: Timestamp) -> Part {
        let kept = STEP * i64::try_from(FINE).unwrap_or(i64::MAX);
        let columns = if minutes * MINUTE <= kept {
            &self.fine
        } else {
            &self.coarse
        };
        columns.last(minutes * MINUTE, now)
    }
}

/// Lines with a point for each step, of which the oldest are forgotten.
#[derive(Debug)]
struct Columns {
    step: i64,
    capacity: usize,
    /// The number of the newest point.
    newest: Option<i64>,
    /// Each as long as all others, the newest point last; `NaN` where nothing is known.
    lines: BTreeMap<Line, VecDeque<f32>>,
    length: usize,
}

impl Columns {
    fn new(step: i64, capacity: usize) -> Self {
        Self {
            step,
            capacity,
            newest: None,
            lines: BTreeMap::new(),
            length: 0,
        }
    }

    fn add(&mut self, at: Timestamp, numbers: &Numbers) {
        let number = at.as_second().div_euclid(self.step);
        let steps = match self.newest {
            Some(newest) if number <= newest => return,
            Some(newest) => usize::try_from(number - newest).unwrap_or(usize::MAX),
            None => 1,
        };
        for _ in 0..steps.min(self.capacity) {
            self.advance();
        }
        self.newest = Some(number);
        for (line, value) in numbers {
            if !self.lines.contains_key(line) && self.lines.len() >= MOST_LINES {
                continue;
            }
            let length = self.length;
            let points = self
                .lines
                .entry(line.clone())
                .or_insert_with(|| std::iter::repeat_n(f32::NAN, length).collect());
            #[expect(
                clippy::cast_possible_truncation,
                reason = "seven digits are enough for a chart"
            )]
            if let Some(newest) = points.back_mut() {
                *newest = *value as f32;
            }
        }
    }

    /// One step with nothing known, and the oldest one forgotten where there are too many.
    fn advance(&mut self) {
        let is_full = self.length == self.capacity;
        for points in self.lines.values_mut() {
            if is_full {
                points.pop_front();
            }
            points.push_back(f32::NAN);
        }
        if is_full {
            // A line of which nothing is known any more makes room.
            self.lines
                .retain(|_, points| points.iter().any(|point| !point.is_nan()));
        } else {
            self.length += 1;
        }
    }

    fn last(&self, seconds: i64, now: Timestamp) -> Part {
        let last = now.as_second().div_euclid(self.step);
        let first = last - seconds / self.step + 1;
        let newest = self.newest.unwrap_or(last);
        let oldest = newest - i64::try_from(self.length).unwrap_or(0) + 1;
        let point = |points: &VecDeque<f32>, number: i64| {
            let index = usize::try_from(number - oldest).ok()?;
            points.get(index).copied().filter(|value| !value.is_nan())
        };
        let lines = self.lines.iter().map(|(line, points)| {
            let points: Vec<_> = (first..=last).map(|number| point(points, number)).collect();
            (line.clone(), points)
        });
        let time = |number: i64| Timestamp::from_second(number * self.step).unwrap_or(now);
        Part {
            step: self.step,
            from: time(first),
            to: time(last),
            lines: lines.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(name: &str) -> Line {
        Line::Sale(name.to_owned())
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn add(history: &mut History, second: i64, name: &str, value: f64) {
        history.add(at(second), &Numbers::from([(line(name), value)]));
    }

    #[test]
    fn gaps_stay_gaps_and_a_line_that_begins_late_has_no_past() {
        let mut history = History::default();
        add(&mut history, 0, "a", 1.0);
        add(&mut history, 15, "a", 4.0);
        add(&mut history, 20, "b", 5.0);
        let part = history.last(1, at(22));
        assert_eq!((part.step, part.lines.len()), (5, 2));
        let a = &part.lines[&line("a")];
        assert_eq!(a.len(), 12);
        assert_eq!(a[7..], [Some(1.0), None, None, Some(4.0), None]);
        assert_eq!(part.lines[&line("b")][10..], [None, Some(5.0)]);
        assert_eq!((part.from, part.to), (at(-35), at(20)));
    }

    #[test]
    fn hours_are_kept_by_the_minute_and_memory_is_bounded() {
        let mut history = History::default();
        let day = 24 * 3_600;
        for second in (0..day).step_by(5) {
            #[expect(clippy::cast_precision_loss, reason = "small")]
            add(&mut history, second, "accepted", (second % 60) as f64);
            add(&mut history, second, "orderP99", 1.0);
        }
        let part = history.last(720, at(day));
        let accepted = &part.lines[&line("accepted")];
        assert_eq!((part.step, accepted.len()), (60, 720));
        // The mean of 0, 5, …, 55; the minute under way is not known yet.
        assert_eq!(accepted[0..2], [Some(27.5), Some(27.5)]);
        assert_eq!(history.fine.lines[&line("accepted")].len(), FINE);
        assert_eq!(history.coarse.lines[&line("accepted")].len(), COARSE);
    }

    #[test]
    fn lines_are_bounded_and_old_ones_make_room() {
        let mut history = History::default();
        for number in 0..1_000 {
            add(&mut history, 0, &format!("line {number}"), 1.0);
        }
        // The second one of a moment is not newer, so only the first was taken.
        assert_eq!(history.fine.lines.len(), 1);
        let many = (0..1_000)
            .map(|number| (line(&number.to_string()), 1.0))
            .collect();
        history.add(at(5), &many);
        assert_eq!(history.fine.lines.len(), MOST_LINES);
        add(&mut history, 5 + 3 * 1_800, "late", 1.0);
        assert_eq!(history.fine.lines.len(), 1, "{:?}", history.fine.lines.keys());
    }

    #[test]
    fn a_clock_that_steps_back_changes_nothing_that_is_known() {
        let mut history = History::default();
        add(&mut history, 100, "a", 1.0);
        add(&mut history, 50, "a", 9.0);
        let part = history.last(15, at(100));
        assert_eq!(part.lines[&line("a")].iter().flatten().count(), 1);
    }
}
