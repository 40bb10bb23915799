//! Which backends a service uses: it gets their keys of the Secret and no others, and may send to their ports and no
//! others. The addresses in the Secret are names mostly, which a NetworkPolicy does not know.

use crds::Component;
use mongodb::options::{ConnectionString, HostInfo, ServerAddress};
use std::collections::{BTreeMap, BTreeSet};
use url::Url;

const MONGODB: u16 = 27017;
const KAFKA: u16 = 9092;
const REDIS: u16 = 6379;

/// One of the backends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Backend {
    /// Accounts, products, orders.
    MongoDb,
    /// Messages.
    Kafka,
    /// Limits and the gate.
    Redis,
}

impl Backend {
    /// Those that a service uses.
    pub fn of(component: Component) -> &'static [Self] {
        match component {
            Component::Gateway => &[Self::Redis],
            Component::Auth => &[Self::MongoDb],
            Component::Inventory => &[Self::MongoDb, Self::Kafka, Self::Redis],
            Component::Order | Component::Processor | Component::Notifier => &[Self::MongoDb, Self::Kafka],
        }
    }

    /// The keys of the Secret that a service has as files, where they are there: what is long, and private keys.
    pub fn files(self) -> &'static [&'static str] {
        match self {
            Self::MongoDb => &["MONGODB_TLS_CA", "MONGODB_TLS_CERT", "MONGODB_TLS_KEY"],
            Self::Kafka => &["KAFKA_TLS_CERT", "KAFKA_TLS_KEY", "KAFKA_TLS_SERVER_NAME"],
            Self::Redis => &[
                "REDIS_TLS_CA",
                "REDIS_TLS_CERT",
                "REDIS_TLS_KEY",
                "REDIS_TLS_SERVER_NAME",
            ],
        }
    }

    /// The keys of the Secret that lead to it, which are the variables that a service reads.
    pub fn keys(self) -> &'static [&'static str] {
        match self {
            Self::MongoDb => &["MONGODB_URI"],
            Self::Kafka => &[
                "KAFKA_BROKERS",
                "KAFKA_TLS",
                "KAFKA_TLS_CA",
                "KAFKA_SASL_MECHANISM",
                "KAFKA_SASL_USERNAME",
                "KAFKA_SASL_PASSWORD",
            ],
            Self::Redis => &["REDIS_URL"],
        }
    }
}

impl std::fmt::Display for Backend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::MongoDb => "MongoDB",
            Self::Kafka => "Kafka",
            Self::Redis => "Redis",
        })
    }
}

/// The key that a service's own user or address of a backend has in the Secret, such as `AUTH_MONGODB_URI`; it goes before
/// what all of them share.
pub fn own_key(component: Component, key: &str) -> String {
    format!("{}_{key}", component.as_str().to_uppercase())
}

/// The ports of each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackendPorts {
    mongodb: BTreeSet<u16>,
    kafka: BTreeSet<u16>,
    redis: BTreeSet<u16>,
}

impl BackendPorts {
    /// Reads those of every service.
    pub fn of_all(secret: Option<&BTreeMap<String, Vec<u8>>>) -> BTreeMap<Component, Self> {
        Component::ALL
            .into_iter()
            .map(|component| (component, Self::read(secret, component)))
            .collect()
    }

    /// Reads those of a service from the backends Secret; what is missing or cannot be read counts as the usual port. An address like
    /// `mongodb+srv:` shows no port, and a server may announce others: those are written in the chart.
    pub fn read(secret: Option<&BTreeMap<String, Vec<u8>>>, component: Component) -> Self {
        let text = |key: &str| {
            let own = own_key(component, key);
            let value = secret.and_then(|data| data.get(&own).or_else(|| data.get(key)));
            value
                .and_then(|value| std::str::from_utf8(value).ok())
                .unwrap_or_default()
        };
        Self {
            mongodb: or_usual(mongodb(text("MONGODB_URI")), MONGODB),
            kafka: or_usual(kafka(text("KAFKA_BROKERS")), KAFKA),
            redis: or_usual(redis(text("REDIS_URL")), REDIS),
        }
    }

