//! Takes a request to its service and the answer back, within deadlines.

use crate::{
    Gateway,
    body::Whole,
    breaker::{Breaker, Broken, Service},
    subject,
};
use axum::{
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use platform::{
    config::Upstreams,
    http::{problem::Problem, server, together},
    traces::{Span, SpanKind, context},
};
use std::{net::IpAddr, sync::Arc, time::Duration};
use url::Url;

/// How long a connection to a service may take.
const CONNECT: Duration = Duration::from_secs(1);
/// How long a service may take to answer; longer than it waits for its own backends.
const ANSWER: Duration = Duration::from_secs(10);

/// The most bytes of the answers to orders that were sent together: of those with a hundred lines each they come to some 2 MiB.
const LONGEST_ANSWERS: usize = 8 * 1024 * 1024;

/// Headers of one hop (RFC 9110, 7.6.1), and one that never was a standard and is sent all the same.
const HOP_BY_HOP: [HeaderName; 9] = [
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];
/// Headers in which proxies tell of the client. A service believes the gateway, and that says it in
/// `X-Forwarded-For`: the one address that it has found to be the client's.
const TOLD_BY_CLIENTS: [HeaderName; 2] = [header::FORWARDED, HeaderName::from_static("x-real-ip")];

/// The services behind the gateway.
#[derive(Debug, Clone)]
pub struct Proxy {
    client: Client<HttpConnector, Body>,
    auth: Upstream,
    inventory: Upstream,
    order: Upstream,
    notifier: Upstream,
}

/// A service.
#[derive(Debug, Clone)]
struct Upstream {
    url: Url,
    breaker: Breaker,
}

impl Upstream {
    fn new(service: Service, url: &Url) -> Self {
        Self {
            url: url.clone(),
            breaker: Breaker::new(service),
        }
    }
}

/// Why a service gave no answer.
#[derive(Debug, Clone)]
pub enum NoAnswer {
    /// The request never reached it: 404 for a path that belongs to no service, 503 without a connection.
    NotSent(Box<Problem>),
    /// It may have done what was asked: 503.
    Lost,
}

impl From<NoAnswer> for Problem {
    fn from(none: NoAnswer) -> Self {
        match none {
            NoAnswer::NotSent(problem) => *problem,
            NoAnswer::Lost => Self::busy(),
        }
    }
}

impl Proxy {
    /// A proxy to a sale's services.
    pub fn new(upstreams: &Upstreams) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT));
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(Duration::from_secs(30))
            .build(connector);
        Self {
            client,
            auth: Upstream::new(Service::Auth, &upstreams.auth),
            inventory: Upstream::new(Service::Inventory, &upstreams.inventory),
            order: Upstream::new(Service::Order, &upstreams.order),
            notifier: Upstream::new(Service::Notifier, &upstreams.notifier),
        }
    }

    fn upstream(&self, path: &str) -> Option<&Upstream> {
        let under = |prefix: &str| path == prefix || path.starts_with(&format!("{prefix}/"));
        if under("/api/auth") || path == "/.well-known/jwks.json" {
            Some(&self.auth)
        } else if under("/api/inventory") {
            Some(&self.inventory)
        } else if under("/api/orders") || under("/api/dead-letters") {
            Some(&self.order)
        } else if under("/api/notifications") || path == "/api/ws-ticket" {
            Some(&self.notifier)
        } else {
            None
        }
    }

    /// The span of an order's way to the order service, which goes on under it.
    pub(crate) fn order_span(&self, traceparent: &mut Option<String>) -> Span {
        let mut span = Span::start(SpanKind::Client, traceparent.as_deref(), || "POST");
        if span.is_recorded() {
            let (host, port) = (
                self.order.url.host_str().unwrap_or_default(),
                self.order.url.port_or_known_default().unwrap_or(80),
            );
            span.set("http.request.method", "POST");
            span.set("server.address", host.to_owned());
            span.set("server.port", i64::from(port));
            span.set("url.full", format!("http://{host}:{port}{}", together::PATH));
        }
        if let Some(context) = span.context() {
            *traceparent = Some(context);
        }
        span
    }

    /// Sends several orders to the order service and returns what it says of each.
    ///
    /// # Errors
    /// [`NoAnswer`], for all of them.
    pub(crate) async fn send_orders(&self, orders: Bytes) -> Result<Bytes, NoAnswer> {
        let base = self.order.url.as_str().trim_end_matches('/');
        let request = Request::post(format!("{base}{}", together::PATH))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(orders))
            .map_err(|error| NoAnswer::NotSent(Problem::internal(&error).into()))?;
        let call = async {
            let response = self.request(&self.order, request).await?;
            let status = response.status();
            let body = to_bytes(response.into_body(), LONGEST_ANSWERS).await;
            body.map(|body| (status, body)).map_err(|_| NoAnswer::Lost)
        };
        // The answer's body has no deadline of its own.
        let call = async {
            tokio::time::timeout(ANSWER, call)
                .await
                .unwrap_or(Err(NoAnswer::Lost))
        };
        match self.order.breaker.call(call).await {
            Ok((StatusCode::OK, body)) => Ok(body),
            Ok((status, _)) => {
                tracing::warn!(%status, service = %self.order.url, "orders were not taken");
                Err(if status.is_client_error() {
                    // It has looked at none of them, as one of an earlier version does not.
                    NoAnswer::NotSent(Problem::busy().into())
                } else {
                    NoAnswer::Lost
                })
            }
            Err(Broken::Failed(none)) => Err(none),
            Err(Broken::Open) => Err(NoAnswer::NotSent(Problem::busy().into())),
        }
    }

    /// One call within its deadline.
    async fn request(&self, upstream: &Upstream, request: Request) -> Result<Response, NoAnswer> {
        match tokio::time::timeout(ANSWER, self.client.request(request)).await {
            Ok(Ok(response)) => Ok(response.map(Body::new)),
            Ok(Err(error)) => {
                tracing::warn!(%error, service = %upstream.url, "a service does not answer");
                Err(if error.is_connect() {
                    NoAnswer::NotSent(Problem::busy().into())
                } else {
                    NoAnswer::Lost
                })
            }
            Err(_) => {
                tracing::warn!(service = %upstream.url, "a service did not answer in time");
                Err(NoAnswer::Lost)
            }
        }
    }

    /// Sends a request whose body is here already.
    ///
    /// # Errors
    /// [`NoAnswer`].
    pub async fn send(&self, mut request: Request, client: IpAddr) -> Result<Response, NoAnswer> {
        // No route has one of them, and a request that never reaches a service must not count as one without an answer.
        if *request.method() == Method::CONNECT {
            return Err(NoAnswer::NotSent(server::method_not_allowed().await.into()));
        }
        // Asked by another method that no route has, the service refuses it and names those that there are.
        if *request.method() == Method::TRACE {
            *request.method_mut() = Method::OPTIONS;
        }
        let path = request.uri().path();
        let upstream = self
            .upstream(path)
            .ok_or_else(|| NoAnswer::NotSent(Problem::not_found("route").into()))?;
        let target = request.uri().path_and_query().map_or(path, |p| p.as_str());
        let base = upstream.url.as_str().trim_end_matches('/');
        let uri: Uri = format!("{base}{target}")
            .parse()
            .map_err(|error| NoAnswer::NotSent(Problem::internal(&error).into()))?;
        *request.uri_mut() = uri;
        // What the client spoke is its business; with some of the older versions this client refuses some methods itself.
        *request.version_mut() = Version::HTTP_11;
        prepare(request.headers_mut(), client);
        let span = call_span(&mut request);
        let call = self.request(upstream, request);
        let answer = upstream.breaker.call(call).await;
        let outcome = match &answer {
            Ok(response) => Ok(response.status()),
            Err(Broken::Failed(NoAnswer::NotSent(_))) => Err("connect"),
            Err(Broken::Failed(NoAnswer::Lost)) => Err("no_answer"),
            Err(Broken::Open) => Err("circuit_open"),
        };
        end_call(span, outcome);
        let mut response = match answer {
            Ok(response) => response,
            Err(Broken::Failed(none)) => return Err(none),
            Err(Broken::Open) => return Err(NoAnswer::NotSent(Problem::busy().into())),
        };
        end_hop(response.headers_mut());
        Ok(response)
    }
}

