//! How the services of a sale find each other.

use super::{Child, Kind, config_map::port, labels::pod_selector};
use crds::{Component, ValidSale};
use serde_json::json;

/// Nobody calls the processor, so it has no Service.
pub(super) fn service(sale: &ValidSale, component: Component) -> Option<Child> {
    let port = port(component)?;
    let name = component.as_str();
    let body = json!({"spec": {
        "selector": pod_selector(&sale.id.name, name),
        "ports": [{"name": "http", "port": port, "targetPort": "http"}],
    }});
    Some(Child::new(sale, Kind::Service, name, body))
}
