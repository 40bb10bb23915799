//! Accounts of the shop's programs, and tokens for them.

use super::{Auth, Problem, note, note_for};
use crate::{
    account::check_name,
    client::Client,
    service_account::{MOST, ServiceAccount},
    session::busy,
};
use axum::{extract::State, http::StatusCode};
use mongodb::bson::DateTime;
use platform::{
    audit::{self, Event, Outcome},
    backends::mongo::{self, MongoError},
    http::{Json, Path, authorization::Caller, problem::Code},
    tokens::{ACCESS_TOKEN_TTL, Role},
};
use sale::UserId;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The version in the tokens of service accounts: one that is there has always had the same secret.
pub(super) const VERSION: i64 = 0;

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct NewServiceAccount {
    /// What it is called, 1 to 100 characters; unique.
    #[schema(
        example = "payments",
        min_length = 1,
        max_length = 100,
        pattern = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$"
    )]
    name: String,
}

/// A new service account. This is the only time that its secret is shown.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Created {
    /// For people.
    message: String,
    /// Send it with the secret to POST /api/auth/token.
    client_id: String,
    /// Keep it where secrets are kept.
    client_secret: String,
    /// What it is called.
    name: String,
}

/// The accounts there are, by name.
#[derive(Serialize, ToSchema)]
pub(super) struct ServiceAccountList {
    /// A hundred at the most.
    items: Vec<ServiceAccountView>,
}

/// A service account as the API shows it.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ServiceAccountView {
    /// Its id.
    client_id: String,
    /// What it is called.
    name: String,
    /// RFC 3339.
    created_at: String,
    /// When it got a token the last time, to a minute; RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    used_at: Option<String>,
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Credentials {
    /// The account's client id.
    client_id: String,
    /// Its secret.
    #[schema(value_type = String)]
    client_secret: SecretString,
}

/// A token of a service account.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ServiceToken {
    /// For the Authorization header.
    access_token: String,
    /// Bearer.
    token_type: &'static str,
    /// Seconds that it is good for; ask for the next one before.
    expires_in: u64,
}

/// Makes an account for a program of the shop, such as the one that takes payments.
#[utoipa::path(post, path = "/api/auth/service-accounts", tag = "auth", request_body = NewServiceAccount,
    security(("bearer" = ["admin"])),
    responses((status = 201, body = Created, description = "The account, with its secret",
               links(("all" = (operation_id = "auth_service_accounts", description = "All accounts, this one among them")),
                     ("end" = (operation_id = "auth_end_service_account",
                               parameters(("id" = "$response.body#/clientId")), description = "Ends it")))),
              (status = 409, body = Problem, description = "name_taken, too_many")))]
pub(super) async fn create(
    State(auth): State<Auth>,
    caller: Caller,
    client: Client,
    Json(new): Json<NewServiceAccount>,
) -> Result<(StatusCode, Json<Created>), Problem> {
    caller.require(&[Role::Admin])?;
    check_name("name", &new.name)?;
    let (account, secret) = ServiceAccount::new(new.name.trim().to_owned(), auth.clock.now());
    let (accounts, added) = (auth.service_accounts.clone(), account.clone());
    let added = mongo::detached(async move { accounts.add(&added).await.map_err(MongoError::from) })
        .await
        .map_err(|error| {
            if error.is_duplicate_key() {
                let name = &account.name;
                Problem::new(
                    Code::NameTaken,
                    format!("There is a service account called {name}; take another name, or end that one."),
                )
            } else {
                busy(&error)
            }
        })?;
    if !added {
        let detail = format!("There are {MOST} service accounts already; end those that nothing uses.");
        return Err(Problem::new(Code::TooMany, detail));
    }
    let (admin, made) = (caller.0.user.as_str(), account.id.as_str());
    note_for("service_account.create", admin, made, &client);
    let created = Created {
        message: "Service account created; its secret is shown this once".to_owned(),
        client_id: account.id.as_str().to_owned(),
        client_secret: secret.expose_secret().to_owned(),
        name: account.name,
    };
    Ok((StatusCode::CREATED, Json(created)))
}

