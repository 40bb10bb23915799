//! The outbox: messages written in the same transaction as the effects that they report.
//!
//! What a transaction says on one topic is one document, however many messages that are: the database is asked to keep, to read and to
//! delete one thing for a batch of orders. A document is deleted once Kafka has acknowledged all of it, and cut down to what is left where
//! it has acknowledged a part, so an empty collection means that everything has been said.

use crate::{message::Message, topics::Topic};
use futures::TryStreamExt;
use mongodb::{
    ClientSession, Collection, Database,
    bson::{self, DateTime, Document, RawDocumentBuf, doc},
};
use platform::backends::mongo::{Aside, Read, whole_number};
use serde::{Deserialize, Serialize};
use std::time::Instant;

/// Collection of messages that Kafka has not acknowledged yet.
const COLLECTION: &str = "outbox";

/// The most bytes of messages in one document: what Kafka takes at once even if all of them go to one partition, and far below what a
/// document may have.
const MOST_BYTES: usize = 384 * 1024;
/// Documents that are read at once: some megabytes, if all of them are as large as may be.
const READ_AT_ONCE: u32 = 16;
/// What is counted for a message beside its key and its body: its id, its trace, and the names of the fields.
const ENVELOPE: usize = 200;

/// A message waiting for Kafka.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// The message's id: UUIDv7, in the order of writing within one process.
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

/// Messages for one topic that were written together, as they are stored. Ids of documents are those of their first messages, so their order is
/// that of writing, within one process.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    /// The id of the first message.
    #[serde(rename = "_id")]
    id: String,
    /// Topic without the sale's prefix.
    #[serde(rename = "type")]
    topic: String,
    /// Never empty.
    messages: Vec<Said>,
    /// How often the relay tried and failed.
    attempts: i32,
    /// When they were written.
    created_at: DateTime,
}

/// One of several messages.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Said {
    id: String,
    key: String,
    payload: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    traceparent: Option<String>,
}

/// A document of the outbox.
#[derive(Debug, Clone)]
pub struct Waits {
    /// Its id: that of its first message.
    pub id: String,
    /// What it says. Of several messages all have one topic, and stand in the order in which they were written.
    pub entries: Vec<Entry>,
    /// Whether it holds a list of messages, so that a part of them can go.
    pub is_divisible: bool,
}

impl Written {
    /// Messages in as few documents as they fit in, one after the other for each topic.
    fn of(messages: &[Message]) -> Vec<Self> {
        let mut documents: Vec<(Self, usize)> = Vec::new();
        for message in messages {
            let topic = message.topic().plain_name();
            // Serializing our own plain types cannot fail; an empty payload would end as a dead letter.
            let payload = serde_json::to_string(message).unwrap_or_default();
            let bytes = payload.len() + message.order_id.as_str().len() + ENVELOPE;
            let said = Said {
                id: message.id.clone(),
                key: message.order_id.as_str().to_owned(),
                payload,
                traceparent: message.traceparent.clone(),
            };
            let last = documents
                .iter_mut()
                .rfind(|(document, _)| document.topic == topic);
            match last {
                Some((document, size)) if *size + bytes <= MOST_BYTES => {
                    document.messages.push(said);
                    *size += bytes;
                }
                _ => documents.push((
                    Self {
                        id: said.id.clone(),
                        topic: topic.to_owned(),
                        messages: vec![said],
                        attempts: 0,
                        created_at: DateTime::from_millis(message.at.as_millisecond()),
                    },
                    bytes,
                )),
            }
        }
        documents.into_iter().map(|(document, _)| document).collect()
    }
}

impl From<Written> for Waits {
    fn from(together: Written) -> Self {
        let Written {
            id,
            topic,
            messages,
            attempts,
            created_at,
        } = together;
        let entry = |said: Said| Entry {
            id: said.id,
            topic: topic.clone(),
            key: said.key,
            payload: said.payload,
            traceparent: said.traceparent,
            published: false,
            attempts,
            created_at,
        };
        Self {
            entries: messages.into_iter().map(entry).collect(),
            id,
            is_divisible: true,
        }
    }
}

impl From<Entry> for Waits {
    fn from(entry: Entry) -> Self {
        Self {
            id: entry.id.clone(),
            entries: vec![entry],
            is_divisible: false,
        }
    }
}

