//! The HTTP API of orders.

pub(crate) mod dead_letters;
mod decide;
mod place;
mod read;

use crate::{
    accept::Acceptor, account::Accounts, catalogue::Catalogue, decide::Decider, settlement::Settlement,
    store::Store,
};
use axum::{
    Router,
    extract::{DefaultBodyLimit, FromRef},
    routing::{get, post},
};
use events::dead_letters::DeadLetters;
use platform::{
    audit,
    clock::Clock,
    http::{
        authorization::{Authority, Caller},
        problem::Problem,
        together,
    },
    metrics::Metric,
    standstill::Standstill,
};
use sale::{Currency, UserId};
use std::time::Instant;
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
    /// Ends orders.
    pub decider: Decider,
    /// Messages that were given up on.
    pub letters: DeadLetters,
    /// Evidence of settlement.
    pub settlement: Settlement,
    /// The account of a sale that is over.
    pub accounts: Accounts,
    /// Currency of every price.
    pub currency: Currency,
    /// Verifies tokens.
    pub authority: Authority,
    /// The clock.
    pub clock: Clock,
    /// Whether this process has just stood still.
    pub standstill: Standstill,
}

impl Orders {
    /// When something is asked for that changes an order: now, unless it may have waited here while this process stood still. Whoever asked
    /// has been told otherwise since.
    fn asked_at(&self) -> Result<Instant, Problem> {
        let now = Instant::now();
        if self.standstill.may_be_stale(now) {
            return Err(Problem::busy());
        }
        Ok(now)
    }
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
        .route("/api/dead-letters", get(dead_letters::list))
        .route("/api/dead-letters/replay", post(dead_letters::replay))
        .route("/api/dead-letters/discard", post(dead_letters::discard))
        .route("/internal/settlement", get(read::settlement))
        .route("/internal/account", get(read::account))
        .route(
            together::PATH,
            post(place::place_together).layer(DefaultBodyLimit::max(together::MOST_BYTES_IN_ALL)),
        )
        .with_state(orders)
}

#[derive(OpenApi)]
#[openapi(paths(
    place::place,
    read::list,
    read::show,
    decide::cancel,
    decide::confirm,
    decide::fail,
    dead_letters::list,
    dead_letters::replay,
    dead_letters::discard
))]
struct Api;

/// The public routes as an OpenAPI document.
pub fn openapi() -> utoipa::openapi::OpenApi {
    Api::openapi()
}

/// What administrators do here, as the audit trail counts it.
pub(crate) fn trail() -> Metric {
    audit::metric(dead_letters::ACTIONS)
}

/// Whose orders a caller may see: its own, or with `None` everybody's.
fn owner(caller: &Caller) -> Option<UserId> {
    (!caller.sees_everything()).then(|| caller.0.user.clone())
}

fn busy(error: &dyn std::fmt::Display) -> Problem {
    tracing::warn!(%error, "the store does not answer");
    Problem::busy()
}
