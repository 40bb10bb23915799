//! The console beside a running sale: who gets in, what it shows, and what it changes.

use super::somebody;
use anyhow::{Context, Result, ensure};
use events::topics::Topic;
use futures::TryStreamExt;
use mongodb::bson::{Document, doc};
use quicksale_tests::{
    console::{Console, Switches},
    records::produce,
    scenarios::SETTLED,
    world::{ADMIN_EMAIL, ADMIN_PASSWORD, World, eventually},
};
use reqwest::Method;
use sale::order::Confirmation;
use serde_json::{Value, json};

async fn logged_in(world: &World, switches: Switches) -> Result<Console> {
    let console = Console::of(world, switches).await?;
    console.log_in(ADMIN_EMAIL, ADMIN_PASSWORD).await?.expect(200)?;
    Ok(console)
}

/// Every route that shows or changes something.
fn routes(console: &Console) -> Vec<(Method, String, Option<Value>)> {
    let looks = [
        "",
        "/story",
        "/history",
        "/deeds",
        "/orders",
        "/orders/o1",
        "/topics",
        "/topics/order.created/0",
        "/lanes",
        "/dead-letters",
        "/ledger?product=p",
        "/audit",
        "/report",
    ];
    let deeds = [
        "/audit",
        "/halt",
        "/reopen",
        "/stock",
        "/dead-letters/replay",
        "/dead-letters/discard",
    ];
    let sale = &console.sale;
    let own = [
        (Method::GET, "/api/me".to_owned(), None),
        (Method::GET, "/api/sales".to_owned(), None),
    ];
    let looks = looks.map(|path| (Method::GET, format!("{sale}{path}"), None));
    let deeds = deeds.map(|path| (Method::POST, format!("{sale}{path}"), Some(json!({}))));
    own.into_iter().chain(looks).chain(deeds).collect()
}

/// Safety: nobody but an administrator sees or changes anything, and only for as long as it is one.
#[tokio::test]
async fn nobody_but_an_administrator_gets_into_the_console() -> Result<()> {
    let world = World::start().await?;
    let console = Console::of(&world, Switches::Allow).await?;
    let buyer =
        json!({"email": "ada@example.com", "password": "correct horse", "firstName": "Ada", "lastName": "L"});
    let registered = world
        .shop
        .send(Method::POST, "/api/auth/register", None, Some(buyer))
        .await?;
    registered.expect(201)?;
    console
        .log_in("ada@example.com", "correct horse")
        .await?
        .expect_problem(403, "forbidden")?;
    console
        .log_in(ADMIN_EMAIL, "a guess")
        .await?
        .expect_problem(401, "unauthenticated")?;
    for (method, path, body) in routes(&console) {
        let answer = console.send(method, &path, body).await?;
        answer
            .expect_problem(401, "unauthenticated")
            .with_context(|| path.clone())?;
    }
    console.log_in(ADMIN_EMAIL, ADMIN_PASSWORD).await?.expect(200)?;
    console.get("/api/me").await?.expect(200)?;
    // Another administrator is declared: this one is none any more, and its session ends within seconds.
    world.declare_admin(Some(("another@example.com", "another admin's password")))?;
    eventually(SETTLED, "the session is over", async || {
        Ok(console.get("/api/sales").await?.status == 401)
    })
    .await?;
    Ok(())
}

/// Safety: a console that may only look changes nothing, whoever asks.
#[tokio::test]
async fn a_console_without_the_switches_changes_nothing() -> Result<()> {
    let world = World::start().await?;
    world.shop.product("P", 5, None).await?;
    let console = logged_in(&world, Switches::Withhold).await?;
    ensure!(console.get("/api/me").await?.json["switches"] == false);
    let before = world.current_control()?;
    for (path, body) in [
        ("/halt", json!({"reason": "try"})),
        ("/reopen", json!({"reason": "try"})),
        (
            "/stock",
            json!({"sku": "P", "delta": 1, "expected": 5, "reason": "try"}),
        ),
        ("/dead-letters/replay", json!({"id": "x"})),
        ("/dead-letters/discard", json!({"id": "x"})),
        ("/audit", json!({})),
    ] {
        console.act(path, body).await?.expect_problem(403, "forbidden")?;
    }
    ensure!(world.current_control()? == before);
    ensure!(world.shop.shown("P").await?["stock"] == 5);
    ensure!(console.look("/deeds").await?["items"] == json!([]));
    Ok(())
}

