//! Redis through fred. It is a gate and a cache: whatever it holds can be lost at any moment, so a failure is an
//! answer ("not now") and never a reason to stop.

use fred::{
    clients::Client,
    error::Error,
    interfaces::ClientLike,
    types::{
        Builder,
        config::{Config, ConnectionConfig, PerformanceConfig, ReconnectPolicy, UnresponsiveConfig},
    },
};
use secrecy::{ExposeSecret, SecretString};
use std::time::Duration;

/// How long a command may take. Redis answers in well under a millisecond; whoever waits longer is better off
/// without it.
pub const COMMAND_DEADLINE: Duration = Duration::from_millis(500);

/// Prepares a client and starts connecting in the background, for as long as it takes.
///
/// # Errors
/// When the URL is not valid.
pub fn client(url: &SecretString) -> Result<Client, Error> {
    let config = Config::from_url(url.expose_secret())?;
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
