//! The services of a sale, and what can be said about each.

use crate::rules;
use kube::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, collections::BTreeMap, fmt};

/// One of the six services of a sale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Component {
    /// The front door.
    Gateway,
    /// Accounts and tokens.
    Auth,
    /// Products and reservations.
    Inventory,
    /// Orders.
    Order,
    /// Carries messages from the outbox to Kafka.
    Processor,
    /// WebSocket and notifications.
    Notifier,
}

impl Component {
    /// Every component, in the order in which they are rolled out: who is depended on comes first.
    pub const ALL: [Self; 6] = [
        Self::Auth,
        Self::Inventory,
        Self::Order,
        Self::Processor,
        Self::Notifier,
        Self::Gateway,
    ];

    /// The name in object names, labels and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Auth => "auth",
            Self::Inventory => "inventory",
            Self::Order => "order",
            Self::Processor => "processor",
            Self::Notifier => "notifier",
        }
    }

    /// Replicas when a FlashSale says nothing: the front door survives the loss of one.
    pub fn default_replicas(self) -> u32 {
        if self == Self::Gateway { 2 } else { 1 }
    }
}

impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Size of each service. Whatever is left out keeps its default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Services {
    /// The front door.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<ServiceSize>,
    /// Accounts and tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<ServiceSize>,
    /// Products and reservations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inventory: Option<ServiceSize>,
    /// Orders.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<ServiceSize>,
    /// Carries messages from the outbox to Kafka.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processor: Option<ServiceSize>,
    /// WebSocket and notifications.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notifier: Option<ServiceSize>,
}

impl Services {
    /// What is said about one service.
    pub fn of(&self, component: Component) -> Option<&ServiceSize> {
        match component {
            Component::Gateway => self.gateway.as_ref(),
            Component::Auth => self.auth.as_ref(),
            Component::Inventory => self.inventory.as_ref(),
            Component::Order => self.order.as_ref(),
            Component::Processor => self.processor.as_ref(),
            Component::Notifier => self.notifier.as_ref(),
        }
    }
}

/// Size of one service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceSize {
    /// How many replicas there are; 2 of the gateway and 1 of every other service when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<Replicas>,
    /// What each replica asks for and may use; cpu 25m and memory 64Mi, at most memory 256Mi, when left out. A limit of
    /// memory that is left out is raised to a request that is above it, and a request that is left out is lowered to a limit
    /// below it. Local storage is always 32Mi, at most 256Mi.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// When a range of replicas grows; by CPU alone when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scaling: Option<Scaling>,
}

/// When a range of replicas grows: by whichever asks for the most replicas.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Scaling {
    /// The share of the CPU that it requests, in percent, that a replica should use. A crowd comes within seconds, so leave it room.
    #[serde(default = "sixty")]
    #[x_kube(validation = rules::cpu_percent())]
    pub cpu_percent: i32,
    /// What else replicas are made for: metrics that the cluster serves at external.metrics.k8s.io, as an adapter for Prometheus does; see
    /// docs/how-to/scale.md.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 5))]
    pub metrics: Vec<ScalingMetric>,
}

fn sixty() -> i32 {
    60
}

impl Default for Scaling {
    fn default() -> Self {
        Self {
            cpu_percent: sixty(),
            metrics: Vec::new(),
        }
    }
}

/// A metric that replicas are made for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScalingMetric {
    /// Its name, such as quicksale_lane_lag.
    #[schemars(length(max = 253))]
    #[x_kube(validation = rules::metric_name())]
    pub name: String,
    /// The labels of the series that count, such as group: order. Those of other sales never do: the label sale is added.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "metric_labels")]
    pub labels: BTreeMap<String, String>,
    /// How much of it one replica is for: there are as many replicas as the sum of the series has of it.
    #[x_kube(validation = rules::per_replica())]
    pub per_replica: i64,
}

fn metric_labels(_: &mut SchemaGenerator) -> Schema {
    let [rule, message] = rules::METRIC_LABELS;
    json_schema!({
        "type": "object", "maxProperties": 5,
        "additionalProperties": {"type": "string", "maxLength": 63},
        "x-kubernetes-validations": [{"rule": rule, "message": message}],
    })
}

