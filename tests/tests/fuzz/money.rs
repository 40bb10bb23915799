//! Money: what is read is written back the same, and nothing is ever rounded.

use crate::{fuzz, mangled, mangled_text};
use sale::{Currency, Money, money::JsonDecimal};

const CURRENCIES: [&str; 4] = ["USD", "JPY", "KWD", "XYZ"];

#[test]
fn an_amount_that_is_read_is_written_back_the_same() {
    fuzz(|u| {
        let currency = Currency::parse(u.choose(&CURRENCIES)?).unwrap();
        let original = u.choose(&["799.99", "0", "9999999999", "12.345", "00.10"])?;
        let text = mangled_text(u, original)?;
        let Ok(money) = Money::parse(&text, currency) else {
            return Ok(());
        };
        assert!((0..=Money::MAX_MINOR).contains(&money.minor()), "{text}");
        let written = money.decimal(currency);
        assert_eq!(
            Money::parse(&written, currency),
            Ok(money),
            "{text} became {written}"
        );
        // The same digits, but for zeros at either end.
        let plain = |text: &str| {
            let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
            format!(
                "{}.{}",
                whole.trim_start_matches('0'),
                fraction.trim_end_matches('0')
            )
        };
        assert_eq!(plain(&text), plain(&written));
        Ok(())
    });
}

#[test]
fn every_amount_survives_json() {
    fuzz(|u| {
        let currency = Currency::parse(u.choose(&CURRENCIES)?).unwrap();
        let money = Money::from_minor(u.int_in_range(0..=Money::MAX_MINOR)?);
        let json = serde_json::to_string(&money.to_json(currency)).unwrap();
        let read: JsonDecimal = serde_json::from_str(&json).unwrap();
        assert_eq!(read.money(currency), Ok(money), "{json}");
        let total = money.times(u.arbitrary()?).and_then(|total| total.plus(money));
        assert!(total.is_none_or(|total| total >= money));
        Ok(())
    });
}

#[test]
fn strange_json_is_no_money() {
    fuzz(|u| {
        let original = u.choose(&["799.99", "-1", "1e3", "0.00", "12"])?;
        let json = mangled(u, original.as_bytes())?;
        if let Ok(number) = serde_json::from_slice::<JsonDecimal>(&json) {
            let _refused_or_read = number.money(Currency::parse("USD").unwrap());
            serde_json::to_string(&number).expect("a number that was read can be written");
        }
        if let Ok(money) = serde_json::from_slice::<Money>(&json) {
            let written = money.to_json(Currency::parse("USD").unwrap());
            serde_json::to_string(&written).expect("an amount that was read can be written");
        }
        Ok(())
    });
}
