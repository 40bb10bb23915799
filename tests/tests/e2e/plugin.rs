//! `kubectl flashsale` on a cluster, as people use it.

use super::sale::OpenSale;
use anyhow::{Context, Result, ensure};
use quicksale_tests::world::eventually;
use std::{path::Path, time::Duration};
use tokio::process::Command;
use uuid::Uuid;

/// How long what the plugin has done may take to be seen.
const SOON: Duration = Duration::from_secs(30);

async fn plugin(sale: &OpenSale, verb: &str) -> Result<String> {
    let plugins = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins");
    let path = std::env::var("PATH").context("no PATH")?;
    let done = Command::new("kubectl")
        .env("PATH", format!("{}:{path}", plugins.display()))
        .args([
            "flashsale",
            verb,
            sale.name,
            "--namespace",
            &sale.cluster.namespace,
        ])
        .output()
        .await?;
    let (said, complaint) = (String::from_utf8(done.stdout)?, String::from_utf8(done.stderr)?);
    ensure!(
        done.status.success(),
        "kubectl flashsale {verb}: {said}{complaint}"
    );
    Ok(said)
}

async fn status_of_an_order(sale: &OpenSale) -> Result<u16> {
    let buyer = Uuid::new_v4().to_string();
    Ok(sale.shop.order_patiently(&buyer, &buyer, "UNIT", 1).await?.status)
}

#[tokio::test]
async fn people_steer_a_sale_with_the_plugin() -> Result<()> {
    let sale = OpenSale::open("plugin").await?;
    ensure!(status_of_an_order(&sale).await? == 201);
    let said = plugin(&sale, "halt").await?;
    ensure!(said.contains("2 of 2 gateways"), "{said}");
    // The wait of the plugin was for everybody, so that nobody takes one now.
    for _ in 0..4 {
        ensure!(status_of_an_order(&sale).await? == 409);
    }
    let said = plugin(&sale, "status").await?;
    ensure!(
        said.contains("Live") && said.contains("Halted (OnRequest)"),
        "{said}"
    );
    plugin(&sale, "open").await?;
    eventually(SOON, "it sells again", async || {
        Ok(status_of_an_order(&sale).await? == 201)
    })
    .await?;
    eventually(SOON, "the numbers are counted", async || {
        let said = plugin(&sale, "top").await?;
        Ok(said.contains("orders: 2 accepted, 2 confirmed") && said.contains("units:  2 of 50 sold"))
    })
    .await?;
    sale.delete().await?;
    let said = plugin(&sale, "report").await?;
    ensure!(said.contains("UNIT: 2 of 50 sold"), "{said}");
    sale.cluster.leave().await
}
