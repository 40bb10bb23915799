//! TLS to a backend: whom to trust, and who we are.

use super::{EnvironmentError, Lookup};
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
};
use secrecy::{ExposeSecret, SecretString};
use std::{collections::HashMap, sync::Arc};

/// The longest PEM text that is read, in bytes: a bundle of all public authorities has some 220 kB.
const LONGEST_PEM: usize = 512 * 1024;

/// What one backend's keys say about TLS; nothing of it when all are missing.
#[derive(Debug, Clone, Default)]
pub struct ClientTls {
    authorities: Option<String>,
    identity: Option<Identity>,
    server_name: Option<ServerName<'static>>,
}

/// A client certificate with its key, as PEM.
#[derive(Debug, Clone)]
struct Identity {
    chain: String,
    key: SecretString,
}

/// The names of one backend's keys.
#[derive(Debug, Clone, Copy)]
pub(super) struct Names {
    /// PEM: the authorities to trust instead of the public ones.
    pub(super) ca: &'static str,
    /// PEM: the certificate to show, with what leads to its authority.
    pub(super) cert: &'static str,
    /// PEM: its private key.
    pub(super) key: &'static str,
    /// The name that the server's certificate must have, where it is another than that of the address.
    pub(super) server_name: Option<&'static str>,
}

/// Those of MongoDB. Its driver knows no other name of a server than its address.
pub(super) const MONGODB: Names = Names {
    ca: "MONGODB_TLS_CA",
    cert: "MONGODB_TLS_CERT",
    key: "MONGODB_TLS_KEY",
    server_name: None,
};
/// Those of Kafka.
pub(super) const KAFKA: Names = Names {
    ca: "KAFKA_TLS_CA",
    cert: "KAFKA_TLS_CERT",
    key: "KAFKA_TLS_KEY",
    server_name: Some("KAFKA_TLS_SERVER_NAME"),
};
/// Those of Redis.
pub(super) const REDIS: Names = Names {
    ca: "REDIS_TLS_CA",
    cert: "REDIS_TLS_CERT",
    key: "REDIS_TLS_KEY",
    server_name: Some("REDIS_TLS_SERVER_NAME"),
};

impl ClientTls {
    pub(super) fn from_lookup(get: Lookup<'_>, names: Names) -> Result<Self, EnvironmentError> {
        let pem = |name: &'static str| match get(name) {
            Some(text) if text.len() > LONGEST_PEM => Err(EnvironmentError::new(
                name,
                format!("is longer than {LONGEST_PEM} bytes; put in the certificates that are needed"),
            )),
            text => Ok(text),
        };
        let identity = match (pem(names.cert)?, pem(names.key)?) {
            (None, None) => None,
            (Some(chain), Some(key)) => Some(Identity {
                chain,
                key: key.into(),
            }),
            (Some(_), None) => return Err(missing(names.key, names.cert)),
            (None, Some(_)) => return Err(missing(names.cert, names.key)),
        };
        let server_name = match names.server_name.and_then(|name| Some((name, get(name)?))) {
            None => None,
            Some((name, text)) => Some(ServerName::try_from(text).map_err(|_| {
                EnvironmentError::new(name, "is no name of a server; write a DNS name or an address")
            })?),
        };
        let tls = Self {
            authorities: pem(names.ca)?,
            identity,
            server_name,
        };
        tls.check(names)?;
        Ok(tls)
    }

    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        self.authorities.is_none() && self.identity.is_none() && self.server_name.is_none()
    }

    /// Whether a certificate of ours is shown to the server.
    pub fn has_identity(&self) -> bool {
        self.identity.is_some()
    }

    /// Every part is tried when it is read, so that the sentence names the key that is wrong.
    fn check(&self, names: Names) -> Result<(), EnvironmentError> {
        self.roots()
            .map_err(|problem| EnvironmentError::new(names.ca, problem))?;
        let Some(identity) = &self.identity else {
            return Ok(());
        };
        let chain =
            certificates(&identity.chain).map_err(|problem| EnvironmentError::new(names.cert, problem))?;
        let key = identity
            .private_key()
            .map_err(|problem| EnvironmentError::new(names.key, problem))?;
        ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .and_then(|builder| {
                builder
                    .with_root_certificates(RootCertStore::empty())
                    .with_client_auth_cert(chain, key)
            })
            .map(drop)
            .map_err(|error| {
                EnvironmentError::new(names.key, format!("does not fit the certificate: {error}"))
            })
    }

    fn roots(&self) -> Result<RootCertStore, String> {
        let mut roots = RootCertStore::empty();
        match &self.authorities {
            None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
            Some(pem) => {
                for certificate in certificates(pem)? {
                    roots
                        .add(certificate)
                        .map_err(|error| format!("has a certificate of no use: {error}"))?;
                }
            }
        }
        Ok(roots)
    }

    /// The configuration of a client.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn config(&self) -> Result<ClientConfig, String> {
        let provider = provider();
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(self.roots()?), Arc::clone(&provider))
                .build()
                .map_err(|error| error.to_string())?;
        let verifier: Arc<dyn ServerCertVerifier> = match &self.server_name {
            None => verifier,
            Some(name) => Arc::new(UnderAnotherName {
                name: name.clone(),
                verifier,
            }),
        };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        match &self.identity {
            None => Ok(builder.with_no_client_auth()),
            Some(identity) => builder
                .with_client_auth_cert(certificates(&identity.chain)?, identity.private_key()?)
                .map_err(|error| error.to_string()),
        }
    }

    /// The authorities as a file holds them.
    pub(super) fn authorities_pem(&self) -> Option<&str> {
        self.authorities.as_deref()
    }

    /// The certificate and its key as one file holds them.
    pub(super) fn identity_pem(&self) -> Option<SecretString> {
        let identity = self.identity.as_ref()?;
        Some(format!("{}\n{}\n", identity.chain, identity.key.expose_secret()).into())
    }
}

