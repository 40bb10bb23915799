//! The services' configuration, and the control document.

use super::{Child, Kind, Plan, object_name};
use crds::{Component, ValidSale};
use platform::config::ports;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The suffix of the ConfigMap with the control document.
pub(super) const CONTROL: &str = "control";
/// The suffix of the ConfigMap with the configuration.
pub(super) const CONFIG: &str = "config";

/// The name of the ConfigMap with the control document.
pub fn control_map(sale: &str) -> String {
    object_name(sale, CONTROL)
}

/// The name of the ConfigMap with the configuration.
pub fn config_map(sale: &str) -> String {
    object_name(sale, CONFIG)
}

/// The suffix of the ConfigMap with what an open sale keeps.
pub const PINNED: &str = "pinned";

/// What an open sale keeps: the template of each service's pods, and the configuration, as text.
pub fn pinned(sale: &ValidSale, pins: &BTreeMap<String, String>) -> Child {
    Child::new(sale, Kind::ConfigMap, PINNED, json!({"data": pins}))
}

pub(super) fn control(plan: &Plan<'_>) -> Child {
    let document = serde_json::to_string(plan.control).unwrap_or_default();
    Child::new(
        plan.sale,
        Kind::ConfigMap,
        CONTROL,
        json!({"data": {"control.json": document}}),
    )
}

pub(super) fn config(plan: &Plan<'_>) -> Child {
    let text = configuration(plan).to_string();
    Child::new(
        plan.sale,
        Kind::ConfigMap,
        CONFIG,
        json!({"data": {"config.json": text}}),
    )
}

/// The [`platform::config::Config`] of the sale. Its hash is in every pod template, so that a change of it rolls out.
pub(super) fn configuration(plan: &Plan<'_>) -> Value {
    let sale = plan.sale;
    let mut http = json!({
        "bind": plan.platform.bind,
        "adminPort": ports::ADMIN,
        "trustedProxies": plan.platform.trusted_proxies,
        "corsOrigins": plan.platform.cors_origins,
    });
    // What is usual is not written.
    if !plan.platform.access_log {
        http["accessLog"] = json!(false);
    }
    if let Some(host) = &plan.platform.https_host {
        http["httpsHost"] = json!(host);
    }
    if let Some(url) = &sale.payment_url {
        http["paymentUrl"] = json!(url.as_str());
    }
    // Who registers at a rehearsal has an account there, which goes with its data.
    let accounts = match sale.is_rehearsal() {
        true => sale.database(),
        false => plan.platform.accounts_database.clone(),
    };
    let mut config = json!({
        "sale": sale.id,
        "currency": sale.currency,
        "confirmation": sale.confirmation,
        "reservationTtlSeconds": sale.reservation_ttl.as_secs().max(1),
        "data": {"database": sale.database(), "accountsDatabase": accounts},
        "kafka": {
            "topicPrefix": sale.topics.prefix,
            "partitions": sale.topics.partitions,
            "replicationFactor": sale.topics.replication_factor,
        },
        "redisPrefix": sale.id.redis_prefix(sale.is_rehearsal()),
        "upstreams": {
            "auth": service_url(sale, Component::Auth),
            "inventory": service_url(sale, Component::Inventory),
            "order": service_url(sale, Component::Order),
            "notifier": service_url(sale, Component::Notifier),
        },
        "http": http,
    });
    if let Some(tracing) = &plan.platform.tracing {
        config["tracing"] = json!(tracing);
    }
    config
}

/// Where a service is reached inside of the cluster; the processor has no port, and nobody asks for it.
pub fn service_url(sale: &ValidSale, component: Component) -> String {
    let port = port(component).unwrap_or(ports::ADMIN);
    format!(
        "http://{}.{}.svc:{port}",
        object_name(&sale.id.name, component.as_str()),
        sale.id.namespace
    )
}

/// The public port of a component; the processor has none.
pub fn port(component: Component) -> Option<u16> {
    match component {
        Component::Gateway => Some(ports::GATEWAY),
        Component::Auth => Some(ports::AUTH),
        Component::Inventory => Some(ports::INVENTORY),
        Component::Order => Some(ports::ORDER),
        Component::Notifier => Some(ports::NOTIFIER),
        Component::Processor => None,
    }
}