/// Safety: whoever looks at a page of somebody else's does not change a sale by it.
#[tokio::test]
async fn other_origins_change_nothing_with_an_administrators_cookie() -> Result<()> {
    let world = World::start().await?;
    let console = Console::of(&world, Switches::Allow).await?;
    let http = reqwest::Client::new();
    let login = json!({"email": ADMIN_EMAIL, "password": ADMIN_PASSWORD});
    let entered = http.post(console.url("/api/login")).json(&login).send().await?;
    let cookie = entered.headers()["set-cookie"].to_str()?.to_owned();
    for word in ["HttpOnly", "SameSite=Strict", "Path=/"] {
        ensure!(cookie.contains(word), "{cookie}");
    }
    let pair = cookie.split(';').next().unwrap_or_default();
    for (name, value) in [
        ("origin", "https://elsewhere.example"),
        ("sec-fetch-site", "cross-site"),
        ("origin", "null"),
    ] {
        let halt = http
            .post(console.url(&format!("{}/halt", console.sale)))
            .header("cookie", pair);
        let sent = halt
            .header(name, value)
            .json(&json!({"reason": "try"}))
            .send()
            .await?;
        ensure!(sent.status() == 403, "{name}: {value}");
    }
    ensure!(!world.current_control()?.halted);
    // The same from its own page is done.
    let halt = http
        .post(console.url(&format!("{}/halt", console.sale)))
        .header("cookie", pair);
    let sent = halt
        .header("sec-fetch-site", "same-origin")
        .json(&json!({"reason": "try"}))
        .send()
        .await?;
    ensure!(sent.status() == 200 && world.current_control()?.halted);
    Ok(())
}

/// From the click to the books: whatever the console shows of an order is what the sale knows of it.
#[tokio::test]
async fn an_order_is_found_wherever_it_has_been() -> Result<()> {
    let world = World::start().await?;
    let product = world.shop.product("P", 5, None).await?;
    let console = logged_in(&world, Switches::Allow).await?;
    let buyer =
        json!({"email": "ada@example.com", "password": "correct horse", "firstName": "Ada", "lastName": "L"});
    let registered = world
        .shop
        .send(Method::POST, "/api/auth/register", None, Some(buyer))
        .await?;
    let token = registered.expect(201)?.json["accessToken"]
        .as_str()
        .context("no token")?
        .to_owned();
    let items = json!([{"sku": "P", "quantity": 2}]);
    let placed = world.shop.place(&token, "the-key", items).await?;
    let order = placed.expect(201)?.json["order"].clone();
    let id = order["_id"].as_str().context("no id")?;
    eventually(SETTLED, "it is sold", async || {
        Ok(world.shop.shown("P").await?["sold"] == 2)
    })
    .await?;
    for search in [
        format!("?id={id}"),
        "?user=Ada@example.com".to_owned(),
        format!("?user={}", order["userId"].as_str().unwrap_or_default()),
        "?user=ada@example.com&key=the-key".to_owned(),
        "?status=CONFIRMED".to_owned(),
        String::new(),
    ] {
        let found = console.look(&format!("/orders{search}")).await?;
        ensure!(found["items"][0]["_id"] == id, "{search}: {found}");
    }
    for nothing in [
        "?id=none",
        "?user=nobody@example.com",
        "?user=ada@example.com&key=another",
        "?status=FAILED",
    ] {
        let found = console.look(&format!("/orders{nothing}")).await?;
        ensure!(found["items"] == json!([]), "{nothing}: {found}");
    }
    let whole = console.look(&format!("/orders/{id}")).await?;
    ensure!(whole["user"]["email"] == "ada@example.com", "{whole}");
    ensure!(whole["reservation"]["status"] == "CONFIRMED", "{whole}");
    ensure!(
        whole["traceId"].as_str().is_some_and(|trace| trace.len() == 32),
        "{whole}"
    );
    eventually(SETTLED, "its ledger and its notification are shown", async || {
        let whole = console.look(&format!("/orders/{id}")).await?;
        let causes: Vec<_> = whole["ledger"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|entry| entry["cause"].clone())
            .collect();
        Ok(causes == ["reserved", "sold"] && whole["notifications"][0]["status"] == "CONFIRMED")
    })
    .await?;
    for place in whole["places"].as_array().context("no places")? {
        let topic = place["topic"].as_str().unwrap_or_default();
        let path = format!(
            "/topics/{topic}/{}?key={id}&time={}",
            place["partition"],
            place["time"].as_str().unwrap_or_default()
        );
        let found = console.look(&path).await?;
        ensure!(found["items"][0]["value"]["orderId"] == id, "{path}: {found}");
        ensure!(
            found["gaveUp"] == false && found["next"] == found["end"],
            "{found}"
        );
    }
    let ledger = console
        .look(&format!("/ledger?product={product}&limit=1"))
        .await?;
    ensure!(
        ledger["items"][0]["cause"] == "sold" && ledger["nextCursor"].is_string(),
        "{ledger}"
    );
    let lanes = console.look("/lanes").await?;
    let lanes = lanes["items"].as_array().context("no lanes")?;
    ensure!(
        lanes.len() == 16 && lanes.iter().all(|lane| lane["owner"].is_string()),
        "{lanes:?}"
    );
    Ok(())
}

