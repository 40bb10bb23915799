//! What people are told where a backend gives no answer.

use events::lag::LagError;
use platform::{
    backends::{kafka::KafkaError, mongo::MongoError},
    http::problem::{Code, Problem},
};

/// The database gave no answer.
pub fn busy(error: &MongoError) -> Problem {
    tracing::warn!(%error, "the database gave no answer");
    Problem::new(
        Code::Busy,
        "The sale's database gives no answer, or refuses; the console's log says why.",
    )
    .retry_after(2)
}

/// Kafka gave no answer.
pub fn no_kafka(error: &KafkaError) -> Problem {
    tracing::warn!(%error, "Kafka gave no answer");
    if let KafkaError::NoTopic(topic) = error {
        return Problem::new(Code::NotFound, format!("There is no topic {topic}."));
    }
    Problem::new(
        Code::Busy,
        "The sale's Kafka gives no answer, or refuses; the console's log says why.",
    )
    .retry_after(2)
}

/// One of them gave none.
pub fn no_lag(error: &LagError) -> Problem {
    match error {
        LagError::Kafka(error) => no_kafka(error),
        LagError::Mongo(error) => busy(error),
        LagError::Deadline(_) => Problem::busy(),
    }
}
