//! What the team next door can do to a sale that is selling: nothing. It may edit its own namespace and write FlashSales
//! there, and tries what such a team could try.

use super::sale::OpenSale;
use anyhow::{Context, Result, ensure};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Namespace, Pod},
};
use kube::{
    Api,
    api::{ListParams, Patch, PatchParams},
};
use quicksale_tests::{
    cluster::{Cluster, command, small_sale},
    scenarios::crowd,
    world::eventually,
};
use serde_json::{Value, json};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// How long the operator may take to answer with a sentence.
const SOON: Duration = Duration::from_secs(60);
/// How long a namespace may take to go.
const GOING: Duration = Duration::from_secs(120);
/// How long a connection may take that is let through.
const CONNECTING: &str = "5";

/// Somebody who may edit one namespace, and its FlashSales.
struct Neighbour {
    cluster: Cluster,
}

impl Neighbour {
    async fn moves_in() -> Result<Self> {
        let cluster = Cluster::with_namespace("next-door").await?;
        // The platform has not named this namespace among those that may use its backends.
        let unnamed = json!({"metadata": {"labels": {"quicksale.io/backends": null}}});
        Api::<Namespace>::all(cluster.client.clone())
            .patch(
                &cluster.namespace,
                &PatchParams::default(),
                &Patch::Merge(&unnamed),
            )
            .await?;
        let neighbour = Self { cluster };
        let namespace = neighbour.cluster.namespace.as_str();
        let admin = ["--namespace", namespace, "create"];
        command(
            "kubectl",
            &[&admin[..], &["serviceaccount", "editor"]].concat(),
            "",
        )
        .await?;
        let account = format!("--serviceaccount={namespace}:editor");
        for (name, role) in [
            ("edits", "edit"),
            ("sells", "quicksale:quicksale-system:quicksale:flashsales-edit"),
        ] {
            let role = format!("--clusterrole={role}");
            let binding = ["rolebinding", name, &role, &account];
            command("kubectl", &[&admin[..], &binding].concat(), "").await?;
        }
        Ok(neighbour)
    }

    /// Runs kubectl as the editor.
    async fn kubectl(&self, arguments: &[&str], input: &Value) -> Result<String> {
        let namespace = self.cluster.namespace.as_str();
        let editor = format!("system:serviceaccount:{namespace}:editor");
        let who = ["--as", &editor, "--namespace", namespace];
        command("kubectl", &[&who[..], arguments].concat(), &input.to_string()).await
    }

    async fn apply(&self, object: &Value) -> Result<String> {
        self.kubectl(&["apply", "--filename", "-"], object).await
    }

    async fn applies_sale(&self, name: &str, spec: &Value) -> Result<String> {
        let sale = json!({
            "apiVersion": "quicksale.io/v1alpha1", "kind": "FlashSale", "metadata": {"name": name}, "spec": spec,
        });
        self.apply(&sale).await
    }