/// The numbers of the charts are those of the processes.
#[tokio::test]
async fn the_charts_show_what_the_processes_count() -> Result<()> {
    let world = World::start().await?;
    world.shop.product("P", 3, None).await?;
    let console = logged_in(&world, Switches::Allow).await?;
    let latest = async |name: &str| -> Result<Vec<f64>> {
        let history = console.look("/history?minutes=15").await?;
        let points = history["series"][name].as_array().cloned().unwrap_or_default();
        Ok(points.iter().filter_map(Value::as_f64).collect())
    };
    eventually(SETTLED, "the processes were looked at", async || {
        Ok(!latest("requests").await?.is_empty())
    })
    .await?;
    for number in 0..3 {
        let placed = world.shop.order(&format!("buyer-{number}"), "k", "P", 1).await?;
        placed.expect(201)?;
    }
    eventually(SETTLED, "all are sold", async || {
        Ok(world.shop.shown("P").await?["sold"] == 3)
    })
    .await?;
    eventually(
        SETTLED,
        "whoever comes late is told that all are sold",
        async || {
            let late = world.shop.order(&somebody(), "k", "P", 1).await?;
            Ok(late.json["code"] == "sold_out")
        },
    )
    .await?;
    eventually(
        SETTLED,
        "three orders and a refusal are in the charts",
        async || {
            let sum =
                async |name: &str| Ok::<f64, anyhow::Error>(latest(name).await?.iter().sum::<f64>() * 5.0);
            let left = latest("available").await?.last().copied();
            Ok(sum("accepted").await? > 2.5
                && sum("confirmed").await? > 2.5
                && sum("refused.sold_out").await? > 0.5
                && left == Some(0.0)
                && !latest("orderP99").await?.is_empty())
        },
    )
    .await?;
    let sale = console.look("").await?;
    let processes = sale["processes"].as_array().context("no processes")?;
    ensure!(
        processes.len() == 6 && processes.iter().all(|process| process["scraped"] == true),
        "{processes:?}"
    );
    ensure!(
        sale["summary"]["orders"]["confirmed"] == 3 && sale["summary"]["sold"] == 3,
        "{sale}"
    );
    Ok(())
}

/// Each switch does what it says, once, is refused where it cannot, and stands in the log with its reason.
#[tokio::test]
async fn what_is_switched_is_done_and_written_down() -> Result<()> {
    let world = World::start().await?;
    world.shop.product("P", 5, None).await?;
    let console = logged_in(&world, Switches::Allow).await?;
    console
        .act("/halt", json!({"reason": " "}))
        .await?
        .expect_problem(400, "invalid_request")?;
    console
        .act("/halt", json!({"reason": "no couriers"}))
        .await?
        .expect(200)?;
    eventually(SETTLED, "orders are refused", async || {
        // More than there are: refused in any case.
        let refused = world.shop.order(&somebody(), "k", "P", 100).await?;
        Ok(refused.json["code"] == "sale_halted")
    })
    .await?;
    console
        .act("/reopen", json!({"reason": "couriers"}))
        .await?
        .expect(200)?;
    eventually(SETTLED, "orders are taken", async || {
        Ok(world.shop.order(&somebody(), "k", "P", 1).await?.status == 201)
    })
    .await?;
    eventually(SETTLED, "it is sold", async || {
        Ok(world.shop.shown("P").await?["sold"] == 1)
    })
    .await?;
    let stock = |delta: i64, expected: i64| json!({"sku": "P", "delta": delta, "expected": expected, "reason": "a pallet"});
    console.act("/stock", stock(3, 5)).await?.expect(200)?;
    ensure!(world.shop.shown("P").await?["stock"] == 8);
    console
        .act("/stock", stock(3, 5))
        .await?
        .expect_problem(409, "stale_version")?;
    console
        .act("/stock", stock(-8, 8))
        .await?
        .expect_problem(409, "stock_committed")?;
    console
        .act("/stock", stock(0, 8))
        .await?
        .expect_problem(400, "invalid_request")?;
    ensure!(world.shop.shown("P").await?["stock"] == 8);
    console.act("/audit", json!({})).await?.expect(202)?;
    eventually(SETTLED, "the books are audited", async || {
        let last = console.look("/audit").await?["last"].clone();
        Ok(last["finishedAt"].is_string() && last["agrees"] == true && last["orders"] == 1)
    })
    .await?;
    let deeds = console.look("/deeds").await?;
    let told: Vec<String> = deeds["items"]
        .as_array()
        .context("no deeds")?
        .iter()
        .rev()
        .map(|deed| format!("{} {} {}", deed["what"], deed["reason"], deed["outcome"]).replace('"', ""))
        .collect();
    ensure!(
        told == [
            "halt no couriers done",
            "reopen couriers done",
            "change_stock a pallet done",
            "change_stock a pallet refused",
            "audit null done"
        ],
        "{told:?}"
    );
    let story = console.look("/story").await?;
    ensure!(
        story["items"]
            .to_string()
            .contains("The stock of P from 5 to 8 was changed."),
        "{story}"
    );
    world.check_conservation().await
}

