//! Puts a process together: backends, services, their listeners, the admin server.

use crate::{api_document, metrics_reference};
use anyhow::Context;
use axum::Router;
use console::{
    place::{Leads, Place},
    sales::{
        Sales,
        one::{One, Parts},
    },
    scrape::Target,
    session::CookieScope,
};
use futures::{FutureExt, future::BoxFuture};
use platform::{
    admin::{self, ControlEndpoint},
    backends::{
        self, Lookup,
        certificates::{self, Backend},
        kafka::KafkaCredentials,
        mongo::{MongoUri, Transactions},
        redis::RedisUrl,
    },
    clock::Clock,
    config::{Config, ports},
    control::Control,
    event_loop,
    health::Health,
    http::{
        authorization::{Authority, Entrance},
        connections::Bounds,
        server::Server,
    },
    metrics,
    tasks::Tasks,
    telemetry,
    tokens::{Signer, Verifier},
    traces,
};
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{Arc, atomic::AtomicU64},
};
use url::Url;

/// A service of a sale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Gateway,
    Auth,
    Inventory,
    Order,
    Processor,
    Notifier,
}

impl Role {
    pub(crate) const ALL: [Self; 6] = [
        Self::Auth,
        Self::Inventory,
        Self::Order,
        Self::Processor,
        Self::Notifier,
        Self::Gateway,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Auth => "auth",
            Self::Inventory => "inventory",
            Self::Order => "order",
            Self::Processor => "processor",
            Self::Notifier => "notifier",
        }
    }

    fn uses_transactions(self) -> bool {
        matches!(self, Self::Inventory | Self::Order | Self::Notifier)
    }

    /// The backends that it needs, and needs the keys of.
    fn needs(self) -> Needs {
        let needs = |mongodb, kafka, redis| Needs {
            mongodb,
            kafka,
            redis,
        };
        match self {
            Self::Gateway => needs(false, false, true),
            Self::Auth => needs(true, false, false),
            Self::Inventory => needs(true, true, true),
            Self::Order | Self::Processor | Self::Notifier => needs(true, true, false),
        }
    }

    /// Whether buyers reach it, and not only other services.
    fn is_among_strangers(self) -> bool {
        matches!(self, Self::Gateway | Self::Notifier)
    }

    /// The port of its own, if it has one.
    fn port(self) -> Option<u16> {
        match self {
            Self::Gateway => Some(ports::GATEWAY),
            Self::Auth => Some(ports::AUTH),
            Self::Inventory => Some(ports::INVENTORY),
            Self::Order => Some(ports::ORDER),
            Self::Processor => None,
            Self::Notifier => Some(ports::NOTIFIER),
        }
    }
}

/// What the command line changes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Overrides {
    /// Port of the service.
    pub(crate) port: Option<u16>,
}

/// Which backends a service uses.
struct Needs {
    mongodb: bool,
    kafka: bool,
    redis: bool,
}

/// The backends of a process, as far as its services need them: one that has no business with a backend has no keys
/// of it either.
#[derive(Default)]
struct Backends {
    mongodb: Option<Mongo>,
    kafka: Option<KafkaCredentials>,
    redis: Option<RedisUrl>,
}

/// MongoDB as the services of a process share it.
struct Mongo {
    client: mongodb::Client,
    transactions: Transactions,
    /// The client looks into it for as long as it lives.
    _uri: MongoUri,
}

impl Backends {
    /// Reads the keys of what a service needs and is not here yet.
    async fn connect(
        &mut self,
        role: Role,
        config: &Config,
        instance: &str,
        get: Lookup<'_>,
    ) -> anyhow::Result<()> {
        let needs = role.needs();
        if needs.mongodb && self.mongodb.is_none() {
            let uri = backends::mongodb(get)?;
            certificates::show(Backend::MongoDb, get);
            backends::keep_secret("MONGODB_URI", uri.transport(), get)?;
            let client = backends::mongo::client(&uri).await?;
            let database = client.database(&config.data.database);
            self.mongodb = Some(Mongo {
                transactions: Transactions::new(&database, uri.user(), instance),
                client,
                _uri: uri,
            });
        }
        if needs.kafka && self.kafka.is_none() {
            let kafka = backends::kafka(get)?;
            certificates::show(Backend::Kafka, get);
            backends::keep_secret("KAFKA_BROKERS", kafka.transport(), get)?;
            self.kafka = Some(kafka);
        }
        if needs.redis && self.redis.is_none() {
            let redis = backends::redis(get)?;
            certificates::show(Backend::Redis, get);
            backends::keep_secret("REDIS_URL", redis.transport(), get)?;
            self.redis = Some(redis);
        }
        Ok(())
    }

