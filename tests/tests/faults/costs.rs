//! What an order costs the backends, in counts that do not depend on how fast the machine is. It is here since it has backends of its own, on
//! which nobody else counts.

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use mongodb::bson::doc;
use platform::tokens::Role;
use quicksale_bench::counts::{COMMANDS, Counts, SCRIPTS};
use quicksale_tests::{
    backends::Backends,
    orders::all_is_handled,
    world::{Setup, World},
};
use serde_json::json;
use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, Instant},
};

/// Orders that are counted.
const ORDERS: usize = 1_200;
/// How many of them are under way at a time.
const AT_A_TIME: usize = 200;
/// How long it is counted what the services do without any.
const IDLE: Duration = Duration::from_secs(4);
/// What may be more than was recorded, of it.
const TOLERANCE: f64 = 0.05;
/// What is compared: the others depend on how many orders meet in a batch, and so on the machine.
const COMPARED: [&str; 3] = [
    "documents and keys inserted",
    "documents and keys removed",
    IN_SCRIPTS,
];
/// Commands that scripts run in Redis.
const IN_SCRIPTS: &str = "Redis commands in scripts";
/// Calls of Redis for an order, in each of which several gateways' questions go together: one by one it would be two.
const MOST_CALLS: f64 = 1.0;

async fn counts(world: &World) -> Result<Counts> {
    let admin = world.database.client().database("admin");
    let status = admin.run_command(doc! {"serverStatus": 1}).await?;
    let stats = world.backends.redis(&["info", "commandstats"]).await?;
    Ok(Counts::read(&status, &stats))
}

/// What there was for each order between two looks.
fn each(after: &Counts, before: &Counts) -> Result<BTreeMap<&'static str, f64>> {
    let mut each = after.for_each_order_since(before, ORDERS);
    let of = |name| each.get(name).copied().context(name);
    // How many go together depends on the machine, what they do does not.
    let in_scripts = of(COMMANDS)? - of(SCRIPTS)?;
    each.insert(IN_SCRIPTS, in_scripts);
    Ok(each)
}

/// Whoever adds a document, a key or a script to the way of an order is told of it. If it is worth it, bench/counts.json has the new number.
#[tokio::test]
async fn an_order_costs_the_backends_no_more_than_it_did() -> Result<()> {
    let recorded = Path::new(env!("CARGO_MANIFEST_DIR")).join("../bench/counts.json");
    let recorded: BTreeMap<String, f64> = serde_json::from_slice(&std::fs::read(&recorded)?)?;
    let world = World::start_as(Setup {
        backends: Some(Backends::own().await?),
        ..Setup::default()
    })
    .await?;
    let shop = &world.shop;
    let product = shop.product("COUNTED", 10_000, Some(1)).await?;
    let place = |number: usize| {
        let (items, user) = (
            json!([{"productId": &product, "quantity": 1}]),
            format!("counted-{number}"),
        );
        async move {
            let token = shop.token(&user, Role::Buyer)?;
            shop.place(&token, "k", items).await?.expect(201).map(drop)
        }
    };
    // The first ones open connections and teach Redis its scripts.
    stream::iter((0..AT_A_TIME).map(place))
        .buffer_unordered(AT_A_TIME)
        .try_collect::<Vec<()>>()
        .await?;
    all_is_handled(&world).await?;
    let (before_idle, idle) = (counts(&world).await?, Instant::now());
    tokio::time::sleep(IDLE).await;
    let before = counts(&world).await?;
    let (idle, begun) = (idle.elapsed().as_secs_f64(), Instant::now());
    let numbers = AT_A_TIME..AT_A_TIME + ORDERS;
    stream::iter(numbers.map(place))
        .buffer_unordered(AT_A_TIME)
        .try_collect::<Vec<()>>()
        .await?;
    all_is_handled(&world).await?;
    let after = counts(&world).await?;
    let took = begun.elapsed().as_secs_f64();
    let (each, meanwhile) = (each(&after, &before)?, each(&before, &before_idle)?);
    let mut differs = Vec::new();
    for name in COMPARED {
        let counted = each.get(name).context(name)? - meanwhile.get(name).context(name)? * took / idle;
        let before = *recorded
            .get(name)
            .with_context(|| format!("bench/counts.json does not name {name}"))?;
        println!("{name}: {counted:.3} for each order, {before:.3} recorded");
        let is_more = counted > before * (1.0 + TOLERANCE);
        // A number that is too high lets the next one add something unseen.
        if is_more || counted < before * (1.0 - 2.0 * TOLERANCE) {
            differs.push(format!(
                "{name}: {counted:.3} for each order, and {before:.3} were recorded"
            ));
        }
    }
    let calls = each.get(SCRIPTS).context(SCRIPTS)?;
    println!("{SCRIPTS}: {calls:.3} for each order, in calls");
    ensure!(
        *calls <= MOST_CALLS,
        "Redis was called {calls:.3} times for each order"
    );
    ensure!(
        differs.is_empty(),
        "an order costs more than it did (is it worth it?), or less: write it into bench/counts.json.\n{}",
        differs.join("\n")
    );
    world.check_conservation().await
}
