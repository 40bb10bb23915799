//! What people are told where a backend gives no answer.

use platform::{
    backends::{kafka::KafkaError, mongo::MongoError},
    http::problem::{Code, Problem},
};

/// MaxTimeMSExpired.
const TOOK_TOO_LONG: i32 = 50;

/// Whether the database has given up in the time that it was given, though it is well.
pub fn gave_up(error: &MongoError) -> bool {
    use mongodb::error::ErrorKind;
    matches!(error, MongoError::Driver(error)
        if matches!(error.kind.as_ref(), ErrorKind::Command(command) if command.code == TOOK_TOO_LONG))
}

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
