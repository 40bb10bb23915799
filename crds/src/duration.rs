//! Durations as people write them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A length of time: one or more numbers with a unit of `h`, `m`, `s` or `ms`, such as `10m`, `60s` or `1h30m`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct DurationText(#[schemars(length(max = 16))] pub String);

/// The refusal of a text that is no duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a duration; write numbers with the units h, m, s or ms, such as 10m, 60s or 1h30m")]
pub struct InvalidDuration(String);

impl DurationText {
    /// A duration from a literal of ours.
    pub fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Reads it.
    ///
    /// # Errors
    /// [`InvalidDuration`].
    pub fn parse(&self) -> Result<Duration, InvalidDuration> {
        parse(&self.0).ok_or_else(|| InvalidDuration(self.0.clone()))
    }
}

fn parse(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut millis: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        // The bound of the rule: six digits, so that no sum can overflow.
        if !(1..=6).contains(&digits) {
            return None;
        }
        let (number, tail) = rest.split_at(digits);
        let (unit, tail) = tail.split_at(tail.bytes().take_while(u8::is_ascii_alphabetic).count());
        let scale = match unit {
            "h" => 3_600_000,
            "m" => 60_000,
            "s" => 1_000,
            "ms" => 1,
            _ => return None,
        };
        millis = millis.checked_add(number.parse::<u64>().ok()? * scale)?;
        rest = tail;
    }
    (!text.is_empty() && text.len() <= 16).then(|| Duration::from_millis(millis))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read() {
        for (text, seconds) in [
            ("10m", 600),
            ("60s", 60),
            ("1h30m", 5_400),
            ("24h", 86_400),
            ("0s", 0),
        ] {
            assert_eq!(
                DurationText::new(text).parse().unwrap().as_secs(),
                seconds,
                "{text}"
            );
        }
        assert_eq!(DurationText::new("1s500ms").parse().unwrap().as_millis(), 1_500);
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in [
            "",
            "10",
            "m",
            "-1s",
            "1d",
            "1.5h",
            "10 m",
            "1234567s",
            "1h1h1h1h1h1h1h1h1h",
        ] {
            assert!(DurationText::new(bad).parse().is_err(), "{bad:?}");
        }
    }
}
