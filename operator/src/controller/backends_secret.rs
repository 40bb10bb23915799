//! The Secret that leads to a sale's backends: who reads which of its keys, and how safe what it says is on the way.

use super::{
    build::backend_ports::{Backend, own_key},
    fetch::SecretData,
    status::Finding,
};
use crds::{Component, PlaintextPasswords, ValidSale, status::ConditionType};
use platform::backends::{self, Credentials, EnvironmentError, Transport};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};

/// What stands before the keys that the operator reads and no service does: its users may make and delete what theirs may not.
const OPERATOR: &str = "OPERATOR_";
/// What stands before those that the console alone reads.
const CONSOLE: &str = "CONSOLE_";

fn text(data: &SecretData, key: &str) -> Option<String> {
    let value = data.get(key)?;
    String::from_utf8(value.clone())
        .ok()
        .filter(|text| !text.is_empty())
}

/// Why the operator cannot use a backends Secret, or may not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unusable {
    /// There is none.
    Missing,
    /// It cannot be read; the sentence says where.
    Invalid(String),
    /// It would send a password in plain text; the sentence says where to.
    Plaintext(String),
}

impl Unusable {
    /// For the condition.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Missing => "SecretMissing",
            Self::Invalid(_) => "SecretInvalid",
            Self::Plaintext(_) => "PlaintextRefused",
        }
    }

    /// For people.
    pub fn sentence(&self) -> &str {
        match self {
            Self::Missing => {
                "the backends Secret does not exist; create it, or name another in spec.backendsSecretRef"
            }
            Self::Invalid(sentence) | Self::Plaintext(sentence) => sentence,
        }
    }
}

/// The credentials of the operator, as far as it may use them: its passwords keep to the same rule as those of the services.
///
/// # Errors
/// [`Unusable`].
pub fn operators(data: Option<&SecretData>, consent: PlaintextConsent) -> Result<Credentials, Unusable> {
    let data = data.ok_or(Unusable::Missing)?;
    let credentials =
        Credentials::from_lookup(&|key| text(data, &format!("{OPERATOR}{key}")).or_else(|| text(data, key)))
            .map_err(|error| Unusable::Invalid(error.to_string()))?;
    let mut own = Secrecy::new(consent);
    own.add_operator(data);
    own.refusal()
        .map_or(Ok(credentials), |sentence| Err(Unusable::Plaintext(sentence)))
}

/// What the pods of a sale may see of it.
pub fn for_pods(data: &SecretData) -> SecretData {
    let is_theirs = |key: &str| !key.starts_with(OPERATOR) && !key.starts_with(CONSOLE);
    let theirs = data.iter().filter(|(key, _)| is_theirs(key));
    theirs.map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// A hash of what the pods use: another one starts them anew.
pub fn hash(data: &SecretData) -> String {
    hash_of(for_pods(data).iter())
}

/// A hash of all that is in the Secret, also of what is for the operator alone.
pub fn whole_hash(data: &SecretData) -> String {
    hash_of(data.iter())
}

fn hash_of<'a>(entries: impl Iterator<Item = (&'a String, &'a Vec<u8>)>) -> String {
    let mut hash = Sha256::new();
    for (key, value) in entries {
        hash.update((key.len() as u64).to_be_bytes());
        hash.update(key);
        hash.update((value.len() as u64).to_be_bytes());
        hash.update(value);
    }
    hex::encode(&hash.finalize()[..8])
}

/// Whether what goes to the backends can be read on the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secrecy {
    /// Who reaches what in plain text.
    plain: BTreeMap<Backend, BTreeSet<&'static str>>,
    /// The same, as far as a password goes along.
    passwords: BTreeMap<Backend, BTreeSet<&'static str>>,
    consent: PlaintextConsent,
}

/// Where passwords in plain text are allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlaintextConsent {
    /// They are.
    Given,
    /// They are not: the FlashSale would have to say so.
    NeedsSpec,
    /// They are not: the operator's chart would have to say so.
    NeedsChart,
}

/// What was said about passwords in plain text to the backends of a sale: of the platform's own by the chart, of others by
/// the sale.
pub fn plaintext_passwords_of(sale: &ValidSale, platforms: PlaintextPasswords) -> PlaintextPasswords {
    match sale.backends_secret {
        Some(_) => sale.plaintext_passwords,
        None => platforms,
    }
}

