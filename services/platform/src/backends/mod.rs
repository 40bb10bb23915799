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

/// A source of named values, such as the environment or a Secret's data.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The process environment as a source of values; an empty one counts as missing.
pub fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Reads `MONGODB_URI`.
///
/// # Errors
/// [`EnvironmentError`], naming the value.
pub fn mongodb(get: Lookup<'_>) -> Result<mongo::MongoUri, EnvironmentError> {
    mongo::MongoUri::parse(&needed(get, "MONGODB_URI")?)
        .map_err(|problem| EnvironmentError::new("MONGODB_URI", problem))
}

/// Reads `KAFKA_BROKERS` and what else begins with `KAFKA_`.
///
/// # Errors
/// [`EnvironmentError`], naming the value.
pub fn kafka(get: Lookup<'_>) -> Result<kafka::KafkaCredentials, EnvironmentError> {
    kafka::KafkaCredentials::from_lookup(get)
}

/// Reads `REDIS_URL`.
///
/// # Errors
/// [`EnvironmentError`], naming the value.
pub fn redis(get: Lookup<'_>) -> Result<redis::RedisUrl, EnvironmentError> {
    redis::RedisUrl::parse(&needed(get, "REDIS_URL")?)
        .map_err(|problem| EnvironmentError::new("REDIS_URL", problem))
}

fn needed(get: Lookup<'_>, name: &'static str) -> Result<String, EnvironmentError> {
    get(name).ok_or_else(|| EnvironmentError::new(name, "is missing; set it in the backends Secret"))
}

impl Credentials {
    /// Reads the process environment.
    ///
    /// # Errors
    /// [`EnvironmentError`], naming the variable.
    pub fn from_env() -> Result<Self, EnvironmentError> {
        Self::from_lookup(&environment)
    }

    /// Reads all of them from one source.
    ///
    /// # Errors
    /// [`EnvironmentError`], naming the value.
    pub fn from_lookup(get: Lookup<'_>) -> Result<Self, EnvironmentError> {
        Ok(Self {
            mongodb_uri: mongodb(get)?,
            kafka: kafka(get)?,
            redis_url: redis(get)?,
        })
    }
}
