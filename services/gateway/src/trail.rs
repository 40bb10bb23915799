//! The trail of what administrators and services do from outside, and of who is refused for want of rights. What auth
//! does itself is in auth's own trail.

use crate::{Gateway, subject};
use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header},
    middleware::Next,
    response::Response,
};
use platform::{
    audit::{self, Event, Outcome},
    http::{REQUEST_ID, authorization::bearer_token},
    metrics::Metric,
    tokens::{Identity, Role},
};
use std::{net::IpAddr, sync::Arc};

/// The metric, with what nobody has done yet as zero.
pub(crate) fn metric() -> Metric {
    audit::metric([
        "request",
        "inventory.reserve",
        "inventory.release",
        "inventory.confirm",
        "product.stock",
        "product.write",
        "order.cancel",
        "order.confirm",
        "order.fail",
    ])
}

/// What is kept of a request until its answer is known. Buyers' requests are most of all, so it is cheap: what is
/// copied here is counted references.
struct Asked {
    method: Method,
    uri: Uri,
    token: Option<HeaderValue>,
    request_id: Option<HeaderValue>,
    from: IpAddr,
}

impl Asked {
    fn of(request: &Request, from: IpAddr) -> Self {
        let header = |name: &str| request.headers().get(name).cloned();
        Self {
            method: request.method().clone(),
            uri: request.uri().clone(),
            token: header(header::AUTHORIZATION.as_str()),
            request_id: header(REQUEST_ID),
            from,
        }
    }

    fn who(&self, gateway: &Gateway) -> Option<Identity> {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, self.token.clone()?);
        gateway.authority.identify(bearer_token(&headers)?).ok()
    }

    /// Whether its answer is for nobody else.
    fn is_private(&self) -> bool {
        let path = self.uri.path();
        path.starts_with("/api/auth/") || path == "/api/ws-ticket"
    }

    /// The action, if it is one that only administrators and services may take.
    fn privileged(&self) -> Option<&'static str> {
        let path = self.uri.path();
        let writes = !matches!(self.method, Method::GET | Method::HEAD | Method::OPTIONS);
        match path {
            _ if !writes => None,
            "/api/inventory/reserve" => Some("inventory.reserve"),
            "/api/inventory/release" => Some("inventory.release"),
            "/api/inventory/confirm" => Some("inventory.confirm"),
            _ if path.starts_with("/api/inventory/products") && path.ends_with("/stock") => {
                Some("product.stock")
            }
            _ if path.starts_with("/api/inventory/products") => Some("product.write"),
            _ if path.starts_with("/api/orders/") && path.ends_with("/cancel") => Some("order.cancel"),
            _ if path.starts_with("/api/orders/") && path.ends_with("/confirm") => Some("order.confirm"),
            _ if path.starts_with("/api/orders/") && path.ends_with("/fail") => Some("order.fail"),
            _ => None,
        }
    }
}

/// Writes it down. And what holds tokens, or says something of an account, is kept out of caches.
pub(crate) async fn follow(State(gateway): State<Arc<Gateway>>, request: Request, next: Next) -> Response {
    let asked = Asked::of(&request, subject::address(&request, &gateway.trusted));
    let mut response = next.run(request).await;
    if asked.is_private() {
        response
            .headers_mut()
            .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    let status = response.status();
    let (action, privileged) = match (asked.privileged(), status) {
        (Some(action), _) => (action, true),
        (None, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => ("request", false),
        (None, _) => return response,
    };
    let who = asked.who(&gateway);
    let is_refused = matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
    // A buyer who cancels an order of their own does nothing that others could not.
    let is_a_buyer = who.as_ref().is_some_and(|who| who.role == Role::Buyer);
    if !is_refused && (is_a_buyer || !privileged) {
        return response;
    }
    let outcome = match status {
        StatusCode::TOO_MANY_REQUESTS => Outcome::Throttled,
        status if status.is_success() => Outcome::Done,
        status if status.is_server_error() => Outcome::Failed,
        _ => Outcome::Refused,
    };
    audit::record(Event {
        action,
        outcome,
        who: who.as_ref().map_or("anonymous", |who| who.user.as_str()),
        whose: asked.uri.path(),
        from: Some(asked.from),
        request_id: asked.request_id.as_ref().and_then(|id| id.to_str().ok()),
    });
    response
}
