//! A storm: two processes of each service, a crowd that buys, pays, cancels and lets holds run out, and faults at random by a seed.
//! Afterwards the books, the orders, what buyers were answered and what they were told must agree.
//!
//! `make faults SEED=7 SECONDS=60` runs one; `make test` runs a short one.

mod buyers;
mod listeners;
mod verdict;
mod weather;

use anyhow::{Context, Result};
use buyers::{Crowd, Ware};
use jiff::SignedDuration;
use mongodb::bson::{Document, doc};
use platform::tokens::Role;
use quicksale_tests::{
    backends::Backends,
    world::{Setup, World, eventually},
};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use reqwest::Method;
use sale::{control::ControlDocument, order::Confirmation};
use serde_json::json;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// How long a storm is when nobody says.
const SHORT: u64 = 20;
/// Buyers at a time in a short one, beside which others run.
const FEW: u64 = 32;
/// Buyers at a time when nobody says.
const BUYERS: u64 = 96;
/// How long an order of the storm may wait for its payment, in seconds.
const TTL: u64 = 8;
/// How long everything may take to end after the storm: what is lost is asked for after half a minute, and after a minute.
const CALM: Duration = Duration::from_secs(180);

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// The same faults each time, as far as the machine lets them meet the same things.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_short_storm_loses_no_order_and_no_unit() -> Result<()> {
    storm(7, Duration::from_secs(SHORT), FEW)
        .await
        .with_context(|| format!("make faults SEED=7 SECONDS={SHORT}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "minutes, and another one each time: make faults runs it"]
async fn a_storm_of_faults_loses_no_order_and_no_unit() -> Result<()> {
    let seconds = variable("QUICKSALE_STORM_SECONDS").unwrap_or(SHORT);
    let seed = variable("QUICKSALE_STORM_SEED").unwrap_or_else(|| rand::rng().random());
    println!("storm with seed {seed} for {seconds} s");
    let at_once = variable("QUICKSALE_STORM_BUYERS").unwrap_or(BUYERS);
    storm(seed, Duration::from_secs(seconds), at_once)
        .await
        .with_context(|| format!("make faults SEED={seed} SECONDS={seconds}"))
}

async fn storm(seed: u64, length: Duration, at_once: u64) -> Result<()> {
    let mut chance = StdRng::seed_from_u64(seed);
    let confirmation = if chance.random_bool(0.5) {
        Confirmation::Payment
    } else {
        Confirmation::Automatic
    };
    let mut world = World::start_as(Setup {
        backends: Some(Backends::own().await?),
        confirmation,
        reservation_ttl_seconds: TTL,
        ..Setup::default()
    })
    .await?;
    // Open for long, also by a clock that is behind.
    let earlier = SignedDuration::from_hours(1);
    let open = |document: &mut ControlDocument| document.opens_at = document.opens_at.map(|at| at - earlier);
    world.control(open, &world.current_control()?)?;
    let second = world.doubled().await?;
    let wares = [
        Ware::new("PLENTY", 1_000_000, None),
        Ware::new("SCARCE", 300, None),
        Ware::new("RATIONED", 1_000_000, Some(2)),
    ];
    for ware in &wares {
        world.shop.product(ware.sku, ware.stock, ware.limit).await?;
    }
    let shops = [Arc::clone(&world.shop), second];
    let listeners = listeners::listen(&shops);
    let crowd = Crowd::begin(&shops, &wares, confirmation, seed, at_once);
    let faults = weather::rage(&mut world, &mut chance, length).await?;
    listeners.buy_no_more();
    let deals = crowd.end().await?;
    let pending = doc! {"status": "PENDING"};
    let ended = eventually(CALM, "every order has ended", async || {
        Ok(world.count_orders(pending.clone()).await? == 0)
    })
    .await;
    if let Err(error) = ended {
        let described = world.describe().await?;
        return Err(error.context(described).context(format!("after {faults}")));
    }
    eventually(CALM, "nothing is held", async || {
        let mut held = 0;
        for ware in &wares {
            held += world.shop.shown(ware.sku).await?["reserved"]
                .as_u64()
                .unwrap_or(1);
        }
        Ok(held == 0)
    })
    .await
    .with_context(|| format!("after {faults}"))?;
    eventually(
        CALM,
        "all that was said is handled, and every buyer has been told",
        async || {
            let numbers = world.settlement().await?;
            let open = ["pending", "held", "outbox", "lag", "losses"];
            let ends = doc! {"status": {"$ne": "PENDING"}};
            let notifications = world.database.collection::<Document>("notifications");
            let told = notifications.count_documents(ends.clone()).await?;
            Ok(open.iter().all(|name| numbers[name] == 0) && told >= world.count_orders(ends).await?)
        },
    )
    .await
    .with_context(|| format!("after {faults}"))?;
    world.check_conservation().await?;
    audit(&world).await?;
    let heard = listeners.end().await?;
    let ends = verdict::check(&world, &wares, &deals, &heard).await?;
    println!(
        "| {seed} | {confirmation:?} | {} | {ends} | {faults} |",
        length.as_secs()
    );
    Ok(())
}

/// The product's own look at its books.
async fn audit(world: &World) -> Result<()> {
    let admin = world.shop.token("auditor", Role::Admin)?;
    let path = "/api/inventory/audit";
    let begun = Instant::now();
    world
        .shop
        .send(Method::POST, path, Some(&admin), None)
        .await?
        .expect(202)?;
    let audited = std::cell::RefCell::new(serde_json::Value::Null);
    eventually(CALM, "the audit has ended", async || {
        let token = world.shop.observer()?;
        let books = world.shop.send(Method::GET, path, Some(&token), None).await?;
        let books = books.expect(200)?.json.clone();
        let ended = books["audit"]["finishedAt"].is_string();
        *audited.borrow_mut() = books;
        Ok(ended)
    })
    .await?;
    let books = audited.into_inner();
    println!(
        "audited in {:?}: {} orders",
        begun.elapsed(),
        books["audit"]["orders"]
    );
    anyhow::ensure!(
        books["audit"]["differences"] == json!([]) && books["ledger"]["differences"] == json!([]),
        "the books differ: {books}"
    );
    Ok(())
}
