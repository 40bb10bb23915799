//! The configuration of a sale's services: one document for all of them, written by the operator (or by
//! `quicksale dev`), read once at start, unknown keys refused. Secrets are not in it: see
//! [`crate::backends::Credentials`] and the key directory.

use crate::{http::client_address::Network, traces::Tracing};
use sale::{
    Currency, SaleId,
    order::{Confirmation, LONGEST_HOLD_HOURS},
};
use serde::{Deserialize, Serialize};
use std::{net::IpAddr, path::Path};
use url::Url;

/// The ports of the services, the same everywhere.
pub mod ports {
    /// Gateway: the front door.
    pub const GATEWAY: u16 = 3000;
    /// Auth.
    pub const AUTH: u16 = 3001;
    /// Inventory.
    pub const INVENTORY: u16 = 3002;
    /// Order.
    pub const ORDER: u16 = 3003;
    /// Notifier: WebSocket and notifications.
    pub const NOTIFIER: u16 = 3004;
    /// `/livez`, `/readyz` and `/metrics` of every process.
    pub const ADMIN: u16 = 9090;
}

/// Where the operator mounts things, and where a service looks when it is not told otherwise.
pub mod paths {
    /// The [`super::Config`] document.
    pub const CONFIG: &str = "/etc/quicksale/config/config.json";
    /// The [`sale::control::ControlDocument`].
    pub const CONTROL: &str = "/etc/quicksale/control/control.json";
    /// The directory with `jwks.json` (public, every service) and `signing-key.pem` (auth only).
    pub const KEYS: &str = "/etc/quicksale/keys";
    /// The directory with what a service knows about TLS to its backends, a file for each key of the backends Secret.
    pub const BACKENDS: &str = "/etc/quicksale/backends";
    /// The directory in which auth finds who the administrator is.
    pub const ADMIN: &str = "/etc/quicksale/administrator";
    /// The public keys inside of the key directory, a JWK set.
    pub const JWKS_FILE: &str = "jwks.json";
    /// The private Ed25519 key inside of the key directory, PKCS#8 PEM.
    pub const SIGNING_KEY_FILE: &str = "signing-key.pem";
}

/// Everything a service of a sale needs to know that is no secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// The sale.
    pub sale: SaleId,
    /// Currency of every price in the sale.
    pub currency: Currency,
    /// How a held order becomes confirmed.
    pub confirmation: Confirmation,
    /// How long a hold lasts while it waits for payment, in seconds.
    pub reservation_ttl_seconds: u64,
    /// MongoDB database names.
    pub data: Data,
    /// Kafka topics.
    pub kafka: Kafka,
    /// Prefix of every Redis key of the sale, such as `qs:{shop.laptops}:`.
    pub redis_prefix: String,
    /// Where the services find each other.
    pub upstreams: Upstreams,
    /// How requests come in.
    pub http: Http,
    /// Where traces go; nowhere in most sales.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracing: Option<Tracing>,
}

/// Database names. Accounts outlive a sale; everything else is the sale's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Data {
    /// The sale's own database.
    pub database: String,
    /// The platform's database with users and refresh tokens.
    pub accounts_database: String,
}

/// The database of accounts when nothing else is said.
pub const DEFAULT_ACCOUNTS_DATABASE: &str = "quicksale";

/// How the sale's topics are named and cut.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Kafka {
    /// Put before each topic's plain name; may be empty.
    pub topic_prefix: String,
    /// Partitions of each topic; fixed for the life of the sale.
    pub partitions: i32,
    /// Copies of each partition.
    pub replication_factor: i16,
}

/// Base URLs of the services, without a trailing slash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Upstreams {
    /// Auth.
    pub auth: Url,
    /// Inventory.
    pub inventory: Url,
    /// Order.
    pub order: Url,
    /// Notifier.
    pub notifier: Url,
}

/// How requests come in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Http {
    /// The address that every listener binds.
    pub bind: IpAddr,
    /// Port of the admin listener.
    pub admin_port: u16,
    /// Networks (CIDR) of proxies whose `X-Forwarded-For` is believed.
    #[serde(default)]
    pub trusted_proxies: Vec<String>,
    /// Origins that browsers may call from; `*` for any, empty for none.
    #[serde(default)]
    pub cors_origins: Vec<String>,
    /// Whether the gateway writes a log line for each request.
    #[serde(default = "yes")]
    pub access_log: bool,
    /// The host under which buyers reach the sale by HTTPS; plain HTTP is not taken then. None where it has no certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub https_host: Option<String>,
    /// Where the storefront sends a buyer to pay: an address with `{orderId}` in it. None where the shop has no such page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payment_url: Option<String>,
}

