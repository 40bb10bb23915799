//! What a real cluster says of pods that it does not take is what `kubectl describe flashsale` says, within half a minute.

use super::sale::spec;
use anyhow::Result;
use k8s_openapi::api::core::v1::ResourceQuota;
use kube::api::PostParams;
use quicksale_tests::{
    cluster::{Cluster, command},
    world::eventually,
};
use serde_json::json;
use std::time::Duration;

/// How soon a sale says what it is stuck at.
const NAMED: Duration = Duration::from_secs(30);
const SERVICES: [&str; 6] = ["auth", "gateway", "inventory", "notifier", "order", "processor"];

async fn is_told(cluster: &Cluster, sentences: &[&str]) -> Result<()> {
    let arguments = [
        "describe",
        "flashsale",
        "units",
        "--namespace",
        &cluster.namespace,
    ];
    let told = eventually(NAMED, &format!("it says {sentences:?}"), async || {
        let told = command("kubectl", &arguments, "").await?;
        Ok(sentences.iter().all(|sentence| told.contains(sentence)))
    })
    .await;
    if told.is_err() {
        println!("{}", command("kubectl", &arguments, "").await?);
    }
    told
}

#[tokio::test]
async fn a_quota_and_nodes_without_room_are_named() -> Result<()> {
    let of = async |prefix: &str| {
        let cluster = Cluster::with_namespace(prefix).await?;
        let spec = spec(&format!("{}.localhost", cluster.namespace));
        Ok::<_, anyhow::Error>((cluster, spec))
    };
    let (quota, spec) = of("quota").await?;
    let none = json!({"metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}});
    quota
        .api::<ResourceQuota>()
        .create(&PostParams::default(), &serde_json::from_value(none)?)
        .await?;
    quota.sell("units", &spec).await?;
    let (large, mut spec) = of("large").await?;
    for service in SERVICES {
        spec["services"][service]["resources"] =
            json!({"requests": {"cpu": "500"}, "limits": {"cpu": "500"}});
    }
    large.sell("units", &spec).await?;
    is_told(
        &quota,
        &[
            "QuotaExceeded",
            "exceeded quota: none, requested: pods=1, used: pods=0, limited: pods=0",
            "raise it, or ask for less in spec.services",
        ],
    )
    .await?;
    is_told(
        &large,
        &[
            "Unschedulable",
            "Insufficient cpu",
            "add nodes, or ask for less in spec.services.<name>.resources",
        ],
    )
    .await?;
    quota.leave().await?;
    large.leave().await
}