    /// Those of one backend.
    pub fn of(&self, backend: Backend) -> &BTreeSet<u16> {
        match backend {
            Backend::MongoDb => &self.mongodb,
            Backend::Kafka => &self.kafka,
            Backend::Redis => &self.redis,
        }
    }
}

fn or_usual(found: BTreeSet<u16>, usual: u16) -> BTreeSet<u16> {
    if found.is_empty() {
        BTreeSet::from([usual])
    } else {
        found
    }
}

fn mongodb(uri: &str) -> BTreeSet<u16> {
    match ConnectionString::parse(uri).map(|parsed| parsed.host_info) {
        Ok(HostInfo::HostIdentifiers(hosts)) => hosts
            .iter()
            .filter_map(|host| match host {
                ServerAddress::Tcp { port, .. } => Some(port.unwrap_or(MONGODB)),
                _ => None,
            })
            .collect(),
        _ => BTreeSet::new(),
    }
}

fn kafka(brokers: &str) -> BTreeSet<u16> {
    brokers
        .split(',')
        .filter_map(|broker| broker.trim().rsplit_once(':')?.1.parse().ok())
        .collect()
}

fn redis(url: &str) -> BTreeSet<u16> {
    let Ok(url) = Url::parse(url) else {
        return BTreeSet::new();
    };
    let mut ports = BTreeSet::from([url.port().unwrap_or(REDIS)]);
    // redis-cluster://…?node=host:port, and sentinels that name servers on the usual port.
    for (_, node) in url.query_pairs().filter(|(key, _)| key == "node") {
        ports.extend(
            node.rsplit_once(':')
                .and_then(|(_, port)| port.parse::<u16>().ok()),
        );
    }
    if url.scheme().contains("sentinel") {
        ports.insert(REDIS);
    }
    ports
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports(mongodb: &str, kafka: &str, redis: &str) -> [Vec<u16>; 3] {
        let secret = [
            ("MONGODB_URI", mongodb),
            ("KAFKA_BROKERS", kafka),
            ("REDIS_URL", redis),
        ]
        .map(|(key, value)| (key.to_owned(), value.as_bytes().to_vec()));
        let ports = BackendPorts::read(Some(&BTreeMap::from(secret)), Component::Order);
        [Backend::MongoDb, Backend::Kafka, Backend::Redis]
            .map(|backend| ports.of(backend).iter().copied().collect())
    }

    #[test]
    fn the_ports_are_those_of_the_addresses() {
        assert_eq!(
            ports(
                "mongodb://u:p@a:27018,b,[::1]:27019/?replicaSet=r",
                "k-1:9094, k-2:9095",
                "rediss://:p@r:6380"
            ),
            [vec![27017, 27018, 27019], vec![9094, 9095], vec![6380]]
        );
        assert_eq!(
            ports(
                "mongodb://a",
                "k:9093",
                "redis-sentinel://s:26379/0?node=s2:26380&sentinelServiceName=m"
            ),
            [vec![27017], vec![9093], vec![6379, 26379, 26380]]
        );
    }

    #[test]
    fn what_shows_no_port_has_the_usual_one() {
        let usual = [vec![27017], vec![9092], vec![6379]];
        assert_eq!(
            ports("mongodb+srv://u:p@cluster.example.com/", "", "redis://r"),
            usual
        );
        assert_eq!(ports("nonsense", "nonsense", "nonsense"), usual);
        assert_eq!(
            BackendPorts::read(None, Component::Order).of(Backend::Kafka),
            &BTreeSet::from([9092])
        );
    }

    #[test]
    fn a_service_with_an_address_of_its_own_has_its_port() {
        let secret = [
            ("REDIS_URL", "redis://r:6379"),
            ("GATEWAY_REDIS_URL", "redis://r:7000"),
        ];
        let secret = secret.map(|(key, value)| (key.to_owned(), value.as_bytes().to_vec()));
        let all = BackendPorts::of_all(Some(&BTreeMap::from(secret)));
        let redis = |component| all[&component].of(Backend::Redis);
        assert_eq!(redis(Component::Gateway), &BTreeSet::from([7000]));
        assert_eq!(redis(Component::Inventory), &BTreeSet::from([6379]));
    }
}
