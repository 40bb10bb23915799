//! What keeps a sale from opening, selling or ending is named within half a minute, in one sentence with what to do, where people look
//! first: `kubectl describe`. There are no nodes here, so what nodes, schedulers and controllers write of pods the test writes, in their
//! words; what the API server refuses it refuses itself. On kind `e2e::stuck` has the same from the cluster itself.

use super::{
    chart::installed,
    doors::{Door, pod, ready_at, unready_at},
    marks::passing_sale,
    operator::{sale_in_the_making, services_are_deployed},
};
use anyhow::Result;
use crds::FlashSale;
use jiff::SignedDuration;
use k8s_openapi::api::{
    admissionregistration::v1::ValidatingWebhookConfiguration, apps::v1::Deployment, core::v1::Secret,
    networking::v1::Ingress,
};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use platform::clock::Clock;
use quicksale_tests::{
    cluster::{Cluster, command, small_sale},
    world::eventually,
};
use sale::phase::Phase;
use serde_json::{Value, json};
use std::{net::Ipv4Addr, time::Duration};

/// How soon a sale says what it is stuck at.
const NAMED: Duration = Duration::from_secs(30);

async fn describe(cluster: &Cluster, sale: &str) -> Result<String> {
    let arguments = ["describe", "flashsale", sale, "--namespace", &cluster.namespace];
    command("kubectl", &arguments, "").await
}

/// Waits until `kubectl describe` prints each of these.
async fn is_told(cluster: &Cluster, sale: &str, sentences: &[&str]) -> Result<()> {
    let told = eventually(NAMED, &format!("{sale} says {sentences:?}"), async || {
        let told = describe(cluster, sale).await?;
        Ok(sentences.iter().all(|sentence| told.contains(sentence)))
    })
    .await;
    if told.is_err() {
        println!("{}", describe(cluster, sale).await?);
    }
    told
}

/// What the controller of Deployments writes where the API server takes no pod of them.
async fn no_pod_is_made(cluster: &Cluster, service: &str, why: &str) -> Result<()> {
    let condition =
        json!({"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": why});
    let status = Patch::Merge(json!({"status": {"conditions": [condition]}}));
    let deployments = cluster.api::<Deployment>();
    deployments
        .patch_status(&format!("shoes-{service}"), &PatchParams::default(), &status)
        .await?;
    Ok(())
}

/// The status of a pod whose container waits.
fn waiting(waiting: &Value, before: &Value) -> Value {
    json!({"phase": "Pending", "containerStatuses": [{"name": "c", "image": "i", "imageID": "", "ready": false, "restartCount": 3,
        "state": {"waiting": waiting}, "lastState": before}]})
}

#[tokio::test]
async fn pods_that_do_not_start_are_told_of_with_the_remedy() -> Result<()> {
    let cluster = sale_in_the_making("pods", &passing_sale()).await?;
    let pull = "Back-off pulling image \"registry.example.com/quicksale:9\"";
    no_pod_is_made(
        &cluster,
        "auth",
        r#"pods "shoes-auth-5d" is forbidden: exceeded quota: small, requested: pods=1, used: pods=5, limited: pods=5"#,
    )
    .await?;
    no_pod_is_made(
        &cluster,
        "gateway",
        r#"admission webhook "images.example.com" denied the request: not one of our registries"#,
    )
    .await?;
    let no_node = json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
        "message": "0/3 nodes are available: 3 Insufficient cpu."}]});
    pod(&cluster, "shoes", "inventory", &no_node).await?;
    let image = waiting(
        &json!({"reason": "ImagePullBackOff", "message": pull}),
        &json!({}),
    );
    pod(&cluster, "shoes", "notifier", &image).await?;
    let key =
        json!({"reason": "CreateContainerConfigError", "message": "couldn't find key x in Secret shop/y"});
    pod(&cluster, "shoes", "order", &waiting(&key, &json!({}))).await?;
    let killed = json!({"terminated": {"exitCode": 137, "reason": "OOMKilled"}});
    let again = json!({"reason": "CrashLoopBackOff", "message": "back-off 40s restarting"});
    pod(&cluster, "shoes", "processor", &waiting(&again, &killed)).await?;
    is_told(
        &cluster,
        "shoes",
        &[
            "QuotaExceeded",
            "auth: the namespace's quota or limit range allows no pod (pods \"shoes-auth-5d\" is forbidden: exceeded quota: small",
            "raise it, or ask for less in spec.services",
            "gateway: a webhook or a policy of the cluster refuses the pods (admission webhook \"images.example.com\" denied",
            "let the sale's pods through there",
            "inventory: no node takes the pod (Unschedulable: 0/3 nodes are available: 3 Insufficient cpu.); add nodes",
            "notifier: the image cannot be pulled (ImagePullBackOff: Back-off pulling image \"registry.example.com/quicksale:9\"); \
             correct image in the operator's chart",
            "order: the container cannot be made (CreateContainerConfigError: couldn't find key x in Secret shop/y)",
            "processor: the process needs more memory than its limit (OOMKilled, exit code 137); raise \
             spec.services.<name>.resources.limits.memory",
        ],
    )
    .await?;
    cluster.leave().await
}

