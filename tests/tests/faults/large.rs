//! The books of a large sale: how long an audit takes, and what a look at its settlement costs. `make bench-audit ORDERS=1000000` prints it.
//! The orders beyond the first thousand are copies of theirs, written past the services: what is measured is reading.

use anyhow::{Context, Result, ensure};
use futures::TryStreamExt;
use jiff::Timestamp;
use mongodb::{
    Collection,
    bson::{Document, doc},
};
use platform::tokens::Role;
use quicksale_tests::{
    backends::Backends,
    scenarios::SETTLED,
    world::{Setup, World, eventually},
};
use reqwest::Method;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Orders that are placed.
const PLACED: usize = 1_000;
/// Looks at the settlement of which the mean is taken.
const LOOKS: u32 = 50;
/// Documents written at once.
const AT_ONCE: usize = 10_000;
/// How long an audit of any size may take before nobody waits for it any more.
const PATIENCE: Duration = Duration::from_secs(600);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "minutes: make bench-audit runs it"]
async fn the_books_of_a_large_sale_agree() -> Result<()> {
    let orders = std::env::var("QUICKSALE_AUDITED_ORDERS").map_or(Ok(1_000_000), |orders| orders.parse())?;
    let world = World::start_as(Setup {
        backends: Some(Backends::own().await?),
        ..Setup::default()
    })
    .await?;
    let product = world.shop.product("LARGE", 1_000_000_000, None).await?;
    place(&world).await?;
    report(&world, PLACED).await?;
    let begun = Instant::now();
    grow(&world, &product, orders).await?;
    println!("{orders} orders written in {:.0?}", begun.elapsed());
    report(&world, orders).await
}

async fn place(world: &World) -> Result<()> {
    for hundred in 0..PLACED / 100 {
        let users: Vec<String> = (0..100).map(|n| format!("buyer-{hundred}-{n}")).collect();
        let placed = users.iter().map(|user| world.shop.order(user, "k", "LARGE", 1));
        for answer in futures::future::try_join_all(placed).await? {
            answer.expect(201)?;
        }
    }
    let confirmed = doc! {"status": "CONFIRMED"};
    eventually(SETTLED, "all are confirmed", async || {
        Ok(world.count_orders(confirmed.clone()).await? == PLACED as u64)
    })
    .await
}

/// Says how long a look and an audit take.
async fn report(world: &World, orders: usize) -> Result<()> {
    let begun = Instant::now();
    let mut numbers = Value::Null;
    for _ in 0..LOOKS {
        numbers = world.settlement().await?;
    }
    let look = begun.elapsed() / LOOKS;
    ensure!(numbers["confirmed"] == orders, "{numbers}");
    let audit = audit(world, orders).await?;
    println!("{orders} orders: a look at the settlement takes {look:.1?}, an audit {audit:.1?}");
    Ok(())
}

async fn audit(world: &World, orders: usize) -> Result<Duration> {
    let (admin, path) = (world.shop.token("auditor", Role::Admin)?, "/api/inventory/audit");
    let send = async |method| {
        let answer = world.shop.send(method, path, Some(&admin), None).await?;
        anyhow::Ok(answer.json)
    };
    send(Method::POST).await?;
    let found = std::cell::RefCell::new(Value::Null);
    eventually(PATIENCE, "the audit has ended", async || {
        *found.borrow_mut() = send(Method::GET).await?;
        Ok(found.borrow()["audit"]["finishedAt"].is_string())
    })
    .await?;
    let found = found.into_inner();
    let audit = &found["audit"];
    ensure!(
        audit["orders"] == orders && audit["differences"] == json!([]) && audit["failure"].is_null(),
        "{found}"
    );
    // By what it says itself: whoever asks often is told to wait.
    let at = |name: &str| anyhow::Ok(audit[name].as_str().context("no time")?.parse::<Timestamp>()?);
    Ok(at("finishedAt")?.duration_since(at("startedAt")?).try_into()?)
}

/// Copies orders, reservations, and what the ledger says of them, until there are so many.
async fn grow(world: &World, product: &str, orders: usize) -> Result<()> {
    let of = |name: &'static str| world.database.collection::<Document>(name);
    let template = async |name: &'static str| {
        of(name)
            .find_one(doc! {"_id": {"$exists": true}})
            .await?
            .context("no document")
    };
    let (order, reservation) = (template("orders").await?, template("reservations").await?);
    let last: Vec<Document> = of("ledger")
        .find(doc! {"product": product})
        .sort(doc! {"number": -1})
        .limit(1)
        .await?
        .try_collect()
        .await?;
    let mut number = last.first().context("no ledger")?.get_i64("number")?;
    let mut written = PLACED;
    while written < orders {
        let ids: Vec<String> = (written..orders.min(written + AT_ONCE))
            .map(|n| format!("copy-{n:010}"))
            .collect();
        let copies = |of: &Document| {
            let copy = |id: &String| {
                let mut copy = of.clone();
                copy.insert("_id", id);
                copy
            };
            ids.iter().map(copy).collect::<Vec<_>>()
        };
        of("orders").insert_many(copies(&order)).await?;
        of("reservations").insert_many(copies(&reservation)).await?;
        number = post(&of("ledger"), product, number, &ids).await?;
        let units = i64::try_from(ids.len())?;
        let account = doc! {"$inc": {"sold": units}, "$set": {"ledger": number}};
        of("products").update_one(doc! {"_id": product}, account).await?;
        of("tallies")
            .update_one(
                doc! {"CONFIRMED": {"$exists": true}},
                doc! {"$inc": {"CONFIRMED": units}},
            )
            .await?;
        of("fences")
            .update_one(
                doc! {"accepted": {"$exists": true}},
                doc! {"$inc": {"accepted": units}},
            )
            .await?;
        written += ids.len();
    }
    Ok(())
}

/// Writes that some orders have reserved and bought a unit each, and returns the number of the last entry.
async fn post(ledger: &Collection<Document>, product: &str, last: i64, orders: &[String]) -> Result<i64> {
    let mut entries = Vec::new();
    for some in orders.chunks(500) {
        for (cause, from, to) in [
            ("reserved", "available", "reserved"),
            ("sold", "reserved", "sold"),
        ] {
            let number = last + i64::try_from(entries.len())? + 1;
            let lines: Vec<Document> = some
                .iter()
                .map(|order| doc! {"order": order, "units": 1_i64})
                .collect();
            entries.push(doc! {
                "_id": format!("{product}/{number:019}"), "product": product, "number": number, "cause": cause,
                "from": from, "to": to, "units": i64::try_from(some.len())?, "lines": lines,
                "at": mongodb::bson::DateTime::now(),
            });
        }
    }
    let last = last + i64::try_from(entries.len())?;
    ledger.insert_many(entries).await?;
    Ok(last)
}