impl From<Entry> for Said {
    fn from(entry: Entry) -> Self {
        Self {
            id: entry.id,
            key: entry.key,
            payload: entry.payload,
            traceparent: entry.traceparent,
        }
    }
}

/// What was read of an outbox.
#[derive(Debug)]
pub struct Page {
    /// Oldest first.
    pub documents: Read<Waits>,
    /// Whether there may be others behind them.
    pub more_may_follow: bool,
}

/// How many messages a document is.
fn messages_of(document: &RawDocumentBuf) -> usize {
    document
        .get_array("messages")
        .map_or(1, |several| several.into_iter().count())
}

/// A document as it is stored, of either form.
fn read(document: &RawDocumentBuf) -> Result<Waits, bson::error::Error> {
    if matches!(document.get("messages"), Ok(Some(_))) {
        bson::deserialize_from_slice::<Written>(document.as_bytes()).map(Waits::from)
    } else {
        bson::deserialize_from_slice::<Entry>(document.as_bytes()).map(Waits::from)
    }
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
    /// How many documents, each of which is one message or several that were written together.
    pub documents: u64,
    /// When the oldest of them was written; `None` where there is none, or it does not say.
    pub oldest: Option<DateTime>,
}

/// The outbox of one sale.
#[derive(Debug, Clone)]
pub struct Outbox {
    entries: Collection<Entry>,
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
        let documents = Written::of(messages);
        if !documents.is_empty() {
            self.entries
                .clone_with_type::<Written>()
                .insert_many(documents)
                .session(session)
                .await?;
        }
        Ok(())
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

    /// The oldest documents behind an id but those that are set aside; of those that cannot be read only what they are. No more than `most`
    /// of them, and no more once they have so many messages.
    ///
    /// # Errors
    /// The driver's.
    pub async fn oldest(&self, next: Next, most: usize, messages: usize) -> mongodb::error::Result<Page> {
        let Next(filter) = next;
        let all = self.entries.clone_with_type::<RawDocumentBuf>();
        let page = all
            .find(filter)
            .sort(doc! {"_id": 1})
            .limit(i64::try_from(most).unwrap_or(i64::MAX))
            .batch_size(READ_AT_ONCE);
        let (mut cursor, mut documents, mut found) = (page.await?, Vec::new(), 0);
        while found < messages
            && let Some(document) = cursor.try_next().await?
        {
            found += messages_of(&document);
            documents.push(document);
        }
        Ok(Page {
            more_may_follow: documents.len() >= most || found >= messages,
            documents: Read::each_by(documents, "outbox entry", read),
        })
    }

    /// Removes documents of which Kafka has acknowledged everything.
    ///
    /// # Errors
    /// The driver's.
    pub async fn remove(&self, ids: &[String]) -> mongodb::error::Result<()> {
        self.entries
            .delete_many(doc! {"_id": {"$in": ids}})
            .await
            .map(drop)
    }

