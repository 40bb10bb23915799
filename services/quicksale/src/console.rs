//! `quicksale console`: what the sales of a cluster are doing, or one sale that goes by files.

use crate::process::admin_from_env;
use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use console::{
    Dependencies, Switches,
    place::{Leads, Place},
    sales::{
        Sales,
        cluster::{Cluster, Platform, values},
        one::{One, Parts},
    },
    scrape::Target,
    session::CookieScope,
};
use crds::PlaintextPasswords;
use futures::{FutureExt, future::BoxFuture};
use k8s_openapi::api::core::v1::Secret;
use platform::{
    admin,
    backends::{
        self, Lookup, kafka,
        mongo::{self, MongoUri},
    },
    clock::Clock,
    config::{Config, DEFAULT_ACCOUNTS_DATABASE, ports},
    event_loop,
    health::Health,
    http::{client_address::Network, connections::Bounds, server::Server},
    metrics,
    retry::Backoff,
    rounds::Rounds,
    tasks::Tasks,
    telemetry::{self, LogFormat},
};
use std::{net::IpAddr, path::PathBuf, process::ExitCode, sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;
use url::Url;

/// Where the console listens.
pub(crate) const PORT: u16 = 8_080;
/// How often it is looked whether the backends Secret has changed.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// How long the console is not ready for want of a word from the API server.
const PATIENCE: Duration = Duration::from_secs(10);

/// Options of `quicksale console`. Without a configuration it shows the sales of the cluster that it runs in, or that `KUBECONFIG` names.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The configuration of the one sale that is shown.
    #[arg(long, env = "QUICKSALE_CONFIG")]
    config: Option<PathBuf>,
    /// Its control document, which halting the sale writes.
    #[arg(long, env = "QUICKSALE_CONTROL", requires = "config")]
    control: Option<PathBuf>,
    /// The directory with its signing key, to change stock with.
    #[arg(long, env = "QUICKSALE_KEYS", requires = "config")]
    keys: Option<PathBuf>,
    /// Where its processes show their metrics: `gateway=http://gateway:9090`, separated by commas.
    #[arg(
        long,
        env = "QUICKSALE_METRICS_TARGETS",
        value_delimiter = ',',
        requires = "config"
    )]
    metrics_targets: Vec<String>,
    /// Where its buyers find it.
    #[arg(long, env = "QUICKSALE_URL", requires = "config")]
    url: Option<String>,
    /// The namespaces whose sales are shown; all when there are none.
    #[arg(long, env = "QUICKSALE_WATCH_NAMESPACES", value_delimiter = ',')]
    namespaces: Vec<String>,
    /// The Secret with the platform's backends.
    #[arg(long, env = "QUICKSALE_BACKENDS_SECRET", default_value = "quicksale-backends")]
    backends_secret: String,
    /// Its namespace.
    #[arg(
        long,
        env = "QUICKSALE_BACKENDS_SECRET_NAMESPACE",
        default_value = "quicksale-backends"
    )]
    backends_namespace: String,
    /// Whether passwords may go to them in plain text: Refuse, or Allow.
    #[arg(
        long,
        env = "QUICKSALE_BACKENDS_PLAINTEXT_PASSWORDS",
        default_value = "Refuse"
    )]
    plaintext_passwords: PlaintextPasswords,
    /// The database of accounts, for the sales of a cluster; the configuration of one sale names its own.
    #[arg(long, env = "QUICKSALE_ACCOUNTS_DATABASE", default_value = DEFAULT_ACCOUNTS_DATABASE, conflicts_with = "config")]
    accounts_database: String,
    /// Whether administrators may halt sales, change stock, and replay messages here.
    #[arg(
        long,
        env = "QUICKSALE_CONSOLE_SWITCHES",
        value_enum,
        default_value = "withhold"
    )]
    switches: SwitchesOption,
    /// Whether the cookie is sent over https only.
    #[arg(long, env = "QUICKSALE_CONSOLE_COOKIES", value_enum, default_value = "https")]
    cookies: CookiesOption,
    /// Networks of proxies whose X-Forwarded-For is believed.
    #[arg(long, env = "QUICKSALE_TRUSTED_PROXIES", value_delimiter = ',')]
    trusted_proxies: Vec<String>,
    /// The address that is listened at.
    #[arg(long, env = "QUICKSALE_BIND", default_value = "::")]
    bind: IpAddr,
    /// The port of the pages.
    #[arg(long, default_value_t = PORT)]
    port: u16,
    /// Serves `/livez`, `/readyz` and `/metrics` here.
    #[arg(long, env = "QUICKSALE_ADMIN_PORT", default_value_t = ports::ADMIN)]
    admin_port: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SwitchesOption {
    Allow,
    Withhold,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum CookiesOption {
    Https,
    Http,
}

/// Runs it until it is asked to stop.
pub(crate) async fn run(options: Options) -> anyhow::Result<ExitCode> {
    telemetry::init(LogFormat::Ecs { service: "console" });
    let clock = Clock::of_process().context("QUICKSALE_CLOCK_WRONG_BY_MS")?;
    let mut tasks = Tasks::new();
    let stop = tasks.stop_token();
    metrics::of_every_process();
    mongo::metrics();
    kafka::metrics();
    console::metrics();
    tasks.spawn("event loop", event_loop::measure(stop.clone()));
    let health = Health::new(stop.clone());
    // First, so that a pod that waits for its backends is alive and says what it waits for.
    let waiting = health.gate("backends");
    let serving = Server::bind(
        "admin",
        options.bind,
        options.admin_port,
        admin::routes(health.clone()),
    )
    .await?;
    tasks.spawn("admin", serving.run(stop.clone()));
    let trusted = networks(&options.trusted_proxies)?;
    let prepared = tokio::select! {
        prepared = prepare(&options, &health, &clock, &stop) => prepared?,
        () = stop.cancelled() => return Ok(ExitCode::SUCCESS),
    };
    for (name, task) in prepared.tasks {
        tasks.spawn(name, task);
    }
    let service = console::build(Dependencies {
        sales: prepared.sales,
        accounts: prepared.accounts,
        admin: admin_from_env()?,
        switches: match options.switches {
            SwitchesOption::Allow => Switches::Allowed,
            SwitchesOption::Withhold => Switches::Withheld,
        },
        cookies: match options.cookies {
            CookiesOption::Https => CookieScope::Https,
            CookiesOption::Http => CookieScope::Http,
        },
        trusted: trusted.clone(),
        clock,
        health,
        stop: stop.clone(),
    })?;
    for (name, task) in service.tasks {
        tasks.spawn(name, task);
    }
    let server = Server::bind("console", options.bind, options.port, service.router).await?;
    tasks.spawn(
        "console",
        server.within(Bounds::among_strangers(&trusted)).run(stop),
    );
    waiting.release();
    Ok(tasks.run_until_stopped().await)
}

/// The sales, and the accounts of those who may look at them.
struct Prepared {
    sales: Sales,
    accounts: mongodb::Database,
    tasks: Vec<(&'static str, BoxFuture<'static, ()>)>,
    /// The client looks into it for as long as it lives.
    _uri: MongoUri,
}

async fn prepare(
    options: &Options,
    health: &Health,
    clock: &Clock,
    stop: &CancellationToken,
) -> anyhow::Result<Prepared> {
    let Some(config) = &options.config else {
        return of_cluster(options, health, clock, stop).await;
    };
    let config = Config::read(config)?;
    let control = options
        .control
        .clone()
        .context("--control is missing: the control document of the sale")?;
    let targets = targets(&options.metrics_targets)?;
    let (client, uri) = accounts(&backends::environment).await?;
    let accounts = client.database(&config.data.accounts_database);
    let place = Arc::new(Place::open(config, Leads::read(&backends::environment)?).await?);
    let one = One::new(Parts {
        place,
        control,
        keys: options.keys.clone(),
        targets,
        url: options.url.clone(),
        clock: clock.clone(),
    })?;
    Ok(Prepared {
        sales: Sales::One(Arc::new(one)),
        accounts,
        tasks: Vec::new(),
        _uri: uri,
    })
}

async fn of_cluster(
    options: &Options,
    health: &Health,
    clock: &Clock,
    stop: &CancellationToken,
) -> anyhow::Result<Prepared> {
    let client = kube::Client::try_default()
        .await
        .context("there is no cluster to look into; run it in one, set KUBECONFIG, or name the configuration of a sale by --config")?;
    let platform = Platform {
        namespace: options.backends_namespace.clone(),
        secret: options.backends_secret.clone(),
        plaintext: options.plaintext_passwords,
    };
    let secret = backends_of(&client, &platform).await;
    let (accounts, uri) = accounts(&values(&secret, platform.plaintext)).await?;
    let accounts = accounts.database(&options.accounts_database);
    let namespaces: Vec<String> = options
        .namespaces
        .iter()
        .filter(|name| !name.is_empty())
        .cloned()
        .collect();
    let (cluster, tasks) = Cluster::watch(&client, &namespaces, platform.clone(), clock.clone(), stop);
    let mut tasks: Vec<(&'static str, BoxFuture<'static, ()>)> = tasks.into();
    let changes = until_it_changes(client, platform, secret, stop.clone());
    tasks.push(("backends Secret", changes.boxed()));
    let known = health.gate("sales");
    let (ready, stop) = (cluster.is_ready(), stop.clone());
    let waiting = async move {
        // One namespace that cannot be read must not keep the others from being shown.
        if known.release_within(PATIENCE, ready).await.is_none() {
            tracing::warn!("the API server has not said what sales there are in every namespace; trying on");
        }
        stop.cancelled().await;
    };
    tasks.push(("sales known", waiting.boxed()));
    Ok(Prepared {
        sales: Sales::Cluster(Arc::new(cluster)),
        accounts,
        tasks,
        _uri: uri,
    })
}

/// What leads to the platform's backends, as soon as it is there.
async fn backends_of(client: &kube::Client, platform: &Platform) -> Secret {
    let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(10));
    loop {
        let problem = match platform.read(client).await {
            Ok(Some(secret)) => return secret,
            Ok(None) => "there is none".to_owned(),
            Err(problem) => problem.detail,
        };
        let Platform {
            namespace, secret, ..
        } = platform;
        tracing::warn!(
            namespace,
            secret,
            problem,
            "the backends Secret cannot be read; trying on"
        );
        tokio::time::sleep(backoff.next_wait()).await;
    }
}

