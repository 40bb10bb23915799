//! The chart's life: every test of this program begins with it, because the others need what it installs.

use super::released::chart_before;
use anyhow::{Context, Result, ensure};
use crds::FlashSale;
use k8s_openapi::api::apps::v1::Deployment;
use kube::{Api, Client};
use platform::backends::Credentials;
use quicksale_tests::{
    cluster::{Cluster, command, small_sale},
    ports,
};
use serde_json::json;
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};
use tokio::sync::OnceCell;

/// The operator's namespace.
pub(crate) const NAMESPACE: &str = "quicksale-system";
const RELEASE: [&str; 3] = ["quicksale", "--namespace", NAMESPACE];

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

pub(crate) fn chart(name: &str) -> String {
    repository().join("charts").join(name).display().to_string()
}

pub(crate) async fn helm(arguments: &[&str]) -> Result<String> {
    command("helm", arguments, "").await
}

/// Lets the API server check manifests without keeping them.
async fn dry_run(namespace: &str, manifests: &str) -> Result<String> {
    // A chart also has objects in namespaces of their own, which the option --namespace would refuse.
    let context = command("kubectl", &["config", "view", "--raw", "--output", "json"], "").await?;
    let mut config: serde_json::Value = serde_json::from_str(&context)?;
    config["contexts"][0]["context"]["namespace"] = namespace.into();
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), config.to_string())?;
    let kubeconfig = file.path().display().to_string();
    let arguments = [
        "--kubeconfig",
        &kubeconfig,
        "apply",
        "--dry-run=server",
        "--filename",
        "-",
    ];
    command("kubectl", &arguments, manifests).await
}

/// Installs the chart and the backends' Secret, and starts the operator with the rights that the chart gives it. Done
/// once for all tests; on the way the chart is upgraded, uninstalled and installed again.
pub(crate) async fn installed() -> Result<()> {
    static INSTALLED: OnceCell<()> = OnceCell::const_new();
    let install = async || {
        install().await?;
        let path = chart("quicksale");
        let all_ways_in = [
            "--set",
            "entrances.gatewayApi=true",
            "--set",
            "entrances.loadBalancers=true",
        ];
        helm(&[&["upgrade"][..], &RELEASE, &[&path], &all_ways_in].concat()).await?;
        start_operator(NAMESPACE, "quicksale", "shared").await.map(drop)
    };
    INSTALLED.get_or_try_init(install).await.map(drop)
}

/// Everything but the operator itself.
pub(crate) async fn install() -> Result<()> {
    for namespace in [NAMESPACE, "quicksale-backends", "shop"] {
        let manifest = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
        command("kubectl", &["apply", "--filename", "-"], &manifest.to_string()).await?;
    }
    let template = helm(&[
        "template",
        "quicksale",
        &chart("quicksale"),
        "--namespace",
        NAMESPACE,
    ])
    .await?;
    let checked = dry_run(NAMESPACE, &template).await?;
    ensure!(
        checked.contains("deployment.apps/quicksale-operator"),
        "{checked}"
    );
    let backends = helm(&[
        "template",
        "backends",
        &chart("backends"),
        "--namespace",
        "quicksale-backends",
    ])
    .await?;
    dry_run("quicksale-backends", &backends).await?;

    let upgrade = ["upgrade", "--install"];
    let path = chart("quicksale");
    let install = [&upgrade[..], &RELEASE, &[&path]].concat();
    let before = from_the_release_before_and_back(&install).await?;
    samples_pass().await?;
    helm(&[&install[..], &["--set", "replicas=1"]].concat()).await?;
    let replicas = [
        "--namespace",
        NAMESPACE,
        "get",
        "deployment",
        "quicksale-operator",
        "--output",
    ];
    let replicas = command(
        "kubectl",
        &[&replicas[..], &["jsonpath={.spec.replicas}"]].concat(),
        "",
    )
    .await?;
    ensure!(
        replicas == "1",
        "an upgrade did not change the replicas: {replicas}"
    );
    helm(&[&["uninstall"], &RELEASE[..]].concat()).await?;
    let left = command(
        "kubectl",
        &[
            "--namespace",
            NAMESPACE,
            "get",
            "deployments,serviceaccounts",
            "--output",
            "name",
        ],
        "",
    )
    .await?;
    ensure!(!left.contains("quicksale-operator"), "left behind: {left}");
    before
        .sale("kept")
        .await
        .context("a sale must outlive the chart's uninstallation")?;
    helm(&install).await?;
    backends_secret().await
}

