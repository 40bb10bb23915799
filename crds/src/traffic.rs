//! How much of the crowd is let in, and on which way.

use crate::{
    duration::DurationText,
    rules::{self, Hours},
};
use kube::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// At most `limit` requests in any `window`, for one user (or one address, where there is no token).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RateLimit {
    /// The route: /api/auth/login, /api/auth/register, /api/orders, /api/inventory/reserve, or * for everything else.
    #[schemars(length(max = 64))]
    #[x_kube(validation = rules::rate_limit_route())]
    pub route: String,
    /// Requests in a window.
    #[x_kube(validation = rules::rate_limit_limit())]
    pub limit: i64,
    /// Length of the window.
    #[serde(default = "one_minute")]
    #[x_kube(validation = rules::duration_above_zero("spec.rateLimits[].window", Hours(24), "such as 60s"))]
    pub window: DurationText,
}

fn one_minute() -> DurationText {
    DurationText::new("60s")
}

/// A bound on how many orders a second are let through to the stock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct WaitingRoom {
    /// Whether there is one. Not available in this version: the API server refuses `true`.
    #[serde(default)]
    #[x_kube(validation = rules::no_waiting_room())]
    pub enabled: bool,
    /// Orders to admit for each second, over all replicas.
    #[serde(default = "five_hundred")]
    #[x_kube(validation = rules::admit_per_second())]
    pub admit_per_second: i64,
}

fn five_hundred() -> i64 {
    500
}

impl Default for WaitingRoom {
    fn default() -> Self {
        Self {
            enabled: false,
            admit_per_second: five_hundred(),
        }
    }
}

/// The sale's Kafka topics. They cannot change once the sale warms up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Kafka {
    /// Partitions of each topic: as many replicas of a service can share the work, but for inventory, of which one works and the others stand by.
    #[serde(default = "twelve")]
    #[x_kube(validation = rules::partitions())]
    pub partitions: i32,
    /// Copies of each partition; 3 in production.
    #[serde(default = "one")]
    #[x_kube(validation = rules::replication_factor())]
    pub replication_factor: i32,
    /// Put before each topic's name; "<namespace>.<name>." when left out, and the plain names when empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 150))]
    #[x_kube(validation = rules::topic_prefix())]
    pub topic_prefix: Option<String>,
}

fn twelve() -> i32 {
    12
}

fn one() -> i32 {
    1
}

impl Default for Kafka {
    fn default() -> Self {
        Self {
            partitions: twelve(),
            replication_factor: one(),
            topic_prefix: None,
        }
    }
}

/// How buyers find the sale by a host name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rules::a_gateway_has_its_own_class())]
pub struct Ingress {
    /// The host name, such as laptops.example.com.
    #[schemars(length(max = 253))]
    #[x_kube(validation = rules::ingress_host())]
    pub host: String,
    /// The ingress class; the cluster's default when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub class_name: Option<String>,
    /// The Secret with the host's certificate; plain HTTP when left out. With it when the sale opens, pages asked for over
    /// plain HTTP are led to HTTPS, everything else is refused, and browsers are told to remember it for a year.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub tls_secret_name: Option<String>,
    /// States that buyers come by HTTPS although no Secret is named here, because the ingress controller or the Gateway has the host's
    /// certificate; makes none. What is said of plain HTTP at tlsSecretName holds then too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub https: bool,
    /// Annotations of the Ingress or the HTTPRoute, such as cert-manager.io/cluster-issuer: those that the platform allows, see
    /// entrances.annotations of the operator's chart.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "annotations")]
    pub annotations: BTreeMap<String, String>,
    /// The Gateway that leads to the sale, by the Gateway API: an HTTPRoute is made in place of an Ingress. The platform has to allow it,
    /// see entrances.gatewayApi of the operator's chart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_ref: Option<ParentReference>,
}

/// A Gateway (<https://gateway-api.sigs.k8s.io>).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ParentReference {
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::gateway_name("name"))]
    pub name: String,
    /// Its namespace; the sale's own when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = rules::gateway_name("namespace"))]
    pub namespace: Option<String>,
    /// One of its listeners; all that take the host when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::gateway_name("sectionName"))]
    pub section_name: Option<String>,
}

/// A load balancer of the sale's own in front of its gateways, through which sockets pass as well. It carries plain HTTP: a certificate, if
/// there is to be one, is the load balancer's, by its annotations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct LoadBalancer {
    /// The port that buyers come to.
    #[serde(default = "eighty")]
    #[x_kube(validation = rules::load_balancer_port())]
    pub port: i32,
    /// Which of the cluster's kinds of load balancers; its default when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::load_balancer_class())]
    pub class_name: Option<String>,
    /// Annotations of the Service, by which most load balancers are set up: those that the platform allows, see entrances.annotations
    /// of the operator's chart.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "annotations")]
    pub annotations: BTreeMap<String, String>,
    /// Networks that may come, such as 203.0.113.0/24; everybody when left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(max = 64)))]
    #[x_kube(validation = rules::source_ranges())]
    pub source_ranges: Vec<String>,
}

fn eighty() -> i32 {
    80
}

fn annotations(_: &mut SchemaGenerator) -> Schema {
    let [rule, message] = rules::ENTRANCE_ANNOTATIONS;
    json_schema!({
        "type": "object", "maxProperties": 32,
        "additionalProperties": {"type": "string", "maxLength": 4096},
        "x-kubernetes-validations": [{"rule": rule, "message": message}],
    })
}

/// Something in the sale's namespace, by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LocalReference {
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}
