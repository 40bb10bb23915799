//! The spans of a batch: one for each message, under what its sender did, and one of the transaction that all of them share.

use super::commit::Place;
use crate::message::Message;
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
        if span.is_recorded() {
            // `group/topic/partition`
            let partition = place.lane.rsplit('/').next().unwrap_or_default();
            span.set("messaging.system", "kafka");
            span.set("messaging.operation.type", "process");
            span.set("messaging.operation.name", "process");
            let topic = format!("{}{}", reader.topic_prefix, message.topic().plain_name());
            span.set("messaging.destination.name", topic);
            span.set("messaging.destination.partition.id", partition.to_owned());
            span.set("messaging.kafka.offset", place.offset);
            span.set("messaging.consumer.group.name", reader.group);
            span.set("messaging.message.id", message.id.clone());
            span.set("messaging.kafka.message.key", message.order_id.to_string());
            span.set("quicksale.order.id", message.order_id.to_string());
        }
        span.replace(&mut message.traceparent);
    }
    spans
}
