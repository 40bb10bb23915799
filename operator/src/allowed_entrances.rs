//! What of the ways in a sale may ask for: whoever may write FlashSales gets Ingresses, HTTPRoutes and load balancers of the operator's
//! making, without the right to make any, so the platform says which.

use serde::Deserialize;
use std::str::FromStr;

/// The chart's `entrances`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct AllowedEntrances {
    /// What the names of annotations begin with that a sale may write; an empty text is what all begin with.
    pub annotations: Vec<String>,
    /// Whether HTTPRoutes are made. The definitions of the Gateway API have to be there.
    pub gateway_api: bool,
    /// Whether load balancers are made.
    pub load_balancers: bool,
}

impl FromStr for AllowedEntrances {
    type Err = serde_json::Error;

    fn from_str(json: &str) -> Result<Self, Self::Err> {
        serde_json::from_str(json)
    }
}

impl AllowedEntrances {
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
        let nothing: AllowedEntrances = "{}".parse().unwrap();
        assert!(!nothing.allow("cert-manager.io/cluster-issuer"));
        assert!(!nothing.gateway_api && !nothing.load_balancers);
        let some: AllowedEntrances = r#"{"annotations": ["cert-manager.io/"]}"#.parse().unwrap();
        assert!(some.allow("cert-manager.io/cluster-issuer"));
        assert!(!some.allow("nginx.ingress.kubernetes.io/configuration-snippet"));
        let all: AllowedEntrances = r#"{"annotations": [""]}"#.parse().unwrap();
        assert!(all.allow("anything"));
        assert!(r#"{"gatewayAPI": true}"#.parse::<AllowedEntrances>().is_err());
    }
}
