//! Orders of a sale, for people who look for some.

use crate::{
    place::Place,
    problems::{busy, gave_up},
};
use auth::account::Email;
use events::topics::{Topic, partition_of};
use futures::TryStreamExt;
use inventory::store::Reservation;
use jiff::{SignedDuration, Timestamp};
use mongodb::{
    Database,
    bson::{Document, RawDocumentBuf, doc},
};
use notifier::store::Notification;
use order::{
    document::{Order, OrderView},
    store::{After, Store},
};
use platform::{
    backends::mongo::{self, MongoError, Read},
    http::{
        page::Page,
        problem::{Code, Problem},
    },
    traces::context,
};
use sale::{OrderId, UserId, order::OrderStatus};
use serde::Serialize;
use std::{sync::Arc, time::Duration};

/// How long the database may look through orders for which there is no index.
const LOOKS_FOR: Duration = Duration::from_secs(4);
/// How long for each of the two kinds of orders that have not ended, which have indexes.
const LOOKS_FOR_PENDING: Duration = Duration::from_secs(2);
/// How far back one may page through all orders: there is no index by time, so each page begins at the newest again.
const FURTHEST: u64 = 10_000;
/// Notifications of one order.
const MOST_NOTIFICATIONS: i64 = 50;
/// How much earlier than its acceptance the messages of an order are looked for: clocks differ.
const BEFORE: SignedDuration = SignedDuration::from_secs(5);

/// What is looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Search {
    /// The order of this id.
    Id(OrderId),
    /// The orders of a user: an id, or an e-mail address.
    User(String),
    /// The order of a user's key.
    Key {
        /// An id, or an e-mail address.
        user: String,
        /// The idempotency key.
        key: String,
    },
    /// Those that stand there.
    Status(OrderStatus),
    /// The newest.
    Newest,
}

/// Everything that is known about one order.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Whole {
    order: OrderView,
    user: Option<Buyer>,
    trace_id: Option<String>,
    /// Whether somebody has recorded it.
    trace_recorded: bool,
    reservation: Option<ReservationView>,
    notifications: Vec<NotificationView>,
    ledger: Vec<crate::ledger::EntryView>,
    /// Why entries of the ledger are missing: they were not found in time.
    ledger_problem: Option<String>,
    places: Vec<MessagePlace>,
}

