//! The rules of a FlashSale on a real API server: each refuses what it is there for and lets pass what is as near to it as can be, and
//! `crds::offline`, which asks no server, gives the same answer.

mod cases;

use super::chart::installed;
use anyhow::{Result, ensure};
use cases::{Change, of_shape, on_a_change, on_a_spec, spec};
use crds::{FlashSale, definition::definition, offline};
use futures::{StreamExt, TryStreamExt, stream};
use kube::{
    api::{Patch, PatchParams},
    client::Body,
};
use quicksale_tests::{
    cluster::{Cluster, small_sale},
    world::eventually,
};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use std::time::Duration;

/// Specs that are generated.
const GENERATED: usize = 300;
/// Asked at once.
const AT_ONCE: usize = 8;

fn written(namespace: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "quicksale.io/v1alpha1", "kind": "FlashSale",
        "metadata": {"name": "ruled", "namespace": namespace}, "spec": spec,
    })
}

/// What the API server has against a new sale, as kubectl would ask: nothing is made, and an unknown field is refused.
async fn refused_by_the_server(cluster: &Cluster, sale: &Value) -> Result<Option<String>> {
    let path = format!(
        "/apis/quicksale.io/v1alpha1/namespaces/{}/flashsales?dryRun=All&fieldValidation=Strict",
        cluster.namespace
    );
    let request = axum::http::Request::post(path)
        .header("content-type", "application/json")
        .body(Body::from(serde_json::to_vec(sale)?))?;
    let answer = cluster.client.send(request).await?;
    let taken = answer.status().is_success();
    let body = axum::body::to_bytes(axum::body::Body::new(answer.into_body()), 1 << 20).await?;
    if taken {
        return Ok(None);
    }
    let status: Value = serde_json::from_slice(&body)?;
    ensure!(
        [400, 422].contains(&status["code"].as_i64().unwrap_or_default()),
        "no refusal: {status}"
    );
    Ok(status["message"].as_str().map(str::to_owned))
}

/// What the check without a cluster has against it.
fn refused_offline(sale: &Value) -> Option<String> {
    offline::checked(sale).err().map(|found| found.join("; "))
}

/// The sentences of all rules, as the definition has them.
fn sentences(schema: &Value, all: &mut Vec<String>) {
    match schema {
        Value::Object(fields) => {
            let rules = fields.get("x-kubernetes-validations").and_then(Value::as_array);
            let messages = rules
                .into_iter()
                .flatten()
                .filter_map(|rule| rule["message"].as_str());
            all.extend(messages.map(str::to_owned));
            fields.values().for_each(|value| sentences(value, all));
        }
        Value::Array(items) => items.iter().for_each(|item| sentences(item, all)),
        _ => {}
    }
}

