//! A backend dies, and comes back ten seconds later, while orders trickle in. Each test has backends of its own.

mod costs;
mod large;
mod losses;
mod standstill;
mod storm;

use anyhow::{Context, Result, ensure};
use futures::future::join_all;
use platform::tokens::Role;
use quicksale_tests::{
    backends::Backends,
    scenarios::{SETTLED, crowd},
    shop::{Answer, Shop},
    world::{SERVICES, Setup, World, eventually},
};
use reqwest::Method;
use sale::order::Confirmation;
use serde_json::json;
use std::{sync::Arc, time::Duration};

/// How long the backend is away.
const AWAY: Duration = Duration::from_secs(10);
/// Between two orders.
const TRICKLE: Duration = Duration::from_millis(100);

/// A sale on backends of its own.
async fn start() -> Result<World> {
    World::start_as(Setup {
        backends: Some(Backends::own().await?),
        ..Setup::default()
    })
    .await
}

/// What became of one order of the trickle.
async fn attempt(shop: &Shop, n: usize) -> Result<Option<String>> {
    let key = format!("trickle-{n}");
    let answer: Answer = shop.order(&key, &key, "DRIP", 1).await?;
    if answer.status == 201 {
        let id = answer.json["order"]["_id"].as_str().context("no _id")?;
        return Ok(Some(id.to_owned()));
    }
    answer.expect_problem(503, "busy")?;
    ensure!(answer.headers.contains_key("retry-after"), "no Retry-After");
    Ok(None)
}

/// One order every 100 ms until `during` is done.
async fn trickle(shop: &Arc<Shop>, during: impl Future<Output = Result<()>>) -> Result<Vec<Option<String>>> {
    let (sent, mut orders) = (std::cell::RefCell::new(Vec::new()), Vec::new());
    let sending = async {
        for n in 0.. {
            let shop = Arc::clone(shop);
            sent.borrow_mut()
                .push(tokio::spawn(async move { attempt(&shop, n).await }));
            tokio::time::sleep(TRICKLE).await;
        }
    };
    tokio::select! {
        () = sending => {}
        done = during => done?,
    }
    for attempt in join_all(sent.into_inner()).await {
        orders.push(attempt??);
    }
    Ok(orders)
}

async fn survives_without(backend: &str) -> Result<()> {
    let mut world = start().await?;
    world.shop.product("DRIP", 100_000, None).await?;
    let shop = Arc::clone(&world.shop);
    let away = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        world.backends.kill(backend).await?;
        tokio::time::sleep(AWAY).await;
        world.backends.start(backend).await?;
        eventually(SETTLED, "orders are taken again", async || {
            let key = uuid::Uuid::new_v4().to_string();
            Ok(shop.order(&key, &key, "DRIP", 1).await?.status == 201)
        })
        .await
    };
    let orders = trickle(&world.shop, away).await?;
    let accepted: Vec<&String> = orders.iter().flatten().collect();
    ensure!(accepted.len() > 5, "only {} orders were accepted", accepted.len());
    let settled = eventually(SETTLED, "every accepted order is confirmed", async || {
        let confirmed = world
            .count_orders(mongodb::bson::doc! {"_id": {"$in": &accepted}, "status": "CONFIRMED"})
            .await?;
        Ok(confirmed == accepted.len() as u64)
    })
    .await;
    if settled.is_err() {
        return settled.context(world.describe().await?);
    }
    // Who was told to come back is served now, under the same key.
    if let Some(turned_away) = orders.iter().position(Option::is_none) {
        eventually(SETTLED, "who came back is served", async || {
            Ok(attempt(&world.shop, turned_away).await?.is_some())
        })
        .await?;
    }
    world.all_still_run()?;
    eventually(SETTLED, "the books close", async || {
        let product = world.shop.shown("DRIP").await?;
        Ok(product["reserved"] == json!(0))
    })
    .await?;
    world.check_conservation().await
}

#[tokio::test]
async fn kafka_is_away_for_ten_seconds() -> Result<()> {
    survives_without("kafka").await
}

#[tokio::test]
async fn mongodb_is_away_for_ten_seconds() -> Result<()> {
    survives_without("mongodb").await
}

