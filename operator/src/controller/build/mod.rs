//! Every object of a sale, made from checked values and nothing else: no client, no clock, no randomness.
//!
//! One file for each kind. A builder writes only the fields that it decides on: what is left out stays with whoever
//! owns it (an autoscaler owns the replicas). What an open sale keeps of what was built for it before is not decided here, but in
//! [`pin`](super::pin).

mod autoscaler;
pub mod backend_ports;
mod child;
mod config_map;
mod deployment;
mod disruption_budget;
mod ingress;
mod labels;
mod load;
mod load_balancer;
pub mod network_policy;
mod secret;
mod service;

pub use child::{Child, Kind};
pub use config_map::{PINNED, config_map, control_map, pinned, port, service_url};
pub use deployment::FAREWELL;
pub use ingress::{INGRESS, ROUTE};
pub use labels::{APPLIED_HASH, BACKENDS_HASH, LOAD, MANAGER, object_name, sale_selector};
pub use load_balancer::LOAD_BALANCER;
pub use secret::{ADMIN, ADMIN_EMAIL_FILE, ADMIN_HASH_FILE, BACKENDS, SECRETS, SIGNING_KEYS};

use crate::{
    administrator::Administrator, allowed_entrances::AllowedEntrances, network::Network,
    pod_template::PodTemplate,
};
use backend_ports::BackendPorts;
use crds::{Component, ValidSale};
use platform::traces::Tracing;
use sale::{control::ControlDocument, phase::Phase};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

/// What the objects of a sale are made from.
#[derive(Debug, Clone)]
pub struct Plan<'a> {
    /// The checked sale.
    pub sale: &'a ValidSale,
    /// The phase to build for.
    pub phase: Phase,
    /// Whether what remains after the end has been kept long enough.
    pub retention_over: bool,
    /// What the operator is told by its chart.
    pub platform: Platform<'a>,
    /// What the Secret with the sale's signing keys holds.
    pub keys: &'a BTreeMap<String, Vec<u8>>,
    /// The public key that the sale began with: another one starts every pod anew.
    pub first_key: &'a str,
    /// The backends Secret's data, to copy it; `None` when the sale names a Secret of its own, or there is none.
    pub backends_copy: Option<&'a BTreeMap<String, Vec<u8>>>,
    /// The keys of the backends Secret that is used.
    pub backends_keys: &'a BTreeSet<String>,
    /// A hash of the backends Secret that is used: new credentials roll out.
    pub backends_hash: &'a str,
    /// The services that may send a password to a backend in plain text.
    pub plaintext_senders: &'a BTreeSet<Component>,
    /// The ports of the backends that the sale uses.
    pub backend_ports: &'a BTreeMap<Component, BackendPorts>,
    /// Those that the pods of an open sale were let out to before: they use an old address until the last of them was
    /// started anew with the new one.
    pub ports_before: &'a BTreeMap<Component, BTreeSet<u16>>,
    /// The platform's administrator, for sales on the platform's own backends.
    pub admin: Option<&'a Administrator>,
    /// The control document.
    pub control: &'a ControlDocument,
    /// Replicas of the Deployments that somebody else, such as an autoscaler, has begun to decide on.
    pub scaled_by_others: &'a BTreeSet<Component>,
    /// Replicas that the Deployments have now.
    pub current_replicas: &'a BTreeMap<Component, i32>,
    /// Whether the sale's host may lead to it, by an Ingress or a Gateway.
    pub has_its_host: bool,
    /// Whether it may have a load balancer.
    pub load_balancer: bool,
    /// Annotations of its ways in that stay, whatever the platform allows by now.
    pub standing_annotations: &'a BTreeSet<String>,
    /// Whether the load of a rehearsal may come.
    pub load: bool,
    /// Whether the sale is about to open, or has just done so: there are as many replicas as that takes.
    pub opening: bool,
}

