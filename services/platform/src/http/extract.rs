//! Extractors whose refusals are problem documents that name the field.

use super::problem::{Code, Problem};
use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Request, rejection::BytesRejection},
    http::{HeaderMap, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use serde::{Serialize, de::DeserializeOwned};

/// A JSON body, in both directions.
#[derive(Debug, Clone, Copy)]
pub struct Json<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        if !is_json(request.headers()) {
            return Err(Problem::new(
                Code::UnsupportedMediaType,
                "Send a JSON body with the header Content-Type: application/json.",
            ));
        }
        let body = Bytes::from_request(request, state)
            .await
            .map_err(|refusal| body_problem(&refusal))?;
        parse_json(&body).map(Json)
    }
}

/// Whether a body is declared as JSON.
pub fn is_json(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .map(|value| value.split(';').next().unwrap_or("").trim().to_ascii_lowercase())
        .is_some_and(|kind| kind == "application/json" || kind.ends_with("+json"))
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        axum::Json(self.0).into_response()
    }
}

/// What to say about a body that could not be read.
fn body_problem(refusal: &BytesRejection) -> Problem {
    if refusal.status() == StatusCode::PAYLOAD_TOO_LARGE {
        Problem::new(
            Code::PayloadTooLarge,
            "The body is larger than this route takes (64 KiB).",
        )
    } else {
        Problem::new(Code::InvalidRequest, "The body could not be read to its end.")
    }
}

/// Reads a JSON body.
///
/// # Errors
/// 400, naming the field.
pub fn parse_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        let cause = error.into_inner();
        if !cause.is_data() {
            return Problem::field("body", format!("is not JSON: {cause}"));
        }
        let detail = without_position(&cause.to_string());
        Problem::field(named_field(&path, &detail), detail)
    })?;
    json.end()
        .map_err(|_| Problem::field("body", "has something after the end of the JSON value"))?;
    Ok(value)
}

/// The field a data error is about: serde names a missing or unknown one in its text, and the path leads to the
/// object that lacks or has it.
fn named_field(path: &str, detail: &str) -> String {
    let named = detail
        .strip_prefix("missing field `")
        .or_else(|| detail.strip_prefix("unknown field `"))
        .and_then(|rest| rest.split('`').next());
    match (path, named) {
        (".", Some(name)) => name.to_owned(),
        (".", None) => "body".to_owned(),
        (path, Some(name)) if path == name || path.ends_with(&format!(".{name}")) => path.to_owned(),
        (path, Some(name)) => format!("{path}.{name}"),
        (path, None) => path.to_owned(),
    }
}

/// Positions in the body help nobody who did not write the JSON by hand.
fn without_position(text: &str) -> String {
    text.split(" at line ").next().unwrap_or(text).to_owned()
}

/// Query parameters.
#[derive(Debug, Clone, Copy)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        match axum::extract::Query::<T>::try_from_uri(&parts.uri) {
            Ok(query) => Ok(Self(query.0)),
            Err(error) => {
                let text = error.body_text();
                let said = text.rsplit("query string: ").next().unwrap_or(&text);
                let (field, said) = said.split_once(": ").unwrap_or(("query", said));
                Err(Problem::field(field, said))
            }
        }
    }
}

/// A path parameter.
#[derive(Debug, Clone, Copy)]
pub struct Path<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match axum::extract::Path::<T>::from_request_parts(parts, state).await {
            Ok(path) => Ok(Self(path.0)),
            Err(error) => Err(Problem::field("path", error.body_text())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Body {
        #[allow(dead_code, reason = "only its parsing is looked at")]
        items: Vec<Item>,
    }
    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Item {
        #[allow(dead_code, reason = "only its parsing is looked at")]
        quantity: sale::Quantity,
    }

    #[test]
    fn the_field_is_named() {
        for (body, field) in [
            (r#"{"items":[{"quantity":0}]}"#, "items[0].quantity"),
            (r#"{"items":[{"quantity":1.5}]}"#, "items[0].quantity"),
            (r#"{"items":[{"quantity":1},{}]}"#, "items[1].quantity"),
            (r#"{"items":[{"quantity":1,"colour":2}]}"#, "items[0].colour"),
            (r#"{}"#, "items"),
            (r#"{"items":[],"x":1}"#, "x"),
            (r#"{"items":"#, "body"),
            (r#"nonsense"#, "body"),
            (r#"{"items":[]} trailing"#, "body"),
            (r#"7"#, "body"),
        ] {
            let problem = parse_json::<Body>(body.as_bytes()).unwrap_err();
            assert_eq!(problem.errors[0].field, field, "{body}: {problem:?}");
        }
    }
}
