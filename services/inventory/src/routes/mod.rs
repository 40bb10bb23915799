//! The HTTP API of inventory.

mod audit;
mod products;
mod reservations;
mod stock;

pub use products::{LONGEST_TEXT, MOST_STOCK};
pub use reservations::LONGEST_ORDER_ID;

use crate::{
    audit::{full::Audits, watch::Watch},
    gate::Gate,
    hold::Terms,
    store::{Store, StoreError},
};
use axum::{
    Router,
    extract::FromRef,
    routing::{get, post},
};
use platform::{
    clock::Clock,
    http::{authorization::Authority, problem::Problem},
};
use sale::Currency;
use utoipa::OpenApi;

/// What the routes work with.
#[derive(Debug, Clone)]
pub struct Inventory {
    /// Products and reservations.
    pub store: Store,
    /// Counts in Redis.
    pub gate: Gate,
    /// Follows the ledger.
    pub watch: Watch,
    /// Audits of everything.
    pub audits: Audits,
    /// Currency of every price.
    pub currency: Currency,
    /// Terms of a hold.
    pub terms: Terms,
    /// Verifies tokens.
    pub authority: Authority,
    /// The clock.
    pub clock: Clock,
}

impl FromRef<Inventory> for Authority {
    fn from_ref(inventory: &Inventory) -> Self {
        inventory.authority.clone()
    }
}

/// The routes.
pub fn router(inventory: Inventory) -> Router {
    Router::new()
        .route(
            "/api/inventory/products",
            get(products::list).post(products::create),
        )
        .route(
            "/api/inventory/products/{id}",
            get(products::show).patch(products::edit),
        )
        .route("/api/inventory/products/{id}/stock", post(stock::change))
        .route("/api/inventory/audit", get(audit::show).post(audit::begin))
        .route("/api/inventory/reserve", post(reservations::reserve))
        .route("/api/inventory/release", post(reservations::release))
        .route("/api/inventory/confirm", post(reservations::confirm))
        .with_state(inventory)
}

#[derive(OpenApi)]
#[openapi(paths(
    products::list,
    products::create,
    products::show,
    products::edit,
    stock::change,
    audit::show,
    audit::begin,
    reservations::reserve,
    reservations::release,
    reservations::confirm
))]
struct Api;

/// The routes as an OpenAPI document.
pub fn openapi() -> utoipa::openapi::OpenApi {
    Api::openapi()
}

/// What a failing store means for the caller.
fn store_problem(error: &StoreError) -> Problem {
    match error {
        StoreError::Mongo(error) => {
            tracing::warn!(%error, "the store does not answer");
            Problem::busy()
        }
        StoreError::Broken(broken) => Problem::internal(broken),
    }
}
