//! A sale of its own: every service as a process of its own, on free ports, with its own database, topics and keys, on
//! the backends that the caller has started.

use crate::{
    backends::Backends,
    cluster::command,
    confined::{self, Confined},
    ports,
    scenarios::{Login, SETTLED},
    shop::Shop,
};
use anyhow::{Context, Result, bail};
use events::topics::{Topic, all_names};
use jiff::Timestamp;
use mongodb::{
    Database,
    bson::{Document, doc},
};
use platform::{
    admin::ControlReceipt,
    backends::{Credentials, kafka, mongo},
    config::{Config, Data, Http, Kafka, Upstreams, paths},
    tokens::KeyPair,
    traces::Tracing,
};
use rskafka::client::partition::OffsetAt;
use sale::{
    Currency, SaleId,
    control::ControlDocument,
    limits::{LimitedRoute, RateLimit, RateLimits},
    order::Confirmation,
};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};
use url::Url;

/// The services, in the order in which they are started.
pub const SERVICES: [&str; 6] = ["auth", "inventory", "order", "processor", "notifier", "gateway"];
/// Address of the admin that every world has.
pub const ADMIN_EMAIL: &str = "admin@example.com";
/// Password of that admin.
pub const ADMIN_PASSWORD: &str = "an admin's password";
/// The origin of the web page that may call the shop.
pub const PAGE: &str = "https://page.example.com";
/// What the name of a service's second process ends with.
const SECOND: &str = "-2";
/// The configuration of second processes that know each other.
const SECOND_CONFIG: &str = "config-2.json";
/// The directory that declares the administrator.
const ADMIN: &str = "admin";
/// Partitions of each topic.
const PARTITIONS: i32 = 4;
/// How long a call of Kafka's controller may take.
const TOPIC_DEADLINE: Duration = Duration::from_secs(10);
/// How long a topic may take to be gone.
const TOPIC_GONE: Duration = Duration::from_secs(30);
/// How long a process may take to be ready.
const STARTING: Duration = Duration::from_secs(60);

/// A running sale.
pub struct World {
    /// Its configuration.
    pub config: Config,
    /// Its own database.
    pub database: Database,
    /// What buyers see of it.
    pub shop: Arc<Shop>,
    /// What it runs on.
    pub backends: Backends,
    dir: tempfile::TempDir,
    running: BTreeMap<&'static str, Child>,
    /// After the processes, which must be gone before.
    confined: BTreeMap<&'static str, Confined>,
    memory: Option<u64>,
    environment: Vec<(&'static str, String)>,
    ports: BTreeMap<&'static str, (u16, u16)>,
    /// How far the clock of a process is wrong when it starts the next time, in milliseconds.
    clocks: BTreeMap<&'static str, i64>,
}

/// How a sale is to be.
pub struct Setup {
    /// What it runs on; those of the environment if there are none.
    pub backends: Option<Backends>,
    /// Who confirms its orders.
    pub confirmation: Confirmation,
    /// Networks whose word about addresses counts.
    pub trusted_proxies: Vec<String>,
    /// Where buyers reach it by HTTPS.
    pub https_host: Option<String>,
    /// The database of accounts, where it is that of another sale.
    pub accounts: Option<String>,
    /// How many bytes of memory each process may have.
    pub memory: Option<u64>,
    /// How long an order may wait for its payment.
    pub reservation_ttl_seconds: u64,
    /// Where its traces go.
    pub tracing: Option<Tracing>,
    /// What all its processes have in their environment.
    pub environment: Vec<(&'static str, String)>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            backends: None,
            confirmation: Confirmation::Automatic,
            trusted_proxies: Vec::new(),
            https_host: None,
            accounts: None,
            memory: None,
            reservation_ttl_seconds: 600,
            tracing: None,
            environment: Vec::new(),
        }
    }
}

impl World {
    /// Starts a sale that is open and confirms by itself.
    pub async fn start() -> Result<Self> {
        Self::start_as(Setup::default()).await
    }

    /// Starts a sale that is open.
    pub async fn start_with(confirmation: Confirmation) -> Result<Self> {
        Self::start_as(Setup {
            confirmation,
            ..Setup::default()
        })
        .await
    }

