//! A load balancer of the sale's own, in front of its gateways: what is for the notifier they pass on.

use super::{Child, Kind, Plan, labels::pod_selector};
use crds::Component;
use serde_json::{Value, json};

/// The suffix of the Service.
pub const LOAD_BALANCER: &str = "load-balancer";

pub(super) fn load_balancer(plan: &Plan<'_>) -> Option<Child> {
    let sale = plan.sale;
    let wanted = sale.load_balancer.as_ref()?;
    let mut body = json!({"spec": {
        "type": "LoadBalancer",
        // Only nodes with a gateway are sent anything, and gateways see who comes: limits are by address.
        "externalTrafficPolicy": "Local",
        "selector": pod_selector(&sale.id.name, Component::Gateway.as_str()),
        "ports": [{"name": "http", "port": wanted.port, "targetPort": "http"}],
    }});
    if let Some(class) = &wanted.class_name {
        body["spec"]["loadBalancerClass"] = Value::from(class.as_str());
    }
    if !wanted.source_ranges.is_empty() {
        body["spec"]["loadBalancerSourceRanges"] = json!(wanted.source_ranges);
    }
    let child = Child::new(sale, Kind::Service, LOAD_BALANCER, body);
    Some(child.annotated(plan.allowed(&wanted.annotations)))
}
