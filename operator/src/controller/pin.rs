//! What an open sale keeps: an upgrade of the operator, or an edit of its chart, restarts none of its pods.

use super::{
    backends_secret::{PlaintextConsent, Secrecy},
    build::{self, Image, Kind, Platform, PodShape, network_policy},
    observed::Observed,
};
use crate::settings::Settings;
use crds::{Component, FlashSaleStatus, ValidSale};
use sale::phase::Phase;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv6Addr},
};

/// Whether buyers may be there, which decides what a newer operator may change of a sale's pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Doors {
    /// Nobody can have ordered. What a late sale waits for may be a better image.
    NotYet,
    /// Orders are taken, or those that were taken are settled.
    Open,
    /// Nothing is sold any more.
    Over,
}

impl Doors {
    /// The phase may not have heard yet that the doors have opened.
    pub(super) fn of(status: &FlashSaleStatus) -> Self {
        match status.phase() {
            Phase::Ended => Self::Over,
            Phase::Live | Phase::Draining => Self::Open,
            Phase::Pending | Phase::Warming if status.opened_at.is_some() => Self::Open,
            Phase::Pending | Phase::Warming => Self::NotYet,
        }
    }
}

/// The ports of backends that each component of an open sale has been let out to.
pub(super) fn ports_before(
    sale: &str,
    doors: Doors,
    observed: &Observed,
) -> BTreeMap<Component, BTreeSet<u16>> {
    if doors != Doors::Open {
        return BTreeMap::new();
    }
    let ports = |component: Component| {
        let name = build::object_name(sale, component.as_str());
        let policy = observed.child(Kind::NetworkPolicy, &name)?;
        Some((component, network_policy::backend_ports(policy)))
    };
    Component::ALL.into_iter().filter_map(ports).collect()
}

/// The services that may send a password to a backend in plain text, because they have one and somebody has allowed it. Pods
/// that were told so before they had one are told so still: taking the word away would start them anew for nothing.
pub(super) fn plaintext_senders(
    settings: &Settings,
    sale: &ValidSale,
    doors: Doors,
    observed: &Observed,
) -> BTreeSet<Component> {
    let consent = PlaintextConsent::of(sale, settings.plaintext_passwords);
    if consent != PlaintextConsent::Given {
        return BTreeSet::new();
    }
    let told = || observed.plaintext_senders(&sale.id.name);
    let Some(backends) = &observed.backends else {
        return told();
    };
    let mut senders = Secrecy::of(backends, consent).senders();
    if doors != Doors::NotYet {
        senders.extend(told());
    }
    senders
}

/// Whether what goes out of the sale's pods may be restricted. A sale that was opened without that goes on so: its
/// backends may be where nobody has named them, and that must not show when buyers are there.
fn may_restrict_egress(observed: &Observed) -> bool {
    let policies = observed
        .children
        .iter()
        .filter(|(kind, _)| *kind == Kind::NetworkPolicy);
    let mut policies = policies.map(|(_, policy)| policy).peekable();
    policies.peek().is_none() || policies.any(network_policy::restricts_egress)
}

/// What comes from the operator's chart. A sale that is open or over keeps what it has: an upgrade of the operator
/// must restart none of its pods.
pub(super) fn platform<'a>(
    settings: &'a Settings,
    sale: &ValidSale,
    doors: Doors,
    observed: &Observed,
) -> Platform<'a> {
    let name = &sale.id.name;
    let keeps = doors != Doors::NotYet;
    let kept_images = if keeps {
        observed.images(name)
    } else {
        BTreeMap::new()
    };
    let kept_config = if keeps { observed.config(name) } else { None };
    let kept_shapes = if keeps {
        observed.pod_shapes(name)
    } else {
        BTreeMap::new()
    };
    // What was deleted by hand comes back with what the others run, so it is made like the oldest of them.
    let oldest = kept_shapes.values().min().copied().unwrap_or(PodShape::Bounded);
    // What pods of the first shape run refuses to start with a key that it does not know.
    let https_as_written = || https_host(sale).filter(|_| oldest != PodShape::First);
    let ours = Image {
        name: settings.image.clone(),
        pull_policy: settings.image_pull_policy.clone(),
    };
    let image = |component: Component| {
        // A Deployment that was deleted by hand comes back with what the others run.
        kept_images
            .get(&component)
            .or_else(|| kept_images.values().next())
            .unwrap_or(&ours)
            .clone()
    };
    let tracing = match &kept_config {
        Some(kept) => kept.tracing.clone(),
        // What an open sale runs may be too old to know of it.
        None if kept_images.values().any(|kept| kept.name != settings.image) => None,
        None => settings.tracing(),
    };
    let (bind, trusted_proxies, cors_origins, access_log, https_host, accounts_database) = kept_config
        .map_or_else(
            || {
                (
                    // Both families: where there is no IPv6, and where there is nothing else.
                    IpAddr::V6(Ipv6Addr::UNSPECIFIED),
                    settings.trusted_proxies.clone(),
                    settings.cors_origins.clone(),
                    settings.access_log,
                    https_as_written(),
                    settings.accounts_database.clone(),
                )
            },
            |config| {
                (
                    config.http.bind,
                    config.http.trusted_proxies,
                    config.http.cors_origins,
                    config.http.access_log,
                    config.http.https_host,
                    config.data.accounts_database,
                )
            },
        );
    Platform {
        images: Component::ALL
            .into_iter()
            .map(|component| (component, image(component)))
            .collect(),
        namespace: &settings.namespace,
        bind,
        network: &settings.network,
        restrict_egress: settings.network.restrict_egress && (!keeps || may_restrict_egress(observed)),
        accounts_database,
        trusted_proxies,
        cors_origins,
        access_log,
        https_host,
        tracing,
        pod_shapes: Component::ALL
            .into_iter()
            .map(|component| (component, kept_shapes.get(&component).copied().unwrap_or(oldest)))
            .collect(),
    }
}

