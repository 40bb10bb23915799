//! The W3C trace context of a request: kept when it is well formed, made when it is not there.

use axum::http::{HeaderName, HeaderValue};

/// The header.
pub const HEADER: HeaderName = HeaderName::from_static("traceparent");

/// Whether a value is a `traceparent` of version 00 (<https://www.w3.org/TR/trace-context/#traceparent-header>).
pub fn is_valid(value: &str) -> bool {
    let hex = |part: &str, length| {
        part.len() == length
            && part
                .bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    let not_zero = |part: &str| part.bytes().any(|b| b != b'0');
    match value.split('-').collect::<Vec<_>>()[..] {
        ["00", trace, parent, flags] => {
            hex(trace, 32) && not_zero(trace) && hex(parent, 16) && not_zero(parent) && hex(flags, 2)
        }
        _ => false,
    }
}

/// The request's own context, or a new one.
pub fn keep_or_make(existing: Option<&HeaderValue>) -> Option<HeaderValue> {
    if let Some(existing) = existing
        && existing.to_str().is_ok_and(is_valid)
    {
        return Some(existing.clone());
    }
    let trace = uuid::Uuid::new_v4().simple().to_string();
    let parent = &uuid::Uuid::new_v4().simple().to_string()[..16];
    HeaderValue::from_str(&format!("00-{trace}-{parent}-01")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use platform::http::trace_id;

    #[test]
    fn only_well_formed_contexts_are_kept() {
        let good = HeaderValue::from_static("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
        assert_eq!(keep_or_make(Some(&good)).as_ref(), Some(&good));
        assert_eq!(
            trace_id(good.to_str().unwrap()),
            Some("4bf92f3577b34da6a3ce929d0e0e4736")
        );
        for bad in [
            "",
            "00-0-0-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "ff-x-y-z",
        ] {
            let made = keep_or_make(HeaderValue::from_str(bad).ok().as_ref()).unwrap();
            assert_ne!(made, bad);
            assert!(is_valid(made.to_str().unwrap()), "{made:?}");
        }
    }
}
