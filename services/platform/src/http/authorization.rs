//! Who is calling, from the bearer token, and whether they may.

use super::problem::{Code, Problem};
use crate::{
    clock::Clock,
    tokens::{Identity, Role, TokenError, Verifier},
};
use axum::{
    extract::{FromRef, FromRequestParts},
    http::{header, request::Parts},
};
use std::sync::Arc;

/// What it takes to verify a token.
#[derive(Debug, Clone)]
pub struct Authority {
    /// The sale's public keys.
    pub verifier: Arc<Verifier>,
    /// The clock that tokens expire by.
    pub clock: Clock,
}

impl Authority {
    /// Who bears this token.
    ///
    /// # Errors
    /// 401.
    pub fn identify(&self, token: &str) -> Result<Identity, Problem> {
        self.verifier
            .verify(token, self.clock.now())
            .map_err(|error| match error {
                TokenError::Invalid => {
                    Problem::unauthenticated("The access token is not valid; log in again.")
                }
                TokenError::Expired => {
                    Problem::unauthenticated("The access token has expired; refresh it or log in again.")
                }
            })
    }
}

/// The verified caller of a request.
#[derive(Debug, Clone)]
pub struct Caller(pub Identity);

impl Caller {
    /// Refuses everyone who has none of the roles.
    ///
    /// # Errors
    /// 403.
    pub fn require(&self, roles: &[Role]) -> Result<(), Problem> {
        if roles.contains(&self.0.role) {
            Ok(())
        } else {
            Err(Problem::new(Code::Forbidden, "Your account may not do this."))
        }
    }

    /// Whether the caller sees what belongs to others.
    pub fn sees_everything(&self) -> bool {
        matches!(self.0.role, Role::Admin | Role::Service)
    }
}

/// The token of an `Authorization: Bearer` header.
pub fn bearer_token(headers: &axum::http::HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

impl<S> FromRequestParts<S> for Caller
where
    S: Send + Sync,
    Authority: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let token = bearer_token(&parts.headers).ok_or_else(|| {
            Problem::unauthenticated("Send the access token in the header Authorization: Bearer <token>.")
        })?;
        Authority::from_ref(state).identify(token).map(Self)
    }
}
