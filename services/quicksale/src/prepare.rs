//! What the operator does for a sale, where there is none: `quicksale prepare` before the services start, and
//! `quicksale catalogue` once inventory answers. Both may run again: what is there stays. `quicksale dev` does the same.

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use jiff::Timestamp;
use platform::{
    backends::{
        self,
        kafka::{self, KafkaCredentials},
    },
    config::{Config, paths},
    private,
    telemetry::{self, LogFormat},
    tokens::{KeyPair, Signer},
};
use sale::{SaleId, control::ControlDocument};
use serde::Deserialize;
use serde_json::Value;
use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};
use tokio::time::{Instant, sleep};
use url::Url;

/// How long a backend or a service is waited for.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long one request to inventory may take.
const DEADLINE: Duration = Duration::from_secs(5);
/// How long to wait before the next try.
const PAUSE: Duration = Duration::from_millis(500);
/// How long the broker may take for a topic, in milliseconds.
const BROKER_TIMEOUT_MS: i32 = 4_000;

/// Options of `quicksale prepare`. `KAFKA_BROKERS` and what belongs to it are read as every service reads them.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The configuration of the sale.
    #[arg(long, env = "QUICKSALE_CONFIG", default_value = paths::CONFIG)]
    config: PathBuf,
    /// The control document to write.
    #[arg(long, env = "QUICKSALE_CONTROL", default_value = paths::CONTROL)]
    control: PathBuf,
    /// The directory for the signing key, which is for auth alone, and the public key.
    #[arg(long, env = "QUICKSALE_KEYS", default_value = paths::KEYS)]
    keys: PathBuf,
    /// A directory for the public key alone, for all who only check tokens.
    #[arg(long, env = "QUICKSALE_PUBLIC_KEYS")]
    public_keys: Option<PathBuf>,
    /// From when on orders are taken, such as 2026-12-01T12:00:00Z; from the first run on where nothing is said.
    #[arg(long, env = "QUICKSALE_OPENS_AT", default_value = "")]
    opens_at: String,
    /// From when on no order is taken any more; no end where nothing is said.
    #[arg(long, env = "QUICKSALE_CLOSES_AT", default_value = "")]
    closes_at: String,
    /// Whether new orders are refused for now: true or false; as it was before where nothing is said.
    #[arg(long, env = "QUICKSALE_HALTED", default_value = "")]
    halted: String,
}

/// Options of `quicksale catalogue`.
#[derive(Debug, Args)]
pub(crate) struct CatalogueOptions {
    /// The configuration of the sale, which says where inventory is.
    #[arg(long, env = "QUICKSALE_CONFIG", default_value = paths::CONFIG)]
    config: PathBuf,
    /// The directory with the signing key.
    #[arg(long, env = "QUICKSALE_KEYS", default_value = paths::KEYS)]
    keys: PathBuf,
    /// The products: a JSON array of what `POST /api/inventory/products` takes.
    #[arg(
        long,
        env = "QUICKSALE_PRODUCTS",
        default_value = "/etc/quicksale/products.json"
    )]
    products: PathBuf,
}

/// Makes what is missing, and ends.
pub(crate) async fn run(options: Options) -> Result<ExitCode> {
    telemetry::init(LogFormat::Ecs { service: "prepare" });
    let config = Config::read(&options.config)?;
    let now = Timestamp::now();
    let wanted = Wanted {
        opens_at: time("--opens-at", &options.opens_at)?,
        closes_at: time("--closes-at", &options.closes_at)?,
        is_halted: truth("--halted", &options.halted)?,
    };
    private::directory(&options.keys)?;
    keys(&options.keys)?;
    if let Some(public) = &options.public_keys {
        publish(&options.keys, public)?;
    }
    control(&options.control, &config.sale, &wanted, now)?;
    topics(&config, PATIENCE).await?;
    tracing::info!(sale = %config.sale, "the sale's processes can start");
    Ok(ExitCode::SUCCESS)
}

