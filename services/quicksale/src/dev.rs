//! `quicksale dev`: all services in one process on loopback, with keys, topics, an admin and a product of its own.

use crate::{
    payments::{self, ServiceAccount, Shop},
    prepare,
    process::{Overrides, Process, Role},
};
use anyhow::{Context, bail};
use clap::Args;
use platform::{
    config::{Config, DEFAULT_ACCOUNTS_DATABASE, Data, Http, Kafka, Upstreams, ports},
    private,
    telemetry::{self, LogFormat},
};
use sale::{Currency, SaleId, control::ControlDocument, order::Confirmation};
use serde::{Deserialize, Serialize};
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};
use url::Url;

/// Where the stand-in for payments listens.
const PAYMENTS_PORT: u16 = 3_080;
/// Partitions of each topic: enough to see several lanes at work.
const PARTITIONS: i32 = 4;

/// Options of `quicksale dev`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Where keys, accounts and documents are kept between runs.
    #[arg(long, env = "QUICKSALE_DEV_DIR")]
    data_dir: Option<PathBuf>,
    /// How orders are confirmed. With `payment` a stand-in for a provider of payments listens on port 3080.
    #[arg(
        long,
        env = "QUICKSALE_DEV_CONFIRMATION",
        value_enum,
        default_value = "automatic"
    )]
    confirmation: Confirm,
    /// How long units are held for a payment, in seconds.
    #[arg(long, env = "QUICKSALE_DEV_HOLD_SECONDS", default_value_t = 600)]
    hold_seconds: u64,
    /// Where the console listens.
    #[arg(long, env = "QUICKSALE_CONSOLE_PORT", default_value_t = crate::console::PORT)]
    console_port: u16,
    /// Without a console: for measuring.
    #[arg(long)]
    no_console: bool,
}

/// How orders are confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Confirm {
    /// As soon as their units are held.
    Automatic,
    /// When they are paid.
    Payment,
}

/// Runs everything until it is stopped.
pub(crate) async fn run(options: Options) -> anyhow::Result<ExitCode> {
    telemetry::init(LogFormat::Text);
    let dir = options
        .data_dir
        .unwrap_or_else(|| std::env::temp_dir().join("quicksale-dev"));
    let keys = dir.join("keys");
    private::directory(&dir)?;
    private::directory(&keys)?;
    prepare::keys(&keys)?;
    let (email, password) = prepare_admin(&dir)?;
    let mut config = config()?;
    crate::start_traces("dev", &config);
    if options.confirmation == Confirm::Payment {
        config.confirmation = Confirmation::Payment;
        config.http.payment_url = Some(format!("http://127.0.0.1:{PAYMENTS_PORT}/pay?order={{orderId}}"));
        config.reservation_ttl_seconds = options.hold_seconds;
    }
    let control = dir.join("control.json");
    let document = ControlDocument::open_now(config.sale.clone(), jiff::Timestamp::now());
    private::write(&control, &serde_json::to_vec_pretty(&document)?)?;
    prepare::topics(&config, Duration::ZERO)
        .await
        .context("is Kafka running? hack/backends.sh start")?;
    let inventory = config.upstreams.inventory.clone();
    let mut process = Process::new(config, &control, keys.clone(), Overrides::default()).await?;
    process.set_admin(auth::Admin {
        email: email.clone(),
        secret: auth::AdminSecret::Password(password.clone().into()),
    });
    for role in Role::ALL {
        process.add(role).await?;
    }
    if !options.no_console {
        process.add_console(&control, options.console_port).await?;
    }
    if options.confirmation == Confirm::Payment {
        let admin = (email.clone(), password.clone());
        process.spawn("payments", stand_in(dir.clone(), admin));
    }
    let welcoming = Welcome {
        email,
        password,
        confirmation: options.confirmation,
        console_port: options.console_port,
    };
    process.spawn("welcome", welcome(inventory, keys, welcoming));
    process.run().await
}

/// The configuration of a sale on loopback.
pub(crate) fn config() -> anyhow::Result<Config> {
    let sale = SaleId {
        namespace: "dev".to_owned(),
        name: "dev".to_owned(),
    };
    let url = |port: u16| Url::parse(&format!("http://127.0.0.1:{port}"));
    Ok(Config {
        currency: Currency::parse("USD")?,
        confirmation: Confirmation::Automatic,
        reservation_ttl_seconds: 600,
        data: Data {
            database: sale.database(false),
            accounts_database: DEFAULT_ACCOUNTS_DATABASE.to_owned(),
        },
        kafka: Kafka {
            topic_prefix: sale.default_topic_prefix(false),
            partitions: PARTITIONS,
            replication_factor: 1,
        },
        redis_prefix: sale.redis_prefix(false),
        upstreams: Upstreams {
            auth: url(ports::AUTH)?,
            inventory: url(ports::INVENTORY)?,
            order: url(ports::ORDER)?,
            notifier: url(ports::NOTIFIER)?,
        },
        http: Http {
            bind: [127, 0, 0, 1].into(),
            admin_port: ports::ADMIN,
            trusted_proxies: Vec::new(),
            cors_origins: vec!["*".to_owned()],
            access_log: true,
            https_host: None,
            payment_url: None,
        },
        sale,
        tracing: None,
    })
}

