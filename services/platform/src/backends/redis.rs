//! Redis through fred. It is a gate and a cache: whatever it holds can be lost at any moment, so a failure is an
//! answer ("not now") and never a reason to stop.

use super::{Transport, tls::ClientTls};
use fred::{
    clients::Client,
    error::{Error, ErrorKind},
    interfaces::ClientLike,
    types::{
        Builder, InfoKind,
        config::{
            Config, ConnectionConfig, PerformanceConfig, ReconnectPolicy, TlsConnector, UnresponsiveConfig,
        },
    },
};
use secrecy::{ExposeSecret, SecretString};
use std::time::Duration;
use url::Url;

/// How long a command may take. Redis answers in well under a millisecond; whoever waits longer is better off
/// without it.
pub const COMMAND_DEADLINE: Duration = Duration::from_millis(500);

/// A Redis URL that may be used: one server by name or address, over TCP or TLS. Sockets in the file system, clusters
/// and sentinels are other schemes of the client, and not let through.
#[derive(Debug, Clone)]
pub struct RedisUrl {
    text: SecretString,
    tls: ClientTls,
}

impl RedisUrl {
    /// Checks a URL of a server that is trusted as the public authorities say.
    ///
    /// # Errors
    /// What is wrong and what to write instead, without a word of the URL itself.
    pub fn parse(text: &str) -> Result<Self, String> {
        Self::parse_with(text, ClientTls::default())
    }

    /// Checks a URL, with what is said about TLS beside it.
    ///
    /// # Errors
    /// What is wrong and what to write instead, without a word of the URL itself.
    pub fn parse_with(text: &str, tls: ClientTls) -> Result<Self, String> {
        let example = "write redis://:password@host:6379, or rediss:// for TLS";
        let url = Url::parse(text).map_err(|_| format!("is no URL; {example}"))?;
        if !matches!(url.scheme(), "redis" | "rediss") {
            return Err(format!("has another scheme than redis or rediss; {example}"));
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err(format!("names no host; {example}"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(format!("has options, and none is allowed; {example}"));
        }
        let database = url.path().trim_start_matches('/');
        if !database.is_empty() && database.parse::<u8>().is_err() {
            return Err(format!("names a database that is no number; {example}"));
        }
        if url.scheme() == "redis" && !tls.is_empty() {
            return Err("is without TLS, and REDIS_TLS_* are set; write rediss://".to_owned());
        }
        Ok(Self {
            text: text.into(),
            tls,
        })
    }

    /// How the server is reached.
    pub fn transport(&self) -> Transport {
        let url = Url::parse(self.text.expose_secret()).ok();
        Transport::new(
            url.as_ref().is_some_and(|url| url.scheme() == "rediss"),
            url.is_none_or(|url| url.password().is_some()),
        )
    }

    fn config(&self) -> Result<Config, Error> {
        let mut config = Config::from_url(self.text.expose_secret())?;
        // Otherwise a server that is not there at the first try is never looked for again.
        config.fail_fast = false;
        if self.transport() == Transport::Encrypted {
            let tls = self.tls.config();
            let tls = tls.map_err(|problem| Error::new(ErrorKind::Tls, problem))?;
            config.tls = Some(TlsConnector::from(tls).into());
        }
        Ok(config)
    }
}

/// Prepares a client and starts connecting in the background, for as long as it takes.
///
/// # Errors
/// When the URL is not valid.
pub fn client(url: &RedisUrl) -> Result<Client, Error> {
    let config = url.config()?;
    let performance = PerformanceConfig {
        default_command_timeout: COMMAND_DEADLINE,
        ..Default::default()
    };
    let connection = ConnectionConfig {
        connection_timeout: Duration::from_secs(2),
        internal_command_timeout: Duration::from_secs(2),
        // A script that was sent may have run: sending it again would count a request twice.
        max_command_attempts: 1,
        max_command_buffer_len: 10_000,
        unresponsive: UnresponsiveConfig {
            max_timeout: Some(Duration::from_secs(2)),
            interval: Duration::from_millis(500),
        },
        ..Default::default()
    };
    // No limit on attempts (0), from 50 ms to 1 s apart: an outage must end by itself.
    let policy = ReconnectPolicy::new_exponential(0, 50, 1_000, 2);
    let client = Builder::from_config(config)
        .set_performance_config(performance)
        .set_connection_config(connection)
        .set_policy(policy)
        .build()?;
    drop(client.connect());
    Ok(client)
}

/// Whether Redis answers.
///
/// # Errors
/// fred's error.
pub async fn ping(client: &Client) -> Result<(), Error> {
    client.ping::<String>(None).await.map(drop)
}

/// The name of the run of Redis that answers: another one after each start, and of each replica. `None` where it does not say.
pub async fn run(client: &Client) -> Option<String> {
    let server: Result<String, Error> = client.info(Some(InfoKind::Server)).await;
    match server {
        Ok(server) => run_id(&server).map(str::to_owned),
        Err(error) => {
            tracing::debug!(%error, "Redis does not say which run of it this is");
            None
        }
    }
}

/// The run's name in what `INFO server` says.
fn run_id(server: &str) -> Option<&str> {
    server.lines().find_map(|line| line.strip_prefix("run_id:"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_run_is_found_in_what_redis_says() {
        let said = "# Server\r\nredis_version:7.0.15\r\nrun_id:c0ffee\r\ntcp_port:6379\r\n";
        assert_eq!(run_id(said), Some("c0ffee"));
        assert_eq!(run_id("# Server\r\n"), None);
    }

    #[test]
    fn a_password_in_plain_text_is_seen() {
        for (url, transport) in [
            ("rediss://:secret@r", Transport::Encrypted),
            ("redis://r", Transport::Plain),
            ("redis://gateway@r", Transport::Plain),
            ("redis://gateway:secret@r", Transport::PlainWithPassword),
        ] {
            assert_eq!(RedisUrl::parse(url).unwrap().transport(), transport, "{url}");
        }
    }

    #[test]
    fn one_server_over_tcp_or_tls_and_nothing_else() {
        for url in [
            "redis://127.0.0.1:6379",
            "rediss://user:p%40ss@redis.example:6380/3",
            "redis://:secret@[::1]:6379",
        ] {
            RedisUrl::parse(url).unwrap();
        }
        for (url, said) in [
            ("redis+unix:///run/redis.sock", "scheme"),
            ("redis-cluster://a:6379", "scheme"),
            ("redis-sentinel://a:26379?sentinelServiceName=m", "scheme"),
            ("http://169.254.169.254/", "scheme"),
            ("redis://a:6379?node=b:1", "options"),
            ("redis://a:6379/etc/passwd", "number"),
            ("redis:///3", "host"),
            ("nonsense", "no URL"),
        ] {
            let refused = RedisUrl::parse(url).expect_err(url);
            assert!(refused.contains(said), "{url}: {refused}");
        }
    }
}