/// The door of a pod that runs at an address of this test.
async fn door(cluster: &Cluster, sale: &str, service: &str, last: u8, clock: Clock) -> Result<Door> {
    let address = Ipv4Addr::new(127, 40, 0, last);
    let door = Door::open(cluster, sale, address, clock).await?;
    pod(cluster, sale, service, &ready_at(address)).await?;
    Ok(door)
}

#[tokio::test]
async fn processes_that_run_and_are_not_ready_or_not_heard_are_told_of() -> Result<()> {
    let cluster = sale_in_the_making("unready", &passing_sale()).await?;
    let address = Ipv4Addr::new(127, 40, 0, 1);
    let order = Door::open(&cluster, "shoes", address, Clock::System).await?;
    let gate = order.health.gate("order indexes");
    gate.waits(&"Server selection timeout: no primary at mongodb:27017");
    pod(&cluster, "shoes", "order", &unready_at(address)).await?;
    // Nobody listens there, as where a network policy keeps the operator out.
    pod(
        &cluster,
        "shoes",
        "gateway",
        &unready_at(Ipv4Addr::new(127, 40, 0, 2)),
    )
    .await?;
    is_told(
        &cluster,
        "shoes",
        &[
            "order: the process runs and is not ready (shoes-order-1-1: waiting for order indexes: Server selection timeout: no \
             primary at mongodb:27017); get what it waits for to answer",
            "gateway: the process runs, is not ready and does not answer (shoes-gateway-1-1); let the operator reach port 9090",
            "no answer from shoes-gateway-1-1: let the operator reach port 9090 of the sale's pods",
        ],
    )
    .await?;
    drop(gate);
    cluster.leave().await
}

#[tokio::test]
async fn a_clock_that_is_wrong_is_told_of() -> Result<()> {
    let cluster = sale_in_the_making("clocks", &passing_sale()).await?;
    let _right = door(&cluster, "shoes", "gateway", 3, Clock::System).await?;
    let wrong = Clock::Wrong(SignedDuration::from_secs(5));
    let _wrong = door(&cluster, "shoes", "order", 4, wrong).await?;
    is_told(
        &cluster,
        "shoes",
        &[
            "ClockSkew",
            "the clock of shoes-order-1-1 is 5 s ahead of the operator's: doors open and close that much too early or too late; have NTP \
             set the clocks of all nodes",
        ],
    )
    .await?;
    cluster.leave().await
}

#[tokio::test]
async fn a_secret_that_is_missing_or_wrong_is_told_of_before_the_warm_up() -> Result<()> {
    installed().await?;
    let cluster = Cluster::with_namespace("secret").await?;
    let mut spec = small_sale();
    spec["opensAt"] = json!("2126-12-01T12:00:00Z");
    spec["backendsSecretRef"] = json!({"name": "ours"});
    cluster.sell("shoes", &spec).await?;
    is_told(
        &cluster,
        "shoes",
        &[
            "SecretMissing",
            "the backends Secret does not exist; create it, or name another in spec.backendsSecretRef",
        ],
    )
    .await?;
    let secret = json!({"metadata": {"name": "ours"}, "stringData": {
        "MONGODB_URI": "mysql://db", "KAFKA_BROKERS": "kafka:9092", "REDIS_URL": "redis://redis:6379"}});
    let secrets = cluster.api::<Secret>();
    secrets
        .create(&PostParams::default(), &serde_json::from_value(secret)?)
        .await?;
    is_told(&cluster, "shoes", &["SecretInvalid", "MONGODB_URI"]).await?;
    let right = Patch::Merge(json!({"stringData": {"MONGODB_URI": "mongodb://db:27017"}}));
    secrets.patch("ours", &PatchParams::default(), &right).await?;
    is_told(
        &cluster,
        "shoes",
        &[
            "Scheduled",
            "its Secret names the backends, and nobody has its host; the backends are asked when the warm-up begins at \
             2126-12-01T11:50:00Z",
        ],
    )
    .await?;
    cluster.leave().await
}

