//! Quantities as types, so that a rate is never added to a number of cores.

use serde::{Serialize, Serializer};
use std::{ops::Add, str::FromStr};

/// How many of something come in a second.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default, Serialize)]
#[serde(transparent)]
pub(crate) struct PerSecond(#[serde(serialize_with = "rounded")] pub(crate) f64);

/// CPU seconds that a thousand of something cost.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub(crate) struct CpuPerThousand(pub(crate) f64);

/// Cores that are busy all the time.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default, Serialize)]
#[serde(transparent)]
pub(crate) struct Cores(#[serde(serialize_with = "rounded")] pub(crate) f64);

/// Bytes, or bytes a second where it says so.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default, Serialize)]
#[serde(transparent)]
pub(crate) struct Bytes(#[serde(serialize_with = "rounded")] pub(crate) f64);

/// A part of a whole, from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(transparent)]
pub(crate) struct Part(f64);

/// How much of what a core can do is meant to be used: more than 0, and 1 at the most.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(transparent)]
pub(crate) struct Utilisation(f64);

impl CpuPerThousand {
    /// The cores that so many in a second keep busy.
    pub(crate) fn at(self, rate: PerSecond) -> Cores {
        Cores(self.0 * rate.0 / 1_000.0)
    }

    /// The higher one of two.
    pub(crate) fn or_more(self, other: Self) -> Self {
        Self(self.0.max(other.0))
    }

    /// A part of it.
    pub(crate) fn part(self, part: f64) -> Self {
        Self(self.0 * part)
    }
}

impl PerSecond {
    /// The lower one of two.
    pub(crate) fn or_less(self, other: Self) -> Self {
        Self(self.0.min(other.0))
    }
}

impl Cores {
    /// The higher one of two.
    pub(crate) fn or_more(self, other: Self) -> Self {
        Self(self.0.max(other.0))
    }
}

impl Add for Cores {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }
}

impl Bytes {
    /// The higher one of two.
    pub(crate) fn or_more(self, other: Self) -> Self {
        Self(self.0.max(other.0))
    }

    /// So many times as much.
    pub(crate) fn times(self, count: f64) -> Self {
        Self(self.0 * count)
    }
}

impl Part {
    /// That part of so many.
    pub(crate) fn of(self, count: f64) -> f64 {
        self.0 * count
    }
}

impl Utilisation {
    /// The cores to have where so many are busy.
    pub(crate) fn leaves_room(self, busy: Cores) -> Cores {
        Cores(busy.0 / self.0)
    }

    /// In percent.
    pub(crate) fn percent(self) -> f64 {
        self.0 * 100.0
    }
}

impl FromStr for Part {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(part) if (0.0..=1.0).contains(&part) => Ok(Self(part)),
            _ => Err("write a part from 0 to 1, such as 0.25 for a quarter".to_owned()),
        }
    }
}

impl FromStr for Utilisation {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(used) if (0.01..=1.0).contains(&used) => Ok(Self(used)),
            _ => Err("write a part from 0.01 to 1, such as 0.6 to leave two fifths free".to_owned()),
        }
    }
}

/// The least whole number that is not below.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "`as` ends at the bounds, and there are not that many of anything"
)]
pub(crate) fn whole(number: f64) -> u64 {
    number.ceil() as u64
}

/// Digits behind the third say nothing about a sale.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn rounded<S: Serializer>(number: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((number * 1_000.0).round() / 1_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_times_a_cost_is_cores() {
        assert_eq!(CpuPerThousand(0.5).at(PerSecond(4_000.0)), Cores(2.0));
        let used: Utilisation = "0.5".parse().unwrap();
        assert_eq!(used.leaves_room(Cores(2.0)), Cores(4.0));
    }

    #[test]
    fn parts_are_from_nothing_to_everything() {
        for text in ["0", "0.25", "1"] {
            text.parse::<Part>().unwrap();
        }
        for text in ["-0.1", "1.1", "NaN", "inf", "half", ""] {
            text.parse::<Part>().unwrap_err();
            text.parse::<Utilisation>().unwrap_err();
        }
        "0".parse::<Utilisation>().unwrap_err();
        assert_eq!("0.25".parse::<Part>().unwrap().of(10.0), 2.5);
    }

    #[test]
    fn begun_ones_count_whole() {
        assert_eq!([whole(0.0), whole(1.0), whole(1.01)], [0, 1, 2]);
        assert_eq!(serde_json::to_string(&Cores(1.0 / 3.0)).unwrap(), "0.333");
    }
}
