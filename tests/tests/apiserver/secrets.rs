//! Secrets that somebody edits or deletes on purpose: who the platform's administrator is, and keys that have leaked.

use super::{
    chart::NAMESPACE,
    marks::{deleted, passing_sale},
    operator::sale_in_the_making,
};
use anyhow::{Context, Result, ensure};
use k8s_openapi::{
    ByteString,
    api::{
        apps::v1::Deployment,
        core::v1::{Secret, Service},
    },
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use quicksale_tests::{cluster::Cluster, world::eventually};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use tokio::time::{Instant, sleep};

/// How long the operator may take for what needs no pods.
const SOON: Duration = Duration::from_secs(30);
/// The platform's Secret with the administrator.
const PLATFORMS: &str = "quicksale-admin";
/// The Secret with what a sale gets to know of it.
const SALES: &str = "shoes-admin";

/// What a Secret holds, by key.
type Texts = BTreeMap<String, String>;

async fn texts(api: &Api<Secret>, name: &str) -> Result<Option<Texts>> {
    let text = |(key, value): (String, ByteString)| Some((key, String::from_utf8(value.0).ok()?));
    let found = api.get_opt(name).await?;
    let data = found.map(|secret| secret.data.unwrap_or_default());
    Ok(data.map(|data| data.into_iter().filter_map(text).collect()))
}

async fn edit(api: &Api<Secret>, name: &str, change: &Value) -> Result<()> {
    api.patch(name, &PatchParams::default(), &Patch::Merge(change))
        .await?;
    Ok(())
}

/// An annotation of each Deployment's pods.
async fn of_pods(cluster: &Cluster, annotation: &str) -> Result<Texts> {
    let list = cluster.api::<Deployment>().list(&ListParams::default()).await?;
    list.items
        .into_iter()
        .map(|deployment| {
            let name = deployment.name_any();
            let deployment = serde_json::to_value(deployment)?;
            let annotations = &deployment["spec"]["template"]["metadata"]["annotations"];
            let value = annotations[annotation].as_str().context("no such annotation")?;
            Ok((name, value.to_owned()))
        })
        .collect()
}

/// Edits who the administrator is, one part after the other, and waits for each to arrive.
async fn edits_arrive(platforms: &Api<Secret>, sales: &Api<Secret>, first: &Texts) -> Result<()> {
    let known = async || texts(sales, SALES).await?.context("the sale knows nobody");
    let password = "another password of the administrator";
    let declared = json!({"stringData": {"password": password}});
    edit(platforms, PLATFORMS, &declared).await?;
    eventually(SOON, "the sale has the hash of the new password", async || {
        let now = known().await?;
        Ok(now["email"] == first["email"] && now["passwordHash"] != first["passwordHash"])
    })
    .await?;
    let second = known().await?;
    ensure!(second["passwordHash"].starts_with("$argon2id$"), "{second:?}");
    ensure!(
        second.keys().eq(["email", "passwordHash"]),
        "{:?}",
        second.keys().collect::<Vec<_>>()
    );
    let declared = json!({
        "email": "another@quicksale.local",
        "passwordHash": "$argon2id$v=19$m=19456,t=2,p=1$YnJvdWdodCBhbG9uZw$YSBoYXNoIHRoYXQgc29tZWJvZHkgYnJvdWdodA",
    });
    let change = json!({"stringData": declared});
    edit(platforms, PLATFORMS, &change).await?;
    eventually(SOON, "the sale has what somebody has hashed", async || {
        let now = known().await?;
        Ok(json!(now) == declared)
    })
    .await?;
    // Somebody who is half-way through an edit takes no sale its administrator.
    edit(
        platforms,
        PLATFORMS,
        &json!({"stringData": {"passwordHash": "not yet a hash"}}),
    )
    .await?;
    let long_enough_for_an_edit = Instant::now() + Duration::from_secs(8);
    while Instant::now() < long_enough_for_an_edit {
        ensure!(
            json!(known().await?) == declared,
            "the sale has another administrator"
        );
        sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

/// Whoever takes the administrator's password back must not have to think of each sale; nor does a pod start anew for that.
#[tokio::test]
async fn an_edit_of_the_administrator_reaches_sales_that_are_there() -> Result<()> {
    let cluster = sale_in_the_making("declares", &passing_sale()).await?;
    let platforms: Api<Secret> = Api::namespaced(cluster.client.clone(), NAMESPACE);
    let sales = cluster.api::<Secret>();
    eventually(SOON, "the sale knows the administrator", async || {
        Ok(texts(&sales, SALES).await?.is_some())
    })
    .await?;
    let first = texts(&sales, SALES).await?.context("it is gone again")?;
    let deployments = cluster.api::<Deployment>();
    let auth = async || -> Result<_> {
        let auth = deployments.get("shoes-auth").await?;
        Ok(auth.spec.context("no spec")?.template)
    };
    let deployed = auth().await?;
    let declared = texts(&platforms, PLATFORMS)
        .await?
        .context("there is no administrator")?;
    let arrived = edits_arrive(&platforms, &sales, &first).await;
    // The sales of other tests have the same administrator: it becomes what it was, whatever came of the edits.
    let as_before = json!({"stringData": declared, "data": {"passwordHash": null}});
    edit(&platforms, PLATFORMS, &as_before).await?;
    arrived?;
    eventually(SOON, "the same Secret gives the same hash again", async || {
        Ok(texts(&sales, SALES).await?.as_ref() == Some(&first))
    })
    .await?;
    ensure!(auth().await? == deployed, "auth would be started anew");
    deleted(&cluster).await?;
    cluster.leave().await
}

/// The ids of the public keys that a sale publishes.
fn key_ids(keys: &Texts) -> Result<BTreeSet<String>> {
    let published: Value = serde_json::from_str(&keys["jwks.json"])?;
    let published = published["keys"].as_array().context("no keys")?;
    Ok(published
        .iter()
        .filter_map(|key| Some(key["kid"].as_str()?.to_owned()))
        .collect())
}

/// The way out after a leak: nothing that the lost key has signed may be believed any longer, so nobody waits, no old
/// key stays published, and every process starts anew with the new one.
#[tokio::test]
async fn signing_keys_that_are_deleted_come_back_as_others_and_start_everything_anew() -> Result<()> {
    let cluster = sale_in_the_making("leaks", &passing_sale()).await?;
    let secrets = cluster.api::<Secret>();
    let (config, backends) = ("quicksale.io/config-hash", "quicksale.io/backends-hash");
    let keys = async || texts(&secrets, "shoes-signing-keys").await;
    let before = keys().await?.context("no keys")?;
    let (started_with, reaches) = (
        of_pods(&cluster, config).await?,
        of_pods(&cluster, backends).await?,
    );
    secrets
        .delete("shoes-signing-keys", &DeleteParams::default())
        .await?;
    // The keys are looked at every three minutes, and as soon as anything else of the sale is put right.
    cluster
        .api::<Service>()
        .delete("shoes-notifier", &DeleteParams::default())
        .await?;
    eventually(SOON, "there are keys again", async || Ok(keys().await?.is_some())).await?;
    let after = keys().await?.context("they are gone again")?;
    ensure!(
        after["signing-key.pem"] != before["signing-key.pem"],
        "the lost key signs again"
    );
    let (lost, new) = (key_ids(&before)?, key_ids(&after)?);
    ensure!(
        new.len() == 1 && new.is_disjoint(&lost),
        "{lost:?} was lost, and {new:?} is published"
    );
    eventually(SOON, "every service would start anew", async || {
        let now = of_pods(&cluster, config).await?;
        let is_new = |(name, hash): (&String, &String)| now.get(name).is_some_and(|now| now != hash);
        Ok(now.len() == started_with.len() && started_with.iter().all(is_new))
    })
    .await?;
    ensure!(
        of_pods(&cluster, backends).await? == reaches,
        "the backends are others too"
    );
    let signs = keys().await?.context("no keys")?;
    ensure!(
        signs["signing-key.pem"] == after["signing-key.pem"],
        "the keys changed twice"
    );
    deleted(&cluster).await?;
    cluster.leave().await
}
