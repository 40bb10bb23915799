//! The Elastic Common Schema, as far as QuickSale's log lines use it.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::collections::BTreeSet;

/// How a field is indexed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Date,
    /// keyword, wildcard, match_only_text.
    Text,
    Long,
    /// A keyword of which only these are allowed.
    OneOf(&'static [&'static str]),
}

/// The fields of the schema that QuickSale uses, of version 8.11:
/// <https://www.elastic.co/guide/en/ecs/8.11/ecs-field-reference.html>. Another one is added here after a look at its page there.
const FIELDS: [(&str, Kind); 28] = [
    ("@timestamp", Kind::Date),
    ("message", Kind::Text),
    ("client.address", Kind::Text),
    ("ecs.version", Kind::Text),
    ("error.message", Kind::Text),
    ("error.stack_trace", Kind::Text),
    ("error.type", Kind::Text),
    ("event.action", Kind::Text),
    ("event.dataset", Kind::Text),
    ("event.duration", Kind::Long),
    ("event.outcome", Kind::OneOf(&["failure", "success", "unknown"])),
    ("http.request.id", Kind::Text),
    ("http.request.method", Kind::Text),
    ("http.response.status_code", Kind::Long),
    ("log.level", Kind::Text),
    ("log.logger", Kind::Text),
    ("log.origin.file.line", Kind::Long),
    ("log.origin.file.name", Kind::Text),
    ("process.pid", Kind::Long),
    ("service.name", Kind::Text),
    ("service.node.name", Kind::Text),
    ("service.version", Kind::Text),
    ("span.id", Kind::Text),
    ("trace.id", Kind::Text),
    ("url.path", Kind::Text),
    ("user.id", Kind::Text),
    // Of none, and given by the library that writes the lines: where in the work of a library of Kubernetes something was logged.
    ("span.name", Kind::Text),
    // Not of the schema, and never will be: an object of our own name.
    ("quicksale", Kind::Text),
];
/// What every line has.
const ALWAYS: [&str; 6] = [
    "@timestamp",
    "message",
    "ecs.version",
    "log.level",
    "log.logger",
    "service.name",
];

/// The fields of an object, with dots between the names.
fn fields<'a>(of: &'a Value, prefix: &str, found: &mut Vec<(String, &'a Value)>) {
    for (name, value) in of.as_object().into_iter().flatten() {
        let full = format!("{prefix}{name}");
        match value {
            Value::Object(_) if full != "quicksale" => fields(value, &format!("{full}."), found),
            _ => found.push((full, value)),
        }
    }
}

/// Checks a line of a log, and returns the names of its fields.
///
/// # Errors
/// What is wrong with it.
pub fn check(line: &str) -> Result<BTreeSet<String>> {
    let event: Value = serde_json::from_str(line).with_context(|| format!("no JSON: {line}"))?;
    let mut found = Vec::new();
    fields(&event, "", &mut found);
    for (name, value) in &found {
        if name == "quicksale" {
            let plain = value.as_object().context("quicksale is no object")?;
            ensure!(
                plain
                    .values()
                    .all(|value| !value.is_object() && !value.is_array()),
                "{line}"
            );
            continue;
        }
        let of_schema = FIELDS.iter().find(|(known, _)| known == name);
        let (_, kind) = of_schema.with_context(|| format!("{name} is no field of the schema: {line}"))?;
        let fits = match kind {
            Kind::Date => value
                .as_str()
                .is_some_and(|at| at.parse::<jiff::Timestamp>().is_ok()),
            Kind::Text => value.is_string(),
            Kind::Long => value.is_i64() || value.is_u64(),
            Kind::OneOf(words) => value.as_str().is_some_and(|word| words.contains(&word)),
        };
        ensure!(fits, "{name} is not {kind:?}: {line}");
    }
    let names: BTreeSet<String> = found.into_iter().map(|(name, _)| name).collect();
    let missing: Vec<_> = ALWAYS.iter().filter(|name| !names.contains(**name)).collect();
    ensure!(missing.is_empty(), "without {missing:?}: {line}");
    Ok(names)
}
