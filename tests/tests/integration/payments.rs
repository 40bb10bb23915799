//! Orders that wait for a payment: who decides about one, and who hears of it.

use super::holds::by_hand;
use anyhow::{Context, Result, bail, ensure};
use futures::future::join_all;
use mongodb::bson::{Document, doc};
use platform::tokens::Role;
use quicksale_tests::{
    orders::{all_is_handled, ask, held, run_out},
    scenarios::SETTLED,
    shop::next_update,
    world::{World, eventually},
};
use reqwest::Method;
use sale::order::Confirmation;
use serde_json::json;
use std::time::Duration;

/// Of a payment and a cancellation that race, one is done and the other is told so.
#[tokio::test]
async fn a_payment_and_a_cancellation_that_meet_are_answered_by_what_becomes_of_the_order() -> Result<()> {
    let world = World::start_with(Confirmation::Payment).await?;
    let shop = &world.shop;
    shop.product("RACE", 40, None).await?;
    let payment = shop.token("the-payment", Role::Service)?;
    let orders = join_all((0..40).map(|n| {
        let world = &world;
        async move { held(world, &format!("racer-{n}"), "k", "RACE").await }
    }))
    .await;
    let mut paid_first = 0;
    for (n, order) in orders.into_iter().enumerate() {
        let order = order?;
        let buyer = shop.token(&format!("racer-{n}"), Role::Buyer)?;
        let (paid, cancelled) = if n % 2 == 0 {
            tokio::join!(
                ask(&world, &order, "confirm", &payment),
                ask(&world, &order, "cancel", &buyer)
            )
        } else {
            let (cancelled, paid) = tokio::join!(
                ask(&world, &order, "cancel", &buyer),
                ask(&world, &order, "confirm", &payment)
            );
            (paid, cancelled)
        };
        let (paid, cancelled) = (paid?, cancelled?);
        let (late, end) = match (paid.status, cancelled.status) {
            (200, 409) => (&cancelled, "CONFIRMED"),
            (409, 200) => (&paid, "CANCELLED"),
            other => bail!("order {n}: {other:?}"),
        };
        paid_first += u32::from(end == "CONFIRMED");
        ensure!(late.json["code"] == "order_final", "{}", late.text);
        ensure!(late.json["orderStatus"] == end, "{}", late.text);
        ensure!(world.count_orders(doc! {"_id": &order, "status": end}).await? == 1);
        // Whoever asks once more hears the same.
        let again = ask(&world, &order, "confirm", &payment).await?;
        ensure!(again.status == paid.status, "{}", again.text);
    }
    eventually(SETTLED, "each unit is where its order has ended", async || {
        let product = shop.shown("RACE").await?;
        Ok(product["sold"] == paid_first && product["reserved"] == 0)
    })
    .await?;
    world.check_conservation().await
}

#[tokio::test]
async fn a_payment_that_fails_gives_units_and_limit_back() -> Result<()> {
    let world = World::start_with(Confirmation::Payment).await?;
    let shop = &world.shop;
    shop.product("DECLINED", 5, Some(1)).await?;
    let payment = shop.token("the-payment", Role::Service)?;
    let order = held(&world, "ada", "first", "DECLINED").await?;
    let ada = shop.token("ada", Role::Buyer)?;
    for verb in ["confirm", "fail"] {
        ask(&world, &order, verb, &ada)
            .await?
            .expect_problem(403, "forbidden")?;
        ask(&world, "unknown", verb, &payment)
            .await?
            .expect_problem(404, "not_found")?;
    }
    for _ in 0..2 {
        let failed = ask(&world, &order, "fail", &payment).await?;
        let shown = &failed.expect(200)?.json["order"];
        ensure!(
            shown["status"] == "FAILED" && shown["reason"] == "payment_failed",
            "{shown}"
        );
    }
    let late = ask(&world, &order, "confirm", &payment).await?;
    ensure!(
        late.status == 409 && late.json["orderStatus"] == "FAILED",
        "{}",
        late.text
    );
    eventually(SETTLED, "the unit is back", async || {
        let product = shop.shown("DECLINED").await?;
        Ok(product["available"] == 5 && product["reserved"] == 0)
    })
    .await?;
    held(&world, "ada", "second", "DECLINED").await?;
    // Before there is an answer about the units they cannot be sold.
    world.freeze("processor").await?;
    let placed = shop.order("bob", "k", "DECLINED", 1).await?;
    let unheld = placed.expect(201)?.json["order"]["_id"].as_str();
    let early = ask(&world, unheld.context("no _id")?, "confirm", &payment).await?;
    ensure!(early.headers.contains_key("retry-after"), "{early:?}");
    early.expect_problem(409, "not_held_yet")?;
    world.thaw("processor").await
}

