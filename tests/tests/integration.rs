//! The services as processes of their own, on real backends.

use anyhow::{Context, Result};
use futures::{StreamExt, future::join_all};
use jiff::Timestamp;
use mongodb::bson::doc;
use platform::tokens::Role;
use quicksale_tests::world::{ADMIN_EMAIL, ADMIN_PASSWORD, Answer, SERVICES, World, eventually};
use reqwest::Method;
use sale::limits::{LimitedRoute, RateLimit, RateLimits};
use serde_json::{Value, json};
use std::time::Duration;

const SETTLED: Duration = Duration::from_secs(30);

async fn next_update(
    socket: &mut (
             impl StreamExt<
        Item = Result<tokio_tungstenite::tungstenite::Message, tokio_tungstenite::tungstenite::Error>,
    > + Unpin
         ),
) -> Result<Value> {
    let end = Duration::from_secs(10);
    loop {
        let frame = tokio::time::timeout(end, socket.next())
            .await?
            .context("the socket ended")??;
        if frame.is_text() {
            return Ok(serde_json::from_str(frame.to_text()?)?);
        }
    }
}

#[tokio::test]
async fn the_seed_flow() -> Result<()> {
    let world = World::start().await?;
    let buyer =
        json!({"email": "Ada@Example.com", "password": "correct horse", "firstName": "Ada", "lastName": "L"});
    let registered = world
        .send(Method::POST, "/api/auth/register", None, Some(buyer.clone()))
        .await?;
    registered.expect(201)?;
    assert_eq!(registered.json["user"]["role"], "buyer");
    let token = registered.json["accessToken"]
        .as_str()
        .context("no token")?
        .to_owned();
    world
        .send(Method::POST, "/api/auth/register", None, Some(buyer))
        .await?
        .expect_problem(409, "email_taken")?;

    let login = json!({"email": ADMIN_EMAIL, "password": ADMIN_PASSWORD});
    let admin = world
        .send(Method::POST, "/api/auth/login", None, Some(login))
        .await?;
    let admin = admin.expect(200)?.json["accessToken"]
        .as_str()
        .context("no token")?
        .to_owned();
    let product = json!({"sku": "FLASH-LAPTOP-001", "name": "Laptop", "price": 799.99, "originalPrice": 1300, "stock": 50});
    let created = world
        .send(
            Method::POST,
            "/api/inventory/products",
            Some(&admin),
            Some(product.clone()),
        )
        .await?;
    created.expect(201)?;
    assert!(created.text.contains("\"price\":799.99") && created.text.contains("\"originalPrice\":1300.00"));
    world
        .send(
            Method::POST,
            "/api/inventory/products",
            Some(&admin),
            Some(product.clone()),
        )
        .await?
        .expect_problem(409, "sku_taken")?;
    world
        .send(
            Method::POST,
            "/api/inventory/products",
            Some(&token),
            Some(product),
        )
        .await?
        .expect_problem(403, "forbidden")?;

    let (mut socket, _) = tokio_tungstenite::connect_async(world.socket_url(&token)).await?;
    let items = json!({"items": [{"productId": created.json["product"]["_id"], "quantity": 1}]});
    let place = || {
        world
            .http
            .post(world.url("/api/orders"))
            .bearer_auth(&token)
            .header("Idempotency-Key", "order-001")
    };
    let placed = Answer::of(place().json(&items).send().await?).await?;
    placed.expect(201)?;
    assert_eq!(placed.json["order"]["status"], "PENDING");
    assert!(placed.text.contains("\"totalAmount\":799.99"));
    let id = placed.json["order"]["_id"].as_str().context("no _id")?.to_owned();

    let update = next_update(&mut socket).await?;
    assert_eq!(update["type"], "order.update");
    assert_eq!(
        (&update["data"]["orderId"], &update["data"]["status"]),
        (&json!(id), &json!("CONFIRMED"))
    );
    let read = world
        .send(Method::GET, &format!("/api/orders/{id}"), Some(&token), None)
        .await?;
    assert_eq!(
        (&read.json["status"], &read.json["inventoryStatus"]),
        (&json!("CONFIRMED"), &json!("RESERVED"))
    );
    let stranger = world.token("stranger", Role::Buyer)?;
    world
        .send(Method::GET, &format!("/api/orders/{id}"), Some(&stranger), None)
        .await?
        .expect_problem(404, "not_found")?;

    let replay = Answer::of(place().json(&items).send().await?).await?;
    assert_eq!(replay.expect(201)?.headers["idempotency-replayed"], "true");
    assert_eq!(replay.json["order"]["_id"], json!(id));
    let other = json!({"items": [{"sku": "FLASH-LAPTOP-001", "quantity": 2}]});
    Answer::of(place().json(&other).send().await?)
        .await?
        .expect_problem(422, "idempotency_key_reused")?;

    // After a reconnect what was not read comes again, until it is read.
    let (mut again, _) = tokio_tungstenite::connect_async(world.socket_url(&token)).await?;
    assert_eq!(next_update(&mut again).await?["id"], update["id"]);
    eventually(SETTLED, "the notification is stored", async || {
        let list = world
            .send(Method::GET, "/api/notifications", Some(&token), None)
            .await?;
        Ok(list.json["items"][0]["_id"] == update["id"])
    })
    .await?;
    let all = world
        .send(Method::POST, "/api/notifications/read-all", Some(&token), None)
        .await?;
    assert_eq!(all.json["updated"], 1);
    eventually(SETTLED, "the units are sold", async || {
        let product = world
            .send(Method::GET, "/api/inventory/products", None, None)
            .await?;
        let product = &product.json["items"][0];
        Ok(product["sold"] == 1 && product["reserved"] == 0 && product["available"] == 49)
    })
    .await?;
    world.check_conservation().await
}

