//! The way in by a host name, of which only what goes together can be said.

use crate::traffic::{Ingress, ParentReference};
use std::collections::BTreeMap;

/// How buyers find a sale by a host name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ByHost {
    /// The host name.
    pub host: String,
    /// Annotations of the object that leads there.
    pub annotations: BTreeMap<String, String>,
    /// What leads there.
    pub by: By,
}

/// What leads to a sale.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum By {
    /// An Ingress.
    Ingress {
        /// Its class; the cluster's default where it has none.
        class: Option<String>,
        /// Where the host's certificate is.
        certificate: Certificate,
    },
    /// A Gateway, by an HTTPRoute.
    Gateway {
        /// Which one.
        parent: ParentReference,
        /// Whether it serves the host by HTTPS.
        https: bool,
    },
}

/// Where an Ingress has the certificate of its host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Certificate {
    /// Nowhere: buyers come by plain HTTP.
    None,
    /// In a Secret of the sale's namespace.
    Secret(String),
    /// At the ingress controller.
    Controller,
}

impl ByHost {
    /// Whether buyers come by HTTPS.
    pub fn is_https(&self) -> bool {
        match &self.by {
            By::Ingress { certificate, .. } => *certificate != Certificate::None,
            By::Gateway { https, .. } => *https,
        }
    }

    /// The Gateway that leads to the sale, if one does.
    pub fn gateway(&self) -> Option<&ParentReference> {
        match &self.by {
            By::Gateway { parent, .. } => Some(parent),
            By::Ingress { .. } => None,
        }
    }
}

impl From<&Ingress> for ByHost {
    /// What only an Ingress has is left out where a Gateway is named, as the rules ask for; of an object that is older than these it says that
    /// buyers come by HTTPS.
    fn from(written: &Ingress) -> Self {
        let by = match &written.parent_ref {
            Some(parent) => By::Gateway {
                parent: parent.clone(),
                https: written.https || written.tls_secret_name.is_some(),
            },
            None => By::Ingress {
                class: written.class_name.clone(),
                certificate: match &written.tls_secret_name {
                    Some(secret) => Certificate::Secret(secret.clone()),
                    None if written.https => Certificate::Controller,
                    None => Certificate::None,
                },
            },
        };
        Self {
            host: written.host.clone(),
            annotations: written.annotations.clone(),
            by,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn buyers_come_by_https_where_somebody_has_a_certificate() {
        let is_https = |more: serde_json::Value| {
            let mut ingress = json!({"host": "laptops.example.com"});
            ingress
                .as_object_mut()
                .unwrap()
                .extend(more.as_object().unwrap().clone());
            let written: Ingress = serde_json::from_value(ingress).unwrap();
            ByHost::from(&written).is_https()
        };
        assert!(!is_https(json!({})));
        assert!(is_https(json!({"https": true})));
        assert!(is_https(json!({"tlsSecretName": "laptops-tls"})));
        assert!(!is_https(json!({"parentRef": {"name": "front"}})));
        assert!(is_https(json!({"parentRef": {"name": "front"}, "https": true})));
    }
}