#[derive(Debug, Serialize)]
struct Buyer {
    #[serde(rename = "_id")]
    id: String,
    email: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ReservationView {
    status: &'static str,
    expires_at: Option<String>,
    created_at: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct NotificationView {
    #[serde(rename = "_id")]
    id: String,
    status: &'static str,
    message: String,
    read: bool,
    created_at: String,
}

/// Where messages of an order are.
#[derive(Debug, Serialize)]
struct MessagePlace {
    topic: &'static str,
    partition: i32,
    time: Timestamp,
}

/// A page of what was found, newest first.
///
/// # Errors
/// 503, or 400 where there is too much to look through.
pub async fn find(
    place: &Arc<Place>,
    search: Search,
    after: Option<String>,
    limit: u32,
) -> Result<Page<OrderView>, Problem> {
    let found = match search {
        Search::Id(id) => one_page(one(place, id).await?),
        Search::Key { user, key } => match user_id(place, &user).await? {
            Some(user) => one_page(one(place, OrderId::derive(&user, &key)).await?),
            None => one_page(None),
        },
        Search::User(user) => match user_id(place, &user).await? {
            Some(user) => of_user(place, user, after, limit).await?,
            None => one_page(None),
        },
        Search::Status(OrderStatus::Pending) => pending(place, limit).await?,
        Search::Status(status) => newest(place, doc! {"status": status.as_str()}, after, limit).await?,
        Search::Newest => newest(place, Document::new(), after, limit).await?,
    };
    Ok(found.map(|order| order.view(place.config.currency)))
}

fn one_page(order: Option<Order>) -> Page<Order> {
    Page {
        items: order.into_iter().collect(),
        next_cursor: None,
    }
}

fn store(place: &Place) -> Store {
    Store::new(&place.database, place.transactions.clone(), "console")
}

async fn one(place: &Arc<Place>, id: OrderId) -> Result<Option<Order>, Problem> {
    let store = store(place);
    mongo::detached(async move { store.order(&id).await.map_err(MongoError::from) })
        .await
        .map_err(|error| busy(&error))
}

/// The id of a user who is named by it or by an e-mail address; `None` where nobody has that address.
async fn user_id(place: &Arc<Place>, user: &str) -> Result<Option<UserId>, Problem> {
    if !user.contains('@') {
        return Ok(Some(UserId::new(user)));
    }
    let (users, email) = (auth::store::Store::new(&place.accounts()), Email::parse(user)?);
    let user = mongo::detached(async move { users.user_by_email(&email).await.map_err(MongoError::from) });
    Ok(user.await.map_err(|error| busy(&error))?.map(|user| user.id))
}

async fn of_user(
    place: &Arc<Place>,
    user: UserId,
    after: Option<String>,
    limit: u32,
) -> Result<Page<Order>, Problem> {
    let after = match after {
        Some(key) => Some(
            After::parse(&key).ok_or_else(|| Problem::field("cursor", "is not a nextCursor of this list"))?,
        ),
        None => None,
    };
    let (store, one_more) = (store(place), limit as usize + 1);
    let found = mongo::detached(async move {
        store
            .page(Some(&user), after, one_more)
            .await
            .map_err(MongoError::from)
    });
    let found = found.await.map_err(|error| busy(&error))?;
    Ok(Page::cut(found, limit, After::key))
}

/// Orders that have not come to an end: those that wait for inventory and those that wait for a payment each have an index.
async fn pending(place: &Arc<Place>, limit: u32) -> Result<Page<Order>, Problem> {
    let orders = place.database.collection::<RawDocumentBuf>("orders");
    let found = mongo::detached(async move {
        let mut found = Vec::new();
        for (waits, by) in [
            (
                doc! {"status": "PENDING", "inventoryStatus": "PENDING"},
                doc! {"askAt": -1},
            ),
            (
                doc! {"status": "PENDING", "holdExpiresAt": {"$exists": true}},
                doc! {"holdExpiresAt": -1},
            ),
        ] {
            let some = orders
                .find(waits)
                .sort(by)
                .limit(i64::from(limit))
                .max_time(LOOKS_FOR_PENDING);
            found.extend(some.await?.try_collect::<Vec<_>>().await?);
        }
        Ok::<_, MongoError>(found)
    });
    let mut found = Read::<Order>::each(found.await.map_err(|error| unlooked(&error))?, "order").readable;
    found.sort_by(|a, b| (b.created_at, b.id.as_str()).cmp(&(a.created_at, a.id.as_str())));
    found.dedup_by(|a, b| a.id == b.id);
    found.truncate(limit as usize);
    Ok(Page {
        items: found,
        next_cursor: None,
    })
}

/// In the order in which they were stored, backwards, which needs no index.
async fn newest(
    place: &Arc<Place>,
    filter: Document,
    after: Option<String>,
    limit: u32,
) -> Result<Page<Order>, Problem> {
    let passed: u64 = match after {
        Some(key) => key
            .parse()
            .map_err(|_| Problem::field("cursor", "is not a nextCursor of this list"))?,
        None => 0,
    };
    let orders = place.database.collection::<RawDocumentBuf>("orders");
    let found = mongo::detached(async move {
        let newest = orders
            .find(filter)
            .sort(doc! {"$natural": -1})
            .max_time(LOOKS_FOR);
        let page = newest.skip(passed).limit(i64::from(limit) + 1).await?;
        Ok::<Vec<RawDocumentBuf>, MongoError>(page.try_collect().await?)
    });
    let mut found = found.await.map_err(|error| unlooked(&error))?;
    let more = found.len() > limit as usize;
    found.truncate(limit as usize);
    let next = passed + found.len() as u64;
    let page = Page::cut(vec![(); usize::from(more) + 1], 1, |()| next.to_string());
    Ok(Page {
        items: Read::<Order>::each(found, "order").readable,
        next_cursor: page.next_cursor.filter(|_| next < FURTHEST),
    })
}

/// The database gave up, or no answer.
fn unlooked(error: &MongoError) -> Problem {
    if gave_up(error) {
        return Problem::new(
            Code::InvalidRequest,
            "There are too many to look through for this. Look for an id, a user, or a user and a key.",
        );
    }
    busy(error)
}

/// Everything about one order.
///
/// # Errors
/// 404, or 503.
pub async fn whole(place: &Arc<Place>, id: OrderId) -> Result<Whole, Problem> {
    let order = one(place, id.clone())
        .await?
        .ok_or_else(|| Problem::not_found("order"))?;
    let (looking, about) = (Arc::clone(place), order.clone());
    let beside = mongo::detached(async move { Beside::read(&looking, &about).await });
    let (beside, ledger) = tokio::join!(beside, crate::ledger::of_order(place, &order));
    let beside = beside.map_err(|error| busy(&error))?;
    // The rest is worth showing all the same.
    let (ledger, ledger_problem) = match ledger {
        Ok(ledger) => (ledger, None),
        Err(error) => (Vec::new(), Some(unlooked(&error).detail)),
    };
    let time = |at: mongodb::bson::DateTime| at.try_to_rfc3339_string().unwrap_or_default();
    let reservation = beside.reservation.map(|reservation| ReservationView {
        status: reservation.state.as_str(),
        expires_at: reservation.expires_at.map(time),
        created_at: time(reservation.created_at),
    });
    let notification = |told: Notification| NotificationView {
        id: told.id,
        status: told.status.as_str(),
        message: told.message,
        read: told.read,
        created_at: time(told.created_at),
    };
    Ok(Whole {
        trace_recorded: order.traceparent.as_deref().is_some_and(context::is_recorded),
        trace_id: order
            .traceparent
            .as_deref()
            .and_then(context::trace_id)
            .map(str::to_owned),
        places: places(&order, place.config.kafka.partitions),
        user: beside.user.map(|user| Buyer {
            id: user.id.as_str().to_owned(),
            email: user.email,
        }),
        reservation,
        notifications: beside.notifications.into_iter().map(notification).collect(),
        ledger,
        ledger_problem,
        order: order.view(place.config.currency),
    })
}

/// What else the databases know of an order.
struct Beside {
    user: Option<auth::store::User>,
    reservation: Option<Reservation>,
    notifications: Vec<Notification>,
}

impl Beside {
    async fn read(place: &Place, order: &Order) -> Result<Self, MongoError> {
        let database: &Database = &place.database;
        let users = auth::store::Store::new(&place.accounts());
        let reservations = database.collection::<Reservation>("reservations");
        let told = database.collection::<Notification>("notifications");
        let of_order =
            doc! {"userId": order.user_id.as_str(), "number": {"$gt": 0}, "orderId": order.id.as_str()};
        let told = told
            .find(of_order)
            .sort(doc! {"number": 1})
            .limit(MOST_NOTIFICATIONS);
        let reservation = reservations.find_one(doc! {"_id": order.id.as_str()}).await?;
        Ok(Self {
            user: users.user(&order.user_id).await?,
            reservation,
            notifications: told.await?.try_collect().await?,
        })
    }
}

/// All messages of an order have its id as their key, so each topic has them in one partition.
fn places(order: &Order, partitions: i32) -> Vec<MessagePlace> {
    let accepted = Timestamp::from_millisecond(order.created_at.timestamp_millis()).unwrap_or_default();
    let place = |topic: Topic| MessagePlace {
        topic: topic.plain_name(),
        partition: partition_of(order.id.as_str(), partitions),
        time: accepted.saturating_sub(BEFORE).unwrap_or_default(),
    };
    Topic::ALL.into_iter().map(place).collect()
}
