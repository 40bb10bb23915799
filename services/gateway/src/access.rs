//! One log line for each request, on the target `access`: what was asked, how it was answered, and the id and the trace
//! by which it is found in the logs of the services behind.

use crate::{Gateway, subject, traceparent};
use axum::{
    extract::{Request, State},
    http::HeaderValue,
    middleware::Next,
    response::Response,
};
use platform::{audit::masked_address, http::REQUEST_ID};
use std::{sync::Arc, time::Instant};

/// The target of the log lines, for filters and collectors.
const TARGET: &str = "access";

/// Gives the request a trace if it has none, and writes the line when its answer begins, unless the configuration says
/// otherwise. The line has the path alone: what stands behind the `?` may be a token.
pub(crate) async fn follow(
    State(gateway): State<Arc<Gateway>>,
    mut request: Request,
    next: Next,
) -> Response {
    let context = traceparent::keep_or_make(request.headers().get(traceparent::HEADER));
    if let Some(context) = &context {
        request.headers_mut().insert(traceparent::HEADER, context.clone());
    }
    if !gateway.logs_access || !tracing::enabled!(target: TARGET, tracing::Level::INFO) {
        return next.run(request).await;
    }
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let id = request.headers().get(REQUEST_ID).cloned();
    let from = subject::address(&request, &gateway.trusted);
    let begun = Instant::now();
    let response = next.run(request).await;
    tracing::info!(
        target: TARGET,
        method = method.as_str(),
        path = uri.path(),
        status = response.status().as_u16(),
        micros = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX),
        from = masked_address(from),
        request_id = id.as_ref().and_then(text),
        trace_id = context.as_ref().and_then(text).and_then(traceparent::trace_id),
        "access"
    );
    response
}

fn text(value: &HeaderValue) -> Option<&str> {
    value.to_str().ok()
}
