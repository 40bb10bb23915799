//! The server around every router: request ids, metrics, a bound on bodies, problem documents for whatever goes
//! wrong outside of a handler, and an end that lets requests finish. Its own accept loop, since axum's has no timer:
//! without one no deadline of hyper's is in force.

use super::{
    REQUEST_ID,
    connections::{self, Bounds, PeerPlace, Peers},
    listen::listen,
    patience::{Activity, Patient},
    problem::{Code, Problem},
    waiting::{Awaited, GaveWay, Turn, Waiting},
};
use crate::{
    metrics::HTTP_SECONDS,
    telemetry::REQUEST_SPAN,
    traces::{Span, SpanKind, context},
};
use axum::{
    Router,
    body::Body,
    extract::{ConnectInfo, DefaultBodyLimit, MatchedPath, Request},
    http::{HeaderName, HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
    serve::Listener,
};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{
    net::{IpAddr, SocketAddr},
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{AcquireError, OwnedSemaphorePermit, Semaphore},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt;
use tower_http::catch_panic::CatchPanicLayer;
use tracing::Instrument;

/// The largest body that any route takes.
pub const MAX_BODY_BYTES: usize = 64 * 1024;

/// The most bytes of a request's head (431 beyond), and what is read ahead of a body.
const HEAD_BYTES: usize = 16 * 1024;
/// One place in so many is kept free by having others make room in time: whoever comes then need not wait until somebody
/// has gone. A crowd that comes anew all the time would fill the kernel's line otherwise, which turns people away for a
/// second.
const SPARE: usize = 16;
/// What stands for the route of a request that has none.
const UNMATCHED: &str = "unmatched";
/// What stands for methods that no route has.
const OTHER: &str = "OTHER";
/// Routes that machines ask for all the time.
const UNTRACED: [&str; 4] = ["/health", "/livez", "/readyz", "/metrics"];
/// Where all connections are served, how long until somebody is looked for again who can make room.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// What every answer says to a browser: take the content type at its word, show the page in nobody's frame, and tell
/// other sites nothing of the address.
const FOR_BROWSERS: [(HeaderName, HeaderValue); 3] = [
    (
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    ),
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("frame-ancestors 'none'"),
    ),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
];

/// A bound port and what is served on it.
#[derive(Debug)]
pub struct Server {
    service: &'static str,
    listener: TcpListener,
    router: Router,
    bounds: Bounds,
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
        let listener = listen(address).map_err(|source| BindError { address, source })?;
        tracing::info!(service, %address, "listening");
        connections::show(service);
        Ok(Self {
            service,
            listener,
            router: wrap(service, router),
            bounds: Bounds::default(),
        })
    }

    /// Other bounds than those for servers that only the sale's services reach.
    #[must_use]
    pub fn within(mut self, bounds: Bounds) -> Self {
        self.bounds = bounds;
        self
    }

    /// The address that was bound: a port of 0 asks for any.
    ///
    /// # Errors
    /// When the socket is gone.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until it is asked to stop, then lets the requests under way finish.
    pub async fn run(mut self, stop: CancellationToken) {
        let peers = Peers::new(self.service, &self.bounds);
        let places = Arc::new(Semaphore::new(self.bounds.in_all));
        let spare = self.bounds.in_all / SPARE;
        let waiting = Arc::new(Waiting::default());
        let door = Arc::new(Door {
            router: self.router.with_state(()),
            places: Arc::clone(&places),
            bounds: self.bounds,
            stop: stop.clone(),
        });
        let connections = TaskTracker::new();
        loop {
            // Waits a moment where the process has no more file descriptors.
            let (stream, peer) = tokio::select! {
                () = stop.cancelled() => break,
                accepted = Listener::accept(&mut self.listener) => accepted,
            };
            let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
            // Before anybody makes room: who has too many already takes no place of others.
            let Some(by_peer) = peers.enter(peer.ip()) else {
                continue;
            };
            let place = tokio::select! {
                () = stop.cancelled() => break,
                place = place(&places, &waiting, &peers) => place,
            };
            if let Ok(place) = place {
                if places.available_permits() < spare && waiting.make_room() {
                    peers.made_room();
                }
                let turn = Arc::new(waiting.connection());
                connections.spawn(Arc::clone(&door).serve(stream, peer, turn, (place, by_peer)));
            }
        }
        drop(self.listener);
        connections.close();
        connections.wait().await;
    }
}

