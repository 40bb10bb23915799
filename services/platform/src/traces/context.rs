//! The W3C trace context that requests and records carry.

use axum::http::{HeaderMap, HeaderValue};
use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

/// The name of the header, of requests and of records.
pub const TRACEPARENT: &str = "traceparent";

/// Reads a `traceparent` of version 00 (<https://www.w3.org/TR/trace-context/#traceparent-header>); `None` for what is none.
pub fn parse(value: &str) -> Option<SpanContext> {
    let hex = |part: &str, length| {
        part.len() == length
            && part
                .bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    let mut parts = value.split('-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    if version != "00" || parts.next().is_some() || !hex(trace, 32) || !hex(span, 16) || !hex(flags, 2) {
        return None;
    }
    let context = SpanContext::new(
        TraceId::from_hex(trace).ok()?,
        SpanId::from_hex(span).ok()?,
        TraceFlags::new(u8::from_str_radix(flags, 16).ok()?),
        true,
        TraceState::NONE,
    );
    context.is_valid().then_some(context)
}

/// How a context is written.
pub(super) fn write(context: &SpanContext) -> String {
    format!(
        "00-{}-{}-{:02x}",
        context.trace_id(),
        context.span_id(),
        context.trace_flags().to_u8()
    )
}

/// The trace that a well-formed `traceparent` names.
pub fn trace_id(context: &str) -> Option<&str> {
    context.split('-').nth(1)
}

/// Whether the one who wrote a context says that the trace is recorded.
pub fn is_recorded(context: &str) -> bool {
    parse(context).is_some_and(|context| context.is_sampled())
}

/// The context that headers carry, whether it is a good one or not.
pub fn of_headers(headers: &HeaderMap) -> Option<&str> {
    headers.get(TRACEPARENT)?.to_str().ok()
}

/// Has a request go on under another context.
pub fn put(context: &str, headers: &mut HeaderMap) {
    if let Ok(context) = HeaderValue::from_str(context) {
        headers.insert(TRACEPARENT, context);
    }
}

/// The context that a request came with, or a new one where it has none or no good one. Nobody records that one.
pub(crate) fn keep_or_make(existing: Option<&str>) -> String {
    if let Some(existing) = existing
        && parse(existing).is_some()
    {
        return existing.to_owned();
    }
    let trace = uuid::Uuid::new_v4().simple().to_string();
    let parent = &uuid::Uuid::new_v4().simple().to_string()[..16];
    format!("00-{trace}-{parent}-00")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_well_formed_contexts_are_kept() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(keep_or_make(Some(good)), good);
        assert_eq!(trace_id(good), Some("4bf92f3577b34da6a3ce929d0e0e4736"));
        assert_eq!(write(&parse(good).unwrap()), good);
        assert!(is_recorded(good));
        for bad in [
            "",
            "00-0-0-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
            "ff-x-y-z",
        ] {
            assert!(parse(bad).is_none(), "{bad}");
            let made = keep_or_make(Some(bad));
            assert_ne!(made, bad);
            assert!(parse(&made).is_some() && !is_recorded(&made), "{made}");
        }
    }
}