impl Identity {
    fn private_key(&self) -> Result<PrivateKeyDer<'static>, String> {
        PrivateKeyDer::from_pem_slice(self.key.expose_secret().as_bytes())
            .map_err(|_| "is no private key; write it as PEM, without a password".to_owned())
    }
}

/// The configuration towards the collector of traces. As OpenTelemetry's specification has it, these variables name files.
/// `variable` knows them by their last words.
pub(crate) fn of_collector(variable: Lookup<'_>) -> Result<ClientConfig, String> {
    const NAMES: Names = Names {
        ca: "OTEL_EXPORTER_OTLP_CERTIFICATE",
        cert: "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
        key: "OTEL_EXPORTER_OTLP_CLIENT_KEY",
        server_name: None,
    };
    let mut files = HashMap::new();
    for (name, last) in [
        (NAMES.ca, "CERTIFICATE"),
        (NAMES.cert, "CLIENT_CERTIFICATE"),
        (NAMES.key, "CLIENT_KEY"),
    ] {
        let Some(file) = variable(last) else {
            continue;
        };
        let text = std::fs::read_to_string(&file)
            .map_err(|error| format!("{name} names {file}, which cannot be read: {error}"))?;
        files.insert(name, text);
    }
    ClientTls::from_lookup(&|name| files.get(name).cloned(), NAMES)
        .map_err(|error| error.to_string())?
        .config()
}

fn missing(name: &'static str, given: &'static str) -> EnvironmentError {
    EnvironmentError::new(name, format!("is missing, and {given} is set; set both or none"))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

pub(super) fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    match found {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err("holds no certificate; write them as PEM".to_owned()),
    }
}

/// Checks a server's certificate as usual, but for another name than that of the address.
#[derive(Debug)]
struct UnderAnotherName {
    name: ServerName<'static>,
    verifier: Arc<WebPkiServerVerifier>,
}

