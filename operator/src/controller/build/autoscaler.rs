//! How many replicas there are, where the FlashSale gives a range.

use super::{Child, Kind, Plan, fewest, object_name};
use crds::Component;
use sale::phase::Phase;
use serde_json::json;

/// The share of the requested CPU that a replica should use. A crowd comes within seconds, so there is room left.
const CPU_PERCENT: i32 = 60;

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
        "metrics": [{
            "type": "Resource",
            "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": CPU_PERCENT}},
        }],
        "behavior": {"scaleUp": {"stabilizationWindowSeconds": 0}, "scaleDown": down},
    }});
    Some(Child::new(sale, Kind::HorizontalPodAutoscaler, name, body))
}