#[tokio::test]
async fn a_host_that_another_sale_has_is_told_of_and_not_taken() -> Result<()> {
    let host = format!("{}.example.com", uuid::Uuid::new_v4().simple());
    let mut spec = passing_sale();
    spec["ingress"] = json!({"host": host});
    let cluster = sale_in_the_making("host", &spec).await?;
    let ingresses = cluster.api::<Ingress>();
    eventually(NAMED, "the first has its Ingress", async || {
        Ok(ingresses.get_opt("shoes-ingress").await?.is_some())
    })
    .await?;
    let mut waits = spec.clone();
    waits["opensAt"] = json!("2126-12-01T12:00:00Z");
    for (name, spec) in [("boots", &spec), ("hats", &waits)] {
        cluster.sell(name, spec).await?;
        let taken = format!(
            "the host {host} is taken by the sale shoes in {}; this sale gets no way in by it while that is so: wait for its end, or give one \
             of the two another host",
            cluster.namespace
        );
        is_told(&cluster, name, &["HostTaken", &taken]).await?;
    }
    eventually(NAMED, "the second has its services", async || {
        let deployments = cluster.api::<Deployment>();
        Ok(deployments.get_opt("boots-gateway").await?.is_some())
    })
    .await?;
    anyhow::ensure!(ingresses.get_opt("boots-ingress").await?.is_none());
    let sales = cluster.api::<FlashSale>();
    sales.delete("shoes", &DeleteParams::default()).await?;
    eventually(NAMED, "the host goes to the second", async || {
        Ok(ingresses.get_opt("boots-ingress").await?.is_some())
    })
    .await?;
    is_told(&cluster, "hats", &["is taken by the sale boots"]).await?;
    cluster.leave().await
}

/// The API server asks somebody who is not there, about the objects of this namespace alone.
#[tokio::test]
async fn what_a_webhook_refuses_is_named_in_full() -> Result<()> {
    installed().await?;
    let cluster = Cluster::with_namespace("webhook").await?;
    let webhooks: Api<ValidatingWebhookConfiguration> = Api::all(cluster.client.clone());
    let name = cluster.namespace.clone();
    let webhook = json!({
        "metadata": {"name": name},
        "webhooks": [{
            "name": "nobody.example.com", "admissionReviewVersions": ["v1"], "sideEffects": "None", "timeoutSeconds": 1,
            "clientConfig": {"url": "https://127.0.0.1:1/"},
            "rules": [{"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["deployments"]}],
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}},
        }],
    });
    let params = PostParams::default();
    webhooks
        .create(&params, &serde_json::from_value(webhook)?)
        .await?;
    cluster.sell("shoes", &passing_sale()).await?;
    let told = is_told(
        &cluster,
        "shoes",
        &[
            "ApplyFailed",
            "failed calling webhook \"nobody.example.com\"",
            "let the operator's service account through there, or get the webhook to answer",
            // All six, not only the first.
            "Deployment shoes-auth",
            "Deployment shoes-processor",
        ],
    )
    .await;
    webhooks.delete(&name, &DeleteParams::default()).await?;
    told?;
    services_are_deployed(&cluster).await?;
    cluster.leave().await
}

/// A sale whose doors are shut for longer than any hold may last, and that nobody settles.
#[tokio::test]
async fn a_drain_that_stands_still_is_told_of() -> Result<()> {
    let cluster = sale_in_the_making("stalled", &passing_sale()).await?;
    let since = "2025-01-01T00:00:00Z";
    let status =
        json!({"status": {"phase": "Draining", "opensAt": since, "openedAt": since, "drainingSince": since}});
    let sales = cluster.api::<FlashSale>();
    let looks = std::cell::Cell::new(0);
    eventually(NAMED, "the sale drains", async || {
        let now = cluster.sale("shoes").await?.status.unwrap_or_default();
        // A round that had begun before may write over it.
        let drains = now.draining_since.is_some() && now.phase() == Phase::Draining;
        looks.set(if drains { looks.get() + 1 } else { 0 });
        if !drains {
            sales
                .patch_status("shoes", &PatchParams::default(), &Patch::Merge(&status))
                .await?;
        }
        Ok(looks.get() > 20)
    })
    .await?;
    is_told(
        &cluster,
        "shoes",
        &[
            "DrainStalled",
            "this should have been over by 2025-01-01T00:11:00Z: what is under way is not known: no replica of order is ready; see \"is \
             it settled?\" in docs/operations.md. Nothing is dropped",
        ],
    )
    .await?;
    let force = Patch::Merge(json!({"metadata": {"annotations": {"quicksale.io/force-delete": "true"}}}));
    sales.patch("shoes", &PatchParams::default(), &force).await?;
    sales.delete("shoes", &DeleteParams::default()).await?;
    cluster.leave().await
}