    /// Starts a sale that is open, and is as it is asked for.
    pub async fn start_as(setup: Setup) -> Result<Self> {
        let backends = setup.backends.map_or_else(Backends::shared, Ok)?;
        let ports = free_ports()?;
        let name = format!("t{}", &uuid::Uuid::new_v4().simple().to_string()[..10]);
        let mut config = config(&name, &ports, setup.confirmation)?;
        config.reservation_ttl_seconds = setup.reservation_ttl_seconds;
        config.http.trusted_proxies = setup.trusted_proxies;
        config.http.https_host = setup.https_host;
        config.tracing = setup.tracing;
        if let Some(accounts) = setup.accounts {
            config.data.accounts_database = accounts;
        }
        let dir = tempfile::tempdir()?;
        let pair = KeyPair::generate()?;
        std::fs::write(dir.path().join(paths::SIGNING_KEY_FILE), &pair.private_pem)?;
        std::fs::write(dir.path().join(paths::JWKS_FILE), &pair.jwks_json)?;
        std::fs::write(dir.path().join("config.json"), serde_json::to_vec(&config)?)?;
        let credentials = backends.credentials()?;
        make_topics(&credentials, &config).await?;
        let client = mongo::client(&credentials.mongodb_uri).await?;
        let gateway = ([127, 0, 0, 1], ports["gateway"].0).into();
        declare(&dir.path().join(ADMIN), Some((ADMIN_EMAIL, ADMIN_PASSWORD)))?;
        let mut world = Self {
            database: client.database(&config.data.database),
            shop: Arc::new(Shop::new("127.0.0.1", gateway, &pair.private_pem)?),
            running: BTreeMap::new(),
            confined: BTreeMap::new(),
            memory: setup.memory,
            environment: setup.environment,
            backends,
            config,
            dir,
            ports,
            clocks: BTreeMap::new(),
        };
        let sale = world.config.sale.clone();
        world.control(|_| {}, &ControlDocument::open_now(sale, Timestamp::now()))?;
        for service in SERVICES {
            world.spawn(service)?;
        }
        for service in SERVICES {
            world.ready(service).await?;
        }
        Ok(world)
    }

    /// The admin that every world has.
    pub fn admin() -> Login {
        Login {
            email: ADMIN_EMAIL.to_owned(),
            password: ADMIN_PASSWORD.to_owned(),
        }
    }

    /// Declares another administrator, or that there is none, as a changed Secret does.
    pub fn declare_admin(&self, admin: Option<(&str, &str)>) -> Result<()> {
        declare(&self.dir.path().join(ADMIN), admin)
    }

    /// Writes keys as the operator does: the public ones, and the private one where another is to sign. The files are replaced
    /// whole, as the kubelet does it.
    pub fn write_keys(&self, jwks: &str, signing: Option<&str>) -> Result<()> {
        let files = [(paths::JWKS_FILE, Some(jwks)), (paths::SIGNING_KEY_FILE, signing)];
        for (name, content) in files
            .into_iter()
            .filter_map(|(name, content)| Some((name, content?)))
        {
            let (file, new) = (self.dir.path().join(name), self.dir.path().join("key.new"));
            std::fs::write(&new, content)?;
            std::fs::rename(new, file)?;
        }
        Ok(())
    }

    /// The public keys that the services have been given.
    pub fn public_keys(&self) -> Result<String> {
        Ok(std::fs::read_to_string(self.dir.path().join(paths::JWKS_FILE))?)
    }

