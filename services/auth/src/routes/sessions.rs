//! Going on with a session, and ending it.

use super::{Auth, Pair, Problem, Refresh, note};
use crate::{client::Client, session_store::Session};
use axum::{extract::State, http::StatusCode};
use mongodb::bson::DateTime;
use platform::http::{Json, Path, authorization::Caller};
use serde::Serialize;
use utoipa::ToSchema;

/// A session as its owner sees it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct SessionView {
    /// Opaque id.
    #[serde(rename = "_id")]
    id: String,
    /// When it began; RFC 3339.
    created_at: String,
    /// When its refresh token was exchanged last.
    last_used_at: String,
    /// When it ends unless its refresh token is exchanged before.
    expires_at: String,
    /// When it ends at the latest.
    ends_at: String,
    /// The network it was used from last: /24 for IPv4, /48 for IPv6.
    from: String,
    /// What the client called itself (`User-Agent`), cut after 120 characters.
    user_agent: String,
}

/// The sessions of an account, the newest first.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct SessionList {
    /// At most 20.
    items: Vec<SessionView>,
    /// Always null: there is one page.
    next_cursor: Option<String>,
}

impl From<Session> for SessionView {
    fn from(session: Session) -> Self {
        let text = |at: DateTime| at.try_to_rfc3339_string().unwrap_or_default();
        Self {
            id: session.id,
            created_at: text(session.created_at),
            last_used_at: text(session.last_used_at),
            expires_at: text(session.expires_at),
            ends_at: text(session.ends_at),
            from: session.from,
            user_agent: session.agent,
        }
    }
}

/// Exchanges a refresh token for a new pair; the old one is spent. For 30 seconds it gets the same answer again, so that
/// an answer may be lost and two tabs may ask at once.
#[utoipa::path(post, path = "/api/auth/refresh", tag = "auth", request_body = Refresh,
    responses((status = 200, body = Pair, description = "The new pair"),
              (status = 401, body = Problem, description = "unauthenticated: spent, ended or too old. \
               Sending a token more than 30 seconds after it was spent ends its session")))]
pub(super) async fn refresh(
    State(auth): State<Auth>,
    client: Client,
    Json(old): Json<Refresh>,
) -> Result<Json<Pair>, Problem> {
    auth.sessions
        .refresh(&old.refresh_token, &client, auth.clock.now())
        .await
        .map(Json)
}

/// Ends the session of a refresh token; no access token is needed.
#[utoipa::path(post, path = "/api/auth/logout", tag = "auth", request_body = Refresh,
    responses((status = 204, description = "The session is over, if there was one; its access token lasts until it \
               expires")))]
pub(super) async fn logout(
    State(auth): State<Auth>,
    client: Client,
    Json(old): Json<Refresh>,
) -> Result<StatusCode, Problem> {
    if let Some(user) = auth.sessions.end(&old.refresh_token).await? {
        note("logout", user.as_str(), &client);
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Ends all sessions of the caller.
#[utoipa::path(post, path = "/api/auth/logout-all", tag = "auth", security(("bearer" = [])),
    responses((status = 204, description = "All sessions are over; a buyer's access tokens last until they expire, an \
               administrator's end at once")))]
pub(super) async fn logout_all(
    State(auth): State<Auth>,
    client: Client,
    caller: Caller,
) -> Result<StatusCode, Problem> {
    let user = caller.0.user;
    auth.sessions.end_all(user.clone()).await?;
    note("logout_all", user.as_str(), &client);
    Ok(StatusCode::NO_CONTENT)
}

/// The sessions of the caller, the newest first.
#[utoipa::path(get, path = "/api/auth/sessions", tag = "auth", security(("bearer" = [])),
    responses((status = 200, body = SessionList, description = "The sessions")))]
pub(super) async fn list(State(auth): State<Auth>, caller: Caller) -> Result<Json<SessionList>, Problem> {
    let sessions = auth.sessions.list(&caller.0.user).await?;
    Ok(Json(SessionList {
        items: sessions.into_iter().map(SessionView::from).collect(),
        next_cursor: None,
    }))
}

/// Ends one session of the caller.
#[utoipa::path(delete, path = "/api/auth/sessions/{id}", tag = "auth", security(("bearer" = [])),
    params(("id" = String, Path, description = "The session's _id")),
    responses((status = 204, description = "The session is over; its access token lasts until it expires"),
              (status = 404, body = Problem, description = "not_found: there is none, or it is somebody else's")))]
pub(super) async fn end(
    State(auth): State<Auth>,
    client: Client,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let user = caller.0.user;
    if !auth.sessions.end_one(id, user.clone()).await? {
        return Err(Problem::not_found("session"));
    }
    note("session_end", user.as_str(), &client);
    Ok(StatusCode::NO_CONTENT)
}
