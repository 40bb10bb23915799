//! Kafka through rskafka, with the deadlines that it lacks.
//!
//! rskafka 0.6 has neither connect nor request timeouts and retries for ever inside of its calls, so every call
//! goes through [`within`]; whoever gets an error throws the client away and connects anew.

use super::{
    EnvironmentError, Transport,
    tls::{self, ClientTls},
};
use crate::metrics::{Metric, must};
use prometheus::{IntCounterVec, register_int_counter_vec};
use rskafka::client::{
    Client, ClientBuilder, Credentials as SaslCredentials, SaslConfig,
    error::{Error as ClientError, ProtocolError},
    partition::{OffsetAt, PartitionClient, UnknownTopicHandling},
};
use secrecy::{ExposeSecret, SecretString};
use std::{
    collections::BTreeMap,
    future::Future,
    sync::{Arc, LazyLock},
    time::Duration,
};

/// How long any call but a long poll may take.
pub const CALL_DEADLINE: Duration = Duration::from_secs(5);

/// The most addresses to begin with; the brokers name all others themselves.
const MOST_BROKERS: usize = 32;
/// The largest answer that is read, in bytes: a fetch asks for half a megabyte, and one record more may come; names
/// of all topics of a large cluster are some megabytes. Memory is set aside before the bytes come.
const LARGEST_ANSWER: usize = 8 * 1024 * 1024;

static REQUESTS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    must(register_int_counter_vec!(
        "quicksale_kafka_requests_total",
        "Requests to Kafka, by what they ask for; what the client repeats by itself is counted once.",
        &["request"]
    ))
});

/// What is counted here.
pub fn metrics() -> Vec<Metric> {
    for request in Request::ALL {
        REQUESTS.with_label_values(&[request.as_str()]);
    }
    vec![&*REQUESTS]
}

/// What Kafka is asked for, as metrics name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// To take records.
    Produce,
    /// For records, or to say that there are none after a while.
    Fetch,
    /// Where a log begins or ends.
    Offset,
    /// For topics, partitions and their leaders.
    Metadata,
    /// To be connected to.
    Connect,
}

impl Request {
    const ALL: [Self; 5] = [
        Self::Produce,
        Self::Fetch,
        Self::Offset,
        Self::Metadata,
        Self::Connect,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Produce => "produce",
            Self::Fetch => "fetch",
            Self::Offset => "offset",
            Self::Metadata => "metadata",
            Self::Connect => "connect",
        }
    }

    /// Counts one that is about to be sent.
    pub fn count(self) {
        REQUESTS.with_label_values(&[self.as_str()]).inc();
    }
}

/// Addresses and credentials.
#[derive(Debug, Clone)]
pub struct KafkaCredentials {
    /// `KAFKA_BROKERS`, comma-separated `host:port`.
    pub brokers: Vec<String>,
    /// `KAFKA_SASL_MECHANISM`, `KAFKA_SASL_USERNAME` and `KAFKA_SASL_PASSWORD`.
    pub sasl: Option<Sasl>,
    /// `KAFKA_TLS`: off unless it is `true`.
    pub tls: Tls,
}

/// SASL authentication.
#[derive(Debug, Clone)]
pub struct Sasl {
    mechanism: Mechanism,
    username: String,
    password: SecretString,
}

#[derive(Debug, Clone, Copy)]
enum Mechanism {
    Plain,
    ScramSha256,
    ScramSha512,
}

