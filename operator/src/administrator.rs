//! The platform's administrator: the Secret of the first one, where nobody brought one, and what sales get to know.
//!
//! The operator makes the Secret, and not the chart: a chart that is only rendered cannot know whether there is one already,
//! and would write another password at each render. It is created and never changed, and outlives the release, because
//! the account that it opens does too.

use crate::{
    deadline::{ApiError, within},
    settings::Settings,
};
use argon2::{Argon2, PasswordHasher as _, password_hash::phc::PasswordHash};
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client, api::PostParams};
use platform::retry::Backoff;
use rand::distr::{Alphanumeric, SampleString};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::{collections::BTreeMap, time::Duration};
use tokio_util::sync::CancellationToken;

/// Who the administrator is, as sales get to know it: with a hash that auth can check, and that opens nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Administrator {
    /// Address to log in with.
    pub email: String,
    /// The password's argon2id hash, as a PHC string.
    pub password_hash: String,
}

impl Administrator {
    /// Reads the administrator's Secret: `email`, and `passwordHash` or `password`. The same Secret gives the same hash in
    /// every process, so that an upgrade of the operator ends nobody's session: its salt is made from the cluster and the
    /// address, never from the password.
    ///
    /// # Errors
    /// A sentence that says what is missing.
    pub fn read(data: &BTreeMap<String, Vec<u8>>, cluster: &str) -> Result<Self, String> {
        let text = |key: &str| {
            let value = data.get(key).and_then(|value| std::str::from_utf8(value).ok());
            value.map(str::trim_end).filter(|value| !value.is_empty())
        };
        let email = text("email").ok_or("the administrator's Secret has no email")?;
        let password_hash = match (text("passwordHash"), text("password")) {
            (Some(hash), _) => is_hash(hash).map(|()| hash.to_owned())?,
            (None, Some(password)) => hashed(password, cluster, email)?,
            (None, None) => {
                return Err("the administrator's Secret has neither passwordHash nor password".to_owned());
            }
        };
        Ok(Self {
            email: email.to_owned(),
            password_hash,
        })
    }
}

/// Whether this is a hash at all: somebody who writes a password there would have it copied to every sale. Auth looks at what
/// checking it would cost.
fn is_hash(text: &str) -> Result<(), String> {
    let is_one = PasswordHash::new(text).is_ok_and(|hash| {
        hash.algorithm.as_str() == "argon2id" && hash.salt.is_some() && hash.hash.is_some()
    });
    is_one.then_some(()).ok_or_else(|| {
        "the passwordHash of the administrator's Secret is no argon2id hash in PHC format, such as \
         $argon2id$v=19$m=19456,t=2,p=1$…"
            .to_owned()
    })
}

fn hashed(password: &str, cluster: &str, email: &str) -> Result<String, String> {
    let mut salt = Sha256::new();
    for part in ["quicksale administrator", cluster, email] {
        salt.update((part.len() as u64).to_be_bytes());
        salt.update(part);
    }
    let salt = salt.finalize();
    // The library's defaults are what auth hashes with: argon2id, 19 MiB, two passes.
    let hash = Argon2::default().hash_password_with_salt(password.as_bytes(), &salt[..16]);
    hash.map(|hash| hash.to_string())
        .map_err(|error| format!("the administrator's password cannot be hashed: {error}"))
}

/// About 142 bits.
const PASSWORD_LENGTH: usize = 24;
/// The first and the longest wait before another try.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// Makes the Secret unless there is one; returns once that is settled, or at `stop`. Sales come after it: an auth pod
/// reads the administrator's account when it starts. `tried` is called after every try.
pub async fn ensure(client: &Client, settings: &Settings, stop: &CancellationToken, tried: impl Fn()) {
    let Some(email) = settings.admin_email.as_deref() else {
        return;
    };
    let mut backoff = Backoff::new(BACKOFF.0, BACKOFF.1);
    loop {
        match create(client, settings, email).await {
            Ok(()) => return,
            // It will not change its mind, and sales can do without a first administrator.
            Err(error) if error.is_refusal() => {
                tracing::error!(
                    %error, namespace = settings.namespace, name = settings.admin_secret,
                    "cannot make the administrator's Secret: create it by hand with the keys email and password"
                );
                return;
            }
            Err(error) => tracing::warn!(%error, "cannot make the administrator's Secret yet; trying again"),
        }
        tried();
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(backoff.next_wait()) => {}
        }
    }
}