    fn database(&self, name: &str) -> anyhow::Result<mongodb::Database> {
        let mongo = self.mongodb.as_ref().context("this service uses no MongoDB")?;
        Ok(mongo.client.database(name))
    }

    fn transactions(&self) -> anyhow::Result<Transactions> {
        let mongo = self.mongodb.as_ref().context("this service uses no MongoDB")?;
        Ok(mongo.transactions.clone())
    }

    fn kafka(&self) -> anyhow::Result<KafkaCredentials> {
        self.kafka.clone().context("this service uses no Kafka")
    }

    fn redis(&self) -> anyhow::Result<fred::clients::Client> {
        let url = self.redis.as_ref().context("this service uses no Redis")?;
        backends::redis::client(url).context("REDIS_URL")
    }
}

/// A process that is being put together.
pub(crate) struct Process {
    config: Config,
    overrides: Overrides,
    keys: PathBuf,
    control: Control,
    backends: Backends,
    keeps_sessions: bool,
    authority: Authority,
    refused: Arc<AtomicU64>,
    admin: auth::AdminSource,
    instance: String,
    clock: Clock,
    health: Health,
    tasks: Tasks,
}

impl Process {
    /// Reads keys, control document and credentials, and starts following the control document.
    pub(crate) async fn new(
        config: Config,
        control_file: &Path,
        keys: PathBuf,
        overrides: Overrides,
    ) -> anyhow::Result<Self> {
        let mut tasks = Tasks::new();
        let clock = Clock::of_process().context("QUICKSALE_CLOCK_WRONG_BY_MS")?;
        if let Clock::Wrong(by) = clock {
            tracing::warn!(%by, "the clock of this process is wrong on purpose: for tests only");
        }
        let control = Control::read(control_file, clock.clone())?;
        tasks.spawn(
            "control file",
            control
                .clone()
                .follow_file(control_file.to_owned(), tasks.stop_token()),
        );
        let verifier = Arc::new(Verifier::read(&keys)?);
        let follow = Arc::clone(&verifier).follow(keys.clone(), tasks.stop_token());
        tasks.spawn("public keys", follow);
        let authority = Authority {
            verifier,
            clock: clock.clone(),
            entrance: Entrance::Inside,
        };
        metrics::of_every_process();
        tasks.spawn("event loop", event_loop::measure(tasks.stop_token()));
        let health = Health::new(tasks.stop_token());
        let name = telemetry::instance();
        // Unique also when a container is restarted under its old name: the lease of the dead one is not ours.
        let instance = format!("{name}-{}", &uuid::Uuid::new_v4().simple().to_string()[..8]);
        Ok(Self {
            config,
            overrides,
            keys,
            control,
            backends: Backends::default(),
            keeps_sessions: false,
            authority,
            refused: Arc::default(),
            admin: admin_from_env()?,
            instance,
            clock,
            health,
            tasks,
        })
    }

    /// Makes this the administrator instead of the one in the environment.
    pub(crate) fn set_admin(&mut self, admin: auth::Admin) {
        self.admin = auth::AdminSource::Fixed(admin);
    }

