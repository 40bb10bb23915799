//! MongoDB keeps its connections and answers nothing, and goes on later as if nothing had been. Each test has backends of its own.

use anyhow::{Context, Result, ensure};
use events::Topic;
use futures::future::join_all;
use mongodb::bson::doc;
use quicksale_tests::{
    backends::Backends,
    records::produce,
    scenarios::SETTLED,
    shop::Shop,
    world::{SERVICES, Setup, World, eventually},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::task::JoinHandle;

/// How long an order of a buyer who goes on asking may be without an answer: the standstill, and the minute for which the database may keep
/// what a transaction has written that nobody ends.
const ANSWERED: Duration = Duration::from_secs(150);
/// The same once the database answers, where somebody ends it.
const SOON: Duration = Duration::from_secs(40);

/// Buyers who order one after the other, until they are told to stop.
struct Buyers {
    stop: Arc<AtomicBool>,
    running: Vec<JoinHandle<Result<Vec<String>>>>,
}

impl Buyers {
    fn come(shop: &Arc<Shop>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let running = (0..8).map(|n| {
            let (shop, stop) = (Arc::clone(shop), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut accepted = Vec::new();
                for order in 0.. {
                    if stop.load(Ordering::Acquire) {
                        break;
                    }
                    accepted.push(place_in_the_end(&shop, &format!("buyer-{n}-{order}")).await?);
                }
                anyhow::Ok(accepted)
            })
        });
        Self {
            running: running.collect(),
            stop,
        }
    }

    /// The orders that they have made.
    async fn go(self) -> Result<Vec<String>> {
        self.stop.store(true, Ordering::Release);
        let mut accepted = Vec::new();
        for buyer in join_all(self.running).await {
            accepted.extend(buyer??);
        }
        Ok(accepted)
    }
}

/// Asks for a unit under one key until there is an answer; the id of the order.
async fn place_in_the_end(shop: &Shop, key: &str) -> Result<String> {
    let begun = tokio::time::Instant::now();
    while begun.elapsed() < ANSWERED {
        match shop.order(key, key, "STILL", 1).await {
            Ok(placed) if placed.status == 201 => {
                let id = placed.json["order"]["_id"].as_str();
                return Ok(id.context("no _id")?.to_owned());
            }
            _ => tokio::time::sleep(Duration::from_millis(500)).await,
        }
    }
    anyhow::bail!("{key} has no answer")
}

/// A sale whose orders flow, on a database that is looked after with these options.
async fn selling(mongodb_options: &str) -> Result<(World, Buyers)> {
    let backends = Backends::own().await?.with_mongodb_options(mongodb_options);
    let world = World::start_as(Setup {
        backends: Some(backends),
        ..Setup::default()
    })
    .await?;
    world.shop.product("STILL", 10_000, None).await?;
    let buyers = Buyers::come(&world.shop);
    eventually(SETTLED, "orders flow", async || {
        Ok(world.count_orders(doc! {"status": "CONFIRMED"}).await? >= 20)
    })
    .await?;
    Ok((world, buyers))
}

async fn each_has_its_unit(world: &World, accepted: &[String], within: Duration) -> Result<()> {
    let all = u64::try_from(accepted.len())?;
    eventually(within, "each order has its unit", async || {
        let confirmed = doc! {"_id": {"$in": accepted}, "status": "CONFIRMED"};
        Ok(world.count_orders(confirmed).await? == all)
    })
    .await
}

/// For longer than a batch of a lane may take, while the driver does not notice: its monitor waits for 30 s for an answer.
#[tokio::test]
async fn a_database_that_stands_still_costs_lanes_and_no_order() -> Result<()> {
    let (world, buyers) = selling("connectTimeoutMS=30000").await?;
    world.backends.freeze("mongodb").await?;
    // No message is under way for sure at this moment, and this one is.
    let garbage = Some(b"no message".to_vec());
    let sent = produce(&world, Topic::OrderStatus, 0, None, garbage).await;
    let overdue = eventually(Duration::from_secs(60), "a batch is given up", async || {
        let mut batches = 0.0;
        for service in ["inventory", "notifier"] {
            batches += world
                .metric_sum(service, "quicksale_lane_batches_overdue_total", service)
                .await?;
        }
        Ok(batches >= 1.0)
    })
    .await;
    world.backends.thaw("mongodb").await?;
    let accepted = buyers.go().await?;
    sent.and(overdue)?;
    // What was lost on the way is asked for after half a minute.
    each_has_its_unit(&world, &accepted, SETTLED * 3).await?;
    world.check_conservation().await
}

/// The driver notices soon, and cuts its connections. What transactions had written by then the database would keep locked for a minute,
/// and with it all orders of the same product.
#[tokio::test]
async fn what_a_standstill_has_cut_off_keeps_nobody_waiting() -> Result<()> {
    let (world, buyers) = selling("connectTimeoutMS=1000&heartbeatFrequencyMS=1000").await?;
    world.backends.freeze("mongodb").await?;
    let noticed = eventually(SETTLED, "the connections are cut", async || {
        let cut = |service: &&str| {
            let log = world.log_of(service).unwrap_or_default();
            log.contains("server monitor timeout") || log.contains("Server selection timeout")
        };
        Ok(["inventory", "order"].iter().all(cut))
    })
    .await;
    world.backends.thaw("mongodb").await?;
    let thawed = tokio::time::Instant::now();
    let accepted = buyers.go().await?;
    noticed?;
    each_has_its_unit(&world, &accepted, SOON.saturating_sub(thawed.elapsed())).await?;
    world.check_conservation().await?;
    ensure!(thawed.elapsed() < SOON, "it took {:?}", thawed.elapsed());
    let mut ended = false;
    for service in SERVICES {
        ended |= world.log_of(service)?.contains("transactions that were cut off");
    }
    ensure!(ended, "no transaction was cut off");
    Ok(())
}
