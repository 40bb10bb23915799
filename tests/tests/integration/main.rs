//! The services as processes of their own, on real backends.

mod books;
mod console;
mod damage;
mod decisions;
mod document;
mod doors;
mod gate;
mod holds;
mod letters;
mod limits;
mod logs;
mod messages;
mod metrics;
mod orders;
mod payments;
mod prices;
mod remembered;
mod rights;
mod traces;
mod updates;

use anyhow::{Context, Result, ensure};
use events::Topic;
use futures::future::{join_all, select};
use gateway::gate::{Attempt, Gate, Knowledge, Outcome, Passage, Passed, WantedUnits};
use jiff::Timestamp;
use mongodb::bson::{DateTime, Document, doc};
use platform::tokens::Role;
use quicksale_tests::{
    backends::Backends,
    scenarios::{SETTLED, crowd, seed_flow},
    shop::{Answer, next_update},
    unsaid,
    world::{PAGE, SERVICES, World, eventually},
};
use reqwest::Method;
use sale::{ProductId, UserId, order::Confirmation};
use serde_json::json;
use std::{cell::Cell, collections::HashMap, sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

/// A buyer who has ordered nothing before: what was accepted once under a key is answered like that ever after.
fn somebody() -> String {
    uuid::Uuid::new_v4().to_string()
}

#[tokio::test]
async fn the_seed_flow() -> Result<()> {
    let world = World::start().await?;
    let shop = &world.shop;
    let (token, id) = seed_flow(shop, &World::admin(), "FLASH-LAPTOP-001").await?;

    let buyer =
        json!({"email": "Ada@Example.com", "password": "correct horse", "firstName": "Ada", "lastName": "L"});
    let register = async || {
        shop.send(Method::POST, "/api/auth/register", None, Some(buyer.clone()))
            .await
    };
    let registered = register().await?;
    assert_eq!(registered.expect(201)?.json["user"]["role"], "buyer");
    register().await?.expect_problem(409, "email_taken")?;

    let product = shop.shown("FLASH-LAPTOP-001").await?;
    let items = json!([{"productId": product["_id"], "quantity": 1}]);
    let replay = shop.place(&token, "order-001", items).await?;
    assert_eq!(replay.expect(201)?.headers["idempotency-replayed"], "true");
    assert_eq!(replay.json["order"]["_id"], json!(id));
    let other = json!([{"sku": "FLASH-LAPTOP-001", "quantity": 2}]);
    shop.place(&token, "order-001", other)
        .await?
        .expect_problem(422, "idempotency_key_reused")?;

    // After a reconnect what was not read comes again, until it is read.
    let update = next_update(&mut shop.socket(&token).await?).await?;
    assert_eq!(update["data"]["orderId"], json!(id));
    eventually(SETTLED, "the notification is stored", async || {
        let list = shop
            .send(Method::GET, "/api/notifications", Some(&token), None)
            .await?;
        Ok(list.json["items"][0]["_id"] == update["id"])
    })
    .await?;
    let all = shop
        .send(Method::POST, "/api/notifications/read-all", Some(&token), None)
        .await?;
    assert_eq!(all.json["updated"], 1);
    world.check_conservation().await
}

#[tokio::test]
async fn three_hundred_buyers_get_fifty_units() -> Result<()> {
    let world = World::start().await?;
    world.shop.product("CALM", 50, Some(1)).await?;
    crowd(&world.shop, "CALM", 50, async { Ok(()) }).await?;
    world.check_conservation().await
}

#[tokio::test]
async fn three_hundred_buyers_get_fifty_units_while_every_service_is_killed() -> Result<()> {
    let mut world = World::start().await?;
    world.shop.product("STORM", 50, Some(1)).await?;
    let shop = Arc::clone(&world.shop);
    let kill_all = async {
        for service in SERVICES {
            world.kill_and_restart(service)?;
            tokio::time::sleep(Duration::from_millis(150)).await;
        }
        Ok(())
    };
    let sold = crowd(&shop, "STORM", 50, kill_all).await;
    if sold.is_err() {
        return sold.context(world.describe().await?);
    }
    world.check_conservation().await
}

#[tokio::test]
async fn one_key_is_one_order_and_the_limit_counts_all_orders() -> Result<()> {
    let world = World::start().await?;
    world.shop.product("LIMITED", 50, Some(2)).await?;
    world.shop.product("FREE", 50, None).await?;
    let same = join_all((0..8).map(|_| world.shop.order("ada", "one", "FREE", 1))).await;
    let ids: std::collections::HashSet<String> = same
        .into_iter()
        .map(|a| Ok(a?.expect(201)?.json["order"]["_id"].to_string()))
        .collect::<Result<_>>()?;
    assert_eq!(ids.len(), 1);
    world.shop.order("bob", "one", "FREE", 1).await?.expect(201)?;
    let keys: Vec<String> = (0..8).map(|n| format!("k{n}")).collect();
    let mut accepted = 0;
    for answer in join_all(keys.iter().map(|key| world.shop.order("eve", key, "LIMITED", 1))).await {
        match answer? {
            answer if answer.status == 201 => accepted += 1,
            answer => drop(answer.expect_problem(409, "customer_limit")?),
        }
    }
    assert_eq!(accepted, 2);
    assert_eq!(world.count_orders(doc! {"userId": "eve"}).await?, 2);
    Ok(())
}

#[tokio::test]
async fn bad_input_is_named_and_changes_nothing() -> Result<()> {
    let world = World::start().await?;
    world.shop.product("P", 50, None).await?;
    let mut n = 0;
    let mut post = async |key: Option<&str>, body: &str| {
        n += 1;
        let mut request = world
            .shop
            .http
            .post(world.shop.url("/api/orders"))
            .header("content-type", "application/json")
            .bearer_auth(world.shop.token(&format!("u{n}"), Role::Buyer)?);
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        Answer::of(request.body(body.to_owned()).send().await?).await
    };
    for (body, field) in [
        ("nonsense", "body"),
        ("{}", "items"),
        (r#"{"items":[],"x":1}"#, "x"),
        (r#"{"items":[]}"#, "items"),
        (r#"{"items":[{"sku":"P"}]}"#, "items[0].quantity"),
        (r#"{"items":[{"sku":"P","quantity":0}]}"#, "items[0].quantity"),
        (r#"{"items":[{"sku":"P","quantity":1.5}]}"#, "items[0].quantity"),
        (r#"{"items":[{"sku":"P","quantity":-1}]}"#, "items[0].quantity"),
        (r#"{"items":[{"sku":"P","quantity":101}]}"#, "items[0].quantity"),
        (r#"{"items":[{"sku":"GHOST","quantity":1}]}"#, "items[0].sku"),
        (
            r#"{"items":[{"productId":"ghost","quantity":1}]}"#,
            "items[0].productId",
        ),
        (
            r#"{"items":[{"sku":"P","quantity":1},{"sku":"P","quantity":1}]}"#,
            "items[1].sku",
        ),
    ] {
        let answer = post(Some("k"), body).await?;
        answer
            .expect_problem(400, "invalid_request")
            .with_context(|| body.to_owned())?;
        assert_eq!(
            answer.json["errors"][0]["field"], field,
            "{body}: {}",
            answer.text
        );
    }
    let good = r#"{"items":[{"sku":"P","quantity":1}]}"#;
    for key in [None, Some("k".repeat(300))] {
        let answer = post(key.as_deref(), good).await?;
        answer.expect_problem(400, "invalid_request")?;
        assert_eq!(answer.json["errors"][0]["field"], "Idempotency-Key");
    }
    let long = format!(
        r#"{{"items":[{{"sku":"P","quantity":1}}],"x":"{}"}}"#,
        "x".repeat(2_000_000)
    );
    post(Some("k"), &long)
        .await?
        .expect_problem(413, "payload_too_large")?;
    let admin = world.shop.observer()?;
    let page = world
        .shop
        .send(Method::GET, "/api/orders?limit=abc", Some(&admin), None)
        .await?;
    page.expect_problem(400, "invalid_request")?;
    assert_eq!(page.json["errors"][0]["field"], "limit", "{}", page.text);
    let none = format!(
        "{}.{}.",
        "eyJhbGciOiJub25lIn0", "eyJzdWIiOiJ1Iiwicm9sZSI6ImFkbWluIn0"
    );
    let expired = world
        .shop
        .token_at("u", Timestamp::now() - Duration::from_secs(3_600))?;
    for token in ["forged", &none, &expired] {
        world
            .shop
            .send(
                Method::POST,
                "/api/orders",
                Some(token),
                Some(serde_json::from_str(good)?),
            )
            .await?
            .expect_problem(401, "unauthenticated")?;
    }
    assert_eq!(world.count_orders(doc! {}).await?, 0);
    world.check_conservation().await
}

#[tokio::test]
async fn a_web_page_of_the_shop_may_call_and_no_other() -> Result<()> {
    let world = World::start().await?;
    let shop = &world.shop;
    for (path, method) in [
        ("/api/sale", "GET"),
        ("/api/orders", "POST"),
        ("/api/orders/1", "GET"),
    ] {
        for (origin, allowed) in [(PAGE, Some(PAGE)), ("https://elsewhere.example.com", None)] {
            let preflight = shop
                .http
                .request(Method::OPTIONS, shop.url(path))
                .header("origin", origin)
                .header("access-control-request-method", method)
                .header("access-control-request-headers", "authorization")
                .send()
                .await?;
            let said = preflight.headers().get("access-control-allow-origin");
            let said = said.and_then(|value| value.to_str().ok());
            assert_eq!(said, allowed, "{origin} {method} {path}: {}", preflight.status());
            assert_eq!(preflight.status(), 200, "{origin} {method} {path}");
        }
    }
    shop.send(Method::DELETE, "/api/sale", None, None)
        .await?
        .expect_problem(405, "method_not_allowed")
        .map(drop)
}

#[tokio::test]
async fn limits_and_the_clock_follow_the_control_document() -> Result<()> {
    let world = World::start().await?;
    world.shop.product("P", 50, None).await?;
    let answers = join_all((0..14).map(|n| {
        let (world, key) = (&world, format!("k{n}"));
        async move { world.shop.order("ada", &key, "P", 1).await }
    }))
    .await;
    let statuses: Vec<u16> = answers
        .into_iter()
        .map(|a| Ok(a?.status))
        .collect::<Result<_>>()?;
    assert_eq!(statuses.iter().filter(|s| **s == 201).count(), 10, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|s| **s == 429).count(), 4, "{statuses:?}");
    let refused = world.shop.order("ada", "k", "P", 1).await?;
    refused.expect_problem(429, "rate_limited")?;
    assert_eq!(refused.headers["ratelimit-limit"], "10");
    assert!(refused.headers.contains_key("retry-after"));

    let within = Duration::from_secs(2);
    world.limit_orders(30)?;
    eventually(within, "a raised limit is in force", async || {
        Ok(world.shop.order("ada", "k", "P", 1).await?.status == 201)
    })
    .await?;
    world.control(|c| c.halted = true, &world.current_control()?)?;
    eventually(within, "orders are refused while halted", async || {
        Ok(world
            .shop
            .order(&somebody(), "h", "P", 1)
            .await?
            .expect_problem(409, "sale_halted")
            .is_ok())
    })
    .await?;
    let later = Timestamp::now() + Duration::from_secs(3_600);
    world.control(
        |c| (c.halted, c.opens_at) = (false, Some(later)),
        &world.current_control()?,
    )?;
    eventually(within, "orders are refused before the opening", async || {
        let answer = world.shop.order(&somebody(), "o", "P", 1).await?;
        Ok(answer.expect_problem(409, "sale_not_open").is_ok() && answer.json["opensAt"].is_string())
    })
    .await?;
    world.control(|c| c.closed = true, &world.current_control()?)?;
    eventually(within, "orders are refused after the end", async || {
        Ok(world
            .shop
            .order(&somebody(), "c", "P", 1)
            .await?
            .expect_problem(409, "sale_closed")
            .is_ok())
    })
    .await
}

#[tokio::test]
async fn several_items_are_held_whole_or_not_at_all() -> Result<()> {
    let world = World::start().await?;
    let shop = &world.shop;
    shop.product("MANY", 50, None).await?;
    shop.product("FEW", 3, None).await?;
    let both = json!([{"sku": "MANY", "quantity": 2}, {"sku": "FEW", "quantity": 1}]);
    let tokens = (0..20).map(|n| shop.token(&format!("u{n}"), Role::Buyer));
    let tokens: Vec<String> = tokens.collect::<Result<_>>()?;
    for answer in join_all(tokens.iter().map(|token| shop.place(token, "k", both.clone()))).await {
        let answer = answer?;
        if answer.status != 201 {
            // Which of the two depends on whether the last order is confirmed by then.
            answer
                .expect_problem(409, "units_held")
                .or_else(|_| answer.expect_problem(409, "sold_out"))?;
            ensure!(answer.json["sku"] == "FEW", "{}", answer.text);
        }
    }
    eventually(
        SETTLED,
        "three orders took both, and the others nothing",
        async || {
            let (many, few) = (shop.shown("MANY").await?, shop.shown("FEW").await?);
            Ok((&many["sold"], &many["reserved"]) == (&json!(6), &json!(0))
                && (&few["sold"], &few["reserved"]) == (&json!(3), &json!(0))
                && world.count_orders(doc! {"status": "PENDING"}).await? == 0)
        },
    )
    .await?;
    world.check_conservation().await
}

/// What an order looks like whose answer, or whose question, has been lost a while ago.
async fn forget_the_answer(world: &World, order: &str) -> Result<()> {
    let orders = world.database.collection::<Document>("orders");
    let long_ago = DateTime::from_millis(DateTime::now().timestamp_millis() - 60_000);
    let unanswered =
        doc! {"$set": {"status": "PENDING", "inventoryStatus": "PENDING", "reason": null, "askAt": long_ago}};
    let done = orders.update_one(doc! {"_id": order}, unanswered).await?;
    ensure!(done.matched_count == 1, "there is no order {order}");
    Ok(())
}

/// A broker that has lost a record, in one direction or in the other, leaves no order without an end.
#[tokio::test]
async fn an_order_that_got_no_answer_is_asked_about_again() -> Result<()> {
    let world = World::start().await?;
    let shop = &world.shop;
    shop.product("LOST", 2, None).await?;
    let placed = async |user: &str| -> Result<String> {
        let placed = shop.order(user, "k", "LOST", 1).await?;
        let id = placed.expect(201)?.json["order"]["_id"].as_str();
        Ok(id.context("no _id")?.to_owned())
    };
    let is = async |order: &str, status: &str| {
        eventually(SETTLED, &format!("the order is {status}"), async || {
            Ok(world.count_orders(doc! {"_id": order, "status": status}).await? == 1)
        })
        .await
    };
    let answered = placed("ada").await?;
    is(&answered, "CONFIRMED").await?;
    // The answer was lost.
    forget_the_answer(&world, &answered).await?;
    is(&answered, "CONFIRMED").await?;
    // The question was lost: nobody has sent it yet, and now it is gone.
    world.freeze("processor").await?;
    let unasked = placed("bob").await?;
    let lost = unsaid::lose(
        &world.database,
        std::slice::from_ref(&unasked),
        Topic::OrderCreated,
    )
    .await?;
    ensure!(lost.len() == 1, "{lost:?}");
    world.thaw("processor").await?;
    forget_the_answer(&world, &unasked).await?;
    is(&unasked, "CONFIRMED").await?;
    // A refusal is answered with its reason again.
    let reservations = world.database.collection::<Document>("reservations");
    let refused = doc! {"$set": {"state": "REJECTED", "reason": "unknown_product"}};
    eventually(SETTLED, "the hold follows its order", async || {
        let followed = doc! {"_id": &unasked, "state": "CONFIRMED"};
        Ok(reservations
            .update_one(followed, refused.clone())
            .await?
            .matched_count
            == 1)
    })
    .await?;
    forget_the_answer(&world, &unasked).await?;
    is(&unasked, "FAILED").await?;
    let failed = world
        .database
        .collection::<Document>("orders")
        .find_one(doc! {"_id": &unasked})
        .await?;
    let reason = failed.context("it is gone")?.get_str("reason")?.to_owned();
    ensure!(reason == "unknown_product", "{reason}");
    Ok(())
}

/// What inventory says of an order while nobody listens is heard in one go: that units are held, and that they are paid.
#[tokio::test]
async fn a_payment_that_comes_while_the_order_process_stands_still_counts() -> Result<()> {
    let world = World::start_with(Confirmation::Payment).await?;
    let shop = &world.shop;
    shop.product("PAID", 20, None).await?;
    let payment = shop.token("the-payment", Role::Service)?;
    world.freeze("processor").await?;
    let buyers = (0..20).map(|n| async move { shop.order(&format!("buyer-{n}"), "k", "PAID", 1).await });
    let mut orders = Vec::new();
    for placed in join_all(buyers).await {
        let placed = placed?;
        let id = placed.expect(201)?.json["order"]["_id"].as_str();
        orders.push(id.context("no _id")?.to_owned());
    }
    world.freeze("order").await?;
    world.thaw("processor").await?;
    for order in &orders {
        let body = json!({"orderId": order});
        eventually(SETTLED, "the units are held, and paid", async || {
            let paid = shop
                .send(
                    Method::POST,
                    "/api/inventory/confirm",
                    Some(&payment),
                    Some(body.clone()),
                )
                .await?;
            Ok(paid.status == 200)
        })
        .await?;
    }
    world.thaw("order").await?;
    eventually(SETTLED, "who has paid has an order", async || {
        let confirmed = doc! {"_id": {"$in": &orders}, "status": "CONFIRMED"};
        Ok(world.count_orders(confirmed).await? == 20)
    })
    .await?;
    world.check_conservation().await
}

#[tokio::test]
async fn a_cancelled_order_gives_units_and_quota_back() -> Result<()> {
    let world = World::start_with(Confirmation::Payment).await?;
    let shop = &world.shop;
    let held = shop.product("HELD", 1, Some(1)).await?;
    // Ada asks again and again until the gate has the unit back.
    world.let_users_order_often()?;
    let placed = shop.order("ada", "first", "HELD", 1).await?;
    let id = placed.expect(201)?.json["order"]["_id"]
        .as_str()
        .context("no _id")?
        .to_owned();
    let ada = shop.token("ada", Role::Buyer)?;
    let path = format!("/api/orders/{id}");
    eventually(
        SETTLED,
        "the unit is held and waits for its payment",
        async || {
            let order = shop.send(Method::GET, &path, Some(&ada), None).await?;
            Ok(order.json["status"] == "PENDING" && order.json["inventoryStatus"] == "RESERVED")
        },
    )
    .await?;
    // Where the units were held slowly, the gate has been taken for one with a unit too few.
    let gate = format!("{}gate:{held}", world.config.redis_prefix);
    eventually(SETTLED, "the gate is closed", async || {
        Ok(world.backends.redis(&["get", &gate]).await?.trim() == "0")
    })
    .await?;
    shop.order("bob", "k", "HELD", 1)
        .await?
        .expect_problem(409, "units_held")?;
    let bob = shop.token("bob", Role::Buyer)?;
    let cancel = format!("{path}/cancel");
    shop.send(Method::POST, &cancel, Some(&bob), None)
        .await?
        .expect_problem(404, "not_found")?;
    let cancelled = shop.send(Method::POST, &cancel, Some(&ada), None).await?;
    assert_eq!(cancelled.expect(200)?.json["order"]["status"], "CANCELLED");
    let said_sold_out = Cell::new(false);
    eventually(
        SETTLED,
        "the unit can be ordered again, by the same buyer",
        async || {
            let asked = shop.order("ada", "second", "HELD", 1).await?;
            said_sold_out.set(said_sold_out.get() || asked.json["code"] == "sold_out");
            Ok(asked.status == 201)
        },
    )
    .await?;
    ensure!(!said_sold_out.get(), "it was said to be sold out meanwhile");
    world.check_conservation().await
}

/// What an order was told first counts: units must not be for sale again when it is confirmed after all.
#[tokio::test]
async fn a_hold_is_paid_or_given_back_and_never_both() -> Result<()> {
    let world = World::start_with(Confirmation::Payment).await?;
    let shop = &world.shop;
    shop.product("EITHER", 10, None).await?;
    let admin = shop.observer()?;
    let orders: HashMap<&str, String> = {
        let mut orders = HashMap::new();
        for user in ["paid", "released"] {
            let placed = shop.order(user, "k", "EITHER", 1).await?;
            let id = placed.expect(201)?.json["order"]["_id"]
                .as_str()
                .context("no _id")?
                .to_owned();
            eventually(SETTLED, "the unit is held", async || {
                let order = shop
                    .send(Method::GET, &format!("/api/orders/{id}"), Some(&admin), None)
                    .await?;
                Ok(order.json["inventoryStatus"] == "RESERVED")
            })
            .await?;
            orders.insert(user, id);
        }
        orders
    };
    let ask = async |verb: &str, user: &str| {
        let which = json!({"orderId": orders[user]});
        shop.send(
            Method::POST,
            &format!("/api/inventory/{verb}"),
            Some(&admin),
            Some(which),
        )
        .await
    };
    ask("confirm", "paid").await?.expect(200)?;
    ask("release", "paid").await?.expect_problem(409, "order_final")?;
    ask("release", "released").await?.expect(200)?;
    ask("release", "released").await?.expect(200)?;
    ask("confirm", "released")
        .await?
        .expect_problem(409, "order_final")?;
    for (user, end) in [("paid", "CONFIRMED"), ("released", "CANCELLED")] {
        eventually(SETTLED, &format!("the order is {end}"), async || {
            Ok(world
                .count_orders(doc! {"_id": &orders[user], "status": end})
                .await?
                == 1)
        })
        .await?;
    }
    eventually(SETTLED, "one unit is sold and one is back", async || {
        let product = shop.shown("EITHER").await?;
        Ok(product["sold"] == 1 && product["reserved"] == 0 && product["available"] == 9)
    })
    .await?;
    world.check_conservation().await
}

#[tokio::test]
async fn what_is_no_message_goes_to_the_dead_letters_and_the_lane_moves_on() -> Result<()> {
    use events::topics::Topic;
    use platform::backends::kafka;
    let world = World::start().await?;
    let shop = &world.shop;
    shop.product("P", 50, None).await?;
    let client = world.backends.credentials()?.kafka.connect().await?;
    let topic = format!(
        "{}{}",
        world.config.kafka.topic_prefix,
        Topic::OrderCreated.plain_name()
    );
    for partition in 0..world.config.kafka.partitions {
        let lane = kafka::partition(&client, &topic, partition).await?;
        let garbage = rskafka::record::Record {
            key: None,
            value: Some(b"{\"v\":99".to_vec()),
            headers: std::collections::BTreeMap::new(),
            timestamp: rskafka::chrono::Utc::now(),
        };
        let sent = lane.produce(
            vec![garbage],
            rskafka::client::partition::Compression::NoCompression,
        );
        kafka::within(Duration::from_secs(10), sent).await?;
    }
    let letters = world
        .database
        .collection::<mongodb::bson::Document>("dead_letters");
    let all = u64::try_from(world.config.kafka.partitions)?;
    eventually(SETTLED, "each garbage is kept with its reason", async || {
        let kept = doc! {"reason": {"$regex": "not a message"}, "group": "inventory"};
        Ok(letters.count_documents(kept).await? == all)
    })
    .await?;
    for n in 0..8 {
        shop.order(&format!("u{n}"), "k", "P", 1).await?.expect(201)?;
    }
    eventually(SETTLED, "the orders behind it are confirmed", async || {
        Ok(world.count_orders(doc! {"status": "CONFIRMED"}).await? == 8)
    })
    .await?;
    world.check_conservation().await
}

/// Batches of several lanes commit while leases are renewed, for several renewals.
#[tokio::test]
async fn two_thousand_orders_in_a_row_all_come_to_an_end() -> Result<()> {
    use futures::{StreamExt, TryStreamExt, stream};
    let world = World::start().await?;
    world.shop.product("STREAM", 10_000, None).await?;
    stream::iter(0..2_000)
        .map(|n| {
            let shop = &world.shop;
            async move {
                let answer = shop.order(&format!("u{n}"), "k", "STREAM", 1).await?;
                answer.expect(201).map(drop)
            }
        })
        .buffer_unordered(32)
        .try_collect::<Vec<()>>()
        .await?;
    let confirmed = doc! {"status": "CONFIRMED"};
    let settled = eventually(SETTLED, "all orders are confirmed", async || {
        Ok(world.count_orders(confirmed.clone()).await? == 2_000)
    })
    .await;
    if settled.is_err() {
        return settled.context(world.describe().await?);
    }
    eventually(SETTLED, "all units are sold", async || {
        Ok(world.shop.shown("STREAM").await?["sold"] == 2_000)
    })
    .await?;
    world.check_conservation().await
}

/// A process that slept through the loss of its lanes wakes up in the middle of what it did, and may write none of it.
#[tokio::test]
async fn a_frozen_replica_that_wakes_up_changes_nothing() -> Result<()> {
    let mut world = World::start().await?;
    let shop = Arc::clone(&world.shop);
    shop.product("FROZEN", 10_000, None).await?;
    let buy = async |name: &str, count: usize| -> Result<()> {
        let orders = (0..count).map(|n| {
            let user = format!("{name}-{n}");
            let shop = &shop;
            async move {
                let placed = shop.order_patiently(&user, "k", "FROZEN", 1).await?;
                placed.expect(201).map(drop)
            }
        });
        join_all(orders).await.into_iter().collect()
    };
    let all_confirmed = async |world: &World, count: u64| {
        eventually(SETTLED, "all orders are confirmed", async || {
            Ok(world.count_orders(doc! {"status": "CONFIRMED"}).await? == count)
        })
        .await
    };
    buy("before", 50).await?;
    world.freeze("inventory").await?;
    buy("while", 100).await?;
    // The order service asks the frozen process for no product that it knows already.
    world.second("inventory-2").await?;
    all_confirmed(&world, 150)
        .await
        .context(world.describe().await?)?;
    world.thaw("inventory").await?;
    buy("after", 50).await?;
    all_confirmed(&world, 200)
        .await
        .context(world.describe().await?)?;
    eventually(SETTLED, "all units are sold", async || {
        Ok(shop.shown("FROZEN").await?["sold"] == 200)
    })
    .await?;
    world.all_still_run()?;
    world.check_conservation().await
}

/// Whether the order was accepted before its gateway died is for the order service to say, not for a gate at zero.
#[tokio::test]
async fn a_buyer_whose_gateway_died_gets_the_unit_it_had_taken() -> Result<()> {
    let mut world = World::start().await?;
    let shop = Arc::clone(&world.shop);
    shop.product("LAST", 1, None).await?;
    let markers = format!("{}gate:markers", world.config.redis_prefix);
    eventually(SETTLED, "the gate knows that it knows every key", async || {
        Ok(world.backends.redis(&["get", &markers]).await?.trim() == "whole")
    })
    .await?;
    let refused = shop.order("eve", "k", "LAST", 2).await?;
    refused.expect_problem(409, "units_held")?;
    ensure!(refused.json["left"] == 1, "{}", refused.text);
    world.let_users_order_often()?;
    world.freeze("order").await?;
    let order = |user: &'static str| {
        let shop = Arc::clone(&shop);
        Box::pin(async move { (user, shop.order(user, "k", "LAST", 1).await) })
    };
    let (first, waiting) = select(order("ada"), order("bob")).await.factor_first();
    let (refused, answer) = first;
    answer?.expect_problem(409, "units_held")?;
    world.kill_and_restart("gateway")?;
    let (holder, answer) = waiting.await;
    assert!(answer.is_err(), "{holder} got an answer from a dead gateway");
    assert_ne!(holder, refused);
    world.ready("gateway").await?;
    world.thaw("order").await?;
    // Where this machine has taken long so far, the process is not sure for a moment how old a request is.
    eventually(SETTLED, "the holder has the unit", async || {
        let again = shop.order(holder, "k", "LAST", 1).await?;
        again.expect(201).or_else(|_| again.expect_problem(503, "busy"))?;
        Ok(again.status == 201)
    })
    .await?;
    world.check_conservation().await
}

/// A gateway that has just begun knows no product, and what passes it then is an order like all others.
#[tokio::test]
async fn a_buyer_whose_gateway_knew_no_product_hears_of_the_order_it_made() -> Result<()> {
    let mut world = World::start().await?;
    let shop = Arc::clone(&world.shop);
    shop.product("EARLY", 2, None).await?;
    shop.order("first", "k", "EARLY", 1).await?.expect(201)?;
    eventually(SETTLED, "the order service sells the product", async || {
        Ok(shop.shown("EARLY").await?["sold"] == 1)
    })
    .await?;
    world.freeze("inventory").await?;
    world.kill_and_restart("gateway")?;
    eventually(SETTLED, "the new gateway listens", async || {
        Ok(shop.http.get(shop.url("/health")).send().await.is_ok())
    })
    .await?;
    // The order waits in the socket of an order service that stands still, and is accepted while the gateway does.
    world.freeze("order").await?;
    let ordering = {
        let shop = Arc::clone(&shop);
        tokio::spawn(async move { shop.order("ada", "k", "EARLY", 1).await })
    };
    tokio::time::sleep(Duration::from_secs(2)).await;
    world.freeze("gateway").await?;
    world.thaw("order").await?;
    eventually(SETTLED, "the order is accepted", async || {
        Ok(world.count_orders(doc! {}).await? == 2)
    })
    .await?;
    world.kill_and_restart("gateway")?;
    ensure!(
        ordering.await?.is_err(),
        "the answer was not lost, so this test tries nothing"
    );
    world.thaw("inventory").await?;
    world.ready("gateway").await?;
    eventually(
        SETTLED,
        "the other unit is sold, and the gate knows",
        async || {
            let late = somebody();
            let answer = shop.order(&late, &late, "EARLY", 1).await?;
            Ok(answer.status == 409 && answer.json["code"] == "sold_out")
        },
    )
    .await?;

    let repeated = shop.order("ada", "k", "EARLY", 1).await?;
    repeated.expect(201)?;
    world.check_conservation().await
}

/// Two tries under one key at the same time: what is refused to the first may be granted to the second.
#[tokio::test]
async fn the_marker_of_a_refused_key_stays_if_a_repeat_has_used_it() -> Result<()> {
    let redis = platform::backends::redis::client(&Backends::shared()?.credentials()?.redis_url)?;
    let prefix = format!("test-{}:", somebody());
    let (scripts, asking) = {
        let stop = CancellationToken::new();
        let work = platform::health::Health::new(stop.clone()).work("asking Redis");
        gateway::scripts::start(redis, &prefix, work, stop)
    };
    tokio::spawn(asking);
    let gate = Gate::new(scripts, &prefix);
    let attempt = |key: &str| Attempt {
        user: UserId::new(format!("the user of {key}")),
        key: key.to_owned(),
        wanted: vec![WantedUnits {
            product: ProductId::new("p"),
            units: 1,
            limit: None,
        }],
    };
    for (key, repeats, outcome, stays) in [
        ("refused", 0, Outcome::Refused, false),
        ("refused and repeated", 1, Outcome::Refused, true),
        ("unknown", 0, Outcome::Unknown, true),
        ("known", 0, Outcome::Known, true),
        ("not sent", 0, Outcome::NotSent, false),
    ] {
        let attempt = attempt(key);
        assert_eq!(gate.take(&attempt).await?, Passage::Taken, "{key}");
        for _ in 0..repeats {
            assert_eq!(gate.take(&attempt).await?, Passage::Repeat, "{key}");
        }
        let passed = Passed {
            attempt: attempt.clone(),
            has_units: true,
        };
        gate.settle(&passed, outcome).await;
        let is_marked = gate.knows(&attempt.user, key).await? == Knowledge::Marked;
        assert_eq!(is_marked, stays, "{key}");
    }
    Ok(())
}

/// What a dead notifier had not stored is stored only when its leases are over; a socket does not wait for that.
#[tokio::test]
async fn an_update_that_a_dead_notifier_left_behind_reaches_a_new_socket() -> Result<()> {
    let mut world = World::start().await?;
    let shop = Arc::clone(&world.shop);
    shop.product("TOLD", 5, None).await?;
    world.freeze("notifier").await?;
    let placed = shop.order("ada", "k", "TOLD", 1).await?;
    placed.expect(201)?;
    eventually(
        SETTLED,
        "the order is confirmed and all is published",
        async || {
            let outbox = world.database.collection::<Document>("outbox");
            let waiting = outbox.count_documents(doc! {}).await?;
            Ok(world.count_orders(doc! {"status": "CONFIRMED"}).await? == 1 && waiting == 0)
        },
    )
    .await?;
    world.kill_and_restart("notifier")?;
    world.ready("notifier").await?;
    let mut socket = shop.socket(&shop.token("ada", Role::Buyer)?).await?;
    let update = next_update(&mut socket).await?;
    assert_eq!(update["data"]["orderId"], placed.json["order"]["_id"]);
    assert_eq!(update["data"]["status"], "CONFIRMED");
    Ok(())
}

#[tokio::test]
async fn a_repeat_is_answered_after_the_end_and_a_new_order_is_not() -> Result<()> {
    let world = World::start().await?;
    let shop = &world.shop;
    shop.product("LATE", 50, None).await?;
    shop.order("ada", "k", "LATE", 1).await?.expect(201)?;
    world.control(|c| c.closed = true, &world.current_control()?)?;
    eventually(Duration::from_secs(2), "new orders are refused", async || {
        let answer = shop.order(&somebody(), "k", "LATE", 1).await?;
        Ok(answer.expect_problem(409, "sale_closed").is_ok())
    })
    .await?;
    let repeat = shop.order("ada", "k", "LATE", 1).await?;
    assert_eq!(repeat.expect(201)?.headers["idempotency-replayed"], "true");
    shop.order("ada", "another", "LATE", 1)
        .await?
        .expect_problem(409, "sale_closed")?;
    world.check_conservation().await
}

/// The operator takes a receipt for the word that nothing more comes of an older document: what is accepted after it
/// would be missing where the sale is counted.
#[tokio::test]
async fn nothing_is_accepted_after_the_receipt_for_closed_doors() -> Result<()> {
    let world = World::start().await?;
    let shop = &world.shop;
    shop.product("DOORS", 50, Some(2)).await?;
    shop.order("ada", "first", "DOORS", 1).await?.expect(201)?;
    // Ada's next order cannot be committed while somebody else has her turn in hand.
    let mut session = world.database.client().start_session().await?;
    session.start_transaction().await?;
    world
        .database
        .collection::<Document>("orders")
        .insert_one(doc! {"_id": "in hand", "userId": "ada", "turn": 2_i64})
        .session(&mut session)
        .await?;
    let order = {
        let shop = Arc::clone(shop);
        tokio::spawn(async move { shop.order("ada", "second", "DOORS", 1).await })
    };
    let end = tokio::time::Instant::now() + SETTLED;
    let batches = "quicksale_order_batch_size_count{work=\"accept\"}";
    while world.metric("order", batches).await? < 2.0 {
        ensure!(
            tokio::time::Instant::now() < end,
            "her order is not being committed"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let let_go = async {
        // Shorter than a transaction is tried.
        tokio::time::sleep(Duration::from_millis(50)).await;
        session.abort_transaction().await
    };
    let close = async {
        let mut document = world.current_control()?;
        document.version += 1;
        document.closed = true;
        let receipt = world.push_control("order", &document).await?;
        anyhow::ensure!(receipt == document.version, "version {receipt} is in force");
        world.count_orders(doc! {}).await
    };
    let (let_go, at_the_receipt) = tokio::join!(let_go, close);
    let_go?;
    order.await??.expect(201)?;
    assert_eq!(at_the_receipt?, 2);
    world.check_conservation().await
}

/// An answer from before the doors closed would end a sale whose last orders are still under way.
#[tokio::test]
async fn the_settlement_is_never_older_than_the_question() -> Result<()> {
    let world = World::start().await?;
    let shop = &world.shop;
    shop.product("COUNTED", 50, None).await?;
    for n in 1..=5 {
        shop.order(&somebody(), "k", "COUNTED", 1).await?.expect(201)?;
        let numbers = world.settlement().await?;
        assert_eq!(numbers["accepted"], n, "{numbers}");
    }
    world.check_conservation().await
}

/// A process that dies in the middle of a transaction leaves a lock on the product behind. MongoDB alone would keep it
/// for a minute.
#[tokio::test]
async fn the_locks_of_a_dead_process_are_released() -> Result<()> {
    let world = World::start().await?;
    world.shop.product("LOCKED", 50, None).await?;
    // As the user whose other processes may end its sessions.
    let own = world.backends.environment_of("inventory");
    let variable = |name: &str| own.get(name).cloned().or_else(|| std::env::var(name).ok());
    let uri = platform::backends::mongodb(&variable)?;
    let of_the_dead = platform::backends::mongo::client(&uri).await?;
    let mut session = of_the_dead.start_session().await?;
    let dead = doc! {
        "_id": "a-dead-process", "ids": [session.id().clone()], "beat": 7_i64, "user": uri.user(),
    };
    session.start_transaction().await?;
    of_the_dead
        .database(&world.config.data.database)
        .collection::<mongodb::bson::Document>("products")
        .update_one(doc! {"sku": "LOCKED"}, doc! {"$set": {"name": "never committed"}})
        .session(&mut session)
        .await?;
    world.database.collection("sessions").insert_one(dead).await?;
    world.shop.order("ada", "k", "LOCKED", 1).await?.expect(201)?;
    eventually(SETTLED, "the order gets past the lock", async || {
        Ok(world.count_orders(doc! {"status": "CONFIRMED"}).await? == 1)
    })
    .await?;
    assert_eq!(world.shop.shown("LOCKED").await?["name"], "LOCKED");
    world.check_conservation().await
}

/// A process that was taken for dead, and lives: what it had under way in its sessions is run again.
#[tokio::test]
async fn orders_end_although_the_sessions_of_living_processes_are_ended() -> Result<()> {
    use futures::TryStreamExt;
    let world = World::start().await?;
    world.shop.product("ENDED", 300, Some(1)).await?;
    // Each user may end the sessions that are its own, and no others.
    let mut users = Vec::new();
    for service in ["inventory", "order", "notifier"] {
        let own = world.backends.environment_of(service);
        let variable = |name: &str| own.get(name).cloned().or_else(|| std::env::var(name).ok());
        let uri = platform::backends::mongodb(&variable)?;
        let client = platform::backends::mongo::client(&uri).await?;
        users.push((uri, client));
    }
    let processes = world.database.collection::<Document>("sessions");
    let end_all = async {
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let all: Vec<Document> = processes.find(doc! {}).await?.try_collect().await?;
            let ids = all.iter().filter_map(|process| process.get_array("ids").ok());
            let ids: Vec<_> = ids.flatten().cloned().collect();
            ensure!(!ids.is_empty(), "nobody has a session");
            for (_, client) in &users {
                let end = doc! {"killSessions": &ids};
                client.database("admin").run_command(end).await?;
            }
        }
        Ok(())
    };
    let sold = crowd(&world.shop, "ENDED", 300, end_all).await;
    if sold.is_err() {
        return sold.context(world.describe().await?);
    }
    world.check_conservation().await
}

/// A token that was seen on its way inside of the cluster opens nothing from outside.
#[tokio::test]
async fn a_token_of_a_part_of_quicksale_is_refused_at_the_front_door() -> Result<()> {
    let world = World::start().await?;
    let shop = &world.shop;
    shop.product("INSIDE", 5, None).await?;
    let inside = shop.internal_token("operator")?;
    let hold = json!({"orderId": "by-hand", "items": [{"sku": "INSIDE", "quantity": 1}]});
    for (method, path, body) in [
        (Method::POST, "/api/inventory/reserve", Some(hold.clone())),
        (Method::GET, "/api/orders", None),
        (Method::GET, "/api/notifications", None),
        (Method::POST, "/api/ws-ticket", None),
        (Method::GET, "/api/auth/me", None),
    ] {
        let answer = shop.send(method, path, Some(&inside), body).await?;
        answer
            .expect_problem(401, "unauthenticated")
            .with_context(|| path.to_owned())?;
    }
    ensure!(shop.socket(&inside).await.is_err(), "the notifier took it");
    // Inside, where the operator calls, it is what it always was, and a token from outside is not that.
    let url = world.config.upstreams.inventory.join("/api/inventory/reserve")?;
    let call = shop.http.post(url).bearer_auth(&inside).json(&hold);
    call.send().await?.error_for_status()?;
    let document = world.current_control()?;
    world.push_control("gateway", &document).await?;
    let service = shop.token("payments", Role::Service)?;
    let refused = world.push_control_as("gateway", &document, &service).await;
    ensure!(
        refused.is_err(),
        "a service's token from outside changed the control document"
    );
    Ok(())
}
