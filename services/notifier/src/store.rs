//! Notifications in MongoDB.

use events::{Message, Payload};
use futures::TryStreamExt;
use mongodb::{
    ClientSession, Collection, Database, IndexModel,
    bson::{DateTime, Document, doc},
    error::Error,
    options::IndexOptions,
};
use sale::{
    OrderId, UserId,
    order::{FailureReason, OrderStatus},
};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;

/// How far before an id it is looked for what came late: longer than a relay or a lane is ever behind.
const LATE_MS: u64 = 10 * 60 * 1_000;
/// Missed notifications sent to a socket at once; older ones are read through the list.
const MISSED: i64 = 200;

/// One thing a buyer is told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Notification {
    /// The id of the message that it comes from: UUIDv7, so ids are in the order of time.
    #[serde(rename = "_id")]
    pub id: String,
    /// Whom it is for.
    pub user_id: UserId,
    /// What it is about.
    pub order_id: OrderId,
    /// The order's status.
    pub status: OrderStatus,
    /// A sentence for the buyer.
    pub message: String,
    /// Why the order failed, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<FailureReason>,
    /// Until when the units were to wait for a payment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold_expires_at: Option<DateTime>,
    /// Whether the buyer has seen it.
    pub read: bool,
    /// Whether it comes from a message that was said again: the first one may still come.
    #[serde(default, skip_serializing_if = "is_false")]
    pub again: bool,
    /// When it happened.
    pub created_at: DateTime,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the shape that serde wants")]
fn is_false(value: &bool) -> bool {
    !value
}

/// What a user has missed.
#[derive(Debug, Clone)]
pub struct Missed {
    /// Oldest first.
    pub notifications: Vec<Notification>,
    /// Whether there are older ones.
    pub more: bool,
    /// The newest id that there is, read or not.
    pub newest: Option<String>,
}

impl Notification {
    /// Whether both tell of the same status of the same order.
    pub(crate) fn says_the_same(&self, other: &Self) -> bool {
        self.order_id == other.order_id && self.status == other.status
    }

    /// The notification that a message amounts to.
    pub fn of(message: &Message) -> Option<Self> {
        let Payload::OrderStatus(change) = &message.payload else {
            return None;
        };
        // Of an order that does not exist.
        if change.user_id.as_str().is_empty() {
            return None;
        }
        Some(Self {
            id: message.id.clone(),
            user_id: change.user_id.clone(),
            order_id: message.order_id.clone(),
            status: change.status,
            message: change.message.clone(),
            reason: change.reason,
            hold_expires_at: change
                .hold_expires_at
                .map(|at| DateTime::from_millis(at.as_millisecond())),
            read: false,
            again: change.again,
            created_at: DateTime::from_millis(message.at.as_millisecond()),
        })
    }
}

/// The same status of the same order, under whatever id.
fn same_news(told: &Notification) -> Document {
    doc! {
        "userId": told.user_id.as_str(),
        "orderId": told.order_id.as_str(),
        "status": told.status.as_str(),
    }
}

/// The least id of the moment that lies a little before an id's. What is no UUIDv7 stands for itself.
fn a_little_before(id: &str) -> String {
    let made_at = uuid::Uuid::parse_str(id).ok().and_then(|id| id.get_timestamp());
    let Some(made_at) = made_at else {
        return id.to_owned();
    };
    let (seconds, nanoseconds) = made_at.to_unix();
    let millis = seconds * 1_000 + u64::from(nanoseconds) / 1_000_000;
    let before = uuid::Builder::from_unix_timestamp_millis(millis.saturating_sub(LATE_MS), &[0; 10]);
    before.into_uuid().to_string()
}

/// The collection of notifications.
#[derive(Debug, Clone)]
pub struct Store {
    notifications: Collection<Notification>,
}

impl Store {
    /// The collection in a sale's database.
    pub fn new(database: &Database) -> Self {
        Self {
            notifications: database.collection("notifications"),
        }
    }

    /// Whether a user has been told of this status of this order, under whatever id.
    ///
    /// # Errors
    /// The driver's.
    pub async fn knows(&self, session: &mut ClientSession, told: &Notification) -> Result<bool, Error> {
        Ok(self
            .notifications
            .find_one(same_news(told))
            .session(session)
            .await?
            .is_some())
    }

    /// What was stored of some orders from messages that were said again.
    ///
    /// # Errors
    /// The driver's.
    pub(crate) async fn said_again(
        &self,
        session: &mut ClientSession,
        orders: &[&str],
    ) -> Result<Vec<Notification>, Error> {
        let mut cursor = self
            .notifications
            .find(doc! {"orderId": {"$in": orders}, "again": true})
            .batch_size(2_000)
            .session(&mut *session)
            .await?;
        cursor.stream(session).try_collect().await
    }

    /// Whether a user has been told the same before, under another id.
    ///
    /// # Errors
    /// The driver's.
    pub async fn told_before(&self, again: &Notification) -> Result<bool, Error> {
        let mut before = same_news(again);
        before.insert("_id", doc! {"$ne": again.id.as_str()});
        Ok(self.notifications.find_one(before).await?.is_some())
    }