impl PlaintextConsent {
    /// Whether it was given for a sale, and where it is missing.
    pub fn of(sale: &ValidSale, platforms: PlaintextPasswords) -> Self {
        match plaintext_passwords_of(sale, platforms) {
            PlaintextPasswords::Allow => Self::Given,
            PlaintextPasswords::Refuse if sale.backends_secret.is_some() => Self::NeedsSpec,
            PlaintextPasswords::Refuse => Self::NeedsChart,
        }
    }
}

impl Secrecy {
    fn new(consent: PlaintextConsent) -> Self {
        Self {
            plain: BTreeMap::new(),
            passwords: BTreeMap::new(),
            consent,
        }
    }

    /// Looks at what everybody reads of the Secret. What cannot be read at all is somebody else's finding.
    pub fn of(data: &SecretData, consent: PlaintextConsent) -> Self {
        let mut secrecy = Self::new(consent);
        secrecy.add_operator(data);
        for component in Component::ALL {
            let own = own_key(component, "");
            secrecy.add(data, component.as_str(), &own, Backend::of(component));
        }
        secrecy
    }

    fn add_operator(&mut self, data: &SecretData) {
        let all = [Backend::MongoDb, Backend::Kafka, Backend::Redis];
        self.add(data, "operator", OPERATOR, &all);
    }

    fn add(&mut self, data: &SecretData, who: &'static str, own: &str, used: &[Backend]) {
        let get = |key: &str| text(data, &format!("{own}{key}")).or_else(|| text(data, key));
        for backend in used {
            let lists = match transport(*backend, &get) {
                Err(_) | Ok(Transport::Encrypted) => continue,
                Ok(Transport::Plain) => vec![&mut self.plain],
                Ok(Transport::PlainWithPassword) => vec![&mut self.plain, &mut self.passwords],
            };
            for list in lists {
                list.entry(*backend).or_default().insert(who);
            }
        }
    }

    /// The services that have a password which they would send in plain text.
    pub fn senders(&self) -> BTreeSet<Component> {
        let sends = |component: &Component| {
            let mut who = self.passwords.values();
            who.any(|who| who.contains(component.as_str()))
        };
        Component::ALL.into_iter().filter(sends).collect()
    }

    /// Why the backends may not be used, if they may not.
    pub fn refusal(&self) -> Option<String> {
        let remedy = match self.consent {
            PlaintextConsent::Given => return None,
            PlaintextConsent::NeedsSpec => "or allow it with spec.plaintextPasswords: Allow",
            PlaintextConsent::NeedsChart => "or allow it with the chart's backends.plaintextPasswords: Allow",
        };
        if self.passwords.is_empty() {
            return None;
        }
        Some(format!(
            "passwords would go in plain text to {}; turn TLS on in the backends Secret, {remedy}",
            listed(&self.passwords)
        ))
    }

    /// The condition that follows.
    pub fn finding(&self) -> Finding {
        let kind = ConditionType::BackendsSecure;
        if let Some(refusal) = self.refusal() {
            return Finding::new(kind, false, "PlaintextPasswords", refusal);
        }
        if !self.passwords.is_empty() {
            let sentence = format!(
                "passwords go in plain text, as allowed, to {}",
                listed(&self.passwords)
            );
            return Finding::new(kind, false, "PlaintextPasswordsAllowed", sentence);
        }
        if !self.plain.is_empty() {
            let sentence = format!("without TLS and without a password: {}", listed(&self.plain));
            return Finding::new(kind, false, "Plaintext", sentence);
        }
        Finding::new(
            kind,
            true,
            "Encrypted",
            "MongoDB, Kafka and Redis are reached over TLS",
        )
    }
}

fn transport(backend: Backend, get: backends::Lookup<'_>) -> Result<Transport, EnvironmentError> {
    Ok(match backend {
        Backend::MongoDb => backends::mongodb(get)?.transport(),
        Backend::Kafka => backends::kafka(get)?.transport(),
        Backend::Redis => backends::redis(get)?.transport(),
    })
}

