//! The objects of a sale, looked at as a whole.

use super::*;
use crds::{
    FlashSale,
    by_host::ByHost,
    names::{COMPONENT_LABEL, SALE_LABEL},
    rehearsal::{Arrival, BesideOpenSales},
    traffic::{Ingress, LoadBalancer},
    valid::ValidLoad,
};
use jiff::Timestamp;
use k8s_openapi::api::{
    apps::v1::Deployment, autoscaling::v2::HorizontalPodAutoscaler, batch::v1::Job, core::v1 as core,
    networking::v1 as networking, policy::v1::PodDisruptionBudget,
};
use serde_json::{Value, json};

struct Fixture {
    sale: ValidSale,
    phase: Phase,
    image: Image,
    scaled_by_others: BTreeSet<Component>,
    current_replicas: BTreeMap<Component, i32>,
    control_version: u64,
    network: Network,
    restrict_egress: bool,
    access_log: bool,
    https_host: Option<String>,
    tracing: Option<Tracing>,
    plaintext_senders: BTreeSet<Component>,
    backends: BTreeMap<String, Vec<u8>>,
    ports_before: BTreeMap<Component, BTreeSet<u16>>,
    opening: bool,
    pods: PodTemplate,
    administrator: Administrator,
    entrances: AllowedEntrances,
    standing_annotations: BTreeSet<String>,
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
        image,
        scaled_by_others: BTreeSet::new(),
        current_replicas: BTreeMap::new(),
        control_version: 1,
        network: Network::default(),
        restrict_egress: true,
        access_log: true,
        https_host: None,
        tracing: None,
        plaintext_senders: BTreeSet::new(),
        backends: BTreeMap::from([("REDIS_URL".to_owned(), b"redis://r".to_vec())]),
        ports_before: BTreeMap::new(),
        opening: false,
        pods: PodTemplate::default(),
        administrator: Administrator {
            email: "boss@example.com".to_owned(),
            password_hash: "$argon2id$".to_owned(),
        },
        entrances: AllowedEntrances {
            annotations: vec!["cert-manager.io/".into()],
            gateway_api: true,
            load_balancers: true,
        },
        standing_annotations: BTreeSet::new(),
    }
}

