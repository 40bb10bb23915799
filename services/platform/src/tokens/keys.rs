//! Key pairs in the form in which they are stored.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::path::Path;

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

/// One JWK set with the keys of several, each once.
///
/// # Errors
/// [`KeyError::Content`] when one of them is no JWK set.
pub fn key_set<'a>(sets: impl IntoIterator<Item = &'a str>) -> Result<String, KeyError> {
    #[derive(Serialize, Deserialize)]
    struct Set {
        keys: Vec<serde_json::Value>,
    }
    let mut merged = Set { keys: Vec::new() };
    for set in sets {
        let set: Set = serde_json::from_str(set).map_err(content("the public key set"))?;
        for key in set.keys {
            if !merged.keys.contains(&key) {
                merged.keys.push(key);
            }
        }
    }
    serde_json::to_string(&merged).map_err(content("the public key set"))
}

fn jwks_of(public: &[u8; 32]) -> serde_json::Value {
    use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
    serde_json::json!({"keys": [{
        "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig",
        "kid": key_id(public), "x": BASE64_URL_SAFE_NO_PAD.encode(public),
    }]})
}

pub(super) fn key_id(public: &[u8; 32]) -> String {
    hex::encode(&Sha256::digest(public)[..8])
}

pub(super) fn content<E: std::fmt::Display>(what: &'static str) -> impl Fn(E) -> KeyError {
    move |error| KeyError::Content {
        what,
        problem: error.to_string(),
    }
}

pub(super) fn read(path: &Path) -> Result<Vec<u8>, KeyError> {
    std::fs::read(path).map_err(|source| KeyError::Read {
        path: path.display().to_string(),
        source,
    })
}
