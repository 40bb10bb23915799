//! The connection string, checked. Whoever writes it decides where a process connects to and with what; it must not
//! decide that the process lends its own identity (a cloud's, or that of its service account), reads a file of its own,
//! or acknowledges what is not safely stored.
//!
//! Only what is listed here is let through. A list of what is refused would be out of date with the next release of
//! the driver.

use crate::backends::{Transport, tls::ClientTls};
use mongodb::options::{
    Acknowledgment, AuthMechanism, ClientOptions, ConnectionString, HostInfo, ReadConcernLevel,
    ReadPreference, ServerAddress, Tls, TlsOptions,
};
use secrecy::{ExposeSecret, SecretString};
use std::{
    os::fd::{AsRawFd, OwnedFd},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

/// Options of a connection string that are let through, in lower case as the driver compares them.
const OPTIONS: [&str; 32] = [
    "appname",
    "authmechanism",
    "authsource",
    "compressors",
    "connecttimeoutms",
    "directconnection",
    "heartbeatfrequencyms",
    "journal",
    "loadbalanced",
    "localthresholdms",
    "maxconnecting",
    "maxidletimems",
    "maxpoolsize",
    "minpoolsize",
    "readconcernlevel",
    "readpreference",
    "replicaset",
    "retryreads",
    "retrywrites",
    "servermonitoringmode",
    "serverselectiontimeoutms",
    "sockettimeoutms",
    "srvmaxhosts",
    "srvservicename",
    "ssl",
    "tls",
    "uuidrepresentation",
    "w",
    "waitqueuetimeoutms",
    "wtimeoutms",
    "zlibcompressionlevel",
    "maxstalenessseconds",
];
/// The most connections that a process may be told to have.
const MOST_CONNECTIONS: u32 = 1_000;
/// The most connections that a process may be told to keep though it does not use them.
const MOST_IDLE: u32 = 16;
/// The longest that a process may be told to wait for anything: what waits holds memory and connections.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// A connection string that may be used.
#[derive(Debug, Clone)]
pub struct MongoUri {
    text: SecretString,
    files: Option<Arc<Files>>,
}

impl MongoUri {
    /// Checks a connection string of servers that are trusted as the public authorities say.
    ///
    /// # Errors
    /// What is wrong and what to write instead, without a word of the string itself but the name of an option.
    pub fn parse(text: &str) -> Result<Self, String> {
        Self::parse_with(text, &ClientTls::default())
    }

    /// Checks a connection string, with what is said about TLS beside it.
    ///
    /// # Errors
    /// What is wrong and what to write instead, without a word of the string itself but the name of an option.
    pub fn parse_with(text: &str, tls: &ClientTls) -> Result<Self, String> {
        if let Some(name) = options(text).find(|name| !OPTIONS.contains(&name.to_lowercase().as_str())) {
            // A name is shown only as far as it looks like one: a stray ? may make it a part of a password.
            let name: String = name
                .chars()
                .filter(char::is_ascii_alphanumeric)
                .take(40)
                .collect();
            return Err(format!(
                "has the option {name}, which is not allowed; leave it out"
            ));
        }
        let parsed = ConnectionString::parse(text).map_err(|_| {
            "is no connection string of MongoDB; write mongodb://user:password@host:27017/?replicaSet=rs0"
                .to_owned()
        })?;
        check(&parsed, tls.has_identity())?;
        if !tls.is_empty() && !is_encrypted(&parsed) {
            return Err("is without TLS, and MONGODB_TLS_* are set; add tls=true".to_owned());
        }
        let files = if tls.is_empty() {
            None
        } else {
            Some(Arc::new(Files::of(tls).map_err(|error| {
                format!("cannot be used with TLS: no file in memory could be made ({error})")
            })?))
        };
        Ok(Self {
            text: text.into(),
            files,
        })
    }

    /// The options as the driver takes them. It reads the files for TLS whenever it finds a
    /// server, so that `self` must live as long as the client.
    pub(super) async fn options(&self) -> Result<ClientOptions, mongodb::error::Error> {
        let mut options = ClientOptions::parse(self.text.expose_secret()).await?;
        if let Some(files) = &self.files {
            options.tls = Some(Tls::Enabled(files.options()));
        }
        Ok(options)
    }

    /// As whom one logs in, if it is said.
    pub fn user(&self) -> Option<String> {
        let parsed = ConnectionString::parse(self.text.expose_secret()).ok()?;
        parsed.credential?.username
    }

    /// How the servers are reached.
    pub fn transport(&self) -> Transport {
        let parsed = ConnectionString::parse(self.text.expose_secret()).ok();
        Transport::new(
            parsed.as_ref().is_some_and(is_encrypted),
            parsed.is_none_or(|parsed| {
                parsed
                    .credential
                    .is_some_and(|credential| credential.password.is_some())
            }),
        )
    }
}

/// What the driver takes as files only, in memory: a process has no disk of its own, and what is secret has no business there.
/// They are gone with the last copy of the connection string.
#[derive(Debug)]
struct Files {
    authorities: Option<OwnedFd>,
    identity: Option<OwnedFd>,
}

impl Files {
    fn of(tls: &ClientTls) -> Result<Self, rustix::io::Errno> {
        let authorities = tls.authorities_pem().map(in_memory).transpose()?;
        let identity = tls.identity_pem();
        let identity = identity.map(|pem| in_memory(pem.expose_secret())).transpose()?;
        Ok(Self {
            authorities,
            identity,
        })
    }

    fn options(&self) -> TlsOptions {
        let path = |file: &OwnedFd| PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        let mut options = TlsOptions::default();
        options.ca_file_path = self.authorities.as_ref().map(path);
        options.cert_key_file_path = self.identity.as_ref().map(path);
        options
    }
}

fn in_memory(text: &str) -> Result<OwnedFd, rustix::io::Errno> {
    use rustix::{
        fs::{MemfdFlags, memfd_create},
        io::write,
    };
    let file = memfd_create("quicksale-tls", MemfdFlags::CLOEXEC)?;
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        let written = write(&file, rest)?;
        rest = rest.get(written..).unwrap_or_default();
    }
    Ok(file)
}

