//! Requests for orders that a gateway sends on together.
//!
//! A request of its own for each order costs both services more than the order itself, and the order service accepts many in one
//! transaction anyway. So a gateway sends those that wait as one request, and is answered as one. Each of them has its own buyer's token,
//! which the order service verifies as it does for one that comes by itself, and each is answered, measured and traced by itself.

use super::{problem::Problem, server};
use crate::{
    metrics::HTTP_SECONDS,
    traces::{Span, SpanKind, context},
};
use axum::{
    body::to_bytes,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::{borrow::Cow, time::Instant};

/// Where the order service takes them.
pub const PATH: &str = "/internal/orders";
/// The most that are sent at once.
pub const MOST: usize = 128;
/// The most bytes of all bodies that are sent at once. One body is smaller in any case.
pub const MOST_BYTES: usize = 256 * 1024;
/// The most bytes of a request with all of them: tokens, keys and traces come to a kilobyte or two for each.
pub const MOST_BYTES_IN_ALL: usize = 1024 * 1024;
/// The route that each of them would have been a request for.
const ROUTE: &str = "/api/orders";
/// The most bytes of an answer that are kept; an order with a hundred lines has some ten thousand.
const LONGEST_ANSWER: usize = 256 * 1024;
/// Headers of an answer that are handed on.
const HANDED_ON: [HeaderName; 4] = [
    header::CONTENT_TYPE,
    header::LOCATION,
    header::RETRY_AFTER,
    HeaderName::from_static(super::idempotency::REPLAYED),
];

/// One of them.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Asked<'a> {
    /// The buyer's token.
    #[serde(borrow)]
    pub token: Cow<'a, str>,
    /// The idempotency key.
    #[serde(borrow)]
    pub key: Cow<'a, str>,
    /// The trace that it goes on.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<Cow<'a, str>>,
    /// The id of the request.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<Cow<'a, str>>,
    /// The body, as the buyer has sent it.
    #[serde(borrow)]
    pub body: &'a RawValue,
}

/// The answer to one of them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Answered {
    status: u16,
    headers: Vec<(String, String)>,
    body: Box<RawValue>,
}

impl Answered {
    /// Of an answer as it would have been sent by itself.
    pub async fn of(response: Response) -> Self {
        let (mut parts, body) = response.into_parts();
        let body = to_bytes(body, LONGEST_ANSWER).await.ok();
        let body = body.and_then(|body| serde_json::from_slice(&body).ok());
        if body.is_none() {
            tracing::error!(status = %parts.status, "the answer to an order is no JSON, or too long");
            parts.status = StatusCode::INTERNAL_SERVER_ERROR;
        }
        let handed_on = |name: HeaderName| {
            let value = parts.headers.get(&name)?.to_str().ok()?.to_owned();
            Some((name.as_str().to_owned(), value))
        };
        Self {
            status: parts.status.as_u16(),
            headers: HANDED_ON.into_iter().filter_map(handed_on).collect(),
            body: body.unwrap_or_default(),
        }
    }

    /// The answer as it is sent on.
    pub fn into_response(self) -> Response {
        let Ok(status) = StatusCode::from_u16(self.status) else {
            return Problem::internal(&"an answer without a status").into_response();
        };
        let body: Box<str> = self.body.into();
        let mut response = (status, String::from(body)).into_response();
        response.headers_mut().remove(header::CONTENT_TYPE);
        for (name, value) in self.headers {
            if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }
}

/// One of them while it is served.
#[derive(Debug)]
pub struct Serving {
    service: &'static str,
    span: Span,
    context: String,
    request_id: Option<String>,
    begun: Instant,
}

impl Serving {
    /// Begins the span of it.
    pub fn begin(service: &'static str, asked: &Asked<'_>) -> Self {
        let came = asked.traceparent.as_deref();
        let mut span = Span::start(SpanKind::Server, came, || format!("POST {ROUTE}"));
        let context = span.context().unwrap_or_else(|| context::keep_or_make(came));
        if span.is_recorded() {
            span.set("http.request.method", "POST");
            span.set("url.scheme", "http");
            span.set("url.path", ROUTE);
            span.set("http.route", ROUTE);
            let id = asked.request_id.as_deref().unwrap_or_default();
            span.set("quicksale.request.id", id.to_owned());
        }
        Self {
            service,
            span,
            context,
            request_id: asked.request_id.as_deref().map(str::to_owned),
            begun: Instant::now(),
        }
    }

    /// The trace that it goes on under.
    pub fn context(&self) -> &str {
        &self.context
    }

    /// Ends the span, measures, and puts the ids into a problem document.
    pub fn end(self, mut response: Response) -> Response {
        server::end_span(self.span, &response);
        HTTP_SECONDS
            .with_label_values(&[self.service, "POST", ROUTE, response.status().as_str()])
            .observe(self.begun.elapsed().as_secs_f64());
        let trace = context::trace_id(&self.context).unwrap_or_default();
        server::complete(
            &mut response,
            self.service,
            ROUTE,
            self.request_id.as_deref(),
            trace,
        );
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::problem::Code;

    #[tokio::test]
    async fn an_answer_is_handed_on_as_it_was_given() {
        let placed = (
            StatusCode::CREATED,
            [
                ("location", "/api/orders/7"),
                ("idempotency-replayed", "true"),
                ("x-inside", "1"),
            ],
            axum::Json(serde_json::json!({"message": "ok", "total": 1.10})),
        );
        let wire = serde_json::to_vec(&Answered::of(placed.into_response()).await).unwrap();
        let answer = serde_json::from_slice::<Answered>(&wire).unwrap().into_response();
        assert_eq!(answer.status(), StatusCode::CREATED);
        assert_eq!(answer.headers()["location"], "/api/orders/7");
        assert_eq!(answer.headers()["content-type"], "application/json");
        assert!(
            answer.headers().contains_key("idempotency-replayed")
                && !answer.headers().contains_key("x-inside")
        );
        let body = to_bytes(answer.into_body(), 1_000).await.unwrap();
        assert_eq!(&body[..], br#"{"message":"ok","total":1.1}"#);
    }

    #[tokio::test]
    async fn a_problem_has_the_ids_of_its_own_request() {
        let body = RawValue::from_string("{}".to_owned()).unwrap();
        let asked = Asked {
            token: "t".into(),
            key: "k".into(),
            traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00".into()),
            request_id: Some("r-1".into()),
            body: &body,
        };
        let wire = serde_json::to_string(&asked).unwrap();
        let asked: Asked<'_> = serde_json::from_str(&wire).unwrap();
        let serving = Serving::begin("order", &asked);
        let problem = Problem::new(Code::SoldOut, "none left").retry_after(3);
        let answer = Answered::of(serving.end(problem.into_response()))
            .await
            .into_response();
        assert_eq!(answer.headers()["retry-after"], "3");
        let body = to_bytes(answer.into_body(), 1_000).await.unwrap();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            (&body["requestId"], &body["traceId"]),
            (&"r-1".into(), &"4bf92f3577b34da6a3ce929d0e0e4736".into())
        );
    }
}
