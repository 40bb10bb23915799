//! Access tokens: short-lived JWTs signed with Ed25519 (RFC 8037), verified by every service on its own from the
//! sale's public keys.
//!
//! Only `EdDSA` is ever accepted, whatever a token's header claims, so neither `alg: none` nor a signature with the
//! public key as an HMAC secret gets anywhere.

use jiff::Timestamp;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, jwk::JwkSet};
use sale::UserId;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{collections::HashMap, path::Path, time::Duration};

/// Who issues our tokens.
pub const ISSUER: &str = "quicksale";
/// Whom a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Audience {
    /// Everybody who calls from outside, through the gateway or the notifier.
    #[serde(rename = "quicksale")]
    Public,
    /// Parts of QuickSale that call each other inside of the cluster. The gateway and the notifier refuse it: one that
    /// was seen on its way is good for nothing outside.
    #[serde(rename = "quicksale-internal")]
    Internal,
}

impl Audience {
    fn as_str(self) -> &'static str {
        match self {
            Self::Public => "quicksale",
            Self::Internal => "quicksale-internal",
        }
    }
}

/// How long an access token is good for.
pub const ACCESS_TOKEN_TTL: Duration = Duration::from_secs(15 * 60);
/// How long a service token is good for: one minted for each conversation is enough.
pub const SERVICE_TOKEN_TTL: Duration = Duration::from_secs(60);
/// Verified tokens kept in memory: an Ed25519 verification costs some 40 us, a look-up well under one.
const CACHED_TOKENS: usize = 50_000;

/// What a token's bearer may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Buys.
    Buyer,
    /// Manages products and sees every order.
    Admin,
    /// A part of QuickSale, such as the operator.
    Service,
}

/// The claims of an access token (RFC 7519 names).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// The user.
    pub sub: UserId,
    /// What the user may do.
    pub role: Role,
    /// Issuer.
    pub iss: String,
    /// Audience.
    pub aud: Audience,
    /// Issued at, seconds since the epoch.
    pub iat: i64,
    /// Expires at, seconds since the epoch.
    pub exp: i64,
    /// The version of the account's credentials that the token was made for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ver: Option<i64>,
}

/// The verified bearer of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The user.
    pub user: UserId,
    /// What the user may do.
    pub role: Role,
    /// Whom the token is for.
    pub audience: Audience,
    /// When the token ends.
    pub expires_at: Timestamp,
    /// The version of the account's credentials that the token was made for.
    pub version: Option<i64>,
}

/// Why a token was refused. Deliberately coarse: the answer to the caller is the same 401 for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not a token of ours: malformed, wrong algorithm, unknown key, bad signature, wrong issuer or audience.
    #[error("the token is not valid")]
    Invalid,
    /// It was ours, and is over.
    #[error("the token has expired")]
    Expired,
}

/// Why keys could not be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A key file is not there or cannot be read.
    #[error("cannot read the key file {path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// A key file has the wrong content.
    #[error("{what} is not usable: {problem}")]
    Content {
        /// Which key.
        what: &'static str,
        /// What is wrong.
        problem: String,
    },
}

/// A freshly made key pair in the form it is stored in.
#[derive(Debug, Clone)]
pub struct KeyPair {
    /// PKCS#8 PEM with the private key; for [`crate::config::paths::SIGNING_KEY_FILE`].
    pub private_pem: String,
    /// JWK set with the public key; for [`crate::config::paths::JWKS_FILE`].
    pub jwks_json: String,
}

impl KeyPair {
    /// Makes a new Ed25519 key pair from the operating system's randomness.
    ///
    /// # Errors
    /// [`KeyError::Content`] when the key cannot be encoded.
    pub fn generate() -> Result<Self, KeyError> {
        use ed25519_dalek::{SigningKey, pkcs8::EncodePrivateKey, pkcs8::spki::der::pem::LineEnding};
        let key = SigningKey::from_bytes(&rand::random::<[u8; 32]>());
        let pem = key
            .to_pkcs8_pem(LineEnding::LF)
            .map_err(content("the new signing key"))?;
        Ok(Self {
            private_pem: pem.to_string(),
            jwks_json: jwks_of(key.verifying_key().as_bytes()).to_string(),
        })
    }
}