/// A message that was given up on is shown whole, replayed, and found in its topic again.
#[tokio::test]
async fn a_dead_letter_is_replayed_and_discarded() -> Result<()> {
    let world = World::start().await?;
    world.shop.product("P", 5, None).await?;
    let console = logged_in(&world, Switches::Allow).await?;
    produce(&world, Topic::OrderStatus, 0, None, Some(b"no message".to_vec())).await?;
    eventually(SETTLED, "two groups gave up on it", async || {
        Ok(console.look("/dead-letters").await?["items"]
            .as_array()
            .is_some_and(|all| all.len() == 2))
    })
    .await?;
    let letters = console.look("/dead-letters").await?;
    let id = |at: usize| letters["items"][at]["_id"].clone();
    ensure!(letters["items"][0]["payload"] == "no message", "{letters}");
    console
        .act("/dead-letters/replay", json!({"id": "none"}))
        .await?
        .expect_problem(404, "not_found")?;
    let replayed = console.act("/dead-letters/replay", json!({"id": id(0)})).await?;
    ensure!(replayed.expect(200)?.json["deeds"][0]["what"] == "replayed");
    console
        .act("/dead-letters/discard", json!({"id": id(1)}))
        .await?
        .expect(200)?;
    let all = world.database.collection::<Document>("dead_letters");
    eventually(SETTLED, "the replay was given up on as well", async || {
        Ok(all.count_documents(doc! {"deeds.0": {"$exists": false}}).await? == 2)
    })
    .await?;
    let every = console.look("/dead-letters?all=true&limit=1").await?;
    ensure!(every["nextCursor"].is_string(), "{every}");
    Ok(())
}

/// What waits for its payment is what people look for in an incident.
#[tokio::test]
async fn orders_that_have_not_ended_are_found_and_all_can_be_paged_through() -> Result<()> {
    let world = World::start_with(Confirmation::Payment).await?;
    world.shop.product("P", 5, None).await?;
    let console = logged_in(&world, Switches::Withhold).await?;
    let mut placed = Vec::new();
    for buyer in ["ada", "grace", "joan"] {
        let order = world.shop.order(buyer, "k", "P", 1).await?;
        placed.push(order.expect(201)?.json["order"]["_id"].clone());
    }
    eventually(SETTLED, "the holds are shown", async || {
        let found = console.look("/orders?status=PENDING").await?;
        let held = found["items"].as_array().cloned().unwrap_or_default();
        Ok(held.len() == 3 && held.iter().all(|order| order["holdExpiresAt"].is_string()))
    })
    .await?;
    let mut seen = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = console.look(&format!("/orders?limit=1{cursor}")).await?;
        seen.extend(
            page["items"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|order| order["_id"].clone()),
        );
        match page["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    placed.reverse();
    ensure!(seen == placed, "{seen:?}");
    for topic in [
        "?last=1",
        "?offset=0",
        "?offset=1000000",
        "?time=2030-01-01T00:00:00Z",
    ] {
        let found = console.look(&format!("/topics/order.created/0{topic}")).await?;
        ensure!(
            found["next"].as_i64() <= found["end"].as_i64(),
            "{topic}: {found}"
        );
    }
    for wrong in ["?last=-1", "?last=1&offset=1", "?time=soon", "?limit=0"] {
        let path = format!("{}/topics/order.created/0{wrong}", console.sale);
        console.get(&path).await?.expect_problem(400, "invalid_request")?;
    }
    for nothing in ["order.created/99", "__consumer_offsets/0"] {
        let path = format!("{}/topics/{nothing}", console.sale);
        console.get(&path).await?.expect_problem(404, "not_found")?;
    }
    let report = console.get(&format!("{}/report", console.sale)).await?;
    let none = report.expect_problem(404, "not_found")?;
    ensure!(none.text.contains("without an operator"), "{}", none.text);
    // Who only looks is not noted as somebody who writes: that would bring the database of a sale back that was wiped.
    let sessions = world.database.collection::<Document>("sessions");
    let noted: Vec<Document> = sessions.find(doc! {}).await?.try_collect().await?;
    ensure!(!format!("{noted:?}").contains("console-"), "{noted:?}");
    Ok(())
}