#[tokio::test]
async fn a_buyer_hears_until_when_units_wait_for_the_payment() -> Result<()> {
    let world = World::start_with(Confirmation::Payment).await?;
    let shop = &world.shop;
    shop.product("WAITS", 5, None).await?;
    let ada = shop.token("ada", Role::Buyer)?;
    let mut socket = shop.socket(&ada).await?;
    let order = held(&world, "ada", "k", "WAITS").await?;
    let update = next_update(&mut socket).await?;
    ensure!(
        update["data"]["orderId"] == *order && update["data"]["status"] == "PENDING",
        "{update}"
    );
    let shown = shop
        .send(Method::GET, &format!("/api/orders/{order}"), Some(&ada), None)
        .await?;
    let until: jiff::Timestamp = shown.json["holdExpiresAt"]
        .as_str()
        .context("no holdExpiresAt")?
        .parse()?;
    let told: jiff::Timestamp = update["data"]["holdExpiresAt"]
        .as_str()
        .context("not told")?
        .parse()?;
    ensure!(until == told, "{until} and {told}");
    let left = until.duration_since(jiff::Timestamp::now()).as_secs();
    let ttl = i64::try_from(world.config.reservation_ttl_seconds)?;
    ensure!((ttl - 60..=ttl).contains(&left), "{left} s of {ttl} s");
    let payment = shop.token("the-payment", Role::Service)?;
    let confirmed = ask(&world, &order, "confirm", &payment).await?;
    let confirmed = &confirmed.expect(200)?.json["order"];
    ensure!(confirmed.get("holdExpiresAt").is_none(), "{confirmed}");
    let update = next_update(&mut socket).await?;
    ensure!(update["data"]["status"] == "CONFIRMED", "{update}");
    ensure!(update["data"].get("holdExpiresAt").is_none(), "{update}");
    Ok(())
}

/// The order says when its hold is over, also where a payment comes at the same moment.
#[tokio::test]
async fn a_hold_that_runs_out_ends_its_order_unless_it_was_paid_before() -> Result<()> {
    let world = World::start_with(Confirmation::Payment).await?;
    let shop = &world.shop;
    shop.product("LATE", 21, Some(1)).await?;
    let payment = shop.token("the-payment", Role::Service)?;
    let unpaid = held(&world, "nobody-pays", "k", "LATE").await?;
    run_out(&world, &unpaid).await?;
    eventually(SETTLED, "its hold has run out", async || {
        Ok(world
            .count_orders(doc! {"_id": &unpaid, "status": "EXPIRED"})
            .await?
            == 1)
    })
    .await?;
    let late = ask(&world, &unpaid, "confirm", &payment).await?;
    ensure!(
        late.status == 409 && late.json["orderStatus"] == "EXPIRED",
        "{}",
        late.text
    );
    let mut sold = 0;
    for n in 0..20 {
        let order = held(&world, &format!("buyer-{n}"), "k", "LATE").await?;
        run_out(&world, &order).await?;
        // Somewhere within the second in which it is looked for those that are over.
        tokio::time::sleep(Duration::from_millis(53 * n)).await;
        let paid = ask(&world, &order, "confirm", &payment).await?;
        let end = match paid.status {
            200 => "CONFIRMED",
            409 if paid.json["orderStatus"] == "EXPIRED" => "EXPIRED",
            _ => bail!("{}", paid.text),
        };
        sold += u32::from(end == "CONFIRMED");
        ensure!(world.count_orders(doc! {"_id": &order, "status": end}).await? == 1);
    }
    eventually(SETTLED, "what was not paid is back", async || {
        let product = shop.shown("LATE").await?;
        Ok(product["sold"] == sold && product["reserved"] == 0)
    })
    .await?;
    world.check_conservation().await
}

