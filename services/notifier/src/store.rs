//! Notifications in MongoDB.

use events::{Message, Payload, lanes::Repeats};
use futures::TryStreamExt;
use jiff::Timestamp;
use mongodb::{
    ClientSession, Collection, Database, IndexModel,
    bson::{DateTime, Document, doc},
    error::Error,
    options::IndexOptions,
};
use platform::backends::mongo::{Last, last_of_each};
use sale::{
    OrderId, UserId,
    order::{FailureReason, OrderStatus},
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeSet, HashMap, HashSet},
    time::Duration,
};

/// How far before an update of which the store does not know when it was stored it is looked for what came late.
const LATE: Duration = Duration::from_secs(10 * 60);
/// How long before an update one may have been stored that was pushed behind it: well above the time that pushes may be behind the
/// store (see `tail`).
const PUSHED_LATE: Duration = Duration::from_secs(2 * 60);
/// Missed notifications sent to a socket at once; older ones are read through the list.
const MISSED: i64 = 200;

/// One thing a buyer is told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Notification {
    /// The id of the message that it comes from: UUIDv7, so ids are in the order of time as far as the clocks of those agree who
    /// have made them.
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
    /// The trace of the message that it comes from, while it is on its way to the sockets.
    #[serde(skip)]
    pub traceparent: Option<String>,
    /// When it was stored: not before it is.
    #[serde(flatten)]
    pub stored: Option<Stored>,
}

/// When a notification was stored, among those of its user. What is stored later has a higher number, whoever stores it, by whatever clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stored {
    /// From 1 on, without a gap.
    pub number: i64,
    /// By the clock of the process that stored it.
    pub stored_at: DateTime,
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
            traceparent: message.traceparent.clone(),
            stored: None,
        })
    }
}

/// All of a user's: each has a number, and they are found by it.
fn all_of(user: &UserId) -> Document {
    doc! {"userId": user.as_str(), "number": {"$gt": 0}}
}

/// The same status of the same order, under whatever id.
fn same_news(told: &Notification) -> Document {
    doc! {
        "userId": told.user_id.as_str(),
        "number": {"$gt": 0},
        "orderId": told.order_id.as_str(),
        "status": told.status.as_str(),
    }
}

/// A moment that lies a little before the one in which an id was made, and the least id of it.
fn a_little_before(id: &str) -> Option<(DateTime, String)> {
    let (at, least) = events::message::before(id, LATE)?;
    Some((DateTime::from_millis(at.as_millisecond()), least))
}

