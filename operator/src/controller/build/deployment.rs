//! The services themselves.

use super::{
    Child, Kind, Plan,
    backend_ports::{Backend, own_key},
    config_map,
    config_map::{CONFIG, CONTROL, port},
    labels::{all_labels, pod_selector},
    object_name, replicas, secret,
};
use crds::{
    Component,
    component::{Amount, Amounts, Resources},
};
use jiff::SignedDuration;
use platform::{
    backends::PLAINTEXT_PASSWORDS,
    config::{paths, ports},
};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

/// The time between the decision that a pod goes and its SIGTERM. For that long it still takes requests: everyone who
/// sends it any (kube-proxy, the ingress controller) hears of the decision at the same time as the pod does.
pub const FAREWELL: SignedDuration = SignedDuration::from_secs(4);
/// Seconds from the decision to SIGKILL: after the farewell a process gets 25 s to finish what it has begun.
const GRACE_SECONDS: i64 = FAREWELL.as_secs() + 26;

pub(super) fn deployment(plan: &Plan<'_>, component: Component) -> Child {
    let name = component.as_str();
    let mut spec = json!({
        "selector": {"matchLabels": pod_selector(&plan.sale.id.name, name)},
        // A new replica is ready before an old one goes: an open sale is never short of one.
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
        "revisionHistoryLimit": 3,
        "template": {
            "metadata": {
                "labels": all_labels(&plan.sale.id.name, name),
                "annotations": {
                    "quicksale.io/config-hash": config_hash(plan),
                    super::BACKENDS_HASH: plan.backends_hash,
                },
            },
            "spec": pod(plan, component),
        },
    });
    plan.platform.pods.lay_over(&mut spec["template"]);
    let pod = &mut spec["template"]["spec"];
    if pod["affinity"].is_null() {
        pod["affinity"] = zones_apart(&pod_selector(&plan.sale.id.name, name));
    }
    if let Some(replicas) = replicas(plan, component) {
        spec["replicas"] = replicas.into();
    }
    Child::new(plan.sale, Kind::Deployment, name, json!({"spec": spec}))
}

/// Changes when a service must start anew to notice: the configuration, and keys that do not follow from the last ones. The
/// control document and keys that do follow reach a running process.
fn config_hash(plan: &Plan<'_>) -> String {
    let mut hash = Sha256::new();
    hash.update(config_map::configuration(plan).to_string());
    hash.update(plan.first_key);
    hex::encode(&hash.finalize()[..8])
}

fn pod(plan: &Plan<'_>, component: Component) -> Value {
    let selector = pod_selector(&plan.sale.id.name, component.as_str());
    json!({
        "automountServiceAccountToken": false,
        "enableServiceLinks": false,
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "securityContext": pod_confined(),
        "topologySpreadConstraints": [spread_over_nodes(&selector)],
        "containers": [container(plan, component)],
        "volumes": volumes(plan, component),
    })
}

/// What no process in a pod of a sale may be.
pub(super) fn pod_confined() -> Value {
    json!({
        "runAsNonRoot": true, "runAsUser": 65532, "runAsGroup": 65532, "fsGroup": 65532,
        "seccompProfile": {"type": "RuntimeDefault"},
    })
}

/// What no container of a sale may do.
pub(super) fn container_confined() -> Value {
    json!({
        "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]},
    })
}

/// Replicas apart where there is room: a spread that cannot be had must not keep a replica from starting.
///
/// By node alone: where pods are to be spread by zone as well, the scheduler leaves nodes that are in no zone out of account for both, and
/// a cluster without zones would have all replicas on one node.
fn spread_over_nodes(selector: &Value) -> Value {
    json!({
        "maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": selector},
    })
}

/// In zones of their own where there are zones, unless the platform has said where pods are to be.
fn zones_apart(selector: &Value) -> Value {
    json!({"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{
        "weight": 50,
        "podAffinityTerm": {"topologyKey": "topology.kubernetes.io/zone", "labelSelector": {"matchLabels": selector}},
    }]}})
}

