//! The HTTP API of orders.

mod place;
mod read;

use crate::{accept::Acceptor, catalogue::Catalogue, settlement::Settlement, store::Store};
use axum::{
    Router,
    extract::FromRef,
    routing::{get, post},
};
use platform::{clock::Clock, http::authorization::Authority};
use sale::Currency;
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
        .route("/api/orders/{id}/cancel", post(read::cancel))
        .route("/internal/settlement", get(read::settlement))
        .with_state(orders)
}

#[derive(OpenApi)]
#[openapi(paths(place::place, read::list, read::show, read::cancel))]
struct Api;

/// The public routes as an OpenAPI document.
pub fn openapi() -> utoipa::openapi::OpenApi {
    Api::openapi()
}
