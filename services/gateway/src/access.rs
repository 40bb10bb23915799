//! One log line for each request, on the target `access`: what was asked, how it was answered, and the id and the trace
//! by which it is found in the logs of the services behind.
//!
//! A crowd makes more of them than anybody reads, or keeps: a hundred requests of a second have each a line, and then one of a hundred,
//! which says for how many it stands. Those that fail, or are refused for who asks, always have one.

use crate::{Gateway, subject};
use axum::{
    extract::{Request, State},
    http::{HeaderValue, StatusCode},
    middleware::Next,
    response::Response,
};
use platform::{audit::masked_address, http::REQUEST_ID, traces::context};
use std::{
    mem,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// The target of the log lines, for filters and collectors.
const TARGET: &str = "access";
/// Lines of a second that are all written.
const ALL: u32 = 100;
/// Of those beyond, one in so many is.
const ONE_IN: u32 = 100;

/// Which lines are written.
#[derive(Debug)]
pub(crate) struct Sample {
    state: Mutex<Second>,
}

#[derive(Debug)]
struct Second {
    began: Instant,
    requests: u32,
    /// Requests without a line since the last one that was written.
    skipped: u32,
}

impl Sample {
    /// From now on.
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            state: Mutex::new(Second {
                began: now,
                requests: 0,
                skipped: 0,
            }),
        }
    }

    /// For how many requests the line of this one stands; `None` where it has none.
    fn stands_for(&self, status: StatusCode, now: Instant) -> Option<u32> {
        let is_trouble =
            status.is_server_error() || matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
        if is_trouble {
            return Some(1);
        }
        let mut second = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_duration_since(second.began) >= Duration::from_secs(1) {
            second.began = now;
            second.requests = 0;
        }
        second.requests = second.requests.saturating_add(1);
        if second.requests > ALL && second.skipped + 1 < ONE_IN {
            second.skipped += 1;
            return None;
        }
        Some(1 + mem::take(&mut second.skipped))
    }
}

/// Writes the line when a request's answer begins. The line has the path alone: what stands behind the `?` may be a token.
pub(crate) async fn follow(State(gateway): State<Arc<Gateway>>, request: Request, next: Next) -> Response {
    if !tracing::enabled!(target: TARGET, tracing::Level::INFO) {
        return next.run(request).await;
    }
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let id = request.headers().get(REQUEST_ID).cloned();
    let trace = context::of_headers(request.headers()).and_then(context::trace_id);
    let trace = trace.map(str::to_owned);
    let from = subject::address(&request, &gateway.trusted);
    let begun = Instant::now();
    let response = next.run(request).await;
    let (status, now) = (response.status(), Instant::now());
    let Some(stands_for) = gateway.access_sample.stands_for(status, now) else {
        return response;
    };
    tracing::info!(
        target: TARGET,
        request_id = id.as_ref().and_then(text),
        event.dataset = "quicksale.access",
        event.duration = u64::try_from((now - begun).as_nanos()).unwrap_or(u64::MAX),
        event.outcome = if status.is_server_error() { "failure" } else { "success" },
        http.request.method = method.as_str(),
        http.response.status_code = status.as_u16(),
        url.path = uri.path(),
        client.address = masked_address(from),
        trace_id = trace,
        stands_for,
        "access"
    );
    response
}

fn text(value: &HeaderValue) -> Option<&str> {
    value.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crowd_is_sampled_and_trouble_is_not() {
        let begun = Instant::now();
        let sample = Sample::new(begun);
        let at = |millis| begun + Duration::from_millis(millis);
        let (mut written, mut stood_for) = (0, 0);
        let mut pass = |requests: u32, from: u64, within: u64| {
            for request in 0..requests {
                let now = at(from + u64::from(request) * within / u64::from(requests));
                if let Some(requests) = sample.stands_for(StatusCode::CONFLICT, now) {
                    written += 1;
                    stood_for += requests;
                }
                for trouble in [
                    StatusCode::SERVICE_UNAVAILABLE,
                    StatusCode::INTERNAL_SERVER_ERROR,
                    StatusCode::UNAUTHORIZED,
                    StatusCode::FORBIDDEN,
                ] {
                    assert_eq!(sample.stands_for(trouble, now), Some(1));
                }
            }
            (written, stood_for)
        };
        assert_eq!(pass(1_150, 0, 999), (110, 1_100));
        // The next line stands for those that had none in the second before.
        assert_eq!(pass(1, 1_000, 1), (111, 1_151));
        assert_eq!(pass(150, 2_000, 999), (211, 1_251));
    }
}
