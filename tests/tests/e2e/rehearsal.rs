//! A rehearsal from its beginning to its end: the operator brings the load, says what was held, reports, and leaves nothing behind.

use super::sale::spec;
use anyhow::{Context, Result, ensure};
use crds::FlashSale;
use k8s_openapi::api::{batch::v1::Job, core::v1::ConfigMap};
use kube::api::{DeleteParams, ListParams};
use quicksale_tests::{cluster::Cluster, world::eventually};
use serde_json::{Value, json};
use std::time::Duration;

/// How long all of it may take: some twenty rates of two seconds each, and the pods.
const REHEARSED: Duration = Duration::from_secs(300);

#[tokio::test]
async fn a_rehearsal_says_what_is_held_and_leaves_nothing_behind() -> Result<()> {
    let cluster = Cluster::with_namespace("drill").await?;
    let mut spec = spec(&format!("{}.localhost", cluster.namespace));
    spec["mode"] = json!("Rehearsal");
    spec["expect"] = json!({"buyers": 1_000, "ordersPerSecond": 2});
    // The sample sale is open beside it.
    spec["load"] = json!({"ordersPerSecond": 400, "step": "2s", "besideOpenSales": "Allow"});
    cluster.sell("units", &spec).await?;
    let status = async || Ok::<_, anyhow::Error>(cluster.sale("units").await?.status.unwrap_or_default());
    eventually(REHEARSED, "it has a verdict", async || {
        Ok(status().await?.rehearsed.is_some())
    })
    .await?;
    let found = status().await?;
    let verdict = found
        .conditions
        .iter()
        .find(|condition| condition.type_ == "HoldsLoad");
    let verdict = verdict.context("no verdict")?;
    let held = found.rehearsed.and_then(|rehearsed| rehearsed.held_per_second);
    ensure!(
        verdict.status == "True" && verdict.reason == "Holds" && held >= Some(2),
        "{held:?}: {}: {}",
        verdict.reason,
        verdict.message
    );
    ensure!(
        verdict.message.contains("orders/s are held, 2 are expected")
            && verdict.message.contains("1000 buyers")
            && (held == Some(400) || verdict.message.contains("/s ")),
        "{}",
        verdict.message
    );
    eventually(
        REHEARSED,
        "it has ended by itself, and its data is gone",
        async || {
            let now = status().await?;
            Ok(now.phase().as_str() == "Ended" && now.data_wiped_at.is_some())
        },
    )
    .await?;
    let now = status().await?;
    let name = now.report_ref.context("no report")?.name;
    let report = cluster
        .api::<ConfigMap>()
        .get(&name)
        .await?
        .data
        .context("no data")?;
    let report: Value = serde_json::from_str(report.get("report.json").context("no report.json")?)?;
    ensure!(
        report["rehearsal"]["heldPerSecond"].as_i64() == held
            && report["orders"]["accepted"].as_u64() > Some(0)
            && report["audit"]["result"] == "agrees",
        "{report:#}"
    );
    let jobs = cluster.api::<Job>().list(&ListParams::default()).await?;
    ensure!(jobs.items.is_empty(), "the load is still there");
    cluster
        .api::<FlashSale>()
        .delete("units", &DeleteParams::default())
        .await?;
    eventually(REHEARSED, "it is gone", async || {
        Ok(cluster.api::<FlashSale>().get_opt("units").await?.is_none())
    })
    .await?;
    cluster.leave().await
}
