//! Whether an administrator, or a program of the shop, still is one. Access tokens are good until they expire, whatever became of
//! their account; what these may do is too much for that. So auth is asked before such a request goes on, and its answer is
//! believed for a second.
//!
//! Auth puts the account's version into every token. A token of these roles without one is of nobody who has logged
//! in: whoever holds the sale's private key signed it, and auth knows nothing about it.

use crate::Gateway;
use axum::{extract::Request, http::StatusCode};
use platform::{
    http::{authorization::bearer_token, problem::Problem},
    tokens::Role,
};
use sale::{UserId, limits::LimitedRoute};
use serde::Deserialize;
use std::{
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};
use url::Url;

/// How long an answer is believed.
const BELIEVED: Duration = Duration::from_secs(1);
/// How long auth may take to answer.
const DEADLINE: Duration = Duration::from_secs(2);
/// Administrators whose answers are remembered.
const REMEMBERED: usize = 256;

/// What auth says of somebody.
#[derive(Debug, Clone, Copy, Deserialize)]
struct Standing {
    version: i64,
}

/// Asks auth, and remembers its answers for a moment.
#[derive(Clone)]
pub struct Administrators {
    client: reqwest::Client,
    auth: Url,
    answers: Arc<quick_cache::sync::Cache<UserId, (Instant, Option<i64>)>>,
}

impl Administrators {
    /// Asks this auth service.
    pub fn new(auth: &Url) -> Self {
        let client = reqwest::Client::builder()
            .timeout(DEADLINE)
            .build()
            .unwrap_or_default();
        Self {
            client,
            auth: auth.clone(),
            answers: Arc::new(quick_cache::sync::Cache::new(REMEMBERED)),
        }
    }

    /// Whether a token of this version is still good.
    ///
    /// # Errors
    /// 503 when auth does not say.
    async fn still_is(&self, user: &UserId, version: i64) -> Result<bool, Problem> {
        let known = self
            .answers
            .get(user)
            .filter(|(asked, _)| asked.elapsed() < BELIEVED);
        let current = match known {
            Some((_, current)) => current,
            None => {
                let asked = Instant::now();
                let current = self.ask(user).await.map_err(|error| {
                    tracing::warn!(%error, "auth does not say who is an administrator");
                    Problem::busy()
                })?;
                self.answers.insert(user.clone(), (asked, current));
                current
            }
        };
        Ok(current == Some(version))
    }

    async fn ask(&self, user: &UserId) -> Result<Option<i64>, reqwest::Error> {
        let mut url = self.auth.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty()
                .extend(["internal", "standing", user.as_str()]);
        }
        let answer = self.client.get(url).send().await?;
        if answer.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let standing: Standing = answer.error_for_status()?.json().await?;
        Ok(Some(standing.version))
    }
}

/// Refuses the token of an administrator who has been demoted, has another password, or has ended all sessions, and that
/// of a program whose account has ended.
pub(crate) fn check(
    gateway: &Gateway,
    request: &Request,
) -> impl Future<Output = Result<(), Problem>> + Send + use<> {
    // Nobody is kept from logging in or out by the old token that a page still sends along.
    let path = request.uri().path();
    let begins_anew =
        LimitedRoute::is_open_to_guessing(request.method().as_str(), path) || path == "/api/auth/logout";
    let token = bearer_token(request.headers()).filter(|_| !begins_anew);
    let administrator = token
        .and_then(|token| gateway.authority.identify(token).ok())
        .filter(|identity| matches!(identity.role, Role::Admin | Role::Service))
        .and_then(|identity| Some((identity.version?, identity.user)));
    let administrators = gateway.administrators.clone();
    async move {
        let Some((version, user)) = administrator else {
            return Ok(());
        };
        if administrators.still_is(&user, version).await? {
            Ok(())
        } else {
            Err(Problem::unauthenticated("The session has ended; log in again."))
        }
    }
}
