//! Problem documents (RFC 9457): every error of every service, with a stable code.

use axum::{
    body::Body,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use sale::{control::Admission, order::OrderStatus};
use serde::{Deserialize, Serialize};

/// When it is worth asking again for units that others hold, in seconds: orders that are confirmed at once are within
/// one, and those that wait for a payment come back at any time.
const HELD_FOR: u64 = 2;

/// The stable codes. Clients branch on these; titles and details are for people and may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// 400: the request itself is wrong; `errors` names the field.
    InvalidRequest,
    /// 401: no token, or not a good one.
    Unauthenticated,
    /// 403: a good token of somebody who may not do this.
    Forbidden,
    /// 403: sent over plain HTTP to a sale that has a certificate.
    HttpsRequired,
    /// 404: no such thing, or none of yours.
    NotFound,
    /// 405: the route does not know the method.
    MethodNotAllowed,
    /// 409: every unit is sold; see `sku`.
    SoldOut,
    /// 409: fewer units are free than asked for, and more may come back; see `sku`, `left` and `Retry-After`.
    UnitsHeld,
    /// 409: before the opening; see `opensAt`.
    SaleNotOpen,
    /// 409: after the end.
    SaleClosed,
    /// 409: paused.
    SaleHalted,
    /// 409: more than one customer may buy.
    CustomerLimit,
    /// 409: the thing changed since it was read.
    StaleVersion,
    /// 409: stock would go below what is held and sold.
    StockCommitted,
    /// 409: there is an account with this address.
    EmailTaken,
    /// 409: there is a product with this SKU.
    SkuTaken,
    /// 409: there is one of this name.
    NameTaken,
    /// 409: there are as many as there may be.
    TooMany,
    /// 409: the order cannot be changed any more; see `orderStatus`.
    OrderFinal,
    /// 409: the order's units are not held yet; see `Retry-After`.
    NotHeldYet,
    /// 413: the body is too large.
    PayloadTooLarge,
    /// 415: the body is not JSON.
    UnsupportedMediaType,
    /// 422: the key was used for another order.
    IdempotencyKeyReused,
    /// 429: too many requests; see `Retry-After`.
    RateLimited,
    /// 500: our fault.
    Internal,
    /// 503: try again, an order with the same key; see `Retry-After`.
    Busy,
}

impl Code {
    /// Its status.
    pub fn status(self) -> StatusCode {
        match self {
            Self::InvalidRequest => StatusCode::BAD_REQUEST,
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::Forbidden | Self::HttpsRequired => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::SoldOut
            | Self::UnitsHeld
            | Self::SaleNotOpen
            | Self::SaleClosed
            | Self::SaleHalted
            | Self::CustomerLimit
            | Self::StaleVersion
            | Self::StockCommitted
            | Self::EmailTaken
            | Self::SkuTaken
            | Self::NameTaken
            | Self::TooMany
            | Self::OrderFinal
            | Self::NotHeldYet => StatusCode::CONFLICT,
            Self::PayloadTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::IdempotencyKeyReused => StatusCode::UNPROCESSABLE_ENTITY,
            Self::RateLimited => StatusCode::TOO_MANY_REQUESTS,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// A short title for people.
    pub fn title(self) -> &'static str {
        match self {
            Self::InvalidRequest => "The request is not valid",
            Self::Unauthenticated => "Please log in",
            Self::Forbidden => "Not allowed",
            Self::HttpsRequired => "HTTPS only",
            Self::NotFound => "Not found",
            Self::MethodNotAllowed => "Method not allowed",
            Self::SoldOut => "Sold out",
            Self::UnitsHeld => "Not enough units are free now",
            Self::SaleNotOpen => "The sale is not open yet",
            Self::SaleClosed => "The sale is over",
            Self::SaleHalted => "The sale is paused",
            Self::CustomerLimit => "Limit for each customer reached",
            Self::StaleVersion => "Changed in the meantime",
            Self::StockCommitted => "Units are held or sold",
            Self::EmailTaken => "This address has an account",
            Self::SkuTaken => "This SKU exists",
            Self::NameTaken => "This name is taken",
            Self::TooMany => "There are as many as there may be",
            Self::OrderFinal => "The order is final",
            Self::NotHeldYet => "Units are not held yet",
            Self::PayloadTooLarge => "The body is too large",
            Self::UnsupportedMediaType => "The body must be JSON",
            Self::IdempotencyKeyReused => "This Idempotency-Key belongs to another order",
            Self::RateLimited => "Too many requests",
            Self::Internal => "Something went wrong on our side",
            Self::Busy => "Busy, please try again",
        }
    }
}

/// One field that was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct FieldError {
    /// Path of the field in the body, such as `items[0].quantity`, or the header's or parameter's name.
    pub field: String,
    /// What is wrong with it and what would be right.
    pub detail: String,
}

