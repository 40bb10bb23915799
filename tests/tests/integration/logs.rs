//! What processes log is read by machines: one event a line, by the Elastic Common Schema.

use anyhow::{Context, Result, ensure};
use platform::tokens::Role;
use quicksale_tests::{
    scenarios::SETTLED,
    world::{SERVICES, World, eventually},
};
use reqwest::Method;
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
const FIELDS: [(&str, Kind); 27] = [
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

fn check(line: &str) -> Result<BTreeSet<String>> {
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

#[tokio::test]
async fn every_line_of_every_process_is_an_event_of_the_schema() -> Result<()> {
    let world = World::start().await?;
    let shop = &world.shop;
    shop.product("LOGGED", 5, None).await?;
    shop.order("ada", "k", "LOGGED", 1).await?.expect(201)?;
    shop.send(Method::GET, "/api/orders", None, None)
        .await?
        .expect(401)?;
    let wrong = serde_json::json!({"email": "nobody@example.com", "password": "no password of theirs"});
    shop.send(Method::POST, "/api/auth/login", None, Some(wrong))
        .await?
        .expect(401)?;
    let admin = shop.token("the-admin", Role::Admin)?;
    let new = serde_json::json!({"sku": "LOGGED-2", "name": "n", "price": 1, "stock": 1});
    shop.send(Method::POST, "/api/inventory/products", Some(&admin), Some(new))
        .await?
        .expect(201)?;
    eventually(SETTLED, "the order has ended", async || {
        let ended = mongodb::bson::doc! {"status": "CONFIRMED"};
        Ok(world.count_orders(ended).await? == 1)
    })
    .await?;
    let mut used = BTreeSet::new();
    for service in SERVICES {
        let log = world.log_of(service)?;
        ensure!(log.lines().count() > 1, "{service} has logged nothing");
        for line in log.lines() {
            used.extend(check(line).with_context(|| service.to_owned())?);
        }
    }
    // The lines that matter were among them.
    for name in [
        "event.action",
        "event.duration",
        "event.outcome",
        "http.request.id",
        "http.response.status_code",
        "trace.id",
        "user.id",
    ] {
        ensure!(used.contains(name), "no line had {name}");
    }
    Ok(())
}
