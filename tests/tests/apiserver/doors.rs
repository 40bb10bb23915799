//! Pods and doors where there are no nodes: pods as a Deployment would have made them, with the status that a node would write, and the
//! services' own endpoint of control documents at the addresses of those.

use anyhow::{Context, Result};
use axum::Router;
use k8s_openapi::api::{
    apps::v1::{Deployment, ReplicaSet},
    core::v1::{ConfigMap, Pod, Secret},
};
use kube::{
    ResourceExt,
    api::{Patch, PatchParams, PostParams},
};
use platform::{
    admin::{ControlEndpoint, control_routes, routes},
    clock::Clock,
    config::ports::ADMIN,
    control::Control,
    health::Health,
    http::authorization::{Authority, Entrance},
    tokens::Verifier,
};
use quicksale_tests::cluster::Cluster;
use sale::control::ControlDocument;
use serde_json::{Value, json};
use std::{
    net::Ipv4Addr,
    sync::{Arc, atomic::AtomicU64},
};
use tokio_util::sync::CancellationToken;

/// A service that decides about orders, as far as control documents go.
pub(crate) struct Door {
    /// What it goes by.
    pub(crate) control: Control,
    /// What it says of itself at `/readyz`.
    pub(crate) health: Health,
}

impl Door {
    /// Opens one at an address, with the keys and the document of a sale.
    pub(crate) async fn open(cluster: &Cluster, sale: &str, address: Ipv4Addr, clock: Clock) -> Result<Self> {
        let map = cluster.api::<ConfigMap>().get(&format!("{sale}-control")).await?;
        let text = map.data.unwrap_or_default().remove("control.json");
        let document: ControlDocument = serde_json::from_str(&text.context("no document")?)?;
        let keys = cluster
            .api::<Secret>()
            .get(&format!("{sale}-signing-keys"))
            .await?;
        let jwks = keys
            .data
            .unwrap_or_default()
            .remove("jwks.json")
            .context("no keys")?
            .0;
        let control = Control::new(document, clock.clone());
        let health = Health::new(CancellationToken::new());
        let endpoint = ControlEndpoint {
            control: control.clone(),
            refused: Arc::new(AtomicU64::new(0)),
            health: health.clone(),
            authority: Authority {
                verifier: Arc::new(Verifier::from_jwks(&jwks)?),
                clock: Clock::System,
                entrance: Entrance::Inside,
            },
        };
        let listener = tokio::net::TcpListener::bind((address, ADMIN)).await?;
        let routes: Router = control_routes(endpoint).merge(routes(health.clone()));
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Ok(Self { control, health })
    }
}

/// The status of a pod that runs at an address since long ago, and takes requests or not.
fn runs_at(address: Ipv4Addr, ready: bool) -> Value {
    let ip = address.to_string();
    json!({
        "phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}],
        "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}],
        "containerStatuses": [{"name": "c", "image": "i", "imageID": "i", "ready": ready, "restartCount": 0,
            "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}}],
    })
}

/// The status of a pod that takes requests.
pub(crate) fn ready_at(address: Ipv4Addr) -> Value {
    runs_at(address, true)
}

/// The status of a pod that runs and takes none.
pub(crate) fn unready_at(address: Ipv4Addr) -> Value {
    runs_at(address, false)
}

/// A pod of a service, as its Deployment would have made it, with this status.
pub(crate) async fn pod(cluster: &Cluster, sale: &str, service: &str, status: &Value) -> Result<()> {
    let name = format!("{sale}-{service}");
    let deployment = cluster.api::<Deployment>().get(&name).await?;
    let template = deployment.spec.clone().context("no spec")?.template;
    let labels = template.metadata.and_then(|meta| meta.labels);
    let owner = |api: &str, kind: &str, of: &str, uid: Option<String>| json!([{"apiVersion": api, "kind": kind, "name": of, "uid": uid, "controller": true}]);
    let set = json!({
        "metadata": {"name": format!("{name}-1"), "labels": labels,
            "ownerReferences": owner("apps/v1", "Deployment", &name, deployment.uid())},
        "spec": {"replicas": 1, "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i"}]}}},
    });
    let sets = cluster.api::<ReplicaSet>();
    let set = sets
        .create(&PostParams::default(), &serde_json::from_value(set)?)
        .await?;
    let container = json!({
        "name": "c", "image": "i",
        "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
    });
    let pod = json!({
        "metadata": {"name": format!("{name}-1-1"), "labels": labels,
            "ownerReferences": owner("apps/v1", "ReplicaSet", &set.name_any(), set.uid())},
        "spec": {"containers": [container], "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}}},
    });
    let pods = cluster.api::<Pod>();
    pods.create(&PostParams::default(), &serde_json::from_value(pod)?)
        .await?;
    let status = Patch::Merge(json!({"status": status}));
    pods.patch_status(&format!("{name}-1-1"), &PatchParams::default(), &status)
        .await?;
    Ok(())
}