fn jwks_of(public: &[u8; 32]) -> serde_json::Value {
    use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
    serde_json::json!({"keys": [{
        "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig",
        "kid": key_id(public), "x": BASE64_URL_SAFE_NO_PAD.encode(public),
    }]})
}

fn key_id(public: &[u8; 32]) -> String {
    hex::encode(&Sha256::digest(public)[..8])
}

fn content<E: std::fmt::Display>(what: &'static str) -> impl Fn(E) -> KeyError {
    move |error| KeyError::Content {
        what,
        problem: error.to_string(),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, KeyError> {
    std::fs::read(path).map_err(|source| KeyError::Read {
        path: path.display().to_string(),
        source,
    })
}

/// Signs tokens.
pub struct Signer {
    key: EncodingKey,
    header: Header,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer")
            .field("kid", &self.header.kid)
            .finish_non_exhaustive()
    }
}

impl Signer {
    /// Reads the private key from its PEM text.
    ///
    /// # Errors
    /// [`KeyError::Content`] unless it is a PKCS#8 Ed25519 key.
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        use ed25519_dalek::{SigningKey, pkcs8::DecodePrivateKey};
        let what = "the signing key";
        let private = SigningKey::from_pkcs8_pem(pem).map_err(content(what))?;
        let mut header = Header::new(Algorithm::EdDSA);
        header.kid = Some(key_id(private.verifying_key().as_bytes()));
        let key = EncodingKey::from_ed_pem(pem.as_bytes()).map_err(content(what))?;
        Ok(Self { key, header })
    }

    /// Reads the private key from the key directory.
    ///
    /// # Errors
    /// [`KeyError`], naming the file.
    pub fn read(dir: &Path) -> Result<Self, KeyError> {
        let pem = read(&dir.join(crate::config::paths::SIGNING_KEY_FILE))?;
        Self::from_pem(&String::from_utf8_lossy(&pem))
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
            ver,
        };
        jsonwebtoken::encode(&self.header, &claims, &self.key).map_err(content("the token"))
    }
}

/// Verifies tokens, remembering those it has seen.
pub struct Verifier {
    keys: HashMap<String, DecodingKey>,
    jwks: serde_json::Value,
    validation: Validation,
    seen: quick_cache::sync::Cache<[u8; 32], Identity>,
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verifier")
            .field("keys", &self.keys.keys())
            .finish_non_exhaustive()
    }
}

impl Verifier {
    /// Reads the public keys from a JWK set.
    ///
    /// # Errors
    /// [`KeyError::Content`] when it holds no usable key.
    pub fn from_jwks(json: &[u8]) -> Result<Self, KeyError> {
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
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[Audience::Public.as_str(), Audience::Internal.as_str()]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        // Expiry is checked below, against the clock that the caller passes in.
        validation.validate_exp = false;
        Ok(Self {
            keys,
            jwks: serde_json::from_slice(json).map_err(content(what))?,
            validation,
            seen: quick_cache::sync::Cache::new(CACHED_TOKENS),
        })
    }

    /// Reads the public keys from the key directory.
    ///
    /// # Errors
    /// [`KeyError`], naming the file.
    pub fn read(dir: &Path) -> Result<Self, KeyError> {
        Self::from_jwks(&read(&dir.join(crate::config::paths::JWKS_FILE))?)
    }

    /// The public keys as they are published.
    pub fn jwks(&self) -> &serde_json::Value {
        &self.jwks
    }

