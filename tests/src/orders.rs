//! Single orders: placing one, deciding about it, and waiting until all that was said of them is handled.

use crate::{
    scenarios::SETTLED,
    shop::Answer,
    world::{World, eventually},
};
use anyhow::{Context, Result, ensure};
use mongodb::bson::{DateTime, Document, doc};
use reqwest::Method;

/// Orders one unit and waits until it is held.
pub async fn held(world: &World, user: &str, key: &str, sku: &str) -> Result<String> {
    let placed = world.shop.order(user, key, sku, 1).await?;
    let order = placed.expect(201)?.json["order"]["_id"].as_str();
    let order = order.context("no _id")?.to_owned();
    eventually(SETTLED, "the unit is held", async || {
        let held = doc! {"_id": &order, "inventoryStatus": "RESERVED"};
        Ok(world.count_orders(held).await? == 1)
    })
    .await?;
    Ok(order)
}

/// Asks for a decision about an order: `confirm`, `fail` or `cancel`.
pub async fn ask(world: &World, order: &str, verb: &str, token: &str) -> Result<Answer> {
    let path = format!("/api/orders/{order}/{verb}");
    world.shop.send(Method::POST, &path, Some(token), None).await
}

/// Has the hold of an order run out.
pub async fn run_out(world: &World, order: &str) -> Result<()> {
    let all = world.database.collection::<Document>("orders");
    let past = doc! {"$set": {"holdExpiresAt": DateTime::from_millis(0)}};
    let done = all.update_one(doc! {"_id": order}, past).await?;
    ensure!(done.matched_count == 1, "there is no order {order}");
    Ok(())
}

/// Waits until every order has come to an end, and all that was said of them is handled.
pub async fn all_is_handled(world: &World) -> Result<()> {
    eventually(SETTLED, "all that was said is handled", async || {
        let numbers = world.settlement().await?;
        Ok(["pending", "outbox", "lag"].iter().all(|name| numbers[name] == 0))
    })
    .await
}