/// A place for somebody who has come. While nobody makes room, the kernel
/// keeps a line of those who come next.
async fn place(
    places: &Arc<Semaphore>,
    waiting: &Waiting,
    peers: &Peers,
) -> Result<OwnedSemaphorePermit, AcquireError> {
    let mut next = Box::pin(Arc::clone(places).acquire_owned());
    while places.available_permits() == 0 {
        if waiting.make_room() {
            peers.made_room();
        } else {
            peers.were_full();
        }
        // Somebody who was served then may be waiting for the next request now.
        if let Ok(place) = tokio::time::timeout(LOOK_AGAIN, &mut next).await {
            return place;
        }
    }
    next.await
}

/// The client at the other end of a connection.
#[derive(Debug)]
struct Client {
    peer: SocketAddr,
    activity: Arc<Activity>,
    turn: Arc<Turn>,
}

/// What every connection of a server works with.
#[derive(Debug)]
struct Door {
    router: Router,
    places: Arc<Semaphore>,
    bounds: Bounds,
    stop: CancellationToken,
}

impl Door {
    /// Serves a connection to its end. Once it has become a WebSocket it is no connection of this server any more.
    async fn serve(
        self: Arc<Self>,
        stream: TcpStream,
        peer: SocketAddr,
        turn: Arc<Turn>,
        places: (OwnedSemaphorePermit, PeerPlace),
    ) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "answers on a connection may be late");
        }
        let activity = Arc::new(Activity::default());
        let stream = Patient::new(stream, Arc::clone(&activity), self.bounds.head, self.bounds.write);
        let client = Arc::new(Client {
            peer,
            activity,
            turn: Arc::clone(&turn),
        });
        let answering = Arc::clone(&self);
        let service = service_fn(move |request| Arc::clone(&answering).answer(request, Arc::clone(&client)));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.bounds.idle)
            .max_buf_size(HEAD_BYTES)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        let mut connection = pin!(connection);
        let mut stopping = false;
        let ended = loop {
            tokio::select! {
                ended = connection.as_mut() => break ended,
                () = turn.gives_way() => break Ok(()),
                () = self.stop.cancelled(), if !stopping => {
                    stopping = true;
                    connection.as_mut().graceful_shutdown();
                }
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%peer, %error, "a connection broke off");
        }
        drop(places);
    }

    async fn answer(
        self: Arc<Self>,
        request: hyper::Request<Incoming>,
        client: Arc<Client>,
    ) -> Result<Response, GaveWay> {
        client.activity.begin();
        let (parts, body) = request.into_parts();
        let body = Awaited::new(body, Arc::clone(&client.turn))?;
        let mut request = Request::from_parts(parts, Body::new(body));
        request.extensions_mut().insert(ConnectInfo(client.peer));
        let Ok(mut response) = self.router.clone().oneshot(request).await;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            client.activity.upgraded();
            client.turn.is_served();
        } else {
            client.turn.waits_again();
            if self.is_crowded() {
                // An idle connection would keep somebody else out.
                response
                    .headers_mut()
                    .insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
        }
        client.activity.answered();
        Ok(response)
    }

    fn is_crowded(&self) -> bool {
        self.places.available_permits() < self.bounds.in_all / 8
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
        .layer((
            middleware::from_fn(move |request, next| observe(service, request, next)),
            CatchPanicLayer::custom(|_panic: Box<dyn std::any::Any + Send>| {
                Problem::internal(&"a handler panicked").into_response()
            }),
            DefaultBodyLimit::max(MAX_BODY_BYTES),
        ))
}