    /// The address of a path at one service, past the gateway.
    pub fn url_of(&self, service: &str, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.ports[service].0)
    }

    /// The database of accounts.
    pub fn accounts(&self) -> Database {
        self.database
            .client()
            .database(&self.config.data.accounts_database)
    }

    /// What a service has logged so far.
    pub fn log_of(&self, service: &str) -> Result<String> {
        Ok(std::fs::read_to_string(self.log(service))?)
    }

    /// Writes the control document with a change; the services take it because its version is higher.
    pub fn control(&self, change: impl FnOnce(&mut ControlDocument), from: &ControlDocument) -> Result<()> {
        let mut document = from.clone();
        change(&mut document);
        document.version = u64::try_from(Timestamp::now().as_millisecond())?;
        let (file, new) = (
            self.dir.path().join("control.json"),
            self.dir.path().join("control.new"),
        );
        std::fs::write(&new, serde_json::to_vec(&document)?)?;
        Ok(std::fs::rename(new, file)?)
    }

    /// Lets each user order as often as a test looks: whoever waits for something by ordering again and again must not run into the limit
    /// for one user.
    pub fn let_users_order_often(&self) -> Result<()> {
        self.limit_orders(1_000)
    }

    /// Lets each user order so many times in a minute.
    pub fn limit_orders(&self, limit: u32) -> Result<()> {
        let limit = RateLimit {
            route: LimitedRoute::Orders,
            limit,
            window_ms: 60_000,
        };
        self.control(
            |document| document.rate_limits = RateLimits::with_overrides([limit]),
            &self.current_control()?,
        )
    }

    /// Hands a control document to one service as the operator does, and returns the version of its receipt.
    pub async fn push_control(&self, service: &str, document: &ControlDocument) -> Result<u64> {
        let token = self.shop.internal_token("operator")?;
        self.push_control_as(service, document, &token).await
    }

    /// The same with any token.
    pub async fn push_control_as(
        &self,
        service: &str,
        document: &ControlDocument,
        token: &str,
    ) -> Result<u64> {
        let url = format!("http://127.0.0.1:{}/control", self.ports[service].1);
        let request = self.shop.http.put(url).bearer_auth(token).json(document);
        let receipt: ControlReceipt = request.send().await?.error_for_status()?.json().await?;
        Ok(receipt.version)
    }

    /// What the order service counts when it is asked whether the sale is settled.
    pub async fn settlement(&self) -> Result<serde_json::Value> {
        let url = self.url_of("order", "/internal/settlement");
        let request = self.shop.http.get(url).bearer_auth(self.shop.observer()?);
        Ok(request.send().await?.error_for_status()?.json().await?)
    }

    /// All that a service's process counts, as Prometheus reads it.
    pub async fn metrics(&self, service: &str) -> Result<String> {
        let url = format!("http://127.0.0.1:{}/metrics", self.ports[service].1);
        let answer = self.shop.http.get(url).send().await?;
        Ok(answer.error_for_status()?.text().await?)
    }

    /// A number among a service's metrics.
    pub async fn metric(&self, service: &str, name: &str) -> Result<f64> {
        let page = self.metrics(service).await?;
        let line = page
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        Ok(line
            .with_context(|| format!("no {name} among the metrics"))?
            .parse()?)
    }

    /// The sum of a metric over all series whose labels have `with` in them.
    pub async fn metric_sum(&self, service: &str, name: &str, with: &str) -> Result<f64> {
        let page = self.metrics(service).await?;
        let values = page
            .lines()
            .filter_map(|line| line.strip_prefix(name)?.strip_prefix('{')?.rsplit_once("} "))
            .filter(|(labels, _)| labels.contains(with));
        values.map(|(_, value)| Ok(value.parse::<f64>()?)).sum()
    }

    /// The control document that was written last.
    pub fn current_control(&self) -> Result<ControlDocument> {
        Ok(serde_json::from_slice(&std::fs::read(
            self.dir.path().join("control.json"),
        )?)?)
    }

    fn spawn(&mut self, service: &'static str) -> Result<()> {
        let (port, admin_port) = self.ports[service];
        // The processes end with the thread that started them, also when a test is killed.
        let mut command = self.confine(service)?;
        command.args(["setpriv", "--pdeathsig", "KILL"]).arg(executable());
        self.prepare(&mut command, service)?;
        command.args([
            "--port",
            &port.to_string(),
            "--admin-port",
            &admin_port.to_string(),
        ]);
        let child = command.spawn().with_context(|| {
            format!(
                "cannot start {}; build it with cargo build -p quicksale",
                executable().display()
            )
        })?;
        self.running.insert(service, child);
        Ok(())
    }

    /// What every process of the sale is told, whatever it is.
    fn prepare(&self, command: &mut Command, name: &str) -> Result<()> {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.log(name))?;
        let service = name.trim_end_matches(SECOND);
        command
            .arg(service)
            .arg("--config")
            .arg(self.config_of(name))
            .arg("--control")
            .arg(self.dir.path().join("control.json"))
            .arg("--keys")
            .arg(self.dir.path())
            .env("ADMIN_DIR", self.dir.path().join(ADMIN))
            .env("INSTANCE", name)
            .envs(
                self.clocks
                    .get(name)
                    .map(|millis| ("QUICKSALE_CLOCK_WRONG_BY_MS", millis.to_string())),
            )
            .envs(self.backends.environment_of(service))
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdout(log.try_clone()?)
            .stderr(log)
            .stdin(Stdio::null());
        Ok(())
    }

    /// A process of the executable beside the services, which ends with the thread that starts it.
    pub fn command(&self, name: &str) -> Result<Command> {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(executable());
        self.prepare(&mut command, name)?;
        Ok(command)
    }

    /// Where the services show their metrics, as the console is told.
    pub fn metrics_targets(&self) -> String {
        let target =
            |(service, (_, admin)): (&&str, &(u16, u16))| format!("{service}=http://127.0.0.1:{admin}");
        self.ports.iter().map(target).collect::<Vec<_>>().join(",")
    }

    /// A command that becomes another, with no more memory than it may have where control groups can be made.
    fn confine(&mut self, service: &'static str) -> Result<Command> {
        let Some(bytes) = self.memory else {
            return Ok(Command::new("env"));
        };
        if !self.confined.contains_key(service) {
            let name = format!("{}-{service}", self.config.sale.name);
            match Confined::new(&name, bytes) {
                Ok(group) => self.confined.insert(service, group),
                Err(why) => {
                    println!("{service} has no bound of memory, and is looked at afterwards: {why:#}");
                    return Ok(Command::new("env"));
                }
            };
        }
        Ok(self.confined[service].command())
    }

    /// How often each service was killed for want of memory, and the most that it has used, in bytes.
    pub fn memory(&self) -> Result<BTreeMap<&'static str, (u64, u64)>> {
        let of = |(service, process): (&&'static str, &Child)| {
            Ok((
                *service,
                match self.confined.get(service) {
                    Some(group) => (group.killed()?, group.peak()?),
                    None => (0, confined::peak(process.id())?),
                },
            ))
        };
        self.running.iter().map(of).collect()
    }

    /// Where a service's log goes: beside its configuration, or to `QUICKSALE_TEST_LOGS`, where it outlives the test.
    fn log(&self, service: &str) -> PathBuf {
        let name = format!("{}-{service}.log", self.config.data.database);
        std::env::var_os("QUICKSALE_TEST_LOGS").map_or_else(
            || self.dir.path().join(&name),
            |dir| PathBuf::from(dir).join(&name),
        )
    }

    /// What the database holds of the sale, for the message of a test that failed.
    pub async fn describe(&self) -> Result<String> {
        use futures::TryStreamExt;
        let mut text = format!("database {}", self.config.data.database);
        for name in ["products", "leases", "lanes", "outbox", "dead_letters"] {
            let all = self
                .database
                .collection::<Document>(name)
                .find(doc! {})
                .limit(40)
                .await?;
            for document in all.try_collect::<Vec<_>>().await? {
                text += &format!("\n{name}: {document}");
            }
        }
        let pending = doc! {"status": "PENDING"};
        let pending = self
            .database
            .collection::<Document>("orders")
            .find(pending)
            .limit(5)
            .await?;
        for order in pending.try_collect::<Vec<_>>().await? {
            let of = doc! {"orderId": order.get("_id")};
            let reservation = self
                .database
                .collection::<Document>("reservations")
                .find_one(of)
                .await?;
            text += &format!("\npending: {order}, its reservation: {reservation:?}");
        }
        for status in ["PENDING", "CONFIRMED", "FAILED"] {
            text += &format!(
                "\norders {status}: {}",
                self.count_orders(doc! {"status": status}).await?
            );
        }
        Ok(text)
    }

    /// Waits until a service says that it is ready.
    pub async fn ready(&self, service: &'static str) -> Result<()> {
        let url = format!("http://127.0.0.1:{}/readyz", self.ports[service].1);
        let is_ready = async || {
            Ok(self
                .shop
                .http
                .get(&url)
                .send()
                .await
                .is_ok_and(|r| r.status().is_success()))
        };
        eventually(STARTING, &format!("{service} is ready"), is_ready)
            .await
            .with_context(|| {
                let log = std::fs::read_to_string(self.log(service)).unwrap_or_default();
                log.lines().rev().take(15).collect::<Vec<_>>().join("\n")
            })
    }

    /// Makes the sale's topics, as the operator does where they are gone.
    pub async fn create_topics(&self) -> Result<()> {
        make_topics(&self.backends.credentials()?, &self.config).await
    }

    /// Deletes a topic, and makes it anew once it is gone.
    pub async fn make_anew(&self, topic: Topic) -> Result<()> {
        let name = self.topic(topic);
        let client = self.backends.credentials()?.kafka.connect().await?;
        let controller = client.controller_client()?;
        // A broker that has just begun may not answer; and the topic may be gone by a try whose answer was lost.
        eventually(TOPIC_GONE, "the topic is deleted", async || match kafka::within(
            TOPIC_DEADLINE,
            controller.delete_topic(&name, 5_000),
        )
        .await
        {
            Err(error) if error.to_string().contains("UnknownTopicOrPartition") => Ok(true),
            deleted => Ok(deleted.map(|()| true)?),
        })
        .await?;
        let partitions = self.config.kafka.partitions;
        eventually(TOPIC_GONE, "the topic can be made anew", async || {
            let made = kafka::within(
                TOPIC_DEADLINE,
                controller.create_topic(&name, partitions, 1, 5_000),
            )
            .await;
            Ok(made.is_ok())
        })
        .await
    }

    /// The name of a topic of the sale.
    pub fn topic(&self, topic: Topic) -> String {
        format!("{}{}", self.config.kafka.topic_prefix, topic.plain_name())
    }

    /// Ends a service's process at once (SIGKILL).
    pub fn kill(&mut self, service: &'static str) -> Result<()> {
        if let Some(mut child) = self.running.remove(service) {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// Ends a service's process at once (SIGKILL) and starts it anew.
    pub fn kill_and_restart(&mut self, service: &'static str) -> Result<()> {
        self.kill(service)?;
        self.spawn(service)
    }

    /// Has a service's clock wrong by so many milliseconds from its next start on.
    pub fn set_clock_wrong_by(&mut self, service: &'static str, millis: i64) {
        self.clocks.insert(service, millis);
    }

    /// Starts a second process of a service, under a name such as `order-2`. Requests go to the first; the lanes are
    /// shared, but for inventory's: one of the two has them.
    pub async fn second(&mut self, name: &'static str) -> Result<()> {
        let ports = free_ports()?[name.trim_end_matches(SECOND)];
        self.ports.insert(name, ports);
        self.spawn(name)?;
        self.ready(name).await
    }

    /// Starts a second process of every service, which know each other and not the first ones, and returns the shop that they
    /// are.
    pub async fn doubled(&mut self) -> Result<Arc<Shop>> {
        const ALL: [&str; 6] = [
            "auth-2",
            "inventory-2",
            "order-2",
            "processor-2",
            "notifier-2",
            "gateway-2",
        ];
        let ports = free_ports()?;
        let url = |service: &str| Url::parse(&format!("http://127.0.0.1:{}", ports[service].0));
        let mut config = self.config.clone();
        config.upstreams = Upstreams {
            auth: url("auth")?,
            inventory: url("inventory")?,
            order: url("order")?,
            notifier: url("notifier")?,
        };
        std::fs::write(self.dir.path().join(SECOND_CONFIG), serde_json::to_vec(&config)?)?;
        for name in ALL {
            self.ports.insert(name, ports[name.trim_end_matches(SECOND)]);
        }
        for name in ALL {
            self.spawn(name)?;
        }
        for name in ALL {
            self.ready(name).await?;
        }
        let gateway = ([127, 0, 0, 1], ports["gateway"].0).into();
        let key = std::fs::read_to_string(self.dir.path().join(paths::SIGNING_KEY_FILE))?;
        Ok(Arc::new(Shop::new("127.0.0.1", gateway, &key)?))
    }

    /// The configuration of a process.
    fn config_of(&self, service: &str) -> PathBuf {
        let second = self.dir.path().join(SECOND_CONFIG);
        if service.ends_with(SECOND) && second.exists() {
            second
        } else {
            self.dir.path().join("config.json")
        }
    }

    /// Stops a process in the middle of whatever it does, without it noticing.
    pub async fn freeze(&self, service: &str) -> Result<()> {
        self.signal(service, "-STOP").await
    }

    /// Lets a frozen process go on.
    pub async fn thaw(&self, service: &str) -> Result<()> {
        self.signal(service, "-CONT").await
    }

    /// Asks a process to end, as Kubernetes does.
    pub async fn terminate(&self, service: &str) -> Result<()> {
        self.signal(service, "-TERM").await
    }

    /// Asks all processes to end, and waits until they have.
    pub async fn end(mut self) -> Result<()> {
        let names: Vec<_> = self.running.keys().copied().collect();
        for name in &names {
            self.terminate(name).await?;
        }
        let end = tokio::time::Instant::now() + STARTING;
        for (name, process) in &mut self.running {
            while process.try_wait()?.is_none() {
                if tokio::time::Instant::now() > end {
                    bail!("{name} does not end");
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        Ok(())
    }

    async fn signal(&self, service: &str, signal: &str) -> Result<()> {
        let process = self.running.get(service).context("no such process")?;
        command("kill", &[signal, &process.id().to_string()], "")
            .await
            .map(drop)
    }

    /// Fails if a process has ended by itself.
    pub fn all_still_run(&mut self) -> Result<()> {
        for (service, process) in &mut self.running {
            if let Some(status) = process.try_wait()? {
                bail!("{service} has ended with {status}");
            }
        }
        Ok(())
    }

    /// Orders with a status.
    pub async fn count_orders(&self, filter: Document) -> Result<u64> {
        Ok(self
            .database
            .collection::<Document>("orders")
            .count_documents(filter)
            .await?)
    }

    /// Checks that nothing was lost or made up: no count is ever below zero or above stock, and reserved and sold come
    /// to be the sums of what is held and confirmed, once what is on its way has arrived.
    pub async fn check_conservation(&self) -> Result<()> {
        let end = tokio::time::Instant::now() + SETTLED;
        loop {
            let differences = self.differences().await?;
            if differences.is_empty() {
                return Ok(());
            }
            if tokio::time::Instant::now() > end {
                bail!("after {SETTLED:?} still: {}", differences.join("; "));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Products whose counts are not the sums of reservations and orders.
    ///
    /// # Errors
    /// A count that no way through the system may ever pass through.
    async fn differences(&self) -> Result<Vec<String>> {
        use futures::TryStreamExt;
        let all = async |name: &str| -> Result<Vec<Document>> {
            Ok(self
                .database
                .collection::<Document>(name)
                .find(doc! {})
                .await?
                .try_collect()
                .await?)
        };
        let units = |documents: &[Document], product: &str, state: (&str, &str)| -> i64 {
            let of = |d: &Document| -> i64 {
                let items = d.get_array("items").cloned().unwrap_or_default();
                items
                    .iter()
                    .filter_map(|item| item.as_document())
                    .filter(|item| item.get_str("productId").is_ok_and(|id| id == product))
                    .map(|item| item.get_i64("quantity").unwrap_or(0))
                    .sum()
            };
            documents
                .iter()
                .filter(|d| d.get_str(state.0).is_ok_and(|s| s == state.1))
                .map(of)
                .sum()
        };
        let (products, reservations, orders) = (
            all("products").await?,
            all("reservations").await?,
            all("orders").await?,
        );
        let mut differences = Vec::new();
        for product in products {
            let id = product.get_str("_id")?;
            let number = |key: &str| product.get_i64(key);
            let (stock, reserved, sold) = (number("stock")?, number("reserved")?, number("sold")?);
            let (held, confirmed) = (
                units(&reservations, id, ("state", "HELD")),
                units(&orders, id, ("status", "CONFIRMED")),
            );
            let counts = format!(
                "product {id}: stock {stock}, reserved {reserved} (held {held}), sold {sold} (confirmed {confirmed})"
            );
            if reserved < 0 || sold < 0 || reserved + sold > stock {
                bail!(counts);
            }
            if reserved != held || sold != confirmed {
                differences.push(counts);
            }
        }
        Ok(differences)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for child in self.running.values_mut() {
            let _already_gone = child.kill();
            let _already_gone = child.wait();
        }
    }
}

/// Waits until a condition holds. It must hold in a look that begins at the deadline: one that began before it says
/// nothing about then, however long it takes.
pub async fn eventually(
    deadline: Duration,
    what: &str,
    condition: impl AsyncFn() -> Result<bool>,
) -> Result<()> {
    let end = tokio::time::Instant::now() + deadline;
    loop {
        let began = tokio::time::Instant::now();
        let last = condition().await;
        if matches!(last, Ok(true)) {
            return Ok(());
        }
        if began > end {
            bail!("after {deadline:?} it was still not so that {what} (last look: {last:?})");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Writes the files of an administrator's Secret the way Kubernetes does: all at once, behind a link.
fn declare(dir: &Path, admin: Option<(&str, &str)>) -> Result<()> {
    std::fs::create_dir_all(dir)?;
    let version = uuid::Uuid::new_v4().to_string();
    std::fs::create_dir(dir.join(&version))?;
    if let Some((email, password)) = admin {
        std::fs::write(dir.join(&version).join("email"), email)?;
        std::fs::write(dir.join(&version).join("password"), password)?;
    }
    std::os::unix::fs::symlink(&version, dir.join("..new"))?;
    Ok(std::fs::rename(dir.join("..new"), dir.join("..data"))?)
}

fn executable() -> PathBuf {
    std::env::var_os("QUICKSALE_BIN").map_or_else(
        || {
            let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(
                || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target"),
                PathBuf::from,
            );
            target.join("x86_64-unknown-linux-gnu/debug/quicksale")
        },
        PathBuf::from,
    )
}

/// Ports for each service: one for requests, one for whoever watches it.
fn free_ports() -> Result<BTreeMap<&'static str, (u16, u16)>> {
    SERVICES
        .into_iter()
        .map(|service| {
            let [requests, admin] = ports::free()?;
            Ok((service, (requests, admin)))
        })
        .collect()
}

fn config(
    name: &str,
    ports: &BTreeMap<&'static str, (u16, u16)>,
    confirmation: Confirmation,
) -> Result<Config> {
    let sale = SaleId {
        namespace: "test".to_owned(),
        name: name.to_owned(),
    };
    let url = |service: &str| Url::parse(&format!("http://127.0.0.1:{}", ports[service].0));
    Ok(Config {
        currency: Currency::parse("USD")?,
        confirmation,
        reservation_ttl_seconds: 600,
        data: Data {
            database: sale.database(false),
            accounts_database: format!("accounts_{name}"),
        },
        kafka: Kafka {
            topic_prefix: sale.default_topic_prefix(false),
            partitions: PARTITIONS,
            replication_factor: 1,
        },
        redis_prefix: sale.redis_prefix(false),
        upstreams: Upstreams {
            auth: url("auth")?,
            inventory: url("inventory")?,
            order: url("order")?,
            notifier: url("notifier")?,
        },
        http: Http {
            bind: [127, 0, 0, 1].into(),
            admin_port: 0,
            trusted_proxies: Vec::new(),
            cors_origins: vec![PAGE.to_owned()],
            access_log: true,
            https_host: None,
            payment_url: None,
        },
        sale,
        tracing: None,
    })
}

async fn make_topics(credentials: &Credentials, config: &Config) -> Result<()> {
    let client = credentials.kafka.connect().await?;
    let controller = client.controller_client()?;
    for topic in all_names(&config.kafka.topic_prefix) {
        kafka::within(
            Duration::from_secs(10),
            controller.create_topic(&topic, PARTITIONS, 1, 5_000),
        )
        .await?;
    }
    // A broker says that there is a topic before it takes records for it.
    for topic in all_names(&config.kafka.topic_prefix) {
        for number in 0..PARTITIONS {
            eventually(TAKEN_WITHIN, "the broker takes records", async || {
                let partition = kafka::partition(&client, &topic, number).await?;
                let end = partition.get_offset(OffsetAt::Latest);
                Ok(kafka::within(Duration::from_secs(5), end).await.is_ok())
            })
            .await?;
        }
    }
    Ok(())
}

/// How long a broker may take for that.
const TAKEN_WITHIN: Duration = Duration::from_secs(30);
