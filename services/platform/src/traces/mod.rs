//! Traces by OpenTelemetry: what one request set off, from the click to the frame on the buyer's socket, across all services.
//!
//! Whoever does a part of it starts a [`Span`] under the context that the request or the record came with, and hands on the span's
//! own. Where nothing is traced, which is the usual case, a span is nothing: contexts go on as they came, for the logs and for whoever
//! traces further on. docs/traces.md says how to look at them.

pub mod context;
mod export;
mod sampler;

pub use export::{StartError, Tracing, finish, start};
pub use opentelemetry::trace::SpanKind;

use axum::http::StatusCode;
use opentelemetry::{
    Context, KeyValue, StringValue, Value,
    trace::{SpanContext, Status, TraceContextExt, Tracer as _},
};
use opentelemetry_sdk::trace::SdkTracer;
use std::{borrow::Cow, sync::OnceLock};

/// The most spans that one batch names; more would make it as large as all of them.
const LINKS: usize = 128;
/// The most bytes of a text that is said of a span: callers choose some of them.
const LONGEST: usize = 256;

/// What makes spans, in a process that is traced.
static TRACER: OnceLock<SdkTracer> = OnceLock::new();

/// A part of what a request sets off. It ends when it is dropped.
#[derive(Debug, Default)]
pub struct Span(Option<opentelemetry_sdk::trace::Span>);

impl Span {
    /// A span that begins now, under a `traceparent`, or of a trace of its own where there is none. Names are few: what is special
    /// to one request is an attribute.
    pub fn start<N: Into<Cow<'static, str>>>(
        kind: SpanKind,
        parent: Option<&str>,
        name: impl FnOnce() -> N,
    ) -> Self {
        let Some(tracer) = TRACER.get() else {
            return Self::default();
        };
        let parent = parent.and_then(context::parse);
        Self::of(tracer, kind, name().into(), parent.as_ref(), Vec::new())
    }

    fn of(
        tracer: &SdkTracer,
        kind: SpanKind,
        name: Cow<'static, str>,
        parent: Option<&SpanContext>,
        links: Vec<opentelemetry::trace::Link>,
    ) -> Self {
        let around = Context::new();
        let around = match parent {
            Some(parent) => around.with_remote_span_context(parent.clone()),
            None => around,
        };
        let builder = tracer.span_builder(name).with_kind(kind).with_links(links);
        Self(Some(builder.start_with_context(tracer, &around)))
    }

    /// What to hand on: `None` where nothing is traced, and what was handed in goes on as it is.
    pub fn context(&self) -> Option<String> {
        Some(context::write(self.span_context()?))
    }

    fn span_context(&self) -> Option<&SpanContext> {
        let context = opentelemetry::trace::Span::span_context(self.0.as_ref()?);
        context.is_valid().then_some(context)
    }

    /// Puts the context to hand on in the place of the one that came.
    pub fn replace(&self, traceparent: &mut Option<String>) {
        if let Some(context) = self.context() {
            *traceparent = Some(context);
        }
    }

    /// Whether anybody will see it: one that was not chosen as a sample costs nothing more.
    pub fn is_recorded(&self) -> bool {
        self.0
            .as_ref()
            .is_some_and(opentelemetry::trace::Span::is_recording)
    }

    /// Says more of it, of a text no more than its beginning, in the words of OpenTelemetry's semantic conventions where there is one.
    pub fn set(&mut self, key: &'static str, value: impl Into<Value>) {
        if self.is_recorded()
            && let Some(span) = &mut self.0
        {
            let value = match value.into() {
                Value::String(text) => Value::String(beginning(text)),
                other => other,
            };
            opentelemetry::trace::Span::set_attribute(span, KeyValue::new(key, value));
        }
    }

    /// How a request was answered. That we failed is an error of it; that somebody was refused is none.
    pub fn answered(&mut self, status: StatusCode) {
        self.set("http.response.status_code", i64::from(status.as_u16()));
        if self.is_recorded() && status.is_server_error() {
            self.set("error.type", status.as_u16().to_string());
            self.fail("");
        }
    }

    /// Names another span that this one has to do with, and is not under.
    fn link(&mut self, other: &Self) {
        if self.is_recorded()
            && other.is_recorded()
            && let (Some(span), Some(other)) = (&mut self.0, other.span_context())
        {
            opentelemetry::trace::Span::add_link(span, other.clone(), Vec::new());
        }
    }

    /// It did not go well.
    pub fn fail(&mut self, why: impl Into<Cow<'static, str>>) {
        if self.is_recorded()
            && let Some(span) = &mut self.0
        {
            let why = beginning(StringValue::from(why.into()));
            opentelemetry::trace::Span::set_status(span, Status::error(String::from(why)));
        }
    }
}

/// As much of a text as a span takes.
fn beginning(text: StringValue) -> StringValue {
    match text.as_str().get(..text.as_str().floor_char_boundary(LONGEST)) {
        Some(beginning) if beginning.len() < text.as_str().len() => beginning.to_owned().into(),
        _ => text,
    }
}

/// What is done for many at once, such as a transaction: a span of it, in a trace of its own, and one for each of them under what it
/// came with. They name each other.
#[derive(Debug, Default)]
pub struct Together {
    whole: Span,
    each: Vec<Span>,
}

impl Together {
    /// Begins now. `whole` is the name of what is done once; of each, the kind, the name, and what it came with.
    pub fn start<'a>(
        whole: &'static str,
        kind: &SpanKind,
        each: impl Iterator<Item = (&'static str, Option<&'a str>)>,
    ) -> Self {
        let Some(tracer) = TRACER.get() else {
            return Self::default();
        };
        let mut each: Vec<Span> = each
            .map(|(name, parent)| Span::start(kind.clone(), parent, || name))
            .collect();
        let links = each
            .iter()
            .filter(|span| span.is_recorded())
            .filter_map(Span::span_context)
            .take(LINKS)
            .map(|context| opentelemetry::trace::Link::new(context.clone(), Vec::new(), 0))
            .collect::<Vec<_>>();
        if links.is_empty() {
            return Self {
                whole: Span::default(),
                each,
            };
        }
        let mut whole = Span::of(tracer, SpanKind::Internal, whole.into(), None, links);
        let size = i64::try_from(each.len()).unwrap_or(i64::MAX);
        whole.set("quicksale.batch.size", size);
        for span in &mut each {
            span.link(&whole);
        }
        Self { whole, each }
    }

    /// The spans of each, in the order in which they were named; none where nothing is traced.
    pub fn each(&mut self) -> impl Iterator<Item = &mut Span> {
        self.each.iter_mut()
    }

    /// It did not go well for any of them.
    pub fn fail(&mut self, why: &dyn std::fmt::Display) {
        for span in self.each.iter_mut().chain([&mut self.whole]) {
            if span.is_recorded() {
                span.fail(why.to_string());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_two_letters() {
        let cut = |text: String| beginning(text.into()).as_str().to_owned();
        assert_eq!(cut("kurz".to_owned()), "kurz");
        assert_eq!(cut("x".repeat(LONGEST)), "x".repeat(LONGEST));
        assert_eq!(cut("x".repeat(16_000)).len(), LONGEST);
        let long = cut("ü".repeat(LONGEST));
        assert!((LONGEST - 4..=LONGEST).contains(&long.len()), "{}", long.len());
        assert!(long.chars().all(|letter| letter == 'ü'));
    }
}
