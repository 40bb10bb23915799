//! What the spans of a record say of it, whoever has it in hand.

use platform::traces::Span;

/// A record as spans tell of it.
#[derive(Debug)]
pub(crate) struct Told<'a> {
    /// What is done with it: `send` or `process`.
    pub(crate) operation: &'static str,
    /// The topic's name without the sale's prefix, and that prefix.
    pub(crate) topic: &'a str,
    pub(crate) prefix: &'a str,
    /// The message's id.
    pub(crate) id: &'a str,
    /// The record's key: the order's id.
    pub(crate) order: &'a str,
}

impl Told<'_> {
    /// Has a span say it, where anybody will see it.
    pub(crate) fn to(&self, span: &mut Span) {
        if !span.is_recorded() {
            return;
        }
        span.set("messaging.system", "kafka");
        span.set("messaging.operation.type", self.operation);
        span.set("messaging.operation.name", self.operation);
        span.set(
            "messaging.destination.name",
            format!("{}{}", self.prefix, self.topic),
        );
        span.set("messaging.message.id", self.id.to_owned());
        span.set("messaging.kafka.message.key", self.order.to_owned());
        span.set("quicksale.order.id", self.order.to_owned());
    }
}
