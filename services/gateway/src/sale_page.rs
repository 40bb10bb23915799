//! `GET /api/sale`: what a storefront shows, from memory. A crowd that waits for the opening asks for nothing else, so it costs no backend
//! anything, is not counted against limits, and is written as JSON once for all who ask until something changes.

use crate::{Gateway, pages::is_among, products::Product};
use arc_swap::ArcSwapOption;
use axum::{
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use platform::http::problem::Problem;
use sale::control::ControlDocument;
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::sync::Arc;
use utoipa::ToSchema;

/// The server's clock beside the answer: of what is not modified nobody sends a body.
const SERVER_TIME: HeaderName = HeaderName::from_static("x-server-time");
/// Asked for each time, and sent when it has changed.
const CACHE: HeaderValue = HeaderValue::from_static("public, no-cache");
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
    tag: HeaderValue,
}

/// The answer that was written last.
#[derive(Debug, Default)]
pub(crate) struct SalePage(ArcSwapOption<Written>);

impl SalePage {
    /// The answer for now, written anew if something has changed.
    fn written(&self, gateway: &Gateway) -> Result<Arc<Written>, serde_json::Error> {
        let (control, products) = (gateway.control.current(), gateway.products.list());
        let is_of_now = |written: &Written| {
            Arc::ptr_eq(&written.control, &control) && Arc::ptr_eq(&written.products, &products)
        };
        if let Some(written) = self.0.load_full().filter(|written| is_of_now(written)) {
            return Ok(written);
        }
        let written = Arc::new(Written::new(control, products, gateway.currency.code())?);
        self.0.store(Some(Arc::clone(&written)));
        Ok(written)
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
        Ok(Self {
            before_time: format!("{before}\"serverTime\":\""),
            after_time: format!("\"{after}"),
            // Hex digits in quotes.
            tag: HeaderValue::from_str(&tag).unwrap_or(HeaderValue::from_static("\"\"")),
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
pub(crate) async fn show(State(gateway): State<Arc<Gateway>>, asked: HeaderMap) -> Response {
    let written = match gateway.sale_page.written(&gateway) {
        Ok(written) => written,
        Err(error) => return Problem::internal(&error).into_response(),
    };
    let now = gateway.control.clock().now().to_string();
    let is_known = asked
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .any(|tags| is_among(tags, &written.tag));
    let mut response = if is_known {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let body = [&written.before_time, now.as_str(), &written.after_time].concat();
        ([(header::CONTENT_TYPE, "application/json")], body).into_response()
    };
    let headers = response.headers_mut();
    headers.insert(header::ETAG, written.tag.clone());
    headers.insert(header::CACHE_CONTROL, CACHE);
    if let Ok(now) = HeaderValue::from_str(&now) {
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