/// Puts the products on sale, and ends.
pub(crate) async fn run_catalogue(options: CatalogueOptions) -> Result<ExitCode> {
    telemetry::init(LogFormat::Ecs { service: "catalogue" });
    let config = Config::read(&options.config)?;
    let list = read_products(&options.products)?;
    products(&config.upstreams.inventory, &options.keys, &list, PATIENCE).await?;
    tracing::info!(products = list.len(), "the products are on sale");
    Ok(ExitCode::SUCCESS)
}

fn time(name: &str, text: &str) -> Result<Option<Timestamp>> {
    if text.is_empty() {
        return Ok(None);
    }
    let parsed = text.parse();
    parsed
        .map(Some)
        .with_context(|| format!("{name} is {text:?}; write a time such as 2026-12-01T12:00:00Z"))
}

fn truth(name: &str, text: &str) -> Result<Option<bool>> {
    match text {
        "" => Ok(None),
        "true" => Ok(Some(true)),
        "false" => Ok(Some(false)),
        _ => bail!("{name} is {text:?}; write true or false"),
    }
}

/// Makes a signing key with its public key, unless there is one.
pub(crate) fn keys(dir: &Path) -> Result<()> {
    let key_file = dir.join(paths::SIGNING_KEY_FILE);
    if !key_file.exists() {
        let pair = KeyPair::generate()?;
        // The signing key is written last: where it is, the other one is too.
        private::write(&dir.join(paths::JWKS_FILE), pair.jwks_json.as_bytes())?;
        private::write(&key_file, pair.private_pem.as_bytes())?;
    }
    Ok(())
}

/// Copies the public key to where those find it who must not see the signing key.
fn publish(keys: &Path, public: &Path) -> Result<()> {
    let (from, to) = (keys.join(paths::JWKS_FILE), public.join(paths::JWKS_FILE));
    let text = std::fs::read(&from).with_context(|| format!("cannot read {}", from.display()))?;
    if std::fs::read(&to).ok().as_ref() != Some(&text) {
        private::write(&to, &text)?;
    }
    Ok(())
}

/// What is said about when orders are taken.
struct Wanted {
    opens_at: Option<Timestamp>,
    closes_at: Option<Timestamp>,
    is_halted: Option<bool>,
}

/// Writes the control document, with a higher version where something has changed: running processes follow the file.
fn control(file: &Path, sale: &SaleId, wanted: &Wanted, now: Timestamp) -> Result<()> {
    let what = || format!("the control document {}", file.display());
    let before: Option<ControlDocument> = match std::fs::read(file) {
        Ok(text) => Some(serde_json::from_slice(&text).with_context(what)?),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(error).with_context(what),
    };
    let first = || ControlDocument::open_now(sale.clone(), now);
    let mut document = before.clone().unwrap_or_else(first);
    ensure!(
        document.sale == *sale,
        "{} belongs to the sale {}, and the configuration is of {sale}; give each sale a place of its own",
        what(),
        document.sale
    );
    document.opens_at = wanted.opens_at.or(document.opens_at);
    document.closes_at = wanted.closes_at;
    document.halted = wanted.is_halted.unwrap_or(document.halted);
    if let (Some(opens), Some(closes)) = (document.opens_at, document.closes_at) {
        ensure!(
            opens < closes,
            "the sale would close at {closes}, and opens at {opens}"
        );
    }
    if before.as_ref() != Some(&document) {
        let clock = u64::try_from(now.as_millisecond()).unwrap_or(0);
        document.version = clock.max(document.version + 1);
        private::write(file, &serde_json::to_vec_pretty(&document)?)?;
        tracing::info!(version = document.version, "control document written");
    }
    Ok(())
}

