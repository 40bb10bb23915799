//! Money: exact at every size. What strangers write is tried in `tests/tests/fuzz`.

use super::holds;
use crate::{Currency, Money, money::JsonDecimal};
use proptest::prelude::*;

fn currencies() -> impl Strategy<Value = Currency> {
    let known =
        proptest::sample::select(vec!["USD", "JPY", "KWD", "VND", "TND", "EUR"]).prop_map(str::to_owned);
    prop_oneof![known, "[A-Z]{3}"].prop_map(|code| Currency::parse(&code).unwrap())
}

/// Amounts of every length: numbers drawn evenly are nearly all long.
fn minors() -> impl Strategy<Value = i64> {
    (0..=i64::MAX, 0..63_u32).prop_map(|(minor, shorter)| minor >> shorter)
}

/// A price is read as the digits say, and refused for having too many of them rather than rounded.
#[test]
fn a_decimal_is_read_as_its_digits_say() {
    let texts = ("[0-9]{1,14}", proptest::option::of("[0-9]{1,5}"), currencies());
    holds(texts, |(whole, fraction, currency)| {
        let digits = currency.digits();
        let text = fraction
            .as_ref()
            .map_or(whole.clone(), |fraction| format!("{whole}.{fraction}"));
        let fraction = fraction.unwrap_or_default();
        let scale = 10_u128.pow(digits as u32);
        let mut minor = whole.parse::<u128>().unwrap() * scale;
        if !fraction.is_empty() && fraction.len() <= digits {
            let places = 10_u128.pow((digits - fraction.len()) as u32);
            minor += fraction.parse::<u128>().unwrap() * places;
        }
        let fits = fraction.len() <= digits && minor <= Money::MAX_MINOR as u128;
        let wanted = fits.then_some(minor as i64);
        let read = Money::parse(&text, currency).ok().map(Money::minor);
        prop_assert_eq!(read, wanted, "{} {}", text, currency.code());
        Ok(())
    });
}

#[test]
fn an_amount_is_written_with_all_its_digits_and_read_back() {
    holds((minors(), currencies()), |(minor, currency)| {
        let written = Money::from_minor(minor).decimal(currency);
        let fraction = written.split_once('.').map_or("", |(_, fraction)| fraction);
        prop_assert_eq!(fraction.len(), currency.digits());
        prop_assert_eq!(written.replace('.', "").parse::<i64>(), Ok(minor));
        let read = Money::parse(&written, currency).ok().map(Money::minor);
        prop_assert_eq!(read, (minor <= Money::MAX_MINOR).then_some(minor), "{}", written);
        Ok(())
    });
}

/// A floating-point number on the way would lose the last digits of the large amounts, and the zeros of the round ones.
#[test]
fn json_keeps_every_digit() {
    holds((minors(), currencies()), |(minor, currency)| {
        let money = Money::from_minor(minor);
        let json = serde_json::to_string(&money.to_json(currency)).unwrap();
        prop_assert_eq!(&json, &money.decimal(currency));
        let read: JsonDecimal = serde_json::from_str(&json).unwrap();
        prop_assert_eq!(read.as_str(), json);
        let stored = serde_json::to_string(&money).unwrap();
        prop_assert_eq!(serde_json::from_str::<Money>(&stored).unwrap(), money);
        Ok(())
    });
}

#[test]
fn products_and_sums_are_exact_or_none() {
    holds((minors(), minors(), any::<u32>()), |(one, other, units)| {
        let (one, other) = (Money::from_minor(one), Money::from_minor(other));
        let sum = i128::from(one.minor()) + i128::from(other.minor());
        let product = i128::from(one.minor()) * i128::from(units);
        prop_assert_eq!(one.plus(other).map(Money::minor), i64::try_from(sum).ok());
        prop_assert_eq!(one.times(units).map(Money::minor), i64::try_from(product).ok());
        Ok(())
    });
}

#[test]
fn less_than_nothing_is_no_amount() {
    holds(prop_oneof![-3..3_i64, any::<i64>()], |minor| {
        let read = Money::try_from(minor).ok().map(Money::minor);
        prop_assert_eq!(read, (minor >= 0).then_some(minor));
        Ok(())
    });
}
