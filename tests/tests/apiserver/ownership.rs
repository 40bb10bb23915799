//! Only what is a sale's own is taken and deleted, whatever Secret leads there; and what made nothing goes at once.

use super::{
    chart::{installed, operators_log},
    operator::{TOPICS, condition, sale_in_the_making, topics},
};
use anyhow::{Result, ensure};
use crds::FlashSale;
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Secret};
use kube::{
    ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use mongodb::bson::{Document, doc};
use platform::backends::{Credentials, mongo};
use quicksale_tests::{
    cluster::{Cluster, small_sale},
    ecs,
    world::eventually,
};
use serde_json::{Value, json};
use std::time::Duration;

/// How long the operator may take for what needs no pods.
const SOON: Duration = Duration::from_secs(30);
/// How long the deletion of what made nothing may take.
const AT_ONCE: Duration = Duration::from_secs(10);

/// A Secret of the namespace's own that leads to the backends that everybody uses.
async fn own_secret(cluster: &Cluster) -> Result<()> {
    let names = ["MONGODB_URI", "KAFKA_BROKERS", "KAFKA_TLS", "REDIS_URL"];
    let data: serde_json::Map<String, Value> = names
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), std::env::var(name).ok()?.into())))
        .collect();
    let secret = json!({"metadata": {"name": "mine"}, "stringData": data});
    let secrets = cluster.api::<Secret>();
    secrets
        .create(&PostParams::default(), &serde_json::from_value(secret)?)
        .await?;
    Ok(())
}

fn with_own_secret() -> Value {
    let mut spec = small_sale();
    spec["backendsSecretRef"] = json!({"name": "mine"});
    spec["deletionPolicy"] = json!("Delete");
    spec
}

async fn delete(cluster: &Cluster, name: &str, within: Duration) -> Result<()> {
    let sales = cluster.api::<FlashSale>();
    sales.delete(name, &DeleteParams::default()).await?;
    eventually(within, &format!("{name} is gone"), async || {
        Ok(sales.get_opt(name).await?.is_none())
    })
    .await
}

async fn all_topics(prefix: &str) -> Result<()> {
    eventually(SOON, "the topics and their mark exist", async || {
        Ok(topics(prefix).await?.len() == TOPICS)
    })
    .await
}

#[tokio::test]
async fn a_secret_of_ones_own_leads_to_nobody_elses_topics() -> Result<()> {
    let owner = sale_in_the_making("owns", &small_sale()).await?;
    let prefix = format!("{}.shoes.", owner.namespace);
    all_topics(&prefix).await?;
    let thief = Cluster::with_namespace("steals").await?;
    own_secret(&thief).await?;
    let mut spec = with_own_secret();
    spec["kafka"] = json!({"partitions": 2, "topicPrefix": prefix});
    thief.sell("tries", &spec).await?;
    let whose = format!("belong to the sale shoes in {}", owner.namespace);
    eventually(SOON, "it is told whose they are", async || {
        let status = thief.sale("tries").await?.status.unwrap_or_default();
        let conditions = status.conditions.iter().any(|c| c.message.contains(&whose));
        Ok(conditions && status.message.is_some_and(|message| message.contains(&whose)))
    })
    .await?;
    let made = thief.api::<Deployment>().list(&ListParams::default()).await?;
    ensure!(
        made.items.is_empty(),
        "services were made for a sale that owns nothing"
    );
    delete(&thief, "tries", SOON).await?;
    ensure!(
        topics(&prefix).await?.len() == TOPICS,
        "the topics went with the one that tried"
    );
    // Nor does one that has not begun take them with it.
    spec["opensAt"] = json!("2126-12-01T12:00:00Z");
    thief.sell("waits", &spec).await?;
    eventually(SOON, "the operator holds it", async || {
        Ok(!thief.sale("waits").await?.finalizers().is_empty())
    })
    .await?;
    delete(&thief, "waits", SOON).await?;
    ensure!(
        topics(&prefix).await?.len() == TOPICS,
        "the topics went with the one that waited"
    );
    thief.leave().await
}

#[tokio::test]
async fn a_sale_that_made_nothing_goes_at_once() -> Result<()> {
    installed().await?;
    let cluster = Cluster::with_namespace("nothing").await?;
    let mut later = with_own_secret();
    later["opensAt"] = json!("2126-12-01T12:00:00Z");
    // Its Secret is not there, it waits for its Secret, and its Secret holds nothing of use.
    cluster.sell("later", &later).await?;
    cluster.sell("now", &with_own_secret()).await?;
    let useless = json!({"metadata": {"name": "useless"}, "stringData": {"X": "1"}});
    cluster
        .api::<Secret>()
        .create(&PostParams::default(), &serde_json::from_value(useless)?)
        .await?;
    let mut typo = with_own_secret();
    typo["backendsSecretRef"] = json!({"name": "useless"});
    cluster.sell("typo", &typo).await?;
    for name in ["later", "now", "typo"] {
        eventually(SOON, &format!("the operator holds {name}"), async || {
            let sale = cluster.sale(name).await?;
            Ok(!sale.finalizers().is_empty() && sale.status.is_some())
        })
        .await?;
        delete(&cluster, name, AT_ONCE).await?;
    }
    cluster.leave().await
}

