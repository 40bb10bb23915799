//! The rules that the API server enforces, as CEL. Each refusal names the field and says what to do.
//!
//! Rules on `metadata` and on what a sale in a later phase may change stand at the root, where CEL sees the status
//! that the operator wrote. A rule on a change compares with `oldSelf` and so never bites on creation. Everything a
//! rule walks over is bounded (`maxItems`, `maxLength`): the API server refuses rules that could become expensive.

use kube::core::Rule;
use sale::{Currency, limits::LimitedRoute};

fn rule(expression: impl Into<String>, message: impl Into<String>) -> Rule {
    Rule::new(expression).message(message.into().as_str())
}

/// What a duration looks like; see [`crate::duration::DurationText`].
const DURATION: &str = "self.matches('^([0-9]{1,6}(h|m|s|ms))+$')";

/// The longest that a duration may be, in hours.
#[derive(Debug, Clone, Copy)]
pub struct Hours(pub u32);

/// A duration, possibly zero.
pub fn duration(field: &str, longest: Hours, example: &str) -> Rule {
    let Hours(most) = longest;
    rule(
        format!("{DURATION} && duration(self) <= duration('{most}h')"),
        format!(
            "{field} must be a duration of at most {most}h with the units h, m, s or ms; write one {example}"
        ),
    )
}

/// A duration longer than zero.
pub fn duration_above_zero(field: &str, longest: Hours, example: &str) -> Rule {
    let Hours(most) = longest;
    rule(
        format!("{DURATION} && duration(self) > duration('0s') && duration(self) <= duration('{most}h')"),
        format!(
            "{field} must be a duration longer than 0s and of at most {most}h, with the units h, m, s or ms; write one \
             {example}"
        ),
    )
}

/// The name leaves room for what is made from it.
pub fn sale_name() -> Rule {
    rule(
        "self.metadata.name.size() <= 40 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
        "metadata.name must be at most 40 lowercase letters, digits and '-', starting with a letter, because the \
         sale's objects are named after it; choose another name",
    )
}

/// closesAt is after opensAt.
pub fn closes_after_opening() -> Rule {
    rule(
        "!has(self.closesAt) || !has(self.opensAt) || self.closesAt > self.opensAt",
        "spec.closesAt must be after spec.opensAt; move the closing to a later time or leave it out",
    )
    .field_path(".closesAt")
}

/// There is something to sell.
pub fn products_not_empty() -> Rule {
    rule(
        "self.size() > 0",
        "spec.products must name at least one product; add one with sku, name, price and stock",
    )
}

/// Each SKU once.
pub fn skus_unique() -> Rule {
    rule(
        "self.all(p, self.exists_one(q, q.sku == p.sku))",
        "spec.products must not repeat a sku; give each product a sku of its own, or add up the stock of the two",
    )
}

/// A SKU's letters.
pub fn sku() -> Rule {
    rule(
        "self.matches('^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$')",
        "spec.products[].sku must have 1 to 64 letters, digits, '.', '_' or '-', starting with a letter or digit; \
         rename it, for example to FLASH-LAPTOP-001",
    )
}

/// A product has a name.
pub fn product_name() -> Rule {
    rule(
        "self.size() > 0",
        "spec.products[].name must not be empty; write the name that buyers see",
    )
}

/// A picture's address, as [`sale::ImageUrl`] has it.
pub fn image_url() -> Rule {
    rule(
        "self.matches('^https://[A-Za-z0-9][A-Za-z0-9.:-]*([/?#][A-Za-z0-9._~:/?#@!$&()*+,;=%-]*)?$')",
        "spec.products[].imageUrl must begin with https:// and a host, without a password, and have the characters of an \
         address; write it like https://cdn.example/laptop.webp",
    )
}

/// Where orders are paid, as [`sale::PaymentUrl`] has it.
pub fn payment_url() -> Rule {
    let rest = "[A-Za-z0-9._~:/?#@!$&()*+,;=%-]*";
    rule(
        format!("self.matches('^https://[A-Za-z0-9][A-Za-z0-9.:-]*[/?#]{rest}[{{]orderId[}}]{rest}$')"),
        "spec.paymentUrl must begin with https:// and a host, without a password, and have {orderId} once behind it; write it \
         like https://pay.example/{orderId}",
    )
}

