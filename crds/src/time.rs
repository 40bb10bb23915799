//! Times as the API server checks them. What passes here can be read by [`jiff::Timestamp`], whose last moment is in
//! the year 9999 and whose fractions have nine digits; the format `date-time` alone promises neither.

use schemars::{Schema, SchemaGenerator, json_schema};

/// RFC 3339, with at most nine digits of a second's fraction and an offset of at most a day.
const PATTERN: &str = "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]{1,9})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$";
/// Years that a sale can be in, and whose days every reader can count.
const RULE: &str = "self > timestamp('2000-01-01T00:00:00Z') && self < timestamp('2200-01-01T00:00:00Z')";
const MESSAGE: &str =
    "this must be a time in RFC 3339 between the years 2000 and 2200, such as 2026-12-01T12:00:00Z";
/// What whoever wants no end may look for.
const OR_NO_END: &str = "leave it out for a sale that ends when it is sold out or deleted";

/// A time.
pub fn time(_: &mut SchemaGenerator) -> Schema {
    with_message(MESSAGE)
}

fn with_message(message: &str) -> Schema {
    json_schema!({
        "type": "string", "format": "date-time", "pattern": PATTERN, "maxLength": 40,
        "x-kubernetes-validations": [{"rule": RULE, "message": message}],
    })
}

/// The time of an end that there may be.
pub fn optional_end(_: &mut SchemaGenerator) -> Schema {
    let mut schema = with_message(&format!("{MESSAGE}; {OR_NO_END}"));
    schema.insert("nullable".to_owned(), true.into());
    schema
}

/// A time that may be left out.
pub fn optional_time(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = time(generator);
    schema.insert("nullable".to_owned(), true.into());
    schema
}
