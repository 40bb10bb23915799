//! An operator of this release takes over a sale that is open and was made by the one before: it starts no pod of it anew, and steers it
//! all the same.
//!
//! What the one before makes of a sale is kept in `tests/released/VERSION/`: `open-sale.json`, and the chart. `hack/keep-release.sh` writes
//! them when a release is made.

use super::{
    chart::installed,
    doors::{Door, pod, ready_at},
    operator::{condition, services_are_deployed},
    statuses::control,
};
use anyhow::{Context, Result, ensure};
use crds::FlashSale;
use k8s_openapi::api::apps::v1::Deployment;
use kube::{
    Api, ResourceExt,
    api::{DynamicObject, ListParams, Patch, PatchParams, PostParams},
    core::{ApiResource, TypeMeta},
};
use platform::clock::Clock;
use quicksale_tests::{
    cluster::{Cluster, command, small_sale},
    world::eventually,
};
use serde_json::{Value, json};
use std::{
    net::Ipv4Addr,
    path::{Path, PathBuf},
    time::Duration,
};

/// The release before.
const BEFORE: &str = "0.1.0";
/// What an operator makes, in an order in which it can be made.
const KINDS: &str = "serviceaccounts,secrets,configmaps,services,networkpolicies,poddisruptionbudgets,horizontalpodautoscalers,ingresses,deployments";
/// In the place of what differs from sale to sale.
const NAMESPACE: &str = "{namespace}";
const UID: &str = "{uid}";
/// How long the operator may take for what needs no pods.
const SOON: Duration = Duration::from_secs(60);
/// The operator's field manager.
const MANAGER: &str = "quicksale-operator";
/// Leaves a sale as it is.
const PAUSED: &str = "quicksale.io/paused";

/// Where what a release has left is.
pub(crate) fn kept(version: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("released")
        .join(version)
}

fn spec() -> Value {
    let mut spec = small_sale();
    spec["deletionPolicy"] = json!("Delete");
    spec["rateLimits"] = json!([{"route": "/api/orders", "limit": 20, "window": "1m"}]);
    spec["services"] = json!({"order": {"replicas": {"min": 1, "max": 3}}});
    spec
}

async fn annotate(cluster: &Cluster, annotation: &str, value: Value) -> Result<()> {
    let change = Patch::Merge(json!({"metadata": {"annotations": {annotation: value}}}));
    cluster
        .api::<FlashSale>()
        .patch("shoes", &PatchParams::default(), &change)
        .await?;
    Ok(())
}

/// An object as it is made, with what the API server puts into it taken out.
fn made(mut object: Value, cluster: &Cluster, uid: &str) -> Result<Value> {
    let metadata = object["metadata"].as_object_mut().context("no metadata")?;
    for field in [
        "uid",
        "resourceVersion",
        "creationTimestamp",
        "generation",
        "managedFields",
    ] {
        metadata.remove(field);
    }
    let fields = object.as_object_mut().context("no object")?;
    fields.remove("status");
    if fields["kind"] == "Service" {
        let spec = fields["spec"].as_object_mut().context("no spec")?;
        spec.retain(|name, _| !["clusterIP", "clusterIPs"].contains(&name.as_str()));
    }
    let text = object
        .to_string()
        .replace(uid, UID)
        .replace(&cluster.namespace, NAMESPACE);
    Ok(serde_json::from_str(&text)?)
}

async fn opened(cluster: &Cluster, status: &Value) -> Result<()> {
    eventually(SOON, "the sale is open", async || {
        let now = cluster.sale("shoes").await?.status.unwrap_or_default();
        if now.opened_at.is_none() {
            let status = Patch::Merge(json!({"status": status}));
            let sales = cluster.api::<FlashSale>();
            sales
                .patch_status("shoes", &PatchParams::default(), &status)
                .await?;
        }
        Ok(now.opened_at.is_some() && now.phase().as_str() == "Live")
    })
    .await
}

