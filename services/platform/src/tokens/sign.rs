//! Signing.

use super::{
    ACCESS_TOKEN_TTL, Audience, Claims, ISSUER, KeyError, Role, SERVICE_TOKEN_TTL,
    keys::{content, key_id, read},
};
use crate::{
    config::paths::SIGNING_KEY_FILE,
    mounted::{self, KEY_POLL},
};
use arc_swap::ArcSwap;
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use sale::UserId;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio_util::sync::CancellationToken;

/// Signs tokens.
pub struct Signer {
    current: ArcSwap<SigningKey>,
}

struct SigningKey {
    key: EncodingKey,
    header: Header,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer")
            .field("kid", &self.current.load().header.kid)
            .finish_non_exhaustive()
    }
}

impl Signer {
    /// Reads the private key from its PEM text.
    ///
    /// # Errors
    /// [`KeyError::Content`] unless it is a PKCS#8 Ed25519 key.
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        Ok(Self {
            current: ArcSwap::from_pointee(SigningKey::from_pem(pem)?),
        })
    }

    /// Reads the private key from the key directory.
    ///
    /// # Errors
    /// [`KeyError`], naming the file.
    pub fn read(dir: &Path) -> Result<Self, KeyError> {
        let pem = read(&dir.join(SIGNING_KEY_FILE))?;
        Self::from_pem(&String::from_utf8_lossy(&pem))
    }

    /// Takes up the private key in the directory whenever it changes, until the process ends. One that is of no use
    /// changes nothing.
    pub async fn follow(self: Arc<Self>, dir: PathBuf, stop: CancellationToken) {
        let file = dir.join(SIGNING_KEY_FILE);
        mounted::follow(&file, KEY_POLL, stop, |pem| {
            let new = SigningKey::from_pem(&String::from_utf8_lossy(pem))?;
            let (from, to) = (self.current.load().header.kid.clone(), new.header.kid.clone());
            if from != to {
                self.current.store(Arc::new(new));
                tracing::info!(from, to, "tokens are signed with another key");
            }
            Ok::<_, KeyError>(())
        })
        .await;
    }

    /// Signs an access token.
    ///
    /// # Errors
    /// [`KeyError::Content`] when signing fails.
    pub fn access_token(&self, user: &UserId, role: Role, now: Timestamp) -> Result<String, KeyError> {
        self.sign(user, role, Audience::Public, None, now, ACCESS_TOKEN_TTL)
    }

    /// Signs an access token that is bound to a version of the account's credentials.
    ///
    /// # Errors
    /// [`KeyError::Content`] when signing fails.
    pub fn versioned_token(
        &self,
        user: &UserId,
        role: Role,
        version: i64,
        now: Timestamp,
    ) -> Result<String, KeyError> {
        self.sign(user, role, Audience::Public, Some(version), now, ACCESS_TOKEN_TTL)
    }

    /// Signs a token for a part of QuickSale that calls another inside of the cluster.
    ///
    /// # Errors
    /// [`KeyError::Content`] when signing fails.
    pub fn service_token(&self, caller: &str, now: Timestamp) -> Result<String, KeyError> {
        self.sign(
            &UserId::new(format!("service:{caller}")),
            Role::Service,
            Audience::Internal,
            None,
            now,
            SERVICE_TOKEN_TTL,
        )
    }

    fn sign(
        &self,
        user: &UserId,
        role: Role,
        aud: Audience,
        ver: Option<i64>,
        now: Timestamp,
        ttl: Duration,
    ) -> Result<String, KeyError> {
        let iat = now.as_second();
        let claims = Claims {
            sub: user.clone(),
            role,
            iss: ISSUER.to_owned(),
            aud,
            iat,
            exp: iat + i64::try_from(ttl.as_secs()).unwrap_or(0),
            nbf: None,
            ver,
        };
        let current = self.current.load();
        jsonwebtoken::encode(&current.header, &claims, &current.key).map_err(content("the token"))
    }
}

impl SigningKey {
    fn from_pem(pem: &str) -> Result<Self, KeyError> {
        use ed25519_dalek::pkcs8::DecodePrivateKey;
        let what = "the signing key";
        let private = ed25519_dalek::SigningKey::from_pkcs8_pem(pem).map_err(content(what))?;
        let mut header = Header::new(Algorithm::EdDSA);
        header.kid = Some(key_id(private.verifying_key().as_bytes()));
        let key = EncodingKey::from_ed_pem(pem.as_bytes()).map_err(content(what))?;
        Ok(Self { key, header })
    }
}
