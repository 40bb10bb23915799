//! The load of a rehearsal: a Job that orders as a crowd does.

use super::{
    Child, Kind, Plan,
    config_map::port,
    deployment::{container_confined, pod_confined},
    labels::{LOAD, pod_selector},
    object_name, secret,
};
use crds::{Component, rehearsal::Arrival, valid::ValidLoad};
use platform::config::paths;
use quicksale_load::{rehearsal, search::MOST_TRIES};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// A load lasts no longer than all tries that there can be, each with a rest and an order that is followed, in seconds.
const REST_SECONDS: u32 = 25;
/// Where the container's last words are read from, which the operator sees in the pod's status.
const LAST_WORDS: &str = "/dev/termination-log";

/// The Job and the policy of its pod. A Job cannot be changed, so another load is another Job.
pub(super) fn load(plan: &Plan<'_>) -> Option<[Child; 2]> {
    let load = plan.sale.load.as_ref()?;
    let mut spec = job(plan, load);
    plan.platform.pods.lay_over(&mut spec["template"]);
    // After what is asked of it, and not after the image: an upgrade of the operator begins no load anew.
    let hash = hex::encode(&Sha256::digest(format!("{load:?}"))[..4]);
    let job = Child::new(
        plan.sale,
        Kind::Job,
        &format!("{LOAD}-{hash}"),
        json!({"spec": spec}),
    );
    Some([policy(plan), job])
}

fn job(plan: &Plan<'_>, load: &ValidLoad) -> Value {
    let sale = &plan.sale.id.name;
    let gateway = object_name(sale, Component::Gateway.as_str());
    let gateway = format!("{gateway}:{}", port(Component::Gateway).unwrap_or_default());
    let arrival = match load.arrival {
        Arrival::Steps => rehearsal::Arrival::Steps,
        Arrival::Steady => rehearsal::Arrival::Steady,
        Arrival::Burst => rehearsal::Arrival::Burst,
    };
    let arguments = [
        ("--gateway", gateway),
        ("--keys", paths::KEYS.to_owned()),
        ("--arrival", arrival.as_str().to_owned()),
        ("--orders-per-second", load.orders_per_second.to_string()),
        ("--buyers", load.buyers.to_string()),
        ("--step-seconds", load.step_seconds.to_string()),
        ("--outcome", LAST_WORDS.to_owned()),
    ];
    let arguments = arguments
        .into_iter()
        .flat_map(|(name, value)| [name.to_owned(), value]);
    let arguments: Vec<_> = std::iter::once("rehearse".to_owned()).chain(arguments).collect();
    let image = &plan.platform.image;
    json!({
        // Whatever it has found is found once: a load that comes again finds a sale that has been through one.
        "backoffLimit": 0,
        "activeDeadlineSeconds": MOST_TRIES * (load.step_seconds + REST_SECONDS),
        "template": {
            "metadata": {"labels": super::labels::all_labels(sale, LOAD)},
            "spec": {
                "restartPolicy": "Never",
                "automountServiceAccountToken": false,
                "enableServiceLinks": false,
                "securityContext": pod_confined(),
                "containers": [{
                    "name": LOAD,
                    "image": image.name,
                    "imagePullPolicy": image.pull_policy,
                    "command": ["quicksale"],
                    "args": arguments,
                    "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "512Mi"}},
                    // Why it has found nothing out, where it ends with an error.
                    "terminationMessagePolicy": "FallbackToLogsOnError",
                    "securityContext": container_confined(),
                    "volumeMounts": [{"name": "keys", "mountPath": paths::KEYS, "readOnly": true}],
                }],
                // The keys of a rehearsal go with it, and its tokens are good for nothing else.
                "volumes": [{"name": "keys", "secret": {
                    "secretName": object_name(sale, secret::SIGNING_KEYS), "defaultMode": 0o440,
                    "items": [
                        {"key": paths::JWKS_FILE, "path": paths::JWKS_FILE},
                        {"key": paths::SIGNING_KEY_FILE, "path": paths::SIGNING_KEY_FILE},
                    ],
                }}],
            },
        },
    })
}

/// It calls the gateway and nobody calls it.
fn policy(plan: &Plan<'_>) -> Child {
    let sale = &plan.sale.id.name;
    let mut spec = json!({
        "podSelector": {"matchLabels": pod_selector(sale, LOAD)},
        "policyTypes": ["Ingress"],
        "ingress": [],
    });
    if plan.platform.restrict_egress {
        let gateway = super::network_policy::pods(plan, Component::Gateway.as_str());
        spec["policyTypes"] = json!(["Ingress", "Egress"]);
        spec["egress"] = json!([
            {"ports": super::network_policy::dns()},
            {"to": [gateway], "ports": [super::network_policy::tcp(port(Component::Gateway).unwrap_or_default())]},
        ]);
    }
    Child::new(plan.sale, Kind::NetworkPolicy, LOAD, json!({"spec": spec}))
}
