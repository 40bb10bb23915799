//! Access tokens: short-lived JWTs signed with Ed25519 (RFC 8037), verified by every service on its own from the
//! sale's public keys.
//!
//! Only `EdDSA` is ever accepted, whatever a token's header claims, so neither `alg: none` nor a signature with the
//! public key as an HMAC secret gets anywhere.
//!
//! Keys change while processes run: [`Verifier::follow`] and [`Signer::follow`] take up what the operator writes into
//! the key directory.

mod keys;
mod sign;
mod verify;

pub use keys::{KeyError, KeyPair, key_set};
pub use sign::Signer;
pub use verify::Verifier;

use jiff::Timestamp;
use sale::UserId;
use serde::{Deserialize, Serialize};
use std::time::Duration;

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

/// What a token's bearer may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Buys.
    Buyer,
    /// Manages products and sees every order.
    Admin,
    /// A part of QuickSale, such as the operator, or a program of the shop, such as the one that takes payments.
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
    /// Not before, seconds since the epoch. Ours have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nbf: Option<i64>,
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
    /// Not a token of ours: malformed, wrong algorithm, unknown key, bad signature, wrong issuer or audience, or of a
    /// time that is still to come.
    #[error("the token is not valid")]
    Invalid,
    /// It was ours, and is over.
    #[error("the token has expired")]
    Expired,
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
    use jsonwebtoken::{Algorithm, EncodingKey, Header};

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

    /// With a minute for the clocks of other nodes.
    #[test]
    fn a_token_is_good_for_nothing_before_its_time() {
        let pair = KeyPair::generate().unwrap();
        let verifier = Verifier::from_jwks(pair.jwks_json.as_bytes()).unwrap();
        let jwks: serde_json::Value = serde_json::from_str(&pair.jwks_json).unwrap();
        let mut header = Header::new(Algorithm::EdDSA);
        header.kid = jwks["keys"][0]["kid"].as_str().map(str::to_owned);
        let key = EncodingKey::from_ed_pem(pair.private_pem.as_bytes()).unwrap();
        let now = Timestamp::from_second(1_000_000).unwrap();
        for (iat, nbf, good) in [
            (1_000_000, None, true),
            (1_000_060, None, true),
            (1_000_061, None, false),
            (i64::MAX, None, false),
            (1_000_000, Some(1_000_060), true),
            (1_000_000, Some(1_000_061), false),
        ] {
            let claims = Claims {
                sub: UserId::new("u1"),
                role: Role::Buyer,
                iss: ISSUER.to_owned(),
                aud: Audience::Public,
                iat,
                exp: 2_000_000,
                nbf,
                ver: None,
            };
            let token = jsonwebtoken::encode(&header, &claims, &key).unwrap();
            for _cached_the_second_time in 0..2 {
                assert_eq!(verifier.verify(&token, now).is_ok(), good, "{iat} {nbf:?}");
            }
        }
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
