//! The backends that a sale runs on: those that every test shares, or some of a test's own, which it may kill.

use crate::{cluster::command, ports, world::SERVICES};
use anyhow::{Context, Result};
use platform::backends::Credentials;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The variables that lead `hack/backends.sh` to a set of backends, and a service to its servers.
type Environment = BTreeMap<&'static str, String>;

/// What the keys of a Secret begin with that are for one reader alone. The inspector may do everything: a test is one.
const INSPECTOR: &str = "inspector";
const OPERATOR: &str = "operator";
const CONSOLE: &str = "console";

/// Kafka, MongoDB and Redis.
pub struct Backends {
    environment: Environment,
    /// The Secret that leads to those that ask for TLS and passwords, by key.
    secret: BTreeMap<String, String>,
    own: Option<tempfile::TempDir>,
}

impl Backends {
    /// Those that the environment of the test leads to: `hack/backends.sh start`.
    ///
    /// # Errors
    /// When the Secret of secured ones cannot be read.
    pub fn shared() -> Result<Self> {
        let secured = std::env::var("QUICKSALE_BACKENDS_SECURED").is_ok_and(|word| word == "yes");
        Ok(Self {
            environment: Environment::new(),
            secret: if secured {
                secret(&shared_dir()?.join("secret"))?
            } else {
                BTreeMap::new()
            },
            own: None,
        })
    }

    /// Starts a set of the test's own, which ends with the value. What may keep it from starting is nothing that the test is
    /// about, so it is tried twice, the second time on other ports.
    ///
    /// # Errors
    /// When one of them does not start.
    pub async fn own() -> Result<Self> {
        match Self::start_own().await {
            Ok(backends) => Ok(backends),
            Err(error) => {
                eprintln!("a set of backends did not start, here comes another: {error:#}");
                Self::start_own().await
            }
        }
    }

    async fn start_own() -> Result<Self> {
        // Beside the shared ones, where the next run of the tests ends what a killed run has left.
        let parent = std::env::var("QUICKSALE_BACKENDS_DIR").map(|shared| format!("{shared}-own"));
        let dir = match parent {
            Ok(parent) => {
                std::fs::create_dir_all(&parent)?;
                tempfile::tempdir_in(parent)?
            }
            Err(_) => tempfile::tempdir()?,
        };
        let ports = ports::free::<4>()?;
        let environment = Environment::from([
            ("QUICKSALE_BACKENDS_DIR", dir.path().display().to_string()),
            ("KAFKA_PORT", ports[0].to_string()),
            ("KAFKA_CONTROLLER_PORT", ports[1].to_string()),
            ("MONGODB_PORT", ports[2].to_string()),
            ("REDIS_PORT", ports[3].to_string()),
            ("KAFKA_BROKERS", format!("127.0.0.1:{}", ports[0])),
            ("KAFKA_TLS", "false".to_owned()),
            (
                "MONGODB_URI",
                format!("mongodb://127.0.0.1:{}/?directConnection=true", ports[2]),
            ),
            ("REDIS_URL", format!("redis://127.0.0.1:{}", ports[3])),
        ]);
        let backends = Self {
            environment,
            secret: BTreeMap::new(),
            own: Some(dir),
        };
        backends.script(&["start"]).await?;
        Ok(backends)
    }

    /// The same, with more options in MongoDB's connection string: `name=value&...`.
    #[must_use]
    pub fn with_mongodb_options(mut self, options: &str) -> Self {
        if let Some(uri) = self.environment.get_mut("MONGODB_URI") {
            uri.push('&');
            uri.push_str(options);
        }
        self
    }

    /// Ends one of them at once, as a crash would.
    ///
    /// # Errors
    /// When the script fails.
    pub async fn kill(&self, name: &str) -> Result<()> {
        self.script(&["kill", name]).await
    }

    /// Stops one of them in the middle of whatever it does: it keeps its connections and answers nothing.
    ///
    /// # Errors
    /// When the script fails.
    pub async fn freeze(&self, name: &str) -> Result<()> {
        self.script(&["freeze", name]).await
    }

    /// Lets a frozen one go on.
    ///
    /// # Errors
    /// When the script fails.
    pub async fn thaw(&self, name: &str) -> Result<()> {
        self.script(&["thaw", name]).await
    }

