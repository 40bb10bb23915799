//! The gate: a count of the orders that may still be let through, which inventory keeps right.

use super::somebody;
use anyhow::{Context, Result, ensure};
use events::{
    losses::Loss,
    reader::{Cause, Gap},
    topics::Topic,
};
use futures::future::join_all;
use jiff::Timestamp;
use mongodb::bson::{Document, doc};
use quicksale_tests::{
    scenarios::SETTLED,
    world::{World, eventually},
};
use std::{sync::Arc, time::Duration};

/// Longer than units must stand still until a count that differs from them is taken for wrong.
const STANDSTILL: Duration = Duration::from_secs(6);

#[tokio::test]
async fn a_count_that_is_too_low_for_no_reason_is_set_right() -> Result<()> {
    let world = World::start().await?;
    let shop = &world.shop;
    let product = shop.product("LOW", 10, None).await?;
    let count = format!("{}gate:{product}", world.config.redis_prefix);
    let is = async |wanted: &str| {
        eventually(SETTLED, &format!("{wanted} may be let through"), async || {
            Ok(world.backends.redis(&["get", &count]).await?.trim() == wanted)
        })
        .await
    };
    is("10").await?;
    world.backends.redis(&["decrby", &count, "7"]).await?;
    is("10").await?;
    eventually(SETTLED, "it is counted that it was set right", async || {
        let upward = "quicksale_gate_corrections_total{direction=\"up\"}";
        Ok(world.metric("inventory", upward).await? >= 1.0)
    })
    .await?;
    shop.order("ada", "k", "LOW", 10).await?.expect(201)?;
    world.check_conservation().await
}