fn yes() -> bool {
    true
}

impl Http {
    /// The trusted proxies as networks; which of them are networks was looked at when the document was read.
    pub fn trusted_networks(&self) -> Vec<Network> {
        let networks = self.trusted_proxies.iter();
        networks.filter_map(|network| Network::parse(network)).collect()
    }
}

/// Why the configuration could not be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is not there or cannot be read.
    #[error("cannot read the configuration {path}: {source}; pass --config with the right path")]
    Read {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The document is not valid.
    #[error("the configuration {path} is not valid: {source}")]
    Parse {
        /// The file.
        path: String,
        /// Which key and why.
        source: serde_json::Error,
    },
    /// A value makes no sense.
    #[error("{key} in the configuration {problem}")]
    Value {
        /// The key.
        key: &'static str,
        /// What is wrong and what to do.
        problem: String,
    },
}

impl Config {
    /// Reads and checks the document.
    ///
    /// # Errors
    /// [`ConfigError`], naming the file or key.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let name = path.display().to_string();
        let text = std::fs::read(path).map_err(|source| ConfigError::Read {
            path: name.clone(),
            source,
        })?;
        let config: Self =
            serde_json::from_slice(&text).map_err(|source| ConfigError::Parse { path: name, source })?;
        config.validate()?;
        Ok(config)
    }

    fn validate(&self) -> Result<(), ConfigError> {
        let value = |key, problem: &str| {
            Err(ConfigError::Value {
                key,
                problem: problem.to_owned(),
            })
        };
        if self.kafka.partitions < 1 {
            return value("kafka.partitions", "must be at least 1");
        }
        let longest = u64::from(LONGEST_HOLD_HOURS) * 3_600;
        if !(1..=longest).contains(&self.reservation_ttl_seconds) {
            return value("reservationTtlSeconds", &format!("must be from 1 to {longest}"));
        }
        for proxy in &self.http.trusted_proxies {
            if Network::parse(proxy).is_none() {
                return value(
                    "http.trustedProxies",
                    &format!("has {proxy:?}; write a network such as 10.0.0.0/8"),
                );
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> serde_json::Value {
        serde_json::json!({
            "sale": {"namespace": "shop", "name": "laptops"}, "currency": "USD", "confirmation": "Automatic",
            "reservationTtlSeconds": 600, "data": {"database": "qs_shop_laptops", "accountsDatabase": "quicksale"},
            "kafka": {"topicPrefix": "shop.laptops.", "partitions": 12, "replicationFactor": 1},
            "redisPrefix": "qs:{shop.laptops}:",
            "upstreams": {"auth": "http://a:3001", "inventory": "http://i:3002", "order": "http://o:3003",
                          "notifier": "http://n:3004"},
            "http": {"bind": "0.0.0.0", "adminPort": 9090, "trustedProxies": ["10.0.0.0/8"]}
        })
    }

    fn read(json: &serde_json::Value) -> Result<Config, ConfigError> {
        let file = std::env::temp_dir().join(format!("quicksale-config-{}.json", uuid::Uuid::new_v4()));
        std::fs::write(&file, json.to_string()).unwrap();
        let config = Config::read(&file);
        std::fs::remove_file(&file).unwrap();
        config
    }

    #[test]
    fn a_document_survives_a_round_trip() {
        let config = read(&example()).unwrap();
        assert_eq!(read(&serde_json::to_value(&config).unwrap()).unwrap(), config);
    }

    #[test]
    fn unknown_keys_and_nonsense_are_refused_by_name() {
        let mut json = example();
        json["partitons"] = 3.into();
        assert!(read(&json).unwrap_err().to_string().contains("partitons"));
        let mut json = example();
        json["kafka"]["partitions"] = 0.into();
        assert!(read(&json).unwrap_err().to_string().contains("kafka.partitions"));
        let mut json = example();
        json["http"]["trustedProxies"] = serde_json::json!(["everyone"]);
        assert!(read(&json).unwrap_err().to_string().contains("trustedProxies"));
        for (seconds, is_fine) in [
            (0_u64, false),
            (1, true),
            (720 * 3_600, true),
            (720 * 3_600 + 1, false),
        ] {
            let mut json = example();
            json["reservationTtlSeconds"] = seconds.into();
            let said = read(&json).err().map(|error| error.to_string());
            let refused = said
                .as_ref()
                .is_some_and(|said| said.contains("reservationTtlSeconds"));
            assert_eq!(refused, !is_fine, "{seconds}: {said:?}");
        }
    }
}
