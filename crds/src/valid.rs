//! A FlashSale that was checked: what the operator builds from.

use crate::{
    Component, FlashSale, FlashSaleSpec,
    by_host::ByHost,
    component::{Replicas, Resources, Scaling},
    duration::DurationText,
    flashsale::{
        Confirmation, DeletionPolicy, Mode, OnAuditDifference, PlaintextPasswords, one_day, ten_minutes,
        us_dollar,
    },
    product::Product,
    rehearsal::{Arrival, BesideOpenSales, Expectation, Load},
    traffic::{LoadBalancer, RateLimit},
};
use jiff::Timestamp;
use sale::{
    Currency, ImageUrl, Money, PaymentUrl, SaleId, Sku,
    control::WaitingRoom,
    limits::{self, LimitedRoute, RateLimits},
    order,
};
use std::{collections::BTreeSet, fmt, net::IpAddr, time::Duration};

/// A sale whose every value makes sense.
#[derive(Debug, Clone, PartialEq)]
pub struct ValidSale {
    /// Namespace and name.
    pub id: SaleId,
    /// The object's uid.
    pub uid: String,
    /// The generation of the spec.
    pub generation: i64,
    /// From when on orders are taken.
    pub opens_at: Option<Timestamp>,
    /// From when on no order is taken any more.
    pub closes_at: Option<Timestamp>,
    /// How long before the opening the services start.
    pub warm_up: Duration,
    /// Whether it counts.
    pub mode: Mode,
    /// What is expected on the day.
    pub expect: Expectation,
    /// The load of a rehearsal.
    pub load: Option<ValidLoad>,
    /// New orders are refused.
    pub halted: bool,
    /// What happens when the books differ.
    pub on_audit_difference: OnAuditDifference,
    /// What is sold.
    pub products: Vec<ValidProduct>,
    /// Currency of every price.
    pub currency: Currency,
    /// How an order becomes confirmed.
    pub confirmation: order::Confirmation,
    /// Where buyers pay.
    pub payment_url: Option<PaymentUrl>,
    /// How long units are held for a payment.
    pub reservation_ttl: Duration,
    /// Limits of all routes.
    pub rate_limits: RateLimits,
    /// The waiting room.
    pub waiting_room: WaitingRoom,
    /// Size of each service.
    pub services: Vec<ValidService>,
    /// Prefix, partitions and copies of the topics.
    pub topics: TopicPlan,
    /// The way in by a host name.
    pub by_host: Option<ByHost>,
    /// A load balancer of its own.
    pub load_balancer: Option<LoadBalancer>,
    /// The Secret with the backends; the operator's when `None`.
    pub backends_secret: Option<String>,
    /// Whether passwords may go to the backends of that Secret in plain text.
    pub plaintext_passwords: PlaintextPasswords,
    /// How long buyers can read their orders after the end.
    pub retain_for: Duration,
    /// What becomes of topics and data.
    pub deletion_policy: DeletionPolicy,
}

/// A load whose every value makes sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ValidLoad {
    /// How buyers come.
    pub arrival: Arrival,
    /// The most orders a second.
    pub orders_per_second: u32,
    /// Buyers of a burst.
    pub buyers: u32,
    /// How long each rate lasts, in seconds.
    pub step_seconds: u32,
    /// What it does while a sale that counts is open on the same backends.
    pub beside_open_sales: BesideOpenSales,
}

/// What is tried where nobody says what is expected, in orders a second, and in buyers.
const USUAL_LOAD: i64 = 1_000;
/// So many times a rate may be tried in one search, at the very most: see `quicksale_load::search`.
const TRIES: i64 = 60;

impl ValidLoad {
    /// More units than the load can ask for.
    fn units(&self) -> i64 {
        let in_steps = i64::from(self.orders_per_second) * i64::from(self.step_seconds) * TRIES;
        in_steps.max(i64::from(self.buyers) + TRIES).min(MOST_UNITS)
    }
}