/// The orders wait in the outbox, where inventory does not see their units: those that are available stand still, as if the gate were
/// wrong.
#[tokio::test]
async fn while_the_relay_stands_still_no_more_is_accepted_than_there_is() -> Result<()> {
    let world = World::start().await?;
    let shop = &world.shop;
    shop.product("FEW", 20, None).await?;
    world.freeze("processor").await?;
    let buyers = (0..40).map(|n| async move { shop.order(&format!("buyer-{n}"), "k", "FEW", 1).await });
    let mut accepted = Vec::new();
    for placed in join_all(buyers).await {
        let placed = placed?;
        if placed.status == 201 {
            accepted.push(placed.json["order"]["_id"].as_str().context("no _id")?.to_owned());
        } else {
            placed.expect_problem(409, "units_held")?;
        }
    }
    let begun = tokio::time::Instant::now();
    while begun.elapsed() < STANDSTILL {
        let late = shop.order(&somebody(), "k", "FEW", 1).await?;
        late.expect_problem(409, "units_held")?;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    ensure!(
        accepted.len() == 20,
        "{} orders for 20 units were accepted",
        accepted.len()
    );
    world.thaw("processor").await?;
    eventually(SETTLED, "each of them has its unit", async || {
        let confirmed = doc! {"_id": {"$in": &accepted}, "status": "CONFIRMED"};
        Ok(world.count_orders(confirmed).await? == 20)
    })
    .await?;
    eventually(SETTLED, "all are sold", async || {
        Ok(shop.shown("FEW").await?["sold"] == 20)
    })
    .await?;
    world.check_conservation().await
}

/// The orders wait in lanes of a process that stands still, until another one takes these over.
#[tokio::test]
async fn while_an_inventory_stands_still_no_more_is_accepted_than_there_is() -> Result<()> {
    let mut world = World::start().await?;
    world.second("inventory-2").await?;
    let leases = world.database.collection::<Document>("leases");
    let of =
        |process: &str| doc! {"_id": {"$regex": "^inventory/"}, "owner": {"$regex": format!("^{process}-")}};
    // One process has all lanes, and the other one takes over when it ends.
    world.kill("inventory")?;
    eventually(SETTLED, "the second process has all lanes", async || {
        Ok(leases.count_documents(of("inventory-2")).await? == 8)
    })
    .await?;
    world.kill_and_restart("inventory")?;
    world.ready("inventory").await?;
    let shop = Arc::clone(&world.shop);
    shop.product("FEW", 20, None).await?;
    world.freeze("inventory-2").await?;
    for n in 0..20 {
        shop.order_patiently(&format!("buyer-{n}"), "k", "FEW", 1)
            .await?
            .expect(201)?;
    }
    let begun = tokio::time::Instant::now();
    // Less than it takes until its lanes are taken over.
    while begun.elapsed() < Duration::from_secs(4) {
        let late = shop.order(&somebody(), "k", "FEW", 1).await?;
        ensure!(
            late.status == 409,
            "{} was let through: {}",
            late.status,
            late.text
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    eventually(SETTLED, "each of them has its unit", async || {
        Ok(shop.shown("FEW").await?["sold"] == 20)
    })
    .await?;
    world.thaw("inventory-2").await?;
    let name = "quicksale_gate_corrections_total";
    for process in ["inventory", "inventory-2"] {
        let upwards = world.metric_sum(process, name, "up").await?;
        ensure!(upwards == 0.0, "{process} has opened the gate {upwards} times");
    }
    world.check_conservation().await
}

/// As after a crash with a log that is synced every second, or where a replica takes over: the newest keys are missing, the word that
/// all are there is not.
#[tokio::test]
async fn a_redis_that_has_begun_anew_with_older_data_is_not_believed() -> Result<()> {
    let world = World::start().await?;
    let (shop, prefix) = (&world.shop, &world.config.redis_prefix);
    world.let_users_order_often()?;
    shop.product("OLDER", 1, None).await?;
    let redis = async |arguments: &[&str]| world.backends.redis(arguments).await;
    let markers = format!("{prefix}gate:markers");
    let say = async |word: &str| {
        eventually(SETTLED, &format!("the markers are {word}"), async || {
            Ok(redis(&["get", &markers]).await?.trim() == word)
        })
        .await
    };
    say("whole").await?;
    let placed = shop.order("ada", "k", "OLDER", 1).await?;
    let order = placed.expect(201)?.json["order"]["_id"].clone();
    eventually(SETTLED, "the unit is sold", async || {
        Ok(shop.shown("OLDER").await?["sold"] == 1)
    })
    .await?;
    let marked = redis(&["keys", &format!("{prefix}idem:*")]).await?;
    ensure!(marked.lines().count() == 1, "{marked}");
    redis(&["del", marked.trim()]).await?;
    eventually(
        SETTLED,
        "her own repeat is refused, for nothing says that a key is missing",
        async || {
            let again = shop.order("ada", "k", "OLDER", 1).await?;
            Ok(again.expect_problem(409, "sold_out").is_ok())
        },
    )
    .await?;
    redis(&["set", &format!("{prefix}gate:run"), "another"]).await?;
    say("lost").await?;
    let again = shop.order("ada", "k", "OLDER", 1).await?;
    ensure!(again.expect(201)?.json["order"]["_id"] == order, "{}", again.text);
    Ok(())
}

/// It is back before inventory has looked: the gateways notice it themselves.
#[tokio::test]
async fn a_redis_that_has_just_begun_anew_refuses_no_repeat() -> Result<()> {
    let world = World::start().await?;
    let (shop, prefix) = (&world.shop, &world.config.redis_prefix);
    shop.product("JUST", 1, None).await?;
    let redis = async |arguments: &[&str]| world.backends.redis(arguments).await;
    let placed = shop.order("ada", "k", "JUST", 1).await?;
    let order = placed.expect(201)?.json["order"]["_id"].clone();
    let run = format!("{prefix}gate:run");
    eventually(
        SETTLED,
        "nothing is left, and it is said in which run",
        async || {
            let refused = shop.order(&somebody(), "k", "JUST", 1).await?.status == 409;
            Ok(refused && redis(&["exists", &run]).await?.trim() == "1")
        },
    )
    .await?;
    world.freeze("inventory").await?;
    let marked = redis(&["keys", &format!("{prefix}idem:*")]).await?;
    ensure!(marked.lines().count() == 1, "{marked}");
    redis(&["del", marked.trim()]).await?;
    redis(&["set", &run, "another"]).await?;
    redis(&["script", "flush"]).await?;
    let again = shop.order("ada", "k", "JUST", 1).await?;
    ensure!(again.expect(201)?.json["order"]["_id"] == order, "{}", again.text);
    let other = shop.order(&somebody(), "k", "JUST", 1).await?;
    other.expect_problem(503, "busy")?;
    world.thaw("inventory").await
}

/// A try may be under way that makes the first order of the sale: that there is none yet says nothing. Half a minute later it does.
#[tokio::test]
async fn a_redis_that_is_emptied_before_the_first_order_is_not_believed_either() -> Result<()> {
    let world = World::start().await?;
    let (shop, prefix) = (&world.shop, &world.config.redis_prefix);
    shop.product("EARLY", 1, None).await?;
    let redis = async |arguments: &[&str]| world.backends.redis(arguments).await;
    let (markers, tries) = (
        format!("{prefix}gate:markers"),
        format!("{prefix}gate:tries-unknown"),
    );
    let say = async |word: &str| {
        eventually(SETTLED, &format!("the markers are {word}"), async || {
            Ok(redis(&["get", &markers]).await?.trim() == word)
        })
        .await
    };
    let empty = async || {
        let all = redis(&["keys", &format!("{prefix}*")]).await?;
        let all: Vec<&str> = ["del"].into_iter().chain(all.lines().map(str::trim)).collect();
        redis(&all).await
    };
    say("whole").await?;
    empty().await?;
    say("lost").await?;
    ensure!(
        redis(&["exists", &tries]).await?.trim() == "1",
        "a try may be under way"
    );
    // The half minute has passed, and no order was made.
    redis(&["del", &tries]).await?;
    say("whole").await?;
    empty().await?;
    say("lost").await?;
    // The try that was under way has made one.
    let order = shop.order("ada", "k", "EARLY", 1).await?.expect(201)?.json["order"]["_id"].clone();
    let marked = redis(&["keys", &format!("{prefix}idem:*")]).await?;
    ensure!(marked.lines().count() == 1, "{marked}");
    redis(&["del", marked.trim(), &tries]).await?;
    eventually(SETTLED, "nothing is left for others", async || {
        Ok(shop
            .order(&somebody(), "k", "EARLY", 1)
            .await?
            .expect_problem(409, "sold_out")
            .is_ok())
    })
    .await?;
    let again = shop.order("ada", "k", "EARLY", 1).await?;
    ensure!(again.expect(201)?.json["order"]["_id"] == order, "{}", again.text);
    ensure!(redis(&["get", &markers]).await?.trim() == "lost");
    Ok(())
}

/// A count that ran out would let everybody through until somebody looks again.
#[tokio::test]
async fn what_is_said_at_the_gate_does_not_run_out_while_the_sale_lasts() -> Result<()> {
    let mut world = World::start().await?;
    let prefix = world.config.redis_prefix.clone();
    let product = world.shop.product("KEPT", 1, None).await?;
    world.shop.order("ada", "k", "KEPT", 1).await?.expect(201)?;
    let names = [
        format!("gate:{product}"),
        "gate:markers".to_owned(),
        "gate:run".to_owned(),
        "gate:all-sold".to_owned(),
    ];
    let keys = names.map(|name| format!("{prefix}{name}"));
    for key in &keys {
        let redis = async |arguments: &[&str]| world.backends.redis(arguments).await;
        eventually(SETTLED, &format!("{key} is there"), async || {
            Ok(redis(&["exists", key]).await?.trim() == "1")
        })
        .await?;
    }
    world.kill("inventory")?;
    for key in &keys {
        world.backends.redis(&["expire", key, "60"]).await?;
    }
    world.kill_and_restart("inventory")?;
    world.ready("inventory").await?;
    for key in &keys {
        eventually(SETTLED, &format!("{key} stays"), async || {
            let seconds: i64 = world.backends.redis(&["ttl", key]).await?.trim().parse()?;
            Ok(seconds > 60)
        })
        .await?;
    }
    Ok(())
}

/// What a broker has lost is on its way until it has been said again: its units are not there for others.
#[tokio::test]
async fn while_orders_are_lost_no_more_is_accepted_than_there_is() -> Result<()> {
    let world = World::start().await?;
    let product = world.shop.product("LOST", 10, None).await?;
    let count = format!("{}gate:{product}", world.config.redis_prefix);
    let now = async || world.backends.redis(&["get", &count]).await;
    eventually(SETTLED, "all may be let through", async || {
        Ok(now().await?.trim() == "10")
    })
    .await?;
    // Nobody says it again meanwhile.
    world.freeze("order").await?;
    let gap = Gap {
        wanted: 7,
        found: 0,
        cause: Cause::CutOff,
        since: None,
    };
    let loss = Loss::new("inventory", Topic::OrderCreated, 0, gap, Timestamp::now());
    world
        .database
        .collection::<Loss>("losses")
        .insert_one(loss)
        .await?;
    world.backends.redis(&["decrby", &count, "7"]).await?;
    let begun = tokio::time::Instant::now();
    while begun.elapsed() < STANDSTILL {
        ensure!(now().await?.trim() == "3", "{} are let through", now().await?);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    world.thaw("order").await?;
    eventually(SETTLED, "all may be let through again", async || {
        Ok(now().await?.trim() == "10")
    })
    .await
}
