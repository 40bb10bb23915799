//! Token pairs: a short access token, and a refresh token that is good for one exchange.

use crate::store::{RefreshToken, Store, User};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use jiff::Timestamp;
use mongodb::bson::DateTime;
use platform::{
    backends::mongo::{self, MongoError},
    http::problem::Problem,
    tokens::Signer,
};
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::{sync::Arc, time::Duration};
use utoipa::ToSchema;

/// How long a refresh token is good for.
const REFRESH_TTL: Duration = Duration::from_secs(30 * 24 * 3_600);

/// An access token and the refresh token that follows it.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Pair {
    /// For the Authorization header; 15 minutes.
    pub access_token: String,
    /// For one exchange; 30 days.
    pub refresh_token: String,
}

/// Hands out and exchanges tokens.
#[derive(Debug, Clone)]
pub struct Sessions {
    store: Store,
    signer: Arc<Signer>,
}

impl Sessions {
    /// Sessions kept in a store.
    pub fn new(store: Store, signer: Arc<Signer>) -> Self {
        Self { store, signer }
    }

    /// A first pair after a login.
    ///
    /// # Errors
    /// 503 when the store does not answer.
    pub async fn begin(&self, user: &User, now: Timestamp) -> Result<Pair, Problem> {
        self.pair(user, uuid::Uuid::new_v4().to_string(), now).await
    }

    /// Exchanges a refresh token. One that was exchanged before was stolen, then or now: its whole family ends.
    ///
    /// # Errors
    /// 401 for a token that is not good, 503 when the store does not answer.
    pub async fn refresh(&self, token: &str, now: Timestamp) -> Result<Pair, Problem> {
        let refused = || Problem::unauthenticated("The refresh token is not good any more; log in again.");
        let hash = hash(token);
        let store = self.store.clone();
        let spent: Result<_, MongoError> = mongo::detached(async move {
            let Some(spent) = store.spend(&hash, now).await? else {
                if let Some(reused) = store.token(&hash).await? {
                    tracing::warn!(user = %reused.user_id, "a spent refresh token came back; ending its family");
                    store.revoke(&reused.family).await?;
                }
                return Ok(None);
            };
            let user = store.user(&spent.user_id).await?;
            Ok(user.map(|user| (user, spent)))
        })
        .await;
        let (user, spent) = spent.map_err(|error| busy(&error))?.ok_or_else(refused)?;
        let pair = self.pair(&user, spent.family.clone(), now).await?;
        // A reuse at the same moment may have ended the family before the new token was in it.
        if self.family_has_ended(spent).await? {
            return Err(refused());
        }
        Ok(pair)
    }

    /// Whether the family of a spent token was ended since; what has joined it meanwhile is ended as well.
    async fn family_has_ended(&self, spent: RefreshToken) -> Result<bool, Problem> {
        let store = self.store.clone();
        let ended: Result<_, MongoError> = mongo::detached(async move {
            if store.token(&spent.hash).await?.is_some() {
                return Ok(false);
            }
            store.revoke(&spent.family).await?;
            Ok(true)
        })
        .await;
        ended.map_err(|error| busy(&error))
    }

    /// Ends the family of a refresh token, if there is one.
    ///
    /// # Errors
    /// 503 when the store does not answer.
    pub async fn end(&self, token: &str) -> Result<(), Problem> {
        let (store, hash) = (self.store.clone(), hash(token));
        mongo::detached(async move {
            if let Some(token) = store.token(&hash).await? {
                store.revoke(&token.family).await?;
            }
            Ok::<_, MongoError>(())
        })
        .await
        .map_err(|error| busy(&error))
    }

    async fn pair(&self, user: &User, family: String, now: Timestamp) -> Result<Pair, Problem> {
        let refresh_token = BASE64_URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>());
        let stored = RefreshToken {
            hash: hash(&refresh_token),
            user_id: user.id.clone(),
            family,
            spent_at: None,
            expires_at: DateTime::from_millis((now + REFRESH_TTL).as_millisecond()),
        };
        let store = self.store.clone();
        mongo::detached(async move { store.add_token(&stored).await.map_err(MongoError::from) })
            .await
            .map_err(|error| busy(&error))?;
        let access_token = self
            .signer
            .access_token(&user.id, user.role, now)
            .map_err(|error| Problem::internal(&error))?;
        Ok(Pair {
            access_token,
            refresh_token,
        })
    }
}

fn hash(token: &str) -> String {
    hex::encode(Sha256::digest(token.as_bytes()))
}

pub(crate) fn busy(error: &MongoError) -> Problem {
    tracing::warn!(%error, "the store of accounts does not answer");
    Problem::busy()
}