#[tokio::test]
async fn redis_is_away_for_ten_seconds() -> Result<()> {
    survives_without("redis").await
}

/// The units of orders that wait for the broker are not for sale a second time.
#[tokio::test]
async fn without_a_broker_no_more_is_accepted_than_there_is() -> Result<()> {
    let world = start().await?;
    let shop = &world.shop;
    shop.product("FEW", 20, None).await?;
    world.backends.kill("kafka").await?;
    let (mut accepted, begun) = (Vec::new(), tokio::time::Instant::now());
    // For longer than it takes until what stands still counts as an error of the gate.
    while begun.elapsed() < AWAY {
        let key = uuid::Uuid::new_v4().to_string();
        let placed = shop.order(&key, &key, "FEW", 1).await?;
        match placed.status {
            201 => accepted.push(placed.json["order"]["_id"].as_str().context("no _id")?.to_owned()),
            _ => tokio::time::sleep(TRICKLE).await,
        }
    }
    ensure!(
        accepted.len() == 20,
        "{} orders for 20 units were accepted",
        accepted.len()
    );
    let oldest = world
        .metric("processor", "quicksale_outbox_oldest_seconds")
        .await?;
    let entries = world.metric("processor", "quicksale_outbox_entries").await?;
    ensure!(
        oldest > 0.5 && entries > 19.5,
        "{entries} messages wait, the oldest for {oldest} s"
    );
    world.backends.start("kafka").await?;
    eventually(SETTLED, "each of them has its unit", async || {
        let confirmed = mongodb::bson::doc! {"_id": {"$in": &accepted}, "status": "CONFIRMED"};
        Ok(world.count_orders(confirmed).await? == 20)
    })
    .await?;
    world.check_conservation().await
}

/// Redis knows which keys have made an order, and the order service knows it better.
#[tokio::test]
async fn a_repeat_is_answered_with_its_order_although_redis_has_lost_everything() -> Result<()> {
    let world = start().await?;
    let shop = &world.shop;
    let product = shop.product("LAST", 1, None).await?;
    let key = "a key of hers: +&=%";
    let placed = shop.order("ada", key, "LAST", 1).await?;
    let order = placed.expect(201)?.json["order"]["_id"]
        .as_str()
        .context("no _id")?
        .to_owned();
    let confirmed = mongodb::bson::doc! {"_id": &order, "status": "CONFIRMED"};
    eventually(SETTLED, "the order is confirmed", async || {
        Ok(world.count_orders(confirmed.clone()).await? == 1)
    })
    .await?;
    world.backends.flush_redis().await?;
    let count = format!("{}gate:{product}", world.config.redis_prefix);
    eventually(SETTLED, "the gate is closed again", async || {
        Ok(world.backends.redis(&["get", &count]).await?.trim() == "0")
    })
    .await?;
    let is_hers = async || -> Result<()> {
        let again = shop.order("ada", key, "LAST", 1).await?;
        ensure!(again.expect(201)?.headers["idempotency-replayed"] == "true");
        ensure!(again.json["order"]["_id"] == *order, "{}", again.text);
        Ok(())
    };
    is_hers().await?;
    let ada = shop.token("ada", Role::Buyer)?;
    let path = "/api/orders?idempotencyKey=a%20key%20of%20hers%3A%20%2B%26%3D%25";
    let found = shop.send(Method::GET, path, Some(&ada), None).await?;
    ensure!(
        found.expect(200)?.json["items"][0]["_id"] == *order,
        "{}",
        found.text
    );
    let bob = shop.token("bob", Role::Buyer)?;
    let found = shop.send(Method::GET, path, Some(&bob), None).await?;
    ensure!(found.expect(200)?.json["items"] == json!([]), "{}", found.text);
    // By now no try of his could be under way.
    let unknown = format!("{}gate:tries-unknown", world.config.redis_prefix);
    world.backends.redis(&["del", &unknown]).await?;
    eventually(SETTLED, "the last unit is known to be sold", async || {
        let answer = shop.order("bob", key, "LAST", 1).await?;
        Ok(answer.expect_problem(409, "sold_out").is_ok())
    })
    .await?;
    world.control(|c| c.closed = true, &world.current_control()?)?;
    eventually(SETTLED, "the sale is over", async || {
        let n = uuid::Uuid::new_v4().to_string();
        Ok(shop.order(&n, "k", "LAST", 1).await?.json["code"] == "sale_closed")
    })
    .await?;
    is_hers().await
}

