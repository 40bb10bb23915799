//! The HTTP API of orders.

mod decide;
mod place;
mod read;

use crate::{accept::Acceptor, catalogue::Catalogue, settlement::Settlement, store::Store};
use axum::{
    Router,
    extract::FromRef,
    routing::{get, post},
};
use platform::{
    clock::Clock,
    http::{
        authorization::{Authority, Caller},
        problem::Problem,
    },
};
use sale::{Currency, UserId};
use utoipa::OpenApi;

/// What the routes work with.
#[derive(Debug, Clone)]
pub struct Orders {
    /// Orders.
    pub store: Store,
    /// Products and prices.
    pub catalogue: Catalogue,
    /// Accepts orders.
    pub acceptor: Acceptor,
    /// Evidence of settlement.
    pub settlement: Settlement,
    /// Currency of every price.
    pub currency: Currency,
    /// Verifies tokens.
    pub authority: Authority,
    /// The clock.
    pub clock: Clock,
}

impl FromRef<Orders> for Authority {
    fn from_ref(orders: &Orders) -> Self {
        orders.authority.clone()
    }
}

/// The routes. What is under `/internal` is for services and never passes the gateway.
pub fn router(orders: Orders) -> Router {
    Router::new()
        .route("/api/orders", get(read::list).post(place::place))
        .route("/api/orders/{id}", get(read::show))
        .route("/api/orders/{id}/cancel", post(decide::cancel))
        .route("/api/orders/{id}/confirm", post(decide::confirm))
        .route("/api/orders/{id}/fail", post(decide::fail))
        .route("/internal/settlement", get(read::settlement))
        .with_state(orders)
}

#[derive(OpenApi)]
#[openapi(paths(
    place::place,
    read::list,
    read::show,
    decide::cancel,
    decide::confirm,
    decide::fail
))]
struct Api;

/// The public routes as an OpenAPI document.
pub fn openapi() -> utoipa::openapi::OpenApi {
    Api::openapi()
}

/// Whose orders a caller may see: its own, or with `None` everybody's.
fn owner(caller: &Caller) -> Option<UserId> {
    (!caller.sees_everything()).then(|| caller.0.user.clone())
}

fn busy(error: &dyn std::fmt::Display) -> Problem {
    tracing::warn!(%error, "the store does not answer");
    Problem::busy()
}
