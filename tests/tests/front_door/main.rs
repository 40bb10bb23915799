//! What a crowd, a greedy buyer or a hostile client may ask of a sale's front door: the services as processes of their
//! own, on real backends.

#[path = "../chromium/mod.rs"]
mod chromium;
mod console;
mod line;
mod lost;
mod markup;
mod page;
mod pictures;
mod plain_http;
mod smuggling;
mod sockets;
mod storefront;

use anyhow::{Context, Result, ensure};
use fred::{
    clients::Client,
    interfaces::{KeysInterface, SetsInterface},
};
use futures::future::join_all;
use gateway::{
    gate::{Attempt, Doubt, Gate, Knowledge, Outcome, Passage, Passed, Short, WantedUnits},
    limiter::{Count, Limiter},
    scripts::Scripts,
};
use platform::tokens::Role;
use quicksale_tests::{
    backends::Backends,
    scenarios::SETTLED,
    shop::Answer,
    world::{World, eventually},
};
use reqwest::Method;
use sale::{
    ProductId, UserId,
    limits::{LimitedRoute, RateLimit, RateLimits},
    order::Confirmation,
};
use serde_json::{Value, json};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

fn somebody() -> String {
    uuid::Uuid::new_v4().to_string()
}

fn limit(route: LimitedRoute, limit: u32, window_ms: u64) -> RateLimit {
    RateLimit {
        route,
        limit,
        window_ms,
    }
}

/// Sets the limit of orders and that of everything else, and waits until the gateway has them.
async fn set_limits(world: &World, orders: u32, everything_else: u32) -> Result<()> {
    let limits = [
        limit(LimitedRoute::Orders, orders, 60_000),
        limit(LimitedRoute::Default, everything_else, 60_000),
    ];
    world.control(
        |c| c.rate_limits = RateLimits::with_overrides(limits),
        &world.current_control()?,
    )?;
    eventually(SETTLED, "the limits are in force", async || {
        let token = world.shop.observer()?;
        let answer = world
            .shop
            .send(Method::GET, "/openapi.json", Some(&token), None)
            .await?;
        Ok(answer.headers["ratelimit-limit"] == everything_else.to_string())
    })
    .await
}

/// Redis, and a prefix that nobody else uses.
fn redis() -> Result<(fred::clients::Client, String)> {
    let url = Backends::shared()?.credentials()?.redis_url;
    let client = platform::backends::redis::client(&url)?;
    Ok((client, format!("front-door-{}:", somebody())))
}

/// Many buyers of more than one may have, and honest ones between them.
#[tokio::test]
async fn over_large_baskets_keep_nobody_from_buying() -> Result<()> {
    let world = World::start().await?;
    let shop = &world.shop;
    shop.product("FAIR", 50, Some(1)).await?;
    set_limits(&world, 1_000, 777).await?;
    let greedy = (0..20).map(|n| async move {
        for round in 0..20 {
            let basket = match round % 4 {
                0 => json!([{"sku": "FAIR", "quantity": 50}]),
                1 => json!([{"sku": "FAIR", "quantity": 1}, {"sku": "FAIR", "quantity": 49}]),
                2 => json!([{"sku": "FAIR", "quantity": 1}, {"sku": "GHOST", "quantity": 100}]),
                _ => json!([{"sku": "FAIR", "quantity": 1, "colour": "red"}]),
            };
            let token = shop.token(&format!("greedy-{n}"), Role::Buyer)?;
            let answer = shop.place(&token, &format!("k{round}"), basket).await?;
            anyhow::ensure!(
                answer.json["code"] == "customer_limit" || answer.json["code"] == "invalid_request",
                "{}",
                answer.text
            );
        }
        Ok(())
    });
    let honest = (0..50).map(|n| async move {
        tokio::time::sleep(Duration::from_millis(20 * n)).await;
        shop.order(&format!("honest-{n}"), "k", "FAIR", 1)
            .await?
            .expect(201)?;
        Ok(())
    });
    let (greedy, honest): (Vec<Result<()>>, Vec<Result<()>>) =
        futures::join!(join_all(greedy), join_all(honest));
    greedy.into_iter().chain(honest).collect::<Result<()>>()?;
    eventually(SETTLED, "the fifty are sold", async || {
        Ok(shop.shown("FAIR").await?["sold"] == 50)
    })
    .await?;
    world.check_conservation().await
}

