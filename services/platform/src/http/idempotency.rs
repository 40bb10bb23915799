//! The key by which a caller makes repeats of a request harmless.

use super::problem::{Code, Problem};
use axum::http::HeaderMap;
use sale::order::LONGEST_IDEMPOTENCY_KEY;

/// The header that holds it.
pub const HEADER: &str = "Idempotency-Key";
/// The header of an answer that an earlier request of the same key has got before: `true`.
pub const REPLAYED: &str = "idempotency-replayed";

/// The key of a request, or `None` for one without.
///
/// # Errors
/// 400 for what is no key.
pub fn key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(key) = headers.get(HEADER) else {
        return Ok(None);
    };
    let key = key
        .to_str()
        .map_err(|_| Problem::field(HEADER, "must be printable ASCII"))?;
    check(key).map(Some)
}

/// A key, without what surrounds it.
///
/// # Errors
/// 400 for what is none.
pub fn check(key: &str) -> Result<String, Problem> {
    let key = key.trim();
    if (1..=LONGEST_IDEMPOTENCY_KEY).contains(&key.len()) {
        return Ok(key.to_owned());
    }
    let length = key.len();
    Err(Problem::field(
        HEADER,
        format!("must have from 1 to {LONGEST_IDEMPOTENCY_KEY} characters, not {length}"),
    ))
}

/// 400 for a request that needs a key.
pub fn missing() -> Problem {
    Problem::field(
        HEADER,
        "is missing; send a key of your own, such as a UUID, and the same one when you try again",
    )
}

/// 422 for a key that was used for another `thing` before, such as "order with other items".
pub fn reused(thing: &str) -> Problem {
    Problem::new(
        Code::IdempotencyKeyReused,
        format!("This {HEADER} was used for an {thing}. Use a new key for something new."),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn keys_are_checked() {
        let with = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(HEADER, HeaderValue::from_str(text).unwrap());
            key(&headers)
        };
        assert_eq!(with(" order-001 ").unwrap().as_deref(), Some("order-001"));
        assert!(with(&"k".repeat(LONGEST_IDEMPOTENCY_KEY)).is_ok());
        assert!(with(&"k".repeat(LONGEST_IDEMPOTENCY_KEY + 1)).is_err());
        assert!(with(" ").is_err());
        assert_eq!(key(&HeaderMap::new()).unwrap(), None);
    }
}
