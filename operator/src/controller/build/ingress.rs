//! The way in by a host name: an Ingress, or where a Gateway is named an HTTPRoute.

use super::{Child, Kind, Plan, config_map::port, object_name};
use crds::{Component, ValidSale, traffic::Ingress};
use serde_json::{Value, json};

/// The suffix of the Ingress.
pub const INGRESS: &str = "ingress";
/// The suffix of the HTTPRoute.
pub const ROUTE: &str = "route";

/// Where requests go by how their path begins, the longest first.
const PATHS: [(&str, Component); 3] = [
    ("/ws", Component::Notifier),
    ("/api", Component::Gateway),
    ("/", Component::Gateway),
];

pub(super) fn by_host(plan: &Plan<'_>) -> Option<Child> {
    let sale = plan.sale;
    let wanted = sale.ingress.as_ref()?;
    let child = match &wanted.parent_ref {
        // Nobody follows HTTPRoutes where the platform has none, so nobody could take one away.
        Some(_) if !plan.platform.entrances.gateway_api => return None,
        Some(_) => Child::new(sale, Kind::HttpRoute, ROUTE, route(sale, wanted)),
        None => Child::new(sale, Kind::Ingress, INGRESS, ingress(sale, wanted)),
    };
    Some(child.annotated(plan.allowed(&wanted.annotations)))
}

fn ingress(sale: &ValidSale, wanted: &Ingress) -> Value {
    let paths = PATHS.map(|(path, component)| {
        json!({"path": path, "pathType": "Prefix", "backend": {"service": {
            "name": object_name(&sale.id.name, component.as_str()), "port": {"name": "http"},
        }}})
    });
    let mut body = json!({"spec": {"rules": [{"host": wanted.host, "http": {"paths": paths}}]}});
    if let Some(class) = &wanted.class_name {
        body["spec"]["ingressClassName"] = Value::from(class.as_str());
    }
    if let Some(secret) = &wanted.tls_secret_name {
        body["spec"]["tls"] = json!([{"hosts": [wanted.host], "secretName": secret}]);
    }
    body
}

fn route(sale: &ValidSale, wanted: &Ingress) -> Value {
    let rules = PATHS.map(|(path, component)| {
        json!({
            "matches": [{"path": {"type": "PathPrefix", "value": path}}],
            "backendRefs": [{"name": object_name(&sale.id.name, component.as_str()), "port": port(component)}],
        })
    });
    json!({"spec": {"parentRefs": [wanted.parent_ref], "hostnames": [wanted.host], "rules": rules}})
}