/// The scripts under a prefix, for as long as the test lasts.
fn scripts(redis: &Client, prefix: &str) -> Scripts {
    let (scripts, asking) = {
        let stop = CancellationToken::new();
        let work = platform::health::Health::new(stop.clone()).work("asking Redis");
        gateway::scripts::start(redis.clone(), prefix, work, stop)
    };
    tokio::spawn(asking);
    scripts
}

/// Many ask Redis in one call, and each has an answer of its own: one whose script fails fails alone.
#[tokio::test]
async fn scripts_that_go_together_fail_each_by_itself() -> Result<()> {
    let (redis, prefix) = redis()?;
    let gate = Gate::new(scripts(&redis, &prefix), &prefix);
    for (product, units) in [("p", "30"), ("q", "no number")] {
        let count = format!("{prefix}gate:{product}");
        redis.set::<(), _, _>(&count, units, None, None, false).await?;
    }
    redis
        .set::<(), _, _>(format!("{prefix}gate:markers"), "whole", None, None, false)
        .await?;
    let attempts: Vec<Attempt> = (0..100)
        .map(|n| Attempt {
            user: UserId::new(format!("user-{n}")),
            key: "k".to_owned(),
            wanted: vec![WantedUnits {
                product: ProductId::new(if n % 3 == 0 { "q" } else { "p" }),
                units: 1,
                limit: None,
            }],
        })
        .collect();
    let answers = join_all(attempts.iter().map(|attempt| gate.take(attempt))).await;
    let (mut taken, mut refused, mut failed) = (0, 0, 0);
    for (attempt, answer) in attempts.iter().zip(answers) {
        match (attempt.wanted[0].product.as_str(), answer) {
            ("p", Ok(Passage::Taken)) => taken += 1,
            ("p", Ok(Passage::Refused(_))) => refused += 1,
            ("q", Err(_)) => failed += 1,
            (product, answer) => anyhow::bail!("{product}: {answer:?}"),
        }
    }
    anyhow::ensure!(
        (taken, refused, failed) == (30, 36, 34),
        "{taken} {refused} {failed}"
    );
    Ok(())
}

/// Whoever was refused once takes units only once the next order is accepted, and has one order under way at a time.
#[tokio::test]
async fn a_refused_buyer_takes_units_afterwards_and_one_order_at_a_time() -> Result<()> {
    let (redis, prefix) = redis()?;
    let gate = Gate::new(scripts(&redis, &prefix), &prefix);
    let count = format!("{prefix}gate:p");
    redis.set::<(), _, _>(&count, 10, None, None, false).await?;
    let left = async || -> Result<i64> { Ok(redis.get(&count).await?) };
    let attempt = |user: &str, key: &str| three_of_p(user, key, None);
    let passed = |attempt: &Attempt, has_units| Passed {
        attempt: attempt.clone(),
        has_units,
    };
    let first = attempt("ada", "first");
    assert_eq!(gate.take(&first).await?, Passage::Taken);
    assert_eq!(gate.take(&first).await?, Passage::Repeat);
    assert_eq!(gate.take(&attempt("ada", "second")).await?, Passage::UnderWay);
    assert_eq!(gate.take(&attempt("bob", "first")).await?, Passage::Taken);
    assert_eq!(left().await?, 4);
    gate.settle(&passed(&first, true), Outcome::Refused).await;
    assert_eq!(left().await?, 7);
    for (key, outcome, then) in [("third", Outcome::Refused, 7), ("fourth", Outcome::Accepted, 4)] {
        let next = attempt("ada", key);
        assert_eq!(gate.take(&next).await?, Passage::TakesLater, "{key}");
        assert_eq!(left().await?, 7, "{key}");
        gate.settle(&passed(&next, false), outcome).await;
        assert_eq!(left().await?, then, "{key}");
    }
    assert_eq!(gate.take(&attempt("ada", "fifth")).await?, Passage::Taken);
    Ok(())
}