fn container(plan: &Plan<'_>, component: Component) -> Value {
    let name = component.as_str();
    let image = &plan.platform.image;
    let mut container_ports =
        vec![json!({"name": "admin", "containerPort": ports::ADMIN, "protocol": "TCP"})];
    if let Some(port) = port(component) {
        container_ports.push(json!({"name": "http", "containerPort": port, "protocol": "TCP"}));
    }
    json!({
        "name": name,
        "image": image.name,
        "imagePullPolicy": image.pull_policy,
        "command": ["quicksale", name],
        "ports": container_ports,
        "env": environment(plan, component),
        "resources": resources(&plan.sale.service(component).resources),
        // A service that waits for a backend answers /livez at once, so a start takes long only on a busy node.
        "startupProbe": {"httpGet": {"path": "/livez", "port": "admin"}, "periodSeconds": 1, "failureThreshold": 120},
        "livenessProbe": {"httpGet": {"path": "/livez", "port": "admin"}, "periodSeconds": 10, "timeoutSeconds": 5, "failureThreshold": 6},
        "readinessProbe": {"httpGet": {"path": "/readyz", "port": "admin"}, "periodSeconds": 2, "timeoutSeconds": 2, "failureThreshold": 2},
        "lifecycle": {"preStop": {"sleep": {"seconds": FAREWELL.as_secs()}}},
        // Its last words, where it ends with an error: the condition of a sale repeats them.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": container_confined(),
        "volumeMounts": mounts(plan, component),
    })
}

fn mounts(plan: &Plan<'_>, component: Component) -> Vec<Value> {
    let mut mounts = vec![
        json!({"name": "config", "mountPath": directory(paths::CONFIG), "readOnly": true}),
        json!({"name": "control", "mountPath": directory(paths::CONTROL), "readOnly": true}),
        json!({"name": "keys", "mountPath": paths::KEYS, "readOnly": true}),
    ];
    if tls_files(plan, component).is_some() {
        mounts.push(json!({"name": "backends", "mountPath": paths::BACKENDS, "readOnly": true}));
    }
    if administrator(plan, component).is_some() {
        mounts.push(json!({"name": "administrator", "mountPath": paths::ADMIN, "readOnly": true}));
    }
    mounts
}

fn directory(file: &str) -> &str {
    file.rsplit_once('/').map_or(file, |(directory, _)| directory)
}

/// The Secret with the backends: the sale's own choice, or the copy of the operator's.
fn backends_secret(plan: &Plan<'_>) -> String {
    let copy = || object_name(&plan.sale.id.name, secret::BACKENDS);
    plan.sale.backends_secret.clone().unwrap_or_else(copy)
}

fn environment(plan: &Plan<'_>, component: Component) -> Vec<Value> {
    let mut variables = vec![
        json!({"name": "INSTANCE", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}}),
    ];
    let secret = backends_secret(plan);
    let names = Backend::of(component).iter().flat_map(|backend| backend.keys());
    variables.extend(names.map(|name| {
        let key = used_key(plan, component, name);
        // Optional: the process says which is missing, and what to write.
        json!({"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": key, "optional": true}}})
    }));
    if plan.plaintext_senders.contains(&component) {
        variables.push(json!({"name": PLAINTEXT_PASSWORDS, "value": "Allow"}));
    }
    if administrator(plan, component).is_some() {
        variables.push(json!({"name": "ADMIN_DIR", "value": paths::ADMIN}));
    }
    variables
}

/// The key of the Secret that a service reads one of its values from: its own, or what all share.
fn used_key(plan: &Plan<'_>, component: Component, name: &str) -> String {
    let own = own_key(component, name);
    if plan.backends_keys.contains(&own) {
        own
    } else {
        name.to_owned()
    }
}

/// The files with what a service knows about TLS to its backends, if there are any. A sale without them has no such volume, so
/// that nothing of its pods changes.
fn tls_files(plan: &Plan<'_>, component: Component) -> Option<Value> {
    let names = Backend::of(component).iter().flat_map(|backend| backend.files());
    let items: Vec<_> = names
        .map(|name| (used_key(plan, component, name), name))
        .filter(|(key, _)| plan.backends_keys.contains(key))
        .map(|(key, name)| json!({"key": key, "path": name}))
        .collect();
    if items.is_empty() {
        return None;
    }
    Some(json!({
        "name": "backends",
        // Optional: a Secret that is gone for a moment must not keep a pod from starting.
        "secret": {"secretName": backends_secret(plan), "defaultMode": 0o440, "optional": true, "items": items},
    }))
}