impl Fixture {
    fn objects(&self) -> Vec<Child> {
        let keys = BTreeMap::from([("signing-key.pem".to_owned(), b"private".to_vec())]);
        let mut control = ControlDocument::open_now(self.sale.id.clone(), Timestamp::UNIX_EPOCH);
        control.version = self.control_version;
        objects(&Plan {
            sale: &self.sale,
            phase: self.phase,
            retention_over: false,
            platform: Platform {
                image: self.image.clone(),
                namespace: "quicksale-system",
                entrances: &self.entrances,
                bind: IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED),
                network: &self.network,
                restrict_egress: self.restrict_egress,
                accounts_database: "quicksale".into(),
                pods: &self.pods,
                trusted_proxies: vec!["10.0.0.0/8".into()],
                cors_origins: Vec::new(),
                access_log: self.access_log,
                https_host: self.https_host.clone(),
                tracing: self.tracing.clone(),
            },
            keys: &keys,
            first_key: "{}",
            backends_copy: Some(&self.backends),
            backends_hash: "b",
            plaintext_senders: &self.plaintext_senders,
            backend_ports: &BackendPorts::of_all(Some(&self.backends)),
            ports_before: &self.ports_before,
            admin: Some(&self.administrator),
            backends_keys: &self.backends.keys().cloned().collect(),
            control: &control,
            scaled_by_others: &self.scaled_by_others,
            current_replicas: &self.current_replicas,
            has_its_host: true,
            load_balancer: true,
            standing_annotations: &self.standing_annotations,
            load: true,
            opening: self.opening,
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

fn by_gateway(annotations: &Value) -> ByHost {
    let ingress =
        json!({"host": "laptops.example.com", "annotations": annotations, "parentRef": {"name": "front"}});
    let written: Ingress = serde_json::from_value(ingress).unwrap();
    ByHost::from(&written)
}

/// What is written in JSON must mean the same to the real types: a misspelt field would be dropped in silence.
#[test]
fn every_object_is_what_kubernetes_understands() {
    fn survives<K: serde::de::DeserializeOwned + serde::Serialize>(json: &Value) {
        let typed: K = serde_json::from_value(json.clone()).unwrap_or_else(|error| panic!("{error}: {json}"));
        assert_eq!(&serde_json::to_value(typed).unwrap(), json);
    }
    let mut fixture = fixture(json!({"order": {"replicas": {"min": 2, "max": 4}}}));
    fixture.sale.load = Some(ValidLoad {
        arrival: Arrival::Steps,
        orders_per_second: 100,
        buyers: 10,
        step_seconds: 10,
        beside_open_sales: BesideOpenSales::Wait,
    });
    let mut objects = fixture.objects();
    fixture.sale.by_host = Some(by_gateway(&json!({})));
    objects.extend(
        fixture
            .objects()
            .into_iter()
            .filter(|child| child.kind == Kind::HttpRoute),
    );
    for child in &objects {
        match child.kind {
            Kind::ConfigMap => survives::<core::ConfigMap>(&child.json),
            Kind::Secret => survives::<core::Secret>(&child.json),
            Kind::Service => survives::<core::Service>(&child.json),
            Kind::NetworkPolicy => survives::<networking::NetworkPolicy>(&child.json),
            Kind::Deployment => survives::<Deployment>(&child.json),
            Kind::PodDisruptionBudget => survives::<PodDisruptionBudget>(&child.json),
            Kind::Job => survives::<Job>(&child.json),
            Kind::HorizontalPodAutoscaler => survives::<HorizontalPodAutoscaler>(&child.json),
            Kind::Ingress => survives::<networking::Ingress>(&child.json),
            // Has no type here: the API server of the tests has its definition.
            Kind::HttpRoute => {}
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
        "there is never a second one"
    );
    let budget = |fixture: &Fixture| fixture.get(Kind::PodDisruptionBudget, "laptops-order").is_some();
    assert!(
        budget(&fixture(json!({"order": {"replicas": {"min": 1, "max": 10}}}))),
        "an autoscaler makes more of it"
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
    ranged.current_replicas.insert(Component::Order, 0);
    assert_eq!(
        ranged.deployment("order")["spec"]["replicas"],
        2,
        "an autoscaler rests at zero"
    );
}

#[test]
fn a_sale_opens_with_the_replicas_that_it_asks_for() {
    let mut sale = fixture(json!({"order": {"replicas": {"min": 2, "max": 9, "opening": 6}}}));
    let scaler =
        |sale: &Fixture| sale.get(Kind::HorizontalPodAutoscaler, "laptops-order").unwrap()["spec"].clone();
    assert_eq!(scaler(&sale)["minReplicas"], 2);
    assert_eq!(
        scaler(&sale)["behavior"]["scaleDown"]["stabilizationWindowSeconds"],
        300
    );
    sale.opening = true;
    assert_eq!(sale.deployment("order")["spec"]["replicas"], 6);
    assert_eq!(scaler(&sale)["minReplicas"], 6);
    assert_eq!(scaler(&sale)["behavior"]["scaleDown"]["selectPolicy"], "Disabled");
    // An autoscaler that has gone below is not listened to.
    sale.scaled_by_others.insert(Component::Order);
    sale.current_replicas.insert(Component::Order, 3);
    assert_eq!(sale.deployment("order")["spec"]["replicas"], 6);
    sale.current_replicas.insert(Component::Order, 8);
    assert_eq!(sale.deployment("order")["spec"].get("replicas"), None);
}

#[test]
fn a_range_grows_by_what_the_sale_names() {
    let sale = fixture(json!({"order": {
        "replicas": {"min": 2, "max": 9},
        "scaling": {"cpuPercent": 80, "metrics": [{"name": "quicksale_lane_lag", "labels": {"group": "order"}, "perReplica": 500}]},
    }}));
    let scaler = sale.get(Kind::HorizontalPodAutoscaler, "laptops-order").unwrap();
    let metrics = &scaler["spec"]["metrics"];
    assert_eq!(metrics[1]["resource"]["target"]["averageUtilization"], 80);
    assert_eq!(
        metrics[0]["external"],
        json!({
            "metric": {"name": "quicksale_lane_lag", "selector": {"matchLabels": {"group": "order", "sale": "laptops"}}},
            "target": {"type": "AverageValue", "averageValue": "500"},
        })
    );
}

#[test]
fn what_the_platform_wants_is_in_every_pod() {
    let mut sale = fixture(json!({}));
    sale.sale.load = Some(ValidLoad {
        arrival: Arrival::Burst,
        orders_per_second: 1,
        buyers: 1,
        step_seconds: 1,
        beside_open_sales: BesideOpenSales::Wait,
    });
    sale.pods = r#"{"priorityClassName": "high", "labels": {"team": "shop"}}"#
        .parse()
        .unwrap();
    let objects = sale.objects();
    let templates = objects
        .iter()
        .filter_map(|child| child.json.pointer("/spec/template"));
    let with = templates.filter(|template| {
        template["spec"]["priorityClassName"] == "high" && template["metadata"]["labels"]["team"] == "shop"
    });
    assert_eq!(with.count(), 7, "six services and the load");
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

fn resources_with(wanted: &Value) -> Value {
    let fixture = fixture(json!({"order": {"resources": wanted}}));
    fixture.deployment("order")["spec"]["template"]["spec"]["containers"][0]["resources"].clone()
}

#[test]
fn resources_override_one_by_one() {
    assert_eq!(
        resources_with(&json!({"requests": {"cpu": 1}, "limits": {"cpu": "2"}})),
        json!({
            "requests": {"cpu": "1", "memory": "64Mi", "ephemeral-storage": "32Mi"},
            "limits": {"cpu": "2", "memory": "256Mi", "ephemeral-storage": "256Mi"},
        })
    );
}

/// A pod without a limit could take its node along; one that asks for more than it may use is refused.
#[test]
fn there_is_always_a_limit_of_memory_and_no_request_is_above_it() {
    for (wanted, request, limit) in [
        (json!({"requests": {"memory": "100Mi"}}), "100Mi", "256Mi"),
        (json!({"requests": {"memory": "1Gi"}}), "1Gi", "1Gi"),
        (
            json!({"requests": {"memory": 268_435_457}}),
            "268435457",
            "268435457",
        ),
        (json!({"limits": {"memory": "32Mi"}}), "32Mi", "32Mi"),
        (json!({"limits": {"memory": "0.5G"}}), "64Mi", "0.5G"),
        // None, to Kubernetes.
        (json!({"limits": {"memory": "0"}}), "64Mi", "256Mi"),
        (json!({"limits": {"memory": 0}}), "64Mi", "256Mi"),
        (json!({"limits": {"memory": "0.0Gi"}}), "64Mi", "256Mi"),
    ] {
        let resources = resources_with(&wanted);
        assert_eq!(resources["requests"]["memory"], request);
        assert_eq!(resources["limits"]["memory"], limit);
    }
    let little = resources_with(&json!({"limits": {"cpu": "10m"}}));
    assert_eq!(little["requests"]["cpu"], "10m");
}

/// A Secret that is made and not read again would be made anew at every look: there is no right to list them.
#[test]
fn every_secret_is_one_of_those_that_are_read_by_name() {
    let objects = fixture(json!({})).objects();
    let made = objects.iter().filter(|child| child.kind == Kind::Secret);
    let made: BTreeSet<_> = made.map(|child| child.name.as_str()).collect();
    let read: BTreeSet<_> = SECRETS.map(|suffix| object_name("laptops", suffix)).into();
    assert_eq!(made, read.iter().map(String::as_str).collect());
}

#[test]
fn services_listen_on_both_families() {
    let json = fixture(json!({})).get(Kind::ConfigMap, "laptops-config").unwrap();
    let config: Value = serde_json::from_str(json["data"]["config.json"].as_str().unwrap()).unwrap();
    assert_eq!(config["http"]["bind"], "::");
}

/// A flow as `who -> whom:port`, without the labels that are the same everywhere.
fn peer(peer: &Value) -> String {
    if let Some(block) = peer["ipBlock"]["cidr"].as_str() {
        return block.to_owned();
    }
    let pod = &peer["podSelector"]["matchLabels"];
    match (&peer["namespaceSelector"], pod[COMPONENT_LABEL].as_str()) {
        (Value::Null, Some(component)) => {
            assert_eq!(pod[SALE_LABEL], "laptops", "pods of this sale only");
            component.to_owned()
        }
        (namespaces, _) if pod["app.kubernetes.io/name"] == "quicksale-operator" => {
            assert_eq!(
                namespaces["matchLabels"]["kubernetes.io/metadata.name"],
                "quicksale-system"
            );
            "operator".to_owned()
        }
        (namespaces, _) if *namespaces == json!({}) => "pods".to_owned(),
        (namespaces, _) => namespaces["matchLabels"]["name"].as_str().unwrap().to_owned(),
    }
}

fn flows(policy: &Value, direction: &str, side: &str) -> BTreeSet<String> {
    let mut flows = BTreeSet::new();
    for rule in policy["spec"][direction].as_array().unwrap() {
        let peers = rule[side].as_array().map_or_else(
            || vec!["anybody".to_owned()],
            |peers| peers.iter().map(peer).collect(),
        );
        // An empty list would be everybody, or every port.
        assert!(
            !peers.is_empty() && !rule["ports"].as_array().unwrap().is_empty(),
            "{rule}"
        );
        for port in rule["ports"].as_array().unwrap() {
            flows.extend(peers.iter().map(|peer| format!("{peer}:{}", port["port"])));
        }
    }
    flows
}

fn set(flows: &[&str]) -> BTreeSet<String> {
    flows.iter().map(|flow| (*flow).to_owned()).collect()
}

impl Fixture {
    fn policy(&self, component: &str) -> Value {
        self.get(Kind::NetworkPolicy, &format!("laptops-{component}"))
            .unwrap()
    }

    fn comes_in(&self, component: &str) -> BTreeSet<String> {
        flows(&self.policy(component), "ingress", "from")
    }

    fn config(&self) -> platform::config::Config {
        let map = self.get(Kind::ConfigMap, "laptops-config").unwrap();
        serde_json::from_str(map["data"]["config.json"].as_str().unwrap()).unwrap()
    }

    /// What goes out beside the questions for names, with the backends' peers as one.
    fn goes_out(&self, component: &str) -> BTreeSet<String> {
        let mut flows = flows(&self.policy(component), "egress", "to");
        for dns in ["anybody:53", "anybody:5353"] {
            assert!(flows.remove(dns), "{component} cannot ask for names");
        }
        flows
            .iter()
            .map(|flow| flow.replace("0.0.0.0/0:", "pods:").replace("::/0:", "pods:"))
            .collect()
    }
}

#[test]
fn only_the_flows_that_are_needed_come_in() {
    let fixture = fixture(json!({}));
    for (component, expected) in [
        ("gateway", set(&["operator:9090", "anybody:3000"])),
        ("auth", set(&["operator:9090", "gateway:3001"])),
        (
            "inventory",
            set(&["operator:9090", "gateway:3002", "order:3002", "operator:3002"]),
        ),
        ("order", set(&["operator:9090", "gateway:3003", "operator:3003"])),
        ("notifier", set(&["operator:9090", "anybody:3004"])),
        ("processor", set(&["operator:9090"])),
    ] {
        assert_eq!(fixture.comes_in(component), expected, "{component}");
    }
}

#[test]
fn only_the_flows_that_are_needed_go_out() {
    let fixture = fixture(json!({}));
    let [mongodb, kafka, redis] = ["pods:27017", "pods:9092", "pods:6379"];
    for (component, expected) in [
        (
            "gateway",
            set(&[
                "auth:3001",
                "inventory:3002",
                "order:3003",
                "notifier:3004",
                redis,
            ]),
        ),
        ("auth", set(&[mongodb])),
        ("inventory", set(&[mongodb, kafka, redis])),
        ("order", set(&[mongodb, kafka, "inventory:3002"])),
        ("notifier", set(&[mongodb, kafka])),
        ("processor", set(&[mongodb, kafka])),
    ] {
        assert_eq!(fixture.goes_out(component), expected, "{component}");
        let policy = fixture.policy(component).to_string();
        assert!(
            policy.contains("169.254.0.0/16"),
            "link-local addresses are left out: {policy}"
        );
    }
}

/// Each call that is let out of one pod is let into the other, and the other way round.
#[test]
fn the_two_ends_of_every_call_agree() {
    let fixture = fixture(json!({}));
    let names = Component::ALL.map(Component::as_str);
    for (from, to) in names
        .iter()
        .flat_map(|from| names.iter().map(move |to| (from, to)))
    {
        let port = |flows: &BTreeSet<String>, peer: &str| {
            let flow = flows
                .iter()
                .find_map(|flow| flow.strip_prefix(&format!("{peer}:")));
            flow.map(str::to_owned)
        };
        let (out, into) = (
            port(&fixture.goes_out(from), to),
            port(&fixture.comes_in(to), from),
        );
        // To the notifier anybody may come.
        assert!(
            out == into || (*to == "notifier" && into.is_none()),
            "{from} -> {to}: {out:?} {into:?}"
        );
    }
}

#[test]
fn the_chart_names_who_else_may_talk_to_whom() {
    let mut fixture = fixture(json!({}));
    fixture.network = r#"{
        "ingressPeers": [{"namespaceSelector": {"matchLabels": {"name": "traefik"}}}],
        "monitoringPeers": [{"namespaceSelector": {"matchLabels": {"name": "prometheus"}}}],
        "backendPeers": [{"namespaceSelector": {"matchLabels": {"name": "backends"}}}],
        "backendPorts": [27018]
    }"#
    .parse()
    .unwrap();
    for component in ["gateway", "processor"] {
        assert!(
            fixture.comes_in(component).contains("prometheus:9090"),
            "{component}"
        );
    }
    assert!(!fixture.comes_in("gateway").contains("anybody:3000"));
    assert!(fixture.comes_in("gateway").contains("traefik:3000"));
    assert!(
        fixture
            .comes_in("notifier")
            .is_superset(&set(&["traefik:3004", "gateway:3004"]))
    );
    assert!(!fixture.comes_in("order").contains("traefik:3003"));
    assert_eq!(
        fixture.goes_out("auth"),
        set(&["backends:27017", "backends:27018"])
    );
}

#[test]
fn spans_go_to_the_collector_and_only_where_there_is_one() {
    let mut fixture = fixture(json!({}));
    assert_eq!(fixture.config().tracing, None);
    fixture.tracing = Some(Tracing {
        endpoint: "http://collector.monitoring:4318".parse().unwrap(),
        part: 0.25,
    });
    fixture.network = r#"{
        "backendPeers": [{"namespaceSelector": {"matchLabels": {"name": "backends"}}}],
        "collectorPeers": [{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}],
        "collectorPorts": [14318]
    }"#
    .parse()
    .unwrap();
    assert_eq!(
        fixture.goes_out("auth"),
        set(&["backends:27017", "monitoring:4318", "monitoring:14318"])
    );
    assert_eq!(fixture.config().tracing, fixture.tracing);
    // Nobody has to be named.
    fixture.network = Network::default();
    fixture.tracing = Some(Tracing {
        endpoint: "https://collector.example.com".parse().unwrap(),
        part: 1.0,
    });
    assert!(fixture.goes_out("processor").contains("pods:443"));
}

#[test]
fn an_open_sale_reaches_old_and_new_backends_until_all_pods_are_new() {
    let mut fixture = fixture(json!({}));
    let policy = |fixture: &Fixture| serde_json::from_value(fixture.policy("gateway")).unwrap();
    fixture.ports_before = BTreeMap::from([(
        Component::Gateway,
        network_policy::backend_ports(&policy(&fixture)),
    )]);
    fixture
        .backends
        .insert("REDIS_URL".to_owned(), b"rediss://r:6380".to_vec());
    assert!(
        fixture
            .goes_out("gateway")
            .is_superset(&set(&["pods:6379", "pods:6380"]))
    );
    assert!(!fixture.goes_out("auth").contains("pods:6380"));
    assert!(network_policy::restricts_egress(&policy(&fixture)));
    fixture.restrict_egress = false;
    assert!(!network_policy::restricts_egress(&policy(&fixture)));
    assert_eq!(
        fixture.policy("gateway")["spec"]["policyTypes"],
        json!(["Ingress"])
    );
}

/// The variables that a service gets from the Secret, and the key that each is read from.
fn from_secret(fixture: &Fixture, component: &str) -> BTreeMap<String, String> {
    let deployment = fixture
        .get(Kind::Deployment, &format!("laptops-{component}"))
        .unwrap();
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    assert!(container["envFrom"].is_null(), "{component} gets a whole Secret");
    let variables = container["env"].as_array().unwrap().iter();
    let from = variables.filter_map(|variable| {
        let key = variable["valueFrom"]["secretKeyRef"]["key"].as_str()?;
        Some((variable["name"].as_str()?.to_owned(), key.to_owned()))
    });
    from.collect()
}

#[test]
fn a_service_gets_the_keys_of_the_backends_that_it_uses_and_no_others() {
    let mut fixture = fixture(json!({}));
    let names = |fixture: &Fixture, component| -> Vec<String> {
        from_secret(fixture, component).into_keys().collect()
    };
    assert_eq!(names(&fixture, "gateway"), ["REDIS_URL"]);
    assert_eq!(names(&fixture, "auth"), ["MONGODB_URI"]);
    for component in ["order", "processor", "notifier"] {
        let names = names(&fixture, component);
        assert!(names.contains(&"KAFKA_BROKERS".to_owned()) && names.contains(&"MONGODB_URI".to_owned()));
        assert!(!names.contains(&"REDIS_URL".to_owned()), "{component}");
    }
    fixture
        .backends
        .insert("AUTH_MONGODB_URI".to_owned(), b"mongodb://auth@a".to_vec());
    assert_eq!(from_secret(&fixture, "auth")["MONGODB_URI"], "AUTH_MONGODB_URI");
    assert_eq!(from_secret(&fixture, "order")["MONGODB_URI"], "MONGODB_URI");
}

/// A service has the files of the backends that it uses, its own before everybody's, and no volume where there are none.
#[test]
fn certificates_are_mounted_where_the_secret_has_them() {
    let mut fixture = fixture(json!({}));
    let files = |fixture: &Fixture, component: &str| -> BTreeMap<String, String> {
        let pod = &fixture.deployment(component)["spec"]["template"]["spec"];
        let volumes = pod["volumes"].as_array().unwrap();
        let mounted = pod["containers"][0]["volumeMounts"].as_array().unwrap();
        let Some(volume) = volumes.iter().find(|volume| volume["name"] == "backends") else {
            assert!(mounted.iter().all(|mount| mount["name"] != "backends"));
            return BTreeMap::new();
        };
        assert!(mounted.iter().any(|mount| mount["name"] == "backends"));
        let items = volume["secret"]["items"].as_array().unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        items
            .iter()
            .map(|item| (text(&item["path"]), text(&item["key"])))
            .collect()
    };
    for component in Component::ALL {
        assert!(files(&fixture, component.as_str()).is_empty(), "{component}");
    }
    for key in [
        "REDIS_TLS_CA",
        "REDIS_TLS_KEY",
        "GATEWAY_REDIS_TLS_KEY",
        "MONGODB_TLS_CA",
        "KAFKA_TLS_CERT",
    ] {
        fixture.backends.insert(key.to_owned(), b"pem".to_vec());
    }
    let names = |component| files(&fixture, component).into_keys().collect::<Vec<_>>();
    assert_eq!(
        files(&fixture, "gateway"),
        [
            ("REDIS_TLS_CA", "REDIS_TLS_CA"),
            ("REDIS_TLS_KEY", "GATEWAY_REDIS_TLS_KEY")
        ]
        .map(|(path, key)| (path.to_owned(), key.to_owned()))
        .into()
    );
    assert_eq!(names("auth"), ["MONGODB_TLS_CA"]);
    assert_eq!(names("processor"), ["KAFKA_TLS_CERT", "MONGODB_TLS_CA"]);
    assert_eq!(files(&fixture, "inventory")["REDIS_TLS_KEY"], "REDIS_TLS_KEY");
}

#[test]
fn nobody_but_auth_learns_of_the_administrator_and_auth_no_password() {
    let mut fixture = fixture(json!({}));
    let secret = fixture.get(Kind::Secret, "laptops-admin").unwrap();
    let keys: Vec<_> = secret["data"].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["email", "passwordHash"]);
    let volumes = |fixture: &Fixture, component: Component| {
        let name = format!("laptops-{component}");
        fixture.get(Kind::Deployment, &name).unwrap()["spec"]["template"]["spec"]["volumes"].clone()
    };
    let administrator = |volumes: &Value| -> Option<Value> {
        let mut all = volumes.as_array().unwrap().iter();
        all.find(|volume| volume["name"] == "administrator").cloned()
    };
    for component in Component::ALL {
        let found = administrator(&volumes(&fixture, component));
        assert_eq!(found.is_some(), component == Component::Auth, "{component}");
    }
    // With backends of its own, a sale has an administrator of its own as well, or none.
    fixture.sale.backends_secret = Some("mine".to_owned());
    let own = administrator(&volumes(&fixture, Component::Auth)).unwrap();
    assert_eq!(own["secret"]["secretName"], "mine");
    assert_eq!(
        own["secret"]["items"][0],
        json!({"key": "ADMIN_EMAIL", "path": "email"})
    );
}

/// A new key in the configuration of a sale that an older operator opened would restart its pods, which do not know it.
#[test]
fn what_is_usual_is_not_written_into_a_configuration() {
    let mut fixture = fixture(json!({}));
    let said = |fixture: &Fixture, key: &str| {
        let map = fixture.get(Kind::ConfigMap, "laptops-config").unwrap();
        let config: Value = serde_json::from_str(map["data"]["config.json"].as_str().unwrap()).unwrap();
        serde_json::from_value::<platform::config::Config>(config.clone()).unwrap();
        config["http"].get(key).cloned()
    };
    assert_eq!(said(&fixture, "accessLog"), None);
    assert_eq!(said(&fixture, "httpsHost"), None);
    fixture.access_log = false;
    fixture.https_host = Some("laptops.example.com".to_owned());
    assert_eq!(said(&fixture, "accessLog"), Some(json!(false)));
    assert_eq!(said(&fixture, "httpsHost"), Some(json!("laptops.example.com")));
    assert_eq!(said(&fixture, "paymentUrl"), None);
    let url = "https://pay.example/{orderId}";
    fixture.sale.payment_url = sale::PaymentUrl::parse(url).ok();
    assert_eq!(said(&fixture, "paymentUrl"), Some(json!(url)));
}

#[test]
fn a_gateway_gets_a_route_in_place_of_an_ingress() {
    let mut fixture = fixture(json!({}));
    fixture.sale.by_host = Some(by_gateway(&json!({})));
    let route = fixture.get(Kind::HttpRoute, "laptops-route").unwrap();
    assert_eq!(route["apiVersion"], "gateway.networking.k8s.io/v1");
    assert_eq!(route["spec"]["parentRefs"], json!([{"name": "front"}]));
    assert_eq!(route["spec"]["hostnames"], json!(["laptops.example.com"]));
    let first = &route["spec"]["rules"][0];
    assert_eq!(first["matches"][0]["path"]["value"], "/ws");
    assert_eq!(first["backendRefs"][0]["name"], "laptops-notifier");
    let service = fixture.get(Kind::Service, "laptops-notifier").unwrap();
    assert_eq!(
        first["backendRefs"][0]["port"],
        service["spec"]["ports"][0]["port"]
    );
    assert_eq!(fixture.get(Kind::Ingress, "laptops-ingress"), None);
    fixture.entrances.gateway_api = false;
    assert_eq!(fixture.get(Kind::HttpRoute, "laptops-route"), None);
}

/// Which of them a platform allows is said elsewhere; here the others are not written, and one that goes is taken away.
#[test]
fn a_way_in_has_the_annotations_that_are_allowed() {
    let mut fixture = fixture(json!({}));
    let without = fixture.get(Kind::Ingress, "laptops-ingress").unwrap();
    let ingress = fixture.sale.by_host.as_mut().unwrap();
    ingress.annotations = [("cert-manager.io/issuer", "le"), ("nginx.org/snippet", "x")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    let with = fixture.get(Kind::Ingress, "laptops-ingress").unwrap();
    let annotations = |object: &Value| object["metadata"]["annotations"].as_object().unwrap().clone();
    assert_eq!(annotations(&with)["cert-manager.io/issuer"], "le");
    assert_eq!(annotations(&with).len(), annotations(&without).len() + 1);
    assert_ne!(
        annotations(&with)[APPLIED_HASH],
        annotations(&without)[APPLIED_HASH]
    );
    // One that is there stays.
    fixture.standing_annotations = BTreeSet::from(["nginx.org/snippet".to_owned()]);
    let standing = fixture.get(Kind::Ingress, "laptops-ingress").unwrap();
    assert_eq!(annotations(&standing)["nginx.org/snippet"], "x");
    fixture.sale.by_host = Some(by_gateway(&json!({"cert-manager.io/issuer": "le"})));
    let route = fixture.get(Kind::HttpRoute, "laptops-route").unwrap();
    assert_eq!(annotations(&route)["cert-manager.io/issuer"], "le");
}

#[test]
fn a_load_balancer_leads_to_the_gateways_and_its_buyers_are_let_in() {
    let mut fixture = fixture(json!({}));
    assert_eq!(fixture.get(Kind::Service, "laptops-load-balancer"), None);
    let wanted = |more: Value| -> LoadBalancer { serde_json::from_value(more).unwrap() };
    fixture.sale.load_balancer = Some(wanted(json!({"className": "internal"})));
    fixture.network.ingress_peers = serde_json::from_value(json!([{"namespaceSelector": {}}])).unwrap();
    let spec = fixture.get(Kind::Service, "laptops-load-balancer").unwrap()["spec"].clone();
    let pods = &fixture.deployment("gateway")["spec"]["template"]["metadata"]["labels"];
    for (label, value) in spec["selector"].as_object().unwrap() {
        assert_eq!(&pods[label], value, "{label}");
    }
    assert_eq!(
        (&spec["type"], &spec["ports"][0]["port"]),
        (&json!("LoadBalancer"), &json!(80))
    );
    assert_eq!(spec["externalTrafficPolicy"], "Local");
    assert_eq!(spec["loadBalancerClass"], "internal");
    let let_in = |fixture: &Fixture, service: &str| {
        let name = format!("laptops-{service}");
        let policy = fixture.get(Kind::NetworkPolicy, &name).unwrap();
        let rules = policy["spec"]["ingress"].as_array().unwrap().clone();
        let blocks = rules.iter().filter_map(|rule| rule["from"].as_array()).flatten();
        let blocks: Vec<Value> = blocks.map(|peer| peer["ipBlock"]["cidr"].clone()).collect();
        blocks
            .into_iter()
            .filter(|block| !block.is_null())
            .collect::<Vec<_>>()
    };
    assert_eq!(let_in(&fixture, "gateway"), [json!("0.0.0.0/0"), json!("::/0")]);
    assert!(let_in(&fixture, "notifier").is_empty());
    fixture.sale.load_balancer = Some(wanted(json!({"sourceRanges": ["203.0.113.0/24"]})));
    assert_eq!(let_in(&fixture, "gateway"), [json!("203.0.113.0/24")]);
    let spec = fixture.get(Kind::Service, "laptops-load-balancer").unwrap()["spec"].clone();
    assert_eq!(spec["loadBalancerSourceRanges"], json!(["203.0.113.0/24"]));
}

/// A second constraint, by zone, would make the scheduler leave out every node that is in none.
#[test]
fn replicas_are_spread_over_nodes_also_where_there_are_no_zones() {
    let mut fixture = fixture(json!({}));
    let pod = |fixture: &Fixture| fixture.deployment("order")["spec"]["template"]["spec"].clone();
    let made = pod(&fixture);
    let spread = made["topologySpreadConstraints"].as_array().unwrap();
    assert_eq!(spread.len(), 1);
    assert_eq!(spread[0]["topologyKey"], "kubernetes.io/hostname");
    let apart = &made["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"][0];
    assert_eq!(
        apart["podAffinityTerm"]["topologyKey"],
        "topology.kubernetes.io/zone"
    );
    assert_eq!(
        apart["podAffinityTerm"]["labelSelector"],
        spread[0]["labelSelector"]
    );
    fixture.pods = r#"{"affinity": {"nodeAffinity": {}}}"#.parse().unwrap();
    assert_eq!(pod(&fixture)["affinity"], json!({"nodeAffinity": {}}));
}
