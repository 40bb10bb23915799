//! Who may call whom, both ways. What is not written here is denied; docs/install.md has every flow as a table.

use super::{
    Child, Kind, Plan,
    backend_ports::Backend,
    config_map::port,
    labels::{LOAD, pod_selector},
};
use crds::Component;
use k8s_openapi::api::networking::v1::NetworkPolicyPeer;
use kube::core::DynamicObject;
use platform::config::ports;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use url::Url;

/// Where the rule for the backends is among those of what goes out.
const BACKENDS_RULE: usize = 1;
/// Where DNS servers listen; OpenShift's pods do on the second.
const DNS: [u16; 2] = [53, 5353];

pub(super) fn network_policy(plan: &Plan<'_>, component: Component) -> Child {
    let name = component.as_str();
    let mut spec = json!({
        "podSelector": {"matchLabels": pod_selector(&plan.sale.id.name, name)},
        "policyTypes": ["Ingress"],
        "ingress": ingress(plan, component),
    });
    if plan.platform.restrict_egress {
        spec["policyTypes"] = json!(["Ingress", "Egress"]);
        spec["egress"] = egress(plan, component).into();
    }
    Child::new(plan.sale, Kind::NetworkPolicy, name, json!({"spec": spec}))
}

/// Which services a component calls.
fn calls(component: Component) -> &'static [Component] {
    match component {
        Component::Gateway => &[
            Component::Auth,
            Component::Inventory,
            Component::Order,
            Component::Notifier,
        ],
        Component::Order => &[Component::Inventory],
        Component::Auth | Component::Inventory | Component::Processor | Component::Notifier => &[],
    }
}

fn ingress(plan: &Plan<'_>, component: Component) -> Vec<Value> {
    let network = plan.platform.network;
    // The operator pushes the control document to the admin port; probes come from the node, which is always let in.
    let mut watchers = vec![operator(plan)];
    watchers.extend(network.monitoring_peers.iter().map(|peer| json!(peer)));
    let mut rules = vec![json!({"from": watchers, "ports": [tcp(ports::ADMIN)]})];
    let Some(port) = port(component) else {
        return rules;
    };
    let callers = Component::ALL
        .into_iter()
        .filter(|caller| calls(*caller).contains(&component));
    let mut callers: Vec<_> = callers.map(|caller| pods(plan, caller.as_str())).collect();
    if component == Component::Gateway && plan.sale.load.is_some() {
        callers.push(pods(plan, LOAD));
    }
    match component {
        // Buyers come from anywhere: an ingress controller, a load balancer, another namespace.
        Component::Gateway | Component::Notifier if network.ingress_peers.is_empty() => {
            rules.push(json!({"ports": [tcp(port)]}));
            return rules;
        }
        Component::Gateway | Component::Notifier => {
            callers.extend(network.ingress_peers.iter().map(|peer| json!(peer)));
            if component == Component::Gateway {
                callers.extend(by_load_balancer(plan));
            }
        }
        // The operator writes the catalogue, and asks whether all orders are settled.
        Component::Inventory | Component::Order => callers.push(operator(plan)),
        Component::Auth | Component::Processor => {}
    }
    rules.push(json!({"from": callers, "ports": [tcp(port)]}));
    rules
}

/// Who comes by the sale's own load balancer: it lets their addresses through.
fn by_load_balancer(plan: &Plan<'_>) -> Vec<Value> {
    let Some(wanted) = plan.sale.load_balancer.as_ref().filter(|_| plan.load_balancer) else {
        return Vec::new();
    };
    let everybody = ["0.0.0.0/0".to_owned(), "::/0".to_owned()];
    let ranges = match wanted.source_ranges.as_slice() {
        [] => &everybody,
        ranges => ranges,
    };
    ranges
        .iter()
        .map(|range| json!({"ipBlock": {"cidr": range}}))
        .collect()
}

fn egress(plan: &Plan<'_>, component: Component) -> Vec<Value> {
    let network = plan.platform.network;
    let backends: BTreeSet<u16> = Backend::of(component)
        .iter()
        .filter_map(|backend| Some(plan.backend_ports.get(&component)?.of(*backend)))
        .flatten()
        .chain(plan.ports_before.get(&component).into_iter().flatten())
        .chain(&network.backend_ports)
        .copied()
        .collect();
    let backends: Vec<_> = backends.into_iter().map(tcp).collect();
    // In the order that BACKENDS_RULE says.
    let mut rules = vec![
        json!({"ports": dns()}),
        json!({"to": peers(&network.backend_peers), "ports": backends}),
    ];
    for called in calls(component) {
        let ports: Vec<_> = port(*called).into_iter().map(tcp).collect();
        rules.push(json!({"to": [pods(plan, called.as_str())], "ports": ports}));
    }
    let collector = plan.platform.tracing.as_ref().map(|tracing| &tracing.endpoint);
    if let Some(port) = collector.and_then(Url::port_or_known_default) {
        let ports: BTreeSet<u16> = network.collector_ports.iter().copied().chain([port]).collect();
        let ports: Vec<_> = ports.into_iter().map(tcp).collect();
        rules.push(json!({"to": peers(&network.collector_peers), "ports": ports}));
    }
    rules
}

/// The ports of backends that a policy lets out.
pub fn backend_ports(policy: &DynamicObject) -> BTreeSet<u16> {
    let ports = policy.data["spec"]["egress"][BACKENDS_RULE]["ports"].as_array();
    ports
        .into_iter()
        .flatten()
        .filter_map(|port| u16::try_from(port["port"].as_u64()?).ok())
        .collect()
}

/// Whether a policy restricts what goes out.
pub fn restricts_egress(policy: &DynamicObject) -> bool {
    policy.data["spec"]["egress"].is_array()
}

/// The peers that were named, or those that may be.
fn peers(named: &[NetworkPolicyPeer]) -> Value {
    if named.is_empty() {
        anywhere_but_link_local()
    } else {
        json!(named)
    }
}

/// Pods and addresses are two things to some networks, so both are named. At link-local addresses is what clouds tell
/// their machines: credentials.
fn anywhere_but_link_local() -> Value {
    json!([
        {"namespaceSelector": {}},
        {"ipBlock": {"cidr": "0.0.0.0/0", "except": ["169.254.0.0/16"]}},
        {"ipBlock": {"cidr": "::/0", "except": ["fd00:ec2::254/128", "fe80::/10"]}},
    ])
}

fn operator(plan: &Plan<'_>) -> Value {
    json!({
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": plan.platform.namespace}},
        "podSelector": {"matchLabels": {"app.kubernetes.io/name": "quicksale-operator"}},
    })
}

pub(super) fn pods(plan: &Plan<'_>, component: &str) -> Value {
    json!({"podSelector": {"matchLabels": pod_selector(&plan.sale.id.name, component)}})
}

/// Names are asked for wherever the node says: at pods, at the node's own cache, at the cloud's server.
pub(super) fn dns() -> Vec<Value> {
    let ports = DNS.into_iter();
    ports
        .flat_map(|port| [json!({"protocol": "UDP", "port": port}), tcp(port)])
        .collect()
}

pub(super) fn tcp(port: u16) -> Value {
    json!({"protocol": "TCP", "port": port})
}