/// A number of replicas, or a range that a HorizontalPodAutoscaler moves in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rules::replica_range(), validation = rules::opening_in_range())]
pub struct Replicas {
    /// The fewest.
    #[x_kube(validation = rules::replica_bounds("min"))]
    pub min: i32,
    /// The most; the same as min when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = rules::replica_bounds("max"))]
    pub max: Option<i32>,
    /// With a range: the fewest while the sale opens, from its warm-up until ten minutes after its opening, in which no autoscaler takes any
    /// away; the same as min when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = rules::replica_bounds("opening"))]
    pub opening: Option<i32>,
}

/// What a replica asks for and may use.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Resources {
    /// What the scheduler sets aside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<Amounts>,
    /// What it may not exceed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = rules::memory_limit_above_zero())]
    pub limits: Option<Amounts>,
}

/// Amounts of CPU and memory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Amounts {
    /// CPU, such as 100m or 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Amount>,
    /// Memory, such as 256Mi.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Amount>,
}

/// A Kubernetes quantity, written as text or as a whole number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Amount {
    /// Such as 2.
    Number(i64),
    /// Such as 100m or 256Mi.
    Text(String),
}

/// What the letters behind a quantity stand for.
const SUFFIXES: [(&str, f64); 15] = [
    ("Ki", 1024.0),
    ("Mi", 1_048_576.0),
    ("Gi", 1_073_741_824.0),
    ("Ti", 1_099_511_627_776.0),
    ("Pi", 1_125_899_906_842_624.0),
    ("Ei", 1_152_921_504_606_846_976.0),
    ("n", 1e-9),
    ("u", 1e-6),
    ("m", 1e-3),
    ("k", 1e3),
    ("M", 1e6),
    ("G", 1e9),
    ("T", 1e12),
    ("P", 1e15),
    ("E", 1e18),
];

impl Amount {
    /// The rule of an amount in CEL, whichever way it is written.
    pub(crate) const RULE: &str =
        "type(self) == int ? self >= 0 && self <= 1000000000000000 : size(self) <= 20";
    /// What a refusal by it says.
    pub(crate) const SENTENCE: &str =
        "this must be an amount such as 100m, 2 or 256Mi, of at most 20 characters";
    /// The most, in CPUs or bytes, of one that is written as a number.
    pub(crate) const MOST: u64 = 1_000_000_000_000_000;

    /// The amount in CPUs or bytes, to compare it with another. What is no amount, which the API server does not take,
    /// is not a number, and neither more nor less than any other.
    pub fn value(&self) -> f64 {
        let text = self.to_string();
        let (digits, unit) = SUFFIXES
            .iter()
            .find_map(|(suffix, unit)| Some((text.strip_suffix(suffix)?, *unit)))
            .unwrap_or((&text, 1.0));
        digits.parse::<f64>().map_or(f64::NAN, |number| number * unit)
    }
}

impl From<&str> for Amount {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Text(text) => f.write_str(text),
        }
    }
}

impl JsonSchema for Amount {
    fn schema_name() -> Cow<'static, str> {
        "Amount".into()
    }

    /// The pattern is the one that Kubernetes itself generates for quantities, without the sign. A number beyond what
    /// the type holds would be taken for a quantity by the API server, and be unreadable here.
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "x-kubernetes-int-or-string": true,
            "maxLength": 20,
            "x-kubernetes-validations": [{
                "rule": Self::RULE, "message": Self::SENTENCE,
            }],
            "pattern": r"^([0-9]+|[0-9]+\.[0-9]+)([KMGTPE]i|[numkMGTPE])?$",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_compared_by_what_they_are_worth() {
        let ascending = [
            "1n", "25m", "0.5", "1", "1k", "1Ki", "64Mi", "0.1G", "1G", "1Gi", "1Ei",
        ];
        for pair in ascending.windows(2) {
            assert!(
                Amount::from(pair[0]).value() < Amount::from(pair[1]).value(),
                "{pair:?}"
            );
        }
        assert_eq!(Amount::Number(1024).value(), Amount::from("1Ki").value());
        assert!(Amount::from("much").value().is_nan());
    }
}
