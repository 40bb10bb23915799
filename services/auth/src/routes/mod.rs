//! The HTTP API of auth: [`entry`] lets people in, [`sessions`] goes on and ends, [`own`] is about one's own account,
//! [`service_accounts`] is for the shop's programs,
//! [`internal`] is for the other services and never passes the gateway.

mod entry;
mod internal;
mod own;
mod service_accounts;
mod sessions;

use crate::{
    client::Client,
    password::Passwords,
    proof::Prover,
    service_account::ServiceAccounts,
    session::{Pair, Sessions},
    store::{Store, User},
};
use axum::{
    Router,
    extract::{FromRef, State},
    http::{HeaderValue, header},
    middleware,
    response::Response,
    routing::{delete, get, post},
};
use platform::{
    audit::{self, Event, Outcome},
    clock::Clock,
    http::{Json, authorization::Authority, problem::Problem},
    tokens::Role,
};
use serde::{Deserialize, Serialize};
use utoipa::{OpenApi, ToSchema};

/// What the routes work with.
#[derive(Debug, Clone)]
pub struct Auth {
    /// Users.
    pub users: Store,
    /// Accounts of the shop's programs.
    pub service_accounts: ServiceAccounts,
    /// Token pairs.
    pub sessions: Sessions,
    /// Checks passwords.
    pub prover: Prover,
    /// Hashes them.
    pub passwords: Passwords,
    /// Verifies tokens.
    pub authority: Authority,
    /// The clock.
    pub clock: Clock,
}

impl FromRef<Auth> for Authority {
    fn from_ref(auth: &Auth) -> Self {
        auth.authority.clone()
    }
}

/// The routes.
pub fn router(auth: Auth) -> Router {
    let private = Router::new()
        .route("/api/auth/register", post(entry::register))
        .route("/api/auth/login", post(entry::login))
        .route("/api/auth/refresh", post(sessions::refresh))
        .route("/api/auth/logout", post(sessions::logout))
        .route("/api/auth/logout-all", post(sessions::logout_all))
        .route("/api/auth/sessions", get(sessions::list))
        .route("/api/auth/sessions/{id}", delete(sessions::end))
        .route("/api/auth/password", post(own::change_password))
        .route("/api/auth/me", get(own::show).delete(own::delete))
        .route("/api/auth/token", post(service_accounts::token))
        .route(
            "/api/auth/service-accounts",
            get(service_accounts::list).post(service_accounts::create),
        )
        .route("/api/auth/service-accounts/{id}", delete(service_accounts::end))
        .route("/internal/standing/{id}", get(internal::standing))
        .layer(middleware::map_response(not_kept));
    Router::new()
        .merge(private)
        .route("/.well-known/jwks.json", get(jwks))
        .with_state(auth)
}

/// Tokens and accounts are for their receiver alone.
async fn not_kept(mut response: Response) -> Response {
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[derive(OpenApi)]
#[openapi(paths(
    entry::register,
    entry::login,
    sessions::refresh,
    sessions::logout,
    sessions::logout_all,
    sessions::list,
    sessions::end,
    own::show,
    own::change_password,
    own::delete,
    service_accounts::token,
    service_accounts::list,
    service_accounts::create,
    service_accounts::end,
    jwks
))]
struct Api;

/// The routes as an OpenAPI document.
pub fn openapi() -> utoipa::openapi::OpenApi {
    Api::openapi()
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Refresh {
    /// The newest refresh token of the session.
    refresh_token: String,
}

/// A user as the API shows it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct UserView {
    /// Opaque id.
    #[serde(rename = "_id")]
    id: String,
    /// In lower case.
    email: String,
    /// First name.
    first_name: String,
    /// Last name.
    last_name: String,
    /// buyer or admin.
    #[schema(value_type = String)]
    role: Role,
    /// RFC 3339.
    created_at: String,
}

/// An account and the tokens of a new session.
#[derive(Serialize, ToSchema)]
struct LoggedIn {
    /// For people.
    message: String,
    /// The account.
    user: UserView,
    #[serde(flatten)]
    tokens: Pair,
}

impl From<&User> for UserView {
    fn from(user: &User) -> Self {
        Self {
            id: user.id.as_str().to_owned(),
            email: user.email.clone(),
            first_name: user.first_name.clone(),
            last_name: user.last_name.clone(),
            role: user.role,
            created_at: user.created_at.try_to_rfc3339_string().unwrap_or_default(),
        }
    }
}

/// Writes down what somebody did to their own account.
fn note(action: &'static str, user: &str, client: &Client) {
    note_for(action, user, user, client);
}

/// Writes down what somebody (`who`) did to an account, their own or another one (`whose`).
fn note_for(action: &'static str, who: &str, whose: &str, client: &Client) {
    audit::record(Event {
        action,
        outcome: Outcome::Done,
        who,
        whose,
        from: Some(client.address),
        request_id: client.request_id.as_deref(),
    });
}

/// The public keys that tokens are signed with, as a JWK set.
#[utoipa::path(get, path = "/.well-known/jwks.json", tag = "auth",
    responses((status = 200, body = Object, description = "A JWK set (RFC 7517)")))]
async fn jwks(State(auth): State<Auth>) -> Json<serde_json::Value> {
    Json(auth.authority.verifier.jwks())
}
