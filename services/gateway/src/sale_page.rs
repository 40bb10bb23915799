//! `GET /api/sale`: what a storefront shows, from memory.

use crate::{Gateway, products::Product};
use axum::extract::State;
use platform::http::Json;
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;

/// The sale now.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SaleView {
    /// Pending, Warming, Live, Draining or Ended.
    phase: &'static str,
    /// RFC 3339; null while it is not decided.
    opens_at: Option<String>,
    /// RFC 3339; null for no end.
    closes_at: Option<String>,
    /// Whether new orders are refused for now.
    halted: bool,
    /// RFC 3339; count down by this clock and not by the browser's.
    server_time: String,
    /// ISO 4217.
    currency: String,
    /// What is sold and what is left.
    products: Vec<Product>,
}

/// The sale, its times by the server's clock, and what is left.
#[utoipa::path(get, path = "/api/sale", tag = "sale",
    responses((status = 200, body = SaleView, description = "The sale now")))]
pub(crate) async fn show(State(gateway): State<Arc<Gateway>>) -> Json<SaleView> {
    let control = gateway.control.current();
    Json(SaleView {
        phase: control.phase.as_str(),
        opens_at: control.opens_at.map(|at| at.to_string()),
        closes_at: control.closes_at.map(|at| at.to_string()),
        halted: control.halted,
        server_time: gateway.control.clock().now().to_string(),
        currency: gateway.currency.code().to_owned(),
        products: gateway.products.list().as_ref().clone(),
    })
}
