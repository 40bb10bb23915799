//! One round of building, applying, pushing and pruning.

use super::{
    apply::{ApplyError, apply},
    backends_secret,
    build::{
        self, Child, Image, Kind, Plan, Platform, PodShape, backend_ports::BackendPorts, network_policy,
    },
    context::Context,
    control,
    error::Error,
    fetch::Observed,
    prune::prune,
};
use crate::{
    push::{self, Receipts},
    settings::Settings,
    signing_keys::KeyRing,
};
use crds::{Component, FlashSaleStatus, ValidSale};
use jiff::Timestamp;
use platform::tokens::Signer;
use sale::{control::ControlDocument, phase::Phase};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv6Addr},
};

/// What is to be brought about.
pub struct Rollout {
    /// The objects, in order.
    pub objects: Vec<Child>,
    /// The hash of the backends Secret.
    pub backends_hash: String,
    /// A token for calls to the sale's services.
    pub token: String,
    control: ControlDocument,
    namespace: String,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Who goes by the control document.
    pub receipts: Receipts,
    /// Whether a Deployment was written.
    pub deployments_changed: bool,
    /// The first object that could not be applied; those after it were tried all the same.
    pub failure: Option<ApplyError>,
}

impl Rollout {
    /// Decides on everything. `asked_for_key` is what [`ROTATE`](crate::signing_keys::ROTATE) says.
    ///
    /// # Errors
    /// [`Error::Keys`].
    pub fn prepare(
        context: &Context,
        sale: &ValidSale,
        status: &FlashSaleStatus,
        observed: &Observed,
        deleting: bool,
        asked_for_key: Option<&str>,
        now: Timestamp,
    ) -> Result<Self, Error> {
        let name = &sale.id.name;
        let keys = match observed.keys(name, now) {
            Some(keys) => keys.advance(asked_for_key, context.settings.key_pace(), now)?,
            None => KeyRing::generate(asked_for_key, now)?,
        };
        let token = Signer::from_pem(keys.signing_pem())?.service_token("operator", now)?;
        let key_data = keys.data()?;
        let control = control::document(sale, status, deleting, observed.control(name).as_ref(), now);
        let backends_hash = backends_hash(sale, observed);
        let copy = observed
            .backends
            .as_ref()
            .filter(|_| sale.backends_secret.is_none());
        let backends_copy = copy.map(backends_secret::for_pods);
        let backends_keys = observed.backends_keys(name);
        let ports_before = ports_before(name, status.phase(), observed);
        let plan = Plan {
            sale,
            phase: status.phase(),
            retention_over: retention_over(sale, status, now),
            platform: platform(&context.settings, sale, status.phase(), observed),
            first_key: keys.first(),
            keys: &key_data,
            backends_copy: backends_copy.as_ref(),
            backends_keys: &backends_keys,
            backends_hash: &backends_hash,
            plaintext_passwords: backends_secret::plaintext_passwords_of(
                sale,
                context.settings.plaintext_passwords,
            ),
            backend_ports: &BackendPorts::of_all(observed.backends.as_ref()),
            ports_before: &ports_before,
            // A sale with backends of its own has other accounts.
            admin: observed
                .administrator
                .as_ref()
                .filter(|_| sale.backends_secret.is_none()),
            control: &control,
            scaled_by_others: &observed.scaled_by_others(name),
            current_replicas: &observed.replicas(name),
        };
        let mut objects = build::objects(&plan);
        if status.phase() == Phase::Ended {
            objects.push(build::report::report(sale, status));
        }
        Ok(Self {
            objects,
            backends_hash,
            token,
            control,
            namespace: sale.id.namespace.clone(),
        })
    }

    /// Brings it about: the control document first and to everybody, then the rest in order.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn carry_out(&self, context: &Context, observed: &Observed) -> Result<Outcome, Error> {
        let mut outcome = Outcome::default();
        if let Some((control, rest)) = self.objects.split_first() {
            apply(&context.client, &self.namespace, observed, control).await?;
            let push = push::push(&context.http, &self.token, &observed.pods, &self.control);
            let (receipts, applied) = tokio::join!(push, self.apply_all(context, observed, rest));
            outcome = Outcome { receipts, ..applied };
        }
        prune(&context.client, &self.namespace, observed, &self.objects).await?;
        Ok(outcome)
    }

    /// Applies in order. An object that the API server refuses must not hold up the rest of the sale.
    async fn apply_all(&self, context: &Context, observed: &Observed, objects: &[Child]) -> Outcome {
        let mut outcome = Outcome::default();
        for child in objects {
            match apply(&context.client, &self.namespace, observed, child).await {
                Ok(changed) => outcome.deployments_changed |= changed && child.kind == Kind::Deployment,
                Err(error) => {
                    tracing::warn!(%error, "not applied");
                    outcome.failure.get_or_insert(error);
                }
            }
        }
        outcome
    }
}