    /// Adds a task that lasts as long as the process.
    pub(crate) fn spawn(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.tasks.stop_token();
        self.tasks.spawn(name, async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = task => {}
            }
        });
    }

    /// Adds a console of this one sale, with all switches, and binds its port.
    pub(crate) async fn add_console(&mut self, control_file: &Path, port: u16) -> anyhow::Result<()> {
        console::metrics();
        let place = Place::open(self.config.clone(), Leads::read(&backends::environment)?).await?;
        let admin: Url = format!("http://127.0.0.1:{}/metrics", self.config.http.admin_port).parse()?;
        let one = One::new(Parts {
            place: Arc::new(place),
            control: control_file.to_owned(),
            keys: Some(self.keys.clone()),
            targets: vec![Target {
                component: "all services".to_owned(),
                name: self.instance.clone(),
                url: admin,
            }],
            url: Some(format!("http://127.0.0.1:{}/", ports::GATEWAY)),
            clock: self.clock.clone(),
        })?;
        let service = console::build(console::Dependencies {
            sales: Sales::One(Arc::new(one)),
            accounts: self.backends.database(&self.config.data.accounts_database)?,
            // Auth, in the same process, takes care of that.
            admin: auth::AdminSource::None,
            switches: console::Switches::Allowed,
            cookies: CookieScope::Http,
            trusted: Vec::new(),
            clock: self.clock.clone(),
            health: self.health.clone(),
            stop: self.tasks.stop_token(),
        })?;
        for (name, task) in service.tasks {
            self.tasks.spawn(name, task);
        }
        let server = Server::bind("console", self.config.http.bind, port, service.router).await?;
        self.tasks.spawn("console", server.run(self.tasks.stop_token()));
        Ok(())
    }

    /// Adds a service and binds its port.
    pub(crate) async fn add(&mut self, role: Role) -> anyhow::Result<()> {
        let get = &backends::environment;
        self.backends
            .connect(role, &self.config, &self.instance, get)
            .await?;
        metrics_reference::register(role);
        for (method, route, status) in api_document::successes(role) {
            metrics::HTTP_SECONDS.with_label_values(&[role.name(), method, &route, &status]);
        }
        if role.needs().mongodb {
            backends::mongo::metrics();
        }
        if role.needs().kafka {
            backends::kafka::metrics();
        }
        let (router, tasks) = self.build(role)?;
        if role.uses_transactions() && !self.keeps_sessions {
            self.keeps_sessions = true;
            let keep = self.backends.transactions()?.keep(self.tasks.stop_token());
            self.tasks.spawn("sessions", keep);
        }
        for (name, task) in tasks {
            self.tasks.spawn(name, task);
        }
        if let Some(port) = role.port() {
            let port = self.overrides.port.unwrap_or(port);
            let bounds = if role.is_among_strangers() {
                Bounds::among_strangers(&self.config.http.trusted_networks())
            } else {
                Bounds::default()
            };
            let server = Server::bind(role.name(), self.config.http.bind, port, router)
                .await?
                .within(bounds);
            self.tasks.spawn(role.name(), server.run(self.tasks.stop_token()));
        }
        Ok(())
    }

    /// Serves until it is asked to stop.
    pub(crate) async fn run(mut self) -> anyhow::Result<ExitCode> {
        let endpoint = ControlEndpoint {
            control: self.control.clone(),
            refused: Arc::clone(&self.refused),
            health: self.health.clone(),
            authority: self.authority.clone(),
        };
        let routes = admin::routes(self.health.clone()).merge(admin::control_routes(endpoint));
        let server = Server::bind(
            "admin",
            self.config.http.bind,
            self.config.http.admin_port,
            routes,
        )
        .await?;
        self.tasks.spawn("admin", server.run(self.tasks.stop_token()));
        let ended = self.tasks.run_until_stopped().await;
        traces::finish().await;
        Ok(ended)
    }

    fn build(&self, role: Role) -> anyhow::Result<Built> {
        let backends = &self.backends;
        let stop = self.tasks.stop_token();
        Ok(match role {
            Role::Auth => {
                let signer = Arc::new(Signer::read(&self.keys)?);
                let follow = Arc::clone(&signer).follow(self.keys.clone(), stop.clone());
                let mut service = auth::build(auth::Dependencies {
                    accounts: backends.database(&self.config.data.accounts_database)?,
                    signer,
                    authority: self.authority.clone(),
                    admin: self.admin.clone(),
                    sale: self.config.sale.to_string(),
                    clock: self.clock.clone(),
                    health: self.health.clone(),
                    stop,
                });
                service.tasks.push(("signing key", follow.boxed()));
                (service.router, service.tasks)
            }
            Role::Inventory => {
                let service = inventory::build(inventory::Dependencies {
                    config: self.config.clone(),
                    database: backends.database(&self.config.data.database)?,
                    transactions: backends.transactions()?,
                    kafka: backends.kafka()?,
                    redis: backends.redis()?,
                    authority: self.authority.clone(),
                    clock: self.clock.clone(),
                    health: self.health.clone(),
                    stop,
                    instance: self.instance.clone(),
                });
                (service.router, service.tasks)
            }
            Role::Order => {
                let service = order::build(order::Dependencies {
                    config: self.config.clone(),
                    control: self.control.clone(),
                    database: backends.database(&self.config.data.database)?,
                    transactions: backends.transactions()?,
                    kafka: backends.kafka()?,
                    authority: self.authority.clone(),
                    clock: self.clock.clone(),
                    health: self.health.clone(),
                    stop,
                    instance: self.instance.clone(),
                });
                (service.router, service.tasks)
            }
            Role::Processor => {
                let tasks = processor::build(processor::Dependencies {
                    config: self.config.clone(),
                    database: backends.database(&self.config.data.database)?,
                    commits: backends.transactions()?.commits(),
                    kafka: backends.kafka()?,
                    health: self.health.clone(),
                    stop,
                    instance: self.instance.clone(),
                    clock: self.clock.clone(),
                });
                (Router::new(), tasks)
            }
            Role::Notifier => {
                let service = notifier::build(notifier::Dependencies {
                    config: self.config.clone(),
                    database: backends.database(&self.config.data.database)?,
                    transactions: backends.transactions()?,
                    kafka: backends.kafka()?,
                    authority: self.authority.clone().outside(),
                    clock: self.clock.clone(),
                    health: self.health.clone(),
                    stop,
                    instance: self.instance.clone(),
                });
                (service.router, service.tasks)
            }
            Role::Gateway => {
                let service = gateway::build(
                    gateway::Dependencies {
                        config: self.config.clone(),
                        control: self.control.clone(),
                        redis: backends.redis()?,
                        authority: self.authority.clone().outside(),
                        refused: Arc::clone(&self.refused),
                        health: self.health.clone(),
                        stop,
                    },
                    api_document::routes()?,
                );
                (service.router, service.tasks)
            }
        })
    }
}