    /// Expects a refusal that says this.
    async fn is_refused(&self, arguments: &[&str], said: &str) -> Result<()> {
        let end = Instant::now() + SOON;
        loop {
            let error = self.kubectl(arguments, &Value::Null).await;
            let error = error
                .err()
                .with_context(|| format!("{arguments:?} was allowed"))?
                .to_string();
            if error.contains(said) {
                return Ok(());
            }
            // What is no answer of the API server says nothing.
            let is_no_answer = [
                "TLS handshake timeout",
                "connection refused",
                "i/o timeout",
                "EOF",
            ];
            ensure!(
                is_no_answer.iter().any(|words| error.contains(words)) && Instant::now() < end,
                "{arguments:?}: {error}"
            );
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// Expects a sentence in a condition of one of its own sales.
    async fn is_told(&self, sale: &str, said: &str) -> Result<()> {
        eventually(SOON, &format!("{sale} is told: {said}"), async || {
            let status = self.cluster.sale(sale).await?.status.unwrap_or_default();
            Ok(status
                .conditions
                .iter()
                .any(|condition| condition.message.contains(said)))
        })
        .await
    }

    /// Whether a pod of its own, dressed as a gateway of the sale, gets a connection.
    async fn connects(&self, host: &str, port: u16) -> Result<bool> {
        let connect = format!("exec 3<>/dev/tcp/{host}/{port} && echo connected");
        let inside = [
            "exec",
            "pod/gateway",
            "--",
            "timeout",
            CONNECTING,
            "bash",
            "-c",
            &connect,
        ];
        let said = self.kubectl(&inside, &Value::Null).await.unwrap_or_default();
        Ok(said.contains("connected"))
    }

    /// Starts that pod, from an image with a shell that the cluster has.
    async fn dresses_as_a_gateway(&self, sale: &OpenSale) -> Result<()> {
        let backends = Api::<Deployment>::namespaced(self.cluster.client.clone(), "quicksale-backends");
        let kafka = backends.get("kafka").await?;
        let pod = kafka
            .spec
            .and_then(|spec| spec.template.spec)
            .context("kafka has no pod")?;
        let image = pod.containers[0].image.clone();
        let gateway = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "gateway", "labels": {
                "app.kubernetes.io/name": "quicksale", "app.kubernetes.io/component": "gateway",
                "app.kubernetes.io/managed-by": "quicksale-operator", "quicksale.io/sale": sale.name,
            }},
            "spec": {
                "securityContext": {"runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
                "containers": [{
                    "name": "gateway", "image": image, "imagePullPolicy": "IfNotPresent", "command": ["sleep", "600"],
                    "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
                }],
            },
        });
        self.apply(&gateway).await?;
        eventually(SOON, "the pod runs", async || {
            let pod = self.cluster.api::<Pod>().get("gateway").await?;
            Ok(pod.status.and_then(|status| status.phase).as_deref() == Some("Running"))
        })
        .await
    }
}

/// Everything at once, while the other team's sale sells.
async fn tries(neighbour: &Neighbour, sale: &OpenSale) -> Result<()> {
    let theirs = sale.cluster.namespace.as_str();
    // What belongs to others is not to be read, changed or deleted.
    for secrets in [theirs, "quicksale-system", "quicksale-backends"] {
        neighbour
            .is_refused(&["get", "secrets", "--namespace", secrets], "forbidden")
            .await?;
    }
    for arguments in [
        ["delete", "flashsale/units", "--namespace", theirs],
        ["delete", "deployment/units-order", "--namespace", theirs],
        ["get", "flashsales", "--namespace", theirs],
    ] {
        neighbour.is_refused(&arguments, "forbidden").await?;
    }
    let label = format!("namespace/{}", neighbour.cluster.namespace);
    neighbour
        .is_refused(&["label", &label, "quicksale.io/backends=shared"], "forbidden")
        .await?;
    // Odd sales of its own.
    let mut forever = small_sale();
    forever["closesAt"] = json!("9999-12-31T23:59:59Z");
    let refused = neighbour.applies_sale("forever", &forever).await;
    let refused = refused
        .err()
        .context("a time that nobody can read was taken")?
        .to_string();
    ensure!(refused.contains("between the years 2000 and 2200"), "{refused}");
    neighbour.applies_sale("shares", &small_sale()).await?;
    neighbour.is_told("shares", "are not for the namespace").await?;
    let mine = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "mine"}, "stringData": {
            "MONGODB_URI": "mongodb://mongodb.quicksale-backends.svc:27017/?authMechanism=MONGODB-OIDC&authMechanismProperties=ENVIRONMENT:k8s",
            "KAFKA_BROKERS": "kafka.quicksale-backends.svc:9092", "REDIS_URL": "redis://redis.quicksale-backends.svc:6379",
        },
    });
    neighbour.apply(&mine).await?;
    let mut thief = small_sale();
    thief["backendsSecretRef"] = json!({"name": "mine"});
    thief["deletionPolicy"] = json!("Delete");
    thief["kafka"] = json!({"partitions": 4, "topicPrefix": format!("{theirs}.units.")});
    neighbour.applies_sale("borrows", &thief).await?;
    neighbour.is_told("borrows", "MONGODB_URI").await?;
    for name in ["shares", "borrows"] {
        let delete = format!("flashsale/{name}");
        neighbour
            .kubectl(&["delete", &delete, "--timeout", "60s"], &Value::Null)
            .await?;
    }
    Ok(())
}

