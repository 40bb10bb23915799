//! Registering and logging in.

use super::{Auth, LoggedIn, Pair, Problem, note};
use crate::{
    account::{Email, Owner, check_name, check_password},
    client::Client,
    proof::Purpose,
    session::busy,
    store::{User, network_hash},
};
use axum::{extract::State, http::StatusCode};
use mongodb::bson::DateTime;
use platform::{
    audit::{self, Event, Outcome, masked_email},
    backends::mongo::{self, MongoError},
    http::{Json, problem::Code},
    tokens::Role,
};
use sale::UserId;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use utoipa::ToSchema;

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Registration {
    /// Names the account; upper and lower case are the same.
    #[schema(
        example = "ada@example.com",
        max_length = 254,
        pattern = r"^[!-?A-~]{1,64}@[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*$"
    )]
    email: String,
    /// 8 to 128 characters; none of the most common ones, nor little more than the name or the address.
    #[schema(value_type = String, min_length = 8, max_length = 128)]
    password: SecretString,
    /// 1 to 100 characters.
    #[schema(
        min_length = 1,
        max_length = 100,
        pattern = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$"
    )]
    first_name: String,
    /// 1 to 100 characters.
    #[schema(
        min_length = 1,
        max_length = 100,
        pattern = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$"
    )]
    last_name: String,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Login {
    /// The account's address.
    #[schema(
        example = "ada@example.com",
        max_length = 254,
        pattern = r"^[!-?A-~]{1,64}@[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*$"
    )]
    email: String,
    /// The account's password.
    #[schema(value_type = String)]
    password: SecretString,
}

/// Makes a buyer's account.
#[utoipa::path(post, path = "/api/auth/register", tag = "auth", request_body = Registration,
    responses((status = 201, body = LoggedIn, description = "The account is made, and its buyer is logged in",
               links(("account" = (operation_id = "auth_show", description = "The account, with the access token")))),
              (status = 409, body = Problem, description = "email_taken")))]
pub(super) async fn register(
    State(auth): State<Auth>,
    client: Client,
    Json(new): Json<Registration>,
) -> Result<(StatusCode, Json<LoggedIn>), Problem> {
    let email = Email::parse(&new.email)?;
    check_name("firstName", &new.first_name)?;
    check_name("lastName", &new.last_name)?;
    let owner = Owner {
        email: email.as_str(),
        first_name: &new.first_name,
        last_name: &new.last_name,
    };
    check_password("password", new.password.expose_secret(), owner)?;
    let now = auth.clock.now();
    let id = UserId::new(uuid::Uuid::now_v7().to_string());
    let user = User {
        known_networks: vec![network_hash(&id, client.network())],
        id,
        email: email.as_str().to_owned(),
        password_hash: auth.passwords.hash(new.password, Some(client.network())).await?,
        first_name: new.first_name.trim().to_owned(),
        last_name: new.last_name.trim().to_owned(),
        role: Role::Buyer,
        created_at: DateTime::from_millis(now.as_millisecond()),
        auth_version: 0,
        seeded_by: Vec::new(),
    };
    let (users, added) = (auth.users.clone(), user.clone());
    mongo::detached(async move { users.add_user(&added).await.map_err(MongoError::from) })
        .await
        .map_err(|error| refused(&error, &email, &client))?;
    note("register", user.id.as_str(), &client);
    let tokens = auth.sessions.begin(&user, &client, now).await?;
    Ok((StatusCode::CREATED, logged_in("Account created", &user, tokens)))
}

fn refused(error: &MongoError, email: &Email, client: &Client) -> Problem {
    if !error.is_duplicate_key() {
        return busy(error);
    }
    audit::record(Event {
        action: "register",
        outcome: Outcome::Refused,
        who: "anonymous",
        whose: &masked_email(email.as_str()),
        from: Some(client.address),
        request_id: client.request_id.as_deref(),
    });
    Problem::new(
        Code::EmailTaken,
        "There is an account with this address; log in instead.",
    )
}

/// Logs in. Tries at one account's password are limited, whoever makes them; see docs/accounts.md for the numbers.
#[utoipa::path(post, path = "/api/auth/login", tag = "auth", request_body = Login,
    responses((status = 200, body = LoggedIn, description = "Logged in"),
              (status = 401, body = Problem, description = "unauthenticated: the address or the password is not right"),
              (status = 429, body = Problem, description = "rate_limited: too many requests, or too many wrong passwords \
               for this account")))]
pub(super) async fn login(
    State(auth): State<Auth>,
    client: Client,
    Json(login): Json<Login>,
) -> Result<Json<LoggedIn>, Problem> {
    let email = Email::parse(&login.email)?;
    let now = auth.clock.now();
    let user = auth
        .prover
        .prove(Purpose::Login, &email, login.password, &client, now)
        .await?;
    let tokens = auth.sessions.begin(&user, &client, now).await?;
    Ok(logged_in("Logged in", &user, tokens))
}

fn logged_in(message: &str, user: &User, tokens: Pair) -> Json<LoggedIn> {
    Json(LoggedIn {
        message: message.to_owned(),
        user: user.into(),
        tokens,
    })
}