/// Creates the topics that are missing, and checks how the others are cut.
pub(crate) async fn topics(config: &Config, patience: Duration) -> Result<()> {
    let get = &backends::environment;
    let credentials = backends::kafka(get)?;
    backends::keep_secret("KAFKA_BROKERS", credentials.transport(), get)?;
    let deadline = Instant::now() + patience;
    let cut_otherwise = loop {
        match create_missing(config, &credentials).await {
            Ok(found) => break found,
            Err(error) if Instant::now() >= deadline => {
                return Err(error.context("the topics cannot be made"));
            }
            Err(error) => tracing::info!(error = format!("{error:#}"), "Kafka is waited for"),
        }
        sleep(PAUSE).await;
    };
    ensure!(
        cut_otherwise.is_empty(),
        "topics that are there have another number of partitions than kafka.partitions in the configuration, {}: {}; name \
         another kafka.topicPrefix, or write the number that they have",
        config.kafka.partitions,
        cut_otherwise.join(", ")
    );
    Ok(())
}

/// Creates topics, and returns the names of those that have another number of partitions than they should.
async fn create_missing(config: &Config, credentials: &KafkaCredentials) -> Result<Vec<String>> {
    let wanted = &config.kafka;
    let client = credentials.connect().await?;
    let there = kafka::topics(&client).await?;
    let controller = client.controller_client()?;
    let mut cut_otherwise = Vec::new();
    for topic in events::topics::all_names(&wanted.topic_prefix) {
        if let Some(partitions) = there.get(&topic) {
            if usize::try_from(wanted.partitions) != Ok(partitions.len()) {
                cut_otherwise.push(topic);
            }
            continue;
        }
        let creating = controller.create_topic(
            &topic,
            wanted.partitions,
            wanted.replication_factor,
            BROKER_TIMEOUT_MS,
        );
        match kafka::within(kafka::CALL_DEADLINE, creating).await {
            Err(error) if !error.is_topic_exists() => return Err(error.into()),
            _ => {}
        }
    }
    Ok(cut_otherwise)
}

fn read_products(file: &Path) -> Result<Vec<Value>> {
    let what = || format!("the products {}", file.display());
    let text = std::fs::read(file).with_context(what)?;
    let list: Vec<Value> =
        serde_json::from_slice(&text).with_context(|| format!("{} are no JSON array", what()))?;
    for (index, product) in list.iter().enumerate() {
        ensure!(
            product["sku"].is_string(),
            "product {} of {} has no sku",
            index + 1,
            file.display()
        );
    }
    Ok(list)
}

/// The part of a problem document that is looked at.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Refusal {
    code: String,
    detail: String,
}

