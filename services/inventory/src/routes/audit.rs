//! What audits of the books have found.

use super::{Inventory, store_problem};
use crate::audit::{full::Record, watch::Looked};
use axum::{extract::State, http::StatusCode};
use mongodb::bson::DateTime;
use platform::{
    http::{Json, authorization::Caller, problem::Problem},
    tokens::Role,
};
use sale::books::Difference;
use serde::Serialize;
use utoipa::ToSchema;

/// What is known of the books.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Books {
    /// The ledger against the accounts of the products; looked at every five seconds.
    ledger: Option<Ledger>,
    /// The last audit of everything; none before somebody has asked for one.
    audit: Option<Full>,
}

/// The last look at the ledger.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Ledger {
    /// RFC 3339.
    at: String,
    /// What does not fit, as sentences; empty where the books agree.
    differences: Vec<String>,
}

/// An audit of everything.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Full {
    /// RFC 3339.
    started_at: String,
    /// RFC 3339; the audit is under way until then.
    #[serde(skip_serializing_if = "Option::is_none")]
    finished_at: Option<String>,
    /// Products looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    products: Option<u64>,
    /// Orders looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    orders: Option<u64>,
    /// Orders that differ from their reservations and may yet be moved by a message on its way: ask again later.
    #[serde(skip_serializing_if = "Option::is_none")]
    moving: Option<u64>,
    /// What does not fit, as sentences, a hundred at the most; empty where the books agree. While an audit is under way, and where it
    /// has failed, what the one before has found: it counts until another one has found something.
    #[serde(skip_serializing_if = "Option::is_none")]
    differences: Option<Vec<String>>,
    /// Whether there are more than are named.
    #[serde(skip_serializing_if = "Option::is_none")]
    more: Option<bool>,
    /// Why nothing was found out; ask again.
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<String>,
}

/// Whether the books agree: what moved, what is held and sold, and what became of the orders.
#[utoipa::path(get, operation_id = "books", path = "/api/inventory/audit", tag = "inventory", security(("bearer" = ["admin", "service"])),
    responses((status = 200, body = Books, description = "What the last looks have found")))]
pub(super) async fn show(State(inventory): State<Inventory>, caller: Caller) -> Result<Json<Books>, Problem> {
    caller.require(&[Role::Admin, Role::Service])?;
    let failed = |error: platform::backends::mongo::MongoError| store_problem(&error.into());
    let ledger = inventory.watch.last().await.map_err(failed)?;
    let audit = inventory.audits.last().await.map_err(failed)?;
    Ok(Json(Books {
        ledger: ledger.map(Ledger::from),
        audit: audit.map(Full::from),
    }))
}

/// Begins an audit of everything, which reads each order and reservation once. GET says what it has found: it has ended once there is
/// a `finishedAt` and `startedAt` is not before the answer's. Where that has not come after ten minutes, the process that audited has
/// gone: ask again.
#[utoipa::path(post, path = "/api/inventory/audit", tag = "inventory", security(("bearer" = ["admin", "service"])),
    responses((status = 202, body = Full, description = "It is under way",
               links(("found" = (operation_id = "inventory_books", description = "What it has found"))))))]
pub(super) async fn begin(
    State(inventory): State<Inventory>,
    caller: Caller,
) -> Result<(StatusCode, Json<Full>), Problem> {
    caller.require(&[Role::Admin, Role::Service])?;
    let begun = inventory.audits.ask().await;
    let begun = begun.map_err(|error| store_problem(&error.into()))?;
    Ok((StatusCode::ACCEPTED, Json(begun.into())))
}

fn text(at: DateTime) -> String {
    at.try_to_rfc3339_string().unwrap_or_default()
}

fn sentences(differences: &[Difference]) -> Vec<String> {
    differences.iter().map(Difference::to_string).collect()
}

impl From<Looked> for Ledger {
    fn from(looked: Looked) -> Self {
        Self {
            at: text(looked.at),
            differences: sentences(&looked.differences),
        }
    }
}

impl From<Record> for Full {
    fn from(record: Record) -> Self {
        let audit = record.audit.as_ref();
        Self {
            started_at: text(record.started_at),
            finished_at: record.finished_at.map(text),
            products: audit.map(|audit| audit.products),
            orders: audit.map(|audit| audit.orders),
            moving: audit.map(|audit| audit.moving),
            differences: audit.map(|audit| sentences(&audit.differences)),
            more: audit.map(|audit| audit.more),
            failure: record.failure,
        }
    }
}
