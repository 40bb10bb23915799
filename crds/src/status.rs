//! What the operator reports about a sale.

use crate::{time, traffic::LocalReference};
use jiff::Timestamp;
use kube::KubeSchema;
use sale::phase::Phase;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What the operator reports. Every field is optional, so that an object of an older version can always be read.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct FlashSaleStatus {
    /// Pending, Warming, Live, Draining or Ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "phase_schema")]
    pub phase: Option<Phase>,
    /// The generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// What is known, each with a reason and a sentence.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = kube::core::ListMerge::Map(vec!["type".to_owned()]))]
    pub conditions: Vec<Condition>,
    /// The account of each product.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub products: Vec<ProductStatus>,
    /// Units of all products.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stock: Option<i64>,
    /// Units sold of all products.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sold: Option<i64>,
    /// Services that are rolled out, of those that should be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready: Option<String>,
    /// The replicas that each service is to have now.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub replicas: BTreeMap<String, i32>,
    /// Orders by what became of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub orders: Option<OrderNumbers>,
    /// Where buyers find the sale.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The host that is the sale's own. Of two that ask for one it belongs to the one that is open, and then to the one that has had it for longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<HeldHost>,
    /// When it began to mark topics, database and keys as its own; before that it has made nothing outside of the
    /// cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "time::optional_time")]
    pub claimed_at: Option<Timestamp>,
    /// When it opens or opened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "time::optional_time")]
    pub opens_at: Option<Timestamp>,
    /// Since when its doors have been open: seen, not planned. What an open sale may not change follows from this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "time::optional_time")]
    pub opened_at: Option<Timestamp>,
    /// When it closes or closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "time::optional_time")]
    pub closes_at: Option<Timestamp>,
    /// When it stopped taking orders.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "time::optional_time")]
    pub draining_since: Option<Timestamp>,
    /// When it was settled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "time::optional_time")]
    pub ended_at: Option<Timestamp>,
    /// A hash of what an open sale keeps, which is in the ConfigMap <sale>-pinned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub pinned: Option<String>,
    /// The last word of the annotation quicksale.io/reopen that was heard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub reopened_by: Option<String>,
    /// When the sale was open without something that it needs, the last twenty times.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub degraded: Vec<DegradedSpan>,
    /// What a rehearsal with a load has found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rehearsed: Option<Rehearsed>,
    /// When the data of a rehearsal was wiped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "time::optional_time")]
    pub data_wiped_at: Option<Timestamp>,
    /// The ConfigMap with the report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report_ref: Option<LocalReference>,
    /// One sentence on where it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

impl FlashSaleStatus {
    /// The phase, `Pending` for a sale that nobody has looked at.
    pub fn phase(&self) -> Phase {
        self.phase.unwrap_or_default()
    }

    /// Whether anything was, or may have been, made for it in the backends.
    pub fn has_begun(&self) -> bool {
        self.claimed_at.is_some() || self.phase() != Phase::Pending
    }

    /// A condition by its type.
    pub fn condition(&self, kind: ConditionType) -> Option<&Condition> {
        self.conditions
            .iter()
            .find(|condition| condition.type_ == kind.as_str())
    }
}

/// A host that a sale has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HeldHost {
    /// The host.
    #[schemars(length(max = 253))]
    pub name: String,
    /// Since when it is the sale's.
    #[schemars(schema_with = "time::time")]
    pub since: Timestamp,
}

/// What a rehearsal has found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rehearsed {
    /// The most orders a second that were held; none where the load found nothing out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_per_second: Option<i64>,
    /// The orders a second that are expected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_per_second: Option<i64>,
    /// The service or backend that is the limit, as far as that can be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub limited_by: Option<String>,
}

/// A while in which something was missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DegradedSpan {
    /// Since when.
    #[schemars(schema_with = "time::time")]
    pub from: Timestamp,
    /// Until when; it lasts where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "time::optional_time")]
    pub until: Option<Timestamp>,
    /// The reason of the condition Degraded when it began.
    pub reason: String,
}

/// The account of one product: stock = available + reserved + sold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProductStatus {
    /// The product.
    #[schemars(length(max = 64))]
    pub sku: String,
    /// All units.
    #[serde(default)]
    pub stock: i64,
    /// Units that can be ordered.
    #[serde(default)]
    pub available: i64,
    /// Units held for orders that are not confirmed.
    #[serde(default)]
    pub reserved: i64,
    /// Units of confirmed orders.
    #[serde(default)]
    pub sold: i64,
    /// The spec's stock as it was last brought to the inventory. The next edit's difference is counted from here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied_stock: Option<i64>,
    /// An edit of stock on its way to the inventory. It is written down before it is sent, so that after a crash the
    /// same edit is sent again with the same key, and counts once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stock_change: Option<StockChange>,
}

/// An edit of stock on its way.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StockChange {
    /// The spec's stock that it brings.
    #[serde(default)]
    pub to: i64,
    /// The idempotency key that it is sent with.
    #[serde(default)]
    pub key: String,
}