/// Where too few units are left, a key that is not marked is refused only where it cannot have made an order.
#[tokio::test]
async fn an_unknown_key_is_refused_once_markers_are_whole_or_no_try_can_be_under_way() -> Result<()> {
    let (redis, prefix) = redis()?;
    let gate = Gate::new(scripts(&redis, &prefix), &prefix);
    let set = async |name: &str, value: &str| {
        redis
            .set::<(), _, _>(format!("{prefix}gate:{name}"), value, None, None, false)
            .await
    };
    set("p", "1").await?;
    let eve = three_of_p("eve", "first", None);
    let short = |all_sold| Short {
        index: 0,
        left: 1,
        all_sold,
    };
    let in_doubt = async |doubt: Doubt, when: &str| -> Result<()> {
        let passage = gate.take(&eve).await?;
        ensure!(
            passage == Passage::RefusedInDoubt(short(false), doubt),
            "{when}: {passage:?}"
        );
        let knowledge = gate.knows(&eve.user, &eve.key).await?;
        ensure!(knowledge == Knowledge::InDoubt(doubt), "{when}: {knowledge:?}");
        Ok(())
    };
    in_doubt(Doubt::TryMayBeUnderWay, "nobody has said anything").await?;
    set("tries-unknown", "1").await?;
    in_doubt(
        Doubt::TryMayBeUnderWay,
        "it is about to be said that they are lost",
    )
    .await?;
    set("markers", "lost").await?;
    in_doubt(Doubt::TryMayBeUnderWay, "they were lost a moment ago").await?;
    redis.del::<(), _>(format!("{prefix}gate:tries-unknown")).await?;
    in_doubt(Doubt::NoTryUnderWay, "they were lost before that").await?;
    set("markers", "whole").await?;
    assert_eq!(gate.take(&eve).await?, Passage::Refused(short(false)));
    assert_eq!(gate.knows(&eve.user, &eve.key).await?, Knowledge::Unmarked);
    redis
        .sadd::<(), _, _>(format!("{prefix}gate:all-sold"), "p")
        .await?;
    assert_eq!(gate.take(&eve).await?, Passage::Refused(short(true)));
    Ok(())
}

fn three_of_p(user: &str, key: &str, limit: Option<u32>) -> Attempt {
    let wanted = WantedUnits {
        product: ProductId::new("p"),
        units: 3,
        limit,
    };
    Attempt {
        user: UserId::new(user),
        key: key.to_owned(),
        wanted: vec![wanted],
    }
}

/// Who has bought as many as a customer may cannot keep the last units from others by asking for more.
#[tokio::test]
async fn a_buyer_over_the_limit_takes_no_units_from_others() -> Result<()> {
    let (redis, prefix) = redis()?;
    let gate = Gate::new(scripts(&redis, &prefix), &prefix);
    let count = format!("{prefix}gate:p");
    redis.set::<(), _, _>(&count, 20, None, None, false).await?;
    let left = async || -> Result<i64> { Ok(redis.get(&count).await?) };
    for (key, limit, passage, then) in [
        ("first", Some(6), Passage::Taken, 17),
        ("second", Some(6), Passage::Taken, 14),
        ("third", Some(6), Passage::TakesLater, 14),
        // It was raised, or taken away.
        ("fourth", Some(9), Passage::Taken, 11),
        ("fifth", None, Passage::Taken, 8),
    ] {
        let attempt = three_of_p("ada", key, limit);
        let taken = gate.take(&attempt).await?;
        assert_eq!((taken, left().await?), (passage, then), "{key}");
        let (has_units, outcome) = match passage {
            Passage::Taken => (true, Outcome::Accepted),
            _ => (false, Outcome::NotSent),
        };
        gate.settle(&Passed { attempt, has_units }, outcome).await;
    }
    assert_eq!(
        gate.take(&three_of_p("bob", "first", Some(6))).await?,
        Passage::Taken,
        "others have limits of their own"
    );
    Ok(())
}