/// Upgrades the chart of the release before, goes back to it, and upgrades it again. A sale that was there before is there afterwards.
async fn from_the_release_before_and_back(install: &[&str]) -> Result<Cluster> {
    let older = chart_before()?.display().to_string();
    // A second run finds the values of the first, which the older chart does not know.
    helm(
        &[
            &["upgrade", "--install", "--reset-values"][..],
            &RELEASE,
            &[&older],
        ]
        .concat(),
    )
    .await?;
    let cluster = Cluster::with_namespace("kept").await?;
    cluster.sell("kept", &small_sale()).await?;
    let before = cluster.sale("kept").await?;
    helm(install).await?;
    let newer = json!({"services": {"order": {"scaling": {"cpuPercent": 50}}}});
    cluster.edit("kept", &newer).await?;
    helm(&[&["rollback"][..], &RELEASE].concat()).await?;
    // What the older definition does not know goes with the next edit, and nothing else does.
    cluster.edit("kept", &json!({"halted": true})).await?;
    cluster.edit("kept", &json!({"halted": false})).await?;
    let older = command(
        "kubectl",
        &["get", "crd", "flashsales.quicksale.io", "--output", "json"],
        "",
    )
    .await?;
    let mut after = cluster.sale("kept").await?;
    let scaling = after.spec.services.order.take().and_then(|order| order.scaling);
    ensure!(
        scaling.is_some() == older.contains("\"cpuPercent\""),
        "the older chart did not bring its definition back: {scaling:?}"
    );
    ensure!(
        after.spec == before.spec,
        "{:?}, and it was {:?}",
        after.spec,
        before.spec
    );
    helm(install).await?;
    Ok(cluster)
}

async fn samples_pass() -> Result<()> {
    for sample in ["shop", "laptops", "scheduled", "rehearsal"] {
        let file = repository().join("config/samples").join(format!("{sample}.yaml"));
        dry_run("shop", &std::fs::read_to_string(&file)?)
            .await
            .with_context(|| sample.to_owned())?;
    }
    Ok(())
}

/// The backends that the tests were started with.
async fn backends_secret() -> Result<()> {
    Credentials::from_env().context("hack/backends.sh start")?;
    let names = ["MONGODB_URI", "KAFKA_BROKERS", "KAFKA_TLS", "REDIS_URL"];
    let data: serde_json::Map<_, _> = names
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), std::env::var(name).ok()?.into())))
        .collect();
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "stringData": data,
        "metadata": {"name": "quicksale-backends", "namespace": "quicksale-backends"},
    });
    command("kubectl", &["apply", "--filename", "-"], &secret.to_string())
        .await
        .map(drop)
}

/// A kubeconfig with nothing but the rights of the operator's service account in a namespace.
pub(crate) async fn operators_kubeconfig(namespace: &str, release: &str) -> Result<PathBuf> {
    let account = format!("{release}-operator");
    let arguments = ["--namespace", namespace, "create", "token", &account];
    let token = command("kubectl", &arguments, "").await?;
    let whole = command(
        "kubectl",
        &[
            "config",
            "view",
            "--raw",
            "--flatten",
            "--minify",
            "--output",
            "json",
        ],
        "",
    )
    .await?;
    let mut config: serde_json::Value = serde_json::from_str(&whole)?;
    config["users"][0]["user"] = json!({"token": token.trim()});
    let name = format!(
        "quicksale-{namespace}-{account}-{}.kubeconfig",
        std::process::id()
    );
    let file = std::env::temp_dir().join(name);
    std::fs::write(&file, config.to_string())?;
    Ok(file)
}

/// What the chart tells the operator, from the Deployment that it has installed.
pub(crate) async fn told_by_the_chart(namespace: &str, release: &str) -> Result<Vec<(String, String)>> {
    let deployments: Api<Deployment> = Api::namespaced(Client::try_default().await?, namespace);
    let deployment = deployments.get(&format!("{release}-operator")).await?;
    let pod = deployment
        .spec
        .and_then(|spec| spec.template.spec)
        .context("no pod")?;
    let told = pod
        .containers
        .into_iter()
        .flat_map(|container| container.env.unwrap_or_default());
    Ok(told
        .filter_map(|variable| Some((variable.name, variable.value?)))
        .collect())
}

/// Runs the operator of a release outside of the cluster, because this API server has no nodes: with the rights that the
/// chart gives it, and with what the chart tells it. Returns the port of its metrics.
pub(crate) async fn start_operator(namespace: &str, release: &str, identity: &str) -> Result<u16> {
    let config = operators_kubeconfig(namespace, release).await?;
    let [port] = ports::free()?;
    let mut operator = operator_command(&config, identity, port);
    operator
        .envs(told_by_the_chart(namespace, release).await?)
        .env("POD_NAMESPACE", namespace)
        .env("QUICKSALE_IMAGE", "quicksale:test")
        .env("QUICKSALE_SIGNING_KEY_SPREAD_SECONDS", "2");
    let started = std::sync::mpsc::channel();
    // A process ends with the thread that started it; this thread lasts as long as the tests.
    std::thread::spawn(move || {
        let _nobody_waits = started.0.send(operator.spawn());
        loop {
            std::thread::park();
        }
    });
    started.1.recv()??;
    Ok(port)
}