/// The accounts of the shop's programs.
#[utoipa::path(get, operation_id = "service_accounts", path = "/api/auth/service-accounts", tag = "auth", security(("bearer" = ["admin"])),
    responses((status = 200, body = ServiceAccountList, description = "All of them, by name")))]
pub(super) async fn list(
    State(auth): State<Auth>,
    caller: Caller,
) -> Result<Json<ServiceAccountList>, Problem> {
    caller.require(&[Role::Admin])?;
    let accounts = auth.service_accounts.clone();
    let all = mongo::detached(async move { accounts.all().await.map_err(MongoError::from) })
        .await
        .map_err(|error| busy(&error))?;
    let text = |at: DateTime| at.try_to_rfc3339_string().unwrap_or_default();
    let view = |account: ServiceAccount| ServiceAccountView {
        client_id: account.id.as_str().to_owned(),
        name: account.name,
        created_at: text(account.created_at),
        used_at: account.used_at.map(text),
    };
    Ok(Json(ServiceAccountList {
        items: all.into_iter().map(view).collect(),
    }))
}

/// Ends the account of a program. Its tokens are good for nothing a second later.
#[utoipa::path(delete, operation_id = "end_service_account", path = "/api/auth/service-accounts/{id}", tag = "auth", security(("bearer" = ["admin"])),
    params(("id" = String, Path, description = "The account's client id")),
    responses((status = 204, description = "It has ended"),
              (status = 404, body = Problem, description = "not_found")))]
pub(super) async fn end(
    State(auth): State<Auth>,
    caller: Caller,
    client: Client,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    caller.require(&[Role::Admin])?;
    let (accounts, id) = (auth.service_accounts.clone(), UserId::new(id));
    let ended = id.clone();
    let was_there = mongo::detached(async move { accounts.remove(&ended).await.map_err(MongoError::from) })
        .await
        .map_err(|error| busy(&error))?;
    if !was_there {
        return Err(Problem::not_found("service account"));
    }
    note_for(
        "service_account.end",
        caller.0.user.as_str(),
        id.as_str(),
        &client,
    );
    Ok(StatusCode::NO_CONTENT)
}

/// A token for a program of the shop, with the role service.
#[utoipa::path(post, path = "/api/auth/token", tag = "auth", request_body = Credentials,
    responses((status = 200, body = ServiceToken, description = "The token"),
              (status = 401, body = Problem, description = "unauthenticated: the id or the secret is not right")))]
pub(super) async fn token(
    State(auth): State<Auth>,
    client: Client,
    Json(given): Json<Credentials>,
) -> Result<Json<ServiceToken>, Problem> {
    let (accounts, now) = (auth.service_accounts.clone(), auth.clock.now());
    let account = mongo::detached(async move {
        accounts
            .prove(&UserId::new(given.client_id), &given.client_secret, now)
            .await
            .map_err(MongoError::from)
    })
    .await
    .map_err(|error| busy(&error))?;
    let Some(account) = account else {
        audit::record(Event {
            action: "service_token",
            outcome: Outcome::Refused,
            who: "anonymous",
            whose: "a service account",
            from: Some(client.address),
            request_id: client.request_id.as_deref(),
        });
        return Err(Problem::unauthenticated(
            "The client id or the secret is not right; an administrator can make another service account.",
        ));
    };
    note("service_token", account.id.as_str(), &client);
    let signed = auth
        .sessions
        .sign_for_service(&account.id, VERSION, now)
        .map_err(|error| Problem::internal(&error))?;
    Ok(Json(ServiceToken {
        access_token: signed,
        token_type: "Bearer",
        expires_in: ACCESS_TOKEN_TTL.as_secs(),
    }))
}
