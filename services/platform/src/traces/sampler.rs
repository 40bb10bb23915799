//! Which requests are traced.

use super::Tracing;
use opentelemetry::{
    Context, KeyValue,
    trace::{Link, SpanKind, TraceContextExt, TraceId, TraceState},
};
use opentelemetry_sdk::trace::{Config, Sampler, SamplingDecision, SamplingResult, ShouldSample};

/// A batch is recorded where one of its orders is. Everything else goes by OTEL_TRACES_SAMPLER, or else by the configuration:
/// where strangers come in chance decides, whatever they say in their `traceparent`, and behind that the decision counts.
#[derive(Debug, Clone)]
pub(super) struct Choice {
    door: Option<Door>,
    otherwise: Box<dyn ShouldSample>,
}

/// Where strangers come in.
#[derive(Debug, Clone, Copy)]
struct Door {
    /// The part of requests that is taken.
    part: f64,
    /// The names of spans that strangers begin; all of a server's where there are none.
    only: &'static [&'static str],
}

impl Door {
    /// That of a service, if it has one.
    fn of(service: &str, part: f64) -> Option<Self> {
        let only: &[&str] = match service {
            "gateway" => &[],
            // An Ingress may lead sockets here; everything else comes from the gateway.
            "notifier" => &["GET /", "GET /ws"],
            _ => return None,
        };
        Some(Self { part, only })
    }

    fn is_entered(self, kind: &SpanKind, name: &str) -> bool {
        *kind == SpanKind::Server && (self.only.is_empty() || self.only.contains(&name))
    }
}

impl Choice {
    pub(super) fn new(service: &str, configured: Option<&Tracing>) -> Self {
        let is_set = std::env::var("OTEL_TRACES_SAMPLER").is_ok_and(|sampler| !sampler.is_empty());
        match configured.filter(|_| !is_set) {
            Some(Tracing { part, .. }) => Self::of_part(service, *part),
            None => Self {
                door: None,
                // What the SDK makes of the variable.
                otherwise: Config::default().sampler,
            },
        }
    }

    fn of_part(service: &str, part: f64) -> Self {
        let behind = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(part)));
        Self {
            door: Door::of(service, part),
            otherwise: Box::new(behind),
        }
    }
}

impl ShouldSample for Choice {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        trace: TraceId,
        name: &str,
        kind: &SpanKind,
        attributes: &[KeyValue],
        links: &[Link],
    ) -> SamplingResult {
        let is_taken = if links.iter().any(|link| link.span_context.is_sampled()) {
            true
        } else if let Some(door) = self.door.filter(|door| door.is_entered(kind, name)) {
            rand::random::<f64>() < door.part
        } else {
            return self
                .otherwise
                .should_sample(parent, trace, name, kind, attributes, links);
        };
        SamplingResult {
            decision: if is_taken {
                SamplingDecision::RecordAndSample
            } else {
                SamplingDecision::Drop
            },
            attributes: Vec::new(),
            trace_state: parent.map_or(TraceState::NONE, |parent| {
                parent.span().span_context().trace_state().clone()
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traces::context;

    fn takes(choice: &Choice, kind: &SpanKind, parent: Option<&str>, links: &[Link]) -> bool {
        let parent =
            parent.map(|parent| Context::new().with_remote_span_context(context::parse(parent).unwrap()));
        let trace = TraceId::from(1);
        let result = choice.should_sample(parent.as_ref(), trace, "GET /ws", kind, &[], links);
        result.decision == SamplingDecision::RecordAndSample
    }

    /// Asks to be traced, under an id that samplers by id take, too.
    const ASKS: &str = "00-4bf92f3577b34da60000000000000001-00f067aa0ba902b7-01";
    const REFUSED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";

    #[test]
    fn callers_have_no_say_at_the_front_door_and_the_door_has_behind_it() {
        let (none, all) = (Choice::of_part("gateway", 0.0), Choice::of_part("gateway", 1.0));
        assert!(!takes(&none, &SpanKind::Server, Some(ASKS), &[]));
        assert!(takes(&all, &SpanKind::Server, Some(REFUSED), &[]));
        let half = Choice::of_part("gateway", 0.5);
        let taken = (0..1_000).filter(|_| takes(&half, &SpanKind::Server, Some(ASKS), &[]));
        assert!((350..650).contains(&taken.count()));
        // What the gateway asks others for is a part of the request.
        assert!(takes(&none, &SpanKind::Client, Some(ASKS), &[]));
        let sockets = Choice::of_part("notifier", 0.0);
        assert!(!takes(&sockets, &SpanKind::Server, Some(ASKS), &[]));
        for part in [0.0, 1.0] {
            let behind = Choice::of_part("order", part);
            assert!(takes(&behind, &SpanKind::Server, Some(ASKS), &[]));
            assert!(!takes(&behind, &SpanKind::Server, Some(REFUSED), &[]));
        }
    }

    #[test]
    fn a_batch_is_recorded_with_any_order_of_it() {
        let rare = Choice::of_part("order", 0.0);
        let link = |of: &str| Link::new(context::parse(of).unwrap(), Vec::new(), 0);
        assert!(!takes(&rare, &SpanKind::Internal, None, &[link(REFUSED)]));
        assert!(takes(
            &rare,
            &SpanKind::Internal,
            None,
            &[link(REFUSED), link(ASKS)]
        ));
    }
}
