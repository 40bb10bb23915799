//! A sale sells while it is attacked from many sides at once, and each of its processes has no more memory than its pod.

mod attacks;

use anyhow::{Context, Result, anyhow, bail, ensure};
use attacks::{Attack, Tally};
use futures::{StreamExt, future::join_all};
use mongodb::bson::doc;
use platform::tokens::Role;
use quicksale_tests::{
    backends::Backends,
    scenarios::SETTLED,
    shop::{Answer, Shop, Socket},
    world::{Setup, World, eventually},
};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::OnceCell,
    time::{Instant, sleep, timeout},
};

/// What a pod may have where a FlashSale says nothing: `resources` in operator/src/controller/build/deployment.rs.
const POD_MEMORY: u64 = 256 * 1024 * 1024;
/// How long it is attacked: until all passwords have been tried.
const AT_LEAST: Duration = Duration::from_secs(30);
const AT_MOST: Duration = Duration::from_secs(90);
/// Between two honest buyers.
const BETWEEN: Duration = Duration::from_millis(100);
/// What an honest buyer waits at the most, but for one in a hundred.
const PATIENCE: Duration = Duration::from_secs(1);

/// What an honest buyer saw: how long it took to be told that the order is accepted, and which order it is.
struct Bought {
    took: Duration,
    /// 1 where the first was answered.
    tries: usize,
    order: String,
}

/// Looks at the sale and orders a unit, as a browser that was never here before. Who is told to come back does, and has
/// waited for so long.
async fn buy(shop: &Shop, n: usize) -> Result<Bought> {
    let browser = shop.newcomer()?;
    let from = format!("203.0.{}.{}", n / 250, n % 250);
    let (user, begun) = (format!("honest-{n}"), Instant::now());
    let token = shop.token(&user, Role::Buyer)?;
    for tries in 1.. {
        let asked = async {
            Answer::of(
                browser
                    .get(shop.url("/api/sale"))
                    .header("x-forwarded-for", &from)
                    .send()
                    .await?,
            )
            .await?
            .expect(200)?;
            let order = browser
                .post(shop.url("/api/orders"))
                .bearer_auth(&token)
                .header("x-forwarded-for", &from)
                .header("Idempotency-Key", &user)
                .json(&json!({"items": [{"sku": "WANTED", "quantity": 1}]}));
            Answer::of(order.send().await?).await
        };
        match asked.await {
            Ok(answer) if answer.status == 201 => {
                let order = answer.json["order"]["_id"].as_str().context("no _id")?.to_owned();
                return Ok(Bought {
                    took: begun.elapsed(),
                    tries,
                    order,
                });
            }
            // Too many tries of this one in a minute.
            Ok(answer) if answer.status == 429 && begun.elapsed() < SETTLED => {
                sleep(Duration::from_secs(answer.retry_after().unwrap_or(1))).await;
            }
            Ok(answer) if answer.status != 503 => {
                bail!("buyer {n} got {}: {}", answer.status, answer.text)
            }
            refused => ensure!(
                begun.elapsed() < SETTLED,
                "buyer {n} was never let in, in {tries} tries: {refused:?}"
            ),
        }
        sleep(BETWEEN).await;
    }
    unreachable!("the numbers do not end")
}

/// The most that so many of 100 waited.
fn percentile(bought: &[Bought], of_100: usize) -> Duration {
    let mut all: Vec<_> = bought.iter().map(|bought| bought.took).collect();
    all.sort();
    all.get((all.len() * of_100).div_ceil(100).saturating_sub(1))
        .copied()
        .unwrap_or_default()
}

/// The first update on a socket that is answering pings until then, as a browser's does.
async fn first_update(mut socket: Socket) -> Result<Value> {
    while let Some(message) = socket.next().await {
        let message = message?;
        if message.is_text() {
            let frame: Value = serde_json::from_str(message.to_text()?)?;
            if frame["type"] == "order.update" {
                return Ok(frame);
            }
        }
    }
    bail!("the socket was closed")
}

/// What came of it.
struct Outcome {
    bought: Vec<Bought>,
    /// Of those, the ones that the processor has confirmed.
    confirmed: u64,
    /// Whether the one who waited on a socket since before it began was told of an order.
    told: bool,
    attacks: Arc<Tally>,
    /// By process: how often it was ended for want of memory, and the most that it used, in bytes.
    memory: BTreeMap<&'static str, (u64, u64)>,
}

/// The attack is made once, and every test looks at it from another side.
async fn outcome() -> Result<&'static Outcome> {
    static OUTCOME: OnceCell<Result<Outcome, String>> = OnceCell::const_new();
    let outcome = OUTCOME
        .get_or_init(async || attacked().await.map_err(|error| format!("{error:#}")))
        .await;
    outcome.as_ref().map_err(|error| anyhow!("{error}"))
}

