//! What processes log is read by machines: one event a line, by the Elastic Common Schema.

use anyhow::{Context, Result, ensure};
use platform::tokens::Role;
use quicksale_tests::{
    ecs::check,
    scenarios::SETTLED,
    world::{SERVICES, World, eventually},
};
use reqwest::Method;
use std::collections::BTreeSet;

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
    // Whoever logs something on the way of a request says of which one.
    let refusal = world.log_of("auth")?;
    let refusal = refusal
        .lines()
        .find(|line| line.contains("quicksale.audit") && line.contains(r#""outcome":"failure""#));
    let refusal: serde_json::Value = serde_json::from_str(refusal.context("auth has written nothing down")?)?;
    ensure!(refusal["trace"]["id"].is_string(), "{refusal}");
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