/// Where the operator of that name writes its log.
pub(crate) fn operators_log(identity: &str) -> PathBuf {
    let log = std::env::var_os("QUICKSALE_TEST_LOGS").map_or_else(std::env::temp_dir, PathBuf::from);
    log.join(format!("quicksale-operator-{identity}.log"))
}

/// The operator's executable with a kubeconfig, a name, and the port of its metrics.
pub(crate) fn operator_command(kubeconfig: &Path, identity: &str, port: u16) -> Command {
    let executable = std::env::var_os("QUICKSALE_OPERATOR_BIN").map_or_else(
        || repository().join("target/x86_64-unknown-linux-gnu/debug/quicksale-operator"),
        PathBuf::from,
    );
    let log = std::fs::File::options()
        .create(true)
        .append(true)
        .open(operators_log(identity));
    let output = || {
        log.as_ref()
            .ok()
            .and_then(|file| file.try_clone().ok())
            .map_or_else(Stdio::null, Stdio::from)
    };
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "KILL"])
        .arg(executable)
        .env("KUBECONFIG", kubeconfig)
        .env("POD_NAME", identity)
        .env("POD_NAMESPACE", NAMESPACE)
        .env("QUICKSALE_IMAGE", "quicksale:test")
        .env("QUICKSALE_ADMIN_PORT", port.to_string())
        .stdin(Stdio::null())
        .stdout(output())
        .stderr(output());
    command
}

#[tokio::test]
async fn the_chart_installs_upgrades_and_uninstalls_and_keeps_the_sales() -> Result<()> {
    installed().await?;
    let all: Api<FlashSale> = Api::all(Client::try_default().await?);
    let kept = all.list(&kube::api::ListParams::default()).await?;
    ensure!(
        kept.items
            .iter()
            .any(|sale| sale.metadata.name.as_deref() == Some("kept"))
    );
    Ok(())
}

#[tokio::test]
async fn values_that_no_template_reads_are_refused() -> Result<()> {
    for (value, named) in [
        ("replica=3", "replica"),
        ("replicas=0", "replicas"),
        ("image.tagg=x", "tagg"),
        ("watchNamespace=shop", "watchNamespace"),
        ("networkPolicy.ingressPeers[0].ipBlok.cidr=10.0.0.0/8", "ipBlok"),
        ("networkPolicy.backendPorts[0]=65536", "maximum"),
    ] {
        let refused = helm(&["template", "quicksale", &chart("quicksale"), "--set", value]).await;
        let sentence = refused
            .err()
            .with_context(|| format!("{value} was taken"))?
            .to_string();
        ensure!(sentence.contains(named), "{value}: {sentence}");
    }
    Ok(())
}

/// Two renders without a cluster are one text: a password among it would be another at each of them.
#[tokio::test]
async fn a_render_has_nothing_random_and_no_secret() -> Result<()> {
    let render = async || helm(&["template", "quicksale", &chart("quicksale")]).await;
    let (first, second) = (render().await?, render().await?);
    ensure!(first == second);
    ensure!(!first.contains("kind: Secret\n"), "a password is in the render");
    Ok(())
}

/// What of a render is where: kinds of objects outside of every namespace, and the names of all.
#[tokio::test]
async fn releases_share_no_name_and_namespaces_keep_to_themselves() -> Result<()> {
    let objects = async |namespace: &str, values: &[&str]| -> Result<BTreeSet<String>> {
        let arguments = [
            "template",
            "quicksale",
            &chart("quicksale"),
            "--namespace",
            namespace,
        ];
        let rendered = helm(&[&arguments[..], values].concat()).await?;
        let apply = [
            "create",
            "--dry-run=client",
            "--output",
            "name",
            "--filename",
            "-",
        ];
        Ok(command("kubectl", &apply, &rendered)
            .await?
            .lines()
            .map(str::to_owned)
            .collect())
    };
    let cluster_wide = |names: &BTreeSet<String>| -> BTreeSet<String> {
        let kinds = ["clusterrole", "customresourcedefinition"];
        names
            .iter()
            .filter(|name| kinds.iter().any(|kind| name.starts_with(kind)))
            .cloned()
            .collect()
    };
    let (one, other) = (
        objects("one", &[]).await?,
        objects("other", &["--set", "crds.install=false"]).await?,
    );
    let shared: Vec<_> = cluster_wide(&one)
        .intersection(&cluster_wide(&other))
        .cloned()
        .collect();
    ensure!(
        !cluster_wide(&other).is_empty() && shared.is_empty(),
        "both have {shared:?}"
    );
    let lists = ["--set", "crds.install=false", "--set", "watchNamespaces={a,b}"];
    let of_namespaces = cluster_wide(&objects("one", &lists).await?);
    ensure!(of_namespaces.is_empty(), "{of_namespaces:?}");
    Ok(())
}