fn listed(backends: &BTreeMap<Backend, BTreeSet<&'static str>>) -> String {
    let each = backends.iter().map(|(backend, who)| {
        let who: Vec<_> = who.iter().copied().collect();
        format!("{backend} (from {})", who.join(", "))
    });
    each.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(pairs: &[(&str, &str)]) -> SecretData {
        let pair = |(key, value): &(&str, &str)| ((*key).to_owned(), value.as_bytes().to_vec());
        pairs.iter().map(pair).collect()
    }

    const SECURE: [(&str, &str); 4] = [
        ("MONGODB_URI", "mongodb://u:p@m/?tls=true"),
        ("KAFKA_BROKERS", "k:9093"),
        ("KAFKA_TLS", "true"),
        ("REDIS_URL", "rediss://:p@r"),
    ];

    fn with(pairs: &[(&str, &str)]) -> SecretData {
        let mut all = data(&SECURE);
        all.extend(data(pairs));
        all
    }

    #[test]
    fn a_password_of_any_service_in_plain_text_is_refused_without_a_word() {
        assert_eq!(
            Secrecy::of(&with(&[]), PlaintextConsent::NeedsSpec)
                .finding()
                .reason,
            "Encrypted"
        );
        for (key, value, named) in [
            ("AUTH_MONGODB_URI", "mongodb://u:p@m/", "MongoDB (from auth)"),
            ("GATEWAY_REDIS_URL", "redis://:p@r", "Redis (from gateway)"),
            ("OPERATOR_REDIS_URL", "redis://:p@r", "Redis (from operator)"),
            (
                "REDIS_URL",
                "redis://:p@r",
                "Redis (from gateway, inventory, operator)",
            ),
        ] {
            let secret = with(&[(key, value)]);
            for (consent, says) in [
                (PlaintextConsent::NeedsSpec, "spec.plaintextPasswords"),
                (PlaintextConsent::NeedsChart, "backends.plaintextPasswords"),
            ] {
                let refusal = Secrecy::of(&secret, consent).refusal().expect(key);
                assert!(refusal.contains(named) && refusal.contains(says), "{refusal}");
            }
            let allowed = Secrecy::of(&secret, PlaintextConsent::Given);
            assert_eq!(allowed.refusal(), None);
            let finding = allowed.finding();
            assert!(!finding.holds && finding.message.contains(named), "{finding:?}");
        }
    }

    #[test]
    fn what_has_no_password_is_allowed_and_said() {
        let plain = Secrecy::of(&with(&[("REDIS_URL", "redis://r")]), PlaintextConsent::NeedsSpec);
        assert_eq!(plain.refusal(), None);
        assert_eq!(
            (plain.finding().holds, plain.finding().reason),
            (false, "Plaintext")
        );
    }

    #[test]
    fn the_operators_own_keys_are_for_nobody_else() {
        let secret = with(&[("OPERATOR_MONGODB_URI", "mongodb://root:p@m/?tls=true")]);
        assert_eq!(for_pods(&secret), with(&[]));
        assert_eq!(
            hash(&secret),
            hash(&with(&[])),
            "a new password of the operator starts no pod anew"
        );
        assert_ne!(hash(&secret), hash(&with(&[("REDIS_URL", "rediss://:q@r")])));
        let without = data(&[
            ("OPERATOR_MONGODB_URI", "mongodb://m"),
            ("OPERATOR_REDIS_URL", "redis://r"),
            ("KAFKA_BROKERS", "k:9092"),
        ]);
        operators(Some(&without), PlaintextConsent::NeedsSpec).unwrap();
        let nothing = operators(Some(&data(&[])), PlaintextConsent::Given).unwrap_err();
        assert_eq!(nothing.reason(), "SecretInvalid");
        assert!(nothing.sentence().contains("MONGODB_URI"), "{nothing:?}");
        assert_eq!(
            operators(None, PlaintextConsent::Given).unwrap_err(),
            Unusable::Missing
        );
    }

    #[test]
    fn the_operators_password_keeps_to_the_rule_as_well() {
        for (key, value) in [
            ("OPERATOR_MONGODB_URI", "mongodb://u:p@m/"),
            ("REDIS_URL", "redis://:p@r"),
        ] {
            let secret = with(&[(key, value)]);
            let refusal = operators(Some(&secret), PlaintextConsent::NeedsSpec).unwrap_err();
            assert_eq!(refusal.reason(), "PlaintextRefused");
            assert!(
                refusal.sentence().contains("spec.plaintextPasswords"),
                "{refusal:?}"
            );
            operators(Some(&secret), PlaintextConsent::Given).unwrap();
        }
        // What a service does is not the operator's to do.
        operators(
            Some(&with(&[("AUTH_MONGODB_URI", "mongodb://u:p@m/")])),
            PlaintextConsent::NeedsSpec,
        )
        .unwrap();
    }
}
