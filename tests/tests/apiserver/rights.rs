//! What the operator may do and, above all, what it may not: asked with the token of its own service account.

use super::chart::{self, NAMESPACE, chart, helm, installed, operators_kubeconfig, operators_log};
use anyhow::{Context, Result, ensure};
use crds::FlashSale;
use k8s_openapi::api::{
    authentication::v1::TokenRequest,
    authorization::v1::{
        ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec, SelfSubjectRulesReview,
        SelfSubjectRulesReviewSpec,
    },
    core::v1::{ConfigMap, Node, Pod, Secret, ServiceAccount},
    rbac::v1::{ClusterRole, ClusterRoleBinding, Role},
};
use kube::{
    Api, Client, Config, Resource,
    api::{ListParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
    core::{ClusterResourceScope, NamespaceResourceScope},
};
use quicksale_tests::{
    cluster::{Cluster, command, small_sale},
    world::eventually,
};
use serde_json::json;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(30);

/// What it does to the objects of a sale, wherever the sale is: verbs and what they are of.
const SALES: [(&str, &str, &[&str]); 16] = [
    ("quicksale.io", "flashsales", &["get", "list", "watch", "patch"]),
    ("quicksale.io", "flashsales/status", &["patch"]),
    ("quicksale.io", "flashsales/finalizers", &["update"]),
    ("", "configmaps", OBJECTS),
    ("", "services", OBJECTS),
    ("apps", "deployments", OBJECTS),
    ("autoscaling", "horizontalpodautoscalers", OBJECTS),
    ("batch", "jobs", OBJECTS),
    ("networking.k8s.io", "ingresses", OBJECTS),
    ("networking.k8s.io", "networkpolicies", OBJECTS),
    ("policy", "poddisruptionbudgets", OBJECTS),
    ("", "secrets", &["get", "create", "patch", "delete"]),
    ("", "pods", &["list", "watch"]),
    ("apps", "replicasets", &["get", "list", "watch"]),
    ("", "namespaces", &["get"]),
    ("events.k8s.io", "events", &["create", "patch"]),
];
const OBJECTS: &[&str] = &["get", "list", "watch", "create", "patch", "delete"];
const VERBS: [&str; 8] = [
    "get",
    "list",
    "watch",
    "create",
    "update",
    "patch",
    "delete",
    "deletecollection",
];

/// What is none of its business anywhere, whatever the verb.
const FOREIGN: [(&str, &str); 37] = [
    ("", "nodes"),
    ("", "nodes/proxy"),
    ("", "pods/exec"),
    ("", "pods/attach"),
    ("", "pods/portforward"),
    ("", "pods/log"),
    ("", "pods/proxy"),
    ("", "pods/ephemeralcontainers"),
    ("", "pods/eviction"),
    ("", "services/proxy"),
    ("", "serviceaccounts"),
    ("", "serviceaccounts/token"),
    ("", "persistentvolumes"),
    ("", "persistentvolumeclaims"),
    ("", "endpoints"),
    ("", "events"),
    ("", "resourcequotas"),
    ("apps", "statefulsets"),
    ("apps", "daemonsets"),
    ("apps", "deployments/scale"),
    ("batch", "cronjobs"),
    ("rbac.authorization.k8s.io", "roles"),
    ("rbac.authorization.k8s.io", "rolebindings"),
    ("rbac.authorization.k8s.io", "clusterroles"),
    ("rbac.authorization.k8s.io", "clusterrolebindings"),
    ("apiextensions.k8s.io", "customresourcedefinitions"),
    ("admissionregistration.k8s.io", "mutatingwebhookconfigurations"),
    ("admissionregistration.k8s.io", "validatingadmissionpolicies"),
    ("apiregistration.k8s.io", "apiservices"),
    ("certificates.k8s.io", "certificatesigningrequests"),
    ("certificates.k8s.io", "certificatesigningrequests/approval"),
    ("authentication.k8s.io", "tokenreviews"),
    ("networking.k8s.io", "ingressclasses"),
    ("storage.k8s.io", "storageclasses"),
    ("scheduling.k8s.io", "priorityclasses"),
    ("gateway.networking.k8s.io", "gateways"),
    ("quicksale.io", "*"),
];

/// Verbs that make more rights out of some.
const ESCALATIONS: [(&str, &str, &str); 9] = [
    ("escalate", "rbac.authorization.k8s.io", "roles"),
    ("escalate", "rbac.authorization.k8s.io", "clusterroles"),
    ("bind", "rbac.authorization.k8s.io", "roles"),
    ("bind", "rbac.authorization.k8s.io", "clusterroles"),
    ("impersonate", "", "users"),
    ("impersonate", "", "groups"),
    ("impersonate", "", "serviceaccounts"),
    ("approve", "certificates.k8s.io", "signers"),
    ("*", "*", "*"),
];

/// Somebody with the token of an operator.
struct Operator {
    client: Client,
    with_routes: bool,
}

impl Operator {
    /// That of a release, with HTTPRoutes or without.
    async fn of(namespace: &str, release: &str, with_routes: bool) -> Result<Self> {
        let file = operators_kubeconfig(namespace, release).await?;
        let config =
            Config::from_custom_kubeconfig(Kubeconfig::read_from(file)?, &KubeConfigOptions::default())
                .await?;
        Ok(Self {
            client: Client::try_from(config)?,
            with_routes,
        })
    }

    /// Whether it may do this; a namespace of "" is all of them.
    async fn may(
        &self,
        verb: &str,
        group: &str,
        resource: &str,
        namespace: &str,
        name: &str,
    ) -> Result<bool> {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        let text = |text: &str| Some(text.to_owned());
        let review = SelfSubjectAccessReview {
            spec: SelfSubjectAccessReviewSpec {
                resource_attributes: Some(ResourceAttributes {
                    verb: text(verb),
                    group: text(group),
                    resource: text(resource),
                    subresource: text(subresource),
                    namespace: text(namespace),
                    name: text(name),
                    ..ResourceAttributes::default()
                }),
                ..SelfSubjectAccessReviewSpec::default()
            },
            ..SelfSubjectAccessReview::default()
        };
        let reviews: Api<SelfSubjectAccessReview> = Api::all(self.client.clone());
        let answer = reviews.create(&PostParams::default(), &review).await?;
        Ok(answer.status.context("no answer")?.allowed)
    }

    /// Compares every verb of every kind with the table. `is_in` says whether the namespace is one of its own.
    async fn keeps_to_the_table(&self, namespace: &str, is_in: bool) -> Result<()> {
        let mut wrong = Vec::new();
        let routes = match self.with_routes {
            true => OBJECTS,
            false => &[],
        };
        let routes = ("gateway.networking.k8s.io", "httproutes", routes);
        for (group, resource, verbs) in SALES.into_iter().chain([routes]) {
            for verb in VERBS {
                let should = is_in && verbs.contains(&verb);
                if self.may(verb, group, resource, namespace, "").await? != should {
                    wrong.push(format!("{verb} {resource} in {namespace:?} should be {should}"));
                }
            }
        }
        for (group, resource) in FOREIGN {
            for verb in VERBS {
                if self.may(verb, group, resource, namespace, "").await? {
                    wrong.push(format!("{verb} {resource} in {namespace:?}"));
                }
            }
        }
        for (verb, group, resource) in ESCALATIONS {
            if self.may(verb, group, resource, namespace, "").await? {
                wrong.push(format!("{verb} {resource} in {namespace:?}"));
            }
        }
        ensure!(wrong.is_empty(), "the operator's rights differ: {wrong:#?}");
        Ok(())
    }

    /// No rule of its own has a wildcard.
    async fn has_no_wildcard(&self, namespace: &str) -> Result<()> {
        let review = SelfSubjectRulesReview {
            spec: SelfSubjectRulesReviewSpec {
                namespace: Some(namespace.to_owned()),
            },
            ..SelfSubjectRulesReview::default()
        };
        let reviews: Api<SelfSubjectRulesReview> = Api::all(self.client.clone());
        let rules = reviews.create(&PostParams::default(), &review).await?.status;
        let rules = rules.context("no answer")?.resource_rules;
        ensure!(!rules.is_empty());
        for rule in rules {
            let texts = [
                Some(rule.verbs.clone()),
                rule.api_groups.clone(),
                rule.resources.clone(),
            ];
            let wildcard = texts
                .into_iter()
                .flatten()
                .flatten()
                .any(|text| text.contains('*'));
            ensure!(!wildcard, "{rule:?}");
        }
        Ok(())
    }

    fn namespaced<K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>>(
        &self,
        namespace: &str,
    ) -> Api<K> {
        Api::namespaced(self.client.clone(), namespace)
    }

    fn all<K: Resource<DynamicType = ()>>(&self) -> Api<K> {
        Api::all(self.client.clone())
    }

    async fn is_refused_a_list<K>(&self, api: Api<K>) -> Result<()>
    where
        K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
    {
        refused(K::kind(&()).as_ref(), api.list(&ListParams::default()).await)
    }

    async fn is_refused_a_cluster_list<K>(&self) -> Result<()>
    where
        K: Resource<Scope = ClusterResourceScope, DynamicType = ()>
            + Clone
            + std::fmt::Debug
            + serde::de::DeserializeOwned,
    {
        self.is_refused_a_list::<K>(self.all()).await
    }

    /// The same questions as real calls: an answer to a review is only an answer.
    async fn is_refused_what_it_has_no_business_with(&self, namespace: &str) -> Result<()> {
        self.is_refused_a_list::<Secret>(self.all()).await?;
        self.is_refused_a_list::<Secret>(self.namespaced(namespace))
            .await?;
        self.is_refused_a_list::<ServiceAccount>(self.namespaced(namespace))
            .await?;
        self.is_refused_a_list::<Role>(self.namespaced(namespace)).await?;
        self.is_refused_a_cluster_list::<Node>().await?;
        self.is_refused_a_cluster_list::<ClusterRole>().await?;
        self.is_refused_a_cluster_list::<ClusterRoleBinding>().await?;
        let accounts: Api<ServiceAccount> = self.namespaced(namespace);
        let token = accounts
            .create_token_request("default", &PostParams::default(), &TokenRequest::default())
            .await;
        refused("token", token)?;
        let pod = json!({"metadata": {"name": "own"}, "spec": {"containers": [{"name": "a", "image": "b"}]}});
        let pod: Pod = serde_json::from_value(pod)?;
        let pods: Api<Pod> = self.namespaced(namespace);
        refused("pod", pods.create(&PostParams::default(), &pod).await)?;
        // A role with more than it has itself, and a binding of one that has everything.
        let role = json!({"metadata": {"name": "own"}, "rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]});
        let roles: Api<Role> = self.namespaced(namespace);
        refused(
            "role",
            roles
                .create(&PostParams::default(), &serde_json::from_value(role)?)
                .await,
        )?;
        let binding = json!({
            "metadata": {"name": "own"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        });
        let bindings: Api<ClusterRoleBinding> = self.all();
        let made = bindings
            .create(&PostParams::default(), &serde_json::from_value(binding)?)
            .await;
        refused("binding", made)
    }
}

fn refused<T>(what: &str, answer: kube::Result<T>) -> Result<()> {
    match answer {
        Err(kube::Error::Api(status)) if status.code == 403 => Ok(()),
        Err(error) => Err(error).with_context(|| format!("{what}: another error than a refusal")),
        Ok(_) => anyhow::bail!("{what}: was not refused"),
    }
}

#[tokio::test]
async fn in_the_whole_cluster_it_may_do_what_the_table_says_and_nothing_else() -> Result<()> {
    installed().await?;
    let operator = Operator::of(NAMESPACE, "quicksale", true).await?;
    operator.keeps_to_the_table("", true).await?;
    operator.keeps_to_the_table("kept", true).await?;
    operator.has_no_wildcard("shop").await?;
    operator.is_refused_what_it_has_no_business_with("shop").await?;
    let leases = ("coordination.k8s.io", "leases");
    for (verb, name, should) in [
        ("update", "quicksale-operator", true),
        ("update", "another", false),
        ("delete", "quicksale-operator", false),
        ("list", "", false),
    ] {
        let may = operator.may(verb, leases.0, leases.1, NAMESPACE, name).await?;
        ensure!(may == should, "{verb} the Lease {name:?}: {may}");
    }
    ensure!(!operator.may("create", leases.0, leases.1, "shop", "").await?);
    // Whoever edits a namespace does not write FlashSales there until somebody says so; whoever views it sees them.
    let labels = "jsonpath={range .items[*]}{.metadata.name} {.metadata.labels}{\"\\n\"}{end}";
    let own = [
        "get",
        "clusterroles",
        "--selector",
        "app.kubernetes.io/instance=quicksale",
        "--output",
        labels,
    ];
    let own = command("kubectl", &own, "").await?;
    ensure!(
        own.contains("aggregate-to-view") && !own.contains("aggregate-to-edit"),
        "{own}"
    );
    Ok(())
}

/// A second release in the same cluster, for two namespaces of a team: it works, and reaches nothing else.
#[tokio::test]
async fn in_namespaces_of_its_own_it_reaches_no_other() -> Result<()> {
    installed().await?;
    let mut clusters = Vec::new();
    for prefix in ["team-home", "team-a", "team-b", "team-other"] {
        clusters.push(Cluster::with_namespace(prefix).await?);
    }
    let [home, a, b, other] = &clusters[..] else {
        anyhow::bail!("four namespaces")
    };
    let watched = format!("watchNamespaces={{{},{}}}", a.namespace, b.namespace);
    let path = chart("quicksale");
    let install = [
        "upgrade",
        "--install",
        "team",
        &path,
        "--namespace",
        &home.namespace,
        "--set",
        "crds.install=false",
        "--set",
        &watched,
    ];
    helm(&install).await?;
    let operator = Operator::of(&home.namespace, "team", false).await?;
    for own in [a, b] {
        operator.keeps_to_the_table(&own.namespace, true).await?;
        operator.has_no_wildcard(&own.namespace).await?;
    }
    for foreign in ["", "kube-system", "default", &other.namespace] {
        operator.keeps_to_the_table(foreign, false).await?;
    }
    operator
        .is_refused_what_it_has_no_business_with(&a.namespace)
        .await?;
    operator.is_refused_a_list::<FlashSale>(operator.all()).await?;
    operator
        .is_refused_a_list::<ConfigMap>(operator.namespaced(&other.namespace))
        .await?;
    for (verb, namespace, name, should) in [
        ("get", "quicksale-backends", "quicksale-backends", true),
        ("get", "quicksale-backends", "another", false),
        ("patch", "quicksale-backends", "quicksale-backends", false),
        ("get", NAMESPACE, "quicksale-admin", false),
        ("get", &home.namespace, "quicksale-admin", true),
        ("create", &home.namespace, "", true),
        ("get", &home.namespace, "another", false),
        ("patch", &home.namespace, "quicksale-admin", false),
        ("delete", &home.namespace, "quicksale-admin", false),
    ] {
        let may = operator.may(verb, "", "secrets", namespace, name).await?;
        ensure!(may == should, "{verb} the Secret {name:?} in {namespace}: {may}");
    }

    for cluster in [a, b, other] {
        cluster.sell("shoes", &small_sale()).await?;
    }
    let identity = home.namespace.as_str();
    let port = chart::start_operator(&home.namespace, "team", identity).await?;
    let metrics = format!("http://127.0.0.1:{port}/metrics");
    eventually(
        SOON,
        "it sees the sales of its namespaces, and no other",
        async || {
            let text = reqwest::get(&metrics).await?.text().await?;
            let sales = text
                .lines()
                .filter(|line| line.starts_with("quicksale_operator_sales{"));
            let sales: f64 = sales
                .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok())
                .sum();
            Ok((sales - 2.0).abs() < f64::EPSILON)
        },
    )
    .await?;
    let secrets = home.api::<Secret>();
    let password = async || {
        let secret = secrets.get_opt("quicksale-admin").await?;
        let password = secret.and_then(|secret| secret.data?.remove("password"));
        Ok::<_, anyhow::Error>(password.map(|password| password.0))
    };
    let made = password()
        .await?
        .context("the administrator's Secret was not made")?;
    ensure!(made.len() == 24, "a password of {} bytes", made.len());
    helm(&[&install[..], &["--set", "replicas=1"]].concat()).await?;
    ensure!(password().await? == Some(made), "an upgrade changed the password");
    eventually(SOON, "it has made what a sale needs", async || {
        Ok(a.api::<Secret>().get_opt("shoes-signing-keys").await?.is_some()
            && b.api::<ConfigMap>().get_opt("shoes-config").await?.is_some())
    })
    .await?;
    let log = std::fs::read_to_string(operators_log(identity))?;
    ensure!(log.contains("leading") && !log.contains("forbidden"), "{log}");
    Ok(())
}