/// Whether the sale page shows units of a product.
async fn units_left(http: &reqwest::Client, sale_url: &str, sku: &str) -> bool {
    let Ok(page) = http.get(sale_url).send().await else {
        return true;
    };
    let page: Value = page.json().await.unwrap_or_default();
    let products = page["products"].as_array().cloned().unwrap_or_default();
    products
        .iter()
        .any(|p| p["sku"] == sku && p["available"].as_i64().is_some_and(|n| n > 0))
}

/// 300 buyers at once for 50 units, one each.
async fn crowd(world: &mut World, sku: &str, kill: &[&'static str]) -> Result<()> {
    world.product(sku, 50, Some(1)).await?;
    let tokens: Vec<String> = (0..300)
        .map(|n| world.token(&format!("{sku}-buyer-{n}"), Role::Buyer))
        .collect::<Result<_>>()?;
    let (http, url, sale_url) = (
        world.http.clone(),
        world.url("/api/orders"),
        world.url("/api/sale"),
    );
    let (sku_name, killing) = (sku.to_owned(), !kill.is_empty());
    // A buyer whose request fails tries again with the same key, as the API asks for.
    let buy = move |n: usize, token: String| {
        let (http, url, sku, sale_url) = (http.clone(), url.clone(), sku_name.clone(), sale_url.clone());
        async move {
            let body = json!({"items": [{"sku": sku, "quantity": 1}]});
            for _ in 0..40 {
                let sent = http
                    .post(&url)
                    .bearer_auth(&token)
                    .header("idempotency-key", format!("{sku}-{n}"))
                    .json(&body);
                match sent.send().await.map(|response| response.status().as_u16()) {
                    Ok(201) => return Ok(true),
                    // A gateway that died between gate and order leaves the gate too low until it is filled again from
                    // the stock: then the sale page shows units, and whoever sees them asks again.
                    Ok(409) if killing && units_left(&http, &sale_url, &sku).await => {
                        tokio::time::sleep(Duration::from_millis(1_500)).await;
                    }
                    Ok(409) => return Ok(false),
                    Ok(503) | Err(_) => tokio::time::sleep(Duration::from_millis(500)).await,
                    // Ten tries a minute for each buyer.
                    Ok(429) => return Ok(false),
                    Ok(other) => anyhow::bail!("buyer {n} got {other}"),
                }
            }
            Ok(false)
        }
    };
    let buyers: Vec<_> = tokens
        .into_iter()
        .enumerate()
        .map(|(n, token)| tokio::spawn(buy(n, token)))
        .collect();
    for service in kill {
        world.kill_and_restart(service)?;
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    for buyer in join_all(buyers).await {
        buyer??;
    }
    let of = |status: &str| doc! {"items.sku": sku, "status": status};
    eventually(SETTLED, "every accepted order has come to an end", async || {
        Ok(world.count_orders(of("PENDING")).await? == 0)
    })
    .await?;
    eventually(SETTLED, "all units are sold and none is held", async || {
        let products = world.database.collection::<mongodb::bson::Document>("products");
        let product = products
            .find_one(doc! {"sku": sku})
            .await?
            .context("no product")?;
        Ok(product.get_i64("sold")? == 50 && product.get_i64("reserved")? == 0)
    })
    .await?;
    assert_eq!(world.count_orders(of("CONFIRMED")).await?, 50);
    world.check_conservation().await
}

#[tokio::test]
async fn three_hundred_buyers_get_fifty_units() -> Result<()> {
    let mut world = World::start().await?;
    crowd(&mut world, "CALM", &[]).await
}

#[tokio::test]
async fn three_hundred_buyers_get_fifty_units_while_every_service_is_killed() -> Result<()> {
    let mut world = World::start().await?;
    let sold = crowd(&mut world, "STORM", &SERVICES).await;
    if sold.is_err() {
        return sold.context(world.describe().await?);
    }
    sold
}

#[tokio::test]
async fn one_key_is_one_order_and_the_limit_counts_all_orders() -> Result<()> {
    let world = World::start().await?;
    world.product("LIMITED", 50, Some(2)).await?;
    world.product("FREE", 50, None).await?;
    let same = join_all((0..8).map(|_| world.order("ada", "one", "FREE", 1))).await;
    let ids: std::collections::HashSet<String> = same
        .into_iter()
        .map(|a| Ok(a?.expect(201)?.json["order"]["_id"].to_string()))
        .collect::<Result<_>>()?;
    assert_eq!(ids.len(), 1);
    world.order("bob", "one", "FREE", 1).await?.expect(201)?;
    let keys: Vec<String> = (0..8).map(|n| format!("k{n}")).collect();
    let mut accepted = 0;
    for answer in join_all(keys.iter().map(|key| world.order("eve", key, "LIMITED", 1))).await {
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
    world.product("P", 50, None).await?;
    let mut n = 0;
    let mut post = async |key: Option<&str>, body: &str| {
        n += 1;
        let mut request = world
            .http
            .post(world.url("/api/orders"))
            .header("content-type", "application/json")
            .bearer_auth(world.token(&format!("u{n}"), Role::Buyer)?);
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
    // The gateway may close the connection before it has read two megabytes; then there is no answer to read.
    if let Ok(answer) = post(Some("k"), &long).await {
        answer.expect_problem(413, "payload_too_large")?;
    }
    let none = format!(
        "{}.{}.",
        "eyJhbGciOiJub25lIn0", "eyJzdWIiOiJ1Iiwicm9sZSI6ImFkbWluIn0"
    );
    let expired = world.token_at("u", Timestamp::now() - Duration::from_secs(3_600))?;
    for token in ["forged", &none, &expired] {
        world
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
async fn limits_and_the_clock_follow_the_control_document() -> Result<()> {
    let world = World::start().await?;
    world.product("P", 50, None).await?;
    let answers = join_all((0..14).map(|n| {
        let (world, key) = (&world, format!("k{n}"));
        async move { world.order("ada", &key, "P", 1).await }
    }))
    .await;
    let statuses: Vec<u16> = answers
        .into_iter()
        .map(|a| Ok(a?.status))
        .collect::<Result<_>>()?;
    assert_eq!(statuses.iter().filter(|s| **s == 201).count(), 10, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|s| **s == 429).count(), 4, "{statuses:?}");
    let refused = world.order("ada", "k", "P", 1).await?;
    refused.expect_problem(429, "rate_limited")?;
    assert_eq!(refused.headers["ratelimit-limit"], "10");
    assert!(refused.headers.contains_key("retry-after"));

    let within = Duration::from_secs(2);
    let more = RateLimit {
        route: LimitedRoute::Orders,
        limit: 30,
        window_ms: 60_000,
    };
    world.control(
        |c| c.rate_limits = RateLimits::with_overrides([more]),
        &world.current_control()?,
    )?;
    eventually(within, "a raised limit is in force", async || {
        Ok(world.order("ada", "k", "P", 1).await?.status == 201)
    })
    .await?;
    world.control(|c| c.halted = true, &world.current_control()?)?;
    eventually(within, "orders are refused while halted", async || {
        Ok(world
            .order("bob", "h", "P", 1)
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
        let answer = world.order("eve", "o", "P", 1).await?;
        Ok(answer.expect_problem(409, "sale_not_open").is_ok() && answer.json["opensAt"].is_string())
    })
    .await?;
    world.control(|c| c.closed = true, &world.current_control()?)?;
    eventually(within, "orders are refused after the end", async || {
        Ok(world
            .order("joe", "c", "P", 1)
            .await?
            .expect_problem(409, "sale_closed")
            .is_ok())
    })
    .await
}

#[tokio::test]
async fn a_spent_refresh_token_ends_its_family() -> Result<()> {
    let world = World::start().await?;
    let login = json!({"email": ADMIN_EMAIL, "password": ADMIN_PASSWORD});
    let first = world
        .send(Method::POST, "/api/auth/login", None, Some(login))
        .await?;
    let exchange = async |token: &Value| {
        world
            .send(
                Method::POST,
                "/api/auth/refresh",
                None,
                Some(json!({"refreshToken": token})),
            )
            .await
    };
    let second = exchange(&first.expect(200)?.json["refreshToken"]).await?;
    second.expect(200)?;
    exchange(&first.json["refreshToken"])
        .await?
        .expect_problem(401, "unauthenticated")?;
    exchange(&second.json["refreshToken"])
        .await?
        .expect_problem(401, "unauthenticated")?;
    let wrong = json!({"email": ADMIN_EMAIL, "password": "wrong wrong"});
    world
        .send(Method::POST, "/api/auth/login", None, Some(wrong))
        .await?
        .expect_problem(401, "unauthenticated")?;
    Ok(())
}
