//! How many replicas there are, where the FlashSale gives a range.

use super::{Child, Kind, Plan, fewest, object_name};
use crds::{Component, ValidSale, component::Scaling};
use sale::phase::Phase;
use serde_json::{Value, json};
use std::collections::BTreeMap;

pub(super) fn autoscaler(plan: &Plan<'_>, component: Component) -> Option<Child> {
    let sale = plan.sale;
    let size = sale.service(component);
    if plan.phase == Phase::Ended || size.min == size.max {
        return None;
    }
    // Up at once, down only after the rush is over, and not at all while it begins.
    let down = match plan.opening {
        true => json!({"selectPolicy": "Disabled"}),
        false => json!({"stabilizationWindowSeconds": 300}),
    };
    let name = component.as_str();
    let body = json!({"spec": {
        "scaleTargetRef": {
            "apiVersion": "apps/v1", "kind": "Deployment", "name": object_name(&sale.id.name, name),
        },
        "minReplicas": fewest(plan, component),
        "maxReplicas": size.max,
        "metrics": metrics(sale, &size.scaling),
        "behavior": {"scaleUp": {"stabilizationWindowSeconds": 0}, "scaleDown": down},
    }});
    Some(Child::new(sale, Kind::HorizontalPodAutoscaler, name, body))
}

/// What the number of replicas follows. Each alone would do; the autoscaler takes the largest answer.
fn metrics(sale: &ValidSale, scaling: &Scaling) -> Vec<Value> {
    let cpu = json!({
        "type": "Resource",
        "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": scaling.cpu_percent}},
    });
    let external = scaling.metrics.iter().map(|metric| {
        let mut labels: BTreeMap<&str, &str> = metric
            .labels
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        // The adapter answers for a namespace, which may have more sales than this.
        labels.insert("sale", &sale.id.name);
        json!({
            "type": "External",
            "external": {
                "metric": {"name": metric.name, "selector": {"matchLabels": labels}},
                "target": {"type": "AverageValue", "averageValue": metric.per_replica.to_string()},
            },
        })
    });
    // CPU last: an API server that stores autoscalers as v1 hands them back in this order, and what differs is written anew.
    external.chain(std::iter::once(cpu)).collect()
}
