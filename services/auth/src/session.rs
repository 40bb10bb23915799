//! Token pairs: a short access token, and a refresh token that is good for one exchange.
//!
//! A session is over when its time is up, when it is ended by hand, when an old refresh token comes back, or when the
//! account has moved on to another version: a new password, a demotion, "log out everywhere". The version is compared at
//! each exchange, so one write to the account ends all of its sessions; their documents are tidied up after.

use crate::{
    client::Client,
    refresh::{Step, Token, Tokens},
    session_store::{Session, SessionStore, Use},
    store::{Store, User},
};
use jiff::Timestamp;
use platform::{
    audit::{self, Event, Outcome, masked_address},
    backends::mongo::{self, MongoError},
    http::problem::Problem,
    tokens::{ACCESS_TOKEN_TTL, KeyError, Role, Signer},
};
use sale::UserId;
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;

/// Sessions that a user may have at once; the oldest one ends for a new one.
pub const SESSIONS_OF_A_USER: usize = 20;
/// Tries to exchange a token against others who do the same.
const ATTEMPTS: u32 = 8;

/// An access token and the refresh token that follows it.
#[derive(Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Pair {
    /// For the Authorization header.
    pub access_token: String,
    /// Seconds for which it is good.
    pub expires_in: u64,
    /// For one exchange; 30 days, and 90 days after the login at the latest.
    pub refresh_token: String,
}

/// Begins, exchanges and ends sessions.
#[derive(Debug, Clone)]
pub struct Sessions {
    users: Store,
    sessions: SessionStore,
    signer: Arc<Signer>,
}

/// What came of a refresh token.
enum Exchanged {
    /// A pair for the user, made at this instant.
    Pair(Box<User>, Token, Timestamp),
    /// Nothing: it is none of ours, or over.
    Refused,
    /// It was spent before: its user's session has ended.
    Stolen(UserId),
}

impl Sessions {
    /// Sessions kept in a store.
    pub fn new(users: Store, sessions: SessionStore, signer: Arc<Signer>) -> Self {
        Self {
            users,
            sessions,
            signer,
        }
    }

    /// A first pair after a login.
    ///
    /// # Errors
    /// 503 when the store does not answer.
    pub async fn begin(&self, user: &User, client: &Client, now: Timestamp) -> Result<Pair, Problem> {
        let token = Token::random();
        let tokens = Tokens::first(&token, now);
        let session = Session::new(
            user.id.clone(),
            user.auth_version,
            token.handle_hash(),
            &tokens,
            used(client, now),
        );
        let sessions = self.sessions.clone();
        mongo::detached(async move {
            sessions
                .add(&session, SESSIONS_OF_A_USER)
                .await
                .map_err(MongoError::from)
        })
        .await
        .map_err(|error| busy(&error))?;
        self.pair(user, &token, now)
    }

    /// An access token of a program of the shop, which has no session: it asks for the next one with its secret.
    ///
    /// # Errors
    /// When signing fails.
    pub fn sign_for_service(&self, id: &UserId, version: i64, now: Timestamp) -> Result<String, KeyError> {
        self.signer.versioned_token(id, Role::Service, version, now)
    }

