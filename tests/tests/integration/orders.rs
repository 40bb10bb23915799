//! What an order says: its lines, and whether it is the same as before.

use anyhow::{Result, ensure};
use mongodb::bson::{Document, doc};
use platform::tokens::Role;
use quicksale_tests::{
    scenarios::SETTLED,
    world::{World, eventually},
};
use serde_json::json;

#[tokio::test]
async fn an_unknown_product_behind_a_known_one_is_named_and_nothing_is_taken() -> Result<()> {
    let world = World::start().await?;
    let shop = &world.shop;
    let product = shop.product("KNOWN", 10, None).await?;
    let ada = shop.token("ada", Role::Buyer)?;
    let count = format!("{}gate:{product}", world.config.redis_prefix);
    let is_whole = async || Ok(world.backends.redis(&["get", &count]).await?.trim() == "10");
    eventually(SETTLED, "the gate is open", is_whole).await?;
    for (line, field) in [
        (
            json!({"productId": "nobody-knows-me", "quantity": 1}),
            "items[1].productId",
        ),
        (json!({"sku": "GHOST", "quantity": 1}), "items[1].sku"),
    ] {
        let items = json!([{"sku": "KNOWN", "quantity": 10}, line]);
        let refused = shop.place(&ada, "k", items).await?;
        refused.expect_problem(400, "invalid_request")?;
        ensure!(refused.json["errors"][0]["field"] == field, "{}", refused.text);
        ensure!(is_whole().await?, "units were taken at the gate");
    }
    let shown = shop.shown("KNOWN").await?;
    ensure!(shown["available"] == 10 && shown["reserved"] == 0, "{shown}");
    ensure!(world.count_orders(doc! {}).await? == 0);
    let reservations = world.database.collection::<Document>("reservations");
    ensure!(reservations.count_documents(doc! {}).await? == 0);
    // Nor is the key used up.
    shop.order("ada", "k", "KNOWN", 10).await?.expect(201)?;
    world.check_conservation().await
}

#[tokio::test]
async fn the_same_lines_in_another_sequence_are_the_same_order() -> Result<()> {
    let world = World::start().await?;
    let shop = &world.shop;
    shop.product("ONE", 10, None).await?;
    shop.product("OTHER", 10, None).await?;
    let ada = shop.token("ada", Role::Buyer)?;
    let line = |sku: &str, quantity: u32| json!({"sku": sku, "quantity": quantity});
    let placed = shop
        .place(&ada, "k", json!([line("ONE", 1), line("OTHER", 2)]))
        .await?;
    placed.expect(201)?;
    ensure!(
        !placed.headers.contains_key("idempotency-replayed"),
        "{:?}",
        placed.headers
    );
    let repeat = shop
        .place(&ada, "k", json!([line("OTHER", 2), line("ONE", 1)]))
        .await?;
    ensure!(
        repeat.expect(201)?.headers["idempotency-replayed"] == "true",
        "{:?}",
        repeat.headers
    );
    ensure!(
        repeat.json["order"]["_id"] == placed.json["order"]["_id"],
        "{}",
        repeat.text
    );
    shop.place(&ada, "k", json!([line("OTHER", 1), line("ONE", 2)]))
        .await?
        .expect_problem(422, "idempotency_key_reused")?;
    ensure!(world.count_orders(doc! {}).await? == 1);
    eventually(SETTLED, "it was bought once", async || {
        let (one, other) = (shop.shown("ONE").await?, shop.shown("OTHER").await?);
        Ok(one["sold"] == 1 && other["sold"] == 2)
    })
    .await?;
    world.check_conservation().await
}