/// The admin's address and password: made once, kept in `accounts.json`.
fn prepare_admin(dir: &Path) -> anyhow::Result<(String, String)> {
    let file = dir.join("accounts.json");
    if let Ok(text) = std::fs::read(&file) {
        let accounts: serde_json::Value = serde_json::from_slice(&text)?;
        let text = |key: &str| accounts[key].as_str().map(str::to_owned);
        return text("adminEmail")
            .zip(text("adminPassword"))
            .context("accounts.json is incomplete; delete it");
    }
    let password = uuid::Uuid::new_v4().simple().to_string()[..16].to_owned();
    let email = "admin@quicksale.local".to_owned();
    let accounts = serde_json::json!({"adminEmail": email, "adminPassword": password});
    private::write(&file, &serde_json::to_vec_pretty(&accounts)?)?;
    Ok((email, password))
}

/// What is said when everything is there.
struct Welcome {
    email: String,
    password: String,
    confirmation: Confirm,
    console_port: u16,
}

/// Puts a product on sale and says what to try, then lasts as long as the process.
async fn welcome(inventory: Url, keys: PathBuf, welcome: Welcome) {
    let Welcome {
        email,
        password,
        confirmation,
        console_port,
    } = welcome;
    match seed_product(&inventory, &keys).await {
        Ok(()) => {
            let payments = match confirmation {
                Confirm::Automatic => "",
                Confirm::Payment => {
                    "  curl -s -XPOST http://127.0.0.1:3080/payments -H 'content-type: application/json' \\\n    \
                     -d '{\"orderId\":\"…\",\"card\":\"pays\"}'   # or declines, twice, slow (with seconds)\n  \
                     curl -s http://127.0.0.1:3080/payments/<orderId>\n"
                }
            };
            println!(
                "\nQuickSale is running; the shop: http://127.0.0.1:3000/ (API documentation: /docs)\n\
                 the console: http://127.0.0.1:{console_port}/\n\
                 admin: {email} / {password}\n\nTry:\n  \
                 curl -s http://127.0.0.1:3000/api/sale\n  \
                 curl -s -XPOST http://127.0.0.1:3000/api/auth/register -H 'content-type: application/json' \\\n    \
                 -d '{{\"email\":\"ada@example.com\",\"password\":\"correct horse\",\"firstName\":\"Ada\",\"lastName\":\"L\"}}'\n  \
                 curl -s -XPOST http://127.0.0.1:3000/api/orders -H \"authorization: Bearer $TOKEN\" \\\n    \
                 -H 'idempotency-key: order-001' -H 'content-type: application/json' \\\n    \
                 -d '{{\"items\":[{{\"sku\":\"FLASH-LAPTOP-001\",\"quantity\":1}}]}}'\n{payments}\nCtrl-C stops everything."
            );
        }
        Err(error) => tracing::error!("the sample product could not be created: {error:#}"),
    }
    std::future::pending::<()>().await;
}

/// A provider of payments for the sale, with a service account that is kept between runs.
async fn stand_in(dir: PathBuf, admin: (String, String)) {
    let served = async {
        let shop = known_to_the_shop(&dir, &admin).await?;
        payments::serve(shop, ([127, 0, 0, 1], PAYMENTS_PORT).into()).await
    };
    if let Err(error) = served.await {
        tracing::error!("nobody takes payments: {error:#}");
    }
    std::future::pending::<()>().await;
}

async fn known_to_the_shop(dir: &Path, admin: &(String, String)) -> anyhow::Result<Shop> {
    let file = dir.join("payments.json");
    let gateway = Url::parse(&format!("http://127.0.0.1:{}", ports::GATEWAY))?;
    for _attempt in 0..60 {
        if let Ok(text) = std::fs::read(&file)
            && let Ok(kept) = serde_json::from_slice::<KeptAccount>(&text)
        {
            let shop = Shop::new(gateway.clone(), kept.into())?;
            if shop.log_in().await.is_ok() {
                return Ok(shop);
            }
        }
        match make_account(&gateway, admin).await {
            Ok(made) => private::write(&file, &serde_json::to_vec_pretty(&made)?)?,
            Err(error) => tracing::debug!("no account for payments yet: {error:#}"),
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    bail!("the sale gave them no account within 30 s; look at the log above")
}

/// The account of the stand-in, as the sale gave it.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct KeptAccount {
    client_id: String,
    client_secret: String,
}

impl From<KeptAccount> for ServiceAccount {
    fn from(kept: KeptAccount) -> Self {
        Self {
            client_id: kept.client_id,
            client_secret: kept.client_secret.into(),
        }
    }
}

async fn make_account(gateway: &Url, (email, password): &(String, String)) -> anyhow::Result<KeptAccount> {
    let client = reqwest::Client::builder()
        .timeout(Duration::from_secs(5))
        .build()?;
    let login = serde_json::json!({"email": email, "password": password});
    let login = client.post(gateway.join("/api/auth/login")?).json(&login);
    let session: serde_json::Value = login.send().await?.error_for_status()?.json().await?;
    let token = session["accessToken"].as_str().context("no access token")?;
    let name = serde_json::json!({"name": format!("payments-{}", uuid::Uuid::new_v4().simple())});
    let account = client
        .post(gateway.join("/api/auth/service-accounts")?)
        .bearer_auth(token);
    Ok(account
        .json(&name)
        .send()
        .await?
        .error_for_status()?
        .json()
        .await?)
}

async fn seed_product(inventory: &Url, keys: &Path) -> anyhow::Result<()> {
    let product = serde_json::json!({
        "sku": "FLASH-LAPTOP-001", "name": "Flash Sale Laptop", "description": "Limited time offer",
        "category": "Electronics", "price": 799.99, "originalPrice": 1299.99, "stock": 50,
    });
    prepare::products(inventory, keys, &[product], Duration::from_secs(30)).await
}