/// Where auth finds the administrator: the platform's, for a sale on the platform's backends; of a sale with backends of
/// its own, whoever the Secret that leads there names.
fn administrator(plan: &Plan<'_>, component: Component) -> Option<Value> {
    if component != Component::Auth {
        return None;
    }
    let item = |(key, path): (&str, &str)| json!({"key": key, "path": path});
    let (secret, items) = match &plan.sale.backends_secret {
        None => (object_name(&plan.sale.id.name, secret::ADMIN), None),
        Some(own) => {
            let keys = [
                ("ADMIN_EMAIL", secret::ADMIN_EMAIL_FILE),
                ("ADMIN_PASSWORD_HASH", secret::ADMIN_HASH_FILE),
                ("ADMIN_PASSWORD", secret::ADMIN_PASSWORD_FILE),
            ];
            (own.clone(), Some(keys.map(item)))
        }
    };
    // Optional: there may be no administrator, or one may come later.
    let mut source = json!({"secretName": secret, "defaultMode": 0o440, "optional": true});
    if let Some(items) = items {
        source["items"] = json!(items);
    }
    Some(json!({"name": "administrator", "secret": source}))
}

fn volumes(plan: &Plan<'_>, component: Component) -> Vec<Value> {
    let name = |suffix| object_name(&plan.sale.id.name, suffix);
    // Only auth signs; everybody else gets the public keys and nothing more.
    let mut keys = vec![json!({"key": paths::JWKS_FILE, "path": paths::JWKS_FILE})];
    if component == Component::Auth {
        keys.push(json!({"key": paths::SIGNING_KEY_FILE, "path": paths::SIGNING_KEY_FILE}));
    }
    let mut volumes = vec![
        json!({"name": "config", "configMap": {"name": name(CONFIG)}}),
        json!({"name": "control", "configMap": {"name": name(CONTROL)}}),
        json!({"name": "keys", "secret": {"secretName": name(secret::SIGNING_KEYS), "defaultMode": 0o440, "items": keys}}),
    ];
    volumes.extend(tls_files(plan, component));
    volumes.extend(administrator(plan, component));
    volumes
}

/// What a replica asks for and may use, where the FlashSale does not say otherwise: the resource, the request, the limit.
/// A sale's pods write nothing but their logs, of which a kubelet keeps 50 MiB unless it was told to keep more.
const USUAL: [(&str, &str, Option<&str>); 3] = [
    ("cpu", "25m", None),
    ("memory", "64Mi", Some("256Mi")),
    ("ephemeral-storage", "32Mi", Some("256Mi")),
];

/// The usual ones, with what the FlashSale says in their place. What is usual gives way to what was said: a limit is
/// raised to a request and a request lowered to a limit, since a pod that asks for more than it may use is none.
fn resources(wanted: &Resources) -> Value {
    let said = |amounts: Option<&Amounts>, name: &str| {
        amounts.and_then(|amounts| match name {
            "cpu" => amounts.cpu.clone(),
            "memory" => amounts.memory.clone(),
            _ => None,
        })
    };
    let (mut requests, mut limits) = (Map::new(), Map::new());
    for (name, request, limit) in USUAL {
        let (request, limit) = (Amount::from(request), limit.map(Amount::from));
        let (said_request, said_limit) = (
            said(wanted.requests.as_ref(), name),
            // A limit of nothing is none to Kubernetes: such a pod could take its node along. The API server refuses it by a
            // rule that objects of before may not have met.
            said(wanted.limits.as_ref(), name).filter(|limit| limit.value() > 0.0),
        );
        let least = match &said_limit {
            Some(said) if said.value() < request.value() => said.clone(),
            _ => request,
        };
        let most = limit.map(|limit| match &said_request {
            Some(said) if said.value() > limit.value() => said.clone(),
            _ => limit,
        });
        requests.insert(name.to_owned(), said_request.unwrap_or(least).to_string().into());
        if let Some(limit) = said_limit.or(most) {
            limits.insert(name.to_owned(), limit.to_string().into());
        }
    }
    json!({"requests": requests, "limits": limits})
}