/// The span of a call, under which the service works.
pub(crate) fn call_span(request: &mut Request) -> Span {
    let method = server::traced_method(server::method_label(request.method()));
    let came = context::of_headers(request.headers());
    let mut span = Span::start(SpanKind::Client, came, || match method {
        "_OTHER" => "HTTP",
        method => method,
    });
    if span.is_recorded() {
        let uri = request.uri();
        let (host, port) = (uri.host().unwrap_or_default(), uri.port_u16().unwrap_or(80));
        span.set("http.request.method", method);
        span.set("server.address", host.to_owned());
        span.set("server.port", i64::from(port));
        // Without what stands behind the `?`, which may be a token.
        span.set("url.full", format!("http://{host}:{port}{}", uri.path()));
    }
    if let Some(context) = span.context() {
        context::put(&context, request.headers_mut());
    }
    span
}

/// Ends the span of a call. An order that is refused is no error of the call.
pub(crate) fn end_call(mut span: Span, answer: Result<StatusCode, &'static str>) {
    match answer {
        Ok(status) => span.answered(status),
        Err(why) => {
            span.set("error.type", why);
            span.fail("");
        }
    }
}

/// Removes what was meant for this hop only, also what `Connection` names as such.
fn end_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in HOP_BY_HOP.iter().chain(&named) {
        headers.remove(name);
    }
}

