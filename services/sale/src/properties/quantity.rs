//! Quantities: 1 to 100 and whole, by whichever way they come in.

use super::holds;
use crate::Quantity;
use proptest::{prelude::*, sample::select};

#[test]
fn a_quantity_is_kept_as_it_is_or_refused() {
    // Wrapped to 32 bits, the last ones would be in bounds.
    let numbers = prop_oneof![
        select(vec![0, 1, 100, 101]),
        -10..210_i64,
        any::<i64>(),
        (1..=100_i64).prop_map(|units| units + (1 << 32))
    ];
    holds(numbers, |units| {
        let wanted = (1..=100).contains(&units).then_some(units);
        let made = Quantity::new(units).ok().map(i64::from);
        let read = serde_json::from_str::<Quantity>(&units.to_string()).ok();
        prop_assert_eq!(made, wanted);
        prop_assert_eq!(read.map(|read| i64::from(read.get())), wanted);
        if let Some(read) = read {
            prop_assert_eq!(serde_json::to_string(&read).unwrap(), units.to_string());
        }
        Ok(())
    });
}

#[test]
fn a_part_of_a_unit_is_no_quantity() {
    let texts = (0..120_u32, "[.][0-9]{1,3}|e[0-9]|[.]0e1");
    holds(texts, |(whole, rest)| {
        let text = format!("{whole}{rest}");
        prop_assert!(serde_json::from_str::<Quantity>(&text).is_err(), "{}", text);
        let quoted = format!("\"{whole}\"");
        prop_assert!(serde_json::from_str::<Quantity>(&quoted).is_err(), "{}", quoted);
        Ok(())
    });
}
