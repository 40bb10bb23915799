//! For each rule of a FlashSale, by the beginning of its sentence: specs that it refuses, and specs as near to them as it lets pass.

use quicksale_tests::cluster::small_sale;
use serde_json::{Value, json};

/// A rule on a spec.
pub(super) struct Rule {
    /// How its sentence begins.
    pub(super) says: &'static str,
    /// Changes of a small sale that it refuses, each a pointer and a value.
    pub(super) refuses: Vec<Change>,
    /// Changes that pass.
    pub(super) passes: Vec<Change>,
}

/// Fields and their values.
pub(super) type Change = Vec<(&'static str, Value)>;

/// A small sale with the change, as far as its fields are there: one that another has taken away or has made something else cannot change.
pub(super) fn spec(change: &[(&'static str, Value)]) -> Value {
    let mut spec = small_sale();
    for (pointer, value) in change {
        let (parent, field) = pointer.rsplit_once('/').unwrap_or_default();
        let mut place = Some(&mut spec);
        for name in parent.split('/').filter(|name| !name.is_empty()) {
            place = match place {
                Some(Value::Object(fields)) => Some(fields.entry(name).or_insert(json!({}))),
                Some(Value::Array(items)) => name.parse().ok().and_then(|at: usize| items.get_mut(at)),
                _ => None,
            };
        }
        if let Some(Value::Object(parent)) = place {
            parent.insert(field.to_owned(), value.clone());
        }
    }
    spec
}

fn rule(says: &'static str, refuses: Vec<Change>, passes: Vec<Change>) -> Rule {
    Rule {
        says,
        refuses,
        passes,
    }
}

/// A rule on one field.
fn field(says: &'static str, pointer: &'static str, refused: &[Value], passing: &[Value]) -> Rule {
    let each = |values: &[Value]| {
        values
            .iter()
            .map(|value| vec![(pointer, value.clone())])
            .collect()
    };
    rule(says, each(refused), each(passing))
}

fn product(sku: &str) -> Value {
    json!({"sku": sku, "name": "A", "price": "1", "stock": 1})
}

/// The rules on a spec alone.
pub(super) fn on_a_spec() -> Vec<Rule> {
    let mut all = times_and_money();
    all.extend(products());
    all.extend(sizes_and_addresses());
    all.extend(rehearsals());
    all
}

fn times_and_money() -> Vec<Rule> {
    let (early, late) = (json!("2126-12-01T12:00:00Z"), json!("2126-12-01T12:00:01Z"));
    let times =
        |opens: &Value, closes: &Value| vec![("/opensAt", opens.clone()), ("/closesAt", closes.clone())];
    let priced = |currency: &str, price: &str| {
        vec![
            ("/currency", json!(currency)),
            ("/products/0/price", json!(price)),
        ]
    };
    let was = |currency: &str, price: &str| {
        let mut change = priced(currency, "1");
        change.push(("/products/0/originalPrice", json!(price)));
        change
    };
    vec![
        rule(
            "spec.closesAt must be after spec.opensAt",
            vec![times(&late, &early), times(&early, &early)],
            vec![times(&early, &late), vec![("/closesAt", late.clone())]],
        ),
        field(
            "this must be a time in RFC 3339",
            "/opensAt",
            &[json!("1999-12-31T23:59:59Z"), json!("2200-01-01T00:00:00Z")],
            &[
                json!("2000-01-01T00:00:01Z"),
                json!("2199-12-31T23:59:59.999999999+00:00"),
                json!("2126-12-01T12:00:00-23:59"),
            ],
        ),
        field(
            "spec.warmUp must be a duration of at most 720h",
            "/warmUp",
            &[
                json!("720h1ms"),
                json!("ten minutes"),
                json!(""),
                json!("1d"),
                json!("1.5h"),
                json!("1234567s"),
            ],
            &[
                json!("720h"),
                json!("0s"),
                json!("1h30m"),
                json!("500ms"),
                json!("43200m"),
            ],
        ),
        field(
            "spec.retainFor must be a duration of at most 8784h",
            "/retainFor",
            &[json!("8785h"), json!("-1s")],
            &[json!("8784h"), json!("0h")],
        ),
        field(
            "spec.reservationTtl must be a duration longer than 0s",
            "/reservationTtl",
            &[json!("0s"), json!("0h0m0s"), json!("999h")],
            &[json!("1ms"), json!("24h")],
        ),
        field(
            "spec.currency must be a three-letter",
            "/currency",
            &[json!("usd"), json!("US"), json!("USDT"), json!("")],
            &[json!("EUR"), json!("XYZ")],
        ),
        rule(
            "spec.products[].price must have no more decimals",
            vec![
                priced("USD", "1.001"),
                priced("JPY", "1.0"),
                priced("KWD", "1.0001"),
                priced("USD", "123456789"),
                priced("JPY", "12345678901"),
                priced("KWD", "12345678"),
            ],
            vec![
                priced("USD", "12345678.99"),
                priced("JPY", "1234567890"),
                priced("KWD", "1234567.999"),
                priced("EUR", "0"),
                priced("USD", "1.5"),
            ],
        ),
        rule(
            "spec.products[].originalPrice must have no more decimals",
            vec![was("USD", "1.001"), was("JPY", "1.0")],
            vec![was("USD", "1.00"), was("JPY", "1")],
        ),
    ]
}

fn products() -> Vec<Rule> {
    let letters = "a".repeat(64);
    vec![
        field(
            "spec.products must name at least one",
            "/products",
            &[json!([])],
            &[json!([product("A")])],
        ),
        field(
            "spec.products must not repeat a sku",
            "/products",
            &[json!([product("A"), product("B"), product("A")])],
            &[json!([product("A"), product("a")])],
        ),
        field(
            "spec.products[].sku must have 1 to 64",
            "/products/0/sku",
            &[json!(""), json!("-A"), json!("A B"), json!("Ä"), json!("A/B")],
            &[json!(letters), json!("0"), json!("A._-")],
        ),
        field(
            "spec.products[].name must not be empty",
            "/products/0/name",
            &[json!("")],
            &[json!("ü")],
        ),
        field(
            "spec.products[].price must be a decimal",
            "/products/0/price",
            &[
                json!("-1"),
                json!("1,5"),
                json!("1."),
                json!(".5"),
                json!(""),
                json!("1e3"),
            ],
            &[json!("0.5"), json!("007")],
        ),
        field(
            "spec.products[].originalPrice must be a decimal",
            "/products/0/originalPrice",
            &[json!("free"), json!("+1")],
            &[json!("900")],
        ),
        field(
            "spec.products[].imageUrl must begin with https",
            "/products/0/imageUrl",
            &[
                json!("http://cdn.example/a"),
                json!("https://"),
                json!("https://me:word@cdn.example/a"),
                json!("https://cdn.example/a b"),
                json!("https://cdn.example/\""),
            ],
            &[
                json!("https://cdn.example"),
                json!("https://cdn.example:8443/a.webp?v=1#x"),
                json!("https://1.2.3.4/"),
            ],
        ),
        field(
            "spec.products[].stock must not be negative",
            "/products/0/stock",
            &[json!(-1)],
            &[json!(0)],
        ),
        field(
            "spec.products[].stock must be at most",
            "/products/0/stock",
            &[json!(1_000_000_001)],
            &[json!(1_000_000_000)],
        ),
        field(
            "spec.products[].limitPerCustomer must be at least 1",
            "/products/0/limitPerCustomer",
            &[json!(0), json!(1_000_000_001)],
            &[json!(2), json!(1_000_000_000)],
        ),
    ]
}

fn sizes_and_addresses() -> Vec<Rule> {
    let limit =
        |limit: i64, route: &str, window: &str| json!({"route": route, "limit": limit, "window": window});
    let one = |one: Value| json!([one]);
    let host = |host: &str| json!({"host": host});
    let by_gateway = |parent: Value| json!({"host": "a.example", "parentRef": parent});
    let paid = |url: &str| vec![("/confirmation", json!("Payment")), ("/paymentUrl", json!(url))];
    let metric = |name: &str, labels: Value, per_replica: i64| json!({"scaling": {"metrics": [{"name": name, "labels": labels, "perReplica": per_replica}]}});
    let range = |min: i64, max: i64| json!({"min": min, "max": max});
    vec![
        field(
            "spec.rateLimits[].route must be a route",
            "/rateLimits",
            &[one(limit(1, "/api/cart", "1s")), one(limit(1, "", "1s"))],
            &[one(limit(1, "*", "1s")), one(limit(1, "/api/auth/login", "1s"))],
        ),
        field(
            "spec.rateLimits[].limit must be from 1",
            "/rateLimits",
            &[one(limit(0, "*", "1s")), one(limit(1_000_000_001, "*", "1s"))],
            &[one(limit(1_000_000_000, "*", "1s"))],
        ),
        field(
            "spec.rateLimits[].window must be a duration",
            "/rateLimits",
            &[one(limit(1, "*", "0s")), one(limit(1, "*", "25h"))],
            &[one(limit(1, "*", "1ms")), one(limit(1, "*", "24h"))],
        ),
        field(
            "spec.rateLimits must not repeat a route",
            "/rateLimits",
            &[json!([limit(1, "*", "1s"), limit(2, "*", "1s")])],
            &[json!([limit(1, "*", "1s"), limit(1, "/api/orders", "1s")])],
        ),
        field(
            "spec.waitingRoom.enabled is not available",
            "/waitingRoom",
            &[json!({"enabled": true})],
            &[json!({"enabled": false}), json!({})],
        ),
        field(
            "spec.waitingRoom.admitPerSecond must be",
            "/waitingRoom",
            &[json!({"admitPerSecond": 0}), json!({"admitPerSecond": 1_000_001})],
            &[json!({"admitPerSecond": 1}), json!({"admitPerSecond": 1_000_000})],
        ),
        field(
            "spec.kafka.partitions must be from",
            "/kafka/partitions",
            &[json!(0), json!(101)],
            &[json!(1), json!(100)],
        ),
        field(
            "spec.kafka.replicationFactor must be from",
            "/kafka/replicationFactor",
            &[json!(0), json!(16)],
            &[json!(1), json!(15)],
        ),
        field(
            "spec.kafka.topicPrefix must consist",
            "/kafka/topicPrefix",
            &[json!("a b"), json!("ä."), json!("a/")],
            &[json!(""), json!("A.b_c-")],
        ),
        field(
            "spec.ingress.host must be a lowercase",
            "/ingress",
            &[
                host("A.example"),
                host("a.example:80"),
                host("a..example"),
                host("-a.example"),
                host("a_b.example"),
                host(""),
            ],
            &[host("a"), host("a-b.example.com"), host("1.example")],
        ),
        field(
            "spec.ingress.parentRef is a Gateway",
            "/ingress",
            &[
                json!({"host": "a.example", "parentRef": {"name": "front"}, "className": "traefik"}),
                json!({"host": "a.example", "parentRef": {"name": "front"}, "tlsSecretName": "tls"}),
            ],
            &[
                json!({"host": "a.example", "parentRef": {"name": "front", "namespace": "edge", "sectionName": "web"}, "https": true}),
                json!({"host": "a.example", "className": "traefik", "tlsSecretName": "tls"}),
            ],
        ),
        field(
            "annotations of spec.ingress and spec.loadBalancer must have names",
            "/loadBalancer",
            &[
                json!({"annotations": {"quicksale.io/drain-and-delete": "true"}}),
                json!({"annotations": {"a b": "c"}}),
                json!({"annotations": {"": "c"}}),
                json!({"annotations": {"A.example/b": "c"}}),
                json!({"annotations": {"a..b/x": "c"}}),
                json!({"annotations": {format!("cert-manager.io/{}", "a".repeat(64)): "c"}}),
            ],
            &[
                json!({"annotations": {"service.beta.kubernetes.io/aws-load-balancer-type": "external", "plain_1": ""}}),
                json!({"annotations": {format!("cert-manager.io/{}", "a".repeat(63)): "c"}}),
            ],
        ),
        field(
            "spec.ingress.parentRef.name must be a name",
            "/ingress",
            &[
                by_gateway(json!({"name": "Front"})),
                by_gateway(json!({"name": "a..b"})),
            ],
            &[by_gateway(json!({"name": "front.a"}))],
        ),
        field(
            "spec.ingress.parentRef.namespace must be a name",
            "/ingress",
            &[by_gateway(json!({"name": "front", "namespace": "a.b"}))],
            &[by_gateway(json!({"name": "front", "namespace": "edge-1"}))],
        ),
        field(
            "spec.ingress.parentRef.sectionName must be a name",
            "/ingress",
            &[by_gateway(json!({"name": "front", "sectionName": "-"}))],
            &[by_gateway(json!({"name": "front", "sectionName": "https"}))],
        ),
        field(
            "spec.loadBalancer.className must be a name",
            "/loadBalancer",
            &[
                json!({"className": "a b"}),
                json!({"className": "-"}),
                json!({"className": "A/b"}),
            ],
            &[
                json!({"className": "internal"}),
                json!({"className": "service.k8s.aws/nlb"}),
            ],
        ),
        field(
            "spec.loadBalancer.port must be from",
            "/loadBalancer",
            &[json!({"port": 0}), json!({"port": 65_536})],
            &[json!({"port": 1}), json!({"port": 65_535}), json!({})],
        ),
        field(
            "spec.loadBalancer.sourceRanges must be networks",
            "/loadBalancer",
            &[
                json!({"sourceRanges": ["203.0.113.5"]}),
                json!({"sourceRanges": ["everybody/0"]}),
                json!({"sourceRanges": ["10.0.0.0/8", ""]}),
                json!({"sourceRanges": ["10.0.0.0/33"]}),
                json!({"sourceRanges": ["999.0.0.0/8"]}),
                json!({"sourceRanges": ["2001:db8::/129"]}),
            ],
            &[
                json!({"sourceRanges": ["203.0.113.0/24", "2001:db8::/32"]}),
                json!({"sourceRanges": ["0.0.0.0/0", "::/0", "255.255.255.255/32"]}),
            ],
        ),
        rule(
            "spec.paymentUrl must begin with https",
            vec![
                paid("http://pay.example/{orderId}"),
                paid("https://pay.example/"),
                paid("https://pay.example/{orderId}/{orderId}"),
                paid("https://{orderId}"),
                paid("https://me:word@pay.example/{orderId}"),
            ],
            vec![
                paid("https://pay.example/{orderId}"),
                paid("https://pay.example:8443?order={orderId}&from=us"),
            ],
        ),
        rule(
            "spec.paymentUrl is where buyers pay",
            vec![vec![("/paymentUrl", json!("https://pay.example/{orderId}"))]],
            vec![vec![("/confirmation", json!("Payment"))]],
        ),
        field(
            "spec.services.*.replicas.opening must be from min",
            "/services/order",
            &[
                json!({"replicas": {"min": 2, "max": 4, "opening": 5}}),
                json!({"replicas": {"min": 2, "opening": 1}}),
            ],
            &[
                json!({"replicas": {"min": 2, "max": 4, "opening": 4}}),
                json!({"replicas": {"min": 2, "opening": 2}}),
            ],
        ),
        field(
            "spec.services.*.replicas.max must not be",
            "/services/auth/replicas",
            &[range(3, 2)],
            &[range(3, 3), range(1, 100)],
        ),
        field(
            "spec.services.*.replicas.min must be from",
            "/services/auth/replicas",
            &[json!({"min": 0}), json!({"min": 101})],
            &[json!({"min": 1}), json!({"min": 100})],
        ),
        field(
            "spec.services.*.replicas.max must be from",
            "/services/auth/replicas",
            &[range(1, 101), range(1, 0)],
            &[range(100, 100)],
        ),
        field(
            "spec.services.*.replicas.opening must be from 1",
            "/services/auth/replicas",
            &[json!({"min": 1, "max": 2, "opening": 0})],
            &[json!({"min": 1, "max": 2, "opening": 1})],
        ),
        field(
            "spec.services.*.resources.limits.memory must be more",
            "/services/auth/resources",
            &[
                json!({"limits": {"memory": "0"}}),
                json!({"limits": {"memory": 0}}),
                json!({"limits": {"memory": "0.0Gi"}}),
            ],
            &[
                json!({"limits": {"memory": "256Mi"}}),
                json!({"limits": {"memory": 268_435_456}}),
            ],
        ),
        field(
            "spec.services.*.scaling.cpuPercent must be",
            "/services/order",
            &[
                json!({"scaling": {"cpuPercent": 0}}),
                json!({"scaling": {"cpuPercent": 1001}}),
            ],
            &[json!({"scaling": {}}), json!({"scaling": {"cpuPercent": 1000}})],
        ),
        field(
            "spec.services.*.scaling.metrics[].name must be",
            "/services/order",
            &[
                metric("", json!({}), 1),
                metric("a/b", json!({}), 1),
                metric("1a", json!({}), 1),
            ],
            &[metric("kafka.googleapis.com:lag-of_all", json!({}), 1)],
        ),
        field(
            "spec.services.*.scaling.metrics[].labels must be",
            "/services/order",
            &[
                metric("m", json!({"sale": "another"}), 1),
                metric("m", json!({"group": "a b"}), 1),
                metric("m", json!({"a-b": "c"}), 1),
                metric("m", json!({"group": ""}), 1),
            ],
            &[metric(
                "m",
                json!({"group": "order", "topic": "order.created"}),
                1,
            )],
        ),
        field(
            "spec.services.*.scaling.metrics[].perReplica must be",
            "/services/order",
            &[
                metric("m", json!({}), 0),
                metric("m", json!({}), 1_000_000_000_001),
            ],
            &[metric("m", json!({}), 1_000_000_000_000)],
        ),
        field(
            "this must be an amount",
            "/services/auth/resources",
            &[
                json!({"requests": {"cpu": -1}}),
                json!({"limits": {"memory": 2_000_000_000_000_000_i64}}),
            ],
            &[
                json!({"requests": {"cpu": "100m"}}),
                json!({"requests": {"cpu": 2}}),
                json!({"requests": {"memory": "1.5Gi"}}),
            ],
        ),
    ]
}

fn rehearsals() -> Vec<Rule> {
    let load = |load: Value| vec![("/mode", json!("Rehearsal")), ("/load", load)];
    vec![
        rule(
            "spec.load is for rehearsals",
            vec![vec![("/load", json!({}))]],
            vec![load(json!({})), vec![("/mode", json!("Rehearsal"))]],
        ),
        field(
            "spec.expect.buyers must be from",
            "/expect",
            &[json!({"buyers": 0}), json!({"buyers": 100_000_001})],
            &[json!({"buyers": 1}), json!({"buyers": 100_000_000}), json!({})],
        ),
        field(
            "spec.expect.ordersPerSecond must be from",
            "/expect",
            &[json!({"ordersPerSecond": 0}), json!({"ordersPerSecond": 100_001})],
            &[json!({"ordersPerSecond": 1}), json!({"ordersPerSecond": 100_000})],
        ),
        rule(
            "spec.load.ordersPerSecond must be from",
            vec![
                load(json!({"ordersPerSecond": 0})),
                load(json!({"ordersPerSecond": 100_001})),
            ],
            vec![
                load(json!({"ordersPerSecond": 1})),
                load(json!({"ordersPerSecond": 100_000})),
            ],
        ),
        rule(
            "spec.load.buyers must be from",
            vec![load(json!({"buyers": 0})), load(json!({"buyers": 200_001}))],
            vec![
                load(json!({"buyers": 1})),
                load(json!({"buyers": 200_000, "arrival": "Burst"})),
            ],
        ),
        rule(
            "spec.load.step must be a duration",
            vec![
                load(json!({"step": "999ms"})),
                load(json!({"step": "301s"})),
                load(json!({"step": "soon"})),
            ],
            vec![load(json!({"step": "1s"})), load(json!({"step": "5m"}))],
        ),
    ]
}

/// What has no rule of its own, and a type or a bound: what whoever writes by hand gets wrong.
pub(super) fn of_shape() -> Vec<Change> {
    vec![
        vec![("/opensAt", json!("tomorrow"))],
        vec![("/opensAt", json!("2126-02-30T12:00:00Z"))],
        vec![("/opensAt", json!("2126-12-01T12:00:00+24:00"))],
        vec![("/opensAt", Value::Null)],
        vec![("/opensAt", json!(1_764_590_400))],
        vec![("/closesAt", json!("2126-12-01 12:00:00Z"))],
        vec![("/halted", json!("true"))],
        vec![("/halted", Value::Null)],
        vec![("/products", Value::Null)],
        vec![("/products", json!([null]))],
        vec![("/products/0/stock", json!(5.0))],
        vec![("/products/0/sku", Value::Null)],
        vec![("/kafka/partitions", json!(1e1))],
        vec![(
            "/services/order",
            json!({"resources": {"requests": {"cpu": 1.0}}}),
        )],
        vec![("/services/order", json!({"scaling": {"metrics": null}}))],
        vec![(
            "/services/order",
            json!({"scaling": {"metrics": [{"name": "m", "perReplica": 1, "labels": null}]}}),
        )],
        vec![(
            "/services/order",
            json!({"scaling": {"metrics": [{"name": "m", "perReplica": 1, "labels": {"a": null}}]}}),
        )],
        vec![("/mode", json!("rehearsal"))],
        vec![("/warmUp", json!(10))],
        vec![("/warmUp", json!("1h1h1h1h1h1h1h1h1h"))],
        vec![("/products/0/price", json!(799.99))],
        vec![("/products/0/price", json!("100000000000000000000"))],
        vec![("/products/0/stock", json!("50"))],
        vec![("/products/0/stock", json!(1.5))],
        vec![("/products/0/stock", json!(9_007_199_254_740_993_i64))],
        vec![("/products/0/name", json!("n".repeat(501)))],
        vec![("/products/0/name", json!("ü".repeat(500)))],
        vec![("/products/0/sku", json!("s".repeat(65)))],
        vec![("/products/0/description", Value::Null)],
        vec![("/products/0/colour", json!("red"))],
        vec![("/products", json!(vec![product("A"); 51]))],
        vec![("/products", json!({}))],
        vec![("/product", json!([]))],
        vec![("/kafka/partitions", json!(3_000_000_000_i64))],
        vec![("/kafka/topicPrefix", json!("p".repeat(151)))],
        vec![("/kafka/topicPrefix", Value::Null)],
        vec![("/rateLimits", json!([{"limit": 1}]))],
        vec![("/backendsSecretRef", json!({"name": ""}))],
        vec![("/backendsSecretRef", json!({"name": "shop-backends"}))],
        vec![("/backendsSecretRef", json!({}))],
        vec![(
            "/services/order",
            json!({"resources": {"limits": {"memory": "256 MB"}}}),
        )],
        vec![(
            "/services/order",
            json!({"resources": {"limits": {"memory": true}}}),
        )],
        vec![("/services/orders", json!({}))],
        vec![(
            "/services/order",
            json!({"scaling": {"metrics": [{"name": "m"}]}}),
        )],
        vec![(
            "/services/order",
            json!({"scaling": {"metrics": [{"name": "m", "perReplica": 1, "labels": {"a": 1}}]}}),
        )],
        vec![(
            "/services/order",
            json!({"scaling": {"metrics": vec![json!({"name": "m", "perReplica": 1}); 6]}}),
        )],
        vec![("/deletionPolicy", json!("Keep"))],
        vec![("/plaintextPasswords", json!("Allow"))],
        vec![("/onAuditDifference", json!("Continue"))],
        vec![(
            "/ingress",
            json!({"host": "a.example", "className": "", "tlsSecretName": null}),
        )],
        vec![("/waitingRoom", json!({"enabled": null, "admitPerSecond": null}))],
    ]
}

/// A rule on a change of a sale in a later phase.
pub(super) struct Step {
    /// How its sentence begins.
    pub(super) says: &'static str,
    /// What the operator has written by then.
    pub(super) status: Value,
    /// Edits that it refuses.
    pub(super) refuses: Vec<Value>,
    /// Edits that pass.
    pub(super) passes: Vec<Value>,
}

/// The spec that [`on_a_change`] changes.
pub(super) fn before() -> Value {
    spec(&[
        ("/opensAt", json!("2126-12-01T12:00:00Z")),
        ("/confirmation", json!("Payment")),
        ("/paymentUrl", json!("https://pay.example/{orderId}")),
        ("/ingress", json!({"host": "rules.example.com"})),
        ("/loadBalancer", json!({})),
    ])
}

/// The rules on a change.
pub(super) fn on_a_change() -> Vec<Step> {
    let warm = || json!({"phase": "Warming"});
    let open = || {
        json!({"phase": "Live", "openedAt": "2026-01-01T00:00:00Z", "products": [
            {"sku": "A-1", "stock": 50, "available": 20, "reserved": 10, "sold": 20},
        ]})
    };
    let stock = |stock: i64| json!({"sku": "A-1", "name": "A thing", "price": "799.99", "stock": stock, "limitPerCustomer": 1});
    let step = |says, status, refuses, passes| Step {
        says,
        status,
        refuses,
        passes,
    };
    vec![
        step(
            "spec.currency cannot change",
            warm(),
            vec![json!({"currency": "EUR"})],
            vec![json!({"currency": "USD", "warmUp": "1m"})],
        ),
        step(
            "spec.kafka cannot change",
            warm(),
            vec![
                json!({"kafka": {"partitions": 3}}),
                json!({"kafka": {"topicPrefix": "p."}}),
            ],
            vec![json!({"kafka": {"partitions": 2}})],
        ),
        step(
            "spec.backendsSecretRef cannot change",
            warm(),
            vec![json!({"backendsSecretRef": {"name": "elsewhere"}})],
            vec![json!({"backendsSecretRef": null, "retainFor": "1h"})],
        ),
        step(
            "spec.mode cannot change",
            warm(),
            vec![json!({"mode": "Rehearsal"})],
            vec![json!({"mode": "Sale", "retainFor": "1h"})],
        ),
        step(
            "spec.products[].sku cannot change or go away",
            warm(),
            vec![json!({"products": [product("B")]})],
            vec![json!({"products": [stock(50), product("B")]})],
        ),
        step(
            "spec.opensAt cannot change",
            open(),
            vec![
                json!({"opensAt": "2126-12-02T12:00:00Z"}),
                json!({"opensAt": null}),
            ],
            vec![json!({"closesAt": "2126-12-02T12:00:00Z"})],
        ),
        step(
            "spec.ingress.host cannot change",
            open(),
            vec![
                json!({"ingress": {"host": "elsewhere.example.com"}}),
                json!({"ingress": null}),
                json!({"ingress": {"tlsSecretName": "tls"}}),
            ],
            vec![json!({"ingress": {"className": "traefik"}})],
        ),
        step(
            "spec.ingress.https cannot change",
            open(),
            vec![json!({"ingress": {"https": true}})],
            vec![
                json!({"ingress": {"https": false}}),
                json!({"ingress": {"annotations": {"cert-manager.io/issuer": "le"}}}),
            ],
        ),
        step(
            "spec.ingress.parentRef cannot change",
            open(),
            vec![json!({"ingress": {"parentRef": {"name": "front"}}})],
            vec![json!({"ingress": {"className": "traefik"}})],
        ),
        step(
            "spec.loadBalancer cannot go away",
            json!({"phase": "Ended", "openedAt": "2026-01-01T00:00:00Z"}),
            vec![],
            vec![json!({"loadBalancer": null})],
        ),
        step(
            "spec.loadBalancer cannot go away",
            open(),
            vec![
                json!({"loadBalancer": null}),
                json!({"loadBalancer": {"port": 8080}}),
            ],
            vec![json!({"loadBalancer": {"sourceRanges": ["203.0.113.0/24"]}})],
        ),
        step(
            "spec.loadBalancer.className cannot change",
            json!({"phase": "Warming", "openedAt": null}),
            vec![json!({"loadBalancer": {"className": "other"}})],
            vec![
                json!({"loadBalancer": {"port": 8080}}),
                json!({"loadBalancer": null}),
            ],
        ),
        step(
            "spec.paymentUrl cannot change",
            open(),
            vec![
                json!({"paymentUrl": "https://elsewhere.example/{orderId}"}),
                json!({"paymentUrl": null}),
            ],
            vec![json!({"halted": true})],
        ),
        step(
            "spec.confirmation and spec.reservationTtl cannot change",
            open(),
            vec![
                json!({"reservationTtl": "5m"}),
                json!({"confirmation": "Automatic", "paymentUrl": null}),
            ],
            vec![json!({"retainFor": "1h"})],
        ),
        step(
            "spec.products[].stock must not be less than",
            open(),
            vec![json!({"products": [stock(29)]})],
            vec![json!({"products": [stock(30)]}), json!({"products": [stock(51)]})],
        ),
    ]
}