/// What the objects of a sale take from the operator's chart.
#[derive(Debug, Clone)]
pub struct Platform<'a> {
    /// The image of every component.
    pub image: Image,
    /// The operator's namespace.
    pub namespace: &'a str,
    /// The database of accounts.
    pub accounts_database: String,
    /// The address that the services listen on.
    pub bind: IpAddr,
    /// What sales may ask for of the ways in.
    pub entrances: &'a AllowedEntrances,
    /// Who may talk to whom beyond the pods of a sale. This one follows the chart at once: it restarts nothing.
    pub network: &'a Network,
    /// Whether what a pod sends out is restricted to what it needs.
    pub restrict_egress: bool,
    /// Networks of proxies.
    pub trusted_proxies: Vec<String>,
    /// Origins of browsers.
    pub cors_origins: Vec<String>,
    /// Whether the gateway writes a log line for each request.
    pub access_log: bool,
    /// The host under which buyers reach the sale by HTTPS.
    pub https_host: Option<String>,
    /// What the platform wants of all pods.
    pub pods: &'a PodTemplate,
    /// Where traces go.
    pub tracing: Option<Tracing>,
}

impl Plan<'_> {
    /// The annotations that a way in gets, of those that the sale asks for.
    fn allowed(&self, asked_for: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        let mut allowed = asked_for.clone();
        allowed.retain(|name, _| {
            self.platform.entrances.allow(name) || self.standing_annotations.contains(name)
        });
        allowed
    }
}

/// An image and when nodes pull it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Image {
    /// Its name.
    pub name: String,
    /// Always, IfNotPresent or Never.
    pub pull_policy: String,
}

/// Everything that should exist, in the order in which it is applied: what is referred to comes first, and the
/// control document is the very first, because a change of it must be in force within two seconds.
pub fn objects(plan: &Plan<'_>) -> Vec<Child> {
    if plan.phase == Phase::Pending {
        return Vec::new();
    }
    if plan.phase == Phase::Ended && plan.retention_over {
        return Vec::new();
    }
    let sale = plan.sale;
    let mut objects = vec![
        config_map::control(plan),
        config_map::config(plan),
        secret::signing_keys(plan),
    ];
    objects.extend(secret::backends(plan));
    objects.extend(secret::admin(plan));
    for component in Component::ALL {
        objects.extend(service::service(sale, component));
        objects.push(network_policy::network_policy(plan, component));
        objects.push(deployment::deployment(plan, component));
        objects.extend(disruption_budget::disruption_budget(sale, component, plan.phase));
        objects.extend(autoscaler::autoscaler(plan, component));
    }
    // Its buyers come when the doors open, and it goes when they close.
    if plan.phase == Phase::Live && plan.load {
        objects.extend(load::load(plan).into_iter().flatten());
    }
    objects.extend(ingress::by_host(plan).filter(|_| plan.has_its_host));
    objects.extend(load_balancer::load_balancer(plan).filter(|_| plan.load_balancer));
    objects
}

/// How many replicas a Deployment asks for, or `None` once an autoscaler decides.
///
/// Until the autoscaler has written a number of its own, ours stays: taking the field away too early would let it
/// fall back to the API server's default of one, in the middle of a sale. No autoscaler goes below its range: that was
/// somebody by hand, and at zero the autoscaler rests, so that nobody else would bring the service back.
fn replicas(plan: &Plan<'_>, component: Component) -> Option<i32> {
    let size = plan.sale.service(component);
    match (plan.phase, component) {
        // After the end nothing is left to carry, and one replica of the others is enough to read orders.
        (Phase::Ended, Component::Processor) => Some(0),
        (Phase::Ended, _) => Some(1),
        _ if size.min == size.max => Some(size.min),
        _ => {
            let fewest = fewest(plan, component);
            let now = plan.current_replicas.get(&component);
            let is_decided =
                plan.scaled_by_others.contains(&component) && now.is_none_or(|now| *now >= fewest);
            (!is_decided).then(|| now.map_or(fewest, |now| (*now).clamp(fewest, size.max)))
        }
    }
}

/// The fewest replicas that an autoscaler may leave: more while the sale opens, where that is said.
fn fewest(plan: &Plan<'_>, component: Component) -> i32 {
    let size = plan.sale.service(component);
    if plan.opening { size.opening } else { size.min }
}

/// An object of a sale, for tests of what is done with objects.
#[cfg(test)]
pub(super) fn made(sale: &ValidSale, kind: Kind, suffix: &str, body: serde_json::Value) -> Child {
    Child::new(sale, kind, suffix, body)
}

#[cfg(test)]
mod tests;
