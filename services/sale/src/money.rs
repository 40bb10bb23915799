//! Money as integer minor units of a currency. There is no floating point anywhere on the way of a price.

use serde::{Deserialize, Serialize};
use std::fmt;

/// An ISO 4217 currency that a sale can be held in. The number of decimal digits is what decides how a price is
/// written (ISO 4217, table A.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Currency([u8; 3]);

/// Currencies without a minor unit (ISO 4217, exponent 0).
const NO_DIGITS: &[&str] = &[
    "BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "UYI", "VND", "VUV", "XAF",
    "XOF", "XPF",
];
/// Currencies with three digits (ISO 4217, exponent 3).
const THREE_DIGITS: &[&str] = &["BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"];

/// Why a currency or an amount was refused, as a sentence for the person who wrote it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// Not three capital letters.
    #[error("currency must be a three-letter ISO 4217 code such as USD, not {0:?}")]
    Currency(String),
    /// Not a decimal number.
    #[error("{0:?} is not an amount of money; write digits with an optional decimal point, such as 799.99")]
    NotDecimal(String),
    /// More decimals than the currency has.
    #[error("{amount:?} has more than {digits} decimal digits, and {currency} has {digits}; round it")]
    TooManyDigits {
        /// What was written.
        amount: String,
        /// The currency's digits.
        digits: usize,
        /// The currency.
        currency: String,
    },
    /// Less than nothing.
    #[error("an amount of money cannot be negative, and {0} is")]
    Negative(i64),
    /// Larger than [`Money::MAX_MINOR`].
    #[error("{0:?} is too large; the largest amount is 9,999,999,999 of the smallest unit")]
    TooLarge(String),
}

impl Currency {
    /// Checks and wraps a code.
    ///
    /// # Errors
    /// [`MoneyError::Currency`] unless the code is three capital letters.
    pub fn parse(code: &str) -> Result<Self, MoneyError> {
        match code.as_bytes() {
            [a, b, c] if [a, b, c].iter().all(|l| l.is_ascii_uppercase()) => Ok(Self([*a, *b, *c])),
            _ => Err(MoneyError::Currency(code.to_owned())),
        }
    }

    /// The three-letter code.
    pub fn code(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("???")
    }

    /// How many decimal digits an amount has: 0, 2 or 3.
    pub fn digits(&self) -> usize {
        if NO_DIGITS.contains(&self.code()) {
            0
        } else if THREE_DIGITS.contains(&self.code()) {
            3
        } else {
            2
        }
    }
}

impl TryFrom<String> for Currency {
    type Error = MoneyError;
    fn try_from(code: String) -> Result<Self, Self::Error> {
        Self::parse(&code)
    }
}

impl From<Currency> for String {
    fn from(currency: Currency) -> Self {
        currency.code().to_owned()
    }
}

/// An amount in minor units (cents for USD), never negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "i64", into = "i64")]
pub struct Money(i64);

impl Money {
    /// The largest amount, ten digits of minor units: with at most 100 units for each of 100 items a total still
    /// fits 53 bits, which is what a JSON reader in a browser can hold exactly.
    pub const MAX_MINOR: i64 = 9_999_999_999;

    /// An amount from minor units read from our own store.
    pub fn from_minor(minor: i64) -> Self {
        Self(minor)
    }

    /// The amount in minor units.
    pub fn minor(self) -> i64 {
        self.0
    }

    /// Reads a decimal such as `799.99` exactly.
    ///
    /// # Errors
    /// [`MoneyError`] when it is no plain decimal, has too many digits for the currency, or is too large.
    pub fn parse(text: &str, currency: Currency) -> Result<Self, MoneyError> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let digits_only = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
        if whole.is_empty()
            || !digits_only(whole)
            || !digits_only(fraction)
            || (text.contains('.') && fraction.is_empty())
        {
            return Err(MoneyError::NotDecimal(text.to_owned()));
        }
        let digits = currency.digits();
        if fraction.len() > digits {
            return Err(MoneyError::TooManyDigits {
                amount: text.to_owned(),
                digits,
                currency: currency.code().to_owned(),
            });
        }
        let minor: i64 = format!("{whole}{fraction:0<digits$}")
            .parse()
            .map_err(|_| MoneyError::TooLarge(text.to_owned()))?;
        if minor > Self::MAX_MINOR {
            return Err(MoneyError::TooLarge(text.to_owned()));
        }
        Ok(Self(minor))
    }

    /// The amount as a decimal with the currency's digits: `799.99`.
    pub fn decimal(self, currency: Currency) -> String {
        let digits = currency.digits();
        if digits == 0 {
            return self.0.to_string();
        }
        let scale = 10_i64.pow(digits as u32);
        format!("{}.{:0width$}", self.0 / scale, self.0 % scale, width = digits)
    }

    /// The amount as it is written in JSON, with exactly the currency's digits.
    pub fn to_json(self, currency: Currency) -> JsonDecimal {
        JsonDecimal(self.decimal(currency))
    }

    /// This price for a number of units. `None` when it does not fit.
    pub fn times(self, quantity: u32) -> Option<Self> {
        self.0.checked_mul(i64::from(quantity)).map(Self)
    }

    /// The sum of two amounts. `None` when it does not fit.
    pub fn plus(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }
}

