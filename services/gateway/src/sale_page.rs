//! `GET /api/sale`: what a storefront shows, from memory. A crowd that waits for the opening asks for nothing else, so it costs no backend
//! anything, is not counted against limits, and is written as JSON once for all who ask until something changes.

use crate::{Gateway, products::Product, subject};
use arc_swap::ArcSwapOption;
use axum::{
    body::Bytes,
    extract::{Request, State},
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use platform::http::{pages::is_among, problem::Problem};
use sale::control::ControlDocument;
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use utoipa::ToSchema;

/// The server's clock beside the answer: of what is not modified nobody sends a body.
const SERVER_TIME: HeaderName = HeaderName::from_static("x-server-time");
/// A browser that kept it would answer 200 to a page with what it has kept, which has the time of then in it. Who keeps the tag itself is
/// answered 304 all the same.
const CACHE: HeaderValue = HeaderValue::from_static("no-store");
/// How long the same body goes to all who ask; its time is that much late at the most.
const SHARED_FOR: Duration = Duration::from_millis(50);
/// In the place of the time while the rest is written.
const NOW: &str = "now";

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

/// The answer without its time, by what it was made from.
#[derive(Debug)]
struct Written {
    control: Arc<ControlDocument>,
    products: Arc<Vec<Product>>,
    before_time: String,
    after_time: String,
    /// Of all but the time, so that it is a weak one where it is sent.
    tag: HeaderValue,
    weak_tag: HeaderValue,
}

/// An answer with its time. One for all: a copy for each of a crowd who take it slowly would be much memory.
#[derive(Debug)]
struct Dated {
    written: Arc<Written>,
    at: Instant,
    time: String,
    body: Bytes,
}

/// The answer that was given last.
#[derive(Debug, Default)]
pub(crate) struct SalePage(ArcSwapOption<Dated>);

impl SalePage {
    /// The answer for now, written anew if something has changed.
    fn answer(&self, gateway: &Gateway, at: Instant) -> Result<Arc<Dated>, serde_json::Error> {
        let (control, products) = (gateway.control.current(), gateway.products.list());
        let last = self.0.load_full().filter(|last| {
            Arc::ptr_eq(&last.written.control, &control) && Arc::ptr_eq(&last.written.products, &products)
        });
        let written = match last {
            Some(last) if at.saturating_duration_since(last.at) < SHARED_FOR => return Ok(last),
            Some(last) => Arc::clone(&last.written),
            None => Arc::new(Written::new(control, products, gateway.currency.code())?),
        };
        let time = gateway.control.clock().now().to_string();
        let body = [&written.before_time, time.as_str(), &written.after_time].concat();
        let dated = Arc::new(Dated {
            written,
            at,
            time,
            body: body.into(),
        });
        self.0.store(Some(Arc::clone(&dated)));
        Ok(dated)
    }
}

impl Written {
    fn new(
        control: Arc<ControlDocument>,
        products: Arc<Vec<Product>>,
        currency: &str,
    ) -> Result<Self, serde_json::Error> {
        let view = SaleView {
            phase: control.phase.as_str(),
            opens_at: control.opens_at.map(|at| at.to_string()),
            closes_at: control.closes_at.map(|at| at.to_string()),
            halted: control.halted,
            server_time: NOW.to_owned(),
            currency: currency.to_owned(),
            products: products.as_ref().clone(),
        };
        let text = serde_json::to_string(&view)?;
        // The time stands before everything that others have written.
        let (before, after) = text
            .split_once(&format!("\"serverTime\":\"{NOW}\""))
            .unwrap_or((&text, ""));
        let tag = format!("\"{}\"", hex::encode(&Sha256::digest(&text)[..16]));
        // Hex digits in quotes.
        let header = |tag: &str| HeaderValue::from_str(tag).unwrap_or(HeaderValue::from_static("\"\""));
        Ok(Self {
            before_time: format!("{before}\"serverTime\":\""),
            after_time: format!("\"{after}"),
            tag: header(&tag),
            weak_tag: header(&format!("W/{tag}")),
            control,
            products,
        })
    }
}

/// The sale, its times by the server's clock, and what is left.
///
/// Not counted against limits. Whoever sends the `ETag` of the last answer as `If-None-Match` is answered 304 while nothing but the time has
/// changed; `x-server-time` has that.
#[utoipa::path(get, path = "/api/sale", tag = "sale",
    responses(
        (status = 200, body = SaleView, description = "The sale now"),
        (status = 304, description = "Nothing has changed but the time, which x-server-time has")
    ))]
pub(crate) async fn show(State(gateway): State<Arc<Gateway>>, request: Request) -> Response {
    gateway
        .one_address
        .count(subject::address(&request, &gateway.trusted));
    let answer = match gateway.sale_page.answer(&gateway, Instant::now()) {
        Ok(answer) => answer,
        Err(error) => return Problem::internal(&error).into_response(),
    };
    let is_known = request
        .headers()
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .any(|tags| is_among(tags, &answer.written.tag));
    let mut response = if is_known {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        ([(header::CONTENT_TYPE, "application/json")], answer.body.clone()).into_response()
    };
    let headers = response.headers_mut();
    headers.insert(header::ETAG, answer.written.weak_tag.clone());
    headers.insert(header::CACHE_CONTROL, CACHE);
    if let Ok(now) = HeaderValue::from_str(&answer.time) {
        headers.insert(SERVER_TIME, now);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn written(products: &[Value]) -> Written {
        let products = serde_json::from_value(json!(products)).unwrap();
        let id = sale::SaleId {
            namespace: "shop".to_owned(),
            name: "laptops".to_owned(),
        };
        let opened = jiff::Timestamp::UNIX_EPOCH;
        let control = ControlDocument::open_now(id, opened);
        Written::new(Arc::new(control), Arc::new(products), "USD").unwrap()
    }

    fn product(name: &str, available: i64) -> Value {
        json!({"_id": "p", "sku": "P", "name": name, "price": 1, "originalPrice": null, "currency": "USD",
            "stock": 5, "available": available, "limitPerCustomer": null})
    }

    #[test]
    fn an_answer_is_the_same_until_something_but_the_time_has_changed() {
        let before = written(&[product("P", 5)]);
        assert_eq!(before.tag, written(&[product("P", 5)]).tag);
        assert_ne!(before.tag, written(&[product("P", 4)]).tag);
        let text = [&before.before_time, "12:00", &before.after_time].concat();
        let answer: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(answer["serverTime"], "12:00");
        assert_eq!(answer["products"][0]["available"], 5);
    }

    #[test]
    fn what_a_product_is_called_cannot_stand_for_the_time() {
        let strange = written(&[product(r#"","serverTime":"now"#, 5)]);
        let text = [&strange.before_time, "12:00", &strange.after_time].concat();
        let answer: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(answer["serverTime"], "12:00");
        assert_eq!(answer["products"][0]["name"], r#"","serverTime":"now"#);
    }
}
