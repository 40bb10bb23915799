//! What a platform team sees of a sale, and can change while it runs.

use super::console;
use super::sale::OpenSale;
use anyhow::{Result, ensure};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Secret, Service},
};
use kube::{
    Api, Resource, ResourceExt,
    api::{DeleteParams, ListParams},
};
use quicksale_tests::{cluster::command, world::eventually};
use reqwest::Method;
use serde_json::json;
use std::time::Duration;

/// How long the cluster may take for what needs new pods.
const ROLLED_OUT: Duration = Duration::from_secs(90);

async fn delete<K>(api: &Api<K>, name: &str) -> Result<Option<String>>
where
    K: Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    let uid = api.get(name).await?.uid();
    api.delete(name, &DeleteParams::background()).await?;
    Ok(uid)
}

async fn is_new<K>(api: &Api<K>, name: &str, old: &Option<String>) -> Result<bool>
where
    K: Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    Ok(api
        .get_opt(name)
        .await?
        .is_some_and(|object| object.uid() != *old))
}

/// Everything about one sale, because opening one takes most of the time.
#[tokio::test]
async fn a_sale_is_seen_changed_repaired_and_deleted() -> Result<()> {
    let sale = OpenSale::open("watched").await?;
    it_is_seen(&sale).await?;
    console::shows_and_steers(&sale).await?;
    a_limit_is_in_force_within_two_seconds(&sale).await?;
    replicas_roll_out(&sale).await?;
    what_is_deleted_comes_back(&sale).await?;
    it_takes_everything_with_it(&sale).await?;
    sale.cluster.leave().await
}

async fn it_is_seen(sale: &OpenSale) -> Result<()> {
    let namespace = sale.cluster.namespace.as_str();
    // A service that once took a moment to answer shows for as long as the next look takes.
    eventually(ROLLED_OUT, "kubectl get shows the sale", async || {
        let table = command("kubectl", &["--namespace", namespace, "get", "fs"], "").await?;
        let words: Vec<Vec<&str>> = table
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        ensure!(
            words[0] == ["NAME", "PHASE", "OPENS", "STOCK", "SOLD", "READY", "AGE"],
            "{table}"
        );
        ensure!(
            words[1][..2] == ["units", "Live"] && words[1][3..6] == ["50", "0", "6/6"],
            "{table}"
        );
        Ok(true)
    })
    .await?;
    eventually(ROLLED_OUT, "kubectl describe tells the story", async || {
        let describe = ["--namespace", namespace, "describe", "fs", "units"];
        let story = command("kubectl", &describe, "").await?;
        for part in [
            "BackendsReachable",
            "TopicsReady",
            "WorkloadsReady",
            "CatalogReady",
            "StockConserved",
            "orders are taken",
            "Warming up.",
            "Open; 0 of 50 units sold.",
        ] {
            ensure!(story.contains(part), "{part} is not in: {story}");
        }
        Ok(true)
    })
    .await
}

/// The limit that each of 30 answers names: the ingress takes turns among the gateways.
async fn limits(sale: &OpenSale) -> Result<Vec<String>> {
    let mut limits = Vec::new();
    for _ in 0..30 {
        let page = sale.shop.send(Method::GET, "/openapi.json", None, None).await?;
        let limit = page
            .headers
            .get("ratelimit-limit")
            .and_then(|value| value.to_str().ok());
        limits.push(limit.unwrap_or_default().to_owned());
    }
    Ok(limits)
}

async fn a_limit_is_in_force_within_two_seconds(sale: &OpenSale) -> Result<()> {
    ensure!(limits(sale).await?.iter().all(|limit| limit == "100"));
    sale.cluster
        .edit(
            sale.name,
            &json!({"rateLimits": [{"route": "*", "limit": 4321, "window": "60s"}]}),
        )
        .await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let now = limits(sale).await?;
    ensure!(now.iter().all(|limit| limit == "4321"), "{now:?}");
    Ok(())
}

async fn replicas_roll_out(sale: &OpenSale) -> Result<()> {
    sale.cluster
        .edit(
            sale.name,
            &json!({"services": {"order": {"replicas": {"min": 2}}}}),
        )
        .await?;
    let deployments = sale.cluster.api::<Deployment>();
    eventually(ROLLED_OUT, "two order services are ready", async || {
        let status = deployments.get("units-order").await?.status.unwrap_or_default();
        Ok(status.ready_replicas == Some(2))
    })
    .await
}

async fn what_is_deleted_comes_back(sale: &OpenSale) -> Result<()> {
    let cluster = &sale.cluster;
    let (deployments, services, maps) = (
        cluster.api::<Deployment>(),
        cluster.api::<Service>(),
        cluster.api::<ConfigMap>(),
    );
    let old = (
        delete(&deployments, "units-auth").await?,
        delete(&services, "units-gateway").await?,
        delete(&maps, "units-control").await?,
    );
    eventually(
        ROLLED_OUT,
        "Deployment, Service and ConfigMap are back",
        async || {
            let ready = deployments
                .get_opt("units-auth")
                .await?
                .and_then(|d| d.status)
                .and_then(|s| s.ready_replicas);
            Ok(is_new(&deployments, "units-auth", &old.0).await?
                && ready == Some(1)
                && is_new(&services, "units-gateway", &old.1).await?
                && is_new(&maps, "units-control", &old.2).await?)
        },
    )
    .await?;
    eventually(ROLLED_OUT, "the shop sells again", async || {
        let key = uuid::Uuid::new_v4().to_string();
        Ok(sale.shop.order(&key, &key, "UNIT", 1).await?.status == 201)
    })
    .await
}

/// The topics of the sale, as directories of the broker.
async fn topics(sale: &OpenSale) -> Result<Vec<String>> {
    let list = [
        "--namespace",
        "quicksale-backends",
        "exec",
        "deploy/kafka",
        "--",
        "ls",
        "/data/kafka",
    ];
    let prefix = format!("{}.units.", sale.cluster.namespace);
    let all = command("kubectl", &list, "").await?;
    Ok(all
        .lines()
        .filter(|line| line.starts_with(&prefix) && !line.ends_with("-delete"))
        .map(str::to_owned)
        .collect())
}

async fn it_takes_everything_with_it(sale: &OpenSale) -> Result<()> {
    // Of each topic every partition, and the only one of the mark of their owner.
    ensure!(
        topics(sale).await?.len() == 6 * 4 + 1,
        "{:?}",
        topics(sale).await?
    );
    sale.delete().await?;
    let cluster = &sale.cluster;
    eventually(
        ROLLED_OUT,
        "nothing is left in the namespace but the report",
        async || {
            let all = ListParams::default();
            let maps = cluster.api::<ConfigMap>().list(&all).await?.items;
            let (reports, maps): (Vec<_>, Vec<_>) = maps
                .into_iter()
                .partition(|map| map.labels().contains_key("quicksale.io/report"));
            Ok(cluster.api::<Deployment>().list(&all).await?.items.is_empty()
                && cluster.api::<Service>().list(&all).await?.items.is_empty()
                && cluster.api::<Secret>().list(&all).await?.items.is_empty()
                && maps.iter().all(|map| map.name_any() == "kube-root-ca.crt")
                && reports.len() == 1
                && sale.pods("gateway").await?.is_empty())
        },
    )
    .await?;
    eventually(ROLLED_OUT, "the topics are deleted", async || {
        Ok(topics(sale).await?.is_empty())
    })
    .await
}