fn prepare(headers: &mut HeaderMap, client: IpAddr) {
    end_hop(headers);
    for name in &TOLD_BY_CLIENTS {
        headers.remove(name);
    }
    headers.remove(header::HOST);
    // The whole body is here: its length is known and set by the client.
    headers.remove(header::CONTENT_LENGTH);
    headers.remove(header::EXPECT);
    if let Ok(address) = HeaderValue::from_str(&client.to_string()) {
        headers.insert("x-forwarded-for", address);
    }
}

/// Forwards a request as it is.
pub(crate) async fn forward(State(gateway): State<Arc<Gateway>>, request: Request) -> Response {
    let client = subject::address(&request, &gateway.trusted);
    let forwarded = async {
        gateway.check_fresh(request.method())?;
        let Whole { parts, body, room } = gateway.bodies.read(request).await?;
        gateway.check_fresh(&parts.method)?;
        let sent = gateway
            .proxy
            .send(Request::from_parts(parts, Body::from(body)), client);
        let sent = sent.await?;
        drop(room);
        Ok::<_, Problem>(sent)
    };
    forwarded.await.unwrap_or_else(IntoResponse::into_response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_find_their_service_and_internal_ones_find_none() {
        let url = |port: u16| Url::parse(&format!("http://127.0.0.1:{port}")).unwrap();
        let upstreams = Upstreams {
            auth: url(1),
            inventory: url(2),
            order: url(3),
            notifier: url(4),
        };
        let proxy = Proxy::new(&upstreams);
        let port = |path| proxy.upstream(path).and_then(|upstream| upstream.url.port());
        assert_eq!(port("/api/auth/login"), Some(1));
        assert_eq!(port("/.well-known/jwks.json"), Some(1));
        assert_eq!(port("/api/inventory/products"), Some(2));
        assert_eq!(port("/api/orders"), Some(3));
        assert_eq!(port("/api/dead-letters/replay"), Some(3));
        assert_eq!(port("/api/notifications/read-all"), Some(4));
        assert_eq!(port("/api/ws-ticket"), Some(4));
        assert_eq!(port("/internal/settlement"), None);
        assert_eq!(port("/api/ordersx"), None);
    }

    #[test]
    fn a_hop_keeps_its_headers_to_itself() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "keep-alive, X-Secret"),
            ("connection", "X-Other"),
            ("x-secret", "1"),
            ("x-other", "1"),
            ("proxy-connection", "keep-alive"),
            ("forwarded", "for=6.6.6.6"),
            ("x-real-ip", "6.6.6.6"),
            ("x-forwarded-for", "6.6.6.6"),
            ("x-forwarded-for", "7.7.7.7"),
            ("idempotency-key", "k"),
            (
                "traceparent",
                "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            ),
        ] {
            headers.append(name, HeaderValue::from_static(value));
        }
        prepare(&mut headers, "1.2.3.4".parse().unwrap());
        let left: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        assert_eq!(left.len(), 3, "{left:?}");
        assert!(headers.contains_key("idempotency-key"));
        assert_eq!(headers.get_all("x-forwarded-for").iter().count(), 1);
        assert_eq!(headers["x-forwarded-for"], "1.2.3.4");
        assert!(headers.contains_key("traceparent"));
    }
}
