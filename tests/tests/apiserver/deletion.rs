//! What becomes of a sale that is deleted while orders may be on their way. Without nodes nothing settles here: the test writes the
//! status of an open sale, and the operator goes on by that.

use super::operator::{TOPICS, condition, sale_in_the_making, topics};
use anyhow::{Context, Result, ensure};
use crds::FlashSale;
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Event, Namespace},
};
use kube::{
    Api,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use quicksale_tests::{
    cluster::{Cluster, command, refusal, small_sale},
    world::eventually,
};
use serde_json::{Value, json};
use std::time::Duration;

/// How long the operator may take for what needs no pods.
const SOON: Duration = Duration::from_secs(30);

/// A sale whose services were told to open a while ago.
async fn open_sale(prefix: &str, phase: &str) -> Result<Cluster> {
    let mut spec = small_sale();
    spec["deletionPolicy"] = json!("Delete");
    let cluster = sale_in_the_making(prefix, &spec).await?;
    let topics_of = format!("{}.shoes.", cluster.namespace);
    eventually(SOON, "the topics exist", async || {
        Ok(topics(&topics_of).await?.len() == TOPICS)
    })
    .await?;
    let since = "2025-01-01T00:00:00Z";
    let status = json!({"status": {"phase": phase, "opensAt": since, "openedAt": since}});
    eventually(SOON, "the sale is open", async || {
        let now = cluster.sale("shoes").await?.status.unwrap_or_default();
        // A round that had read the status before may write over it.
        if now.opened_at.is_none() {
            cluster
                .api::<FlashSale>()
                .patch_status("shoes", &PatchParams::default(), &Patch::Merge(&status))
                .await?;
        }
        let map = cluster.api::<ConfigMap>().get("shoes-control").await?;
        let told = map.data.unwrap_or_default().remove("control.json");
        let told: Value = serde_json::from_str(&told.context("no control.json")?)?;
        Ok(now.opened_at.is_some() && told["opensAt"] == since)
    })
    .await?;
    Ok(cluster)
}

async fn annotate(cluster: &Cluster, annotation: &str) -> Result<()> {
    let change = json!({"metadata": {"annotations": {annotation: "true"}}});
    let sales = cluster.api::<FlashSale>();
    sales
        .patch("shoes", &PatchParams::default(), &Patch::Merge(&change))
        .await?;
    Ok(())
}

async fn delete(cluster: &Cluster) -> Result<()> {
    let sales = cluster.api::<FlashSale>();
    sales.delete("shoes", &DeleteParams::default()).await?;
    Ok(())
}

/// What becomes of what it owns is said by whoever deletes it.
async fn in_cascade(cluster: &Cluster, cascade: &str) -> Result<()> {
    let cascade = format!("--cascade={cascade}");
    let arguments = [
        "--namespace",
        &cluster.namespace,
        "delete",
        "flashsale/shoes",
        "--wait=false",
        &cascade,
    ];
    command("kubectl", &arguments, "").await.map(drop)
}

async fn is_gone(cluster: &Cluster) -> Result<bool> {
    Ok(cluster.api::<FlashSale>().get_opt("shoes").await?.is_none())
}

async fn event(cluster: &Cluster, reason: &str) -> Result<Option<String>> {
    let events = cluster.api::<Event>().list(&ListParams::default()).await?;
    let found = events
        .items
        .into_iter()
        .find(|event| event.reason.as_deref() == Some(reason));
    Ok(found.map(|event| event.message.unwrap_or_default()))
}

/// The doors may have opened although the phase does not say so: both are open sales.
#[tokio::test]
async fn an_open_sale_is_deleted_only_where_that_is_meant_and_drains_first() -> Result<()> {
    for phase in ["Live", "Warming"] {
        let cluster = open_sale("meant", phase).await?;
        let refused = refusal(delete(&cluster).await)?;
        ensure!(
            refused.contains("the sale shoes is open")
                && refused.contains("quicksale.io/drain-and-delete=true"),
            "{refused}"
        );
        annotate(&cluster, "quicksale.io/drain-and-delete").await?;
        for cascade in ["foreground", "orphan"] {
            let refused = in_cascade(&cluster, cascade).await.unwrap_err().to_string();
            ensure!(
                refused.contains("delete it with --cascade=background"),
                "{cascade}: {refused}"
            );
        }
        delete(&cluster).await?;
        eventually(SOON, "it drains and says what it waits for", async || {
            let status = cluster.sale("shoes").await?.status.unwrap_or_default();
            let settled = condition(&cluster, "Settled").await?;
            Ok(status.phase().as_str() == "Draining"
                && settled.is_some_and(|(status, message)| status == "False" && message.contains("order")))
        })
        .await?;
        // Nobody here can settle anything, so it waits: its services and its data are there.
        let services = cluster.api::<Deployment>().list(&ListParams::default()).await?;
        ensure!(services.items.len() == 6 && !is_gone(&cluster).await?);
        annotate(&cluster, "quicksale.io/force-delete").await?;
        eventually(SOON, "it is gone by force", async || is_gone(&cluster).await).await?;
        let told = event(&cluster, "DrainForced").await?.context("nobody was told")?;
        ensure!(told.contains("quicksale.io/force-delete"), "{told}");
        cluster.leave().await?;
    }
    Ok(())
}

/// Whoever has put the finalizer there by hand gets past the policy, and past a release without one.
#[tokio::test]
async fn what_an_open_sale_owns_is_not_taken_before_its_orders_are_settled() -> Result<()> {
    let cluster = open_sale("cascade", "Live").await?;
    annotate(&cluster, "quicksale.io/drain-and-delete").await?;
    let sales = cluster.api::<FlashSale>();
    let mut finalizers = cluster
        .sale("shoes")
        .await?
        .metadata
        .finalizers
        .unwrap_or_default();
    ensure!(
        finalizers.contains(&"quicksale.io/drain".to_owned()),
        "{finalizers:?}"
    );
    finalizers.push("foregroundDeletion".to_owned());
    let change = Patch::Merge(json!({"metadata": {"finalizers": finalizers}}));
    sales.patch("shoes", &PatchParams::default(), &change).await?;
    delete(&cluster).await?;
    eventually(SOON, "it drains, and only the operator holds it", async || {
        let sale = cluster.sale("shoes").await?;
        let held_by = sale.metadata.finalizers.unwrap_or_default();
        let phase = sale.status.unwrap_or_default().phase();
        Ok(sale.metadata.deletion_timestamp.is_some()
            && held_by == ["quicksale.io/drain"]
            && phase.as_str() == "Draining")
    })
    .await?;
    let told = event(&cluster, "DrainsInBackground")
        .await?
        .context("nobody was told")?;
    ensure!(told.contains("--cascade=background"), "{told}");
    annotate(&cluster, "quicksale.io/force-delete").await?;
    eventually(SOON, "it is gone", async || is_gone(&cluster).await).await?;
    cluster.leave().await
}

/// The namespace takes the pods with it, so nothing can be settled; whatever the policy says, what was ordered is not thrown away.
#[tokio::test]
async fn with_its_namespace_an_open_sale_goes_and_its_data_stays() -> Result<()> {
    let cluster = open_sale("whole", "Live").await?;
    let prefix = format!("{}.shoes.", cluster.namespace);
    let namespaces = Api::<Namespace>::all(cluster.client.clone());
    namespaces
        .delete(&cluster.namespace, &DeleteParams::default())
        .await?;
    // What empties a namespace does not run here. The policy does not stop it, whoever it is.
    let emptying = [
        "--namespace",
        &cluster.namespace,
        "delete",
        "flashsale/shoes",
        "--wait=false",
    ];
    command("kubectl", &emptying, "").await?;
    eventually(SOON, "the sale is gone", async || is_gone(&cluster).await).await?;
    let left = topics(&prefix).await?.len();
    ensure!(left == TOPICS, "{left} of {TOPICS} topics are left");
    Ok(())
}

/// The doors have opened by the gateways' clocks, and the phase does not say so yet.
#[tokio::test]
async fn what_an_open_sale_may_not_change_follows_from_its_doors() -> Result<()> {
    let cluster = open_sale("doors", "Warming").await?;
    for (change, said) in [
        (
            json!({"opensAt": "2126-12-01T12:00:00Z"}),
            "spec.opensAt cannot change once the sale is open",
        ),
        (
            json!({"confirmation": "Payment"}),
            "spec.confirmation and spec.reservationTtl cannot change once the sale is open",
        ),
        (
            json!({"reservationTtl": "20m"}),
            "spec.confirmation and spec.reservationTtl cannot change once the sale is open",
        ),
    ] {
        let refused = refusal(cluster.edit("shoes", &change).await)?;
        ensure!(refused.contains(said), "{refused}");
    }
    // It is Live, though nothing that it needs is there, and says so.
    eventually(SOON, "it is Live and impaired", async || {
        let status = cluster.sale("shoes").await?.status.unwrap_or_default();
        let ready = condition(&cluster, "Ready").await?;
        let degraded = condition(&cluster, "Degraded").await?;
        Ok(status.phase().as_str() == "Live"
            && ready
                .is_some_and(|(status, message)| status == "False" && message.contains("cannot be placed"))
            && degraded.is_some_and(|(status, message)| status == "True" && message.contains("gateway")))
    })
    .await
}