/// Units that come back one after the other are for sale at once, and not only once none comes any more.
#[tokio::test]
async fn units_that_come_back_are_for_sale_while_others_do() -> Result<()> {
    let world = World::start_with(Confirmation::Payment).await?;
    let shop = &world.shop;
    shop.product("BACK", 12, None).await?;
    let mut orders = Vec::new();
    for n in 0..12 {
        orders.push((n, held(&world, &format!("first-{n}"), "k", "BACK").await?));
    }
    let mut sold_again = 0;
    for (n, order) in orders {
        let buyer = shop.token(&format!("first-{n}"), Role::Buyer)?;
        ask(&world, &order, "cancel", &buyer).await?.expect(200)?;
        // Shorter than what a standstill is.
        tokio::time::sleep(Duration::from_millis(700)).await;
        let placed = shop.order(&format!("second-{n}"), "k", "BACK", 1).await?;
        sold_again += u32::from(placed.status == 201);
    }
    ensure!(
        sold_again >= 10,
        "only {sold_again} of 12 units were for sale again"
    );
    world.check_conservation().await
}

/// The same where nobody cancels: each unit is for sale as soon as inventory has heard that its order is over.
#[tokio::test]
async fn units_of_orders_that_run_out_are_for_sale_while_others_buy() -> Result<()> {
    let world = World::start_with(Confirmation::Payment).await?;
    let shop = &world.shop;
    shop.product("LAPSED", 12, None).await?;
    let mut orders = Vec::new();
    for n in 0..12 {
        orders.push(held(&world, &format!("first-{n}"), "k", "LAPSED").await?);
    }
    let reservations = world.database.collection::<Document>("reservations");
    for order in &orders {
        run_out(&world, order).await?;
        eventually(SETTLED, "its unit has gone back", async || {
            let back = doc! {"_id": order, "state": "RELEASED"};
            Ok(reservations.count_documents(back).await? == 1)
        })
        .await?;
        ensure!(
            world
                .count_orders(doc! {"_id": order, "status": "EXPIRED"})
                .await?
                == 1
        );
        eventually(SETTLED, "somebody else gets it", async || {
            let buyer = uuid::Uuid::new_v4().to_string();
            Ok(shop.order(&buyer, "k", "LAPSED", 1).await?.status == 201)
        })
        .await?;
    }
    // Nobody had to wait until the gate was found to be wrong.
    let name = "quicksale_gate_corrections_total";
    ensure!(
        world.metric_sum("inventory", name, "up").await? == 0.0,
        "the gate had to be set right"
    );
    world.check_conservation().await
}

/// Inventory hears of the payment first, and the order of the cancellation: that was first.
#[tokio::test]
async fn a_payment_between_a_cancellation_and_the_news_of_it_confirms_nothing() -> Result<()> {
    let world = World::start_with(Confirmation::Payment).await?;
    let shop = &world.shop;
    shop.product("BETWEEN", 5, None).await?;
    let order = held(&world, "ada", "k", "BETWEEN").await?;
    let ada = shop.token("ada", Role::Buyer)?;
    let confirm = async || by_hand(&world, "confirm", json!({"orderId": order})).await;
    world.freeze("processor").await?;
    ask(&world, &order, "cancel", &ada).await?.expect(200)?;
    let asked = confirm().await?;
    ensure!(asked.expect(200)?.json["state"] == "HELD", "{}", asked.text);
    world.thaw("processor").await?;
    eventually(SETTLED, "the unit is back", async || {
        let product = shop.shown("BETWEEN").await?;
        Ok(product["available"] == 5 && product["reserved"] == 0)
    })
    .await?;
    all_is_handled(&world).await?;
    ensure!(
        world
            .count_orders(doc! {"_id": &order, "status": "CANCELLED"})
            .await?
            == 1
    );
    let notifications = world.database.collection::<Document>("notifications");
    let told = doc! {"orderId": &order, "status": "CONFIRMED"};
    ensure!(
        notifications.count_documents(told).await? == 0,
        "somebody was told that it is confirmed"
    );
    confirm().await?.expect_problem(409, "order_final")?;
    ensure!(shop.shown("BETWEEN").await?["available"] == 5);
    world.check_conservation().await
}

