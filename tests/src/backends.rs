//! The backends that a sale runs on: those that every test shares, or some of a test's own, which it may kill.

use crate::cluster::command;
use anyhow::{Context, Result};
use platform::backends::Credentials;
use std::{
    collections::BTreeMap,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The variables that lead `hack/backends.sh` to a set of backends, and a service to its servers.
type Environment = BTreeMap<&'static str, String>;

/// Kafka, MongoDB and Redis.
pub struct Backends {
    environment: Environment,
    own: Option<tempfile::TempDir>,
}

impl Backends {
    /// Those that the environment of the test leads to: `hack/backends.sh start`.
    pub fn shared() -> Self {
        Self {
            environment: Environment::new(),
            own: None,
        }
    }

    /// Starts a set of the test's own, on free ports. It ends with the value.
    ///
    /// # Errors
    /// When one of them does not start.
    pub async fn own() -> Result<Self> {
        // Beside the shared ones, where the next run of the tests ends what a killed run has left.
        let parent = std::env::var("QUICKSALE_BACKENDS_DIR").map(|shared| format!("{shared}-own"));
        let dir = match parent {
            Ok(parent) => {
                std::fs::create_dir_all(&parent)?;
                tempfile::tempdir_in(parent)?
            }
            Err(_) => tempfile::tempdir()?,
        };
        // Held together while they are chosen, so that no two are the same.
        let free = (0..4)
            .map(|_| TcpListener::bind("127.0.0.1:0"))
            .collect::<Result<Vec<_>, _>>()?;
        let ports = free
            .iter()
            .map(|listener| Ok(listener.local_addr()?.port()))
            .collect::<Result<Vec<u16>>>()?;
        drop(free);
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
            own: Some(dir),
        };
        backends.script(&["start"]).await?;
        Ok(backends)
    }

    /// Ends one of them at once, as a crash would.
    ///
    /// # Errors
    /// When the script fails.
    pub async fn kill(&self, name: &str) -> Result<()> {
        self.script(&["kill", name]).await
    }

    /// Starts one of them again.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start(&self, name: &str) -> Result<()> {
        self.script(&["start", name]).await
    }

    /// Empties Redis.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn flush_redis(&self) -> Result<()> {
        let port = self.variable("REDIS_PORT").context("REDIS_PORT is not set")?;
        command("redis-cli", &["-p", &port, "flushall"], "")
            .await
            .map(drop)
    }

    /// What a service needs to reach them.
    ///
    /// # Errors
    /// When a variable is missing.
    pub fn credentials(&self) -> Result<Credentials> {
        Credentials::from_lookup(&|name| self.variable(name)).context(
            "MONGODB_URI, KAFKA_BROKERS and REDIS_URL must lead to running backends: hack/backends.sh start",
        )
    }

    /// What the environment of a service is given beside that of the test.
    pub(crate) fn environment(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.environment
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
    }

    fn variable(&self, name: &str) -> Option<String> {
        self.environment
            .get(name)
            .cloned()
            .or_else(|| std::env::var(name).ok())
    }

    async fn script(&self, arguments: &[&str]) -> Result<()> {
        let script = script().display().to_string();
        let variables = self.environment().map(|(name, value)| format!("{name}={value}"));
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
                .envs(self.environment())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
        }
    }
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../hack/backends.sh")
}
