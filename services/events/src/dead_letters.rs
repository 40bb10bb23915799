//! Messages that could not be read or handled, kept whole and with their reason.

use crate::{outbox::Entry, topics::Topic};
use futures::TryStreamExt;
use mongodb::{
    ClientSession, Collection, Database,
    bson::{Binary, DateTime, doc, spec::BinarySubtype},
};
use platform::metrics::must;
use prometheus::{IntCounterVec, register_int_counter_vec};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{collections::HashSet, sync::LazyLock};

/// The most that goes to a twin topic of one record, in bytes: with all of it replaced by question marks still half of
/// what a broker takes at once.
const EXCERPT: usize = 128 * 1024;

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
    /// `<group>/<topic>/<partition>/<offset>/<hash>`: what was met, and where. A topic that was made anew has other records
    /// at the same offsets.
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
        let hash = Sha256::digest(&self.payload);
        format!(
            "{}/{}/{}/{}/{}",
            self.group,
            self.topic.plain_name(),
            self.partition,
            self.offset,
            hex::encode(&hash[..8])
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

    /// What its twin topic gets to see: the letter itself is whole. What is no text grows to three times its size, and the
    /// broker would refuse that for ever.
    fn excerpt(&self) -> String {
        let begin = self.payload.get(..EXCERPT).unwrap_or(&self.payload);
        String::from_utf8_lossy(begin).into_owned()
    }

    /// The entry that takes it to the topic's dead-letter twin.
    fn entry(&self, at: DateTime) -> Entry {
        Entry {
            id: format!("{}:{}", uuid::Uuid::now_v7(), self.id()),
            topic: self.topic.dead_letter_name().to_owned(),
            key: self.key.clone(),
            payload: self.excerpt(),
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

    /// Keeps records in the caller's transaction and returns the outbox entries for their twin topics. What is kept already, as
    /// where a broker has lost its newest records and is read from further back, is not kept twice.
    ///
    /// # Errors
    /// The driver's.
    pub async fn bury(
        &self,
        session: &mut ClientSession,
        records: &[Undeliverable],
        at: DateTime,
    ) -> mongodb::error::Result<Vec<Entry>> {
        let ids: Vec<String> = records.iter().map(Undeliverable::id).collect();
        let mut cursor = self
            .letters
            .find(doc! {"_id": {"$in": &ids}})
            .session(&mut *session)
            .await?;
        let known: Vec<DeadLetter> = cursor.stream(session).try_collect().await?;
        let mut seen: HashSet<String> = known.into_iter().map(|letter| letter.id).collect();
        let new = records.iter().zip(ids).filter(|(_, id)| seen.insert(id.clone()));
        let new: Vec<_> = new.map(|(record, _)| record).collect();
        if !new.is_empty() {
            self.letters
                .insert_many(new.iter().map(|record| record.letter(at)))
                .session(session)
                .await?;
        }
        Ok(new.into_iter().map(|record| record.entry(at)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_text_fits_into_its_twin_topic() {
        let mut garbage = Undeliverable {
            group: "inventory",
            topic: Topic::OrderCreated,
            partition: 0,
            offset: 7,
            key: String::new(),
            payload: vec![0xff; 1024 * 1024],
            reason: "no message".to_owned(),
        };
        assert!(garbage.entry(DateTime::from_millis(0)).payload.len() <= 512 * 1024);
        let id = garbage.id();
        assert_eq!(garbage.id(), id);
        garbage.payload.push(0);
        assert_ne!(garbage.id(), id, "another record at the same offset");
    }
}
