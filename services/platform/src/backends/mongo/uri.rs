//! The connection string, checked. Whoever writes it decides where a process connects to and with what; it must not
//! decide that the process lends its own identity (a cloud's, or that of its service account), reads a file of its own,
//! or acknowledges what is not safely stored.
//!
//! Only what is listed here is let through. A list of what is refused would be out of date with the next release of
//! the driver.

use mongodb::options::{
    Acknowledgment, AuthMechanism, ConnectionString, HostInfo, ReadConcernLevel, ReadPreference,
    ServerAddress, Tls,
};
use secrecy::{ExposeSecret, SecretString};
use std::time::Duration;

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
pub struct MongoUri(SecretString);

impl MongoUri {
    /// Checks a connection string.
    ///
    /// # Errors
    /// What is wrong and what to write instead, without a word of the string itself but the name of an option.
    pub fn parse(text: &str) -> Result<Self, String> {
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
        check(&parsed)?;
        Ok(Self(text.into()))
    }

    /// The string as the driver takes it.
    pub(super) fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// Whether the connection is encrypted.
    pub fn is_encrypted(&self) -> bool {
        ConnectionString::parse(self.expose()).is_ok_and(|parsed| is_encrypted(&parsed))
    }
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

fn check(parsed: &ConnectionString) -> Result<(), String> {
    if let HostInfo::HostIdentifiers(hosts) = &parsed.host_info
        && !hosts.iter().all(|host| matches!(host, ServerAddress::Tcp { .. }))
    {
        return Err("leads to a socket in the file system; write a host name or an address".to_owned());
    }
    if let Some(credential) = &parsed.credential {
        match &credential.mechanism {
            None | Some(AuthMechanism::ScramSha1 | AuthMechanism::ScramSha256) => {}
            Some(AuthMechanism::Plain) if is_encrypted(parsed) => {}
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
        assert!(MongoUri::parse("mongodb://a/?tls=true").unwrap().is_encrypted());
        assert!(
            MongoUri::parse("mongodb+srv://cluster0.example.net/")
                .unwrap()
                .is_encrypted()
        );
        assert!(!MongoUri::parse("mongodb://a/").unwrap().is_encrypted());
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