#[tokio::test]
async fn the_team_next_door_changes_nothing_for_a_sale_that_sells() -> Result<()> {
    let sale = OpenSale::open("sells").await?;
    let neighbour = Neighbour::moves_in().await?;
    let shop = Arc::clone(&sale.shop);
    crowd(&shop, "UNIT", 50, tries(&neighbour, &sale)).await?;
    sale.close().await?;
    // A namespace takes its Secrets first, and its sales have to go without.
    let mut left = small_sale();
    left["backendsSecretRef"] = json!({"name": "mine"});
    left["deletionPolicy"] = json!("Delete");
    neighbour.applies_sale("left", &left).await?;
    neighbour.is_told("left", "MONGODB_URI").await?;
    let (client, namespace) = (
        neighbour.cluster.client.clone(),
        neighbour.cluster.namespace.clone(),
    );
    neighbour.cluster.leave().await?;
    eventually(GOING, "the namespace is gone", async || {
        Ok(Api::<Namespace>::all(client.clone())
            .get_opt(&namespace)
            .await?
            .is_none())
    })
    .await
}

/// Where the cluster's network enforces policies, which `hack/cluster.sh` sees to as far as the kernel lets it.
#[tokio::test]
async fn a_pod_in_a_sales_clothes_reaches_nothing_of_it() -> Result<()> {
    if std::env::var("NETWORK_POLICIES").as_deref() == Ok("unenforced") {
        println!("the network of this cluster enforces nothing: not tried");
        return Ok(());
    }
    let sale = OpenSale::open("closed").await?;
    let neighbour = Neighbour::moves_in().await?;
    neighbour.dresses_as_a_gateway(&sale).await?;
    // The way out of the pod is open: without this, a pod that reaches nothing at all would prove nothing.
    let dns = "kube-dns.kube-system.svc";
    eventually(SOON, "the pod reaches what nobody closes", async || {
        neighbour.connects(dns, 53).await
    })
    .await?;
    let theirs = &sale.cluster.namespace;
    let services = [
        ("gateway", 3000),
        ("auth", 3001),
        ("inventory", 3002),
        ("order", 3003),
        ("notifier", 3004),
    ];
    for (service, port) in services {
        let host = format!("units-{service}.{theirs}.svc");
        ensure!(
            !neighbour.connects(&host, port).await?,
            "{host}:{port} is open to the pod next door"
        );
    }
    for pod in sale.pods("order").await? {
        let address = pod
            .status
            .and_then(|status| status.pod_ip)
            .context("no address")?;
        ensure!(
            !neighbour.connects(&address, 9090).await?,
            "the admin port is open to the pod next door"
        );
    }
    let operators = Api::<Pod>::namespaced(sale.cluster.client.clone(), "quicksale-system");
    let operators = operators
        .list(&ListParams::default().labels("app.kubernetes.io/name=quicksale-operator"))
        .await?;
    ensure!(!operators.items.is_empty(), "no pod of the operator was found");
    for pod in operators {
        let address = pod.status.and_then(|status| status.pod_ip);
        ensure!(
            !neighbour.connects(&address.context("no address")?, 9090).await?,
            "the operator is open to the pod next door"
        );
    }
    for (backend, port) in [("mongodb", 27017), ("kafka", 9092), ("redis", 6379)] {
        let host = format!("{backend}.quicksale-backends.svc");
        ensure!(
            !neighbour.connects(&host, port).await?,
            "{host}:{port} is open to the pod next door"
        );
    }
    sale.close().await?;
    neighbour.cluster.leave().await
}
