//! What the operator is told by its chart, all of it through the environment.

use crate::{
    allowed_entrances::AllowedEntrances,
    network::Network,
    pod_template::PodTemplate,
    signing_keys::{Pace, SPREAD},
};
use clap::Parser;
use crds::PlaintextPasswords;
use jiff::SignedDuration;
use platform::{
    config::{DEFAULT_ACCOUNTS_DATABASE, ports},
    traces::Tracing,
};
use url::Url;

/// Runs flash sales.
#[derive(Debug, Clone, Parser)]
#[command(name = "quicksale-operator", version)]
pub struct Settings {
    /// The image of the services: the operator's own.
    #[arg(long, env = "QUICKSALE_IMAGE")]
    pub image: String,
    /// When nodes pull it.
    #[arg(long, env = "QUICKSALE_IMAGE_PULL_POLICY", default_value = "IfNotPresent")]
    pub image_pull_policy: String,
    /// The operator's own namespace: its Lease and the administrator's Secret are here.
    #[arg(long, env = "POD_NAMESPACE", default_value = "quicksale-system")]
    pub namespace: String,
    /// The name that it holds the Lease under.
    #[arg(long, env = "POD_NAME", default_value = "quicksale-operator")]
    pub identity: String,
    /// The Lease.
    #[arg(long, env = "QUICKSALE_LEASE", default_value = "quicksale-operator")]
    pub lease: String,
    /// The Secret with the backends of sales that name none.
    #[arg(long, env = "QUICKSALE_BACKENDS_SECRET", default_value = "quicksale-backends")]
    pub backends_secret: String,
    /// The namespace of that Secret.
    #[arg(
        long,
        env = "QUICKSALE_BACKENDS_SECRET_NAMESPACE",
        default_value = "quicksale-backends"
    )]
    pub backends_secret_namespace: String,
    /// Namespaces whose sales may use those backends; * for all. Others need a label.
    #[arg(long, env = "QUICKSALE_SHARED_WITH", value_delimiter = ',')]
    pub shared_with: Vec<String>,
    /// Whether passwords may go to those backends in plain text.
    #[arg(
        long,
        env = "QUICKSALE_BACKENDS_PLAINTEXT_PASSWORDS",
        default_value = "Refuse"
    )]
    pub plaintext_passwords: PlaintextPasswords,
    /// The Secret with the first administrator's email and password.
    #[arg(long, env = "QUICKSALE_ADMIN_SECRET", default_value = "quicksale-admin")]
    pub admin_secret: String,
    /// Tells this cluster's sales from those of other clusters in backends that both use; the uid of the namespace
    /// kube-system when left out.
    #[arg(long, env = "QUICKSALE_CLUSTER")]
    pub cluster: Option<String>,
    /// The email address of the administrator to make, once, where the Secret is missing; without it none is made.
    #[arg(long, env = "QUICKSALE_ADMIN_EMAIL")]
    pub admin_email: Option<String>,
    /// The database of accounts, which all sales share.
    #[arg(long, env = "QUICKSALE_ACCOUNTS_DATABASE", default_value = DEFAULT_ACCOUNTS_DATABASE)]
    pub accounts_database: String,
    /// Networks of proxies whose X-Forwarded-For the services believe.
    #[arg(long, env = "QUICKSALE_TRUSTED_PROXIES", value_delimiter = ',')]
    pub trusted_proxies: Vec<String>,
    /// Origins that browsers may call the sales from; * for any.
    #[arg(long, env = "QUICKSALE_CORS_ORIGINS", value_delimiter = ',')]
    pub cors_origins: Vec<String>,
    /// Whether the gateways write a log line for each request.
    #[arg(long, env = "QUICKSALE_ACCESS_LOG", default_value_t = true, action = clap::ArgAction::Set)]
    pub access_log: bool,
    /// The collector that the services send their traces to, by OTLP over HTTP; none are made when left out.
    #[arg(long, env = "QUICKSALE_TRACES_ENDPOINT", value_parser = endpoint)]
    pub traces_endpoint: Option<Url>,
    /// The part of all requests that is traced, from 0 to 1.
    #[arg(long, env = "QUICKSALE_TRACED_PART", default_value_t = 0.01, value_parser = part)]
    pub traced_part: f64,
    /// Days until another signing key takes the place of a sale's.
    #[arg(long, env = "QUICKSALE_SIGNING_KEY_DAYS", default_value_t = 30, value_parser = clap::value_parser!(u16).range(1..=365))]
    pub signing_key_days: u16,
    /// Seconds that a signing key is published before it signs: all pods must have it by then.
    #[arg(long, env = "QUICKSALE_SIGNING_KEY_SPREAD_SECONDS", default_value_t = SPREAD.as_secs(), value_parser = clap::value_parser!(i64).range(1..=3600))]
    pub signing_key_spread_seconds: i64,
    /// The namespaces to look at, comma-separated; all of them when left out.
    #[arg(long, env = "QUICKSALE_WATCH_NAMESPACES", value_delimiter = ',')]
    pub watch_namespaces: Vec<String>,
    /// Who may talk to whom beyond the pods of a sale, as JSON.
    #[arg(long, env = "QUICKSALE_NETWORK", default_value = "{}")]
    pub network: Network,
    /// What sales may ask for of the ways in, as JSON.
    #[arg(long, env = "QUICKSALE_ENTRANCES", default_value = "{}")]
    pub entrances: AllowedEntrances,
    /// What the platform wants of the pods of all sales, as JSON.
    #[arg(long, env = "QUICKSALE_SALE_PODS", default_value = "{}")]
    pub sale_pods: PodTemplate,
    /// Port of /livez, /readyz and /metrics.
    #[arg(long, env = "QUICKSALE_ADMIN_PORT", default_value_t = ports::ADMIN)]
    pub admin_port: u16,
}

/// Rounded to what JSON carries there and back: the configuration of an open sale must stay the same to the letter.
fn part(text: &str) -> Result<f64, String> {
    let part: Option<f64> = text.parse().ok().filter(|part| (0.0..=1.0).contains(part));
    let part = part.ok_or_else(|| "is no number from 0 to 1".to_owned())?;
    Ok((part * 1e6).round() / 1e6)
}

fn endpoint(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| error.to_string())?;
    let is_plain = url.has_host() && url.query().is_none() && url.fragment().is_none();
    if !is_plain || !matches!(url.scheme(), "http" | "https") {
        return Err("is no address of the form http://collector:4318".to_owned());
    }
    if url.path().trim_end_matches('/').ends_with("/v1/traces") {
        return Err("is to be written without /v1/traces, which is put behind it".to_owned());
    }
    if url.port() == Some(4317) {
        return Err("is the port of OTLP over gRPC; over HTTP it is 4318".to_owned());
    }
    Ok(url)
}

impl Settings {
    /// Where new sales send their traces.
    pub fn tracing(&self) -> Option<Tracing> {
        self.traces_endpoint.clone().map(|endpoint| Tracing {
            endpoint,
            part: self.traced_part,
        })
    }

    /// When signing keys change.
    pub fn key_pace(&self) -> Pace {
        Pace {
            lifetime: SignedDuration::from_hours(24 * i64::from(self.signing_key_days)),
            spread: SignedDuration::from_secs(self.signing_key_spread_seconds),
        }
    }
}
