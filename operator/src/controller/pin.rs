//! What an open sale keeps: the templates of its pods and their configuration, as they were when it opened. Neither an upgrade of the
//! operator, nor an edit of its chart, of the FlashSale or of a Secret starts a pod anew while buyers are there, unless somebody asks for
//! that.
//!
//! They are written down in a ConfigMap of the sale for as long as it is not open, and go by that afterwards. What is in the cluster
//! itself would not do: somebody may have edited it by hand.

use super::{
    backends_secret::{PlaintextConsent, Secrecy},
    build::{self, Child, Image, Kind, PINNED, Platform, network_policy},
    observed::Observed,
};
use crate::settings::Settings;
use crds::{Component, FlashSaleStatus, ValidSale};
use sale::phase::Phase;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv6Addr},
};

/// Whether buyers may be there, which decides what a newer operator may change of a sale's pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Buyers {
    /// Nobody can have ordered. What a late sale waits for may be a better image.
    NotYet,
    /// Orders are taken, or those that were taken are settled.
    MayBeThere,
    /// Nothing is sold any more.
    HaveGone,
}

impl Buyers {
    /// The phase may not have heard yet that the doors have opened.
    pub(super) fn of(status: &FlashSaleStatus) -> Self {
        match status.phase() {
            Phase::Ended => Self::HaveGone,
            Phase::Live | Phase::Draining => Self::MayBeThere,
            Phase::Pending | Phase::Warming if status.opened_at.is_some() => Self::MayBeThere,
            Phase::Pending | Phase::Warming => Self::NotYet,
        }
    }
}

/// The ports of backends that each component of an open sale has been let out to.
pub(super) fn ports_before(
    sale: &str,
    buyers: Buyers,
    observed: &Observed,
) -> BTreeMap<Component, BTreeSet<u16>> {
    if buyers == Buyers::NotYet {
        return BTreeMap::new();
    }
    let ports = |component: Component| {
        let name = build::object_name(sale, component.as_str());
        let policy = observed.child(Kind::NetworkPolicy, &name)?;
        Some((component, network_policy::backend_ports(policy)))
    };
    Component::ALL.into_iter().filter_map(ports).collect()
}

/// The services that may send a password to a backend in plain text, because they have one and somebody has allowed it. While the
/// Secret is gone they are those that were told so: that lasts a moment, and must start no pod anew.
pub(super) fn plaintext_senders(
    settings: &Settings,
    sale: &ValidSale,
    observed: &Observed,
) -> BTreeSet<Component> {
    let consent = PlaintextConsent::of(sale, settings.plaintext_passwords);
    match &observed.backends {
        _ if consent != PlaintextConsent::Given => BTreeSet::new(),
        Some(backends) => Secrecy::of(backends, consent).senders(),
        None => observed.plaintext_senders(&sale.id.name),
    }
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

/// What comes from the operator's chart.
pub(super) fn platform<'a>(
    settings: &'a Settings,
    sale: &ValidSale,
    buyers: Buyers,
    observed: &Observed,
) -> Platform<'a> {
    let keeps = buyers != Buyers::NotYet;
    Platform {
        image: Image {
            name: settings.image.clone(),
            pull_policy: settings.image_pull_policy.clone(),
        },
        namespace: &settings.namespace,
        // Both families: where there is no IPv6, and where there is nothing else.
        bind: IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        entrances: &settings.entrances,
        network: &settings.network,
        restrict_egress: settings.network.restrict_egress && (!keeps || may_restrict_egress(observed)),
        accounts_database: settings.accounts_database.clone(),
        pods: &settings.sale_pods,
        trusted_proxies: settings.trusted_proxies.clone(),
        cors_origins: settings.cors_origins.clone(),
        access_log: settings.access_log,
        https_host: https_host(sale),
        tracing: settings.tracing(),
    }
}

/// The host of a sale whose buyers come by HTTPS.
fn https_host(sale: &ValidSale) -> Option<String> {
    let by_host = sale.by_host.as_ref().filter(|wanted| wanted.is_https())?;
    Some(by_host.host.clone())
}

