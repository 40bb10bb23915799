//! The spans of a batch: one for each message, under what its sender did, and one of the transaction that all of them share.

use crate::message::Message;
use platform::traces::{SpanKind, Together};

/// Begins the spans of a batch. Whatever a handler makes of a message goes on under the message's own.
pub(super) fn start(group: &'static str, messages: &mut [Message]) -> Together {
    let each = messages
        .iter()
        .map(|message| (message.topic().process(), message.traceparent.as_deref()));
    let mut spans = Together::start("commit batch", &SpanKind::Consumer, each);
    for (span, message) in spans.each().zip(messages) {
        if span.is_recorded() {
            span.say("messaging.system", "kafka");
            span.say("messaging.operation.type", "process");
            span.say("messaging.destination.name", message.topic().plain_name());
            span.say("messaging.consumer.group.name", group);
            span.say("messaging.message.id", message.id.clone());
            span.say("messaging.kafka.message.key", message.order_id.to_string());
        }
        span.replace(&mut message.traceparent);
    }
    spans
}