/// Nobody pays for an order that is confirmed already.
pub fn payment_url_needs_payment() -> Rule {
    rule(
        "!has(self.paymentUrl) || self.confirmation == 'Payment'",
        "spec.paymentUrl is where buyers pay, and with spec.confirmation Automatic nobody does; set spec.confirmation to Payment, or \
         leave it out",
    )
    .field_path(".paymentUrl")
}

/// A price is a plain decimal.
pub fn decimal(field: &str) -> Rule {
    rule(
        "self.matches('^[0-9]+([.][0-9]+)?$')",
        format!(
            "spec.products[].{field} must be a decimal string; write digits with an optional decimal point, such as \"799.99\""
        ),
    )
}

/// A price has no more digits than its currency, on both sides of the point.
pub fn price_digits(field: &str) -> Rule {
    // As many digits before the point as Money::MAX_MINOR, ten digits of minor units, leaves.
    let fits = |whole: u8, digits: u8| {
        let fraction = if digits == 0 {
            String::new()
        } else {
            format!("([.][0-9]{{1,{digits}}})?")
        };
        let priced = format!("p.{field}.matches('^[0-9]{{1,{whole}}}{fraction}$')");
        match field {
            "price" => format!("self.products.all(p, {priced})"),
            _ => format!("self.products.all(p, !has(p.{field}) || {priced})"),
        }
    };
    rule(
        format!(
            "self.currency in {none} ? {whole} : self.currency in {three} ? {mills} : {cents}",
            none = currencies_with(0),
            whole = fits(10, 0),
            three = currencies_with(3),
            mills = fits(7, 3),
            cents = fits(8, 2),
        ),
        format!(
            "spec.products[].{field} must have no more decimals than spec.currency has (2 for USD and most, 0 for JPY, \
             3 for KWD) and at most 10 digits in all; round it, for example \"12.345\" to \"12.35\" in USD"
        ),
    )
    .field_path(".products")
}

/// The currencies with so many digits as a CEL list. Asked of [`Currency`] itself, so that there is one table.
fn currencies_with(digits: usize) -> String {
    let letters = || (b'A'..=b'Z').map(char::from);
    let codes =
        letters().flat_map(|a| letters().flat_map(move |b| letters().map(move |c| format!("{a}{b}{c}"))));
    let matching = codes
        .filter(|code| Currency::parse(code).is_ok_and(|currency| currency.digits() == digits))
        .map(|code| format!("'{code}'"));
    format!("[{}]", matching.collect::<Vec<_>>().join(", "))
}

/// A currency's letters.
pub fn currency() -> Rule {
    rule(
        "self.matches('^[A-Z]{3}$')",
        "spec.currency must be a three-letter ISO 4217 code; write one such as USD",
    )
}

/// Stock is no debt.
pub fn stock_not_negative() -> Rule {
    rule(
        "self >= 0",
        "spec.products[].stock must not be negative; write how many units are for sale, 0 or more",
    )
}

/// Stock fits every reader.
pub fn stock_bound() -> Rule {
    rule(
        "self <= 1000000000",
        "spec.products[].stock must be at most 1000000000; lower it",
    )
}

/// A limit lets something through.
pub fn limit_per_customer() -> Rule {
    rule(
        "self >= 1 && self <= 1000000000",
        "spec.products[].limitPerCustomer must be at least 1; raise it, or leave it out for no limit",
    )
}

/// The route is one that has a limit.
pub fn rate_limit_route() -> Rule {
    let routes = LimitedRoute::ALL.map(LimitedRoute::as_str);
    rule(
        format!("self in ['{}']", routes.join("', '")),
        format!(
            "spec.rateLimits[].route must be a route that has a limit; write one of {}, where * is everything else",
            routes.join(", ")
        ),
    )
}

/// A limit lets something through.
pub fn rate_limit_limit() -> Rule {
    rule(
        "self >= 1 && self <= 1000000000",
        "spec.rateLimits[].limit must be from 1 to 1000000000; to refuse every order set spec.halted instead",
    )
}