/// An error answer.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// `urn:quicksale:problem:<code>`
    #[serde(rename = "type")]
    pub kind: String,
    /// Short and for people.
    pub title: String,
    /// The HTTP status, repeated.
    pub status: u16,
    /// The stable code.
    pub code: Code,
    /// What happened, to what, and what to do.
    pub detail: String,
    /// The request's id, for the support ticket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// The request's trace, in traces and logs.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub trace_id: Option<Box<str>>,
    /// When the sale opens, with `sale_not_open`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub opens_at: Option<String>,
    /// What an order has come to, with `order_final`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub order_status: Option<OrderStatus>,
    /// The product that is missing, with `sold_out` and `units_held`, or of which no more may be bought, with
    /// `customer_limit`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sku: Option<String>,
    /// Units of it that can be ordered, with `units_held`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left: Option<u32>,
    /// Units of it that a customer may hold and buy, with `customer_limit`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// The fields that were refused, with `invalid_request`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
    /// Seconds to wait, for the `Retry-After` header.
    #[serde(skip)]
    pub retry_after: Option<u64>,
    /// Further headers of the answer.
    #[serde(skip)]
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

impl Problem {
    /// A problem with a detail for people.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        let name = serde_json::to_value(code)
            .ok()
            .and_then(|v| v.as_str().map(str::to_owned))
            .unwrap_or_default();
        Self {
            kind: format!("urn:quicksale:problem:{name}"),
            title: code.title().to_owned(),
            status: code.status().as_u16(),
            code,
            detail: detail.into(),
            request_id: None,
            trace_id: None,
            opens_at: None,
            order_status: None,
            sku: None,
            left: None,
            limit: None,
            errors: Vec::new(),
            retry_after: None,
            headers: Vec::new(),
        }
    }

    /// 400 about one field.
    pub fn field(field: impl Into<String>, detail: impl Into<String>) -> Self {
        let (field, detail) = (field.into(), detail.into());
        let mut problem = Self::new(Code::InvalidRequest, format!("{field}: {detail}"));
        problem.errors.push(FieldError { field, detail });
        problem
    }

    /// 401.
    pub fn unauthenticated(detail: impl Into<String>) -> Self {
        let mut problem = Self::new(Code::Unauthenticated, detail);
        problem
            .headers
            .push((header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")));
        problem
    }

    /// 404 for a kind of thing.
    pub fn not_found(what: &str) -> Self {
        Self::new(
            Code::NotFound,
            format!("There is no such {what}, or it is not yours."),
        )
    }

    /// What is said of an order outside the sale's times, or `None` while the sale is open.
    pub fn outside_the_sale(admission: Admission) -> Option<Self> {
        match admission {
            Admission::Open => None,
            Admission::NotOpen { opens_at } => {
                let detail = opens_at.map_or_else(
                    || "The sale has not opened yet.".to_owned(),
                    |at| format!("The sale opens at {at}."),
                );
                let mut problem = Self::new(Code::SaleNotOpen, detail);
                problem.opens_at = opens_at.map(|at| at.to_string());
                Some(problem)
            }
            Admission::Closed => Some(Self::new(Code::SaleClosed, "The sale is over.")),
            Admission::Halted => Some(Self::new(
                Code::SaleHalted,
                "The sale is paused; please come back in a moment.",
            )),
        }
    }

    /// 409 for a product of which there are not enough units: that all are sold, or that some may come back.
    pub fn too_few(sku: &str, wanted: u32, left: u32, all_sold: bool) -> Self {
        let mut problem = if all_sold {
            Self::new(Code::SoldOut, format!("Every unit of {sku} is sold."))
        } else {
            let detail = match left {
                0 => format!(
                    "No unit of {sku} is free now. Some are held by orders that may not be completed; try again with the \
                     same Idempotency-Key."
                ),
                left => format!(
                    "Only {left} of {sku} can be ordered now, and not {wanted}. Order fewer, or try again: some are held by \
                     orders that may not be completed."
                ),
            };
            Self::new(Code::UnitsHeld, detail).retry_after(HELD_FOR)
        };
        problem.sku = Some(sku.to_owned());
        problem.left = Some(left);
        problem
    }

    /// 503: the same request may be sent again. An order sent again with its key is never made twice, whatever became
    /// of the first try.
    pub fn busy() -> Self {
        Self::new(
            Code::Busy,
            "A part of the system is not answering. Please try again; an order sent again with the same Idempotency-Key \
             is never made twice.",
        )
        .retry_after(1)
    }

    /// 500; the cause is in the log under the request's id and nowhere else.
    pub fn internal(cause: &dyn std::fmt::Display) -> Self {
        tracing::error!(%cause, "internal error");
        Self::new(
            Code::Internal,
            "The error has been logged under this request's id.",
        )
    }

    /// Adds a `Retry-After` in seconds.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.code.status();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        for (name, value) in &self.headers {
            headers.insert(name.clone(), value.clone());
        }
        // The server adds the request id, which is not known here.
        response.extensions_mut().insert(self);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_names_its_code_and_field() {
        let json = serde_json::to_value(Problem::field("items[0].quantity", "must be 1 to 100")).unwrap();
        assert_eq!(json["type"], "urn:quicksale:problem:invalid_request");
        assert_eq!(json["status"], 400);
        assert_eq!(json["code"], "invalid_request");
        assert_eq!(json["errors"][0]["field"], "items[0].quantity");
        assert!(json.get("opensAt").is_none());
    }
}