    /// Leaves of a document what Kafka has not acknowledged. Only the relay does it, which is one process.
    ///
    /// # Errors
    /// The driver's.
    pub async fn keep_only(&self, id: &str, left: Vec<Entry>) -> mongodb::error::Result<()> {
        let left: Vec<Said> = left.into_iter().map(Said::from).collect();
        let left = bson::serialize_to_bson(&left)?;
        self.entries
            .update_one(
                doc! {"_id": id},
                doc! {"$set": {"messages": left}, "$inc": {"attempts": 1}},
            )
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

    /// Whether a message of a topic is waiting.
    ///
    /// # Errors
    /// The driver's.
    pub async fn has(&self, topic: Topic) -> mongodb::error::Result<bool> {
        let of_topic = doc! {"type": topic.plain_name()};
        let any = self.entries.clone_with_type::<Document>();
        Ok(any
            .find_one(of_topic)
            .projection(doc! {"_id": 1})
            .await?
            .is_some())
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
            documents: self.entries.estimated_document_count().await?,
            oldest: oldest.and_then(|entry| entry.get_datetime("createdAt").ok().copied()),
        })
    }

    /// Messages waiting, as the caller's transaction sees it.
    ///
    /// # Errors
    /// The driver's.
    pub async fn len(&self, session: &mut ClientSession) -> mongodb::error::Result<u64> {
        let size = doc! {"$cond": [{"$isArray": "$messages"}, {"$size": "$messages"}, 1]};
        let pipeline = [doc! {"$group": {"_id": null, "messages": {"$sum": size}}}];
        let mut cursor = self.entries.aggregate(pipeline).session(&mut *session).await?;
        let sums: Vec<Document> = cursor.stream(session).try_collect().await?;
        let sum = sums.first().map_or(Ok(0), |sum| whole_number(sum, "messages"))?;
        Ok(sum.unsigned_abs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{OrderStatusChanged, Payload};
    use jiff::Timestamp;
    use sale::{
        OrderId, UserId,
        order::{InventoryOutcome, InventoryStatus, OrderStatus},
    };

    fn result(order: usize) -> Message {
        let payload = Payload::InventoryResult(InventoryOutcome::Released);
        Message::new(
            OrderId::new(order.to_string()),
            Timestamp::UNIX_EPOCH,
            None,
            payload,
        )
    }

    fn status(order: usize, message: String) -> Message {
        let payload = Payload::OrderStatus(OrderStatusChanged {
            user_id: UserId::new("u"),
            status: OrderStatus::Confirmed,
            inventory_status: InventoryStatus::Reserved,
            message,
            reason: None,
            hold_expires_at: None,
            again: false,
        });
        Message::new(
            OrderId::new(order.to_string()),
            Timestamp::UNIX_EPOCH,
            None,
            payload,
        )
    }

    #[test]
    fn what_is_written_together_is_one_document_for_each_topic_and_is_read_as_it_was_written() {
        let messages = [result(1), status(2, "yours".into()), result(3)];
        let documents = Written::of(&messages);
        let of: Vec<_> = documents
            .iter()
            .map(|one| (one.topic.as_str(), one.messages.len()))
            .collect();
        assert_eq!(of, [("inventory.result", 2), ("order.status", 1)]);
        let stored = bson::serialize_to_raw_document_buf(&documents[0]).unwrap();
        let waits = read(&stored).unwrap();
        assert_eq!(waits.id, messages[0].id);
        for (entry, message) in waits.entries.iter().zip([&messages[0], &messages[2]]) {
            assert_eq!(
                (&entry.id, entry.key.as_str()),
                (&message.id, message.order_id.as_str())
            );
            assert_eq!(
                Message::decode(Some(entry.payload.as_bytes()), None).unwrap(),
                *message
            );
        }
    }

    #[test]
    fn a_document_has_room_for_so_much_and_a_large_message_one_of_its_own() {
        let long = "x".repeat(MOST_BYTES / 2);
        let messages: Vec<Message> = (0..3).map(|order| status(order, long.clone())).collect();
        let sizes: Vec<_> = Written::of(&messages)
            .iter()
            .map(|one| one.messages.len())
            .collect();
        assert_eq!(sizes, [1, 1, 1]);
        let many: Vec<Message> = (0..5_000).map(result).collect();
        let documents = Written::of(&many);
        assert!(documents.len() > 1 && documents.len() < 10, "{}", documents.len());
        let ids: Vec<&String> = documents
            .iter()
            .flat_map(|one| &one.messages)
            .map(|said| &said.id)
            .collect();
        assert_eq!(ids, many.iter().map(|message| &message.id).collect::<Vec<_>>());
    }

    /// As an earlier version writes them, and as replays are.
    #[test]
    fn a_message_of_its_own_is_read_as_well() {
        let one = doc! {"_id": "7", "type": "order.status", "key": "o", "payload": "{}", "published": false, "attempts": 2,
        "createdAt": DateTime::from_millis(5)};
        let waits = read(&bson::serialize_to_raw_document_buf(&one).unwrap()).unwrap();
        assert!(!waits.is_divisible && waits.entries.len() == 1);
        assert_eq!((waits.entries[0].attempts, waits.id.as_str()), (2, "7"));
        let other = doc! {"_id": "7", "messages": "none"};
        assert!(read(&bson::serialize_to_raw_document_buf(&other).unwrap()).is_err());
    }
}
