//! The way in from outside of the cluster.

use super::{Child, Kind, object_name};
use crds::{Component, ValidSale};
use serde_json::{Value, json};

/// The suffix of the Ingress.
pub const INGRESS: &str = "ingress";

pub(super) fn ingress(sale: &ValidSale) -> Option<Child> {
    let wanted = sale.ingress.as_ref()?;
    let path = |path: &str, component: Component| {
        json!({"path": path, "pathType": "Prefix", "backend": {"service": {
            "name": object_name(&sale.id.name, component.as_str()), "port": {"name": "http"},
        }}})
    };
    let paths = [
        path("/ws", Component::Notifier),
        path("/api", Component::Gateway),
        path("/", Component::Gateway),
    ];
    let mut body = json!({"spec": {"rules": [{"host": wanted.host, "http": {"paths": paths}}]}});
    if let Some(class) = &wanted.class_name {
        body["spec"]["ingressClassName"] = Value::from(class.as_str());
    }
    if let Some(secret) = &wanted.tls_secret_name {
        body["spec"]["tls"] = json!([{"hosts": [wanted.host], "secretName": secret}]);
    }
    Some(Child::new(sale, Kind::Ingress, INGRESS, body))
}
