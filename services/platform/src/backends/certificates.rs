//! Until when the certificates are good that a process shows to its backends, and those of the authorities that it trusts. A process reads
//! them as it starts: a Secret that has newer ones since changes nothing here before it starts anew, which is why it is the process that
//! says it.

use super::{
    Lookup,
    tls::{self, Names, certificates},
};
use crate::metrics::{Metric, must};
use prometheus::{IntGaugeVec, register_int_gauge_vec};
use std::sync::LazyLock;
use x509_cert::{Certificate, der::Decode};

static EXPIRY: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    must(register_int_gauge_vec!(
        "quicksale_backend_certificate_expiry_timestamp_seconds",
        "Until when a certificate is good that this process uses with a backend, as seconds since 1970: its own (client), or the first to end of the authorities that it was told to trust (authority).",
        &["backend", "certificate"]
    ))
});

/// A backend, as the metric names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// MongoDB.
    MongoDb,
    /// Kafka.
    Kafka,
    /// Redis.
    Redis,
}

impl Backend {
    fn as_str(self) -> &'static str {
        match self {
            Self::MongoDb => "mongodb",
            Self::Kafka => "kafka",
            Self::Redis => "redis",
        }
    }

    fn names(self) -> Names {
        match self {
            Self::MongoDb => tls::MONGODB,
            Self::Kafka => tls::KAFKA,
            Self::Redis => tls::REDIS,
        }
    }
}

/// What is shown here.
pub fn metrics() -> Vec<Metric> {
    vec![&*EXPIRY]
}

/// Shows those of a backend, as far as there are any. What cannot be read is refused elsewhere.
pub fn show(backend: Backend, get: Lookup<'_>) {
    let names = backend.names();
    // The first of a chain is our own; the others come from who signed it.
    let client = get(names.cert).and_then(|pem| expiries(&pem).into_iter().next());
    let authority = get(names.ca).and_then(|pem| expiries(&pem).into_iter().min());
    for (certificate, until) in [("client", client), ("authority", authority)] {
        if let Some(until) = until {
            EXPIRY
                .with_label_values(&[backend.as_str(), certificate])
                .set(until);
        }
    }
}

/// Until when the certificates of a PEM text are good, in their order.
fn expiries(pem: &str) -> Vec<i64> {
    let expiry = |der: &[u8]| {
        let certificate = Certificate::from_der(der).ok()?;
        let until = certificate.tbs_certificate().validity().not_after;
        i64::try_from(until.to_unix_duration().as_secs()).ok()
    };
    let all = certificates(pem).unwrap_or_default();
    all.iter().filter_map(|der| expiry(der)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    fn until(year: i32) -> String {
        let mut params = CertificateParams::new(vec!["mongodb".to_owned()]).unwrap();
        params.not_after = date_time_ymd(year, 1, 1);
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().pem()
    }

    #[test]
    fn it_is_said_when_each_certificate_ends() {
        let (first, second) = (until(2031), until(2030));
        let get = |name: &str| match name {
            "KAFKA_TLS_CERT" => Some(format!("{first}{second}")),
            "KAFKA_TLS_CA" => Some(format!("{first}{second}")),
            "REDIS_TLS_CA" => Some("no certificate".to_owned()),
            _ => None,
        };
        for backend in [Backend::MongoDb, Backend::Kafka, Backend::Redis] {
            show(backend, &get);
        }
        let shown = crate::metrics::render();
        let metric = "quicksale_backend_certificate_expiry_timestamp_seconds";
        for series in [
            format!("{metric}{{backend=\"kafka\",certificate=\"client\"}} 1924992000"),
            format!("{metric}{{backend=\"kafka\",certificate=\"authority\"}} 1893456000"),
        ] {
            assert!(shown.contains(&series), "{series} in {shown}");
        }
        assert!(!shown.contains("backend=\"redis\""), "{shown}");
    }
}
