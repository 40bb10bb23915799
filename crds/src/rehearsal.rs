//! What a sale is expected to hold, and the load that a rehearsal finds that out with.

use crate::{duration::DurationText, rules};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is expected on the day. A rehearsal compares with it what it has found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Expectation {
    /// Buyers who come when the sale opens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = rules::expected_buyers())]
    pub buyers: Option<i64>,
    /// Orders that they place in a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = rules::orders_per_second("spec.expect"))]
    pub orders_per_second: Option<i64>,
}

/// The load of a rehearsal: the operator starts it when the sale opens, and ends the sale when it has found out what there is to find. Its
/// products get as many units as the load asks for. Its buyers have tokens and no accounts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Load {
    /// How buyers come: Steps, with more orders a second in each until one rate is not held; Steady, evenly; or Burst, all at once.
    #[serde(default)]
    pub arrival: Arrival,
    /// The most orders a second that are tried; twice what is expected when left out, or 1000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = rules::orders_per_second("spec.load"))]
    pub orders_per_second: Option<i64>,
    /// Buyers of a Burst, each of whom places one order; those who are expected when left out, or 1000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = rules::load_buyers())]
    pub buyers: Option<i64>,
    /// What the load does while a sale that counts is open on the same backends, which it would take from: Wait, or Allow to begin all the same.
    #[serde(default)]
    pub beside_open_sales: BesideOpenSales,
    /// How long each rate lasts; less where that would be more than 200000 orders.
    #[serde(default = "ten_seconds")]
    #[x_kube(validation = rules::load_step())]
    pub step: DurationText,
}

fn ten_seconds() -> DurationText {
    DurationText::new("10s")
}

/// Whether a load begins beside a sale that counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum BesideOpenSales {
    /// It waits.
    #[default]
    Wait,
    /// It begins.
    Allow,
}

/// How the buyers of a rehearsal come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Arrival {
    /// More and more, until it is too many.
    #[default]
    Steps,
    /// Evenly.
    Steady,
    /// All at once.
    Burst,
}