#[tokio::test]
async fn tokens_open_no_second_budget_for_passwords_and_accounts() -> Result<()> {
    let world = World::start().await?;
    let shop = &world.shop;
    let wrong = json!({"email": "victim@example.com", "password": "wrong wrong"});
    let guess = async |token: Option<&str>| {
        shop.send(Method::POST, "/api/auth/login", token, Some(wrong.clone()))
            .await
    };
    for _ in 0..5 {
        guess(None).await?.expect_problem(401, "unauthenticated")?;
    }
    for user in ["ada", "bob"] {
        let token = shop.token(user, Role::Buyer)?;
        let refused = guess(Some(&token)).await?;
        refused.expect_problem(429, "rate_limited")?;
        assert_eq!(refused.headers["cache-control"], "no-store");
    }
    for n in 0..4 {
        let token = shop.token(&somebody(), Role::Buyer)?;
        let account = json!({"email": format!("a{n}@example.com"), "password": "correct horse", "firstName": "A", "lastName": "B"});
        let answer = shop
            .send(Method::POST, "/api/auth/register", Some(&token), Some(account))
            .await?;
        answer.expect(if n < 3 { 201 } else { 429 })?;
    }
    Ok(())
}

#[tokio::test]
async fn services_may_ask_for_more_than_buyers() -> Result<()> {
    let world = World::start().await?;
    let shop = &world.shop;
    let limit_of = async |role| -> Result<String> {
        let token = shop.token(&somebody(), role)?;
        let answer = shop
            .send(Method::GET, "/openapi.json", Some(&token), None)
            .await?;
        Ok(answer.expect(200)?.headers["ratelimit-limit"]
            .to_str()?
            .to_owned())
    };
    assert_eq!(limit_of(Role::Buyer).await?, "100");
    assert_eq!(limit_of(Role::Service).await?, "6000");
    Ok(())
}

/// A crowd that waits for the opening asks for the sale again and again: nobody counts that, and while nothing changes nothing is sent.
#[tokio::test]
async fn the_sale_is_shown_to_a_crowd_at_no_cost() -> Result<()> {
    let world = World::start().await?;
    let shop = &world.shop;
    shop.product("SHOWN", 5, None).await?;
    set_limits(&world, 10, 2).await?;
    let ask = async |tag: Option<&str>| {
        let mut request = shop.http.get(shop.url("/api/sale"));
        if let Some(tag) = tag {
            request = request.header("if-none-match", tag);
        }
        Answer::of(request.send().await?).await
    };
    eventually(SETTLED, "the gateway knows the product", async || {
        Ok(ask(None).await?.json["products"][0]["available"] == 5)
    })
    .await?;
    let first = ask(None).await?;
    let tag = first.expect(200)?.headers["etag"].to_str()?.to_owned();
    ensure!(first.headers["cache-control"] == "no-store", "{first:?}");
    for _ in 0..20 {
        let again = ask(Some(&format!("\"another\", {tag}"))).await?;
        again.expect(304)?;
        ensure!(
            again.text.is_empty() && !again.headers.contains_key("ratelimit-limit"),
            "{again:?}"
        );
        let at = again.headers["x-server-time"].to_str()?;
        ensure!(at.parse::<jiff::Timestamp>().is_ok(), "{at}");
    }
    shop.order("ada", "k", "SHOWN", 2).await?.expect(201)?;
    eventually(SETTLED, "what is left has changed, and is sent", async || {
        let answer = ask(Some(&tag)).await?;
        Ok(answer.status == 200 && answer.json["products"][0]["available"] == 3)
    })
    .await
}