    /// Exchanges a refresh token. One that was spent just now is answered as it was then; one that was spent before was
    /// stolen, then or now, and its session ends.
    ///
    /// # Errors
    /// 401 for a token that is not good, 503 when the store does not answer.
    pub async fn refresh(&self, token: &str, client: &Client, now: Timestamp) -> Result<Pair, Problem> {
        let refused = || Problem::unauthenticated("The refresh token is not good any more; log in again.");
        // As exact as the store, so that a repeated answer is the same to the letter.
        let now = Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now);
        let token = Token::parse(token).ok_or_else(refused)?;
        let (this, by) = (self.clone(), used(client, now));
        let exchanged = mongo::detached(async move { this.exchange(&token, by).await })
            .await
            .map_err(|error| busy(&error))?;
        match exchanged {
            Exchanged::Pair(user, token, made_at) => self.pair(&user, &token, made_at),
            Exchanged::Refused => Err(refused()),
            Exchanged::Stolen(user) => {
                audit::record(Event {
                    action: "token_reuse",
                    outcome: Outcome::Refused,
                    who: "anonymous",
                    whose: user.as_str(),
                    from: Some(client.address),
                    request_id: client.request_id.as_deref(),
                });
                Err(refused())
            }
        }
    }

    async fn exchange(&self, token: &Token, by: Use) -> Result<Exchanged, MongoError> {
        for _ in 0..ATTEMPTS {
            let Some(session) = self.sessions.by_handle(&token.handle_hash()).await? else {
                return Ok(Exchanged::Refused);
            };
            let user = self.users.user(&session.user_id).await?;
            let Some(user) = user.filter(|user| user.auth_version == session.auth_version) else {
                self.sessions.end(&session.id).await?;
                return Ok(Exchanged::Refused);
            };
            match session.tokens().step(token, by.at) {
                Step::Exchange { next, after } => {
                    if self.sessions.exchange(&session, &after, by.clone()).await? {
                        return Ok(Exchanged::Pair(Box::new(user), next, by.at));
                    }
                }
                Step::Repeat { current, made_at } => {
                    return Ok(Exchanged::Pair(Box::new(user), current, made_at));
                }
                Step::Over => {
                    self.sessions.end(&session.id).await?;
                    return Ok(Exchanged::Refused);
                }
                Step::Stolen => {
                    self.sessions.end(&session.id).await?;
                    return Ok(Exchanged::Stolen(user.id));
                }
            }
        }
        Ok(Exchanged::Refused)
    }

    /// Ends the session of a refresh token, if there is one, and says whose it was.
    ///
    /// # Errors
    /// 503 when the store does not answer.
    pub async fn end(&self, token: &str) -> Result<Option<UserId>, Problem> {
        let Some(token) = Token::parse(token) else {
            return Ok(None);
        };
        let sessions = self.sessions.clone();
        mongo::detached(async move {
            let Some(session) = sessions.by_handle(&token.handle_hash()).await? else {
                return Ok::<_, MongoError>(None);
            };
            sessions.end(&session.id).await?;
            Ok(Some(session.user_id))
        })
        .await
        .map_err(|error| busy(&error))
    }

    /// The sessions of a user, the newest first.
    ///
    /// # Errors
    /// 503 when the store does not answer.
    pub async fn list(&self, user: &UserId) -> Result<Vec<Session>, Problem> {
        let (users, sessions, user) = (self.users.clone(), self.sessions.clone(), user.clone());
        mongo::detached(async move {
            let version = users.user(&user).await?.map(|user| user.auth_version);
            let mut all = sessions.of_user(&user).await?;
            all.retain(|session| Some(session.auth_version) == version);
            Ok::<_, MongoError>(all)
        })
        .await
        .map_err(|error| busy(&error))
    }

    /// Ends one session of a user; says whether there was one.
    ///
    /// # Errors
    /// 503 when the store does not answer.
    pub async fn end_one(&self, id: String, user: UserId) -> Result<bool, Problem> {
        let sessions = self.sessions.clone();
        mongo::detached(async move { sessions.end_of_user(&id, &user).await.map_err(MongoError::from) })
            .await
            .map_err(|error| busy(&error))
    }

    /// Removes the sessions that a user had before this version of the account.
    ///
    /// # Errors
    /// 503 when the store does not answer.
    pub async fn tidy(&self, user: UserId, version: i64) -> Result<(), Problem> {
        let sessions = self.sessions.clone();
        mongo::detached(async move { sessions.end_older(&user, version).await.map_err(MongoError::from) })
            .await
            .map_err(|error| busy(&error))
    }

    /// Ends every session of a user, an administrator's access tokens included.
    ///
    /// # Errors
    /// 503 when the store does not answer.
    pub async fn end_all(&self, user: UserId) -> Result<(), Problem> {
        let (users, sessions) = (self.users.clone(), self.sessions.clone());
        mongo::detached(async move {
            users.end_sessions(&user).await?;
            sessions
                .end_older(&user, i64::MAX)
                .await
                .map_err(MongoError::from)
        })
        .await
        .map_err(|error| busy(&error))
    }

    fn pair(&self, user: &User, token: &Token, now: Timestamp) -> Result<Pair, Problem> {
        let access_token = self
            .signer
            .versioned_token(&user.id, user.role, user.auth_version, now)
            .map_err(|error| Problem::internal(&error))?;
        Ok(Pair {
            access_token,
            expires_in: ACCESS_TOKEN_TTL.as_secs(),
            refresh_token: token.text(),
        })
    }
}

fn used(client: &Client, at: Timestamp) -> Use {
    Use {
        at,
        from: masked_address(client.address),
        agent: client.agent.clone(),
    }
}

pub(crate) fn busy(error: &MongoError) -> Problem {
    tracing::warn!(%error, "the store of accounts does not answer");
    Problem::busy()
}