/// A try whose mark was lost with all others may be under way: whoever asks meanwhile is told to ask again.
#[tokio::test]
async fn a_key_that_redis_may_have_forgotten_is_not_refused_for_half_a_minute() -> Result<()> {
    let world = start().await?;
    let shop = &world.shop;
    let product = shop.product("LAST", 1, None).await?;
    shop.order("ada", "k", "LAST", 1).await?.expect(201)?;
    eventually(SETTLED, "the unit is sold", async || {
        Ok(shop.shown("LAST").await?["sold"] == 1)
    })
    .await?;
    world.backends.flush_redis().await?;
    let [count, unknown] = [product.as_str(), "tries-unknown"].map(|name| {
        let prefix = &world.config.redis_prefix;
        format!("{prefix}gate:{name}")
    });
    eventually(SETTLED, "the gate is closed again", async || {
        Ok(world.backends.redis(&["get", &count]).await?.trim() == "0")
    })
    .await?;
    let left: u64 = world.backends.redis(&["ttl", &unknown]).await?.trim().parse()?;
    ensure!((1..=30).contains(&left), "{left}");
    let put_off = shop.order("bob", "k", "LAST", 1).await?;
    put_off.expect_problem(503, "busy")?;
    ensure!(put_off.headers["retry-after"] == "5", "{:?}", put_off.headers);
    world.backends.redis(&["del", &unknown]).await?;
    eventually(SETTLED, "it is refused", async || {
        let answer = shop.order("bob", "k", "LAST", 1).await?;
        Ok(answer.expect_problem(409, "sold_out").is_ok())
    })
    .await
}

/// An order that was cancelled holds nothing, and its key is as spent as any.
#[tokio::test]
async fn a_repeat_of_a_cancelled_order_is_no_new_one_although_redis_has_lost_everything() -> Result<()> {
    let world = World::start_as(Setup {
        backends: Some(Backends::own().await?),
        confirmation: Confirmation::Payment,
        ..Setup::default()
    })
    .await?;
    let shop = &world.shop;
    let product = shop.product("BACK", 2, None).await?;
    let placed = shop.order("ada", "k", "BACK", 2).await?;
    let order = placed.expect(201)?.json["order"]["_id"].clone();
    let id = order.as_str().context("no _id")?;
    eventually(SETTLED, "its units are held", async || {
        let held = mongodb::bson::doc! {"_id": id, "inventoryStatus": "RESERVED"};
        Ok(world.count_orders(held).await? == 1)
    })
    .await?;
    let ada = shop.token("ada", Role::Buyer)?;
    let cancel = format!("/api/orders/{id}/cancel");
    shop.send(Method::POST, &cancel, Some(&ada), None)
        .await?
        .expect(200)?;
    eventually(SETTLED, "its units are back", async || {
        Ok(shop.shown("BACK").await?["available"] == 2)
    })
    .await?;
    let admin = shop.token("admin", Role::Admin)?;
    let path = format!("/api/inventory/products/{product}/stock");
    let less = json!({"delta": -1});
    shop.send(Method::POST, &path, Some(&admin), Some(less))
        .await?
        .expect(200)?;
    world.backends.flush_redis().await?;
    let [markers, count] = ["markers".to_owned(), product].map(|name| {
        let prefix = &world.config.redis_prefix;
        format!("{prefix}gate:{name}")
    });
    eventually(SETTLED, "the gate has its counts again", async || {
        Ok(world.backends.redis(&["get", &count]).await?.trim() == "1")
    })
    .await?;
    ensure!(world.backends.redis(&["get", &markers]).await?.trim() == "lost");
    let again = shop.order("ada", "k", "BACK", 2).await?;
    ensure!(again.expect(201)?.json["order"]["_id"] == order, "{}", again.text);
    Ok(())
}

