//! The server around every router: request ids, metrics, a bound on bodies, problem documents for whatever goes
//! wrong outside of a handler, and an end that lets requests finish.

use super::{
    REQUEST_ID,
    problem::{Code, Problem},
};
use crate::metrics::HTTP_SECONDS;
use axum::{
    Router,
    body::Body,
    extract::{DefaultBodyLimit, MatchedPath, Request},
    http::{HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Instant,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;

/// The largest body that any route takes.
pub const MAX_BODY_BYTES: usize = 64 * 1024;

/// What Linux says of a family of addresses that it was started without; the standard library has no name for it.
const EAFNOSUPPORT: i32 = 97;

/// A bound port and what is served on it.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    router: Router,
}

/// A port that could not be bound.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}; is another process using the port?")]
pub struct BindError {
    address: SocketAddr,
    source: std::io::Error,
}

impl Server {
    /// Binds the port now, so that a clash shows at start, and wraps the router.
    ///
    /// # Errors
    /// [`BindError`] when the port is taken.
    pub async fn bind(
        service: &'static str,
        bind: IpAddr,
        port: u16,
        router: Router,
    ) -> Result<Self, BindError> {
        let address = SocketAddr::new(bind, port);
        let listener = match TcpListener::bind(address).await {
            // All addresses of both families is all of IPv4 on a machine that has no IPv6.
            Err(error) if bind == Ipv6Addr::UNSPECIFIED && error.raw_os_error() == Some(EAFNOSUPPORT) => {
                TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await
            }
            bound => bound,
        };
        let listener = listener.map_err(|source| BindError { address, source })?;
        tracing::info!(service, %address, "listening");
        Ok(Self {
            listener,
            router: wrap(service, router),
        })
    }

    /// The address that was bound: a port of 0 asks for any.
    ///
    /// # Errors
    /// When the socket is gone.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until it is asked to stop, then lets the requests under way finish.
    pub async fn run(self, stop: CancellationToken) {
        let service = self.router.into_make_service_with_connect_info::<SocketAddr>();
        let served = axum::serve(self.listener, service)
            .with_graceful_shutdown(async move { stop.cancelled().await })
            .await;
        if let Err(error) = served {
            tracing::error!(%error, "the HTTP server failed");
        }
    }
}

/// What a known route says to a method that it does not know.
pub async fn method_not_allowed() -> Problem {
    Problem::new(
        Code::MethodNotAllowed,
        "This route does not know the method; see /openapi.json.",
    )
}

/// Adds to a router what every service has, `/health` included.
fn wrap(service: &'static str, router: Router) -> Router {
    router
        .route(
            "/health",
            get(move || async move { axum::Json(serde_json::json!({"status": "ok", "service": service})) }),
        )
        .fallback(|| async { Problem::new(Code::NotFound, "There is no such route; see /openapi.json.") })
        .method_not_allowed_fallback(method_not_allowed)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(CatchPanicLayer::custom(
            |_panic: Box<dyn std::any::Any + Send>| Problem::internal(&"a handler panicked").into_response(),
        ))
        .layer(middleware::from_fn(move |request, next| {
            observe(service, request, next)
        }))
}

/// Gives the request an id, measures it, and puts the id into the answer and into its problem document.
async fn observe(service: &'static str, mut request: Request, next: Next) -> Response {
    let id = request
        .headers()
        .get(REQUEST_ID)
        .filter(|id| acceptable(id))
        .cloned()
        .or_else(|| HeaderValue::from_str(&uuid::Uuid::new_v4().to_string()).ok())
        .unwrap_or_else(|| HeaderValue::from_static("unknown"));
    request.headers_mut().insert(REQUEST_ID, id.clone());
    let method = method_label(request.method());
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or("unmatched".to_owned(), |p| p.as_str().to_owned());
    let begun = Instant::now();
    let mut response = next.run(request).await;
    HTTP_SECONDS
        .with_label_values(&[service, method, &route, response.status().as_str()])
        .observe(begun.elapsed().as_secs_f64());
    if let Some(mut problem) = response.extensions_mut().remove::<Problem>() {
        problem.request_id = id.to_str().ok().map(str::to_owned);
        if response.status() == StatusCode::INTERNAL_SERVER_ERROR {
            tracing::error!(service, route, request_id = ?problem.request_id, "answered 500");
        }
        let body = serde_json::to_vec(&problem).unwrap_or_default();
        response.headers_mut().remove(header::CONTENT_LENGTH);
        *response.body_mut() = Body::from(body);
    }
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

/// A caller's own request id is kept if it is short and plain, so that it cannot forge log lines.
fn acceptable(id: &HeaderValue) -> bool {
    let bytes = id.as_bytes();
    (1..=128).contains(&bytes.len())
        && bytes
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.:".contains(b))
}

/// Methods as a label: a made-up method must not make a time series.
fn method_label(method: &axum::http::Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "OTHER",
    }
}
