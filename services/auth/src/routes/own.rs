//! The caller's own account.

use super::{Auth, Pair, Problem, UserView, note};
use crate::{
    account::{Email, Owner, check_password},
    client::Client,
    proof::Purpose,
    session::busy,
    store::User,
};
use axum::{extract::State, http::StatusCode};
use platform::{
    backends::mongo::{self, MongoError},
    http::{Json, authorization::Caller, problem::Code},
    tokens::Role,
};
use sale::UserId;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use utoipa::ToSchema;

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct PasswordChange {
    /// The password that is good now.
    #[schema(value_type = String)]
    current_password: SecretString,
    /// 8 to 128 characters; none of the most common ones, nor little more than the name or the address.
    #[schema(value_type = String, min_length = 8, max_length = 128)]
    new_password: SecretString,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Deletion {
    /// The account's password.
    #[schema(value_type = String)]
    password: SecretString,
}

/// The caller's account.
#[utoipa::path(get, path = "/api/auth/me", tag = "auth", security(("bearer" = [])),
    responses((status = 200, body = UserView, description = "The account"),
              (status = 404, body = Problem, description = "not_found: the token is of no account, such as a service's")))]
pub(super) async fn show(State(auth): State<Auth>, caller: Caller) -> Result<Json<UserView>, Problem> {
    let user = account(&auth, caller.0.user).await?;
    Ok(Json((&user).into()))
}

/// Changes the caller's password. All sessions end; the answer has the tokens of a new one.
#[utoipa::path(post, path = "/api/auth/password", tag = "auth", request_body = PasswordChange,
    security(("bearer" = [])),
    responses((status = 200, body = Pair, description = "The password is changed, and all sessions but this one are over"),
              (status = 403, body = Problem, description = "forbidden: the current password is not right, or the account \
               is an administrator's, whose password is kept in a Secret"),
              (status = 404, body = Problem, description = "not_found: the token is of no account"),
              (status = 429, body = Problem, description = "rate_limited: too many requests, or too many wrong passwords \
               for this account")))]
pub(super) async fn change_password(
    State(auth): State<Auth>,
    client: Client,
    caller: Caller,
    Json(change): Json<PasswordChange>,
) -> Result<Json<Pair>, Problem> {
    let user = account(&auth, caller.0.user).await?;
    no_administrator(&user)?;
    let owner = Owner {
        email: &user.email,
        first_name: &user.first_name,
        last_name: &user.last_name,
    };
    check_password("newPassword", change.new_password.expose_secret(), owner)?;
    let user = prove(
        &auth,
        Purpose::PasswordChange,
        &user,
        change.current_password,
        &client,
    )
    .await?;
    let hash = auth
        .passwords
        .hash(change.new_password, Some(client.network()))
        .await?;
    let users = auth.users.clone();
    let changed = mongo::detached(async move {
        users
            .change_password(&user, &hash)
            .await
            .map_err(MongoError::from)
    })
    .await
    .map_err(|error| busy(&error))?
    .ok_or_else(|| {
        Problem::new(
            Code::Forbidden,
            "The password was changed meanwhile; log in with the new one.",
        )
    })?;
    note(Purpose::PasswordChange.action(), changed.id.as_str(), &client);
    auth.sessions
        .tidy(changed.id.clone(), changed.auth_version)
        .await?;
    let pair = auth.sessions.begin(&changed, &client, auth.clock.now()).await?;
    Ok(Json(pair))
}

/// Deletes the caller's account. Its orders stay, under an id that leads to nobody.
#[utoipa::path(delete, path = "/api/auth/me", tag = "auth", request_body = Deletion, security(("bearer" = [])),
    responses((status = 204, description = "The account and its sessions are gone; an access token lasts until it expires"),
              (status = 403, body = Problem, description = "forbidden: the password is not right, or the account is an \
               administrator's, which the platform declares"),
              (status = 404, body = Problem, description = "not_found: the token is of no account"),
              (status = 429, body = Problem, description = "rate_limited: too many requests, or too many wrong passwords \
               for this account")))]
pub(super) async fn delete(
    State(auth): State<Auth>,
    client: Client,
    caller: Caller,
    Json(deletion): Json<Deletion>,
) -> Result<StatusCode, Problem> {
    let user = account(&auth, caller.0.user).await?;
    no_administrator(&user)?;
    let user = prove(&auth, Purpose::Deletion, &user, deletion.password, &client).await?;
    let (users, id) = (auth.users.clone(), user.id.clone());
    let deleted = mongo::detached(async move { users.delete(&user).await.map_err(MongoError::from) })
        .await
        .map_err(|error| busy(&error))?;
    if !deleted {
        return Err(Problem::new(
            Code::Forbidden,
            "The account changed meanwhile; log in and try again.",
        ));
    }
    note(Purpose::Deletion.action(), id.as_str(), &client);
    auth.sessions.tidy(id, i64::MAX).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn account(auth: &Auth, id: UserId) -> Result<User, Problem> {
    let users = auth.users.clone();
    mongo::detached(async move { users.user(&id).await.map_err(MongoError::from) })
        .await
        .map_err(|error| busy(&error))?
        .ok_or_else(|| Problem::not_found("account"))
}

/// A wrong password is 403 here: a client takes 401 for an access token that is over.
async fn prove(
    auth: &Auth,
    purpose: Purpose,
    user: &User,
    password: SecretString,
    client: &Client,
) -> Result<User, Problem> {
    let email = Email::parse(&user.email)?;
    let proven = auth
        .prover
        .prove(purpose, &email, password, client, auth.clock.now())
        .await
        .map_err(|problem| match problem.code {
            Code::Unauthenticated => Problem::new(Code::Forbidden, "The current password is not right."),
            _ => problem,
        })?;
    // The address may have been given to another account meanwhile.
    if proven.id == user.id {
        Ok(proven)
    } else {
        Err(Problem::not_found("account"))
    }
}

fn no_administrator(user: &User) -> Result<(), Problem> {
    match user.role {
        Role::Buyer => Ok(()),
        Role::Admin | Role::Service => Err(Problem::new(
            Code::Forbidden,
            "The platform declares who the administrator is; change the Secret instead.",
        )),
    }
}