/// The host of a sale that has a certificate.
fn https_host(sale: &ValidSale) -> Option<String> {
    let ingress = sale.ingress.as_ref()?;
    ingress.tls_secret_name.as_ref().map(|_| ingress.host.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use kube::core::DynamicObject;
    use serde_json::{Value, json};

    fn object(name: &str, rest: &Value) -> DynamicObject {
        let mut object = rest.clone();
        object["metadata"] = json!({"name": name});
        serde_json::from_value(object).unwrap()
    }

    fn settings() -> Settings {
        Settings::parse_from(["quicksale-operator", "--image", "quicksale:1"])
    }

    fn sale() -> ValidSale {
        let sale = json!({
            "apiVersion": "quicksale.io/v1alpha1", "kind": "FlashSale",
            "metadata": {"name": "laptops", "namespace": "shop", "uid": "u-1", "generation": 1},
            "spec": {
                "products": [{"sku": "A", "name": "a", "price": "1.00", "stock": 1}],
                "ingress": {"host": "laptops.example.com", "tlsSecretName": "laptops-tls"},
            },
        });
        let sale = serde_json::from_value::<crds::FlashSale>(sale).unwrap();
        ValidSale::try_from(&sale).unwrap()
    }

    /// The operator may be upgraded in the moment in which a sale opens.
    #[test]
    fn a_sale_that_opened_by_its_own_clocks_keeps_its_pods_before_its_phase_says_so() {
        let doors = |phase, opened: bool| {
            Doors::of(&FlashSaleStatus {
                phase: Some(phase),
                opened_at: opened.then_some(jiff::Timestamp::UNIX_EPOCH),
                ..FlashSaleStatus::default()
            })
        };
        assert_eq!(doors(Phase::Warming, false), Doors::NotYet);
        assert_eq!(doors(Phase::Warming, true), Doors::Open);
        assert_eq!(doors(Phase::Pending, false), Doors::NotYet);
        assert_eq!(doors(Phase::Live, false), Doors::Open);
        assert_eq!(doors(Phase::Ended, true), Doors::Over);

        let running = observed(vec![(
            Kind::Deployment,
            object(
                "laptops-gateway",
                &json!({"spec": {"template": {"spec": {"containers": [
                    {"image": "quicksale:0", "imagePullPolicy": "IfNotPresent"}]}}}}),
            ),
        )]);
        let image = |doors| {
            platform(&settings(), &sale(), doors, &running).images[&Component::Gateway]
                .name
                .clone()
        };
        assert_eq!(image(Doors::Open), "quicksale:0");
        assert_eq!(image(Doors::NotYet), "quicksale:1");
    }

    /// A change of the chart reaches the sales that are not open yet; the pods of an open one would start anew for it.
    #[test]
    fn an_open_sale_goes_on_sending_its_traces_where_it_did() {
        let set = |endpoint: Option<&str>| Settings {
            traces_endpoint: endpoint.map(|endpoint| endpoint.parse().unwrap()),
            traced_part: part("0.09090909090909091"),
            ..settings()
        };
        let url = "http://a.svc:1";
        let mut config = json!({
            "sale": {"namespace": "shop", "name": "laptops"},
            "currency": "USD", "confirmation": "Automatic", "reservationTtlSeconds": 600,
            "data": {"database": "d", "accountsDatabase": "a"},
            "kafka": {"topicPrefix": "t.", "partitions": 4, "replicationFactor": 1},
            "redisPrefix": "r:",
            "upstreams": {"auth": url, "inventory": url, "order": url, "notifier": url},
            "http": {"bind": "::", "adminPort": 9090},
        });
        let of = |config: Option<&Value>| {
            let map = |config: &Value| json!({"data": {"config.json": config.to_string()}});
            let map = config.map(|config| (Kind::ConfigMap, object("laptops-config", &map(config))));
            observed(map.into_iter().collect())
        };
        let tracing = |settings: &Settings, doors, observed: &Observed| {
            platform(settings, &sale(), doors, observed).tracing
        };
        let (new, none) = (set(Some("http://new:4318")), set(None));
        assert_eq!(tracing(&new, Doors::Open, &of(Some(&config))), None);
        assert_eq!(tracing(&new, Doors::NotYet, &of(Some(&config))), new.tracing());
        config["tracing"] = json!(set(Some("http://old:4318")).tracing());
        let kept = set(Some("http://old:4318")).tracing();
        assert_eq!(tracing(&none, Doors::Open, &of(Some(&config))), kept);
        assert_eq!(tracing(&none, Doors::NotYet, &of(Some(&config))), None);
        // Deleted by hand: with the same images, what is set is the best guess of what it was.
        assert_eq!(tracing(&new, Doors::Open, &of(None)), new.tracing());
    }

    fn part(text: &str) -> f64 {
        let arguments = ["quicksale-operator", "--image", "i", "--traced-part", text];
        Settings::parse_from(arguments).traced_part
    }

    /// A word that pods do not need would start those of every open sale anew.
    #[test]
    fn only_services_with_a_password_in_plain_text_are_told_that_it_is_allowed() {
        let secret = |redis: &str| {
            [
                ("MONGODB_URI", "mongodb://u:p@m/?tls=true"),
                ("KAFKA_BROKERS", "k:9093"),
                ("KAFKA_TLS", "true"),
                ("REDIS_URL", redis),
            ]
            .map(|(key, value)| (key.to_owned(), value.as_bytes().to_vec()))
            .into()
        };
        let told = |redis: Option<&str>, doors, children: Vec<_>, word: &str| {
            let mut settings = settings();
            settings.plaintext_passwords = serde_json::from_value(json!(word)).unwrap();
            let mut observed = observed(children);
            observed.backends = redis.map(secret);
            plaintext_senders(&settings, &sale(), doors, &observed)
        };
        let with_word = || {
            let container = json!({"env": [{"name": "PLAINTEXT_PASSWORDS", "value": "Allow"}]});
            let spec = json!({"template": {"spec": {"containers": [container]}}});
            vec![(Kind::Deployment, object("laptops-auth", &json!({"spec": spec})))]
        };
        let (plain, secure) = (Some("redis://:p@r"), Some("rediss://:p@r"));
        let none = BTreeSet::new();
        let redis_users = BTreeSet::from([Component::Gateway, Component::Inventory]);
        assert_eq!(told(plain, Doors::Open, Vec::new(), "Allow"), redis_users);
        assert_eq!(told(plain, Doors::Open, Vec::new(), "Refuse"), none);
        assert_eq!(told(secure, Doors::Open, Vec::new(), "Allow"), none);
        let before = BTreeSet::from([Component::Auth]);
        assert_eq!(told(secure, Doors::Open, with_word(), "Allow"), before);
        assert_eq!(told(secure, Doors::NotYet, with_word(), "Allow"), none);
        assert_eq!(
            told(None, Doors::NotYet, with_word(), "Allow"),
            before,
            "the Secret is gone for a moment"
        );
        assert_eq!(told(secure, Doors::Open, with_word(), "Refuse"), none);
    }

    fn policy(component: &str, spec: &Value) -> (Kind, DynamicObject) {
        let name = format!("laptops-{component}");
        (Kind::NetworkPolicy, object(&name, &json!({"spec": spec})))
    }

    fn observed(children: Vec<(Kind, DynamicObject)>) -> Observed {
        Observed {
            children,
            ..Observed::default()
        }
    }

    #[test]
    fn a_sale_that_was_opened_without_restrictions_goes_on_so() {
        let free = || policy("order", &json!({"policyTypes": ["Ingress"], "ingress": []}));
        let restricted = || policy("auth", &json!({"policyTypes": ["Egress"], "egress": []}));
        assert!(may_restrict_egress(&observed(Vec::new())), "nothing is made yet");
        assert!(!may_restrict_egress(&observed(vec![free()])));
        assert!(
            may_restrict_egress(&observed(vec![free(), restricted()])),
            "one that was edited by hand frees none of the others"
        );
    }

    fn deployment(component: &str, limits: &Value) -> (Kind, DynamicObject) {
        let container = json!({"resources": {"limits": limits}});
        let spec = json!({"template": {"spec": {"containers": [container]}}});
        let object = object(&format!("laptops-{component}"), &json!({"spec": spec}));
        (Kind::Deployment, object)
    }

    /// As the first operator made it.
    fn first() -> (Kind, DynamicObject) {
        deployment("order", &json!({"memory": "256Mi"}))
    }

    fn bounded() -> (Kind, DynamicObject) {
        deployment("auth", &json!({"ephemeral-storage": "256Mi"}))
    }

    /// A limit that an open sale's pods did not have would start each of them anew.
    #[test]
    fn pods_of_an_open_sale_stay_as_they_were_made() {
        let shapes = |children, doors| {
            let shapes = platform(&settings(), &sale(), doors, &observed(children)).pod_shapes;
            [Component::Order, Component::Auth, Component::Gateway].map(|component| shapes[&component])
        };
        use PodShape::{Bounded, First};
        assert_eq!(shapes(Vec::new(), Doors::Open), [Bounded; 3]);
        // One that is not there runs what the oldest of the others runs.
        assert_eq!(
            shapes(vec![bounded(), first()], Doors::Open),
            [First, Bounded, First]
        );
        assert_eq!(shapes(vec![bounded(), first()], Doors::NotYet), [Bounded; 3]);
    }

    #[test]
    fn ports_of_old_backends_count_only_while_a_sale_is_open() {
        let egress =
            json!({"egress": [{"ports": [{"port": 53}]}, {"ports": [{"port": 6380, "protocol": "TCP"}]}]});
        let observed = observed(vec![policy("gateway", &egress)]);
        let ports = |doors| ports_before("laptops", doors, &observed).remove(&Component::Gateway);
        assert_eq!(ports(Doors::Open), Some(BTreeSet::from([6380])));
        assert_eq!(ports(Doors::NotYet), None);
    }

    /// What changes the configuration would restart every pod of an open sale.
    #[test]
    fn an_open_sale_is_reached_as_before_and_a_new_one_on_both_families_and_by_https() {
        let (settings, sale) = (settings(), sale());
        let config = json!({
            "sale": {"namespace": "shop", "name": "laptops"}, "currency": "USD", "confirmation": "Automatic",
            "reservationTtlSeconds": 600,
            "data": {"database": "qs_shop_laptops", "accountsDatabase": "quicksale"},
            "kafka": {"topicPrefix": "shop.laptops.", "partitions": 1, "replicationFactor": 1}, "redisPrefix": "qs:",
            "upstreams": {"auth": "http://a/", "inventory": "http://i/", "order": "http://o/", "notifier": "http://n/"},
            "http": {"bind": "0.0.0.0", "adminPort": 9090, "trustedProxies": [], "corsOrigins": []},
        });
        let map = object(
            "laptops-config",
            &json!({"data": {"config.json": config.to_string()}}),
        );
        let observed = observed(vec![(Kind::ConfigMap, map)]);
        assert!(
            observed.config("laptops").is_some(),
            "the fixture is a configuration"
        );
        let bind = |doors| platform(&settings, &sale, doors, &observed).bind;
        assert_eq!(bind(Doors::Open), IpAddr::from([0, 0, 0, 0]));
        assert_eq!(bind(Doors::NotYet), IpAddr::V6(Ipv6Addr::UNSPECIFIED));
        let https = |doors| platform(&settings, &sale, doors, &observed).https_host;
        assert_eq!(https(Doors::Open), None);
        assert_eq!(https(Doors::NotYet).as_deref(), Some("laptops.example.com"));
        // It may still be edited.
        // Somebody has deleted the configuration: what it is written anew for may not know the newest keys.
        let shaped = |deployment| super::tests::observed(vec![deployment]);
        let https = |observed: &Observed| platform(&settings, &sale, Doors::Open, observed).https_host;
        assert_eq!(https(&shaped(first())), None);
        assert_eq!(https(&shaped(bounded())).as_deref(), Some("laptops.example.com"));
    }
}
