//! The HTTP API of auth.

use crate::{
    account::{Email, check_name, check_password},
    password::Passwords,
    session::{Pair, Sessions, busy},
    store::{Store, User},
};
use axum::{
    Router,
    extract::{FromRef, State},
    http::StatusCode,
    routing::{get, post},
};
use mongodb::bson::DateTime;
use platform::{
    backends::mongo::{self, MongoError},
    clock::Clock,
    http::{
        Json,
        authorization::{Authority, Caller},
        problem::{Code, Problem},
    },
    tokens::Role,
};
use sale::UserId;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use utoipa::{OpenApi, ToSchema};

/// What the routes work with.
#[derive(Debug, Clone)]
pub struct Auth {
    /// Users.
    pub store: Store,
    /// Token pairs.
    pub sessions: Sessions,
    /// Hashing.
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
    Router::new()
        .route("/api/auth/register", post(register))
        .route("/api/auth/login", post(login))
        .route("/api/auth/refresh", post(refresh))
        .route("/api/auth/logout", post(logout))
        .route("/api/auth/me", get(me))
        .route("/.well-known/jwks.json", get(jwks))
        .with_state(auth)
}

#[derive(OpenApi)]
#[openapi(paths(register, login, refresh, logout, me, jwks))]
struct Api;

/// The routes as an OpenAPI document.
pub fn openapi() -> utoipa::openapi::OpenApi {
    Api::openapi()
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Registration {
    /// Names the account; upper and lower case are the same.
    #[schema(example = "ada@example.com")]
    email: String,
    /// 8 to 128 characters.
    #[schema(value_type = String)]
    password: SecretString,
    /// 1 to 100 characters.
    first_name: String,
    /// 1 to 100 characters.
    last_name: String,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Login {
    /// The account's address.
    #[schema(example = "ada@example.com")]
    email: String,
    /// The account's password.
    #[schema(value_type = String)]
    password: SecretString,
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
#[derive(Debug, Serialize, ToSchema)]
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

/// Makes a buyer's account.
#[utoipa::path(post, path = "/api/auth/register", tag = "auth", request_body = Registration,
    responses((status = 201, body = LoggedIn, description = "The account is made, and its buyer is logged in"),
              (status = 409, body = Problem, description = "email_taken")))]
async fn register(
    State(auth): State<Auth>,
    Json(new): Json<Registration>,
) -> Result<(StatusCode, Json<LoggedIn>), Problem> {
    use secrecy::ExposeSecret;
    let email = Email::parse(&new.email)?;
    check_password(new.password.expose_secret())?;
    check_name("firstName", &new.first_name)?;
    check_name("lastName", &new.last_name)?;
    let now = auth.clock.now();
    let user = User {
        id: UserId::new(uuid::Uuid::now_v7().to_string()),
        email: email.as_str().to_owned(),
        password_hash: auth.passwords.hash(new.password).await?,
        first_name: new.first_name.trim().to_owned(),
        last_name: new.last_name.trim().to_owned(),
        role: Role::Buyer,
        created_at: DateTime::from_millis(now.as_millisecond()),
    };
    let (store, added) = (auth.store.clone(), user.clone());
    mongo::detached(async move { store.add_user(&added).await.map_err(MongoError::from) })
        .await
        .map_err(|error| {
            if error.is_duplicate_key() {
                Problem::new(
                    Code::EmailTaken,
                    "There is an account with this address; log in instead.",
                )
            } else {
                busy(&error)
            }
        })?;
    let tokens = auth.sessions.begin(&user, now).await?;
    let message = "Account created".to_owned();
    Ok((
        StatusCode::CREATED,
        Json(LoggedIn {
            message,
            user: (&user).into(),
            tokens,
        }),
    ))
}

/// Logs in.
#[utoipa::path(post, path = "/api/auth/login", tag = "auth", request_body = Login,
    responses((status = 200, body = LoggedIn, description = "Logged in"),
              (status = 401, body = Problem, description = "unauthenticated: the address or the password is not right")))]
async fn login(State(auth): State<Auth>, Json(login): Json<Login>) -> Result<Json<LoggedIn>, Problem> {
    let email = Email::parse(&login.email)?;
    let store = auth.store.clone();
    let user = mongo::detached(async move { store.user_by_email(&email).await.map_err(MongoError::from) })
        .await
        .map_err(|error| busy(&error))?;
    let hash = user.as_ref().map(|user| user.password_hash.clone());
    let good = auth.passwords.verify(login.password, hash).await?;
    let user = user
        .filter(|_| good)
        .ok_or_else(|| Problem::unauthenticated("The address or the password is not right."))?;
    let tokens = auth.sessions.begin(&user, auth.clock.now()).await?;
    Ok(Json(LoggedIn {
        message: "Logged in".to_owned(),
        user: (&user).into(),
        tokens,
    }))
}

/// Exchanges a refresh token for a new pair; the old one is spent.
#[utoipa::path(post, path = "/api/auth/refresh", tag = "auth", request_body = Refresh,
    responses((status = 200, body = Pair, description = "The new pair"),
              (status = 401, body = Problem, description = "unauthenticated: spent, ended or too old. \
               Sending a spent token ends its session")))]
async fn refresh(State(auth): State<Auth>, Json(old): Json<Refresh>) -> Result<Json<Pair>, Problem> {
    auth.sessions
        .refresh(&old.refresh_token, auth.clock.now())
        .await
        .map(Json)
}

/// Ends the session of a refresh token.
#[utoipa::path(post, path = "/api/auth/logout", tag = "auth", request_body = Refresh, security(("bearer" = [])),
    responses((status = 204, description = "The session's refresh tokens are gone; its access token lasts until it \
               expires")))]
async fn logout(
    State(auth): State<Auth>,
    _caller: Caller,
    Json(old): Json<Refresh>,
) -> Result<StatusCode, Problem> {
    auth.sessions.end(&old.refresh_token).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The caller's account.
#[utoipa::path(get, path = "/api/auth/me", tag = "auth", security(("bearer" = [])),
    responses((status = 200, body = UserView, description = "The account"),
              (status = 404, body = Problem, description = "not_found: the token is of no account, such as a service's")))]
async fn me(State(auth): State<Auth>, caller: Caller) -> Result<Json<UserView>, Problem> {
    let (store, id) = (auth.store.clone(), caller.0.user);
    let user = mongo::detached(async move { store.user(&id).await.map_err(MongoError::from) })
        .await
        .map_err(|error| busy(&error))?
        .ok_or_else(|| Problem::not_found("account"))?;
    Ok(Json((&user).into()))
}

/// The public keys that tokens are signed with, as a JWK set.
#[utoipa::path(get, path = "/.well-known/jwks.json", tag = "auth",
    responses((status = 200, body = Object, description = "A JWK set (RFC 7517)")))]
async fn jwks(State(auth): State<Auth>) -> Json<serde_json::Value> {
    Json(auth.authority.verifier.jwks().clone())
}