/// The objects of a sale, and what of them waits.
#[derive(Debug)]
pub struct Pinned {
    /// As they are to be applied.
    pub objects: Vec<Child>,
    /// The services whose pods would be started anew by what is written now.
    pub held: Vec<Component>,
    /// The hash of what is written down, for the status; `None` where nothing is.
    pub hash: Option<String>,
}

/// How a sale stands to what it was opened with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pins<'a> {
    /// Whether buyers may be there.
    pub(super) buyers: Buyers,
    /// Whether somebody has asked for a rollout.
    pub(super) allowed: bool,
    /// The public key that the sale's keys began with.
    pub(super) first_key: &'a str,
    /// The hash of what was written down, as the status has it.
    pub(super) hash: Option<&'a str>,
}

/// Puts what an open sale was opened with in the place of what would be made of it now, and writes down what is used.
pub(super) fn pin(mut objects: Vec<Child>, sale: &ValidSale, how: &Pins<'_>, observed: &Observed) -> Pinned {
    let name = &sale.id.name;
    let before = observed.child(Kind::ConfigMap, &build::object_name(name, PINNED));
    // What somebody has edited by hand is not believed: it would be the right to run anything with the rights of the operator.
    let before = before
        .map(|map| &map.data["data"])
        .filter(|data| how.hash.is_none_or(|known| known == hash_of(data)));
    let written = |key: &str| before.and_then(|data| data[key].as_str());
    // Whoever deletes the signing keys wants those of before to be good for nothing, at once.
    let has_other_keys = written(FIRST_KEY).is_some_and(|first| first != how.first_key);
    let keeps = how.buyers != Buyers::NotYet && !how.allowed && !has_other_keys;
    let mut held = Vec::new();
    let mut pins = BTreeMap::new();
    for child in &mut objects {
        let component = Component::ALL
            .into_iter()
            .find(|component| child.name == build::object_name(name, component.as_str()));
        match (child.kind, component) {
            (Kind::Deployment, Some(component)) => {
                if keeps {
                    let kept = written(component.as_str())
                        .and_then(|text| serde_json::from_str(text).ok())
                        // Somebody has deleted what was written down.
                        .or_else(|| observed.template(name, component));
                    if child.keep("/spec/template", kept) {
                        held.push(component);
                    }
                }
                let text = child.json["spec"]["template"].to_string();
                pins.insert(component.as_str().to_owned(), text);
            }
            (Kind::ConfigMap, _) if child.name == build::config_map(name) => {
                let kept = || written(CONFIG_KEY).or_else(|| observed.config_text(name));
                if keeps && let Some(kept) = kept() {
                    child.keep("/data/config.json", Some(kept.into()));
                }
                let text = child.json["data"][CONFIG_KEY].as_str().unwrap_or_default();
                pins.insert(CONFIG_KEY.to_owned(), text.to_owned());
            }
            _ => {}
        }
    }
    let mut hash = None;
    if !pins.is_empty() {
        pins.insert(FIRST_KEY.to_owned(), how.first_key.to_owned());
        hash = Some(hash_of(&serde_json::json!(pins)));
        // Before what it speaks of, and behind the control document, which is in a hurry.
        objects.insert(1, build::pinned(sale, &pins));
    }
    Pinned { objects, held, hash }
}

/// A hash of what is written down.
fn hash_of(pins: &Value) -> String {
    hex::encode(&Sha256::digest(pins.to_string().as_bytes())[..16])
}

/// The key of the sale's first public key among what is written down.
const FIRST_KEY: &str = "first-key";