/// After a node has gone everything starts at once, and in any order.
#[tokio::test]
async fn whoever_starts_before_its_backends_finds_them_when_they_come() -> Result<()> {
    let mut world = start().await?;
    world.shop.product("LATE", 100, None).await?;
    for backend in ["redis", "mongodb", "kafka"] {
        world.backends.kill(backend).await?;
        for service in SERVICES {
            world.kill_and_restart(service)?;
        }
        for service in SERVICES {
            eventually(SETTLED, "the process is there", async || {
                Ok(world.metric_sum(service, "any", "").await.is_ok())
            })
            .await?;
        }
        world.backends.start(backend).await?;
        let order = std::cell::RefCell::new(String::new());
        eventually(
            SETTLED,
            &format!("an order is taken with {backend}"),
            async || {
                let key = uuid::Uuid::new_v4().to_string();
                let Ok(placed) = world.shop.order(&key, &key, "LATE", 1).await else {
                    return Ok(false);
                };
                let id = placed.json["order"]["_id"].as_str().unwrap_or_default();
                *order.borrow_mut() = id.to_owned();
                Ok(placed.status == 201)
            },
        )
        .await?;
        let confirmed = mongodb::bson::doc! {"_id": order.take(), "status": "CONFIRMED"};
        eventually(SETTLED, &format!("it is confirmed with {backend}"), async || {
            Ok(world.count_orders(confirmed.clone()).await? == 1)
        })
        .await?;
    }
    world.check_conservation().await
}

/// Without Redis nothing is counted: what guesses and crowds would use that for is refused, and everything else goes on.
#[tokio::test]
async fn without_redis_nobody_gets_in_uncounted_and_the_rest_goes_on() -> Result<()> {
    let world = start().await?;
    let shop = &world.shop;
    shop.product("SEEN", 10, None).await?;
    let (buyer, service) = (shop.token("ada", Role::Buyer)?, shop.token("pay", Role::Service)?);
    let order = shop.order("ada", "before", "SEEN", 1).await?;
    let id = order.expect(201)?.json["order"]["_id"]
        .as_str()
        .context("no _id")?;
    let order = format!("/api/orders/{id}");
    world.backends.kill("redis").await?;
    let somebody = json!({"email": "ada@example.com", "password": "seven green bicycles", "firstName": "A", "lastName": "L"});
    let hold = json!({"orderId": "by-hand", "items": [{"sku": "SEEN", "quantity": 1}]});
    for (path, token, body) in [
        (
            "/api/auth/login",
            None,
            json!({"email": "ada@example.com", "password": "seven green bicycles"}),
        ),
        ("/api/auth/register", None, somebody),
        ("/api/inventory/reserve", Some(&service), hold),
    ] {
        let token = token.map(String::as_str);
        let refused = shop.send(Method::POST, path, token, Some(body)).await?;
        refused
            .expect_problem(503, "busy")
            .with_context(|| path.to_owned())?;
        ensure!(
            refused.headers.contains_key("retry-after"),
            "{path}: no Retry-After"
        );
    }
    shop.order("ada", "during", "SEEN", 1)
        .await?
        .expect_problem(503, "busy")?;
    for (path, token) in [
        ("/api/sale", None),
        ("/api/inventory/products", None),
        ("/openapi.json", None),
        ("/api/orders", Some(&buyer)),
        (order.as_str(), Some(&buyer)),
        ("/api/notifications", Some(&buyer)),
    ] {
        let token = token.map(String::as_str);
        shop.send(Method::GET, path, token, None)
            .await?
            .expect(200)
            .with_context(|| path.to_owned())?;
    }
    world.backends.start("redis").await?;
    eventually(SETTLED, "orders are taken again", async || {
        Ok(shop.order("ada", "during", "SEEN", 1).await?.status == 201)
    })
    .await
}

#[tokio::test]
async fn an_emptied_redis_costs_nothing_but_speed() -> Result<()> {
    let world = start().await?;
    world.shop.product("FLUSHED", 50, Some(1)).await?;
    let flush = async {
        for _ in 0..10 {
            tokio::time::sleep(Duration::from_millis(50)).await;
            world.backends.flush_redis().await?;
        }
        Ok(())
    };
    crowd(&world.shop, "FLUSHED", 50, flush).await?;
    world.check_conservation().await
}