    /// Adds those that are not there yet, in the caller's transaction.
    ///
    /// # Errors
    /// The driver's.
    pub async fn add(&self, session: &mut ClientSession, new: Vec<Notification>) -> Result<(), Error> {
        let ids: Vec<&str> = new.iter().map(|n| n.id.as_str()).collect();
        let mut cursor = self
            .notifications
            .find(doc! {"_id": {"$in": ids}})
            .batch_size(2_000)
            .session(&mut *session)
            .await?;
        let known: Vec<Notification> = cursor.stream(session).try_collect().await?;
        let mut seen: HashSet<String> = known.into_iter().map(|n| n.id).collect();
        let fresh: Vec<Notification> = new.into_iter().filter(|n| seen.insert(n.id.clone())).collect();
        if !fresh.is_empty() {
            self.notifications.insert_many(fresh).session(session).await?;
        }
        Ok(())
    }

    /// What a user has missed: all after an id, or without one all unread. Of more than the most that is sent at once the newest.
    ///
    /// Ids are in the order of time as far as the clocks of their makers agree, and what is late may have an earlier one than what was
    /// sent long ago. So a little of what is before the id comes again, under the same ids.
    ///
    /// # Errors
    /// The driver's.
    pub async fn missed(&self, user: &UserId, after: Option<&str>) -> Result<Missed, Error> {
        let filter = match after {
            Some(id) => doc! {"userId": user.as_str(), "_id": {"$gt": a_little_before(id)}},
            None => doc! {"userId": user.as_str(), "read": false},
        };
        let mut missed: Vec<Notification> = self
            .notifications
            .find(filter)
            .sort(doc! {"_id": -1})
            .limit(MISSED + 1)
            .await?
            .try_collect()
            .await?;
        let most = usize::try_from(MISSED).unwrap_or(0);
        let more = missed.len() > most;
        missed.truncate(most);
        let newest = match missed.first() {
            Some(newest) => Some(newest.id.clone()),
            None => self.newest(user).await?,
        };
        missed.reverse();
        Ok(Missed {
            notifications: missed,
            more,
            newest,
        })
    }

    /// The id of the newest notification of a user.
    async fn newest(&self, user: &UserId) -> Result<Option<String>, Error> {
        let newest = self
            .notifications
            .find_one(doc! {"userId": user.as_str()})
            .sort(doc! {"_id": -1})
            .await?;
        Ok(newest.map(|notification| notification.id))
    }

    /// Which of some notifications a user has read.
    ///
    /// # Errors
    /// The driver's.
    pub async fn read_among(&self, user: &UserId, ids: &[&str]) -> Result<HashSet<String>, Error> {
        let read = doc! {"userId": user.as_str(), "_id": {"$in": ids}, "read": true};
        let read: Vec<Notification> = self.notifications.find(read).await?.try_collect().await?;
        Ok(read.into_iter().map(|notification| notification.id).collect())
    }

    /// A page of a user's notifications, newest first.
    ///
    /// # Errors
    /// The driver's.
    pub async fn page(
        &self,
        user: &UserId,
        before: Option<String>,
        limit: i64,
    ) -> Result<Vec<Notification>, Error> {
        let mut filter: Document = doc! {"userId": user.as_str()};
        if let Some(id) = before {
            filter.insert("_id", doc! {"$lt": id});
        }
        self.notifications
            .find(filter)
            .sort(doc! {"_id": -1})
            .limit(limit)
            .await?
            .try_collect()
            .await
    }

    /// Marks one of a user's notifications as read.
    ///
    /// # Errors
    /// The driver's.
    pub async fn read(&self, user: &UserId, id: &str) -> Result<Option<Notification>, Error> {
        self.notifications
            .find_one_and_update(
                doc! {"_id": id, "userId": user.as_str()},
                doc! {"$set": {"read": true}},
            )
            .return_document(mongodb::options::ReturnDocument::After)
            .await
    }

    /// Creates the indexes; those that exist stay.
    ///
    /// # Errors
    /// The driver's.
    pub async fn create_indexes(self) -> Result<(), Error> {
        let by_user = IndexModel::builder().keys(doc! {"userId": 1, "_id": -1}).build();
        self.notifications.create_index(by_user).await?;
        // Hardly ever one is in it.
        let again = IndexOptions::builder()
            .partial_filter_expression(doc! {"again": true})
            .build();
        let by_order = IndexModel::builder()
            .keys(doc! {"orderId": 1})
            .options(again)
            .build();
        self.notifications.create_index(by_order).await.map(drop)
    }

    /// Marks all of a user's notifications as read and counts those that were not.
    ///
    /// # Errors
    /// The driver's.
    pub async fn read_all(&self, user: &UserId) -> Result<u64, Error> {
        let unread = doc! {"userId": user.as_str(), "read": false};
        let done = self
            .notifications
            .update_many(unread, doc! {"$set": {"read": true}})
            .await?;
        Ok(done.modified_count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_little_before_an_id_is_earlier_by_ten_minutes() {
        let id = |millis: u64| {
            let id = uuid::Builder::from_unix_timestamp_millis(millis, &[7; 10]);
            id.into_uuid().to_string()
        };
        let bound = a_little_before(&id(10_000_000));
        assert!(bound < id(10_000_000 - LATE_MS), "{bound}");
        assert!(bound > id(10_000_000 - LATE_MS - 1), "{bound}");
        assert_eq!(a_little_before("of another kind"), "of another kind");
    }
}