    /// Starts one of them again.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start(&self, name: &str) -> Result<()> {
        self.script(&["start", name]).await
    }

    /// Has one of them that has ended lose everything it had.
    ///
    /// # Errors
    /// When the script fails.
    pub async fn wipe(&self, name: &str) -> Result<()> {
        self.script(&["wipe", name]).await
    }

    /// Takes the end of each partition of a topic off, where Kafka is a test's own and has been killed: half of the bytes.
    ///
    /// # Errors
    /// When there is no such topic.
    pub fn cut_off(&self, topic: &str) -> Result<()> {
        let dir = self.own.as_ref().context("these are not the test's own")?;
        let data = dir.path().join("kafka/data");
        let partitions = std::fs::read_dir(&data)?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                name.rsplit_once('-').is_some_and(|(name, _)| name == topic)
            });
        let mut cut = 0;
        for partition in partitions {
            let log = partition.join("00000000000000000000.log");
            let file = std::fs::File::options().write(true).open(&log)?;
            file.set_len(file.metadata()?.len() / 2)?;
            cut += 1;
        }
        anyhow::ensure!(cut > 0, "no partition of {topic} is in {}", data.display());
        // Kafka looks for the end of what is whole only behind this point.
        let known = data.join("recovery-point-offset-checkpoint");
        if known.exists() {
            std::fs::remove_file(known)?;
        }
        Ok(())
    }

    /// Empties Redis.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn flush_redis(&self) -> Result<()> {
        self.redis(&["flushall"]).await.map(drop)
    }

    /// Has Redis carry out a command, and returns what it says.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn redis(&self, arguments: &[&str]) -> Result<String> {
        let url = self.variable("REDIS_URL").context("REDIS_URL is not set")?;
        let mut all = vec!["--no-auth-warning", "-u", &url];
        let tls = shared_dir().unwrap_or_default().join("tls");
        let files = ["ca.crt", "client.crt", "client.key"].map(|file| tls.join(file).display().to_string());
        if !self.secret.is_empty() {
            let [authority, certificate, key] = &files;
            all.extend(["--cacert", authority, "--cert", certificate, "--key", key]);
        }
        all.extend(arguments);
        command("redis-cli", &all, "").await
    }

    /// What a test needs to reach them.
    ///
    /// # Errors
    /// When a variable is missing.
    pub fn credentials(&self) -> Result<Credentials> {
        Credentials::from_lookup(&|name| self.variable(name)).context(
            "MONGODB_URI, KAFKA_BROKERS and REDIS_URL must lead to running backends: hack/backends.sh start",
        )
    }

    /// What the environment of a service is given beside that of the test: of a Secret what is everybody's, and before it
    /// what is its own.
    pub fn environment_of(&self, service: &str) -> BTreeMap<String, String> {
        let everybodys = self
            .environment
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone()));
        let mut all: BTreeMap<String, String> = everybodys.collect();
        all.extend(
            self.secret
                .iter()
                .map(|(key, value)| (key.clone(), value.clone())),
        );
        let readers = SERVICES.into_iter().chain([OPERATOR, CONSOLE, INSPECTOR]);
        let readers: Vec<String> = readers
            .map(|reader| format!("{}_", reader.to_uppercase()))
            .collect();
        all.retain(|key, _| !readers.iter().any(|reader| key.starts_with(reader)));
        let own = format!("{}_", service.to_uppercase());
        let own = self
            .secret
            .iter()
            .filter_map(|(key, value)| Some((key.strip_prefix(&own)?.to_owned(), value.clone())));
        all.extend(own);
        all
    }

    fn variable(&self, name: &str) -> Option<String> {
        self.environment
            .get(name)
            .or_else(|| self.secret.get(&format!("{}_{name}", INSPECTOR.to_uppercase())))
            .or_else(|| self.secret.get(name))
            .cloned()
            .or_else(|| std::env::var(name).ok())
    }

    async fn script(&self, arguments: &[&str]) -> Result<()> {
        let script = script().display().to_string();
        let variables = self
            .environment
            .iter()
            .map(|(name, value)| format!("{name}={value}"));
        let all: Vec<String> = variables
            .chain([script])
            .chain(arguments.iter().map(|a| (*a).to_owned()))
            .collect();
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        command("env", &all, "").await.map(drop)
    }
}

impl Drop for Backends {
    fn drop(&mut self) {
        if self.own.is_some() {
            let _ended_with_the_machine = Command::new(script())
                .arg("kill")
                .envs(&self.environment)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
        }
    }
}

/// Where the shared ones are.
fn shared_dir() -> Result<PathBuf> {
    std::env::var_os("QUICKSALE_BACKENDS_DIR")
        .map(PathBuf::from)
        .context("QUICKSALE_BACKENDS_DIR is not set: see hack/backends.sh")
}

/// A Secret as a directory: a file for each key.
fn secret(dir: &Path) -> Result<BTreeMap<String, String>> {
    let files = std::fs::read_dir(dir)
        .with_context(|| format!("{}: start them first, hack/backends.sh start", dir.display()))?;
    files
        .map(|file| {
            let path = file?.path();
            let key = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            Ok((key, std::fs::read_to_string(&path)?))
        })
        .collect()
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../hack/backends.sh")
}
