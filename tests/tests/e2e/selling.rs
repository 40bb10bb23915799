//! Buyers get their units, also while pods die.

use super::sale::{OpenSale, SERVICES, admin};
use anyhow::{Result, ensure};
use quicksale_tests::{
    scenarios::{crowd, seed_flow},
    world::eventually,
};
use std::{sync::Arc, time::Duration};

#[tokio::test]
async fn the_seed_flow_on_the_sample_sale() -> Result<()> {
    let sale = OpenSale::sample().await?;
    let admin = admin(&sale.cluster).await?;
    // The sample lives on after this test: a SKU of its own each time.
    let sku = format!("SEED-{}", &uuid::Uuid::new_v4().simple().to_string()[..8]);
    seed_flow(&sale.shop, &admin, &sku).await.map(drop)
}

#[tokio::test]
async fn three_hundred_buyers_get_fifty_units() -> Result<()> {
    let sale = OpenSale::open("crowd").await?;
    crowd(&sale.shop, "UNIT", 50, async { Ok(()) }).await?;
    eventually(
        Duration::from_secs(30),
        "the status counts what was sold",
        async || {
            let status = sale.resource().await?.status.unwrap_or_default();
            let orders = status.orders.unwrap_or_default();
            Ok(status.sold == Some(50) && orders.confirmed == 50 && orders.pending == 0)
        },
    )
    .await?;
    // Sold out, and without a closing time: it settles and ends by itself.
    eventually(
        Duration::from_secs(60),
        "the sale has ended with a report",
        async || {
            let status = sale.resource().await?.status.unwrap_or_default();
            Ok(status.phase.is_some_and(|phase| phase.as_str() == "Ended") && status.report_ref.is_some())
        },
    )
    .await?;
    sale.close().await
}

#[tokio::test]
async fn three_hundred_buyers_get_fifty_units_while_every_pod_is_killed() -> Result<()> {
    let sale = OpenSale::open("storm").await?;
    let shop = Arc::clone(&sale.shop);
    let kill_all = async {
        for service in SERVICES {
            ensure!(!sale.pods(service).await?.is_empty(), "{service} has no pods");
            sale.kill(service).await?;
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        Ok(())
    };
    crowd(&shop, "UNIT", 50, kill_all).await?;
    sale.close().await
}
