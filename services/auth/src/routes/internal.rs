//! What the gateway asks about an administrator or a program of the shop. There is no secret in it, and the path never passes the gateway.

use super::{Auth, Problem, service_accounts};
use crate::session::busy;
use axum::extract::State;
use platform::{
    backends::mongo::{self, MongoError},
    http::{Json, Path},
    tokens::Role,
};
use sale::UserId;
use serde::Serialize;

/// Where somebody stands whose tokens are asked about.
#[derive(Debug, Serialize)]
pub(super) struct Standing {
    /// The account's version: a token of an older one is over.
    version: i64,
}

/// The version of the credentials of an administrator or a service account; 404 for everybody else.
pub(super) async fn standing(
    State(auth): State<Auth>,
    Path(id): Path<String>,
) -> Result<Json<Standing>, Problem> {
    let (users, programs, id) = (auth.users.clone(), auth.service_accounts.clone(), UserId::new(id));
    let version = mongo::detached(async move {
        let administrator = users.user(&id).await?.filter(|user| user.role == Role::Admin);
        Ok::<_, MongoError>(match administrator {
            Some(user) => Some(user.auth_version),
            None => programs.exists(&id).await?.then_some(service_accounts::VERSION),
        })
    })
    .await
    .map_err(|error| busy(&error))?
    .ok_or_else(|| Problem::not_found("administrator or service account"))?;
    Ok(Json(Standing { version }))
}