async fn create(client: &Client, settings: &Settings, email: &str) -> Result<(), ApiError> {
    let api: Api<Secret> = Api::namespaced(client.clone(), &settings.namespace);
    if within(api.get_opt(&settings.admin_secret)).await?.is_some() {
        return Ok(());
    }
    match within(api.create(&PostParams::default(), &secret(settings, email))).await {
        Ok(_) => {
            tracing::info!(
                namespace = settings.namespace,
                name = settings.admin_secret,
                "the administrator's Secret was made"
            );
            Ok(())
        }
        // Somebody was quicker, and theirs is as good.
        Err(error) if error.is_conflict() => Ok(()),
        Err(error) => Err(error),
    }
}

fn secret(settings: &Settings, email: &str) -> Secret {
    let password = Alphanumeric.sample_string(&mut rand::rng(), PASSWORD_LENGTH);
    let json = json!({
        "metadata": {
            "name": settings.admin_secret,
            "namespace": settings.namespace,
            "labels": {"app.kubernetes.io/part-of": "quicksale"},
        },
        "type": "Opaque",
        "stringData": {"email": email, "password": password},
    });
    // Every field above is one of a Secret's, so nothing is lost.
    serde_json::from_value(json).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(pairs: &[(&str, &str)]) -> BTreeMap<String, Vec<u8>> {
        let pair = |(key, value): &(&str, &str)| ((*key).to_owned(), value.as_bytes().to_vec());
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn sales_get_a_hash_that_is_the_same_each_time_and_checks_the_password() {
        use argon2::PasswordVerifier;
        let data = secret(&[("email", "boss@example.com"), ("password", "a secret\n")]);
        let first = Administrator::read(&data, "cluster").unwrap();
        assert_eq!(Administrator::read(&data, "cluster").unwrap(), first);
        assert_ne!(
            Administrator::read(&data, "another").unwrap().password_hash,
            first.password_hash
        );
        assert!(
            first.password_hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
            "{first:?}"
        );
        let hash = PasswordHash::new(&first.password_hash).unwrap();
        Argon2::default().verify_password(b"a secret", &hash).unwrap();
        assert!(Argon2::default().verify_password(b"another", &hash).is_err());
    }

    #[test]
    fn a_hash_that_is_there_is_handed_on_and_what_is_missing_is_named() {
        let hash = hashed("another", "c", "b@x").unwrap();
        let data = secret(&[("email", "b@x"), ("passwordHash", &hash), ("password", "p")]);
        assert_eq!(Administrator::read(&data, "c").unwrap().password_hash, hash);
        for no_hash in [
            "a password",
            "$argon2i$v=19$m=8,t=1,p=1$c29tZXNhbHQ$aGFzaGhhc2hoYXNo",
            "$argon2id$v=19$m=8,t=1,p=1",
        ] {
            let data = secret(&[("email", "b@x"), ("passwordHash", no_hash)]);
            let said = Administrator::read(&data, "c").unwrap_err();
            assert!(said.contains("passwordHash") && !said.contains(no_hash), "{said}");
        }
        for (pairs, missing) in [
            (vec![("password", "p")], "email"),
            (vec![("email", "b@x")], "passwordHash"),
        ] {
            assert!(
                Administrator::read(&secret(&pairs), "c")
                    .unwrap_err()
                    .contains(missing)
            );
        }
    }
}
