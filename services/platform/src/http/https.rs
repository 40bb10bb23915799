//! Plain HTTP where a sale has a certificate. What a buyer sends in plain text anybody on the way can read and change, so it
//! is not taken.
//!
//! The services themselves speak HTTP; TLS ends at the ingress controller, which says in `X-Forwarded-Proto` what the
//! client speaks. No annotation does this for every controller, and this way it is the same with all of them.

use super::problem::{Code, Problem};
use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use std::sync::Arc;

/// For a year a browser that was here asks for HTTPS by itself (RFC 6797).
const REMEMBERED: HeaderValue = HeaderValue::from_static("max-age=31536000");

/// A router that takes HTTPS only, if buyers reach it by HTTPS under `host`.
pub fn require_if(router: Router, host: Option<&str>) -> Router {
    match host {
        Some(host) => router.layer(middleware::from_fn_with_state(Arc::from(host), check)),
        None => router,
    }
}

async fn check(State(host): State<Arc<str>>, request: Request, next: Next) -> Response {
    if is_plain(request.headers()) && is_for(request.headers(), &host) {
        return refuse(&host, &request);
    }
    let mut response = next.run(request).await;
    response
        .headers_mut()
        .insert(header::STRICT_TRANSPORT_SECURITY, REMEMBERED);
    response
}

/// Whether the client speaks plain HTTP, as the first proxy has seen it. Whoever makes that up is refused or let in like
/// everybody else, and hurts nobody else. What came without a proxy came from inside of the cluster.
fn is_plain(headers: &HeaderMap) -> bool {
    let said = headers
        .get("x-forwarded-proto")
        .and_then(|value| value.to_str().ok());
    let first = said.and_then(|said| said.split(',').next()).map(str::trim);
    first.is_some_and(|scheme| {
        ["http", "ws"]
            .iter()
            .any(|plain| scheme.eq_ignore_ascii_case(plain))
    })
}

/// Whether a request is for the address that buyers know. Of calls inside of the cluster, which are for another, a mesh may
/// say that they are plain HTTP, as they are. A proxy that writes a `Host` of its own tells the client's in `X-Forwarded-Host`.
fn is_for(headers: &HeaderMap, host: &str) -> bool {
    let named = ["host", "x-forwarded-host"].into_iter();
    let mut named = named
        .flat_map(|name| headers.get_all(name))
        .filter_map(|value| value.to_str().ok());
    named.any(|value| {
        let first = value.split(',').next().unwrap_or_default().trim();
        let name = first.rsplit_once(':').map_or(first, |(name, _port)| name);
        name.eq_ignore_ascii_case(host)
    })
}

/// Somebody who has typed the address is led on. A program is told of its mistake, and not helped to make it again: what it
/// sent along has been readable.
fn refuse(host: &str, request: &Request) -> Response {
    let is_page = matches!(*request.method(), Method::GET | Method::HEAD)
        && !request.headers().contains_key(header::AUTHORIZATION)
        && !request.headers().contains_key(header::UPGRADE);
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    // The host of the sale and not what the request says: that is for the client to choose.
    let there = HeaderValue::from_str(&format!("https://{host}{path}"));
    match there {
        Ok(there) if is_page => (
            StatusCode::PERMANENT_REDIRECT,
            [
                (header::LOCATION, there),
                (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
            ],
        )
            .into_response(),
        _ => {
            let detail = format!(
                "This sale is at https://{host}; what was sent in plain text was not read. Send it there."
            );
            // What a cache kept of it would be told to others, who came over HTTPS.
            let no_store = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
            (no_store, Problem::new(Code::HttpsRequired, detail)).into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::{body::Body, routing::any};
    use tower::ServiceExt;

    const HOST: (&str, &str) = ("host", "laptops.example.com");

    async fn answer(method: &str, path: &str, headers: &[(&str, &str)]) -> Response {
        let router = require_if(
            Router::new().fallback(any(|| async { "inside" })),
            Some("laptops.example.com"),
        );
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        router
            .oneshot(request.body(Body::empty()).unwrap())
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn a_page_over_plain_http_is_led_to_https_of_the_sale() {
        let headers = [("x-forwarded-proto", "http"), HOST];
        let response = answer("GET", "/docs?a=b", &headers).await;
        assert_eq!(response.status(), StatusCode::PERMANENT_REDIRECT);
        assert_eq!(
            response.headers()[header::LOCATION],
            "https://laptops.example.com/docs?a=b"
        );
        assert_eq!(response.headers()[header::CACHE_CONTROL], "no-store");
        assert!(!response.headers().contains_key(header::STRICT_TRANSPORT_SECURITY));
    }

    #[tokio::test]
    async fn what_a_program_sends_in_plain_text_is_refused() {
        for (method, proto, more) in [
            ("POST", "http", ("accept", "*/*")),
            ("GET", "http", ("authorization", "Bearer x")),
            ("GET", "ws", ("upgrade", "websocket")),
            ("DELETE", "HTTP, https", ("accept", "*/*")),
        ] {
            for host in [
                HOST,
                ("host", "Laptops.Example.com:80"),
                ("x-forwarded-host", "laptops.example.com, gateway.shop.svc"),
            ] {
                let response = answer(method, "/ws", &[("x-forwarded-proto", proto), host, more]).await;
                assert_eq!(
                    response.status(),
                    StatusCode::FORBIDDEN,
                    "{method} {proto} {host:?}"
                );
            }
        }
    }

    #[tokio::test]
    async fn what_a_mesh_says_of_calls_inside_of_the_cluster_stops_none_of_them() {
        for host in [
            "laptops-gateway.shop.svc:8080",
            "10.0.0.7:8080",
            "laptops.example.com.shop.svc",
        ] {
            let headers = [("x-forwarded-proto", "http"), ("host", host)];
            let response = answer("POST", "/api/orders", &headers).await;
            assert_eq!(response.status(), StatusCode::OK, "{host}");
        }
    }

    #[tokio::test]
    async fn https_is_taken_and_remembered() {
        for headers in [
            &[("x-forwarded-proto", "https")][..],
            &[("x-forwarded-proto", "wss")],
            // Another proxy between the first one and here speaks plain HTTP.
            &[("x-forwarded-proto", "https, http")],
            // From inside of the cluster.
            &[],
        ] {
            let response = answer("POST", "/api/orders", headers).await;
            assert_eq!(response.status(), StatusCode::OK, "{headers:?}");
            assert_eq!(
                response.headers()[header::STRICT_TRANSPORT_SECURITY],
                "max-age=31536000"
            );
        }
    }
}
