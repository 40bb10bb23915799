//! Messages that could not be read or handled, kept whole and with their reason.

use crate::{
    outbox::{Entry, Outbox},
    topics::{GROUPS, Topic},
};
use futures::TryStreamExt;
use mongodb::{
    ClientSession, Collection, Database,
    bson::{self, Binary, DateTime, Document, doc, spec::BinarySubtype},
};
use platform::{
    backends::mongo::{MongoError, TransactionError},
    metrics::{Metric, must},
};
use prometheus::{IntCounterVec, register_int_counter_vec};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{collections::HashSet, sync::LazyLock};

/// The most that goes to a twin topic of one record, in bytes: with all of it replaced by question marks still half of
/// what a broker takes at once.
const EXCERPT: usize = 128 * 1024;

/// The most of a record that can be replayed, in bytes: half of what a broker takes by default. Messages of ours have some hundred.
const MOST_REPLAYED: usize = 512 * 1024;

/// Messages given up on, by group and topic.
pub static DEAD_LETTERS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    must(register_int_counter_vec!(
        "quicksale_dead_letters_total",
        "Messages that could not be read or handled and went to the dead letters.",
        &["group", "topic"]
    ))
});

/// The metric, with what a group has not given up on as zero.
pub(crate) fn metric(group: &str) -> Metric {
    let of_group = GROUPS.iter().filter(|(name, _)| *name == group);
    for topic in of_group.flat_map(|(_, topics)| topics.iter()) {
        DEAD_LETTERS.with_label_values(&[group, topic.plain_name()]);
    }
    &*DEAD_LETTERS
}

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
    /// What was done about it, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deeds: Vec<Deed>,
}

/// What somebody did about a letter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Deed {
    /// What.
    pub what: Action,
    /// Who: a user's id.
    pub who: String,
    /// When.
    pub at: DateTime,
}

/// What can be done about a letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// It was sent to its topic once more.
    Replayed,
    /// Nobody will do anything about it.
    Discarded,
}

/// Why nothing was done about a letter.
#[derive(Debug, thiserror::Error)]
pub enum Undone {
    /// There is no such letter.
    #[error("there is no dead letter of this id")]
    Unknown,
    /// It is no text, and what goes through the outbox is.
    #[error("the record is no text, so it cannot be replayed; discard it")]
    NoText,
    /// It is larger than a broker is sure to take, and would keep everything behind it waiting.
    #[error("the record has {0} bytes, and {MOST_REPLAYED} are the most that can be replayed; discard it")]
    TooLarge(usize),
    /// The database.
    #[error(transparent)]
    Mongo(#[from] MongoError),
}

impl From<mongodb::error::Error> for Undone {
    fn from(error: mongodb::error::Error) -> Self {
        Self::Mongo(error.into())
    }
}

impl TransactionError for Undone {
    fn of_database(&self) -> Option<&MongoError> {
        match self {
            Self::Mongo(error) => Some(error),
            Self::Unknown | Self::NoText | Self::TooLarge(_) => None,
        }
    }
}

impl DeadLetter {
    /// The value as text, what is none of it replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.payload.bytes).into_owned()
    }

    /// The entry that takes it to its topic once more.
    fn replay(&self, at: DateTime) -> Result<Entry, Undone> {
        let size = self.payload.bytes.len() + self.key.len();
        if size > MOST_REPLAYED {
            return Err(Undone::TooLarge(size));
        }
        let payload = std::str::from_utf8(&self.payload.bytes).map_err(|_| Undone::NoText)?;
        Ok(Entry {
            id: uuid::Uuid::now_v7().to_string(),
            topic: self.topic.plain_name().to_owned(),
            key: self.key.clone(),
            payload: payload.to_owned(),
            traceparent: None,
            published: false,
            attempts: 0,
            created_at: at,
        })
    }
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
            deeds: Vec::new(),
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

    /// Letters that nothing was done about, as a filter.
    pub fn open() -> Document {
        doc! {"deeds.0": {"$exists": false}}
    }

    /// A page of letters in the order of their ids: all, or those that nothing was done about.
    ///
    /// # Errors
    /// The driver's.
    pub async fn page(
        &self,
        all: bool,
        after: Option<String>,
        limit: i64,
    ) -> mongodb::error::Result<Vec<DeadLetter>> {
        let mut filter = if all { Document::new() } else { Self::open() };
        if let Some(id) = after {
            filter.insert("_id", doc! {"$gt": id});
        }
        let page = self.letters.find(filter).sort(doc! {"_id": 1}).limit(limit);
        page.await?.try_collect().await
    }

    /// One letter.
    ///
    /// # Errors
    /// The driver's.
    pub async fn letter(&self, id: &str) -> mongodb::error::Result<Option<DeadLetter>> {
        self.letters.find_one(doc! {"_id": id}).await
    }

    /// Does something about a letter and writes down who did it, in the caller's transaction. A replay is a message in the outbox;
    /// whoever has handled it before takes no notice of it.
    ///
    /// # Errors
    /// [`Undone`].
    pub async fn act(
        &self,
        session: &mut ClientSession,
        outbox: &Outbox,
        id: &str,
        what: Action,
        who: &str,
        at: DateTime,
    ) -> Result<DeadLetter, Undone> {
        let found = self
            .letters
            .find_one(doc! {"_id": id})
            .session(&mut *session)
            .await?;
        let mut letter = found.ok_or(Undone::Unknown)?;
        if what == Action::Replayed {
            let entry = letter.replay(at)?;
            outbox.append_entries(session, vec![entry]).await?;
        }
        let deed = Deed {
            what,
            who: who.to_owned(),
            at,
        };
        let noted = bson::serialize_to_bson(&deed).map_err(mongodb::error::Error::from)?;
        self.letters
            .update_one(doc! {"_id": id}, doc! {"$push": {"deeds": noted}})
            .session(session)
            .await?;
        letter.deeds.push(deed);
        Ok(letter)
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