/// The most units of a product.
const MOST_UNITS: i64 = 1_000_000_000;

/// A product whose every value makes sense.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValidProduct {
    /// Its SKU.
    pub sku: Sku,
    /// For buyers.
    pub name: String,
    /// For buyers.
    pub description: String,
    /// For buyers.
    pub category: String,
    /// Price of one unit.
    pub price: Money,
    /// Price before the sale.
    pub original_price: Option<Money>,
    /// Its picture.
    pub image_url: Option<ImageUrl>,
    /// Units for sale.
    pub stock: i64,
    /// Units for one customer.
    pub limit_per_customer: Option<u32>,
}

/// Size of one service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValidService {
    /// Which.
    pub component: Component,
    /// The fewest replicas.
    pub min: i32,
    /// The most replicas, at least `min`.
    pub max: i32,
    /// The fewest while the sale opens, in the range.
    pub opening: i32,
    /// What a replica asks for and may use.
    pub resources: Resources,
    /// When a range grows.
    pub scaling: Scaling,
}

/// How the topics are named and cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicPlan {
    /// Before each topic's name.
    pub prefix: String,
    /// Partitions of each.
    pub partitions: i32,
    /// Copies of each partition.
    pub replication_factor: i16,
}

/// Everything that is wrong with a spec, one sentence each.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Invalid(pub Vec<String>);

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("; "))
    }
}

impl ValidSale {
    /// Size of a service.
    pub fn service(&self, component: Component) -> ValidService {
        let found = self
            .services
            .iter()
            .find(|service| service.component == component);
        found
            .cloned()
            .unwrap_or_else(|| ValidService::default_of(component))
    }

    /// Whether its data is thrown away at the end.
    pub fn is_rehearsal(&self) -> bool {
        self.mode == Mode::Rehearsal
    }

    /// The sale's own database.
    pub fn database(&self) -> String {
        self.id.database(self.is_rehearsal())
    }

    /// Units of all products.
    pub fn total_stock(&self) -> i64 {
        self.products.iter().map(|product| product.stock).sum()
    }
}

impl ValidService {
    fn default_of(component: Component) -> Self {
        let replicas = i32::try_from(component.default_replicas()).unwrap_or(1);
        Self {
            component,
            min: replicas,
            max: replicas,
            opening: replicas,
            resources: Resources::default(),
            scaling: Scaling::default(),
        }
    }
}

/// Collects what is wrong, so that one look shows all of it.
#[derive(Default)]
struct Findings(Vec<String>);

impl Findings {
    fn require(&mut self, holds: bool, sentence: impl FnOnce() -> String) {
        if !holds {
            self.0.push(sentence());
        }
    }

    fn note<T, E: fmt::Display>(&mut self, field: &str, result: Result<T, E>) -> Option<T> {
        result
            .map_err(|error| self.0.push(format!("{field}: {error}")))
            .ok()
    }
}

impl TryFrom<&FlashSale> for ValidSale {
    type Error = Invalid;

    fn try_from(sale: &FlashSale) -> Result<Self, Invalid> {
        let mut findings = Findings::default();
        let valid = check(sale, &mut findings);
        match valid {
            Some(valid) if findings.0.is_empty() => Ok(valid),
            _ => Err(Invalid(findings.0)),
        }
    }
}

impl ValidSale {
    /// What can be said of a sale whose spec is not valid: what is right in it, and the usual in place of the rest. It is for
    /// steering and settling a sale that has begun; nothing is built from it.
    pub fn salvaged(sale: &FlashSale) -> Option<Self> {
        let mut sale = sale.clone();
        let spec = &mut sale.spec;
        if Currency::parse(&spec.currency).is_err() {
            spec.currency = us_dollar();
        }
        for (text, usual) in [
            (&mut spec.warm_up, ten_minutes()),
            (&mut spec.reservation_ttl, ten_minutes()),
            (&mut spec.retain_for, one_day()),
        ] {
            if text.parse().is_err() {
                *text = usual;
            }
        }
        if let Some(url) = &spec.payment_url
            && PaymentUrl::parse(url).is_err()
        {
            spec.payment_url = None;
        }
        // Everything that this gives up on was replaced above.
        check(&sale, &mut Findings::default())
    }
}

