//! Connections to the backends. Their addresses and credentials come from the environment (in Kubernetes from a
//! Secret), everything else from the configuration. Whoever writes that Secret need not be trusted by the process that
//! reads it, so [`Credentials`] hold only what was checked: see [`mongo::MongoUri`], [`redis::RedisUrl`] and
//! [`kafka::KafkaCredentials`].
//!
//! None of these needs its backend to be up: a connection is made when it is first used, every call has a deadline,
//! and an error means "not now", never "not any more".

pub mod kafka;
pub mod mongo;
pub mod redis;

/// Addresses and credentials of the three backends.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// `MONGODB_URI`: a MongoDB connection string with the options that are allowed.
    pub mongodb_uri: mongo::MongoUri,
    /// `KAFKA_*`.
    pub kafka: kafka::KafkaCredentials,
    /// `REDIS_URL`: `redis://` or `rediss://`, user and password included.
    pub redis_url: redis::RedisUrl,
}

/// Why the environment could not be used.
#[derive(Debug, thiserror::Error)]
#[error("the environment variable {name} {problem}")]
pub struct EnvironmentError {
    name: &'static str,
    problem: String,
}

impl EnvironmentError {
    fn new(name: &'static str, problem: impl Into<String>) -> Self {
        Self {
            name,
            problem: problem.into(),
        }
    }
}

impl Credentials {
    /// Reads the process environment.
    ///
    /// # Errors
    /// [`EnvironmentError`], naming the variable.
    pub fn from_env() -> Result<Self, EnvironmentError> {
        Self::from_lookup(&|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    /// Reads from any source of named values, such as a Secret's data.
    ///
    /// # Errors
    /// [`EnvironmentError`], naming the value.
    pub fn from_lookup(get: &dyn Fn(&str) -> Option<String>) -> Result<Self, EnvironmentError> {
        let need = |name| {
            get(name).ok_or_else(|| EnvironmentError::new(name, "is missing; set it in the backends Secret"))
        };
        let refused = |name| move |problem| EnvironmentError::new(name, problem);
        Ok(Self {
            mongodb_uri: mongo::MongoUri::parse(&need("MONGODB_URI")?).map_err(refused("MONGODB_URI"))?,
            kafka: kafka::KafkaCredentials::from_lookup(get)?,
            redis_url: redis::RedisUrl::parse(&need("REDIS_URL")?).map_err(refused("REDIS_URL"))?,
        })
    }
}
