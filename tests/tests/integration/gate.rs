//! The gate: a count of the orders that may still be let through, which inventory keeps right.

use super::somebody;
use anyhow::{Context, Result, ensure};
use futures::future::join_all;
use mongodb::bson::doc;
use quicksale_tests::{
    scenarios::SETTLED,
    world::{World, eventually},
};
use std::time::Duration;

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
