//! MongoDB keeps its connections and answers nothing, and goes on later as if nothing had been. Each test has backends of its own.

use anyhow::{Context, Result, ensure};
use events::Topic;
use futures::{FutureExt, future::join_all};
use mongodb::{
    ClientSession, Collection,
    bson::{Document, doc},
};
use platform::backends::mongo::{self, MongoError, Transactions};
use quicksale_tests::{
    backends::Backends,
    records::produce,
    scenarios::SETTLED,
    shop::Shop,
    world::{Setup, World, eventually},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{sync::Notify, task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;

/// How long an order of a buyer who goes on asking may be without an answer: the standstill, and the minute for which the database may keep
/// what a transaction has written that nobody ends.
const ANSWERED: Duration = Duration::from_secs(150);
/// How long a lock may outlast the standstill: far less than that minute.
const SOON: Duration = Duration::from_secs(20);
/// With these the driver sees within two seconds that nobody answers.
const NOTICES_SOON: &str = "connectTimeoutMS=1000&heartbeatFrequencyMS=1000";
/// Services that have something under way whenever buyers order.
const CUT: [&str; 2] = ["inventory", "order"];

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

/// The driver notices soon, and cuts its connections in the middle of whatever is under way.
#[tokio::test]
async fn a_database_whose_connections_are_cut_costs_no_order() -> Result<()> {
    let (world, buyers) = selling(NOTICES_SOON).await?;
    let logged = |service: &str| world.log_of(service).unwrap_or_default();
    let before = CUT.map(|service| logged(service).len());
    world.backends.freeze("mongodb").await?;
    let noticed = eventually(SETTLED, "the connections are cut", async || {
        let is_cut = |(service, before): (&str, usize)| {
            let log = logged(service);
            log.get(before..)
                .unwrap_or_default()
                .contains("Server selection timeout")
        };
        Ok(CUT.into_iter().zip(before).all(is_cut))
    })
    .await;
    world.backends.thaw("mongodb").await?;
    let accepted = buyers.go().await?;
    noticed?;
    each_has_its_unit(&world, &accepted, SETTLED * 3).await?;
    world.check_conservation().await
}

/// A process has written a document, and its connections are cut before it can say what becomes of that. The database would keep the
/// document locked for a minute, and with one of a product all orders of it.
#[tokio::test]
async fn what_a_transaction_had_locked_is_free_soon_after_it_was_cut_off() -> Result<()> {
    let backends = Backends::own().await?.with_mongodb_options(NOTICES_SOON);
    let client = mongo::client(&backends.credentials()?.mongodb_uri).await?;
    let database = client.database("qs_test_cut_off");
    let items = database.collection::<Document>("items");
    items.insert_one(doc! {"_id": "a", "n": 0}).await?;
    let transactions = Transactions::new(&database, None, "cut-off");
    let stop = CancellationToken::new();
    let kept = tokio::spawn(transactions.clone().keep(stop.clone()));
    let (written, frozen) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let cut_off = {
        let (items, written, frozen) = (items.clone(), Arc::clone(&written), Arc::clone(&frozen));
        tokio::spawn(async move {
            transactions
                .run_up_to(1, |session| {
                    let (items, written, frozen) = (items.clone(), Arc::clone(&written), Arc::clone(&frozen));
                    async move {
                        add_one(&items, session).await?;
                        written.notify_one();
                        frozen.notified().await;
                        add_one(&items, session).await
                    }
                    .boxed()
                })
                .await
        })
    };
    timeout(SETTLED, written.notified()).await?;
    backends.freeze("mongodb").await?;
    frozen.notify_one();
    let cut_off = timeout(SETTLED, cut_off).await;
    backends.thaw("mongodb").await?;
    ensure!(cut_off??.is_err(), "it was not cut off");
    let others = Transactions::new(&database, None, "another one");
    eventually(SOON, "another process can write the document", async || {
        let written = others.run_up_to(1, |session| {
            let items = items.clone();
            async move { add_one(&items, session).await }.boxed()
        });
        Ok(written.await.is_ok())
    })
    .await?;
    let item = items.find_one(doc! {"_id": "a"}).await?.context("no item")?;
    ensure!(item.get_i32("n")? == 1, "what was cut off counts: {item}");
    stop.cancel();
    Ok(timeout(SETTLED, kept).await??)
}

async fn add_one(items: &Collection<Document>, session: &mut ClientSession) -> Result<(), MongoError> {
    let more = doc! {"$inc": {"n": 1}};
    items.update_one(doc! {"_id": "a"}, more).session(session).await?;
    Ok(())
}