/// Each route once.
pub fn rate_limits_unique() -> Rule {
    rule(
        "self.all(l, self.exists_one(m, m.route == l.route))",
        "spec.rateLimits must not repeat a route; keep one limit for each",
    )
}

/// Nobody is promised a waiting room that does not exist.
pub fn no_waiting_room() -> Rule {
    rule(
        "!self",
        "spec.waitingRoom.enabled is not available in this version; leave it out, and bound the crowd by \
         spec.rateLimits",
    )
}

/// The waiting room lets somebody in.
pub fn admit_per_second() -> Rule {
    rule(
        "self >= 1 && self <= 1000000",
        "spec.waitingRoom.admitPerSecond must be from 1 to 1000000; to let nobody in set spec.halted instead",
    )
}

/// A crowd is somebody.
pub fn expected_buyers() -> Rule {
    rule(
        "self >= 1 && self <= 100000000",
        "spec.expect.buyers must be from 1 to 100000000; leave it out where nobody knows",
    )
}

/// A rate is above zero, and one that a load can bring about.
pub fn orders_per_second(of: &str) -> Rule {
    rule(
        "self >= 1 && self <= 100000",
        format!("{of}.ordersPerSecond must be from 1 to 100000; leave it out where nobody knows"),
    )
}

/// A crowd that fits the memory of one pod.
pub fn load_buyers() -> Rule {
    rule(
        "self >= 1 && self <= 200000",
        "spec.load.buyers must be from 1 to 200000; a larger crowd takes more than one pod can bring about",
    )
}

/// A rate lasts for whole seconds.
pub fn load_step() -> Rule {
    rule(
        format!("{DURATION} && duration(self) >= duration('1s') && duration(self) <= duration('5m')"),
        "spec.load.step must be a duration from 1s to 5m; write one such as 10s",
    )
}

/// Nobody lets a load loose on a sale that counts.
pub fn load_needs_rehearsal() -> Rule {
    rule(
        "!has(self.load) || self.mode == 'Rehearsal'",
        "spec.load is for rehearsals: set spec.mode to Rehearsal, in a FlashSale of its own, or leave it out",
    )
    .field_path(".load")
}

/// Topics have partitions.
pub fn partitions() -> Rule {
    rule(
        "self >= 1 && self <= 100",
        "spec.kafka.partitions must be from 1 to 100; 12 suits most sales",
    )
}

/// Partitions have copies.
pub fn replication_factor() -> Rule {
    rule(
        "self >= 1 && self <= 15",
        "spec.kafka.replicationFactor must be from 1 to 15, and at most the number of brokers; 3 suits production",
    )
}

/// A prefix makes topic names.
pub fn topic_prefix() -> Rule {
    rule(
        "self.matches('^[a-zA-Z0-9._-]{0,150}$')",
        "spec.kafka.topicPrefix must consist of letters, digits, '.', '_' and '-'; rename it, or leave it out",
    )
}

/// A host name without a port or a path.
pub fn ingress_host() -> Rule {
    rule(
        "self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",
        "spec.ingress.host must be a lowercase host name without port or path; write one such as laptops.example.com",
    )
}

/// A Gateway has a class and certificates of its own.
pub fn a_gateway_has_its_own_class() -> Rule {
    rule(
        "!has(self.parentRef) || !has(self.className) && !has(self.tlsSecretName)",
        "spec.ingress.parentRef is a Gateway, which has its own class and certificates: leave className and tlsSecretName out, and write \
         https: true where its listener has a certificate",
    )
    .field_path(".parentRef")
}

/// Annotations of an Ingress, an HTTPRoute or a load balancer are such as Kubernetes takes, and not the operator's own: the rule and its
/// sentence.
pub const ENTRANCE_ANNOTATIONS: [&str; 2] = [
    "self.all(key, !key.startsWith('quicksale.io/') && \
     key.matches('^([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?([.][a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?){0,8}/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$'))",
    "annotations of spec.ingress and spec.loadBalancer must have names such as cert-manager.io/cluster-issuer, and none that begins with \
     quicksale.io/; those are the operator's",
];