/// A service's routes and the tasks beside them.
type Built = (Router, Vec<(&'static str, BoxFuture<'static, ()>)>);

/// The administrator from `ADMIN_DIR`, or else from `ADMIN_EMAIL` with `ADMIN_PASSWORD_HASH` or `ADMIN_PASSWORD`.
pub(crate) fn admin_from_env() -> anyhow::Result<auth::AdminSource> {
    let value = |name| {
        std::env::var(name)
            .ok()
            .filter(|value: &String| !value.is_empty())
    };
    if let Some(dir) = value("ADMIN_DIR") {
        return Ok(auth::AdminSource::Directory(dir.into()));
    }
    let (hash, password) = (value("ADMIN_PASSWORD_HASH"), value("ADMIN_PASSWORD"));
    let Some(email) = value("ADMIN_EMAIL").filter(|_| hash.is_some() || password.is_some()) else {
        return Ok(auth::AdminSource::None);
    };
    auth::Admin::from_parts(email, hash.map(Into::into), password.map(Into::into))
        .map(auth::AdminSource::Fixed)
        .map_err(|problem| anyhow::anyhow!("ADMIN_PASSWORD_HASH: {problem}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever says so in the environment of a process that has begun with it: the operator keeps to this rule by itself.
    #[tokio::test]
    async fn no_service_sends_a_password_in_plain_text_without_a_word() {
        let config = crate::dev::config().unwrap();
        for (role, name, value) in [
            (Role::Gateway, "REDIS_URL", "redis://:secret@127.0.0.1:1"),
            (
                Role::Auth,
                "MONGODB_URI",
                "mongodb://u:secret@127.0.0.1:1/?directConnection=true",
            ),
            (Role::Notifier, "KAFKA_SASL_PASSWORD", "secret"),
        ] {
            for word in [None, Some("Allow")] {
                let get = |asked: &str| {
                    let usual = match asked {
                        backends::PLAINTEXT_PASSWORDS => word,
                        "MONGODB_URI" => Some("mongodb://127.0.0.1:1/?directConnection=true"),
                        "KAFKA_BROKERS" => Some("127.0.0.1:1"),
                        "KAFKA_SASL_MECHANISM" if role == Role::Notifier => Some("SCRAM-SHA-512"),
                        "KAFKA_SASL_USERNAME" if role == Role::Notifier => Some("u"),
                        _ => None,
                    };
                    (asked == name).then_some(value).or(usual).map(str::to_owned)
                };
                let made = Backends::default().connect(role, &config, "one", &get).await;
                let problem = made.err().map(|error| format!("{error:#}")).unwrap_or_default();
                assert_eq!(
                    problem.contains("in plain text"),
                    word.is_none(),
                    "{role:?}: {problem}"
                );
                assert!(!problem.contains("secret"), "{problem}");
            }
        }
    }
}
