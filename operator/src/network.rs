//! Who may talk to the pods of a sale, and whom they may talk to, beyond each other: what the chart says of the network
//! that the operator cannot see for itself.

use k8s_openapi::api::networking::v1::NetworkPolicyPeer;
use serde::Deserialize;
use std::{collections::BTreeSet, str::FromStr};

/// The chart's `networkPolicy`. A list of peers is one of a NetworkPolicy's own.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Network {
    /// Who may send requests to gateway and notifier; anybody when empty.
    pub ingress_peers: Vec<NetworkPolicyPeer>,
    /// Who may read metrics, beside the operator.
    pub monitoring_peers: Vec<NetworkPolicyPeer>,
    /// Where MongoDB, Kafka and Redis are; anywhere but at link-local addresses when empty.
    pub backend_peers: Vec<NetworkPolicyPeer>,
    /// Ports of theirs that their addresses do not show.
    pub backend_ports: BTreeSet<u16>,
    /// Where the collector of traces is; anywhere but at link-local addresses when empty.
    pub collector_peers: Vec<NetworkPolicyPeer>,
    /// Ports of its pods that the collector's address does not show.
    pub collector_ports: BTreeSet<u16>,
    /// Whether what goes out is restricted at all.
    pub restrict_egress: bool,
}

impl Default for Network {
    fn default() -> Self {
        Self {
            ingress_peers: Vec::new(),
            monitoring_peers: Vec::new(),
            backend_peers: Vec::new(),
            backend_ports: BTreeSet::new(),
            collector_peers: Vec::new(),
            collector_ports: BTreeSet::new(),
            restrict_egress: true,
        }
    }
}

impl FromStr for Network {
    type Err = serde_json::Error;

    fn from_str(json: &str) -> Result<Self, Self::Err> {
        serde_json::from_str(json)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_out_is_restricted_unless_it_is_said_otherwise() {
        assert_eq!("{}".parse::<Network>().unwrap(), Network::default());
        let open: Network = r#"{"restrictEgress": false, "backendPorts": [27018]}"#.parse().unwrap();
        assert!(!open.restrict_egress && open.backend_ports.contains(&27018));
        assert!(r#"{"restrictEgres": false}"#.parse::<Network>().is_err());
    }
}