/// `None` only together with a finding.
fn check(sale: &FlashSale, findings: &mut Findings) -> Option<ValidSale> {
    let spec = &sale.spec;
    let id = SaleId {
        namespace: sale.metadata.namespace.clone().unwrap_or_default(),
        name: sale.metadata.name.clone().unwrap_or_default(),
    };
    findings.require(is_name(&id.name), || {
        "metadata.name must be at most 40 lowercase letters, digits and '-', starting with a letter"
            .to_owned()
    });
    if let (Some(opens), Some(closes)) = (spec.opens_at, spec.closes_at) {
        findings.require(closes > opens, || {
            "spec.closesAt must be after spec.opensAt".to_owned()
        });
    }
    let currency = findings.note("spec.currency", Currency::parse(&spec.currency));
    let topics = TopicPlan {
        prefix: spec
            .kafka
            .topic_prefix
            .clone()
            .unwrap_or_else(|| id.default_topic_prefix(spec.mode == Mode::Rehearsal)),
        partitions: spec.kafka.partitions,
        replication_factor: i16::try_from(spec.kafka.replication_factor).unwrap_or(0),
    };
    findings.require((1..=100).contains(&topics.partitions), || {
        "spec.kafka.partitions must be from 1 to 100".to_owned()
    });
    findings.require((1..=15).contains(&topics.replication_factor), || {
        "spec.kafka.replicationFactor must be from 1 to 15".to_owned()
    });
    findings.require(is_topic_prefix(&topics.prefix), || {
        "spec.kafka.topicPrefix must consist of at most 150 letters, digits, '.', '_' and '-'".to_owned()
    });
    let duration = |field, text: &DurationText, findings: &mut Findings| findings.note(field, text.parse());
    let payment_url = spec.payment_url.as_ref();
    let payment_url = payment_url.map(|text| findings.note("spec.paymentUrl", PaymentUrl::parse(text)));
    let warm_up = duration("spec.warmUp", &spec.warm_up, findings);
    let reservation_ttl = duration("spec.reservationTtl", &spec.reservation_ttl, findings);
    findings.require(reservation_ttl != Some(Duration::ZERO), || {
        "spec.reservationTtl must be longer than 0s".to_owned()
    });
    let retain_for = duration("spec.retainFor", &spec.retain_for, findings);
    let admit = u32::try_from(spec.waiting_room.admit_per_second).unwrap_or(0);
    findings.require(admit > 0, || {
        "spec.waitingRoom.admitPerSecond must be at least 1".to_owned()
    });
    let rate_limits = rate_limits(&spec.rate_limits, findings);
    for range in spec.load_balancer.iter().flat_map(|wanted| &wanted.source_ranges) {
        findings.require(is_network(range), || {
            format!("spec.loadBalancer.sourceRanges: {range} is no network; write one such as 203.0.113.0/24")
        });
    }
    let services = Component::ALL
        .map(|component| service(sale, component, findings))
        .to_vec();
    expectation(spec, findings);
    let load = spec.load.as_ref().and_then(|wanted| load(spec, wanted, findings));
    let mut products = products(&spec.products, currency?, findings);
    if let Some(load) = &load {
        for product in &mut products {
            product.stock = product.stock.max(load.units());
        }
    }
    Some(ValidSale {
        id,
        uid: sale.metadata.uid.clone().unwrap_or_default(),
        generation: sale.metadata.generation.unwrap_or_default(),
        opens_at: spec.opens_at,
        closes_at: spec.closes_at,
        warm_up: warm_up?,
        mode: spec.mode,
        expect: spec.expect.clone().unwrap_or_default(),
        load,
        halted: spec.halted,
        on_audit_difference: spec.on_audit_difference,
        products,
        currency: currency?,
        confirmation: match spec.confirmation {
            Confirmation::Automatic => order::Confirmation::Automatic,
            Confirmation::Payment => order::Confirmation::Payment,
        },
        payment_url: match payment_url {
            Some(valid) => Some(valid?),
            None => None,
        },
        reservation_ttl: reservation_ttl?,
        rate_limits,
        waiting_room: WaitingRoom {
            // Not available yet; a sale that was applied before the rule that says so goes on without.
            enabled: false,
            admit_per_second: admit,
        },
        services,
        topics,
        by_host: spec.ingress.as_ref().map(ByHost::from),
        load_balancer: spec.load_balancer.clone(),
        backends_secret: spec
            .backends_secret_ref
            .as_ref()
            .map(|reference| reference.name.clone()),
        plaintext_passwords: spec.plaintext_passwords,
        retain_for: retain_for?,
        deletion_policy: spec.deletion_policy,
    })
}