/// `loadBalancer.port` is one.
pub fn load_balancer_port() -> Rule {
    rule(
        "self >= 1 && self <= 65535",
        "spec.loadBalancer.port must be from 1 to 65535; 80 is what browsers come to",
    )
}

/// A name in `ingress.parentRef` is one that Kubernetes takes; a namespace is without dots.
pub fn gateway_name(field: &str) -> Rule {
    rule(
        if field == "namespace" {
            "self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')"
        } else {
            "self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')"
        },
        format!(
            "spec.ingress.parentRef.{field} must be a name that Kubernetes takes; write a lowercase one such as front"
        ),
    )
}

/// `loadBalancer.className` is one that Kubernetes takes.
pub fn load_balancer_class() -> Rule {
    rule(
        "self.matches('^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$')",
        "spec.loadBalancer.className must be a name such as internal or example.com/internal",
    )
}

/// `loadBalancer.sourceRanges` look like networks; whether each is one is found when it is read.
pub fn source_ranges() -> Rule {
    rule(
        "self.all(range, range.matches('^(((25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])[.]){3}(25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])/(3[0-2]|[12]?[0-9])|\
         [0-9a-fA-F:]*:[0-9a-fA-F:]*/(12[0-8]|1[01][0-9]|[1-9]?[0-9]))$'))",
        "spec.loadBalancer.sourceRanges must be networks; write them like 203.0.113.0/24",
    )
}

/// What a sale opens with is in its range.
pub fn opening_in_range() -> Rule {
    rule(
        "!has(self.opening) || (self.opening >= self.min && self.opening <= (has(self.max) ? self.max : self.min))",
        "spec.services.*.replicas.opening must be from min to max; raise max, or leave it out",
    )
    .field_path(".opening")
}

/// The range is one.
pub fn replica_range() -> Rule {
    rule(
        "!has(self.max) || self.max >= self.min",
        "spec.services.*.replicas.max must not be less than min; raise max or lower min",
    )
    .field_path(".max")
}

/// A limit is one. Zero is none to Kubernetes, whatever stands behind it.
pub fn memory_limit_above_zero() -> Rule {
    rule(
        "!has(self.memory) || !string(self.memory).matches('^[0.]+[A-Za-z]*$')",
        "spec.services.*.resources.limits.memory must be more than 0, which would be no limit at all; write one such as \
         256Mi, or leave it out for the usual one",
    )
    .field_path(".memory")
}

/// A sane number of replicas.
pub fn replica_bounds(field: &str) -> Rule {
    rule(
        "self >= 1 && self <= 100",
        format!("spec.services.*.replicas.{field} must be from 1 to 100"),
    )
}

/// `scaling.cpuPercent` is a share that a replica can use.
pub fn cpu_percent() -> Rule {
    rule(
        "self >= 1 && self <= 1000",
        "spec.services.*.scaling.cpuPercent must be from 1 to 1000, the part of the requested CPU that a replica should use; 60 suits a crowd",
    )
}

/// `scaling.metrics[].name` is one segment of an address, as external.metrics.k8s.io has it.
pub fn metric_name() -> Rule {
    rule(
        "self.matches('^[A-Za-z_][A-Za-z0-9_.:-]*$')",
        "spec.services.*.scaling.metrics[].name must be the name of a metric; write one such as quicksale_lane_lag",
    )
}

/// `scaling.metrics[].labels` can be selected by, and are of this sale: the rule and its sentence.
pub const METRIC_LABELS: [&str; 2] = [
    "self.all(label, label.matches('^[A-Za-z][A-Za-z0-9_]{0,62}$') && label != 'sale' && \
     self[label].matches('^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$'))",
    "spec.services.*.scaling.metrics[].labels must be labels of the metric other than sale, which is added, with values of letters, digits, \
     '.', '_' and '-'; write them like group: order",
];

/// `scaling.metrics[].perReplica` is above zero: as many replicas are wanted as the sum of the series has of it.
pub fn per_replica() -> Rule {
    rule(
        "self >= 1 && self <= 1000000000000",
        "spec.services.*.scaling.metrics[].perReplica must be from 1 to 1000000000000; write how much of the metric one replica is for",
    )
}

