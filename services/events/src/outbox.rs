//! The outbox: messages written in the same transaction as the effects that they report.
//!
//! An entry is deleted once Kafka has acknowledged it, so an empty collection means that everything has been said.

use crate::{message::Message, topics::Topic};
use futures::TryStreamExt;
use mongodb::{
    ClientSession, Collection, Database,
    bson::{DateTime, Document, RawDocumentBuf, doc},
};
use platform::backends::mongo::{Aside, Read};
use serde::{Deserialize, Serialize};
use std::time::Instant;

/// Collection of entries that Kafka has not acknowledged yet.
const COLLECTION: &str = "outbox";

/// A message waiting for Kafka.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// The message's id. UUIDv7, so the primary key is also the order of writing, within one process.
    #[serde(rename = "_id")]
    pub id: String,
    /// Topic without the sale's prefix; a dead-letter twin is a topic too.
    #[serde(rename = "type")]
    pub topic: String,
    /// Record key: the order's id.
    pub key: String,
    /// Record value.
    pub payload: String,
    /// Record header.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// Always false while the entry exists.
    pub published: bool,
    /// How often the relay tried and failed.
    pub attempts: i32,
    /// When it was written.
    pub created_at: DateTime,
}

/// Which entries come next.
#[derive(Debug, Clone)]
pub struct Next(Document);

impl Next {
    /// All behind an id, or all there are.
    pub fn behind(id: Option<&str>, aside: &mut Aside, now: Instant) -> Self {
        let behind = id.map_or_else(Document::new, |id| doc! {"_id": {"$gt": id}});
        Self(aside.others(behind, now))
    }
}

/// What waits in an outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    /// How many entries.
    pub entries: u64,
    /// When the oldest of them was written; `None` where there is none, or it does not say.
    pub oldest: Option<DateTime>,
}

/// The outbox of one sale.
#[derive(Debug, Clone)]
pub struct Outbox {
    entries: Collection<Entry>,
}

impl From<&Message> for Entry {
    fn from(message: &Message) -> Self {
        Self {
            id: message.id.clone(),
            topic: message.topic().plain_name().to_owned(),
            key: message.order_id.as_str().to_owned(),
            // Serializing our own plain types cannot fail; an empty payload would end as a dead letter.
            payload: serde_json::to_string(message).unwrap_or_default(),
            traceparent: message.traceparent.clone(),
            published: false,
            attempts: 0,
            created_at: DateTime::from_millis(message.at.as_millisecond()),
        }
    }
}

impl Outbox {
    /// The outbox in a sale's database.
    pub fn new(database: &Database) -> Self {
        Self {
            entries: database.collection(COLLECTION),
        }
    }

    /// Adds messages in the caller's transaction.
    ///
    /// # Errors
    /// The driver's.
    pub async fn append(
        &self,
        session: &mut ClientSession,
        messages: &[Message],
    ) -> mongodb::error::Result<()> {
        self.append_entries(session, messages.iter().map(Entry::from).collect())
            .await
    }

    /// Adds entries in the caller's transaction.
    ///
    /// # Errors
    /// The driver's.
    pub async fn append_entries(
        &self,
        session: &mut ClientSession,
        entries: Vec<Entry>,
    ) -> mongodb::error::Result<()> {
        if !entries.is_empty() {
            self.entries.insert_many(entries).session(session).await?;
        }
        Ok(())
    }

    /// The oldest entries behind an id but those that are set aside; of those that cannot be read only what they are.
    ///
    /// # Errors
    /// The driver's.
    pub async fn oldest(&self, next: Next, limit: i64) -> mongodb::error::Result<Read<Entry>> {
        let Next(filter) = next;
        let page = |filter| {
            let oldest_first = doc! {"_id": 1};
            self.entries
                .find(filter)
                .sort(oldest_first)
                .limit(limit)
                .batch_size(2_000)
        };
        // Reading each by itself copies each. So it is done where reading all at once fails, as for one of another form.
        if let Ok(entries) = page(filter.clone()).await?.try_collect().await {
            return Ok(Read {
                readable: entries,
                unreadable: Vec::new(),
            });
        }
        let documents = page(filter).await?.with_type::<RawDocumentBuf>();
        let documents: Vec<RawDocumentBuf> = documents.try_collect().await?;
        Ok(Read::each(documents, "outbox entry"))
    }

    /// Removes entries that Kafka has acknowledged.
    ///
    /// # Errors
    /// The driver's.
    pub async fn remove(&self, ids: &[String]) -> mongodb::error::Result<()> {
        self.entries
            .delete_many(doc! {"_id": {"$in": ids}})
            .await
            .map(drop)
    }

    /// Counts a failed attempt.
    ///
    /// # Errors
    /// The driver's.
    pub async fn count_attempt(&self, ids: &[String]) -> mongodb::error::Result<()> {
        self.entries
            .update_many(doc! {"_id": {"$in": ids}}, doc! {"$inc": {"attempts": 1}})
            .await
            .map(drop)
    }

    /// Whether an entry of a topic is waiting.
    ///
    /// # Errors
    /// The driver's.
    pub async fn has(&self, topic: Topic) -> mongodb::error::Result<bool> {
        let of_topic = doc! {"type": topic.plain_name()};
        Ok(self.entries.find_one(of_topic).await?.is_some())
    }

    /// What waits at this moment, at the same cost however much that is.
    ///
    /// # Errors
    /// The driver's.
    pub async fn waiting(&self) -> mongodb::error::Result<Waiting> {
        let oldest = self
            .entries
            .clone_with_type::<Document>()
            .find_one(doc! {})
            .sort(doc! {"_id": 1})
            .projection(doc! {"createdAt": 1})
            .await?;
        Ok(Waiting {
            entries: self.entries.estimated_document_count().await?,
            oldest: oldest.and_then(|entry| entry.get_datetime("createdAt").ok().copied()),
        })
    }

    /// Entries waiting, as the caller's transaction sees it.
    ///
    /// # Errors
    /// The driver's.
    pub async fn len(&self, session: &mut ClientSession) -> mongodb::error::Result<u64> {
        self.entries.count_documents(doc! {}).session(session).await
    }
}
