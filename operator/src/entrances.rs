//! What of the ways in a sale may ask for: whoever may write FlashSales gets Ingresses, HTTPRoutes and load balancers of the operator's
//! making, without the right to make any, so the platform says which.

use serde::Deserialize;
use std::str::FromStr;

/// The chart's `entrances`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Entrances {
    /// What the names of annotations begin with that a sale may write; an empty text is what all begin with.
    pub annotations: Vec<String>,
    /// Whether HTTPRoutes are made. The definitions of the Gateway API have to be there.
    pub gateway_api: bool,
    /// Whether load balancers are made.
    pub load_balancers: bool,
}

impl Default for Entrances {
    /// Certificates and names are what nearly everyone wants of them, and what harms nobody.
    fn default() -> Self {
        Self {
            annotations: ["cert-manager.io/", "external-dns.alpha.kubernetes.io/"]
                .map(str::to_owned)
                .into(),
            gateway_api: false,
            load_balancers: false,
        }
    }
}

impl FromStr for Entrances {
    type Err = serde_json::Error;

    fn from_str(json: &str) -> Result<Self, Self::Err> {
        serde_json::from_str(json)
    }
}

impl Entrances {
    /// Whether a sale may write an annotation of this name.
    pub fn allow(&self, annotation: &str) -> bool {
        self.annotations
            .iter()
            .any(|begin| annotation.starts_with(begin.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_is_not_allowed() {
        let usual: Entrances = "{}".parse().unwrap();
        assert_eq!(usual, Entrances::default());
        assert!(usual.allow("cert-manager.io/cluster-issuer"));
        assert!(!usual.allow("nginx.ingress.kubernetes.io/configuration-snippet"));
        assert!(!usual.gateway_api && !usual.load_balancers);
        let all: Entrances = r#"{"annotations": [""]}"#.parse().unwrap();
        assert!(all.allow("anything"));
        let none: Entrances = r#"{"annotations": []}"#.parse().unwrap();
        assert!(!none.allow("cert-manager.io/issuer"));
        assert!(r#"{"gatewayAPI": true}"#.parse::<Entrances>().is_err());
    }
}
