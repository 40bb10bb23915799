//! Verification.

use super::{
    Audience, Claims, ISSUER, Identity, KeyError, TokenError,
    keys::{content, read},
};
use crate::{
    config::paths::JWKS_FILE,
    mounted::{self, KEY_POLL},
};
use arc_swap::ArcSwap;
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, jwk::JwkSet};
use sha2::{Digest, Sha256};
use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio_util::sync::CancellationToken;

/// Verified tokens kept in memory: an Ed25519 verification costs some 40 us, a look-up well under one.
const CACHED_TOKENS: usize = 50_000;

/// How far another node's clock may be ahead of ours before a token of it is not taken.
const CLOCK_SKEW: Duration = Duration::from_secs(60);

/// Verifies tokens, remembering those it has seen.
pub struct Verifier {
    current: ArcSwap<PublicKeys>,
    validation: Validation,
}

/// The keys in use, and the tokens that they have verified: a key that is taken away takes its tokens along.
struct PublicKeys {
    keys: HashMap<String, DecodingKey>,
    jwks: serde_json::Value,
    seen: quick_cache::sync::Cache<[u8; 32], Verified>,
}

/// What a good signature stands under.
#[derive(Debug, Clone)]
struct Verified {
    identity: Identity,
    /// Before this the token is good for nothing.
    from: Timestamp,
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verifier")
            .field("keys", &self.current.load().keys.keys())
            .finish_non_exhaustive()
    }
}

impl PublicKeys {
    fn from_jwks(json: &[u8]) -> Result<Self, KeyError> {
        let what = "the public key set";
        let set: JwkSet = serde_json::from_slice(json).map_err(content(what))?;
        let mut keys = HashMap::new();
        for jwk in &set.keys {
            let kid = jwk
                .common
                .key_id
                .clone()
                .ok_or_else(|| content(what)("a key has no kid"))?;
            keys.insert(kid, DecodingKey::from_jwk(jwk).map_err(content(what))?);
        }
        if keys.is_empty() {
            return Err(content(what)("it is empty"));
        }
        Ok(Self {
            keys,
            jwks: serde_json::from_slice(json).map_err(content(what))?,
            seen: quick_cache::sync::Cache::new(CACHED_TOKENS),
        })
    }
}

impl Verifier {
    /// Reads the public keys from a JWK set.
    ///
    /// # Errors
    /// [`KeyError::Content`] when it holds no usable key.
    pub fn from_jwks(json: &[u8]) -> Result<Self, KeyError> {
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[Audience::Public.as_str(), Audience::Internal.as_str()]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        // Expiry is checked below, against the clock that the caller passes in.
        validation.validate_exp = false;
        Ok(Self {
            current: ArcSwap::from_pointee(PublicKeys::from_jwks(json)?),
            validation,
        })
    }

    /// Reads the public keys from the key directory.
    ///
    /// # Errors
    /// [`KeyError`], naming the file.
    pub fn read(dir: &Path) -> Result<Self, KeyError> {
        Self::from_jwks(&read(&dir.join(JWKS_FILE))?)
    }

    /// Takes up the public keys in the directory whenever they change, until the process ends. A set that is of no use
    /// changes nothing.
    pub async fn follow(self: Arc<Self>, dir: PathBuf, stop: CancellationToken) {
        let file = dir.join(JWKS_FILE);
        mounted::follow(&file, KEY_POLL, stop, |json| {
            let new = PublicKeys::from_jwks(json)?;
            if new.jwks != self.current.load().jwks {
                tracing::info!(keys = ?new.keys.keys(), "tokens are verified with other keys");
                self.current.store(Arc::new(new));
            }
            Ok::<_, KeyError>(())
        })
        .await;
    }

    /// The public keys as they are published.
    pub fn jwks(&self) -> serde_json::Value {
        self.current.load().jwks.clone()
    }

    /// Who bears this token.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn verify(&self, token: &str, now: Timestamp) -> Result<Identity, TokenError> {
        let digest: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        let current = self.current.load();
        let Verified { identity, from } = match current.seen.get(&digest) {
            Some(verified) => verified,
            None => {
                let verified = self.verify_signature(&current, token)?;
                current.seen.insert(digest, verified.clone());
                verified
            }
        };
        if now >= identity.expires_at {
            return Err(TokenError::Expired);
        }
        if from > now + CLOCK_SKEW {
            return Err(TokenError::Invalid);
        }
        Ok(identity)
    }

    fn verify_signature(&self, current: &PublicKeys, token: &str) -> Result<Verified, TokenError> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| TokenError::Invalid)?;
        let key = header
            .kid
            .and_then(|kid| current.keys.get(&kid))
            .ok_or(TokenError::Invalid)?;
        let claims = jsonwebtoken::decode::<Claims>(token, key, &self.validation)
            .map_err(|_| TokenError::Invalid)?
            .claims;
        let time = |seconds| Timestamp::from_second(seconds).map_err(|_| TokenError::Invalid);
        Ok(Verified {
            from: time(claims.iat.max(claims.nbf.unwrap_or(i64::MIN)))?,
            identity: Identity {
                user: claims.sub,
                role: claims.role,
                audience: claims.aud,
                expires_at: time(claims.exp)?,
                version: claims.ver,
            },
        })
    }
}
