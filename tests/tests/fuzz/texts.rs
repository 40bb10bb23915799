//! The texts inside of a FlashSale. The API server checks them by its own rules, so both must read them the same way.

use crate::{fuzz, mangled_text};
use crds::duration::DurationText;
use sale::{Sku, limits::LimitedRoute};

/// The rule's expression, `^([0-9]{1,6}(h|m|s|ms))+$` in at most 16 characters, by hand.
fn milliseconds(text: &str) -> Option<u128> {
    let (mut sum, mut number) = (0, String::new());
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        if letter.is_ascii_digit() {
            number.push(letter);
            continue;
        }
        let scale = match letter {
            'h' => 3_600_000,
            'm' if letters.next_if_eq(&'s').is_some() => 1,
            'm' => 60_000,
            's' => 1_000,
            _ => return None,
        };
        if !(1..=6).contains(&number.len()) {
            return None;
        }
        sum += number.parse::<u128>().ok()? * scale;
        number.clear();
    }
    (number.is_empty() && (1..=16).contains(&text.len())).then_some(sum)
}

#[test]
fn a_duration_is_what_the_rule_says() {
    fuzz(|u| {
        let original = u.choose(&["10m", "1h30m", "999999h", "1s500ms", "0s", "999999h999999h99"])?;
        let text = mangled_text(u, original)?;
        let read = DurationText::new(&text).parse().ok();
        assert_eq!(
            read.map(|duration| duration.as_millis()),
            milliseconds(&text),
            "{text:?}"
        );
        Ok(())
    });
}

#[test]
fn a_sku_is_what_the_rule_says() {
    let longest = "x".repeat(64);
    let originals = ["FLASH-LAPTOP-001", "a", "A.b_c-9", &longest];
    fuzz(|u| {
        let original = u.choose(&originals)?;
        let text = mangled_text(u, original)?;
        let inside = |letter: char| letter.is_ascii_alphanumeric() || "._-".contains(letter);
        let allowed = text.starts_with(|first: char| first.is_ascii_alphanumeric())
            && text.chars().all(inside)
            && text.len() <= 64;
        let sku = Sku::parse(&text);
        assert_eq!(sku.is_ok(), allowed, "{text:?}");
        if let Ok(sku) = sku {
            assert_eq!(sku.as_str(), text);
            assert_eq!(sku.product_id().as_str().len(), 24);
        }
        Ok(())
    });
}

#[test]
fn every_request_has_a_limit() {
    fuzz(|u| {
        let original = u.choose(&["/api/orders", "/api/auth/login", "/api/auth/register", "/"])?;
        let path = mangled_text(u, original)?;
        let route = LimitedRoute::of(u.choose(&["GET", "POST", "OPTIONS", ""])?, &path);
        assert!(route.default_limit() > 0);
        assert_eq!(LimitedRoute::parse(route.as_str()), Some(route));
        Ok(())
    });
}
