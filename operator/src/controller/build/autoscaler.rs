//! How many replicas there are, where the FlashSale gives a range.

use super::{Child, Kind, object_name};
use crds::{Component, ValidSale};
use sale::phase::Phase;
use serde_json::json;

/// The share of the requested CPU that a replica should use. A crowd comes within seconds, so there is room left.
const CPU_PERCENT: i32 = 60;

pub(super) fn autoscaler(sale: &ValidSale, component: Component, phase: Phase) -> Option<Child> {
    let size = sale.service(component);
    if phase == Phase::Ended || size.min == size.max {
        return None;
    }
    let name = component.as_str();
    let body = json!({"spec": {
        "scaleTargetRef": {
            "apiVersion": "apps/v1", "kind": "Deployment", "name": object_name(&sale.id.name, name),
        },
        "minReplicas": size.min,
        "maxReplicas": size.max,
        "metrics": [{
            "type": "Resource",
            "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": CPU_PERCENT}},
        }],
        // Up at once, down only after the rush is over.
        "behavior": {
            "scaleUp": {"stabilizationWindowSeconds": 0},
            "scaleDown": {"stabilizationWindowSeconds": 300},
        },
    }});
    Some(Child::new(sale, Kind::HorizontalPodAutoscaler, name, body))
}