/// Gives the request an id and a trace, measures it, and puts both into its problem document, and the id into the answer.
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
        .map_or(UNMATCHED.to_owned(), |p| p.as_str().to_owned());
    let (span, trace_id) = begin_span(&mut request, method, &route, &id);
    // Whatever is logged on the way says to which request it belongs.
    let within = tracing::info_span!(
        REQUEST_SPAN,
        request_id = id.to_str().ok(),
        trace_id = trace_id.as_str()
    );
    let begun = Instant::now();
    let mut response = next.run(request).instrument(within).await;
    end_span(span, &response);
    HTTP_SECONDS
        .with_label_values(&[service, method, &route, response.status().as_str()])
        .observe(begun.elapsed().as_secs_f64());
    complete(&mut response, service, &route, id.to_str().ok(), &trace_id);
    response.headers_mut().insert(REQUEST_ID, id);
    for (name, value) in FOR_BROWSERS {
        // A page may say more of itself.
        response.headers_mut().entry(name).or_insert(value);
    }
    response
}

/// Puts the ids of a request into the problem document that answers it.
pub(super) fn complete(
    response: &mut Response,
    service: &'static str,
    route: &str,
    request_id: Option<&str>,
    trace_id: &str,
) {
    let Some(mut problem) = response.extensions_mut().remove::<Problem>() else {
        return;
    };
    problem.request_id = request_id.map(str::to_owned);
    problem.trace_id = Some(trace_id.into());
    if response.status() == StatusCode::INTERNAL_SERVER_ERROR {
        tracing::error!(
            service,
            route,
            request_id = problem.request_id.as_deref(),
            trace_id = problem.trace_id.as_deref(),
            "answered 500"
        );
    }
    let body = serde_json::to_vec(&problem).unwrap_or_default();
    response.headers_mut().remove(header::CONTENT_LENGTH);
    *response.body_mut() = Body::from(body);
}

/// Begins the span of a request, which goes on under it, and says which trace that is.
fn begin_span(request: &mut Request, method: &'static str, route: &str, id: &HeaderValue) -> (Span, String) {
    let mut span = Span::default();
    let came = context::of_headers(request.headers());
    // Kubelets and Prometheus ask all the time, and nobody asks what became of that.
    if !UNTRACED.contains(&route) {
        span = Span::start(SpanKind::Server, came, || match (method, route) {
            (OTHER, UNMATCHED) => "HTTP".to_owned(),
            (OTHER, route) => format!("HTTP {route}"),
            (method, UNMATCHED) => method.to_owned(),
            (method, route) => format!("{method} {route}"),
        });
    }
    let context = span.context().unwrap_or_else(|| context::keep_or_make(came));
    if span.is_recorded() {
        span.set("http.request.method", traced_method(method));
        span.set("url.scheme", "http");
        // Without what stands behind the `?`, which may be a token.
        span.set("url.path", request.uri().path().to_owned());
        span.set("quicksale.request.id", id.to_str().unwrap_or_default().to_owned());
        if route != UNMATCHED {
            span.set("http.route", route.to_owned());
        }
    }
    if came != Some(context.as_str()) {
        context::put(&context, request.headers_mut());
    }
    let trace = context::trace_id(&context).unwrap_or_default().to_owned();
    (span, trace)
}

pub(super) fn end_span(mut span: Span, response: &Response) {
    span.answered(response.status());
    if let Some(problem) = response.extensions().get::<Problem>() {
        let code = problem.kind.rsplit(':').next().unwrap_or_default();
        span.set("quicksale.problem.code", code.to_owned());
    }
}

/// The method as the semantic conventions of traces want it.
pub fn traced_method(label: &'static str) -> &'static str {
    if label == OTHER { "_OTHER" } else { label }
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
pub fn method_label(method: &axum::http::Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => OTHER,
    }
}

#[cfg(test)]
mod tests;
