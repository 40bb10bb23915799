//! Buyers get their units, also while pods die.

use super::{
    console,
    sale::{OpenSale, SERVICES, admin},
};
use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Patch, PatchParams};
use quicksale_tests::{
    cluster::refusal,
    scenarios::{crowd, seed_flow},
    world::eventually,
};
use serde_json::{Value, json};
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
    let name = sale.resource().await?.status.and_then(|status| status.report_ref);
    let name = name.context("no report")?.name;
    let maps = sale.cluster.api::<ConfigMap>();
    let report = maps.get(&name).await?;
    is_the_report(&report)?;
    console::shows_the_report(&sale, &report).await?;
    let change = Patch::Merge(json!({"data": {"report.txt": "ten thousand were sold"}}));
    let refused = refusal(
        maps.patch(&name, &PatchParams::default(), &change)
            .await
            .map(drop)
            .map_err(Into::into),
    )?;
    ensure!(refused.contains("immutable"), "{refused}");
    sale.delete().await?;
    is_the_report(&maps.get(&name).await?)?;
    sale.cluster.leave().await
}

/// Whether it has what came of the sale of fifty units.
fn is_the_report(map: &ConfigMap) -> Result<()> {
    let data = map.data.as_ref().context("no data")?;
    let report: Value = serde_json::from_str(data.get("report.json").context("no report.json")?)?;
    let orders = &report["orders"];
    let said = [
        ("version", report["version"] == "quicksale.io/report/v1"),
        ("missing", report["missing"] == json!([])),
        ("products", report["products"][0]["sold"] == 50),
        ("byStatus", orders["byStatus"]["CONFIRMED"] == 50),
        ("soldFor", orders["soldFor"] == "39999.50"),
        (
            "mostOrdersInASecond",
            orders["mostOrdersInASecond"].as_u64() > Some(0),
        ),
        ("audit", report["audit"]["result"] == "agrees"),
        ("refused", are_refused(&report)),
        (
            "acceptance",
            report["durations"]["acceptance"]["count"].as_u64() >= Some(50),
        ),
        ("images", report["versions"]["images"]["order"].is_string()),
    ];
    let wrong: Vec<&str> = said
        .iter()
        .filter_map(|(what, is_right)| (!is_right).then_some(*what))
        .collect();
    ensure!(wrong.is_empty(), "wrong are {}: {report:#}", wrong.join(", "));
    let text = data.get("report.txt").context("no report.txt")?;
    ensure!(
        text.contains("UNIT: 50 of 50 sold, 0 left, 0 held") && text.contains("The books agree"),
        "{text}"
    );
    Ok(())
}

/// Whether as many refusals are named as there were buyers without an order. What they were told depends on when they came: that the last
/// units are on their way, that all are sold, or that the sale has ended for that reason.
fn are_refused(report: &Value) -> bool {
    let codes = report["refused"]["byCode"].as_object();
    let named = codes.map_or(0, |codes| codes.values().filter_map(Value::as_u64).sum::<u64>());
    let accepted = report["orders"]["accepted"].as_u64();
    accepted.is_some_and(|accepted| accepted + named >= 300)
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