async fn attacked() -> Result<Outcome> {
    let mut world = World::start_as(Setup {
        backends: Some(Backends::own().await?),
        trusted_proxies: vec!["127.0.0.0/8".to_owned()],
        memory: Some(POD_MEMORY),
        ..Setup::default()
    })
    .await?;
    let shop = Arc::clone(&world.shop);
    shop.product("WANTED", 10_000, Some(2)).await?;
    let socket = shop.socket(&shop.token("waiting", Role::Buyer)?).await?;
    let waiting = tokio::spawn(first_update(socket));
    let calm = buy(&shop, 0).await?;

    let attack = Attack::begin(&world, "WANTED");
    eventually(SETTLED, "the idle ones have all come", async || {
        Ok(count(&attack.so_far().idle) >= attacks::IDLE)
    })
    .await?;
    let (begun, mut buyers) = (Instant::now(), Vec::new());
    for n in 1.. {
        let tried = count(&attack.so_far().logins) >= attacks::LOGINS;
        if begun.elapsed() > AT_MOST || (tried && begun.elapsed() > AT_LEAST) {
            break;
        }
        let shop = Arc::clone(&shop);
        buyers.push(tokio::spawn(async move { buy(&shop, n).await }));
        sleep(BETWEEN).await;
    }
    let mut bought = vec![calm];
    for buyer in join_all(buyers).await {
        bought.push(buyer??);
    }
    let placed = shop.order_patiently("waiting", "waiting", "WANTED", 1).await?;
    placed.expect(201)?;
    let told = timeout(SETTLED, waiting).await???["data"]["status"] == "CONFIRMED";
    let attacks = attack.end().await;
    let memory = world.memory()?;
    world.all_still_run()?;

    let orders: Vec<&String> = bought.iter().map(|bought| &bought.order).collect();
    let ours = doc! {"_id": {"$in": &orders}, "status": "CONFIRMED"};
    let confirmed = async || world.count_orders(ours.clone()).await;
    // Those that are missing then are counted below.
    let _all_or_too_late = eventually(SETTLED, "every accepted order is confirmed", async || {
        Ok(confirmed().await? == orders.len() as u64)
    })
    .await;
    let confirmed = confirmed().await?;
    world.check_conservation().await?;
    let outcome = Outcome {
        bought,
        confirmed,
        told,
        attacks,
        memory,
    };
    println!("{outcome}");
    Ok(outcome)
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (attacks, memory) = (&self.attacks, &self.memory);
        write!(
            f,
            "honest buyers: {}, confirmed {}, p50 {:?}, p99 {:?}, tries {}; idle connections {}, slow ones {}, logins {}, frames {}, \
             baskets {}, let in {}; memory (killed, most): {memory:?}",
            self.bought.len(),
            self.confirmed,
            percentile(&self.bought, 50),
            percentile(&self.bought, 99),
            self.bought.iter().map(|bought| bought.tries).sum::<usize>(),
            count(&attacks.idle),
            count(&attacks.slow),
            count(&attacks.logins),
            count(&attacks.frames),
            count(&attacks.baskets),
            count(&attacks.let_in),
        )
    }
}

fn count(counter: &AtomicUsize) -> usize {
    counter.load(Ordering::Relaxed)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_attack_nobody_is_let_in_and_no_order_is_lost() -> Result<()> {
    let outcome = outcome().await?;
    ensure!(
        count(&outcome.attacks.let_in) == 0,
        "somebody was let in: {outcome}"
    );
    ensure!(
        outcome.confirmed == outcome.bought.len() as u64,
        "accepted and not confirmed: {outcome}"
    );
    ensure!(outcome.told, "an update was lost");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_attack_a_pods_memory_is_enough_for_each_process() -> Result<()> {
    let outcome = outcome().await?;
    ensure!(
        outcome.memory.len() == 6
            && (outcome.memory.values()).all(|(killed, most)| *killed == 0 && *most <= POD_MEMORY),
        "too little memory: {outcome}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_attack_honest_buyers_hear_within_a_second() -> Result<()> {
    let outcome = outcome().await?;
    for (what, counter, least) in [
        ("slow connections", &outcome.attacks.slow, 600),
        ("logins", &outcome.attacks.logins, attacks::LOGINS),
        ("frames", &outcome.attacks.frames, 16),
        ("baskets", &outcome.attacks.baskets, 100),
    ] {
        ensure!(
            count(counter) >= least,
            "only {} {what}: that was no attack",
            count(counter)
        );
    }
    ensure!(
        percentile(&outcome.bought, 99) < PATIENCE,
        "honest buyers waited: {outcome}"
    );
    Ok(())
}
