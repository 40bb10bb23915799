//! The FlashSale as people write it.

use crate::{
    component::Services,
    duration::DurationText,
    product::Product,
    rehearsal::{Expectation, Load},
    rules::{self, Hours},
    status::FlashSaleStatus,
    time,
    traffic::{Ingress, Kafka, LoadBalancer, LocalReference, RateLimit, WaitingRoom},
};
use jiff::Timestamp;
use kube::{CustomResource, KubeSchema};
use sale::order::LONGEST_HOLD_HOURS;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A flash sale: what is sold, when, to whom, and how large the services that sell it are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "quicksale.io",
    version = "v1alpha1",
    kind = "FlashSale",
    plural = "flashsales",
    shortname = "fs",
    namespaced,
    status = "FlashSaleStatus",
    derive = "PartialEq",
    doc = "A flash sale: what is sold, when, to whom, and how large the services that sell it are.",
    validation = rules::sale_name(),
    validation = rules::currency_is_fixed(),
    validation = rules::kafka_is_fixed(),
    validation = rules::backends_are_fixed(),
    validation = rules::mode_is_fixed(),
    validation = rules::opening_is_fixed(),
    validation = rules::skus_are_fixed(),
    validation = rules::host_is_fixed(),
    validation = rules::https_is_fixed(),
    validation = rules::gateway_is_fixed(),
    validation = rules::load_balancer_is_fixed(),
    validation = rules::load_balancer_class_is_fixed(),
    validation = rules::payment_url_is_fixed(),
    validation = rules::confirmation_is_fixed(),
    validation = rules::stock_covers_commitments(),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Opens", type_ = "string", json_path = ".status.opensAt"),
    printcolumn(name = "Stock", type_ = "integer", json_path = ".status.stock"),
    printcolumn(name = "Sold", type_ = "integer", json_path = ".status.sold"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.ready"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Halted", type_ = "string", json_path = ".status.conditions[?(@.type==\"Halted\")].status", priority = 1),
    printcolumn(name = "Closes", type_ = "string", json_path = ".status.closesAt", priority = 1),
    printcolumn(name = "Orders", type_ = "integer", json_path = ".status.orders.accepted", priority = 1),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.message", priority = 1)
)]
#[x_kube(
    validation = rules::closes_after_opening(),
    validation = rules::payment_url_needs_payment(),
    validation = rules::load_needs_rehearsal(),
    validation = rules::price_digits("price"),
    validation = rules::price_digits("originalPrice")
)]
pub struct FlashSaleSpec {
    /// From when on orders are taken; as soon as everything is ready when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "time::optional_time")]
    pub opens_at: Option<Timestamp>,
    /// From when on no order is taken any more; until the sale is deleted or every unit is sold when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "time::optional_end")]
    pub closes_at: Option<Timestamp>,
    /// How long before opensAt the services start.
    #[serde(default = "ten_minutes")]
    #[x_kube(validation = rules::duration("spec.warmUp", Hours(720), "such as 10m"))]
    pub warm_up: DurationText,
    /// Sale, or Rehearsal: the same path with data of its own, which is wiped at the end.
    #[serde(default)]
    pub mode: Mode,
    /// What is expected on the day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<Expectation>,
    /// The load of a rehearsal. Without one a rehearsal waits for whoever brings a load of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<Load>,
    /// Refuse new orders now, and go on settling those accepted.
    #[serde(default)]
    pub halted: bool,
    /// What happens when the books differ, that is when ledger, stock and orders do not agree: Halt refuses new orders until they
    /// do, Continue sells on.
    #[serde(default)]
    pub on_audit_difference: OnAuditDifference,
    /// What is sold.
    #[schemars(length(max = 50))]
    #[x_kube(validation = rules::products_not_empty(), validation = rules::skus_unique())]
    pub products: Vec<Product>,
    /// Currency of every price, an ISO 4217 code. It cannot change once the sale warms up.
    #[serde(default = "us_dollar")]
    #[schemars(length(max = 8))]
    #[x_kube(validation = rules::currency())]
    pub currency: String,
    /// How an accepted order becomes confirmed: Automatic, or by Payment within reservationTtl. With Payment somebody has to call
    /// POST /api/orders/{id}/confirm; see docs/api.md.
    #[serde(default)]
    pub confirmation: Confirmation,
    /// Where the storefront sends a buyer to pay: an address with {orderId} in it, in whose place the order's id is put. Without one
    /// the storefront says that the order waits for its payment, and leads nowhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1000))]
    #[x_kube(validation = rules::payment_url())]
    pub payment_url: Option<String>,
    /// How long units are held for an order that waits for its payment, at the least: counted from when the order hears that they are.
    #[serde(default = "ten_minutes")]
    #[x_kube(validation = rules::duration_above_zero("spec.reservationTtl", Hours(LONGEST_HOLD_HOURS), "such as 10m"))]
    pub reservation_ttl: DurationText,
    /// Limits that replace the defaults: login 5, register 3, orders 10, reserve 50, everything else 100, each for
    /// 60s.
    #[serde(default)]
    #[schemars(length(max = 5))]
    #[x_kube(validation = rules::rate_limits_unique())]
    pub rate_limits: Vec<RateLimit>,
    /// The waiting room in front of the order route.
    #[serde(default)]
    pub waiting_room: WaitingRoom,
    /// Size of each service.
    #[serde(default)]
    pub services: Services,
    /// The sale's topics.
    #[serde(default)]
    pub kafka: Kafka,
    /// How buyers find the sale by a host name. Without it and without loadBalancer, the sale is reached from inside of the cluster only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ingress: Option<Ingress>,
    /// A load balancer of the sale's own, where there is no ingress controller or none that takes such a crowd. The platform has to
    /// allow it, see entrances.loadBalancers of the operator's chart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_balancer: Option<LoadBalancer>,
    /// The Secret in this namespace with MONGODB_URI, KAFKA_BROKERS, REDIS_URL and their credentials; the operator's
    /// default when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backends_secret_ref: Option<LocalReference>,
    /// Whether the passwords in the Secret of backendsSecretRef may go to the backends in plain text, without TLS: Refuse, or
    /// Allow.
    #[serde(default)]
    pub plaintext_passwords: PlaintextPasswords,
    /// How long buyers can read their orders after the end.
    #[serde(default = "one_day")]
    #[x_kube(validation = rules::duration("spec.retainFor", Hours(8_784), "such as 24h"))]
    pub retain_for: DurationText,
    /// What becomes of topics and data when the FlashSale is deleted: Retain, or Delete.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
}

