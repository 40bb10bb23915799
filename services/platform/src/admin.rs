//! The admin server of a process: `/livez`, `/readyz`, `/metrics`, and the control document of services that have
//! one. It has a port of its own, so that it can be closed to everyone but the platform.

use crate::{
    control::Control,
    health::Health,
    http::{
        Json,
        authorization::{Authority, Caller},
        problem::Problem,
    },
    metrics,
};
use axum::{
    Router,
    extract::{FromRef, State},
    http::StatusCode,
    routing::get,
};
use jiff::Timestamp;
use sale::control::ControlDocument;
use serde::{Deserialize, Serialize};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// What a service answers to a pushed control document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControlReceipt {
    /// The version in force in this process now.
    pub version: u64,
    /// Orders that this process refused since it started.
    pub refused: u64,
    /// What of its work this process cannot do, and why. Earlier versions do not say.
    #[serde(default)]
    pub failing: Vec<String>,
    /// The time by the clock that this process opens and closes by. Earlier versions do not say.
    #[serde(default)]
    pub now: Option<Timestamp>,
}

/// The control document of a process as its admin server serves it.
#[derive(Debug, Clone)]
pub struct ControlEndpoint {
    /// The document.
    pub control: Control,
    /// Counts refused orders; shared with whoever refuses them.
    pub refused: Arc<AtomicU64>,
    /// Knows what of its work the process cannot do.
    pub health: Health,
    /// Who may push.
    pub authority: Authority,
}

impl FromRef<ControlEndpoint> for Authority {
    fn from_ref(endpoint: &ControlEndpoint) -> Self {
        endpoint.authority.clone()
    }
}

/// The routes of the admin server. Those of the control document come with [`control_routes`].
pub fn routes(health: Health) -> Router {
    let (live, measured) = (health.clone(), health.clone());
    let metrics = async move || {
        // Sets the metric that counts them.
        let _named_in_readyz = measured.failing();
        metrics::render()
    };
    Router::new()
        .route("/livez", get(move || async move { report(&live.stuck(), &[]) }))
        .route(
            "/readyz",
            get(move || async move { report(&health.not_ready(), &health.failing()) }),
        )
        .route("/metrics", get(metrics))
}

/// `PUT /control` takes a newer document, `GET /control` tells which one is in force; both for services only.
pub fn control_routes(endpoint: ControlEndpoint) -> Router {
    Router::new()
        .route("/control", get(show).put(replace))
        .with_state(endpoint)
}

/// 200 with what does not go well, or 503 with what keeps the process from its requests.
fn report(problems: &[String], failing: &[String]) -> (StatusCode, String) {
    if problems.is_empty() {
        let lines = std::iter::once("ok").chain(failing.iter().map(String::as_str));
        (StatusCode::OK, lines.map(|line| format!("{line}\n")).collect())
    } else {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("{}\n", problems.join("\n")),
        )
    }
}

async fn show(
    State(endpoint): State<ControlEndpoint>,
    caller: Caller,
) -> Result<Json<ControlReceipt>, Problem> {
    caller.require_internal()?;
    Ok(Json(receipt(&endpoint, endpoint.control.current().version)))
}

async fn replace(
    State(endpoint): State<ControlEndpoint>,
    caller: Caller,
    Json(document): Json<ControlDocument>,
) -> Result<Json<ControlReceipt>, Problem> {
    caller.require_internal()?;
    let version = endpoint.control.offer(document);
    // The receipt is evidence for the operator that nothing more comes of older documents.
    endpoint.control.earlier_work_is_done().await;
    Ok(Json(receipt(&endpoint, version)))
}

fn receipt(endpoint: &ControlEndpoint, version: u64) -> ControlReceipt {
    ControlReceipt {
        version,
        refused: endpoint.refused.load(Ordering::Relaxed),
        failing: endpoint.health.failing(),
        now: Some(endpoint.control.clock().now()),
    }
}