/// True for a sale whose data does not exist yet.
const PENDING: &str =
    "(!has(oldSelf.status) || !has(oldSelf.status.phase) || oldSelf.status.phase == 'Pending')";
/// True for a sale that has not opened yet. The doors open by the gateways' clocks, so the phase alone does not tell.
const NOT_OPEN: &str = "(!has(oldSelf.status) || !has(oldSelf.status.openedAt) && (!has(oldSelf.status.phase) || \
     oldSelf.status.phase in ['Pending', 'Warming']))";

/// True for a sale that is over.
const ENDED: &str = "(has(oldSelf.status.phase) && oldSelf.status.phase == 'Ended')";

/// Prices in the store are in the currency they were written with.
pub fn currency_is_fixed() -> Rule {
    rule(
        format!("{PENDING} || self.spec.currency == oldSelf.spec.currency"),
        "spec.currency cannot change once the sale warms up; delete the sale with deletionPolicy Delete and apply a new one",
    )
    .field_path(".spec.currency")
}

/// Topics are cut once.
pub fn kafka_is_fixed() -> Rule {
    rule(
        format!("{PENDING} || self.spec.kafka == oldSelf.spec.kafka"),
        "spec.kafka cannot change once the sale warms up; delete the sale with deletionPolicy Delete and apply a new one",
    )
    .field_path(".spec.kafka")
}

/// The data of a sale is where it was begun.
pub fn backends_are_fixed() -> Rule {
    rule(
        format!(
            "{PENDING} || has(self.spec.backendsSecretRef) == has(oldSelf.spec.backendsSecretRef) && \
             (!has(self.spec.backendsSecretRef) || self.spec.backendsSecretRef == oldSelf.spec.backendsSecretRef)"
        ),
        "spec.backendsSecretRef cannot change once the sale warms up, because its orders are where it leads; edit the Secret \
         itself for new credentials, or delete the sale and apply a new one",
    )
    .field_path(".spec.backendsSecretRef")
}

/// A rehearsal never becomes a sale.
pub fn mode_is_fixed() -> Rule {
    rule(
        format!("{PENDING} || self.spec.mode == oldSelf.spec.mode"),
        "spec.mode cannot change once the sale warms up; delete the sale with deletionPolicy Delete and apply a new one",
    )
    .field_path(".spec.mode")
}

/// What has opened has opened.
pub fn opening_is_fixed() -> Rule {
    rule(
        format!(
            "{NOT_OPEN} || has(self.spec.opensAt) == has(oldSelf.spec.opensAt) && \
             (!has(self.spec.opensAt) || self.spec.opensAt == oldSelf.spec.opensAt)"
        ),
        "spec.opensAt cannot change once the sale is open; to stop new orders set spec.halted or spec.closesAt",
    )
    .field_path(".spec.opensAt")
}

/// Buyers are where they were told to go, and gateway and notifier know one host and whether it has a certificate.
pub fn host_is_fixed() -> Rule {
    let host = "has({}.spec.ingress) ? {}.spec.ingress.host : ''";
    let tls = "has({}.spec.ingress) && has({}.spec.ingress.tlsSecretName)";
    let same = |text: &str| {
        let of = |object: &str| text.replace("{}", object);
        format!("({}) == ({})", of("self"), of("oldSelf"))
    };
    rule(
        format!("{NOT_OPEN} || {} && {}", same(host), same(tls)),
        "spec.ingress.host cannot change, and spec.ingress.tlsSecretName can neither come nor go, once the sale is open, \
         because its buyers are there; for another host, make an Ingress of your own that leads to the Services of the \
         sale's gateway and notifier",
    )
    .field_path(".spec.ingress")
}

/// Gateways know whether buyers come by HTTPS.
pub fn https_is_fixed() -> Rule {
    let [https, before] = ["self", "oldSelf"].map(|object| {
        format!(
            "(has({object}.spec.ingress) && has({object}.spec.ingress.https) && {object}.spec.ingress.https)"
        )
    });
    rule(
        format!("{NOT_OPEN} || {https} == {before}"),
        "spec.ingress.https cannot change once the sale is open, because its gateways go by what it was opened with; change it for the \
         next sale",
    )
    .field_path(".spec.ingress.https")
}

