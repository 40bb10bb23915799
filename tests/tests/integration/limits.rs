//! What one customer may have.

use anyhow::{Context, Result, ensure};
use mongodb::bson::doc;
use platform::tokens::Role;
use quicksale_tests::{
    orders::{ask, held},
    scenarios::SETTLED,
    shop::Answer,
    world::{World, eventually},
};
use reqwest::Method;
use sale::order::Confirmation;
use serde_json::json;

/// Neither process sees what the other is about to write.
#[tokio::test]
async fn two_orders_of_a_customer_at_two_processes_do_not_both_pass_the_limit() -> Result<()> {
    let mut world = World::start().await?;
    world.second("order-2").await?;
    let shop = &world.shop;
    shop.product("ONE-EACH", 100, Some(1)).await?;
    let processes = ["order", "order-2"];
    let place = async |process: &str, user: &str| -> Result<Answer> {
        let token = shop.token(user, Role::Buyer)?;
        let request = shop
            .http
            .post(world.url_of(process, "/api/orders"))
            .bearer_auth(token)
            .header("Idempotency-Key", format!("at {process}"))
            .json(&json!({"items": [{"sku": "ONE-EACH", "quantity": 1}]}));
        Answer::of(request.send().await?).await
    };
    for process in processes {
        eventually(SETTLED, "the process knows the product", async || {
            let somebody = uuid::Uuid::new_v4().to_string();
            Ok(place(process, &somebody).await?.status == 201)
        })
        .await?;
    }
    for n in 0..30 {
        let user = format!("twice-{n}");
        let (one, other) = tokio::join!(place(processes[0], &user), place(processes[1], &user));
        let (one, other) = (one?, other?);
        let mut statuses = [one.status, other.status];
        statuses.sort_unstable();
        ensure!(statuses == [201, 409], "{user}: {} and {}", one.text, other.text);
        ensure!(
            world.count_orders(doc! {"userId": &user}).await? == 1,
            "{user} has two orders"
        );
    }
    world.check_conservation().await
}

/// What a customer has counts, whenever the limit came.
#[tokio::test]
async fn a_limit_counts_what_was_ordered_before_it_was_set() -> Result<()> {
    let world = World::start_with(Confirmation::Payment).await?;
    let shop = &world.shop;
    let product = shop.product("LATER", 50, None).await?;
    let admin = shop.observer()?;
    let (first, second) = (
        held(&world, "ada", "first", "LATER").await?,
        held(&world, "ada", "second", "LATER").await?,
    );
    let set = async |limit: u32| {
        let path = format!("/api/inventory/products/{product}");
        let body = json!({"limitPerCustomer": limit, "version": shop.shown("LATER").await?["version"]});
        shop.send(Method::PATCH, &path, Some(&admin), Some(body))
            .await?
            .expect(200)?;
        // The order process knows it when it refuses somebody for it.
        eventually(SETTLED, "the limit is known", async || {
            let somebody = uuid::Uuid::new_v4().to_string();
            shop.order(&somebody, "all of it", "LATER", limit).await?;
            let answer = shop.order(&somebody, "more", "LATER", 1).await?;
            Ok(answer.json["code"] == "customer_limit")
        })
        .await
    };
    set(2).await?;
    let order = async |key: &str| shop.order("ada", key, "LATER", 1).await;
    let third = order("third").await?;
    third.expect_problem(409, "customer_limit")?;
    ensure!(
        third.json["sku"] == "LATER" && third.json["limit"] == 2,
        "{}",
        third.text
    );
    let ada = shop.token("ada", Role::Buyer)?;
    for ended in [&first, &second] {
        ask(&world, ended, "cancel", &ada).await?.expect(200)?;
        held(&world, "ada", &format!("instead of {ended}"), "LATER").await?;
        order("one too many")
            .await?
            .expect_problem(409, "customer_limit")?;
    }
    set(3).await?;
    order("the third").await?.expect(201)?;
    order("the fourth").await?.expect_problem(409, "customer_limit")?;
    world.check_conservation().await
}

/// "Sold out" is for good, so buyers go away; while units may come back they are told to try again, and which.
#[tokio::test]
async fn sold_out_is_said_when_nothing_can_come_back_and_not_before() -> Result<()> {
    let world = World::start_with(Confirmation::Payment).await?;
    let shop = &world.shop;
    world.let_users_order_often()?;
    let product = shop.product("LAST-ONE", 1, None).await?;
    let order = held(&world, "ada", "k", "LAST-ONE").await?;
    let refused = shop.order("bob", "k", "LAST-ONE", 1).await?;
    refused.expect_problem(409, "units_held")?;
    ensure!(
        refused.json["sku"] == "LAST-ONE"
            && refused.json["left"] == 0
            && refused.headers.contains_key("retry-after"),
        "{} {:?}",
        refused.text,
        refused.headers
    );
    let payment = shop.token("the-payment", Role::Service)?;
    ask(&world, &order, "confirm", &payment).await?.expect(200)?;
    eventually(SETTLED, "it is known that all is sold", async || {
        let refused = shop.order("bob", "k", "LAST-ONE", 1).await?;
        Ok(refused.expect_problem(409, "sold_out").is_ok() && refused.json["sku"] == "LAST-ONE")
    })
    .await?;
    // By hand the same is said.
    let admin = shop.token("an-admin", Role::Admin)?;
    let hold = json!({"orderId": "by-hand", "items": [{"sku": "LAST-ONE", "quantity": 1}]});
    let by_hand = shop
        .send(
            Method::POST,
            "/api/inventory/reserve",
            Some(&admin),
            Some(hold.clone()),
        )
        .await?;
    by_hand.expect_problem(409, "sold_out")?;
    let path = format!("/api/inventory/products/{product}/stock");
    let more = json!({"delta": 2});
    shop.send(Method::POST, &path, Some(&admin), Some(more))
        .await?
        .expect(200)?;
    shop.order("bob", "k", "LAST-ONE", 1).await?.expect(201)?;
    held(&world, "eve", "k", "LAST-ONE").await?;
    let by_hand = shop
        .send(Method::POST, "/api/inventory/reserve", Some(&admin), Some(hold))
        .await?;
    by_hand.expect_problem(409, "units_held")?;
    world.check_conservation().await
}

/// A payment service confirms the orders of a whole crowd.
#[tokio::test]
async fn a_service_may_ask_more_often_than_a_customer() -> Result<()> {
    let world = World::start_with(Confirmation::Payment).await?;
    let shop = &world.shop;
    shop.product("OFTEN", 5, None).await?;
    let order = held(&world, "ada", "k", "OFTEN").await?;
    let limit = |answer: &Answer| -> Result<u32> { Ok(answer.headers["ratelimit-limit"].to_str()?.parse()?) };
    let ada = shop.token("ada", Role::Buyer)?;
    let path = format!("/api/orders/{order}");
    let read = shop.send(Method::GET, &path, Some(&ada), None).await?;
    let of_a_customer = limit(read.expect(200)?)?;
    let payment = shop.token("the-payment", Role::Service)?;
    for n in 0..=of_a_customer {
        let confirmed = ask(&world, &order, "confirm", &payment).await?;
        confirmed
            .expect(200)
            .with_context(|| format!("confirmation {n}"))?;
        ensure!(
            limit(&confirmed)? > of_a_customer,
            "a service has no more than a customer"
        );
    }
    ensure!(of_a_customer == 100, "a customer may ask {of_a_customer} times");
    Ok(())
}