/// The documentation is limited, and every answer says to a browser what it may do with it.
#[tokio::test]
async fn the_documentation_is_limited_and_framed_by_nobody() -> Result<()> {
    let world = World::start().await?;
    let shop = &world.shop;
    let page = shop.send(Method::GET, "/docs/", None, None).await?;
    page.expect(200)?;
    assert_eq!(page.headers["content-security-policy"], "frame-ancestors 'none'");
    assert_eq!(page.headers["x-content-type-options"], "nosniff");
    let document = shop.send(Method::GET, "/openapi.json", None, None).await?;
    assert!(document.expect(200)?.json["paths"]["/api/ws-ticket"].is_object());
    set_limits(&world, 10, 2).await?;
    for path in ["/docs/", "/openapi.json"] {
        shop.send(Method::GET, path, None, None)
            .await?
            .expect_problem(429, "rate_limited")?;
    }
    Ok(())
}

/// Counting costs the same, and takes the same space, whatever the limit is and however much of it is used.
#[tokio::test]
async fn counting_costs_the_same_at_a_limit_of_a_million() -> Result<()> {
    let (redis, prefix) = redis()?;
    let limiter = Limiter::new(scripts(&redis, &prefix), &prefix);
    let count = Count {
        subject: "somebody".to_owned(),
        limit: limit(LimitedRoute::Default, 1_000_000, 60_000),
    };
    let key = format!("{prefix}limit:*:60000:somebody");
    let backends = Backends::shared()?;
    let bytes = async || -> Result<u64> {
        let used = backends.redis(&["memory", "usage", &key]).await?;
        used.trim().parse().context("no such key")
    };
    let mut sizes = Vec::new();
    for _ in 0..2 {
        for _ in 0..50 {
            let counted = join_all((0..100).map(|_| limiter.count(&count, &[]))).await;
            assert!(
                counted
                    .into_iter()
                    .all(|verdict| verdict.is_ok_and(|v| v.allowed()))
            );
        }
        sizes.push(bytes().await?);
    }
    let verdict = limiter.count(&count, &[]).await?;
    assert_eq!(verdict.remaining, 1_000_000 - 10_001);
    // A part of the window has some bytes, and there are 61 of them at the most.
    assert!(sizes[1] < 4_096, "{sizes:?}");
    Ok(())
}

/// In no window of any position are there more than the limit; whoever obeys Retry-After is let in.
#[tokio::test]
async fn the_limit_holds_in_every_window_and_the_wait_is_long_enough() -> Result<()> {
    const LIMIT: u32 = 7;
    const WINDOW: u64 = 600;
    let (redis, prefix) = redis()?;
    let limiter = Limiter::new(scripts(&redis, &prefix), &prefix);
    let count = Count {
        subject: "eager".to_owned(),
        limit: limit(LimitedRoute::Orders, LIMIT, WINDOW),
    };
    let begun = tokio::time::Instant::now();
    let mut allowed = Vec::new();
    while begun.elapsed() < Duration::from_millis(4 * WINDOW) {
        // Counted somewhere between these two moments.
        let asked = begun.elapsed();
        let verdict = limiter.count(&count, &[]).await?;
        if verdict.allowed() {
            allowed.push((asked, begun.elapsed()));
        } else {
            assert!(
                verdict.retry_after <= Duration::from_millis(WINDOW + WINDOW / 30),
                "{verdict:?}"
            );
        }
    }
    assert!(allowed.len() > 2 * LIMIT as usize, "{}", allowed.len());
    for pair in allowed.windows(LIMIT as usize + 1) {
        let (first, last) = (pair[0].0, pair[LIMIT as usize].1);
        assert!(last - first >= Duration::from_millis(WINDOW - 1), "{pair:?}");
    }
    let refused = loop {
        let verdict = limiter.count(&count, &[]).await?;
        if !verdict.allowed() {
            break verdict;
        }
    };
    tokio::time::sleep(refused.retry_after).await;
    assert!(limiter.count(&count, &[]).await?.allowed());
    // A lower limit of the same subject waits for as many as are too many.
    let lower = Count {
        limit: limit(LimitedRoute::Orders, 1, WINDOW),
        ..count
    };
    let refused = limiter.count(&lower, &[]).await?;
    assert!(!refused.allowed());
    tokio::time::sleep(refused.retry_after).await;
    assert!(limiter.count(&lower, &[]).await?.allowed());
    Ok(())
}