/// Puts products on sale. One that is there stays as it is.
pub(crate) async fn products(inventory: &Url, keys: &Path, list: &[Value], patience: Duration) -> Result<()> {
    let client = reqwest::Client::builder().timeout(DEADLINE).no_proxy().build()?;
    let signer = Signer::read(keys)?;
    let address = inventory.join("/api/inventory/products")?;
    let deadline = Instant::now() + patience;
    for product in list {
        loop {
            let token = signer.service_token("prepare", Timestamp::now())?;
            let request = client.post(address.clone()).bearer_auth(token).json(product);
            let problem = match request.send().await {
                Err(error) => format!("{error:#}"),
                Ok(answer) => {
                    let status = answer.status();
                    if status.is_success() {
                        break;
                    }
                    let refusal: Refusal = answer.json().await.unwrap_or_default();
                    if refusal.code == "sku_taken" {
                        break;
                    }
                    let problem = format!("{status} {}: {}", refusal.code, refusal.detail);
                    if status.is_client_error() && status.as_u16() != 429 {
                        bail!("inventory refuses the product {}: {problem}", product["sku"]);
                    }
                    problem
                }
            };
            ensure!(
                Instant::now() < deadline,
                "inventory did not take the product {} within {} s: {problem}",
                product["sku"],
                patience.as_secs()
            );
            tracing::debug!(problem, "inventory is waited for");
            sleep(PAUSE).await;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use platform::config::{DEFAULT_ACCOUNTS_DATABASE, ports};

    fn checked_in(name: &str) -> PathBuf {
        let compose = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/compose");
        Path::new(compose).join(name)
    }

    #[test]
    fn the_configuration_for_compose_names_everything_as_the_operator_would() {
        let config = Config::read(&checked_in("config.json")).unwrap();
        assert_eq!(config.data.database, config.sale.database(false));
        assert_eq!(config.data.accounts_database, DEFAULT_ACCOUNTS_DATABASE);
        assert_eq!(config.kafka.topic_prefix, config.sale.default_topic_prefix(false));
        assert_eq!(config.redis_prefix, config.sale.redis_prefix(false));
        assert_eq!(config.http.admin_port, ports::ADMIN);
        let upstreams = config.upstreams;
        for (url, name, port) in [
            (upstreams.auth, "auth", ports::AUTH),
            (upstreams.inventory, "inventory", ports::INVENTORY),
            (upstreams.order, "order", ports::ORDER),
            (upstreams.notifier, "notifier", ports::NOTIFIER),
        ] {
            assert_eq!((url.host_str(), url.port()), (Some(name), Some(port)));
        }
        assert!(!read_products(&checked_in("products.json")).unwrap().is_empty());
    }

    #[test]
    fn keys_are_made_once_and_the_signing_key_stays_where_it_is() {
        let (secret, public) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let read = |dir: &Path, name| std::fs::read(dir.join(name)).unwrap();
        keys(secret.path()).unwrap();
        publish(secret.path(), public.path()).unwrap();
        let made = read(secret.path(), paths::SIGNING_KEY_FILE);
        keys(secret.path()).unwrap();
        assert_eq!(read(secret.path(), paths::SIGNING_KEY_FILE), made);
        let published = read(public.path(), paths::JWKS_FILE);
        assert_eq!(published, read(secret.path(), paths::JWKS_FILE));
        assert_eq!(public.path().read_dir().unwrap().count(), 1);
    }

    #[test]
    fn the_control_document_gets_a_higher_version_when_something_changes_and_only_then() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("control.json");
        let sale = |name: &str| SaleId {
            namespace: "shop".to_owned(),
            name: name.to_owned(),
        };
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut wanted = Wanted {
            opens_at: None,
            closes_at: None,
            is_halted: None,
        };
        let write = |wanted: &Wanted, now| {
            control(&file, &sale("laptops"), wanted, at(now))?;
            anyhow::Ok(serde_json::from_slice::<ControlDocument>(&std::fs::read(&file)?)?)
        };
        let first = write(&wanted, 100).unwrap();
        assert_eq!(first.opens_at, Some(at(100)), "open from the first run on");
        assert_eq!(write(&wanted, 200).unwrap(), first);
        wanted.is_halted = Some(true);
        wanted.closes_at = Some(at(500));
        let halted = write(&wanted, 50).unwrap();
        assert!(
            halted.halted && halted.version > first.version,
            "whatever the clock says"
        );
        assert_eq!(
            (halted.opens_at, halted.closes_at),
            (Some(at(100)), Some(at(500)))
        );
        wanted.is_halted = None;
        assert_eq!(
            write(&wanted, 250).unwrap(),
            halted,
            "who is silent changes nothing"
        );
        wanted.closes_at = Some(at(99));
        assert!(write(&wanted, 300).is_err(), "an end before the beginning");
        let other = control(&file, &sale("phones"), &wanted, at(300));
        assert!(other.unwrap_err().to_string().contains("shop.laptops"));
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let said = time("--opens-at", "tomorrow").unwrap_err().to_string();
        assert!(said.contains("--opens-at") && said.contains("tomorrow"), "{said}");
        assert_eq!(time("--opens-at", "").unwrap(), None);
        assert!(
            truth("--halted", "yes")
                .unwrap_err()
                .to_string()
                .contains("--halted")
        );
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("products.json");
        for (text, word) in [
            ("{}", "no JSON array"),
            (r#"[{"sku": "A"}, {"name": "b"}]"#, "product 2"),
        ] {
            std::fs::write(&file, text).unwrap();
            let said = format!("{:#}", read_products(&file).unwrap_err());
            assert!(said.contains(word), "{said}");
        }
    }
}