/// Whether a text is an address and how many bits of it count.
fn is_network(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else {
        return false;
    };
    let (address, bits) = (address.parse::<IpAddr>(), bits.parse::<u8>());
    matches!(
        (address, bits),
        (Ok(IpAddr::V4(_)), Ok(0..=32)) | (Ok(IpAddr::V6(_)), Ok(0..=128))
    )
}

fn expectation(spec: &FlashSaleSpec, findings: &mut Findings) {
    let expect = spec.expect.clone().unwrap_or_default();
    findings.require(
        expect
            .buyers
            .is_none_or(|buyers| (1..=100_000_000).contains(&buyers)),
        || "spec.expect.buyers must be from 1 to 100000000".to_owned(),
    );
    let rate = expect.orders_per_second;
    findings.require(rate.is_none_or(|rate| (1..=100_000).contains(&rate)), || {
        "spec.expect.ordersPerSecond must be from 1 to 100000".to_owned()
    });
}

/// `None` only together with a finding.
fn load(spec: &FlashSaleSpec, wanted: &Load, findings: &mut Findings) -> Option<ValidLoad> {
    findings.require(spec.mode == Mode::Rehearsal, || {
        "spec.load is for rehearsals: set spec.mode to Rehearsal, or leave it out".to_owned()
    });
    let expect = spec.expect.clone().unwrap_or_default();
    let within = |value: i64, most: u32| {
        u32::try_from(value)
            .ok()
            .filter(|value| (1..=most).contains(value))
    };
    let rate = wanted
        .orders_per_second
        .or(expect.orders_per_second.map(|rate| (rate * 2).min(100_000)));
    let rate = within(rate.unwrap_or(USUAL_LOAD), 100_000);
    findings.require(rate.is_some(), || {
        "spec.load.ordersPerSecond must be from 1 to 100000".to_owned()
    });
    let buyers = wanted.buyers.or(expect.buyers.map(|buyers| buyers.min(200_000)));
    let buyers = within(buyers.unwrap_or(USUAL_LOAD), 200_000);
    findings.require(buyers.is_some(), || {
        "spec.load.buyers must be from 1 to 200000".to_owned()
    });
    let step: Option<Duration> = findings.note("spec.load.step", wanted.step.parse());
    let seconds = step.and_then(|step| u32::try_from(step.as_secs()).ok());
    let seconds = seconds.filter(|seconds| (1..=300).contains(seconds));
    findings.require(seconds.is_some(), || {
        "spec.load.step must be a duration from 1s to 5m".to_owned()
    });
    Some(ValidLoad {
        arrival: wanted.arrival,
        orders_per_second: rate?,
        buyers: buyers?,
        step_seconds: seconds?,
        beside_open_sales: wanted.beside_open_sales,
    })
    .filter(|_| spec.mode == Mode::Rehearsal)
}

