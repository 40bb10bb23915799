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
use crds::{FlashSale, compatible::RELEASED};
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
use sha2::{Digest, Sha256};
use std::{
    cell::Cell,
    collections::BTreeMap,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    time::Duration,
};

/// What an operator makes, in an order in which it can be made.
const KINDS: &str = "serviceaccounts,secrets,configmaps,services,networkpolicies,poddisruptionbudgets,horizontalpodautoscalers,ingresses,deployments";
/// In the place of what differs from sale to sale.
const NAMESPACE: &str = "{namespace}";
const UID: &str = "{uid}";
/// How long the operator may take for what needs no pods.
const SOON: Duration = Duration::from_secs(60);
/// So many looks one after another find a status as it was written: some seconds.
const LOOKS: u32 = 20;
/// The operator's field manager.
const MANAGER: &str = "quicksale-operator";
/// Leaves a sale as it is.
const PAUSED: &str = "quicksale.io/paused";

fn kept(version: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("released")
        .join(version)
}

/// The release before: the last whose definition is kept.
fn before() -> Result<&'static str> {
    Ok(RELEASED.last().context("no release is kept")?.0)
}

/// Its chart.
pub(crate) fn chart_before() -> Result<PathBuf> {
    let version = before()?;
    Ok(kept(version).join(format!("quicksale-{version}.tgz")))
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

/// Writes the status of an open sale until the operator goes by it. A round that had begun before may write over it once more, so it has to
/// stand for a while.
async fn opened(cluster: &Cluster, status: &Value) -> Result<()> {
    let stood = Cell::new(0);
    eventually(SOON, "the sale is open", async || {
        let now = cluster.sale("shoes").await?.status.unwrap_or_default();
        let pinned = status["pinned"].as_str();
        if now.opened_at.is_none() || pinned.is_some_and(|pinned| now.pinned.as_deref() != Some(pinned)) {
            stood.set(0);
            let status = Patch::Merge(json!({"status": status}));
            let sales = cluster.api::<FlashSale>();
            sales
                .patch_status("shoes", &PatchParams::default(), &status)
                .await?;
        }
        stood.set(stood.get() + 1);
        Ok(stood.get() > LOOKS && now.phase().as_str() == "Live")
    })
    .await
}

/// Writes down what the operator makes of an open sale.
#[tokio::test]
#[ignore = "writes a file: hack/keep-release.sh runs it"]
async fn what_this_release_makes_of_an_open_sale_is_kept() -> Result<()> {
    let version = std::env::var("QUICKSALE_RELEASE").context("QUICKSALE_RELEASE names the version")?;
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
    let text = json!({
        "spec": spec(), "status": sale.status.context("no status")?,
        "objects": objects.collect::<Result<Vec<_>>>()?,
    })
    .to_string()
    .replace(&uid, UID)
    .replace(&cluster.namespace, NAMESPACE);
    let mut kept_sale: Value = serde_json::from_str(&text)?;
    // What is pinned has the namespace in it, and is known by its hash.
    kept_sale["madeIn"] = json!(cluster.namespace);
    let text = serde_json::to_string_pretty(&kept_sale)?;
    std::fs::create_dir_all(kept(&version))?;
    std::fs::write(kept(&version).join("open-sale.json"), text + "\n")?;
    Ok(())
}

/// Brings a sale about as the release before has left it. The operator leaves it alone meanwhile.
async fn left_by_the_release_before(cluster: &Cluster) -> Result<()> {
    let text = std::fs::read_to_string(kept(before()?).join("open-sale.json"))?;
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
    let mut left: Value = serde_json::from_str(&text.replace(UID, &sale.uid().context("no uid")?))?;
    let made_in = left["madeIn"].as_str().context("madeIn is missing")?.to_owned();
    let pinned = |left: &Value| {
        let mut objects = left["objects"].as_array().into_iter().flatten();
        let pinned = objects.find(|object| object["metadata"]["name"] == "shoes-pinned");
        pinned
            .map(|pinned| pinned["data"].to_string())
            .context("nothing is pinned")
    };
    let before = pinned(&left)?.replace(&cluster.namespace, &made_in);
    ensure!(
        left["status"]["pinned"] == hash(&before),
        "what is pinned is known by another hash than {}",
        left["status"]["pinned"]
    );
    left["status"]["pinned"] = hash(&pinned(&left)?).into();
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
    opened(cluster, &left["status"]).await
}

/// As the operator has it: a change of it would have every open sale's pins disbelieved.
fn hash(pins: &str) -> String {
    hex::encode(&Sha256::digest(pins.as_bytes())[..16])
}

/// What pods are made from, by the name of the Deployment.
async fn templates(cluster: &Cluster) -> Result<BTreeMap<String, Value>> {
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
    left_by_the_release_before(&cluster).await?;
    let before = templates(&cluster).await?;
    ensure!(before.len() == 6, "{} Deployments", before.len());
    let mut doors = Vec::new();
    for (service, last) in [("gateway", 1), ("order", 2)] {
        let address = Ipv4Addr::new(127, 42, 0, last);
        doors.push(Door::open(&cluster, "shoes", address, Clock::System).await?);
        pod(&cluster, "shoes", service, &ready_at(address)).await?;
    }
    // What somebody has edited by hand is put right by what is pinned, and not believed.
    let by_hand = json!({"spec": {"template": {"spec": {"containers": [{"name": "auth", "image": "somebody/else:1"}]}}}});
    cluster
        .api::<Deployment>()
        .patch("shoes-auth", &PatchParams::default(), &Patch::Strategic(&by_hand))
        .await?;
    ensure!(
        templates(&cluster).await? != before,
        "the edit by hand changed nothing"
    );
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
    // Written at the end of a round, when everything is applied.
    eventually(SOON, "it says that it is halted", async || {
        let sale = cluster.sale("shoes").await?;
        let halted = condition(&cluster, "Halted").await?;
        let looked = sale.status.and_then(|status| status.observed_generation);
        Ok(looked == sale.metadata.generation && halted.is_some_and(|(status, _)| status == "True"))
    })
    .await?;
    let mut after = templates(&cluster).await?;
    after.retain(|name, template| before.get(name) != Some(template));
    ensure!(
        after.is_empty(),
        "these pods of an open sale would start anew: {after:#?}"
    );
    // What is kept is another release's: asked for, this one's takes its place.
    annotate(&cluster, "quicksale.io/allow-rollout", json!("true")).await?;
    eventually(SOON, "the pods of this release are rolled out", async || {
        Ok(templates(&cluster).await? != before)
    })
    .await
}