impl ServerCertVerifier for UnderAnotherName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _address: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.verifier
            .verify_server_cert(end_entity, intermediates, &self.name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    use rustls::{ClientConnection, ServerConfig, ServerConnection, server::WebPkiClientVerifier};

    type Authority = CertifiedIssuer<'static, KeyPair>;

    fn authority() -> Authority {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    }

    /// A certificate for a name, and its key.
    fn certificate(name: &str, authority: &Authority) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, authority).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    fn read(pairs: &[(&str, &str)]) -> Result<ClientTls, EnvironmentError> {
        let get = |name: &str| {
            let pair = pairs.iter().find(|(key, _)| *key == name);
            pair.map(|(_, value)| (*value).to_owned())
        };
        ClientTls::from_lookup(&get, KAFKA)
    }

    /// A server that shows a certificate for `kafka.example`, and asks for one where it knows whose to trust.
    fn server(authority: &Authority, clients: Option<&Authority>) -> ServerConfig {
        let (chain, key) = certificate("kafka.example", authority);
        let builder = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(clients) => {
                let mut roots = RootCertStore::empty();
                roots.add(clients.der().clone()).unwrap();
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider()).build();
                builder.with_client_cert_verifier(verifier.unwrap())
            }
        };
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        builder
            .with_single_cert(certificates(&chain).unwrap(), key)
            .unwrap()
    }

    /// Lets both talk in memory until neither has anything to say.
    fn shake_hands(tls: &ClientTls, address: &str, server: &ServerConfig) -> Result<(), rustls::Error> {
        let name = ServerName::try_from(address.to_owned()).unwrap();
        let mut client = ClientConnection::new(Arc::new(tls.config().unwrap()), name)?;
        let mut server = ServerConnection::new(Arc::new(server.clone()))?;
        while client.wants_write() || server.wants_write() {
            let mut bytes = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut bytes).unwrap();
            }
            server.read_tls(&mut bytes.as_slice()).unwrap();
            server.process_new_packets()?;
            bytes.clear();
            while server.wants_write() {
                server.write_tls(&mut bytes).unwrap();
            }
            client.read_tls(&mut bytes.as_slice()).unwrap();
            client.process_new_packets()?;
        }
        assert!(!client.is_handshaking() && !server.is_handshaking());
        Ok(())
    }

    #[test]
    fn a_private_authority_takes_the_place_of_the_public_ones() {
        let (ours, another) = (authority(), authority());
        let server = server(&ours, None);
        let trusting = |authority: &Authority| read(&[("KAFKA_TLS_CA", &authority.pem())]).unwrap();
        shake_hands(&trusting(&ours), "kafka.example", &server).unwrap();
        shake_hands(&trusting(&another), "kafka.example", &server).unwrap_err();
        shake_hands(&ClientTls::default(), "kafka.example", &server).unwrap_err();
        let public = ClientTls::default().roots().unwrap();
        assert!(!public.is_empty());
        assert_eq!(trusting(&ours).roots().unwrap().len(), 1);
    }

    #[test]
    fn a_server_that_asks_for_a_certificate_gets_ours() {
        let ours = authority();
        let server = server(&ours, Some(&ours));
        let ca = ours.pem();
        let (cert, key) = certificate("order", &ours);
        let with = read(&[
            ("KAFKA_TLS_CA", &ca),
            ("KAFKA_TLS_CERT", &cert),
            ("KAFKA_TLS_KEY", &key),
        ]);
        shake_hands(&with.unwrap(), "kafka.example", &server).unwrap();
        let without = read(&[("KAFKA_TLS_CA", &ca)]).unwrap();
        shake_hands(&without, "kafka.example", &server).unwrap_err();
    }

    #[test]
    fn another_name_is_asked_for_and_no_other_will_do() {
        let ours = authority();
        let server = server(&ours, None);
        let ca = ours.pem();
        let named = |name: &str| read(&[("KAFKA_TLS_CA", &ca), ("KAFKA_TLS_SERVER_NAME", name)]).unwrap();
        let unnamed = read(&[("KAFKA_TLS_CA", &ca)]).unwrap();
        shake_hands(&unnamed, "127.0.0.1", &server).unwrap_err();
        shake_hands(&named("kafka.example"), "127.0.0.1", &server).unwrap();
        shake_hands(&named("other.example"), "kafka.example", &server).unwrap_err();
    }

    #[test]
    fn mistakes_are_named() {
        let ours = authority();
        let (cert, key) = certificate("order", &ours);
        let (_, another_key) = certificate("order", &ours);
        for (pairs, named) in [
            (vec![("KAFKA_TLS_CA", "nonsense")], "KAFKA_TLS_CA"),
            (vec![("KAFKA_TLS_CERT", cert.as_str())], "KAFKA_TLS_KEY"),
            (vec![("KAFKA_TLS_KEY", key.as_str())], "KAFKA_TLS_CERT"),
            (
                vec![("KAFKA_TLS_CERT", cert.as_str()), ("KAFKA_TLS_KEY", &cert)],
                "KAFKA_TLS_KEY",
            ),
            (
                vec![("KAFKA_TLS_CERT", cert.as_str()), ("KAFKA_TLS_KEY", &another_key)],
                "KAFKA_TLS_KEY",
            ),
            (vec![("KAFKA_TLS_SERVER_NAME", "a b")], "KAFKA_TLS_SERVER_NAME"),
        ] {
            let refused = read(&pairs).unwrap_err().to_string();
            assert!(refused.contains(named), "{refused}");
            assert!(!refused.contains("PRIVATE"), "{refused}");
        }
    }
}
