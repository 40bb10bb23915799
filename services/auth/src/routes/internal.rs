//! What the gateway asks about an administrator. There is no secret in it, and the path never passes the gateway.

use super::{Auth, Problem};
use crate::session::busy;
use axum::extract::State;
use platform::{
    backends::mongo::{self, MongoError},
    http::{Json, Path},
    tokens::Role,
};
use sale::UserId;
use serde::Serialize;

/// Where an administrator stands.
#[derive(Debug, Serialize)]
pub(super) struct Standing {
    /// The account's version: a token of an older one is over.
    version: i64,
}

/// The version of an administrator's credentials; 404 for everybody else.
pub(super) async fn administrator(
    State(auth): State<Auth>,
    Path(id): Path<String>,
) -> Result<Json<Standing>, Problem> {
    let users = auth.users.clone();
    let id = UserId::new(id);
    let user = mongo::detached(async move { users.user(&id).await.map_err(MongoError::from) })
        .await
        .map_err(|error| busy(&error))?
        .filter(|user| user.role == Role::Admin)
        .ok_or_else(|| Problem::not_found("administrator"))?;
    Ok(Json(Standing {
        version: user.auth_version,
    }))
}
