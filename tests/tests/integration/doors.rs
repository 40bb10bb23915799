//! What is accepted, and what is not any more, when a sale ends.

use super::somebody;
use anyhow::{Result, ensure};
use mongodb::bson::{Document, doc};
use platform::tokens::Role;
use quicksale_tests::{
    orders::{ask, held},
    scenarios::SETTLED,
    shop::{Answer, Shop},
    world::{World, eventually},
};
use reqwest::Method;
use sale::order::Confirmation;
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use tokio::task::JoinHandle;

/// A FlashSale that is deleted and made anew under its name has what the one before it left, closed doors among it.
#[tokio::test]
async fn a_sale_that_is_made_anew_under_its_name_accepts_orders() -> Result<()> {
    let mut world = World::start().await?;
    world.shop.product("AGAIN", 50, None).await?;
    world.shop.order("ada", "first", "AGAIN", 1).await?.expect(201)?;
    let mut document = world.current_control()?;
    document.version += 1;
    document.closed = true;
    ensure!(world.push_control("order", &document).await? == document.version);
    world.settlement().await?;
    let fences = world.database.collection::<Document>("fences");
    ensure!(
        fences
            .count_documents(doc! {"_id": "doors", "closed": true})
            .await?
            == 1
    );
    // The new one's pods are others, and their document is open and later.
    document.closed = false;
    world.control(|_| {}, &document)?;
    world.kill_and_restart("order")?;
    world.ready("order").await?;
    eventually(SETTLED, "an order is accepted", async || {
        Ok(world.shop.order("ada", "second", "AGAIN", 1).await?.status == 201)
    })
    .await
}

/// A sale that was closed, and counted, may be opened once more: by a later document, which the same processes go by.
#[tokio::test]
async fn a_sale_that_is_reopened_accepts_orders_and_can_be_closed_again() -> Result<()> {
    let world = World::start().await?;
    world.shop.product("MORE", 50, Some(9)).await?;
    let place = async |key: &str| world.shop.order("ada", key, "MORE", 1).await;
    let account = async || -> Result<Value> {
        let request = world.shop.http.get(world.url_of("order", "/internal/account"));
        let request = request.bearer_auth(world.shop.observer()?);
        Ok(request.send().await?.error_for_status()?.json().await?)
    };
    let mut document = world.current_control()?;
    for (accepted, round) in [(1, "first"), (2, "second")] {
        eventually(SETTLED, "an order is accepted", async || {
            Ok(place(round).await?.status == 201)
        })
        .await?;
        document.version += 1;
        document.closed = true;
        world.push_control("gateway", &document).await?;
        ensure!(world.push_control("order", &document).await? == document.version);
        eventually(SETTLED, "all is settled", async || {
            let count = world.settlement().await?;
            Ok(count["pending"] == 0 && count["accepted"] == accepted)
        })
        .await?;
        eventually(SETTLED, "every order is in the account", async || {
            let found = account().await?;
            let counted = &found["account"];
            Ok(found["state"] == "counted"
                && counted["accepted"] == accepted
                && counted["byStatus"] == json!({"CONFIRMED": accepted})
                && counted["soldForMinor"] == 79_999 * accepted
                && counted["firstSaleAt"].is_string()
                && counted["unreadable"] == 0)
        })
        .await?;
        let refused = place(&format!("after the {round} end")).await?;
        ensure!(refused.status == 409, "{}", refused.text);
        document.version += 1;
        document.closed = false;
        world.push_control("order", &document).await?;
        world.push_control("gateway", &document).await?;
        ensure!(account().await?["state"] == "open", "an open sale has no account");
    }
    Ok(())
}

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
    let orders = world.database.collection::<Document>("orders");
    orders
        .insert_one(doc! {"_id": "in hand", "userId": "ada", "turn": 2_i64})
        .session(&mut session)
        .await?;
    let batches = "quicksale_order_batch_size_count{work=\"accept\"}";
    let before = world.metric("order-2", batches).await?;
    let late = tokio::spawn({
        // It waits for as long as the process stands still.
        let (http, url) = (reqwest::Client::new(), world.url_of("order-2", "/api/orders"));
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
    eventually(SETTLED, "all is settled", async || {
        let count = world.settlement().await?;
        Ok(count["pending"] == 0 && count["outbox"] == 0 && count["lag"] == 0)
    })
    .await?;
    let count = world.settlement().await?;
    world.thaw("order-2").await?;
    let answer = tokio::time::timeout(Duration::from_secs(30), late).await???;
    ensure!(answer.status != 201, "accepted after the count: {}", answer.text);
    ensure!(
        world.settlement().await?["accepted"] == count["accepted"],
        "{count}"
    );
    eventually(SETTLED, "what was accepted before is still known", async || {
        let again = place("first").await?;
        let replayed = again.headers.get("idempotency-replayed");
        Ok(again.status == 201 && replayed.is_some_and(|replayed| replayed == "true"))
    })
    .await
}

/// Its buyer has been told that nobody knows, and may have been refused elsewhere since.
#[tokio::test]
async fn what_waited_while_a_process_stood_still_is_not_carried_out() -> Result<()> {
    what_waited_is_not_carried_out_by("order").await
}

/// Also before it has come to the process that decides.
#[tokio::test]
async fn what_waited_while_a_gateway_stood_still_is_not_carried_out() -> Result<()> {
    what_waited_is_not_carried_out_by("gateway").await
}

async fn what_waited_is_not_carried_out_by(service: &str) -> Result<()> {
    let world = World::start_with(Confirmation::Payment).await?;
    let shop = Arc::clone(&world.shop);
    shop.product("WAITS", 5, None).await?;
    let order = held(&world, "bob", "k", "WAITS").await?;
    world.freeze(service).await?;
    let waiting = late_wishes(&shop, &order, "WAITS");
    // It goes by its own monotonic clock, and gateways wait for ten seconds.
    tokio::time::sleep(Duration::from_secs(7)).await;
    world.thaw(service).await?;
    for asked in waiting {
        asked.await??.expect_problem(503, "busy")?;
    }
    let as_before = doc! {"_id": &order, "status": "PENDING"};
    ensure!(world.count_orders(as_before).await? == 1, "it was cancelled");
    ensure!(
        world.count_orders(doc! {}).await? == 1,
        "another one was accepted"
    );
    eventually(SETTLED, "orders are accepted again", async || {
        Ok(shop.order(&somebody(), "k", "WAITS", 1).await?.status == 201)
    })
    .await?;
    shop.order("ada", "late", "WAITS", 1).await?.expect(201)?;
    let bob = shop.token("bob", Role::Buyer)?;
    ask(&world, &order, "cancel", &bob).await?.expect(200)?;
    world.check_conservation().await
}

/// An order of Ada's and a cancellation of Bob's, which nobody answers yet.
fn late_wishes(shop: &Arc<Shop>, order: &str, sku: &'static str) -> [JoinHandle<Result<Answer>>; 2] {
    [("ada", "place"), ("bob", "cancel")].map(|(user, what)| {
        let (shop, order) = (Arc::clone(shop), order.to_owned());
        tokio::spawn(async move {
            if what == "place" {
                return shop.order(user, "late", sku, 1).await;
            }
            let path = format!("/api/orders/{order}/cancel");
            let token = shop.token(user, Role::Buyer)?;
            shop.send(Method::POST, &path, Some(&token), None).await
        })
    })
}