fn retention_over(sale: &ValidSale, status: &FlashSaleStatus, now: Timestamp) -> bool {
    // Nobody reads the orders of a rehearsal, and its data can be wiped only when its services are gone.
    sale.is_rehearsal()
        || status
            .ended_at
            .is_some_and(|at| now >= at && now.duration_since(at).unsigned_abs() >= sale.retain_for)
}

/// A hash of the credentials in use. Where they cannot be read now, what the pods were started with still holds.
fn backends_hash(sale: &ValidSale, observed: &Observed) -> String {
    let known = observed.backends.as_ref().map(backends_secret::hash);
    known
        .or_else(|| observed.backends_hash(&sale.id.name))
        .unwrap_or_else(|| "none".to_owned())
}

/// The ports of backends that each component of an open sale has been let out to.
fn ports_before(sale: &str, phase: Phase, observed: &Observed) -> BTreeMap<Component, BTreeSet<u16>> {
    if !matches!(phase, Phase::Live | Phase::Draining) {
        return BTreeMap::new();
    }
    let ports = |component: Component| {
        let name = build::object_name(sale, component.as_str());
        let policy = observed.child(Kind::NetworkPolicy, &name)?;
        Some((component, network_policy::backend_ports(policy)))
    };
    Component::ALL.into_iter().filter_map(ports).collect()
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
fn platform<'a>(settings: &'a Settings, sale: &ValidSale, phase: Phase, observed: &Observed) -> Platform<'a> {
    let name = &sale.id.name;
    let keeps = matches!(phase, Phase::Live | Phase::Draining | Phase::Ended);
    let kept_images = if keeps {
        observed.images(name)
    } else {
        BTreeMap::new()
    };
    let kept_config = if keeps { observed.config(name) } else { None };
    let pod_shape = (observed.pod_shape(name).filter(|_| keeps)).unwrap_or(PodShape::Bounded);
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
    let (bind, trusted_proxies, cors_origins, access_log, https_host, accounts_database) = kept_config
        .map_or_else(
            || {
                (
                    // Both families: where there is no IPv6, and where there is nothing else.
                    IpAddr::V6(Ipv6Addr::UNSPECIFIED),
                    settings.trusted_proxies.clone(),
                    settings.cors_origins.clone(),
                    settings.access_log,
                    // What pods of the first shape run refuses to start with a key that it does not know.
                    https_host(sale).filter(|_| pod_shape != PodShape::First),
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
        pod_shape,
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
        assert_eq!(observed(Vec::new()).pod_shape("laptops"), None);
        assert_eq!(
            observed(vec![first()]).pod_shape("laptops"),
            Some(PodShape::First)
        );
        assert_eq!(
            observed(vec![bounded(), first()]).pod_shape("laptops"),
            Some(PodShape::Bounded)
        );
    }

    #[test]
    fn ports_of_old_backends_count_only_while_a_sale_is_open() {
        let egress =
            json!({"egress": [{"ports": [{"port": 53}]}, {"ports": [{"port": 6380, "protocol": "TCP"}]}]});
        let observed = observed(vec![policy("gateway", &egress)]);
        let ports = |phase| ports_before("laptops", phase, &observed).remove(&Component::Gateway);
        assert_eq!(ports(Phase::Live), Some(BTreeSet::from([6380])));
        assert_eq!(ports(Phase::Warming), None);
    }

    /// What changes the configuration would restart every pod of an open sale.
    #[test]
    fn an_open_sale_is_reached_as_before_and_a_new_one_on_both_families_and_by_https() {
        let sale = json!({
            "apiVersion": "quicksale.io/v1alpha1", "kind": "FlashSale",
            "metadata": {"name": "laptops", "namespace": "shop", "uid": "u-1", "generation": 1},
            "spec": {
                "products": [{"sku": "A", "name": "a", "price": "1.00", "stock": 1}],
                "ingress": {"host": "laptops.example.com", "tlsSecretName": "laptops-tls"},
            },
        });
        let sale = serde_json::from_value::<crds::FlashSale>(sale).unwrap();
        let sale = ValidSale::try_from(&sale).unwrap();
        let settings = Settings::parse_from(["quicksale-operator", "--image", "quicksale:1"]);
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
        let bind = |phase| platform(&settings, &sale, phase, &observed).bind;
        assert_eq!(bind(Phase::Live), IpAddr::from([0, 0, 0, 0]));
        assert_eq!(bind(Phase::Warming), IpAddr::V6(Ipv6Addr::UNSPECIFIED));
        let https = |phase| platform(&settings, &sale, phase, &observed).https_host;
        assert_eq!(https(Phase::Live), None);
        assert_eq!(https(Phase::Warming).as_deref(), Some("laptops.example.com"));
        // Somebody has deleted the configuration: what it is written anew for may not know the newest keys.
        let shaped = |deployment| super::tests::observed(vec![deployment]);
        let https = |observed: &Observed| platform(&settings, &sale, Phase::Live, observed).https_host;
        assert_eq!(https(&shaped(first())), None);
        assert_eq!(https(&shaped(bounded())).as_deref(), Some("laptops.example.com"));
    }
}
