//! The objects of a sale, looked at as a whole.

use super::*;
use crds::FlashSale;
use jiff::Timestamp;
use k8s_openapi::api::{
    apps::v1::Deployment, autoscaling::v2::HorizontalPodAutoscaler, core::v1 as core,
    networking::v1 as networking, policy::v1::PodDisruptionBudget,
};
use serde_json::{Value, json};

struct Fixture {
    sale: ValidSale,
    phase: Phase,
    images: BTreeMap<Component, Image>,
    scaled_by_others: BTreeSet<Component>,
    current_replicas: BTreeMap<Component, i32>,
    control_version: u64,
}

fn sale_with(services: &Value) -> ValidSale {
    let json = json!({
        "apiVersion": "quicksale.io/v1alpha1", "kind": "FlashSale",
        "metadata": {"name": "laptops", "namespace": "shop", "uid": "u-1", "generation": 1},
        "spec": {
            "services": services, "ingress": {"host": "laptops.example.com", "tlsSecretName": "laptops-tls"},
            "products": [{"sku": "A", "name": "a", "price": "799.99", "stock": 50}],
        },
    });
    ValidSale::try_from(&serde_json::from_value::<FlashSale>(json).unwrap()).unwrap()
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "reads better with json! inside of the call"
)]
fn fixture(services: Value) -> Fixture {
    let image = Image {
        name: "quicksale:1".into(),
        pull_policy: "IfNotPresent".into(),
    };
    Fixture {
        sale: sale_with(&services),
        phase: Phase::Live,
        images: Component::ALL.into_iter().map(|c| (c, image.clone())).collect(),
        scaled_by_others: BTreeSet::new(),
        current_replicas: BTreeMap::new(),
        control_version: 1,
    }
}

impl Fixture {
    fn objects(&self) -> Vec<Child> {
        let keys = KeyPair {
            private_pem: "private".into(),
            jwks_json: "{}".into(),
        };
        let mut control = ControlDocument::open_now(self.sale.id.clone(), Timestamp::UNIX_EPOCH);
        control.version = self.control_version;
        let backends = BTreeMap::from([("REDIS_URL".to_owned(), b"redis://r".to_vec())]);
        objects(&Plan {
            sale: &self.sale,
            phase: self.phase,
            retention_over: false,
            platform: Platform {
                images: self.images.clone(),
                namespace: "quicksale-system",
                accounts_database: "quicksale".into(),
                trusted_proxies: vec!["10.0.0.0/8".into()],
                cors_origins: Vec::new(),
            },
            keys: &keys,
            backends_copy: Some(&backends),
            backends_hash: "b",
            admin: None,
            control: &control,
            scaled_by_others: &self.scaled_by_others,
            current_replicas: &self.current_replicas,
        })
    }

    fn get(&self, kind: Kind, name: &str) -> Option<Value> {
        self.objects()
            .into_iter()
            .find(|c| c.kind == kind && c.name == name)
            .map(|c| c.json)
    }

    fn deployment(&self, name: &str) -> Value {
        self.get(Kind::Deployment, &format!("laptops-{name}")).unwrap()
    }
}

/// What is written in JSON must mean the same to the real types: a misspelt field would be dropped in silence.
#[test]
fn every_object_is_what_kubernetes_understands() {
    fn survives<K: serde::de::DeserializeOwned + serde::Serialize>(json: &Value) {
        let typed: K = serde_json::from_value(json.clone()).unwrap_or_else(|error| panic!("{error}: {json}"));
        assert_eq!(&serde_json::to_value(typed).unwrap(), json);
    }
    let fixture = fixture(json!({"order": {"replicas": {"min": 2, "max": 4}}}));
    let objects = fixture.objects();
    for child in &objects {
        match child.kind {
            Kind::ConfigMap => survives::<core::ConfigMap>(&child.json),
            Kind::Secret => survives::<core::Secret>(&child.json),
            Kind::Service => survives::<core::Service>(&child.json),
            Kind::NetworkPolicy => survives::<networking::NetworkPolicy>(&child.json),
            Kind::Deployment => survives::<Deployment>(&child.json),
            Kind::PodDisruptionBudget => survives::<PodDisruptionBudget>(&child.json),
            Kind::HorizontalPodAutoscaler => survives::<HorizontalPodAutoscaler>(&child.json),
            Kind::Ingress => survives::<networking::Ingress>(&child.json),
        }
    }
    let kinds: BTreeSet<Kind> = objects.iter().map(|child| child.kind).collect();
    assert_eq!(kinds.len(), Kind::ALL.len(), "the fixture shows every kind");
    assert_eq!(
        objects[0].name, "laptops-control",
        "the control document goes first"
    );
}