#[tokio::test]
async fn a_secret_that_went_first_keeps_no_sale_and_no_data() -> Result<()> {
    installed().await?;
    let cluster = Cluster::with_namespace("first").await?;
    own_secret(&cluster).await?;
    cluster.sell("shoes", &with_own_secret()).await?;
    let prefix = format!("{}.shoes.", cluster.namespace);
    all_topics(&prefix).await?;
    cluster
        .api::<Secret>()
        .delete("mine", &DeleteParams::default())
        .await?;
    delete(&cluster, "shoes", SOON).await?;
    eventually(SOON, "the topics are gone", async || {
        Ok(topics(&prefix).await?.is_empty())
    })
    .await?;
    cluster.leave().await
}

#[tokio::test]
async fn a_database_of_another_cluster_is_left_alone() -> Result<()> {
    installed().await?;
    let cluster = Cluster::with_namespace("elsewhere").await?;
    let id = sale::SaleId {
        namespace: cluster.namespace.clone(),
        name: "shoes".to_owned(),
    };
    let client = mongo::client(&Credentials::from_env()?.mongodb_uri).await?;
    let database = client.database(&id.database(false));
    let theirs =
        doc! {"_id": "owner", "cluster": "another", "namespace": &id.namespace, "name": "shoes", "uid": "u"};
    database
        .collection::<Document>("ownership")
        .insert_one(&theirs)
        .await?;
    let mut spec = small_sale();
    spec["deletionPolicy"] = json!("Delete");
    cluster.sell("shoes", &spec).await?;
    eventually(SOON, "the sale is told", async || {
        let ready = condition(&cluster, "TopicsReady").await?;
        Ok(
            ready
                .is_some_and(|(status, message)| status == "False" && message.contains("of another cluster")),
        )
    })
    .await?;
    delete(&cluster, "shoes", SOON).await?;
    let left = database
        .collection::<Document>("ownership")
        .find_one(doc! {})
        .await?;
    ensure!(left == Some(theirs), "{left:?}");
    database.drop().await?;
    cluster.leave().await
}

/// What the operator did to a sale is in its trail, and stays there when the sale has gone.
#[tokio::test]
async fn the_operators_trail_has_what_became_of_a_sale() -> Result<()> {
    let mut spec = small_sale();
    spec["deletionPolicy"] = json!("Delete");
    let cluster = sale_in_the_making("trail", &spec).await?;
    delete(&cluster, "shoes", SOON).await?;
    let whose = format!("{}/shoes", cluster.namespace);
    let log = std::fs::read_to_string(operators_log("shared"))?;
    // Of this sale: what is older may be of another build.
    for line in log.lines().filter(|line| line.contains(&cluster.namespace)) {
        ecs::check(line)?;
    }
    let told: Vec<_> = log
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|line| line["log"]["logger"] == "audit" && line["quicksale"]["whose"] == whose.as_str())
        .map(|line| {
            ["/user/id", "/event/action", "/quicksale/outcome"].map(|field| {
                let told = line.pointer(field).and_then(Value::as_str);
                told.unwrap_or("?").to_owned()
            })
        })
        .collect();
    let expected = [
        "sale_claim",
        "sale_warming",
        "sale_data_deletion",
        "sale_deletion",
    ]
    .map(|action| ["operator", action, "done"].map(str::to_owned));
    ensure!(told == expected, "{told:?}");
    cluster.leave().await
}

#[tokio::test]
async fn a_lost_label_is_put_back_and_an_emptied_status_begins_nothing_anew() -> Result<()> {
    let cluster = sale_in_the_making("repairs", &small_sale()).await?;
    let deployments = cluster.api::<Deployment>();
    let before = deployments.get("shoes-order").await?;
    let unlabelled = json!({"metadata": {"labels": {"quicksale.io/sale": null}}});
    deployments
        .patch("shoes-order", &PatchParams::default(), &Patch::Merge(&unlabelled))
        .await?;
    eventually(SOON, "the label is back", async || {
        let order = deployments.get("shoes-order").await?;
        Ok(order
            .labels()
            .get("quicksale.io/sale")
            .is_some_and(|sale| sale == "shoes"))
    })
    .await?;
    let empty = json!({"status": null});
    cluster
        .api::<FlashSale>()
        .patch_status("shoes", &PatchParams::default(), &Patch::Merge(&empty))
        .await?;
    eventually(SOON, "the phase is what it was", async || {
        let status = cluster.sale("shoes").await?.status.unwrap_or_default();
        Ok(status.phase.is_some_and(|phase| phase.as_str() == "Warming"))
    })
    .await?;
    let after = deployments.get("shoes-order").await?;
    ensure!(after.uid() == before.uid(), "the services were made anew");
    Ok(())
}
