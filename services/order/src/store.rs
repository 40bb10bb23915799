//! Orders in MongoDB.

use crate::{document::Order, expiry, reminder, tally::Tally, turns};
use events::outbox::Outbox;
use futures::TryStreamExt;
use mongodb::{
    ClientSession, Collection, Database, IndexModel,
    bson::{DateTime, Document, RawDocument, RawDocumentBuf, doc},
    error::Error,
};
use platform::backends::mongo::{Read, Transactions};
use sale::{OrderId, UserId};
use std::collections::{HashMap, HashSet};

/// The collections of the order service.
#[derive(Debug, Clone)]
pub struct Store {
    pub(crate) transactions: Transactions,
    pub(crate) orders: Collection<Order>,
    pub(crate) outbox: Outbox,
    pub(crate) tally: Tally,
}

/// Orders that were read.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// By their ids.
    pub(crate) orders: HashMap<OrderId, Order>,
    /// Those that are there and cannot be read. Nobody knows what becomes of them, so nothing is done about them.
    pub(crate) unreadable: HashSet<OrderId>,
}

impl Found {
    fn among(documents: Vec<RawDocumentBuf>) -> Self {
        let read = Read::<Order>::each(documents, "order");
        let by_id = |order: Order| (order.id.clone(), order);
        Self {
            unreadable: read.unreadable_ids().map(OrderId::new).collect(),
            orders: read.readable.into_iter().map(by_id).collect(),
        }
    }
}

/// Where a page of orders begins: after the order with this time and id.
#[derive(Debug, Clone)]
pub struct After {
    created_at: DateTime,
    id: String,
}

impl After {
    /// The key of an order in a list.
    pub fn key(order: &Order) -> String {
        format!("{}:{}", order.created_at.timestamp_millis(), order.id)
    }

    fn of(order: &RawDocument) -> Option<Self> {
        Some(Self {
            created_at: order.get_datetime("createdAt").ok()?,
            id: order.get_str("_id").ok()?.to_owned(),
        })
    }

    /// Reads a key back.
    pub fn parse(key: &str) -> Option<Self> {
        let (millis, id) = key.split_once(':')?;
        Some(Self {
            created_at: DateTime::from_millis(millis.parse().ok()?),
            id: id.to_owned(),
        })
    }
}

impl Store {
    /// The collections in a sale's database, for a process whose name no other has or had.
    pub fn new(database: &Database, transactions: Transactions, process: &str) -> Self {
        Self {
            transactions,
            orders: database.collection("orders"),
            outbox: Outbox::new(database),
            tally: Tally::new(database, process),
        }
    }

    /// Creates the indexes; those that exist stay.
    ///
    /// # Errors
    /// The driver's.
    pub async fn create_indexes(self) -> Result<(), Error> {
        let by_user = IndexModel::builder()
            .keys(doc! {"userId": 1, "createdAt": -1, "_id": -1})
            .build();
        self.orders.create_index(by_user).await?;
        self.orders.create_index(turns::index()).await?;
        self.orders.create_index(reminder::index()).await?;
        self.orders.create_index(expiry::index()).await.map(drop)
    }

    /// One order.
    ///
    /// # Errors
    /// The driver's.
    pub async fn order(&self, id: &OrderId) -> Result<Option<Order>, Error> {
        self.orders.find_one(doc! {"_id": id.as_str()}).await
    }

    /// A page of orders, newest first: one user's, or everybody's. Those that cannot be read are passed over.
    ///
    /// # Errors
    /// The driver's.
    pub async fn page(
        &self,
        user: Option<&UserId>,
        mut after: Option<After>,
        limit: usize,
    ) -> Result<Vec<Order>, Error> {
        let mut page = Vec::with_capacity(limit);
        loop {
            let found = self
                .rest_of_page(user, after.as_ref(), limit - page.len())
                .await?;
            let is_last = found.len() < limit - page.len();
            after = found.last().and_then(|last| After::of(last));
            page.extend(Read::<Order>::each(found, "order").readable);
            if is_last || page.len() >= limit || after.is_none() {
                return Ok(page);
            }
        }
    }

    /// The orders as they are stored, to be read each by itself.
    pub(crate) fn documents(&self) -> Collection<RawDocumentBuf> {
        self.orders.clone_with_type()
    }

    async fn rest_of_page(
        &self,
        user: Option<&UserId>,
        after: Option<&After>,
        limit: usize,
    ) -> Result<Vec<RawDocumentBuf>, Error> {
        let mut filter = Document::new();
        if let Some(user) = user {
            filter.insert("userId", user.as_str());
        }
        if let Some(after) = after {
            filter.insert(
                "$or",
                vec![
                    doc! {"createdAt": {"$lt": after.created_at}},
                    doc! {"createdAt": after.created_at, "_id": {"$lt": &after.id}},
                ],
            );
        }
        self.documents()
            .find(filter)
            .sort(doc! {"createdAt": -1, "_id": -1})
            .limit(i64::try_from(limit).unwrap_or(i64::MAX))
            .await?
            .try_collect()
            .await
    }

    /// Some orders, read in a transaction. One that cannot be read is left out and named, and hinders no other.
    ///
    /// # Errors
    /// The driver's.
    pub(crate) async fn orders_in(&self, session: &mut ClientSession, ids: &[&str]) -> Result<Found, Error> {
        let mut cursor = self
            .documents()
            .find(doc! {"_id": {"$in": ids}})
            .batch_size(2_000)
            .session(&mut *session)
            .await?;
        Ok(Found::among(cursor.stream(session).try_collect().await?))
    }

    /// Orders that a filter finds, `limit` at the most.
    ///
    /// # Errors
    /// The driver's.
    pub(crate) async fn some(&self, filter: Document, limit: i64) -> Result<Found, Error> {
        let found = self.documents().find(filter).limit(limit).await?;
        Ok(Found::among(found.try_collect().await?))
    }
}