/// Writes down what the operator makes of an open sale.
#[tokio::test]
#[ignore = "writes a file: hack/keep-release.sh runs it"]
async fn what_this_release_makes_of_an_open_sale_is_kept() -> Result<()> {
    let version = std::env::var("QUICKSALE_KEEP").context("QUICKSALE_KEEP names the version")?;
    installed().await?;
    let cluster = Cluster::with_namespace("kept").await?;
    cluster.sell("shoes", &spec()).await?;
    services_are_deployed(&cluster).await?;
    let since = "2026-01-01T00:00:00Z";
    opened(
        &cluster,
        &json!({"phase": "Live", "opensAt": since, "openedAt": since}),
    )
    .await?;
    eventually(SOON, "its doors are told", async || {
        Ok(control(&cluster).await?["opensAt"] == since)
    })
    .await?;
    let sale = cluster.sale("shoes").await?;
    let selected = "app.kubernetes.io/managed-by=quicksale-operator,quicksale.io/sale=shoes";
    let arguments = [
        "--namespace",
        &cluster.namespace,
        "get",
        KINDS,
        "--selector",
        selected,
        "--output",
        "json",
    ];
    let list: Value = serde_json::from_str(&command("kubectl", &arguments, "").await?)?;
    let uid = sale.uid().context("no uid")?;
    let objects = list["items"].as_array().context("no objects")?.iter();
    let objects = objects.map(|object| made(object.clone(), &cluster, &uid));
    let kept_sale = json!({
        "spec": spec(), "status": sale.status.context("no status")?,
        "objects": objects.collect::<Result<Vec<_>>>()?,
    });
    let text = serde_json::to_string_pretty(&kept_sale)?
        .replace(&uid, UID)
        .replace(&cluster.namespace, NAMESPACE);
    std::fs::create_dir_all(kept(&version))?;
    std::fs::write(kept(&version).join("open-sale.json"), text + "\n")?;
    Ok(())
}

/// Brings a sale about as the release before has left it. The operator leaves it alone meanwhile.
async fn taken_over(cluster: &Cluster) -> Result<Value> {
    let text = std::fs::read_to_string(kept(BEFORE).join("open-sale.json"))?;
    let text = text.replace(NAMESPACE, &cluster.namespace);
    let spec: Value = serde_json::from_str::<Value>(&text)?["spec"].clone();
    let sale: FlashSale = serde_json::from_value(json!({
        "apiVersion": "quicksale.io/v1alpha1", "kind": "FlashSale",
        "metadata": {"name": "shoes", "annotations": {PAUSED: "true"}}, "spec": spec,
    }))?;
    let sale = cluster
        .api::<FlashSale>()
        .create(&PostParams::default(), &sale)
        .await?;
    let left: Value = serde_json::from_str(&text.replace(UID, &sale.uid().context("no uid")?))?;
    let params = PatchParams::apply(MANAGER).force();
    for object in left["objects"].as_array().context("no objects")? {
        let object: DynamicObject = serde_json::from_value(object.clone())?;
        let TypeMeta { api_version, kind } = object.types.clone().context("no type")?;
        let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
        let kind = kube::core::GroupVersionKind::gvk(group, version, &kind);
        let plural = ApiResource::from_gvk(&kind);
        let api: Api<DynamicObject> =
            Api::namespaced_with(cluster.client.clone(), &cluster.namespace, &plural);
        api.patch(&object.name_any(), &params, &Patch::Apply(&object))
            .await
            .with_context(|| object.name_any())?;
    }
    opened(cluster, &left["status"]).await?;
    Ok(left)
}

async fn templates(cluster: &Cluster) -> Result<Vec<(String, Value)>> {
    let all = cluster.api::<Deployment>().list(&ListParams::default()).await?;
    let template = |deployment: Deployment| {
        let name = deployment.name_any();
        Ok((
            name,
            serde_json::to_value(deployment.spec.context("no spec")?.template)?,
        ))
    };
    all.items.into_iter().map(template).collect()
}

#[tokio::test]
async fn an_open_sale_of_the_release_before_is_steered_and_none_of_its_pods_starts_anew() -> Result<()> {
    installed().await?;
    let cluster = Cluster::with_namespace("before").await?;
    taken_over(&cluster).await?;
    let before = templates(&cluster).await?;
    ensure!(before.len() == 6, "{} Deployments", before.len());
    let mut doors = Vec::new();
    for (service, last) in [("gateway", 1), ("order", 2)] {
        let address = Ipv4Addr::new(127, 42, 0, last);
        doors.push(Door::open(&cluster, "shoes", address, Clock::System).await?);
        pod(&cluster, "shoes", service, &ready_at(address)).await?;
    }
    annotate(&cluster, PAUSED, Value::Null).await?;
    eventually(SOON, "the operator has looked at all of it", async || {
        let up_to_date = condition(&cluster, "UpToDate").await?;
        Ok(up_to_date.is_some_and(|(_, message)| !message.contains(PAUSED)))
    })
    .await?;
    cluster.edit("shoes", &json!({"halted": true})).await?;
    eventually(SOON, "the halt is in force", async || {
        let obeyed = doors.iter().all(|door| door.control.current().halted);
        Ok(obeyed && control(&cluster).await?["halted"] == true)
    })
    .await?;
    ensure!(
        templates(&cluster).await? == before,
        "a pod of an open sale would start anew"
    );
    // What is kept is another release's: asked for, this one's takes its place.
    annotate(&cluster, "quicksale.io/allow-rollout", json!("true")).await?;
    eventually(SOON, "the pods of this release are rolled out", async || {
        Ok(templates(&cluster).await? != before)
    })
    .await
}