/// What somebody may not have been sent who has seen an update last: all that is stored later, and what is stored so shortly before that
/// it may have been pushed later.
fn later_than(id: &str, seen: Option<Stored>) -> Document {
    if let Some(seen) = seen {
        let pushed_late = i64::try_from(PUSHED_LATE.as_millis()).unwrap_or(i64::MAX);
        let since = DateTime::from_millis(seen.stored_at.timestamp_millis().saturating_sub(pushed_late));
        return doc! {"$or": [{"number": {"$gt": seen.number}}, {"storedAt": {"$gte": since}}]};
    }
    match a_little_before(id) {
        Some((at, least)) => doc! {"$or": [{"storedAt": {"$gte": at}}, {"_id": {"$gt": least}}]},
        None => doc! {},
    }
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
        // Hardly ever is there any, of whatever order.
        let any = self
            .notifications
            .find_one(doc! {"orderId": {"$gt": ""}, "again": true});
        if any.session(&mut *session).await?.is_none() {
            return Ok(Vec::new());
        }
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
    pub async fn add(
        &self,
        session: &mut ClientSession,
        new: Vec<Notification>,
        repeats: Repeats,
        now: Timestamp,
    ) -> Result<(), Error> {
        let mut seen: HashSet<String> = match repeats {
            Repeats::Unlikely => HashSet::new(),
            Repeats::Possible => self.known_among(session, &new).await?,
        };
        let mut fresh: Vec<Notification> = new.into_iter().filter(|n| seen.insert(n.id.clone())).collect();
        if fresh.is_empty() {
            return Ok(());
        }
        let users: BTreeSet<&str> = fresh.iter().map(|n| n.user_id.as_str()).collect();
        let mut numbers = self.last_numbers(session, users).await?;
        let stored_at = DateTime::from_millis(now.as_millisecond());
        for notification in &mut fresh {
            let last = numbers.entry(notification.user_id.clone()).or_default();
            *last += 1;
            notification.stored = Some(Stored {
                number: *last,
                stored_at,
            });
        }
        self.notifications.insert_many(fresh).session(session).await?;
        Ok(())
    }

    /// The ids of those that are there.
    async fn known_among(
        &self,
        session: &mut ClientSession,
        new: &[Notification],
    ) -> Result<HashSet<String>, Error> {
        let ids: Vec<&str> = new.iter().map(|notification| notification.id.as_str()).collect();
        let mut cursor = self
            .notifications
            .clone_with_type::<Document>()
            .find(doc! {"_id": {"$in": ids}})
            .projection(doc! {"_id": 1})
            .batch_size(2_000)
            .session(&mut *session)
            .await?;
        let known: Vec<Document> = cursor.stream(session).try_collect().await?;
        let ids = known.iter().filter_map(|document| document.get_str("_id").ok());
        Ok(ids.map(str::to_owned).collect())
    }

    /// The highest number of each of some users, as far as they have one. Who stores for one of them at the same time takes the same
    /// next number: then one of the two runs again.
    async fn last_numbers(
        &self,
        session: &mut ClientSession,
        users: BTreeSet<&str>,
    ) -> Result<HashMap<UserId, i64>, Error> {
        let users: Vec<&str> = users.into_iter().collect();
        let last = last_of_each(&self.notifications, session, ("userId", "number"), &users).await?;
        if let Some(user) = last.unreadable_ids().next() {
            let error = format!("the last number of the notifications of user {user} is no whole number");
            return Err(Error::custom(error));
        }
        let of_user = |last: Last| (UserId::new(last.owner), last.number);
        Ok(last.readable.into_iter().map(of_user).collect())
    }

    /// What a user has missed: all that is stored after the update that it has seen last, or without one all unread. Of more than the
    /// most that is sent at once the newest.
    ///
    /// Pushes do not wait for the store, so one that is stored a moment before the last one seen may have been pushed behind it. So a
    /// little of what was stored before comes again, under the same ids.
    ///
    /// # Errors
    /// The driver's.
    pub async fn missed(&self, user: &UserId, after: Option<&str>) -> Result<Missed, Error> {
        let mut filter = match after {
            Some(id) => later_than(id, self.stored(user, id).await?),
            None => doc! {"read": false},
        };
        filter.extend(all_of(user));
        let mut missed: Vec<Notification> = self
            .notifications
            .find(filter)
            .sort(doc! {"number": -1})
            .limit(MISSED + 1)
            .await?
            .try_collect()
            .await?;
        let most = usize::try_from(MISSED).unwrap_or(0);
        let more = missed.len() > most;
        missed.truncate(most);
        let newest = self.newest(user).await?;
        missed.reverse();
        Ok(Missed {
            notifications: missed,
            more,
            newest,
        })
    }

    /// Where one of a user's notifications is stored, if it is.
    async fn stored(&self, user: &UserId, id: &str) -> Result<Option<Stored>, Error> {
        let found = self
            .notifications
            .find_one(doc! {"_id": id, "userId": user.as_str()})
            .await?;
        Ok(found.and_then(|notification| notification.stored))
    }

    /// The id of the notification of a user that was stored last.
    async fn newest(&self, user: &UserId) -> Result<Option<String>, Error> {
        let newest = self
            .notifications
            .find_one(all_of(user))
            .sort(doc! {"number": -1});
        Ok(newest.await?.map(|notification| notification.id))
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
        let mut filter = all_of(user);
        if let Some(id) = before {
            match self.stored(user, &id).await? {
                Some(stored) => filter.insert("number", doc! {"$gt": 0, "$lt": stored.number}),
                None => filter.insert("_id", doc! {"$lt": id}),
            };
        }
        self.notifications
            .find(filter)
            .sort(doc! {"number": -1})
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
        let numbered = IndexOptions::builder()
            .unique(true)
            .partial_filter_expression(doc! {"number": {"$gt": 0}})
            .build();
        let by_number = IndexModel::builder()
            .keys(doc! {"userId": 1, "number": -1})
            .options(numbered)
            .build();
        self.notifications.create_index(by_number).await?;
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
        let mut unread = all_of(user);
        unread.insert("read", false);
        let done = self
            .notifications
            .update_many(unread, doc! {"$set": {"read": true}})
            .await?;
        Ok(done.modified_count)
    }
}