/// Buyers are where they were told to go.
pub fn gateway_is_fixed() -> Rule {
    let [has, had] = ["self", "oldSelf"]
        .map(|object| format!("(has({object}.spec.ingress) && has({object}.spec.ingress.parentRef))"));
    rule(
        format!(
            "{NOT_OPEN} || {has} == {had} && (!{has} || self.spec.ingress.parentRef == oldSelf.spec.ingress.parentRef)"
        ),
        "spec.ingress.parentRef cannot change once the sale is open, because its buyers are there; for another Gateway, make an HTTPRoute \
         of your own that leads to the Services of the sale's gateway and notifier",
    )
    .field_path(".spec.ingress.parentRef")
}

/// Buyers have its address.
pub fn load_balancer_is_fixed() -> Rule {
    rule(
        format!(
            "{NOT_OPEN} || {ENDED} || !has(oldSelf.spec.loadBalancer) || has(self.spec.loadBalancer) && \
             self.spec.loadBalancer.port == oldSelf.spec.loadBalancer.port"
        ),
        "spec.loadBalancer cannot go away once the sale is open, nor have another port, because its buyers are there; take it away when \
         the sale is Ended",
    )
    .field_path(".spec.loadBalancer")
}

/// Kubernetes keeps to the class that a load balancer was made with.
pub fn load_balancer_class_is_fixed() -> Rule {
    let class = |object: &str| {
        format!("(has({object}.spec.loadBalancer.className) ? {object}.spec.loadBalancer.className : '')")
    };
    let there = "has(self.spec.loadBalancer) && has(oldSelf.spec.loadBalancer)";
    rule(
        format!("{PENDING} || !({there}) || {} == {}", class("self"), class("oldSelf")),
        "spec.loadBalancer.className cannot change once the sale warms up; before it opens, take spec.loadBalancer away and write it \
         anew, which gives it another address",
    )
    .field_path(".spec.loadBalancer.className")
}

/// The pages that buyers have open lead where they led.
pub fn payment_url_is_fixed() -> Rule {
    rule(
        format!(
            "{NOT_OPEN} || has(self.spec.paymentUrl) == has(oldSelf.spec.paymentUrl) && \
             (!has(self.spec.paymentUrl) || self.spec.paymentUrl == oldSelf.spec.paymentUrl)"
        ),
        "spec.paymentUrl cannot change once the sale is open, because its buyers' pages lead there; let the page at the old address \
         send them on",
    )
    .field_path(".spec.paymentUrl")
}

/// Orders were accepted by these terms, and another one would start every pod of an open sale anew.
pub fn confirmation_is_fixed() -> Rule {
    rule(
        format!(
            "{NOT_OPEN} || self.spec.confirmation == oldSelf.spec.confirmation && \
             self.spec.reservationTtl == oldSelf.spec.reservationTtl"
        ),
        "spec.confirmation and spec.reservationTtl cannot change once the sale is open, because its buyers ordered by them; \
         they are for the next sale",
    )
    .field_path(".spec.confirmation")
}

/// The inventory holds these products from the warm-up on, and buyers hold units of them.
pub fn skus_are_fixed() -> Rule {
    rule(
        format!("{PENDING} || oldSelf.spec.products.all(o, self.spec.products.exists(p, p.sku == o.sku))"),
        "spec.products[].sku cannot change or go away once the sale warms up; set stock to what is sold to stop selling \
         it, or add another product",
    )
    .field_path(".spec.products")
}

/// What is sold is sold. The operator knows the count some seconds late, so the inventory decides in the end.
pub fn stock_covers_commitments() -> Rule {
    rule(
        "!has(oldSelf.status) || !has(oldSelf.status.products) || self.spec.products == oldSelf.spec.products || \
         oldSelf.status.products.all(s, self.spec.products.all(p, p.sku != s.sku || p.stock >= s.sold + s.reserved \
         || oldSelf.spec.products.exists(o, o.sku == p.sku && o.stock == p.stock)))",
        "spec.products[].stock must not be less than the units reserved and sold; see status.products and raise it",
    )
    .field_path(".spec.products")
}
