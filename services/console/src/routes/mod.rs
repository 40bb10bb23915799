//! The HTTP API of the console's pages, a file for each part of its addresses: [`login`] lets administrators in, [`switches`] changes
//! something, the others show. What is not [`open_to_everybody`] is for administrators.

mod audit;
mod dead_letters;
mod history;
mod lanes;
mod ledger;
mod login;
mod orders;
mod report;
mod sales;
mod story;
mod switches;
mod topics;

use crate::{Console, session::administrators_only};
use axum::{
    Router,
    extract::Request,
    http::{HeaderMap, HeaderValue, Method, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use platform::http::{
    Path,
    problem::{Code, Problem},
    server,
};
use sale::SaleId;
use serde::Deserialize;

/// The routes.
pub(crate) fn router(console: Console) -> Router {
    let guarded = Router::new()
        .route("/api/me", get(login::me))
        .route("/api/sales", get(sales::list))
        .nest("/api/sales/{namespace}/{name}", of_sale())
        .route_layer(middleware::from_fn_with_state(
            console.clone(),
            administrators_only,
        ));
    open_to_everybody()
        .merge(guarded)
        .method_not_allowed_fallback(server::method_not_allowed)
        .layer(middleware::map_response(not_kept))
        .with_state(console)
}

/// The way in, and out.
fn open_to_everybody() -> Router<Console> {
    Router::new()
        .route("/api/login", post(login::login))
        .route("/api/logout", post(login::logout))
}

fn of_sale() -> Router<Console> {
    Router::new()
        .route("/", get(sales::one))
        .route("/story", get(story::story))
        .route("/history", get(history::show))
        .route("/deeds", get(story::deeds))
        .route("/orders", get(orders::list))
        .route("/orders/{id}", get(orders::one))
        .route("/topics", get(topics::list))
        .route("/topics/{topic}/{partition}", get(topics::read))
        .route("/lanes", get(lanes::list))
        .route("/dead-letters", get(dead_letters::list))
        .route("/ledger", get(ledger::list))
        .route("/report", get(report::show))
        .route("/audit", get(audit::last).post(audit::begin))
        .route("/dead-letters/replay", post(switches::replay))
        .route("/dead-letters/discard", post(switches::discard))
        .route("/halt", post(switches::halt))
        .route("/reopen", post(switches::reopen))
        .route("/stock", post(switches::change_stock))
}

/// Which sale.
#[derive(Debug, Deserialize)]
pub(crate) struct Which {
    namespace: String,
    name: String,
}

impl From<Which> for SaleId {
    fn from(Which { namespace, name }: Which) -> Self {
        Self { namespace, name }
    }
}

/// The sale in a path.
type SalePath = Path<Which>;

/// What is shown is for whoever has asked, and of this moment.
async fn not_kept(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Changes nothing for pages of others: a browser sends the cookie only with requests of the same site, and this refuses whatever another
/// origin has sent all the same.
pub(crate) async fn from_here(request: Request, next: Next) -> Response {
    let only_reads = matches!(*request.method(), Method::GET | Method::HEAD);
    if !only_reads && !is_from_here(request.headers()) {
        return Problem::new(
            Code::Forbidden,
            "The console takes requests of its own pages only.",
        )
        .into_response();
    }
    next.run(request).await
}

/// Whether a request comes from the page it is sent to, or from no browser at all.
fn is_from_here(headers: &HeaderMap) -> bool {
    let text = |name| {
        headers
            .get(name)
            .and_then(|value: &HeaderValue| value.to_str().ok())
    };
    if let Some(site) = text("sec-fetch-site") {
        return matches!(site, "same-origin" | "none");
    }
    let Some(origin) = text(header::ORIGIN.as_str()) else {
        return true;
    };
    let host = origin.split_once("://").map(|(_, host)| host);
    host.is_some() && host == text(header::HOST.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_its_own_pages_change_something() {
        let from = |pairs: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.insert(*name, HeaderValue::from_static(value));
            }
            is_from_here(&headers)
        };
        assert!(from(&[("sec-fetch-site", "same-origin")]));
        assert!(!from(&[
            ("sec-fetch-site", "same-site"),
            ("origin", "https://shop.example"),
            ("host", "console.example")
        ]));
        assert!(!from(&[("sec-fetch-site", "cross-site")]));
        assert!(from(&[
            ("origin", "https://console.example"),
            ("host", "console.example")
        ]));
        assert!(!from(&[
            ("origin", "https://evil.example"),
            ("host", "console.example")
        ]));
        assert!(!from(&[("origin", "null"), ("host", "console.example")]));
        assert!(from(&[]), "a program");
    }
}
