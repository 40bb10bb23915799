//! Messages that could not be read or handled, kept with their reason so that they can be replayed.

use crate::{outbox::Entry, topics::Topic};
use mongodb::{
    ClientSession, Collection, Database,
    bson::{Binary, DateTime, spec::BinarySubtype},
};
use platform::metrics::must;
use prometheus::{IntCounterVec, register_int_counter_vec};
use serde::{Deserialize, Serialize};
use std::sync::LazyLock;

/// Messages given up on, by group and topic.
pub static DEAD_LETTERS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    must(register_int_counter_vec!(
        "quicksale_dead_letters_total",
        "Messages that could not be read or handled and went to the dead letters.",
        &["group", "topic"]
    ))
});

/// One message that was given up on.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeadLetter {
    /// `<group>/<topic>/<partition>/<offset>`: where it was met, once.
    #[serde(rename = "_id")]
    pub id: String,
    /// Who gave up.
    pub group: String,
    /// Where it came from.
    pub topic: Topic,
    /// Partition.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
    /// Record key, as text.
    pub key: String,
    /// Record value, byte for byte.
    pub payload: Binary,
    /// Why.
    pub reason: String,
    /// When.
    pub at: DateTime,
}

/// A record that is to be given up on.
#[derive(Debug, Clone)]
pub struct Undeliverable {
    /// Who gives up.
    pub group: &'static str,
    /// Where it came from.
    pub topic: Topic,
    /// Partition.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
    /// Record key, as text.
    pub key: String,
    /// Record value.
    pub payload: Vec<u8>,
    /// Why.
    pub reason: String,
}

impl Undeliverable {
    fn id(&self) -> String {
        format!(
            "{}/{}/{}/{}",
            self.group,
            self.topic.plain_name(),
            self.partition,
            self.offset
        )
    }

    fn letter(&self, at: DateTime) -> DeadLetter {
        DeadLetter {
            id: self.id(),
            group: self.group.to_owned(),
            topic: self.topic,
            partition: self.partition,
            offset: self.offset,
            key: self.key.clone(),
            payload: Binary {
                subtype: BinarySubtype::Generic,
                bytes: self.payload.clone(),
            },
            reason: self.reason.clone(),
            at,
        }
    }

    /// The entry that takes it to the topic's dead-letter twin.
    fn entry(&self, at: DateTime) -> Entry {
        Entry {
            id: format!("{}:{}", uuid::Uuid::now_v7(), self.id()),
            topic: self.topic.dead_letter_name().to_owned(),
            key: self.key.clone(),
            payload: String::from_utf8_lossy(&self.payload).into_owned(),
            traceparent: None,
            published: false,
            attempts: 0,
            created_at: at,
        }
    }
}

/// The dead letters of one sale.
#[derive(Debug, Clone)]
pub struct DeadLetters {
    letters: Collection<DeadLetter>,
}

impl DeadLetters {
    /// The dead letters in a sale's database.
    pub fn new(database: &Database) -> Self {
        Self {
            letters: database.collection("dead_letters"),
        }
    }

    /// Keeps records in the caller's transaction and returns the outbox entries for their twin topics.
    ///
    /// # Errors
    /// The driver's.
    pub async fn bury(
        &self,
        session: &mut ClientSession,
        records: &[Undeliverable],
        at: DateTime,
    ) -> mongodb::error::Result<Vec<Entry>> {
        if !records.is_empty() {
            self.letters
                .insert_many(records.iter().map(|record| record.letter(at)))
                .session(session)
                .await?;
        }
        Ok(records.iter().map(|record| record.entry(at)).collect())
    }
}
