//! What is accepted, and what is not any more, when a sale ends.

use anyhow::{Context, Result, ensure};
use mongodb::bson::{Document, doc};
use platform::tokens::Role;
use quicksale_tests::{
    scenarios::SETTLED,
    shop::Answer,
    world::{World, eventually},
};
use serde_json::{Value, json};
use std::time::Duration;

/// A process that stood still in the middle of an acceptance, and that nobody counts any more, wakes up when the sale is over.
#[tokio::test]
async fn a_process_that_wakes_up_after_the_count_accepts_nothing() -> Result<()> {
    let mut world = World::start().await?;
    world.second("order-2").await?;
    let shop = &world.shop;
    shop.product("DOORS", 50, Some(9)).await?;
    let place = async |key: &str| -> Result<Answer> {
        let request = shop
            .http
            .post(world.url_of("order-2", "/api/orders"))
            .bearer_auth(shop.token("ada", Role::Buyer)?)
            .header("Idempotency-Key", key)
            .json(&json!({"items": [{"sku": "DOORS", "quantity": 1}]}));
        Answer::of(request.send().await?).await
    };
    eventually(SETTLED, "the process accepts orders", async || {
        Ok(place("first").await?.status == 201)
    })
    .await?;
    // What it accepts next cannot be committed while somebody else has the customer's turn in hand.
    let mut session = world.database.client().start_session().await?;
    session.start_transaction().await?;
    let turns = world.database.collection::<Document>("quotas");
    turns
        .update_many(doc! {}, doc! {"$set": {"touched": true}})
        .session(&mut session)
        .await?;
    let batches = "quicksale_order_batch_size_count";
    let before = world.metric("order-2", batches).await?;
    let late = tokio::spawn({
        let (http, url) = (shop.http.clone(), world.url_of("order-2", "/api/orders"));
        let token = shop.token("ada", Role::Buyer)?;
        async move {
            let request = http
                .post(url)
                .bearer_auth(token)
                .header("Idempotency-Key", "late")
                .json(&json!({"items": [{"sku": "DOORS", "quantity": 1}]}));
            Answer::of(request.send().await?).await
        }
    });
    eventually(SETTLED, "it has begun", async || {
        Ok(world.metric("order-2", batches).await? > before)
    })
    .await?;
    world.freeze("order-2").await?;
    session.abort_transaction().await?;

    // The other one, which is all that the operator sees, is told that the sale is over, and counts.
    let mut document = world.current_control()?;
    document.version += 1;
    document.closed = true;
    ensure!(world.push_control("order", &document).await? == document.version);
    let counted = async || -> Result<Value> {
        let settlement = shop
            .http
            .get(world.url_of("order", "/internal/settlement"))
            .bearer_auth(shop.internal_token("operator")?);
        Ok(settlement.send().await?.error_for_status()?.json().await?)
    };
    eventually(SETTLED, "all is settled", async || {
        let count = counted().await?;
        Ok(count["pending"] == 0 && count["outbox"] == 0 && count["lag"] == 0)
    })
    .await?;
    let count = counted().await?;
    world.thaw("order-2").await?;
    let answer = tokio::time::timeout(Duration::from_secs(30), late).await???;
    ensure!(answer.status != 201, "accepted after the count: {}", answer.text);
    ensure!(counted().await?["accepted"] == count["accepted"], "{count}");
    // What was accepted before is still known.
    let again = place("first").await?;
    ensure!(
        again
            .expect(201)?
            .headers
            .get("idempotency-replayed")
            .context("no replay")?
            == "true"
    );
    Ok(())
}