#[test]
fn the_services_understand_their_configuration() {
    let json = fixture(json!({})).get(Kind::ConfigMap, "laptops-config").unwrap();
    let text = json["data"]["config.json"].as_str().unwrap();
    let config: platform::config::Config = serde_json::from_str(text).unwrap();
    assert_eq!(config.data.database, "qs_shop_laptops");
    assert_eq!(
        config.upstreams.order.as_str(),
        "http://laptops-order.shop.svc:3003/"
    );
}

#[test]
fn nothing_is_made_before_the_warm_up() {
    let pending = Fixture {
        phase: Phase::Pending,
        ..fixture(json!({}))
    };
    assert!(pending.objects().is_empty());
}

#[test]
fn replicas_are_fixed_or_left_to_the_autoscaler() {
    let fixed = fixture(json!({"order": {"replicas": {"min": 3}}}));
    assert_eq!(fixed.deployment("order")["spec"]["replicas"], 3);
    assert!(
        fixed
            .get(Kind::HorizontalPodAutoscaler, "laptops-order")
            .is_none()
    );
    assert!(fixed.get(Kind::PodDisruptionBudget, "laptops-order").is_some());
    assert!(
        fixed.get(Kind::PodDisruptionBudget, "laptops-auth").is_none(),
        "one replica must not block a drain"
    );

    let mut ranged = fixture(json!({"order": {"replicas": {"min": 2, "max": 6}}}));
    assert_eq!(
        ranged.deployment("order")["spec"]["replicas"],
        2,
        "until the autoscaler speaks"
    );
    ranged.current_replicas.insert(Component::Order, 5);
    assert_eq!(
        ranged.deployment("order")["spec"]["replicas"],
        5,
        "a range never shrinks what runs"
    );
    ranged.scaled_by_others.insert(Component::Order);
    assert_eq!(ranged.deployment("order")["spec"].get("replicas"), None);
}

#[test]
fn after_the_end_readers_are_served_and_nothing_else() {
    let ended = Fixture {
        phase: Phase::Ended,
        ..fixture(json!({"gateway": {"replicas": {"min": 3, "max": 9}}}))
    };
    assert_eq!(ended.deployment("gateway")["spec"]["replicas"], 1);
    assert_eq!(ended.deployment("processor")["spec"]["replicas"], 0);
    assert!(
        ended
            .get(Kind::HorizontalPodAutoscaler, "laptops-gateway")
            .is_none()
    );
}

#[test]
fn a_new_control_document_restarts_nothing_and_a_new_configuration_does() {
    let before = fixture(json!({}));
    let mut after = fixture(json!({}));
    after.control_version = 2;
    assert_eq!(before.deployment("gateway"), after.deployment("gateway"));
    assert_ne!(
        before.get(Kind::ConfigMap, "laptops-control"),
        after.get(Kind::ConfigMap, "laptops-control")
    );
    after.sale.reservation_ttl += std::time::Duration::from_secs(60);
    assert_ne!(before.deployment("gateway"), after.deployment("gateway"));
}

#[test]
fn only_auth_gets_the_private_key() {
    let fixture = fixture(json!({}));
    for component in Component::ALL {
        let deployment = fixture.deployment(component.as_str());
        let has_key = deployment.to_string().contains("signing-key.pem");
        assert_eq!(has_key, component == Component::Auth, "{component}");
    }
}

#[test]
fn pods_meet_the_restricted_standard() {
    for component in Component::ALL {
        let pod = fixture(json!({})).deployment(component.as_str())["spec"]["template"]["spec"].clone();
        assert_eq!(pod["automountServiceAccountToken"], false);
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
        assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
        let container = &pod["containers"][0]["securityContext"];
        assert_eq!(container["allowPrivilegeEscalation"], false);
        assert_eq!(container["capabilities"]["drop"], json!(["ALL"]));
    }
}

#[test]
fn resources_override_one_by_one() {
    let fixture = fixture(json!({"order": {"resources": {"requests": {"cpu": 1}, "limits": {"cpu": "2"}}}}));
    let resources =
        fixture.deployment("order")["spec"]["template"]["spec"]["containers"][0]["resources"].clone();
    assert_eq!(
        resources,
        json!({"requests": {"cpu": "1", "memory": "64Mi"}, "limits": {"cpu": "2", "memory": "256Mi"}})
    );
}