/// The key of the configuration in its ConfigMap, and among what is written down.
const CONFIG_KEY: &str = "config.json";

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use kube::core::DynamicObject;
    use serde_json::json;

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
        let buyers = |phase, opened: bool| {
            Buyers::of(&FlashSaleStatus {
                phase: Some(phase),
                opened_at: opened.then_some(jiff::Timestamp::UNIX_EPOCH),
                ..FlashSaleStatus::default()
            })
        };
        assert_eq!(buyers(Phase::Warming, false), Buyers::NotYet);
        assert_eq!(buyers(Phase::Warming, true), Buyers::MayBeThere);
        assert_eq!(buyers(Phase::Pending, false), Buyers::NotYet);
        assert_eq!(buyers(Phase::Live, false), Buyers::MayBeThere);
        assert_eq!(buyers(Phase::Ended, true), Buyers::HaveGone);
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
        let told = |redis: Option<&str>, children: Vec<_>, word: &str| {
            let mut settings = settings();
            settings.plaintext_passwords = serde_json::from_value(json!(word)).unwrap();
            let mut observed = observed(children);
            observed.backends = redis.map(secret);
            plaintext_senders(&settings, &sale(), &observed)
        };
        let with_word = || {
            let container = json!({"env": [{"name": "PLAINTEXT_PASSWORDS", "value": "Allow"}]});
            let spec = json!({"template": {"spec": {"containers": [container]}}});
            vec![(Kind::Deployment, object("laptops-auth", &json!({"spec": spec})))]
        };
        let (plain, secure) = (Some("redis://:p@r"), Some("rediss://:p@r"));
        let none = BTreeSet::new();
        let redis_users = BTreeSet::from([Component::Gateway, Component::Inventory]);
        assert_eq!(told(plain, Vec::new(), "Allow"), redis_users);
        assert_eq!(told(plain, Vec::new(), "Refuse"), none);
        assert_eq!(told(secure, Vec::new(), "Allow"), none);
        assert_eq!(told(secure, with_word(), "Allow"), none);
        let before = BTreeSet::from([Component::Auth]);
        assert_eq!(
            told(None, with_word(), "Allow"),
            before,
            "the Secret is gone for a moment"
        );
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

    #[test]
    fn ports_of_old_backends_count_only_while_a_sale_is_open() {
        let egress =
            json!({"egress": [{"ports": [{"port": 53}]}, {"ports": [{"port": 6380, "protocol": "TCP"}]}]});
        let observed = observed(vec![policy("gateway", &egress)]);
        let ports = |buyers| ports_before("laptops", buyers, &observed).remove(&Component::Gateway);
        assert_eq!(ports(Buyers::MayBeThere), Some(BTreeSet::from([6380])));
        assert_eq!(
            ports(Buyers::HaveGone),
            Some(BTreeSet::from([6380])),
            "its readers use what they used"
        );
        assert_eq!(ports(Buyers::NotYet), None);
    }

    /// An object of the sale as today's operator makes it.
    fn built(kind: Kind, suffix: &str, body: Value) -> Child {
        build::made(&sale(), kind, suffix, body)
    }

    fn today() -> Vec<Child> {
        let template = json!({"spec": {"containers": [{"image": "quicksale:2"}]}});
        vec![
            built(
                Kind::ConfigMap,
                "control",
                json!({"data": {"control.json": "{}"}}),
            ),
            built(Kind::ConfigMap, "config", json!({"data": {"config.json": "new"}})),
            built(
                Kind::Deployment,
                "order",
                json!({"spec": {"replicas": 3, "template": template}}),
            ),
        ]
    }

    /// What is in the cluster after an earlier operator has opened the sale, and somebody has edited a pod's image by hand.
    fn opened(with_pins: bool) -> Observed {
        let template = |image: &str| json!({"spec": {"containers": [{"image": image}]}});
        let order = json!({"spec": {"template": template("evil:1")}});
        let config = json!({"data": {"config.json": "by hand"}});
        let pins = json!({"data": {"order": template("quicksale:1").to_string(), "config.json": "old"}});
        let mut children = vec![
            (Kind::Deployment, object("laptops-order", &order)),
            (Kind::ConfigMap, object("laptops-config", &config)),
        ];
        if with_pins {
            children.push((Kind::ConfigMap, object("laptops-pinned", &pins)));
        }
        observed(children)
    }

    fn seen(pinned: &Pinned) -> (String, String, String) {
        let of = |name: &str| {
            let child = pinned.objects.iter().find(|child| child.name == name).unwrap();
            child.json.clone()
        };
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let order = &of("laptops-order")["spec"]["template"]["spec"]["containers"][0]["image"];
        let config = &of("laptops-config")["data"]["config.json"];
        let pins: Value =
            serde_json::from_str(of("laptops-pinned")["data"]["order"].as_str().unwrap()).unwrap();
        (
            text(order),
            text(config),
            text(&pins["spec"]["containers"][0]["image"]),
        )
    }

    fn pins<'a>(buyers: Buyers, allowed: bool) -> Pins<'a> {
        Pins {
            buyers,
            allowed,
            first_key: "k1",
            hash: None,
        }
    }

    /// Who may edit ConfigMaps must not get pods of their choosing from the operator.
    #[test]
    fn what_was_edited_by_hand_is_not_believed_and_other_keys_roll_out() {
        let open = pins(Buyers::MayBeThere, false);
        let kept = pin(today(), &sale(), &open, &opened(true));
        let known = Pins {
            hash: Some("another"),
            ..open
        };
        assert_eq!(
            seen(&pin(today(), &sale(), &known, &opened(true))).0,
            "evil:1",
            "the cluster itself is the best guess"
        );
        let map = kept
            .objects
            .iter()
            .find(|child| child.name == "laptops-pinned")
            .unwrap();
        let written = object("laptops-pinned", &json!({"data": map.json["data"]}));
        let mut again = opened(false);
        again.children.push((Kind::ConfigMap, written));
        let known = Pins {
            hash: kept.hash.as_deref(),
            ..open
        };
        assert_eq!(seen(&pin(today(), &sale(), &known, &again)).0, "quicksale:1");
        let other_keys = Pins {
            first_key: "k2",
            ..known
        };
        assert_eq!(seen(&pin(today(), &sale(), &other_keys, &again)).0, "quicksale:2");
    }

    #[test]
    fn an_open_sale_keeps_its_pods_and_their_configuration_as_they_were_when_it_opened() {
        let all =
            |buyers, allowed, observed: &Observed| pin(today(), &sale(), &pins(buyers, allowed), observed);
        let texts = |a: &str, b: &str, c: &str| (a.to_owned(), b.to_owned(), c.to_owned());
        for buyers in [Buyers::MayBeThere, Buyers::HaveGone] {
            let kept = all(buyers, false, &opened(true));
            assert_eq!(seen(&kept), texts("quicksale:1", "old", "quicksale:1"));
            assert_eq!(kept.held, [Component::Order]);
            // What starts no pod anew is as it is written now.
            let order = kept
                .objects
                .iter()
                .find(|child| child.name == "laptops-order")
                .unwrap();
            assert_eq!(order.json["spec"]["replicas"], 3);
            assert_eq!(kept.objects[0].name, "laptops-control", "the document goes first");
        }
        for (buyers, allowed) in [(Buyers::NotYet, false), (Buyers::MayBeThere, true)] {
            let new = all(buyers, allowed, &opened(true));
            assert_eq!(seen(&new), texts("quicksale:2", "new", "quicksale:2"));
            assert_eq!(new.held, []);
        }
        // Where what was written down is gone, what is there is the best guess.
        let guessed = all(Buyers::MayBeThere, false, &opened(false));
        assert_eq!(seen(&guessed), texts("evil:1", "by hand", "evil:1"));
        // A Deployment that was deleted comes back with what it ran.
        let mut deleted = opened(true);
        deleted.children.retain(|(kind, _)| *kind != Kind::Deployment);
        assert_eq!(seen(&all(Buyers::MayBeThere, false, &deleted)).0, "quicksale:1");
    }

    #[test]
    fn what_is_written_and_what_is_kept_are_told_apart_by_their_hash() {
        let hash = |pinned: &Pinned| {
            let order = pinned
                .objects
                .iter()
                .find(|child| child.name == "laptops-order")
                .unwrap();
            order.json["metadata"]["annotations"][build::APPLIED_HASH].clone()
        };
        let kept = pin(today(), &sale(), &pins(Buyers::MayBeThere, false), &opened(true));
        let new = pin(today(), &sale(), &pins(Buyers::NotYet, false), &opened(true));
        assert_ne!(hash(&kept), hash(&new));
    }
}
