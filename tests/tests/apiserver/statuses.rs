//! What somebody does by hand to a FlashSale that is under way: it begins nothing anew, and alarms nobody.

use super::{
    marks::{deleted, passing_sale},
    operator::{TOPICS, sale_in_the_making, topics},
};
use anyhow::{Context, Result, ensure};
use crds::FlashSale;
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Event},
};
use kube::{
    ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use quicksale_tests::{cluster::Cluster, world::eventually};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};
use tokio::time::sleep;

/// How long the operator may take for what needs no pods.
const SOON: Duration = Duration::from_secs(30);

/// What the services are told, as it is written down.
pub(crate) async fn control(cluster: &Cluster) -> Result<Value> {
    let map = cluster.api::<ConfigMap>().get("shoes-control").await?;
    let mut data = map.data.unwrap_or_default();
    let text = data.remove("control.json").context("no control.json")?;
    Ok(serde_json::from_str(&text)?)
}

/// The uid and the generation of each Deployment.
async fn services(cluster: &Cluster) -> Result<BTreeMap<String, (Option<String>, Option<i64>)>> {
    let list = cluster.api::<Deployment>().list(&ListParams::default()).await?;
    let service = |deployment: &Deployment| {
        let is = (deployment.uid(), deployment.metadata.generation);
        (deployment.name_any(), is)
    };
    Ok(list.items.iter().map(service).collect())
}

/// Whether a round of the operator in this phase has come to its end: its last word is the sentence.
async fn is_in(cluster: &Cluster, phase: &str, sentence: &str) -> Result<bool> {
    let status = cluster.sale("shoes").await?.status.unwrap_or_default();
    let is_said = status
        .message
        .as_ref()
        .is_some_and(|message| message.starts_with(sentence));
    Ok(is_said && status.phase().as_str() == phase && control(cluster).await?["phase"] == phase)
}

/// Without nodes no sale opens here, so the test writes the phases itself. From the phase on, the operator goes on by
/// what is written, and an open sale whose status is emptied must stay open: what the services are told says that it is.
#[tokio::test]
async fn an_open_sale_and_one_that_is_over_stay_so_when_their_status_is_emptied() -> Result<()> {
    let cluster = sale_in_the_making("emptied", &passing_sale()).await?;
    let sales = cluster.api::<FlashSale>();
    let params = PatchParams::default();
    let prefix = format!("{}.shoes.", cluster.namespace);
    eventually(SOON, "the topics exist", async || {
        Ok(topics(&prefix).await?.len() == TOPICS)
    })
    .await?;
    for (phase, sentence) in [("Live", "Open;"), ("Ended", "Ended;")] {
        let written = json!({"status": {"phase": phase, "opensAt": "2025-01-01T00:00:00Z"}});
        eventually(SOON, &format!("the sale is {phase}"), async || {
            // A round that had read the status before may write over it.
            let is_in = is_in(&cluster, phase, sentence).await?;
            if !is_in {
                sales
                    .patch_status("shoes", &params, &Patch::Merge(&written))
                    .await?;
            }
            Ok(is_in)
        })
        .await?;
        let (told, made) = (control(&cluster).await?, services(&cluster).await?);
        ensure!(told["opensAt"] == "2025-01-01T00:00:00Z", "{told}");
        let empty = json!({"status": null});
        let emptied = sales
            .patch_status("shoes", &params, &Patch::Merge(&empty))
            .await?;
        ensure!(emptied.status.is_none(), "the status was not emptied");
        // Nothing is expected to happen to a sale that is over, so it would not be looked at for a minute.
        let look = json!({"metadata": {"annotations": {"example.com/look": phase}}});
        sales.patch("shoes", &params, &Patch::Merge(&look)).await?;
        eventually(SOON, &format!("the sale is {phase} again"), async || {
            is_in(&cluster, phase, sentence).await
        })
        .await?;
        let (told_now, made_now) = (control(&cluster).await?, services(&cluster).await?);
        ensure!(
            told_now == told,
            "{phase}: the services were told {told}, and now {told_now}"
        );
        ensure!(
            made_now == made,
            "{phase}: the services were {made:?}, and are {made_now:?}"
        );
    }
    ensure!(topics(&prefix).await?.len() == TOPICS, "topics are missing");
    deleted(&cluster).await?;
    cluster.leave().await
}

/// Between two edits: the deletions between a read and the release take much longer.
const BETWEEN: Duration = Duration::from_millis(20);

/// The finalizer is taken off with the version that was read at the beginning of the round. Between the two the operator
/// deletes what it made, and here somebody edits the sale all that time. The next round sees the edit, and nobody needs to
/// hear of it.
#[tokio::test]
async fn somebody_who_edits_a_sale_at_the_same_moment_alarms_nobody() -> Result<()> {
    let cluster = sale_in_the_making("hasty", &passing_sale()).await?;
    let (sales, deployments) = (cluster.api::<FlashSale>(), cluster.api::<Deployment>());
    sales.delete("shoes", &DeleteParams::default()).await?;
    let end = Instant::now() + SOON;
    let mut edits = 0_u32;
    while !deployments.list(&ListParams::default()).await?.items.is_empty() {
        ensure!(
            Instant::now() < end,
            "after {SOON:?} its services are still there"
        );
        edits += 1;
        // Of labels the operator hears nothing, so that these begin no round of their own.
        let edit = json!({"metadata": {"labels": {"example.com/edit": edits.to_string()}}});
        match sales
            .patch("shoes", &PatchParams::default(), &Patch::Merge(&edit))
            .await
        {
            Err(kube::Error::Api(answer)) if answer.code == 404 => break,
            done => drop(done?),
        }
        // Others use the same server.
        sleep(BETWEEN).await;
    }
    eventually(SOON, "the sale is gone", async || {
        Ok(sales.get_opt("shoes").await?.is_none())
    })
    .await?;
    let events = cluster.api::<Event>().list(&ListParams::default()).await?;
    let alarms: Vec<_> = events
        .items
        .iter()
        .filter(|event| event.reason.as_deref() == Some("ApiServerFailed"))
        .map(|event| event.message.as_deref())
        .collect();
    ensure!(alarms.is_empty(), "after {edits} edits: {alarms:?}");
    cluster.leave().await
}
