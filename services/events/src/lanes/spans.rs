//! The spans of a batch: one for each message, under what its sender did, and one of the transaction that all of them share.

use super::commit::Place;
use crate::{message::Message, spans::Told};
use platform::traces::{SpanKind, Together};

/// Who reads.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a> {
    pub(super) group: &'static str,
    pub(super) topic_prefix: &'a str,
}

/// Begins the spans of a batch, of which each message comes from a place. Whatever a handler makes of a message goes on under the
/// message's own.
pub(super) fn start(reader: Reader<'_>, messages: &mut [Message], places: &[Place]) -> Together {
    let each = messages
        .iter()
        .map(|message| (message.topic().process(), message.traceparent.as_deref()));
    let mut spans = Together::start("commit batch", &SpanKind::Consumer, each);
    for ((span, message), place) in spans.each().zip(messages).zip(places) {
        Told {
            operation: "process",
            topic: message.topic().plain_name(),
            prefix: reader.topic_prefix,
            id: &message.id,
            order: message.order_id.as_str(),
        }
        .to(span);
        if span.is_recorded() {
            // `group/topic/partition`
            let partition = place.lane.rsplit('/').next().unwrap_or_default();
            span.set("messaging.destination.partition.id", partition.to_owned());
            span.set("messaging.kafka.offset", place.offset);
            span.set("messaging.consumer.group.name", reader.group);
        }
        span.replace(&mut message.traceparent);
    }
    spans
}
