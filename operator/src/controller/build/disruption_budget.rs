//! What a drained node may take away at once.

use super::{Child, Kind, labels::pod_selector};
use crds::{Component, ValidSale};
use sale::phase::Phase;
use serde_json::json;

/// Only where there may be two or more replicas. One may always go, so that a node can be drained where there is a single one.
pub(super) fn disruption_budget(sale: &ValidSale, component: Component, phase: Phase) -> Option<Child> {
    if phase == Phase::Ended || sale.service(component).max < 2 {
        return None;
    }
    let name = component.as_str();
    let body = json!({"spec": {
        "maxUnavailable": 1,
        "selector": {"matchLabels": pod_selector(&sale.id.name, name)},
    }});
    Some(Child::new(sale, Kind::PodDisruptionBudget, name, body))
}