    /// Who bears this token.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn verify(&self, token: &str, now: Timestamp) -> Result<Identity, TokenError> {
        let digest: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        let identity = match self.seen.get(&digest) {
            Some(identity) => identity,
            None => {
                let identity = self.verify_signature(token)?;
                self.seen.insert(digest, identity.clone());
                identity
            }
        };
        if now >= identity.expires_at {
            return Err(TokenError::Expired);
        }
        Ok(identity)
    }

    fn verify_signature(&self, token: &str) -> Result<Identity, TokenError> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| TokenError::Invalid)?;
        let key = header
            .kid
            .and_then(|kid| self.keys.get(&kid))
            .ok_or(TokenError::Invalid)?;
        let claims = jsonwebtoken::decode::<Claims>(token, key, &self.validation)
            .map_err(|_| TokenError::Invalid)?
            .claims;
        let expires_at = Timestamp::from_second(claims.exp).map_err(|_| TokenError::Invalid)?;
        Ok(Identity {
            user: claims.sub,
            role: claims.role,
            audience: claims.aud,
            expires_at,
            version: claims.ver,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};

    fn keys() -> (Signer, Verifier) {
        let pair = KeyPair::generate().unwrap();
        (
            Signer::from_pem(&pair.private_pem).unwrap(),
            Verifier::from_jwks(pair.jwks_json.as_bytes()).unwrap(),
        )
    }

    #[test]
    fn a_token_is_good_until_it_expires() {
        let (signer, verifier) = keys();
        let now = Timestamp::from_second(1_000_000).unwrap();
        let token = signer.access_token(&UserId::new("u1"), Role::Admin, now).unwrap();
        for _cached_the_second_time in 0..2 {
            let identity = verifier.verify(&token, now).unwrap();
            assert_eq!((identity.user.as_str(), identity.role), ("u1", Role::Admin));
        }
        assert_eq!(
            verifier.verify(&token, now + ACCESS_TOKEN_TTL),
            Err(TokenError::Expired)
        );
    }

    #[test]
    fn a_token_of_a_part_of_quicksale_is_for_the_inside() {
        let (signer, verifier) = keys();
        let now = Timestamp::from_second(1_000_000).unwrap();
        let of = |token: String| verifier.verify(&token, now).unwrap().audience;
        let user = UserId::new("u1");
        assert_eq!(
            of(signer.service_token("operator", now).unwrap()),
            Audience::Internal
        );
        assert_eq!(
            of(signer.access_token(&user, Role::Admin, now).unwrap()),
            Audience::Public
        );
    }

    #[test]
    fn forgeries_are_refused() {
        let (signer, verifier) = keys();
        let (stranger, _) = keys();
        let now = Timestamp::from_second(1_000_000).unwrap();
        let good = signer.access_token(&UserId::new("u1"), Role::Buyer, now).unwrap();
        let mut parts = good.split('.');
        let (header, claims, signature) = (
            parts.next().unwrap(),
            parts.next().unwrap(),
            parts.next().unwrap(),
        );
        let admin = BASE64_URL_SAFE_NO_PAD.encode(
            String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(claims).unwrap())
                .unwrap()
                .replace("buyer", "admin"),
        );
        let none = BASE64_URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#);
        let forged = [
            stranger
                .access_token(&UserId::new("u1"), Role::Admin, now)
                .unwrap(),
            format!("{header}.{admin}.{signature}"),
            format!("{none}.{claims}."),
            format!("{none}.{admin}.{signature}"),
            String::new(),
            "a.b.c".to_owned(),
        ];
        for token in forged {
            assert_eq!(verifier.verify(&token, now), Err(TokenError::Invalid), "{token}");
        }
    }

    #[test]
    fn a_key_signed_with_the_public_key_as_secret_is_refused() {
        let pair = KeyPair::generate().unwrap();
        let verifier = Verifier::from_jwks(pair.jwks_json.as_bytes()).unwrap();
        let jwks: serde_json::Value = serde_json::from_str(&pair.jwks_json).unwrap();
        let mut header = Header::new(Algorithm::HS256);
        header.kid = jwks["keys"][0]["kid"].as_str().map(str::to_owned);
        let secret = BASE64_URL_SAFE_NO_PAD
            .decode(jwks["keys"][0]["x"].as_str().unwrap())
            .unwrap();
        let claims = serde_json::json!({"sub": "u", "role": "admin", "iss": ISSUER, "aud": Audience::Public,
                                        "iat": 0, "exp": 9_999_999_999_i64});
        let token = jsonwebtoken::encode(&header, &claims, &EncodingKey::from_secret(&secret)).unwrap();
        assert_eq!(
            verifier.verify(&token, Timestamp::UNIX_EPOCH),
            Err(TokenError::Invalid)
        );
    }
}
