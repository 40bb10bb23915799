//! Hostile input for everything that reads what strangers write: it may be refused, and nothing else.
//!
//! Each test makes input for `QUICKSALE_FUZZ_SECONDS` (one second without it; `hack/fuzz.sh` sets it). A failure prints
//! a seed; `ARBTEST_SEED=0x… cargo test --test fuzz NAME` runs just that input again.

use arbtest::arbitrary::{Result, Unstructured};
use serde_json::Value;
use std::time::Duration;

mod addresses;
mod control_document;
mod flash_sales;
mod messages;
mod money;
mod texts;
mod tokens;

/// Bytes of randomness for one input, at most: enough for a long header, and small enough for many a second.
const MOST_RANDOMNESS: u32 = 2_048;
/// Inputs longer than this are refused by everybody's body limit.
const LONGEST: usize = 16_384;

/// Runs a property on one input after another until the time is over.
fn fuzz(property: impl FnMut(&mut Unstructured<'_>) -> Result<()>) {
    let seconds = std::env::var("QUICKSALE_FUZZ_SECONDS");
    let seconds = seconds.ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    arbtest::arbtest(property)
        .budget(Duration::from_secs(seconds))
        .size_max(MOST_RANDOMNESS)
        .run();
}

/// What tends to be at the edge of something.
const PIECES: &[&str] = &[
    "",
    " ",
    "\0",
    "\n",
    "\u{feff}",
    "ä",
    "💥",
    "-",
    "+",
    ".",
    "..",
    ",",
    ":",
    "/",
    "'",
    "\"",
    "\\",
    "{",
    "}",
    "[",
    "]",
    "0",
    "-0",
    "1e999",
    "9223372036854775807",
    "18446744073709551616",
    "99999999999999999999",
    "NaN",
    "null",
    "true",
    "{}",
    "[]",
    "::",
    "::ffff:10.0.0.1",
    "10.0.0.1",
    "0.0.0.0/0",
    "::/0",
    "1h",
    "999999h",
    "9999-12-31T23:59:59Z",
    "-009999-01-02T01:59:59Z",
    "2016-12-31T23:59:60Z",
    "__proto__",
    "$where",
    "%00",
    "\\u0000",
    "\\ud800",
];

/// The original with a few bytes of it dropped, doubled, changed or put in; sometimes as it is.
fn mangled(u: &mut Unstructured<'_>, original: &[u8]) -> Result<Vec<u8>> {
    let mut bytes = original.to_vec();
    for _ in 0..u.int_in_range(0..=4)? {
        let at = u.int_in_range(0..=bytes.len())?;
        let end = u.int_in_range(at..=bytes.len().min(at + 200))?;
        match u.int_in_range(0..=4)? {
            0 => drop(bytes.drain(at..end)),
            1 => bytes.insert(at, u.arbitrary()?),
            2 => {
                let changed: u8 = u.arbitrary()?;
                bytes.get_mut(at).into_iter().for_each(|byte| *byte = changed);
            }
            3 => {
                let again = bytes[at..end].to_vec();
                bytes.splice(at..at, again);
            }
            _ => drop(bytes.splice(at..end, u.choose(PIECES)?.bytes())),
        }
        bytes.truncate(LONGEST);
    }
    Ok(bytes)
}

/// The same for text.
fn mangled_text(u: &mut Unstructured<'_>, original: &str) -> Result<String> {
    Ok(String::from_utf8_lossy(&mangled(u, original.as_bytes())?).into_owned())
}

/// Where the values of a document are, as JSON pointers.
fn places(json: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match json {
        Value::Object(object) => object
            .iter()
            .for_each(|(key, value)| places(value, &format!("{at}/{key}"), found)),
        Value::Array(array) => array
            .iter()
            .enumerate()
            .for_each(|(index, value)| places(value, &format!("{at}/{index}"), found)),
        _ => {}
    }
}

/// JSON with a value or two replaced by others, sometimes with its text mangled as well.
fn mangled_json(u: &mut Unstructured<'_>, original: &Value) -> Result<Vec<u8>> {
    let mut json = original.clone();
    for _ in 0..u.int_in_range(0..=2)? {
        let mut found = Vec::new();
        places(&json, "", &mut found);
        if let Some(value) = json.pointer_mut(u.choose(&found)?) {
            *value = replacement(u, value)?;
        }
    }
    let text = json.to_string();
    if u.ratio(1, 3)? {
        mangled(u, text.as_bytes())
    } else {
        Ok(text.into_bytes())
    }
}

fn replacement(u: &mut Unstructured<'_>, value: &Value) -> Result<Value> {
    Ok(match u.int_in_range(0..=6)? {
        0 => Value::Null,
        1 => u.arbitrary::<bool>()?.into(),
        2 => u.arbitrary::<i64>()?.into(),
        3 => u.arbitrary::<f64>()?.into(),
        4 => serde_json::json!([value, value]),
        5 => mangled_text(u, value.as_str().unwrap_or_default())?.into(),
        _ => u.arbitrary::<String>()?.into(),
    })
}