/// A rule that nobody has named a case of is a rule that nobody has tried.
#[test]
fn every_rule_has_its_cases() -> Result<()> {
    let mut all = Vec::new();
    sentences(&serde_json::to_value(definition())?, &mut all);
    ensure!(all.len() > 60, "{} rules in all versions", all.len());
    let spec_rules = on_a_spec();
    for rule in &spec_rules {
        for change in rule.refuses.iter().chain(&rule.passes) {
            ensure!(
                spec(change) != small_sale(),
                "a case of {:?} changes nothing: {change:?}",
                rule.says
            );
        }
    }
    let steps = on_a_change();
    let named = spec_rules
        .iter()
        .map(|rule| rule.says)
        .chain(steps.iter().map(|step| step.says));
    let named: Vec<_> = named.chain(["metadata.name must be"]).collect();
    for sentence in &all {
        ensure!(
            named.iter().any(|says| sentence.starts_with(says)),
            "no case of {sentence:?}"
        );
    }
    for says in named {
        ensure!(
            all.iter().any(|sentence| sentence.starts_with(says)),
            "no rule says {says:?}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn every_rule_refuses_what_it_is_there_for_and_nothing_else() -> Result<()> {
    installed().await?;
    let cluster = &Cluster::with_namespace("rules").await?;
    for rule in on_a_spec() {
        for change in &rule.refuses {
            let sale = written(&cluster.namespace, &spec(change));
            let said = refused_by_the_server(cluster, &sale).await?.unwrap_or_default();
            ensure!(said.contains(rule.says), "{}: {change:?}: {said:?}", rule.says);
            let said = refused_offline(&sale).unwrap_or_default();
            ensure!(
                said.contains(rule.says),
                "offline, {}: {change:?}: {said:?}",
                rule.says
            );
        }
        for change in &rule.passes {
            let sale = written(&cluster.namespace, &spec(change));
            let (there, here) = (
                refused_by_the_server(cluster, &sale).await?,
                refused_offline(&sale),
            );
            ensure!(
                there.is_none() && here.is_none(),
                "{}: {change:?}: {there:?}, {here:?}",
                rule.says
            );
        }
    }
    let forty = "a".repeat(40);
    for (name, passes) in [
        (format!("{forty}a"), false),
        ("0-shoes".to_owned(), false),
        (forty, true),
        ("a-0".to_owned(), true),
    ] {
        let mut sale = written(&cluster.namespace, &spec(&[]));
        sale["metadata"]["name"] = json!(name);
        for said in [
            refused_by_the_server(cluster, &sale).await?,
            refused_offline(&sale),
        ] {
            let as_it_should = said
                .as_ref()
                .map_or(passes, |said| !passes && said.contains("metadata.name must be"));
            ensure!(as_it_should, "{name}: {said:?}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn every_rule_on_a_change_refuses_what_it_is_there_for_and_nothing_else() -> Result<()> {
    installed().await?;
    let cluster = &Cluster::with_namespace("steps").await?;
    cluster.sell("ruled", &cases::before()).await?;
    let sales = &cluster.api::<FlashSale>();
    let dry = &PatchParams {
        dry_run: true,
        ..PatchParams::default()
    };
    let steps = on_a_change();
    // Before the warm-up there is nothing to rely on.
    let early = &json!({"phase": "Pending", "openedAt": null, "products": null});
    let pending = steps.iter().flat_map(|step| {
        step.refuses
            .iter()
            .map(move |edit| (step.says, early, edit, false))
    });
    let later = steps.iter().flat_map(|step| {
        let refused = step.refuses.iter().map(move |edit| (edit, true));
        let passing = step.passes.iter().map(move |edit| (edit, false));
        refused
            .chain(passing)
            .map(move |(edit, refused)| (step.says, &step.status, edit, refused))
    });
    for (says, status, edit, refused) in pending.chain(later) {
        // The operator writes its own view of the status in between.
        eventually(Duration::from_secs(30), says, async || {
            let status = Patch::Merge(json!({"status": status}));
            sales
                .patch_status("ruled", &PatchParams::default(), &status)
                .await?;
            let change = Patch::Merge(json!({"spec": edit}));
            let said = match sales.patch("ruled", dry, &change).await {
                Ok(_) => None,
                Err(kube::Error::Api(status)) => Some(status.message),
                Err(error) => return Err(error.into()),
            };
            let as_it_should = said
                .as_ref()
                .map_or(!refused, |said| refused && said.contains(says));
            ensure!(as_it_should, "{edit}, with {status:?}: {said:?}");
            Ok(true)
        })
        .await?;
    }
    Ok(())
}

/// One that has some changes of the cases, drawn by lot.
fn drawn(lots: &mut StdRng, all: &[Change]) -> Value {
    let some = lots.random_range(1..=3);
    let changes = (0..some).flat_map(|_| all[lots.random_range(0..all.len())].clone());
    spec(&changes.collect::<Vec<_>>())
}

#[tokio::test]
async fn the_check_without_a_cluster_gives_the_answer_of_the_server() -> Result<()> {
    installed().await?;
    let cluster = &Cluster::with_namespace("offline").await?;
    let rules = on_a_spec()
        .into_iter()
        .flat_map(|rule| rule.refuses.into_iter().chain(rule.passes));
    let all: Vec<Change> = rules.chain(of_shape()).collect();
    let seed = rand::random();
    let mut lots = StdRng::seed_from_u64(seed);
    let mut specs: Vec<_> = all.iter().map(|change| spec(change)).collect();
    for _ in 0..GENERATED {
        specs.push(drawn(&mut lots, &all));
    }
    let differences: Vec<String> = stream::iter(specs)
        .map(async |spec| {
            let sale = written(&cluster.namespace, &spec);
            let (there, here) = (
                refused_by_the_server(cluster, &sale).await?,
                refused_offline(&sale),
            );
            let same = there.is_some() == here.is_some();
            Ok::<_, anyhow::Error>((!same).then(|| format!("{spec}\n  there: {there:?}\n  here: {here:?}")))
        })
        .buffer_unordered(AT_ONCE)
        .try_collect::<Vec<_>>()
        .await?
        .into_iter()
        .flatten()
        .collect();
    ensure!(
        differences.is_empty(),
        "seed {seed}, {} differ:\n{}",
        differences.len(),
        differences.join("\n")
    );
    Ok(())
}