/// The names of the options in the text. Read apart from the driver, which may know options that are not listed.
fn options(text: &str) -> impl Iterator<Item = &str> {
    let query = text.split_once('?').map_or("", |(_, query)| query);
    query
        .split('&')
        .filter(|option| !option.is_empty())
        .map(|option| option.split('=').next().unwrap_or(option))
}

fn is_encrypted(parsed: &ConnectionString) -> bool {
    matches!(parsed.tls, Some(Tls::Enabled(_)))
        // What stands in DNS is reached over TLS unless the string says otherwise.
        || (parsed.tls.is_none() && matches!(parsed.host_info, HostInfo::DnsRecord(_)))
}

fn check(parsed: &ConnectionString, has_certificate: bool) -> Result<(), String> {
    if let HostInfo::HostIdentifiers(hosts) = &parsed.host_info
        && !hosts.iter().all(|host| matches!(host, ServerAddress::Tcp { .. }))
    {
        return Err("leads to a socket in the file system; write a host name or an address".to_owned());
    }
    if let Some(credential) = &parsed.credential {
        match &credential.mechanism {
            None | Some(AuthMechanism::ScramSha1 | AuthMechanism::ScramSha256) => {}
            Some(AuthMechanism::Plain) if is_encrypted(parsed) => {}
            Some(AuthMechanism::MongoDbX509) if has_certificate => {}
            Some(AuthMechanism::Plain) => {
                return Err(
                    "asks for PLAIN, which sends the password as it is, without tls=true; add it".to_owned(),
                );
            }
            Some(_) => {
                return Err(
                    "names an authMechanism that is not allowed; use SCRAM-SHA-256, or PLAIN with tls=true"
                        .to_owned(),
                );
            }
        }
        if credential.mechanism_properties.is_some() {
            return Err("has authMechanismProperties, which are not allowed; leave them out".to_owned());
        }
    }
    if let Some(Tls::Enabled(tls)) = &parsed.tls
        && (tls.ca_file_path.is_some()
            || tls.cert_key_file_path.is_some()
            || tls.allow_invalid_certificates == Some(true))
    {
        return Err("names a file, or lets certificates go unchecked; leave tlsCAFile, tlsCertificateKeyFile, tlsInsecure and the like out".to_owned());
    }
    if let Some(concern) = &parsed.write_concern
        && (!matches!(concern.w, None | Some(Acknowledgment::Majority)) || concern.journal == Some(false))
    {
        return Err("weakens the write concern; leave w out or write w=majority".to_owned());
    }
    if parsed
        .read_concern
        .as_ref()
        .is_some_and(|concern| concern.level != ReadConcernLevel::Majority)
    {
        return Err("weakens the read concern; leave readConcernLevel out or write majority".to_owned());
    }
    if !matches!(parsed.read_preference, None | Some(ReadPreference::Primary)) {
        return Err(
            "reads from secondaries, which are late; leave readPreference out or write primary".to_owned(),
        );
    }
    if parsed
        .min_pool_size
        .is_some_and(|connections| connections > MOST_IDLE)
    {
        return Err(format!(
            "keeps more than {MOST_IDLE} idle connections; lower minPoolSize"
        ));
    }
    let pools = [parsed.max_pool_size, parsed.max_connecting];
    if pools
        .into_iter()
        .flatten()
        .any(|connections| connections > MOST_CONNECTIONS)
    {
        return Err(format!(
            "asks for more than {MOST_CONNECTIONS} connections; lower maxPoolSize or maxConnecting"
        ));
    }
    let waits = [
        parsed.server_selection_timeout,
        parsed.connect_timeout,
        parsed.heartbeat_frequency,
        parsed.wait_queue_timeout(),
    ];
    if waits.into_iter().flatten().any(|wait| wait > LONGEST_WAIT) {
        return Err(format!(
            "names a timeout longer than {} s; lower it",
            LONGEST_WAIT.as_secs()
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_use_is_taken() {
        for uri in [
            "mongodb://127.0.0.1:27017/?directConnection=true",
            "mongodb://quicksale:a%3Fb@mongodb.backends.svc:27017/?authSource=admin&replicaSet=rs0",
            "mongodb://u:p@a:1,b:2,c:3/db?replicaSet=rs0&tls=true&w=majority&readConcernLevel=majority&authMechanism=SCRAM-SHA-256",
            "mongodb+srv://u:p@cluster0.example.net/?retryWrites=true&w=majority&appName=Cluster0",
            "mongodb://u:p@ldap:27017/?authMechanism=PLAIN&authSource=$external&tls=true",
        ] {
            MongoUri::parse(uri).unwrap();
        }
        for (uri, transport) in [
            ("mongodb://a/?tls=true", Transport::Encrypted),
            ("mongodb+srv://u:p@cluster0.example.net/", Transport::Encrypted),
            (
                "mongodb+srv://u:p@cluster0.example.net/?tls=false",
                Transport::PlainWithPassword,
            ),
            ("mongodb://a/", Transport::Plain),
            ("mongodb://u:p@a/", Transport::PlainWithPassword),
        ] {
            assert_eq!(MongoUri::parse(uri).unwrap().transport(), transport, "{uri}");
        }
    }

    #[test]
    fn nobody_borrows_an_identity_or_a_file() {
        for (uri, said) in [
            (
                "mongodb://evil:27017/?directConnection=true&authMechanism=MONGODB-OIDC&authMechanismProperties=ENVIRONMENT:k8s",
                "authMechanismProperties",
            ),
            ("mongodb://evil:27017/?authMechanism=MONGODB-OIDC", ""),
            ("mongodb://evil:27017/?AUTHMECHANISM=MONGODB-AWS", ""),
            ("mongodb://u@evil:27017/?authMechanism=GSSAPI", ""),
            ("mongodb://u@evil:27017/?authMechanism=MONGODB-X509", ""),
            ("mongodb://u:p@evil/?authMechanism=PLAIN", "tls=true"),
            ("mongodb://a/?tls=true&tlsCAFile=/etc/passwd", "tlsCAFile"),
            (
                "mongodb://a/?tls=true&tlsCertificateKeyFile=/x",
                "tlsCertificateKeyFile",
            ),
            ("mongodb://a/?tls=true&tlsInsecure=true", "tlsInsecure"),
            (
                "mongodb://a/?tls=true&tlsAllowInvalidCertificates=true",
                "tlsAllowInvalidCertificates",
            ),
            ("mongodb://a/?proxyHost=b", "proxyHost"),
            ("mongodb://a/?w=0", "w=majority"),
            ("mongodb://a/?w=1", "w=majority"),
            ("mongodb://a/?journal=false", "w=majority"),
            ("mongodb://a/?readConcernLevel=local", "readConcernLevel"),
            ("mongodb://a/?readPreference=nearest", "readPreference"),
            ("mongodb://a/?minPoolSize=100000", "idle connections"),
            ("mongodb://a/?maxPoolSize=100000", "1000 connections"),
            ("mongodb://%2Ftmp%2Fmongodb-27017.sock/", "socket"),
            ("mongodb://a/?connectTimeoutMS=99999999", "timeout"),
            ("postgres://a", "mongodb://"),
            ("file:///etc/passwd", "mongodb://"),
            ("", "mongodb://"),
        ] {
            let refused = MongoUri::parse(uri).expect_err(uri);
            assert!(refused.contains(said), "{uri}: {refused}");
        }
    }

    #[test]
    fn a_refusal_holds_nothing_of_the_password() {
        let refused = MongoUri::parse("mongodb://u:s3cr?t&hidden/word@a/").unwrap_err();
        assert!(!refused.contains("s3cr") && !refused.contains('/'), "{refused}");
    }
}