/// Ends when what leads to the platform's backends has changed, and with it the process: the next one logs in as it says then.
async fn until_it_changes(client: kube::Client, platform: Platform, before: Secret, stop: CancellationToken) {
    let mut rounds = Rounds::every(LOOK_EVERY, &stop);
    while rounds.another().await {
        // Without an answer what is known stands.
        if let Ok(Some(now)) = platform.read(&client).await
            && now.data != before.data
        {
            tracing::info!("the backends Secret has changed: beginning anew with what it says now");
            return;
        }
    }
}

/// The database server with the accounts.
async fn accounts(get: Lookup<'_>) -> anyhow::Result<(mongodb::Client, MongoUri)> {
    let uri = backends::mongodb(get)?;
    backends::keep_secret("MONGODB_URI", uri.transport(), get)?;
    Ok((mongo::client(&uri).await?, uri))
}

fn networks(texts: &[String]) -> anyhow::Result<Vec<Network>> {
    let network = |text: &String| {
        Network::parse(text).with_context(|| format!("{text:?} is no network such as 10.0.0.0/8"))
    };
    texts
        .iter()
        .filter(|text| !text.is_empty())
        .map(network)
        .collect()
}

fn targets(texts: &[String]) -> anyhow::Result<Vec<Target>> {
    texts
        .iter()
        .filter(|text| !text.is_empty())
        .map(|text| target(text))
        .collect()
}

/// Reads `gateway=http://gateway:9090`.
fn target(text: &str) -> anyhow::Result<Target> {
    let Some((name, url)) = text.split_once('=') else {
        bail!("{text:?} is no target of metrics such as gateway=http://gateway:9090");
    };
    let url: Url = url.parse().with_context(|| format!("the address of {name}"))?;
    Ok(Target {
        component: name
            .trim_end_matches(|c: char| c == '-' || c.is_ascii_digit())
            .to_owned(),
        name: name.to_owned(),
        url: url.join("/metrics")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_named() {
        let read = target("order-2=http://order-2:9090").unwrap();
        assert_eq!(
            (read.component.as_str(), read.name.as_str()),
            ("order", "order-2")
        );
        assert_eq!(read.url.as_str(), "http://order-2:9090/metrics");
        assert!(target("http://order:9090").is_err());
    }
}
