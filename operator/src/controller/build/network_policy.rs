//! Who may call whom. What is not allowed is denied.

use super::{
    Child, Kind, Plan,
    config_map::port,
    labels::{SALE_LABEL, pod_selector},
};
use crds::Component;
use platform::config::ports;
use serde_json::{Value, json};

pub(super) fn network_policy(plan: &Plan<'_>, component: Component) -> Child {
    let name = component.as_str();
    let body = json!({"spec": {
        "podSelector": {"matchLabels": pod_selector(&plan.sale.id.name, name)},
        "policyTypes": ["Ingress"],
        "ingress": rules(plan, component),
    }});
    Child::new(plan.sale, Kind::NetworkPolicy, name, body)
}

fn rules(plan: &Plan<'_>, component: Component) -> Vec<Value> {
    let operator = json!({"namespaceSelector": {
        "matchLabels": {"kubernetes.io/metadata.name": plan.platform.namespace},
    }});
    let same_sale = json!({"podSelector": {"matchLabels": {SALE_LABEL: plan.sale.id.name}}});
    // The operator pushes the control document to the admin port; probes come from the node, which is always let in.
    let mut rules = vec![json!({"from": [operator], "ports": [tcp(ports::ADMIN)]})];
    if let Some(port) = port(component) {
        rules.push(match component {
            // Buyers come from anywhere: an ingress controller, a load balancer, another namespace.
            Component::Gateway | Component::Notifier => json!({"ports": [tcp(port)]}),
            // The operator writes the catalogue and asks whether all orders are settled.
            _ => json!({"from": [same_sale, operator], "ports": [tcp(port)]}),
        });
    }
    rules
}

fn tcp(port: u16) -> Value {
    json!({"protocol": "TCP", "port": port})
}
