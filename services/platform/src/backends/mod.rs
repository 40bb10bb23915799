//! Connections to the backends. Their addresses and credentials come from the environment (in Kubernetes from a
//! Secret), everything else from the configuration. Whoever writes that Secret need not be trusted by the process that
//! reads it, so [`Credentials`] hold only what was checked: see [`mongo::MongoUri`], [`redis::RedisUrl`],
//! [`kafka::KafkaCredentials`] and [`tls::ClientTls`].
//!
//! None of these needs its backend to be up: a connection is made when it is first used, every call has a deadline,
//! and an error means "not now", never "not any more".

pub mod certificates;
pub mod kafka;
pub mod mongo;
pub mod redis;
pub mod tls;

use crate::config::paths;
use std::path::Path;

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

/// The process environment as a source of values, and then the files that are mounted at [`paths::BACKENDS`]: what is long
/// or most secret is not put into an environment. An empty value counts as missing.
pub fn environment(name: &str) -> Option<String> {
    let variable = std::env::var(name).ok();
    variable
        .filter(|value| !value.is_empty())
        .or_else(|| mounted(Path::new(paths::BACKENDS), name))
}

/// A value that is a file. The end of its last line is not part of it: editors write one.
fn mounted(dir: &Path, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(dir.join(name)).ok()?;
    let value = text.trim_end_matches(['\r', '\n']);
    (!value.is_empty()).then(|| value.to_owned())
}

/// How a backend is reached: whether what goes there can be read on the way, and whether a password is among it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// Over TLS.
    Encrypted,
    /// In plain text, without a password.
    Plain,
    /// In plain text, and a password with it.
    PlainWithPassword,
}

impl Transport {
    fn new(is_encrypted: bool, has_password: bool) -> Self {
        match (is_encrypted, has_password) {
            (true, _) => Self::Encrypted,
            (false, false) => Self::Plain,
            (false, true) => Self::PlainWithPassword,
        }
    }
}

/// What allows passwords in plain text, with the value `Allow`.
pub const PLAINTEXT_PASSWORDS: &str = "PLAINTEXT_PASSWORDS";

/// Refuses to send a password where it can be read on the way, unless [`PLAINTEXT_PASSWORDS`] allows it. `name` is the
/// value that leads there.
///
/// # Errors
/// [`EnvironmentError`], saying what to do.
pub fn keep_secret(
    name: &'static str,
    transport: Transport,
    get: Lookup<'_>,
) -> Result<(), EnvironmentError> {
    let is_allowed = || get(PLAINTEXT_PASSWORDS).is_some_and(|word| word == "Allow");
    if transport == Transport::PlainWithPassword && !is_allowed() {
        return Err(EnvironmentError::new(
            name,
            "would send its password in plain text; turn TLS on, or set PLAINTEXT_PASSWORDS to Allow (of a FlashSale, \
             spec.plaintextPasswords; of the platform's backends, the chart's backends.plaintextPasswords)",
        ));
    }
    Ok(())
}

/// Reads `MONGODB_URI` and `MONGODB_TLS_*`.
///
/// # Errors
/// [`EnvironmentError`], naming the value.
pub fn mongodb(get: Lookup<'_>) -> Result<mongo::MongoUri, EnvironmentError> {
    let tls = tls::ClientTls::from_lookup(get, tls::MONGODB)?;
    mongo::MongoUri::parse_with(&needed(get, "MONGODB_URI")?, &tls)
        .map_err(|problem| EnvironmentError::new("MONGODB_URI", problem))
}

/// Reads `KAFKA_BROKERS` and what else begins with `KAFKA_`.
///
/// # Errors
/// [`EnvironmentError`], naming the value.
pub fn kafka(get: Lookup<'_>) -> Result<kafka::KafkaCredentials, EnvironmentError> {
    kafka::KafkaCredentials::from_lookup(get)
}

/// Reads `REDIS_URL` and `REDIS_TLS_*`.
///
/// # Errors
/// [`EnvironmentError`], naming the value.
pub fn redis(get: Lookup<'_>) -> Result<redis::RedisUrl, EnvironmentError> {
    let tls = tls::ClientTls::from_lookup(get, tls::REDIS)?;
    redis::RedisUrl::parse_with(&needed(get, "REDIS_URL")?, tls)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_a_value_without_the_end_of_its_last_line() {
        let dir = std::env::temp_dir().join(format!("quicksale-mounted-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&dir).unwrap();
        for (text, value) in [
            ("secret", Some("secret")),
            ("secret\r\n", Some("secret")),
            ("one\ntwo\n", Some("one\ntwo")),
            (" a ", Some(" a ")),
            ("\n", None),
        ] {
            std::fs::write(dir.join("NAME"), text).unwrap();
            assert_eq!(mounted(&dir, "NAME").as_deref(), value, "{text:?}");
        }
        assert_eq!(mounted(&dir, "OTHER"), None);
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_password_goes_in_plain_text_by_an_explicit_word_only() {
        for (word, transport, good) in [
            (None, Transport::PlainWithPassword, false),
            (Some("true"), Transport::PlainWithPassword, false),
            (Some("Allow"), Transport::PlainWithPassword, true),
            (None, Transport::Plain, true),
            (None, Transport::Encrypted, true),
        ] {
            let get = |name: &str| word.filter(|_| name == PLAINTEXT_PASSWORDS).map(str::to_owned);
            assert_eq!(
                keep_secret("REDIS_URL", transport, &get).is_ok(),
                good,
                "{word:?} {transport:?}"
            );
        }
    }
}
