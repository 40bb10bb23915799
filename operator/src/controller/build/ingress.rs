//! The way in by a host name: an Ingress, or where a Gateway is named an HTTPRoute.

use super::{Child, Kind, Plan, config_map::port, object_name};
use crds::{
    Component, ValidSale,
    by_host::{By, Certificate},
    traffic::ParentReference,
};
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
    let wanted = sale.by_host.as_ref()?;
    let (kind, suffix, body) = match &wanted.by {
        // Nobody follows HTTPRoutes where the platform has none, so nobody could take one away.
        By::Gateway { .. } if !plan.platform.entrances.gateway_api => return None,
        By::Gateway { parent, .. } => (Kind::HttpRoute, ROUTE, route(sale, &wanted.host, parent)),
        By::Ingress { class, certificate } => {
            let body = ingress(sale, &wanted.host, class.as_deref(), certificate);
            (Kind::Ingress, INGRESS, body)
        }
    };
    let child = Child::new(sale, kind, suffix, body);
    Some(child.annotated(plan.allowed(&wanted.annotations)))
}

fn ingress(sale: &ValidSale, host: &str, class: Option<&str>, certificate: &Certificate) -> Value {
    let paths = PATHS.map(|(path, component)| {
        json!({"path": path, "pathType": "Prefix", "backend": {"service": {
            "name": object_name(&sale.id.name, component.as_str()), "port": {"name": "http"},
        }}})
    });
    let mut body = json!({"spec": {"rules": [{"host": host, "http": {"paths": paths}}]}});
    if let Some(class) = class {
        body["spec"]["ingressClassName"] = Value::from(class);
    }
    if let Certificate::Secret(secret) = certificate {
        body["spec"]["tls"] = json!([{"hosts": [host], "secretName": secret}]);
    }
    body
}

fn route(sale: &ValidSale, host: &str, parent: &ParentReference) -> Value {
    let rules = PATHS.map(|(path, component)| {
        json!({
            "matches": [{"path": {"type": "PathPrefix", "value": path}}],
            "backendRefs": [{"name": object_name(&sale.id.name, component.as_str()), "port": port(component)}],
        })
    });
    json!({"spec": {"parentRefs": [parent], "hostnames": [host], "rules": rules}})
}