pub(crate) fn ten_minutes() -> DurationText {
    DurationText::new("10m")
}

pub(crate) fn one_day() -> DurationText {
    DurationText::new("24h")
}

pub(crate) fn us_dollar() -> String {
    "USD".to_owned()
}

/// What happens when the books differ.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnAuditDifference {
    /// New orders are refused until they agree.
    #[default]
    Halt,
    /// The sale goes on.
    Continue,
}

/// Whether it counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Mode {
    /// A sale.
    #[default]
    Sale,
    /// A rehearsal: the same path with data of its own, wiped at the end.
    Rehearsal,
}

/// How an accepted order becomes confirmed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Confirmation {
    /// At once.
    #[default]
    Automatic,
    /// When it is paid.
    Payment,
}

/// Whether passwords may go over a network in plain text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PlaintextPasswords {
    /// They may not: what leads to that is not used.
    #[default]
    Refuse,
    /// They may.
    Allow,
}

impl std::str::FromStr for PlaintextPasswords {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "Refuse" => Ok(Self::Refuse),
            "Allow" => Ok(Self::Allow),
            other => Err(format!("{other:?} is neither Refuse nor Allow")),
        }
    }
}

/// What becomes of topics and data.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeletionPolicy {
    /// They stay.
    #[default]
    Retain,
    /// They go with the FlashSale.
    Delete,
}
