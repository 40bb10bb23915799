//! How an order gets from one service to the next: messages, the topics they travel on, the outbox they leave from
//! and the lanes they arrive by.
//!
//! - A **message** is written to the **outbox** in the same transaction as the effect it reports ([`outbox`]), and
//!   from there to Kafka by the processor ([`producer`]).
//! - A **lane** is one partition of one topic with the single worker that owns it now ([`lanes`]). Its offset lives
//!   in MongoDB and moves in the same transaction as the effects of the messages, so effects happen once however
//!   often a message is delivered.
//! - What a broker has lost is noticed, by whoever reads ([`reader`]) and by whoever writes ([`log_ends`]), and noted ([`losses`]), until it has been said again.
//! - What cannot be read or handled goes to the **dead letters** with its reason ([`dead_letters`]).
//!
//! A new consumer implements [`lanes::Handler`] and adds its group to [`topics::GROUPS`].

pub mod dead_letters;
mod fnv;
pub mod lag;
pub mod lanes;
pub mod log_ends;
pub mod losses;
pub mod message;
pub mod outbox;
pub mod producer;
pub mod reader;
mod spans;
pub mod topics;

pub use message::{Message, Payload};
pub use topics::{GROUPS, Topic};

use platform::metrics::Metric;

/// What a worker of a group counts.
pub fn metrics(group: &str) -> Vec<Metric> {
    let mut all = lanes::metrics(group);
    all.push(losses::metric(group));
    all.push(dead_letters::metric(group));
    all
}