fn is_name(name: &str) -> bool {
    name.len() <= 40
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && !name.ends_with('-')
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

fn is_topic_prefix(prefix: &str) -> bool {
    prefix.len() <= 150
        && prefix
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

fn rate_limits(limits: &[RateLimit], findings: &mut Findings) -> RateLimits {
    let mut seen = BTreeSet::new();
    let mut overrides = Vec::new();
    for limit in limits {
        let field = format!("spec.rateLimits[{}]", limit.route);
        findings.require(seen.insert(&limit.route), || {
            format!("{field} must not be repeated")
        });
        let route = LimitedRoute::parse(&limit.route);
        findings.require(route.is_some(), || {
            format!("{field} is no route that has a limit")
        });
        let requests = u32::try_from(limit.limit).ok().filter(|n| *n > 0);
        findings.require(requests.is_some(), || format!("{field}.limit must be at least 1"));
        let window = findings.note(&format!("{field}.window"), limit.window.parse());
        findings.require(window != Some(Duration::ZERO), || {
            format!("{field}.window must be longer than 0s")
        });
        if let (Some(route), Some(limit), Some(window)) = (route, requests, window) {
            let window_ms = u64::try_from(window.as_millis()).unwrap_or(u64::MAX);
            overrides.push(limits::RateLimit {
                route,
                limit,
                window_ms,
            });
        }
    }
    RateLimits::with_overrides(overrides)
}

fn service(sale: &FlashSale, component: Component, findings: &mut Findings) -> ValidService {
    let default = ValidService::default_of(component);
    let Some(size) = sale.spec.services.of(component) else {
        return default;
    };
    let Replicas { min, max, opening } = size.replicas.unwrap_or(Replicas {
        min: default.min,
        max: None,
        opening: None,
    });
    let max = max.unwrap_or(min);
    let opening = opening.unwrap_or(min);
    findings.require((min..=max.max(min)).contains(&opening), || {
        format!("spec.services.{component}.replicas.opening must be from {min} to {max}, not {opening}")
    });
    findings.require((1..=100).contains(&min) && (min..=100).contains(&max), || {
        format!("spec.services.{component}.replicas must have 1 <= min <= max <= 100, not {min} and {max}")
    });
    ValidService {
        component,
        min,
        max,
        opening,
        resources: size.resources.clone().unwrap_or_default(),
        scaling: size.scaling.clone().unwrap_or_default(),
    }
}

fn products(products: &[Product], currency: Currency, findings: &mut Findings) -> Vec<ValidProduct> {
    findings.require(!products.is_empty(), || {
        "spec.products must name at least one product".to_owned()
    });
    let mut seen = BTreeSet::new();
    let mut valid = Vec::new();
    for product in products {
        findings.require(seen.insert(&product.sku), || {
            format!("spec.products repeats the sku {}", product.sku)
        });
        valid.extend(checked_product(product, currency, findings));
    }
    valid
}

fn checked_product(product: &Product, currency: Currency, findings: &mut Findings) -> Option<ValidProduct> {
    let field = |name: &str| format!("spec.products[{}].{name}", product.sku);
    let sku = findings.note(&field("sku"), Sku::parse(&product.sku));
    let price = findings.note(&field("price"), Money::parse(&product.price, currency));
    let original_price = match &product.original_price {
        Some(text) => Some(findings.note(&field("originalPrice"), Money::parse(text, currency))?),
        None => None,
    };
    let image_url = match &product.image_url {
        Some(text) => Some(findings.note(&field("imageUrl"), ImageUrl::parse(text))?),
        None => None,
    };
    findings.require((0..=1_000_000_000).contains(&product.stock), || {
        format!(
            "{} must be from 0 to 1000000000, not {}",
            field("stock"),
            product.stock
        )
    });
    let limit = product
        .limit_per_customer
        .map(|limit| u32::try_from(limit).ok().filter(|limit| *limit > 0));
    findings.require(limit != Some(None), || {
        format!("{} must be at least 1", field("limitPerCustomer"))
    });
    Some(ValidProduct {
        sku: sku?,
        name: product.name.clone(),
        description: product.description.clone(),
        category: product.category.clone(),
        price: price?,
        original_price,
        image_url,
        stock: product.stock,
        limit_per_customer: limit.flatten(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A rule that was made tighter must not leave an open sale without its switch.
    #[test]
    fn what_is_right_in_a_spec_that_is_not_valid_still_steers() {
        for (pointer, value) in [
            ("/spec/currency", serde_json::json!("usd")),
            ("/spec/reservationTtl", serde_json::json!("1 hour")),
            ("/spec/products/0/price", serde_json::json!("free")),
        ] {
            let mut sale = sale_with(pointer, value);
            sale.spec.halted = true;
            assert!(ValidSale::try_from(&sale).is_err(), "{pointer}");
            let salvaged = ValidSale::salvaged(&sale).unwrap();
            assert!(salvaged.halted, "{pointer}");
            assert_eq!(salvaged.closes_at, sale.spec.closes_at);
            assert_eq!(salvaged.id.name, "laptops");
        }
    }

    /// A sale written by hand, with one path of its JSON replaced.
    fn sale_with(pointer: &str, value: serde_json::Value) -> FlashSale {
        let mut json = serde_json::json!({
            "apiVersion": "quicksale.io/v1alpha1", "kind": "FlashSale",
            "metadata": {"name": "laptops", "namespace": "shop"},
            "spec": {
                "opensAt": "2026-12-01T12:00:00Z", "closesAt": "2026-12-01T14:00:00Z", "currency": "USD",
                "reservationTtl": "10m", "kafka": {"partitions": 12},
                "rateLimits": [{"route": "/api/orders", "limit": 10, "window": "60s"}],
                "services": {"order": {"replicas": {"min": 2, "max": 4}}},
                "products": [{"sku": "A", "name": "a", "price": "799.99", "stock": 50, "limitPerCustomer": 1}],
            },
        });
        if let Some(place) = json.pointer_mut(pointer) {
            *place = value;
        }
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn a_good_sale_becomes_values() {
        let valid = ValidSale::try_from(&sale_with("/spec/currency", "USD".into())).unwrap();
        assert_eq!(valid.products[0].price.minor(), 79_999);
        assert_eq!(valid.topics.prefix, "shop.laptops.");
        assert_eq!(
            (
                valid.service(Component::Order).min,
                valid.service(Component::Order).max
            ),
            (2, 4)
        );
        assert_eq!(valid.service(Component::Gateway).min, 2);
    }

    #[test]
    fn what_the_api_server_refuses_is_refused_here_too() {
        let one = serde_json::json!({"sku": "A", "name": "a", "price": "1", "stock": 1});
        for (pointer, value, field) in [
            ("/metadata/name", "Laptops".into(), "metadata.name"),
            ("/spec/closesAt", "2026-12-01T12:00:00Z".into(), "spec.closesAt"),
            ("/spec/products", serde_json::json!([]), "spec.products"),
            ("/spec/products", serde_json::json!([one, one]), "sku A"),
            ("/spec/products/0/stock", (-1).into(), "stock"),
            ("/spec/products/0/price", "12.345".into(), "price"),
            ("/spec/products/0/limitPerCustomer", 0.into(), "limitPerCustomer"),
            ("/spec/rateLimits/0/route", "/api/nothing".into(), "/api/nothing"),
            ("/spec/rateLimits/0/window", "0s".into(), "window"),
            ("/spec/rateLimits/0/limit", 0.into(), "limit"),
            ("/spec/reservationTtl", "0s".into(), "spec.reservationTtl"),
            (
                "/spec/services/order/replicas/max",
                1.into(),
                "spec.services.order.replicas",
            ),
            ("/spec/kafka/partitions", 0.into(), "spec.kafka.partitions"),
            ("/spec/currency", "usd".into(), "spec.currency"),
        ] {
            let refused = ValidSale::try_from(&sale_with(pointer, value)).unwrap_err();
            assert!(refused.to_string().contains(field), "{pointer}: {refused}");
        }
    }
}