/// Transport encryption.
#[derive(Debug, Clone)]
pub enum Tls {
    /// Plain TCP.
    Off,
    /// TLS, as `KAFKA_TLS_*` say.
    On(ClientTls),
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum KafkaError {
    /// No answer in time.
    #[error("Kafka did not answer within {0:?}")]
    Deadline(Duration),
    /// The broker or the connection said no.
    #[error("Kafka: {0}")]
    Client(#[from] ClientError),
    /// The topic is not there (yet).
    #[error("the topic {0} does not exist; the operator creates it")]
    NoTopic(String),
    /// A leader has not found out yet how far its log is, as after an election.
    #[error("the partition's leader does not know its end yet")]
    EndNotKnown,
    /// TLS cannot be set up.
    #[error("TLS for Kafka: {0}")]
    Tls(String),
}

impl KafkaError {
    /// Whether the offset asked for is outside of what the broker still has.
    pub fn is_offset_out_of_range(&self) -> bool {
        self.is_protocol(ProtocolError::OffsetOutOfRange)
    }

    /// Whether the topic to create is there already.
    pub fn is_topic_exists(&self) -> bool {
        self.is_protocol(ProtocolError::TopicAlreadyExists)
    }

    fn is_protocol(&self, wanted: ProtocolError) -> bool {
        matches!(self, Self::Client(ClientError::ServerError { protocol_error, .. }) if *protocol_error == wanted)
    }
}

impl KafkaCredentials {
    pub(super) fn from_lookup(get: &dyn Fn(&str) -> Option<String>) -> Result<Self, EnvironmentError> {
        let brokers: Vec<String> = get("KAFKA_BROKERS")
            .unwrap_or_default()
            .split(',')
            .map(|broker| broker.trim().to_owned())
            .filter(|broker| !broker.is_empty())
            .collect();
        if !(1..=MOST_BROKERS).contains(&brokers.len()) || !brokers.iter().all(|broker| is_address(broker)) {
            return Err(EnvironmentError::new(
                "KAFKA_BROKERS",
                format!("must be one to {MOST_BROKERS} addresses; write host:port, comma-separated"),
            ));
        }
        let said = ClientTls::from_lookup(get, tls::KAFKA)?;
        let tls = match get("KAFKA_TLS").as_deref() {
            None | Some("false") if said.is_empty() => Tls::Off,
            None | Some("false") => {
                return Err(EnvironmentError::new(
                    "KAFKA_TLS",
                    "is not true, and KAFKA_TLS_CA or the like is set; write true, or leave them out",
                ));
            }
            Some("true") => Tls::On(said),
            Some(other) => {
                return Err(EnvironmentError::new(
                    "KAFKA_TLS",
                    format!("is {other:?}; write true or false"),
                ));
            }
        };
        Ok(Self {
            brokers,
            sasl: sasl(get)?,
            tls,
        })
    }

    /// How the brokers are reached.
    pub fn transport(&self) -> Transport {
        Transport::new(matches!(self.tls, Tls::On(_)), self.sasl.is_some())
    }

    /// Connects.
    ///
    /// # Errors
    /// [`KafkaError`].
    pub async fn connect(&self) -> Result<Arc<Client>, KafkaError> {
        let mut builder = ClientBuilder::new(self.brokers.clone())
            .client_id("quicksale")
            .max_message_size(LARGEST_ANSWER)
            .backoff_config(rskafka::BackoffConfig {
                init_backoff: Duration::from_millis(50),
                max_backoff: Duration::from_secs(1),
                base: 2.0,
                deadline: Some(CALL_DEADLINE),
            });
        if let Some(sasl) = &self.sasl {
            builder = builder.sasl_config(sasl.config());
        }
        if let Tls::On(tls) = &self.tls {
            builder = builder.tls_config(Arc::new(tls.config().map_err(KafkaError::Tls)?));
        }
        Request::Connect.count();
        within(CALL_DEADLINE, builder.build()).await.map(Arc::new)
    }

    /// A connection of its own to read a partition with: producing and long-polling must not share one.
    ///
    /// # Errors
    /// [`KafkaError::NoTopic`] while there is no such topic, or another [`KafkaError`].
    pub async fn reader(&self, topic: &str, partition: i32) -> Result<PartitionClient, KafkaError> {
        let client = self.connect().await?;
        if !topics(&client).await?.contains_key(topic) {
            return Err(KafkaError::NoTopic(topic.to_owned()));
        }
        self::partition(&client, topic, partition).await
    }
}

/// Whether this is `host:port` and nothing more, such as `kafka-0.example:9092` or `[::1]:9092`.
fn is_address(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else {
        return false;
    };
    let is_name = |host: &str| {
        host.len() <= 253
            && !host.is_empty()
            && host
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
    };
    let is_ipv6 = |host: &str| {
        let inside = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        inside.is_some_and(|host| host.parse::<std::net::Ipv6Addr>().is_ok())
    };
    port.parse::<u16>().is_ok_and(|port| port > 0) && (is_name(host) || is_ipv6(host))
}

fn sasl(get: &dyn Fn(&str) -> Option<String>) -> Result<Option<Sasl>, EnvironmentError> {
    let Some(mechanism) = get("KAFKA_SASL_MECHANISM") else {
        return Ok(None);
    };
    let mechanism = match mechanism.as_str() {
        "PLAIN" => Mechanism::Plain,
        "SCRAM-SHA-256" => Mechanism::ScramSha256,
        "SCRAM-SHA-512" => Mechanism::ScramSha512,
        other => {
            return Err(EnvironmentError::new(
                "KAFKA_SASL_MECHANISM",
                format!("is {other:?}; write PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512"),
            ));
        }
    };
    let need =
        |name| get(name).ok_or_else(|| EnvironmentError::new(name, "is missing, and a mechanism is set"));
    Ok(Some(Sasl {
        mechanism,
        username: need("KAFKA_SASL_USERNAME")?,
        password: need("KAFKA_SASL_PASSWORD")?.into(),
    }))
}

impl Sasl {
    fn config(&self) -> SaslConfig {
        let credentials =
            SaslCredentials::new(self.username.clone(), self.password.expose_secret().to_owned());
        match self.mechanism {
            Mechanism::Plain => SaslConfig::Plain(credentials),
            Mechanism::ScramSha256 => SaslConfig::ScramSha256(credentials),
            Mechanism::ScramSha512 => SaslConfig::ScramSha512(credentials),
        }
    }
}

/// Gives a call of rskafka its deadline.
///
/// # Errors
/// [`KafkaError`].
pub async fn within<T>(
    deadline: Duration,
    call: impl Future<Output = Result<T, ClientError>>,
) -> Result<T, KafkaError> {
    match tokio::time::timeout(deadline, call).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(KafkaError::Deadline(deadline)),
    }
}

/// The partitions of every topic, by the topic's name.
///
/// # Errors
/// [`KafkaError`].
pub async fn topics(client: &Client) -> Result<BTreeMap<String, Vec<i32>>, KafkaError> {
    Request::Metadata.count();
    let topics = within(CALL_DEADLINE, client.list_topics()).await?;
    Ok(topics
        .into_iter()
        .map(|topic| (topic.name, topic.partitions.into_iter().collect()))
        .collect())
}

/// A client for one partition of a topic that is known to exist: rskafka can loop on cached metadata when it does
/// not, so look at [`topics`] first.
///
/// # Errors
/// [`KafkaError`].
pub async fn partition(client: &Client, topic: &str, partition: i32) -> Result<PartitionClient, KafkaError> {
    Request::Metadata.count();
    within(
        CALL_DEADLINE,
        client.partition_client(topic, partition, UnknownTopicHandling::Error),
    )
    .await
}

/// Where the log of a partition ends: the offset of the record that comes next.
///
/// # Errors
/// [`KafkaError`].
pub async fn log_end(log: &PartitionClient) -> Result<i64, KafkaError> {
    Request::Offset.count();
    within(CALL_DEADLINE, log.get_offset(OffsetAt::Latest)).await
}

/// Where the log of a partition begins: the offset of the first record that is still there.
///
/// # Errors
/// [`KafkaError`].
pub async fn log_begin(log: &PartitionClient) -> Result<i64, KafkaError> {
    Request::Offset.count();
    within(CALL_DEADLINE, log.get_offset(OffsetAt::Earliest)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<KafkaCredentials, EnvironmentError> {
        KafkaCredentials::from_lookup(&|name| {
            pairs
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn credentials_are_read_and_mistakes_are_named() {
        let plain = read(&[("KAFKA_BROKERS", "a:1, b:2,")]).unwrap();
        assert_eq!(plain.brokers, ["a:1", "b:2"]);
        assert!(plain.sasl.is_none());
        for (pairs, name) in [
            (vec![], "KAFKA_BROKERS"),
            (vec![("KAFKA_BROKERS", "a")], "host:port"),
            (vec![("KAFKA_BROKERS", "http://a:1/x")], "host:port"),
            (vec![("KAFKA_BROKERS", "a:1,b:70000")], "host:port"),
            (vec![("KAFKA_BROKERS", "[::1:9092")], "host:port"),
            (vec![("KAFKA_BROKERS", "a:1"), ("KAFKA_TLS", "yes")], "KAFKA_TLS"),
            (
                vec![
                    ("KAFKA_BROKERS", "a:1"),
                    ("KAFKA_TLS_SERVER_NAME", "kafka.example"),
                ],
                "KAFKA_TLS",
            ),
            (
                vec![("KAFKA_BROKERS", "a:1"), ("KAFKA_SASL_MECHANISM", "MAGIC")],
                "KAFKA_SASL_MECHANISM",
            ),
            (
                vec![("KAFKA_BROKERS", "a:1"), ("KAFKA_SASL_MECHANISM", "PLAIN")],
                "KAFKA_SASL_USERNAME",
            ),
        ] {
            assert!(read(&pairs).unwrap_err().to_string().contains(name), "{name}");
        }
    }
}