/// Orders by what became of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OrderNumbers {
    /// Orders answered 201.
    #[serde(default)]
    pub accepted: i64,
    /// Of these, confirmed.
    #[serde(default)]
    pub confirmed: i64,
    /// Of these, failed, cancelled or expired.
    #[serde(default)]
    pub failed: i64,
    /// Of these, not decided yet.
    #[serde(default)]
    pub pending: i64,
    /// Orders refused at the door.
    #[serde(default)]
    pub rejected: i64,
}

/// One thing that is known about the sale, in the shape of a metav1.Condition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// What it is about.
    #[serde(rename = "type")]
    #[schemars(length(max = 64))]
    pub type_: String,
    /// True, False or Unknown.
    pub status: String,
    /// The reason as one word for programs.
    pub reason: String,
    /// The reason as a sentence for people.
    #[serde(default)]
    pub message: String,
    /// When status last changed.
    #[schemars(schema_with = "time::time")]
    pub last_transition_time: Timestamp,
    /// The generation of the spec that it speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

impl Condition {
    /// Whether it holds; `None` where that is not known.
    pub fn holds(&self) -> Option<bool> {
        match self.status.as_str() {
            "True" => Some(true),
            "False" => Some(false),
            _ => None,
        }
    }

    /// What it is about; `None` for a condition of another version, or of somebody else.
    pub fn kind(&self) -> Option<ConditionType> {
        ConditionType::ALL
            .into_iter()
            .find(|kind| kind.as_str() == self.type_)
    }
}

/// The conditions of a sale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ConditionType {
    /// Orders can be placed, or the sale is over.
    Ready,
    /// As far as the phase allows, everything is there that an opening needs.
    Prepared,
    /// MongoDB, Kafka and Redis answer.
    BackendsReachable,
    /// MongoDB, Kafka and Redis are reached over TLS.
    BackendsSecure,
    /// The topics exist.
    TopicsReady,
    /// Every service is rolled out.
    WorkloadsReady,
    /// The inventory holds the products as they are written.
    CatalogReady,
    /// stock = available + reserved + sold, for every product.
    StockConserved,
    /// The pods run what is written.
    UpToDate,
    /// The rehearsal holds what is expected.
    HoldsLoad,
    /// No other sale has the host that buyers find it at.
    HostReady,
    /// The Gateway and the load balancer that lead to the sale say that they do, and the platform allows all that it asks for.
    EntranceReady,
    /// The clocks of those who open and close the doors agree with the operator's.
    ClocksAgree,
    /// Every replica that decides by the control document has the newest one.
    ControlInForce,
    /// New orders are refused, by every replica that decides about them.
    Halted,
    /// Every accepted order has its end, and nothing is under way.
    Settled,
    /// Something that should work does not; the sale goes on as far as it can.
    Degraded,
}

impl ConditionType {
    /// All of them.
    pub const ALL: [Self; 17] = [
        Self::Ready,
        Self::Prepared,
        Self::BackendsReachable,
        Self::BackendsSecure,
        Self::TopicsReady,
        Self::WorkloadsReady,
        Self::CatalogReady,
        Self::StockConserved,
        Self::UpToDate,
        Self::HoldsLoad,
        Self::HostReady,
        Self::EntranceReady,
        Self::ClocksAgree,
        Self::ControlInForce,
        Self::Halted,
        Self::Settled,
        Self::Degraded,
    ];

    /// Whether a sale is as it should be when the condition holds, or when it does not; `None` of one that holds because somebody wants it
    /// so.
    pub fn good_when(self) -> Option<bool> {
        match self {
            Self::Degraded => Some(false),
            Self::Halted => None,
            Self::Ready
            | Self::Prepared
            | Self::BackendsReachable
            | Self::BackendsSecure
            | Self::TopicsReady
            | Self::WorkloadsReady
            | Self::CatalogReady
            | Self::StockConserved
            | Self::UpToDate
            | Self::HoldsLoad
            | Self::HostReady
            | Self::EntranceReady
            | Self::ClocksAgree
            | Self::ControlInForce
            | Self::Settled => Some(true),
        }
    }

    /// The name in status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::Prepared => "Prepared",
            Self::BackendsReachable => "BackendsReachable",
            Self::BackendsSecure => "BackendsSecure",
            Self::TopicsReady => "TopicsReady",
            Self::WorkloadsReady => "WorkloadsReady",
            Self::CatalogReady => "CatalogReady",
            Self::StockConserved => "StockConserved",
            Self::UpToDate => "UpToDate",
            Self::HoldsLoad => "HoldsLoad",
            Self::HostReady => "HostReady",
            Self::EntranceReady => "EntranceReady",
            Self::ClocksAgree => "ClocksAgree",
            Self::ControlInForce => "ControlInForce",
            Self::Halted => "Halted",
            Self::Settled => "Settled",
            Self::Degraded => "Degraded",
        }
    }
}

fn phase_schema(_: &mut SchemaGenerator) -> Schema {
    let phases = [
        Phase::Pending,
        Phase::Warming,
        Phase::Live,
        Phase::Draining,
        Phase::Ended,
    ]
    .map(Phase::as_str);
    json_schema!({"type": "string", "enum": phases, "nullable": true})
}