impl TryFrom<i64> for Money {
    type Error = MoneyError;
    fn try_from(minor: i64) -> Result<Self, Self::Error> {
        if minor < 0 {
            return Err(MoneyError::Negative(minor));
        }
        Ok(Self(minor))
    }
}

impl From<Money> for i64 {
    fn from(money: Money) -> Self {
        money.0
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} minor units", self.0)
    }
}

/// A JSON number kept as the text it was written with, so that money passes through JSON without ever being a
/// floating-point number: `800.00` stays `800.00`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonDecimal(String);

impl JsonDecimal {
    /// The number's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Reads it as an amount.
    ///
    /// # Errors
    /// As for [`Money::parse`].
    pub fn money(&self, currency: Currency) -> Result<Money, MoneyError> {
        Money::parse(&self.0, currency)
    }
}

impl Serialize for JsonDecimal {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw: &serde_json::value::RawValue =
            serde_json::from_str(&self.0).map_err(serde::ser::Error::custom)?;
        raw.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for JsonDecimal {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<serde_json::value::RawValue>::deserialize(deserializer)?;
        if raw.get().starts_with(|c: char| c == '-' || c.is_ascii_digit()) {
            Ok(Self(raw.get().to_owned()))
        } else {
            Err(serde::de::Error::custom("expected a number such as 799.99"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usd() -> Currency {
        Currency::parse("USD").unwrap()
    }

    #[test]
    fn decimals_are_read_and_written_exactly() {
        for (text, minor, back) in [
            ("799.99", 79_999, "799.99"),
            ("800", 80_000, "800.00"),
            ("0.1", 10, "0.10"),
        ] {
            let money = Money::parse(text, usd()).unwrap();
            assert_eq!(money.minor(), minor);
            assert_eq!(money.decimal(usd()), back);
            assert_eq!(serde_json::to_string(&money.to_json(usd())).unwrap(), back);
        }
        let number: JsonDecimal = serde_json::from_str("799.99").unwrap();
        assert_eq!(number.money(usd()).unwrap().minor(), 79_999);
        assert!(serde_json::from_str::<JsonDecimal>("\"799.99\"").is_err());
        assert!(serde_json::from_str::<Money>("-1").is_err());
    }

    #[test]
    fn the_currency_decides_the_digits() {
        assert!(matches!(
            Money::parse("12.345", usd()),
            Err(MoneyError::TooManyDigits { digits: 2, .. })
        ));
        let (jpy, kwd) = (Currency::parse("JPY").unwrap(), Currency::parse("KWD").unwrap());
        assert!(Money::parse("12.3", jpy).is_err());
        assert_eq!(Money::parse("12", jpy).unwrap().minor(), 12);
        assert_eq!(Money::parse("12.345", kwd).unwrap().minor(), 12_345);
    }

    #[test]
    fn the_digits_are_those_of_iso_4217() {
        let letters = || (b'A'..=b'Z').map(char::from);
        let codes =
            letters().flat_map(|a| letters().flat_map(move |b| letters().map(move |c| format!("{a}{b}{c}"))));
        let mut known = 0;
        for code in codes {
            // Gold, test codes and the like have none; CLF and UYW, in which accounts are kept and nobody pays, have four.
            let listed = iso_currency::Currency::from_code(&code).and_then(|currency| currency.exponent());
            if let Some(digits @ 0..=3) = listed {
                known += 1;
                assert_eq!(
                    Currency::parse(&code).unwrap().digits(),
                    usize::from(digits),
                    "{code}"
                );
            }
        }
        assert!(known > 150, "only {known} currencies were compared");
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in [
            "",
            ".",
            "1.",
            ".5",
            "-1",
            "+1",
            "1e3",
            "1,000",
            "NaN",
            "99999999999999999999",
            "1.2.3",
        ] {
            assert!(Money::parse(bad, usd()).is_err(), "{bad:?}");
        }
        assert!(Currency::parse("usd").is_err());
    }
}
