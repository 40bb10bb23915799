//! Who is calling, from the bearer token, and whether they may.

use super::problem::{Code, Problem};
use crate::{
    clock::Clock,
    tokens::{Audience, Identity, Role, TokenError, Verifier},
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
    /// Where the requests come from.
    pub entrance: Entrance,
}

/// Where the requests of a listener come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entrance {
    /// From inside of the cluster: through the gateway, or from another part of QuickSale.
    Inside,
    /// From everywhere: tokens that parts of QuickSale call each other with are good for nothing here.
    Outside,
}

impl Authority {
    /// The same for a listener that everybody reaches.
    #[must_use]
    pub fn outside(self) -> Self {
        Self {
            entrance: Entrance::Outside,
            ..self
        }
    }

    /// Whether this is a token that parts of QuickSale call each other with, at a listener that everybody reaches. It is
    /// to be refused there, and not to be handed on to one that takes it.
    pub fn must_stay_inside(&self, token: &str) -> bool {
        let identity = self.verifier.verify(token, self.clock.now());
        identity.is_ok_and(|identity| self.is_misplaced(&identity))
    }

    fn is_misplaced(&self, identity: &Identity) -> bool {
        identity.audience == Audience::Internal && self.entrance == Entrance::Outside
    }

    /// Who bears this token.
    ///
    /// # Errors
    /// 401.
    pub fn identify(&self, token: &str) -> Result<Identity, Problem> {
        let verified = self.verifier.verify(token, self.clock.now());
        let verified = verified.and_then(|identity| {
            if self.is_misplaced(&identity) {
                Err(TokenError::Invalid)
            } else {
                Ok(identity)
            }
        });
        verified.map_err(|error| match error {
            TokenError::Invalid => Problem::unauthenticated("The access token is not valid; log in again."),
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

    /// Refuses everyone but another part of QuickSale.
    ///
    /// # Errors
    /// 403.
    pub fn require_internal(&self) -> Result<(), Problem> {
        self.require(&[Role::Service])?;
        if self.0.audience == Audience::Internal {
            Ok(())
        } else {
            Err(Problem::new(
                Code::Forbidden,
                "Only parts of QuickSale may do this.",
            ))
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