/// A request that is one too many for the wider network leaves no trace at the narrower one.
#[tokio::test]
async fn a_request_passes_all_its_counts_or_none() -> Result<()> {
    let (redis, prefix) = redis()?;
    let limiter = Limiter::new(scripts(&redis, &prefix), &prefix);
    let count = |subject: &str, of| Count {
        subject: subject.to_owned(),
        limit: limit(LimitedRoute::Login, of, 60_000),
    };
    let around = [count("56", 4)];
    for n in 0..4 {
        let narrow = count(&format!("64-{}", n % 2), 3);
        assert!(limiter.count(&narrow, &around).await?.allowed());
    }
    assert!(!limiter.count(&count("64-0", 3), &around).await?.allowed());
    let alone = limiter.count(&count("64-0", 3), &[]).await?;
    assert_eq!((alone.allowed(), alone.remaining), (true, 0));
    Ok(())
}

/// Each request has a line that leads from its id to its trace, and from neither to who sent it.
#[tokio::test]
async fn each_request_has_one_access_line() -> Result<()> {
    let world = World::start().await?;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let ask = async |path: &str, id: &str, context: Option<&str>| {
        let mut request = reqwest::Client::new()
            .get(world.shop.url(path))
            .header("x-request-id", id);
        if let Some(context) = context {
            request = request.header("traceparent", context);
        }
        request.send().await
    };
    let context = format!("00-{trace}-00f067aa0ba902b7-01");
    ask("/api/sale?token=secret", "access-1", Some(&context)).await?;
    ask("/api/orders", "access-2", None).await?;
    let log = world.log_of("gateway")?;
    let line = |id: &str| {
        let mut lines = log
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .filter(|line| line["log"]["logger"] == "access" && line["http"]["request"]["id"] == id);
        let line = lines.next().context("no access line")?;
        ensure!(lines.next().is_none(), "more than one line for {id}");
        Ok(line)
    };
    let first = line("access-1")?;
    let told = [
        "/http/request/method",
        "/url/path",
        "/client/address",
        "/trace/id",
    ]
    .map(|field| first.pointer(field).and_then(Value::as_str).unwrap_or("?"));
    ensure!(told == ["GET", "/api/sale", "127.0.0.0/24", trace], "{first}");
    ensure!(
        first["http"]["response"]["status_code"] == 200 && first["event"]["duration"].is_u64(),
        "{first}"
    );
    let second = line("access-2")?;
    ensure!(second["http"]["response"]["status_code"] == 401, "{second}");
    let made = second["trace"]["id"].as_str().unwrap_or_default();
    ensure!(made.len() == 32 && made != trace, "{second}");
    ensure!(!log.contains("secret"), "what stands behind the ? is in the log");
    Ok(())
}

/// The lines of a log that are for the trail.
fn trail(log: &str) -> Vec<Value> {
    log.lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .filter(|line: &Value| line["log"]["logger"] == "audit" || line["message"] == "audit")
        .collect()
}

fn told(event: &Value) -> [&str; 5] {
    [
        "/event/action",
        "/quicksale/outcome",
        "/user/id",
        "/quicksale/whose",
        "/client/address",
    ]
    .map(|field| event.pointer(field).and_then(Value::as_str).unwrap_or("?"))
}