/// The other way round: what inventory was told first the order hears last, and its buyer has said something else meanwhile.
#[tokio::test]
async fn a_cancellation_between_a_payment_by_hand_and_the_news_of_it_gives_the_unit_back() -> Result<()> {
    let world = World::start_with(Confirmation::Payment).await?;
    let shop = &world.shop;
    shop.product("REVERSE", 5, None).await?;
    let order = held(&world, "ada", "k", "REVERSE").await?;
    let ada = shop.token("ada", Role::Buyer)?;
    let confirm = async || by_hand(&world, "confirm", json!({"orderId": order})).await;
    world.freeze("processor").await?;
    let asked = confirm().await?;
    ensure!(asked.expect(200)?.json["state"] == "HELD", "{}", asked.text);
    ask(&world, &order, "cancel", &ada).await?.expect(200)?;
    world.thaw("processor").await?;
    eventually(SETTLED, "the unit is back", async || {
        let product = shop.shown("REVERSE").await?;
        Ok(product["available"] == 5 && product["reserved"] == 0)
    })
    .await?;
    all_is_handled(&world).await?;
    let cancelled = doc! {"_id": &order, "status": "CANCELLED"};
    ensure!(world.count_orders(cancelled).await? == 1, "it has another end");
    let notifications = world.database.collection::<Document>("notifications");
    for (status, times) in [("CANCELLED", 1), ("CONFIRMED", 0)] {
        let told = doc! {"orderId": &order, "status": status};
        ensure!(
            notifications.count_documents(told).await? == times,
            "{status} was told otherwise"
        );
    }
    confirm().await?.expect_problem(409, "order_final")?;
    world.check_conservation().await
}

#[tokio::test]
async fn an_order_that_several_end_at_once_has_one_end() -> Result<()> {
    let world = World::start_with(Confirmation::Payment).await?;
    let shop = &world.shop;
    shop.product("ENDS", 10, None).await?;
    let payment = shop.token("the-payment", Role::Service)?;
    let about = async |verb: &str, order: &str| by_hand(&world, verb, json!({"orderId": order})).await;
    let mut orders = Vec::new();
    for n in 0..10 {
        let user = format!("buyer-{n}");
        let order = held(&world, &user, "k", "ENDS").await?;
        let buyer = shop.token(&user, Role::Buyer)?;
        let (one, released, other) = tokio::join!(
            ask(&world, &order, "cancel", &buyer),
            about("release", &order),
            ask(&world, &order, "cancel", &buyer)
        );
        for answer in [one?, released?, other?] {
            answer.expect(200)?;
        }
        let late = ask(&world, &order, "confirm", &payment).await?;
        late.expect_problem(409, "order_final")?;
        ensure!(late.json["orderStatus"] == "CANCELLED", "{}", late.text);
        about("confirm", &order)
            .await?
            .expect_problem(409, "order_final")?;
        orders.push(order);
    }
    all_is_handled(&world).await?;
    let ended = doc! {"_id": {"$in": &orders}, "status": "CANCELLED"};
    ensure!(world.count_orders(ended).await? == 10);
    let notifications = world.database.collection::<Document>("notifications");
    let told = doc! {"orderId": {"$in": &orders}, "status": {"$ne": "PENDING"}};
    ensure!(
        notifications.count_documents(told).await? == 10,
        "somebody was told of two ends"
    );
    let product = shop.shown("ENDS").await?;
    ensure!(
        product["available"] == 10 && product["reserved"] == 0 && product["sold"] == 0,
        "{product}"
    );
    world.check_conservation().await
}