/// Whatever a service or an administrator changes at the front door leaves a line; what a buyer does to an own order does not.
#[tokio::test]
async fn each_change_that_not_everybody_may_make_is_in_the_trail() -> Result<()> {
    let world = World::start_with(Confirmation::Payment).await?;
    let shop = &world.shop;
    let id = shop.product("MARKED", 5, None).await?;
    let (payment, admin, ada) = (
        shop.token("the-payment", Role::Service)?,
        shop.token("the-admin", Role::Admin)?,
        shop.token("ada", Role::Buyer)?,
    );
    let ordered = async |key: &str| -> Result<String> {
        let placed = shop.order("ada", key, "MARKED", 1).await?;
        let id = placed.expect(201)?.json["order"]["_id"].as_str();
        Ok(id.context("no _id")?.to_owned())
    };
    let (hers, called_off) = (ordered("hers").await?, ordered("called-off").await?);
    let stock = format!("/api/inventory/products/{id}/stock");
    let [own, others] = [&hers, &called_off].map(|order| format!("/api/orders/{order}/cancel"));
    let hold = |id: &str| json!({"orderId": id, "items": [{"sku": "MARKED", "quantity": 1}]});
    let of = |id: &str| json!({"orderId": id});
    for (path, token, body) in [
        (stock.as_str(), &payment, Some(json!({"delta": 2}))),
        ("/api/inventory/reserve", &payment, Some(hold("first"))),
        ("/api/inventory/release", &payment, Some(of("first"))),
        ("/api/inventory/reserve", &payment, Some(hold("second"))),
        ("/api/inventory/confirm", &payment, Some(of("second"))),
        (own.as_str(), &ada, None),
        (others.as_str(), &admin, None),
    ] {
        shop.send(Method::POST, path, Some(token), body)
            .await?
            .expect(200)
            .with_context(|| path.to_owned())?;
    }
    shop.send(
        Method::POST,
        "/api/inventory/confirm",
        Some(&payment),
        Some(of("unknown")),
    )
    .await?
    .expect(404)?;
    let log = world.log_of("gateway")?;
    let events = trail(&log);
    let told: Vec<_> = events.iter().map(told).skip(1).collect();
    let from = "127.0.0.0/24";
    ensure!(
        told == [
            ["product.stock", "done", "the-payment", &stock, from],
            [
                "inventory.reserve",
                "done",
                "the-payment",
                "/api/inventory/reserve",
                from
            ],
            [
                "inventory.release",
                "done",
                "the-payment",
                "/api/inventory/release",
                from
            ],
            [
                "inventory.reserve",
                "done",
                "the-payment",
                "/api/inventory/reserve",
                from
            ],
            [
                "inventory.confirm",
                "done",
                "the-payment",
                "/api/inventory/confirm",
                from
            ],
            ["order.cancel", "done", "the-admin", &others, from],
            [
                "inventory.confirm",
                "refused",
                "the-payment",
                "/api/inventory/confirm",
                from
            ],
        ],
        "{told:?}"
    );
    Ok(())
}

/// What an administrator does is in the gateway's trail, and so is whoever may not.
#[tokio::test]
async fn the_trail_has_what_administrators_do_and_who_is_refused() -> Result<()> {
    let world = World::start().await?;
    let shop = &world.shop;
    let (admin, buyer) = (
        shop.token("the-admin", Role::Admin)?,
        shop.token("the-buyer", Role::Buyer)?,
    );
    let product = json!({"sku": "TRAIL", "name": "t", "price": 1.5, "stock": 5});
    let create = async |token: &str| {
        let path = "/api/inventory/products";
        shop.send(Method::POST, path, Some(token), Some(product.clone()))
            .await
    };
    create(&buyer).await?.expect_problem(403, "forbidden")?;
    create(&admin).await?.expect(201)?;
    shop.send(Method::GET, "/api/orders", Some("no-token"), None)
        .await?
        .expect_problem(401, "unauthenticated")?;
    shop.send(Method::GET, "/api/sale", Some(&admin), None)
        .await?
        .expect(200)?;
    let log = world.log_of("gateway")?;
    let events = trail(&log);
    let told: Vec<_> = events.iter().map(told).collect();
    let products = "/api/inventory/products";
    ensure!(
        told == [
            ["product.write", "refused", "the-buyer", products, "127.0.0.0/24"],
            ["product.write", "done", "the-admin", products, "127.0.0.0/24"],
            ["request", "refused", "anonymous", "/api/orders", "127.0.0.0/24"],
        ],
        "{told:?}"
    );
    ensure!(
        events
            .iter()
            .all(|event| event["http"]["request"]["id"].is_string()),
        "no request id: {events:?}"
    );
    ensure!(
        !log.contains(&admin) && !log.contains(&buyer),
        "a token is in the log"
    );
    Ok(())
}
