//! Orders in MongoDB, and what keeps two orders of one customer apart.

use crate::{document::Order, expiry, reminder, tally::Tally};
use events::outbox::Outbox;
use futures::TryStreamExt;
use mongodb::{
    ClientSession, Collection, Database, IndexModel,
    bson::{DateTime, Document, doc},
    error::Error,
};
use platform::backends::mongo::Transactions;
use sale::{OrderId, ProductId, UserId};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// Where acceptances of one customer and one product meet that has a limit: each writes it, so of two at once one runs again and
/// counts the other's order. What a customer holds or has bought the orders say themselves.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Turn {
    /// `<user>/<product>`
    #[serde(rename = "_id")]
    pub(crate) id: String,
    /// How many acceptances have written it.
    #[serde(default)]
    pub(crate) orders: i64,
}

/// The collections of the order service.
#[derive(Debug, Clone)]
pub struct Store {
    pub(crate) transactions: Transactions,
    pub(crate) orders: Collection<Order>,
    pub(crate) turns: Collection<Turn>,
    pub(crate) outbox: Outbox,
    pub(crate) tally: Tally,
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
            turns: database.collection("quotas"),
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

    /// A page of orders, newest first: one user's, or everybody's.
    ///
    /// # Errors
    /// The driver's.
    pub async fn page(
        &self,
        user: Option<&UserId>,
        after: Option<After>,
        limit: i64,
    ) -> Result<Vec<Order>, Error> {
        let mut filter = Document::new();
        if let Some(user) = user {
            filter.insert("userId", user.as_str());
        }
        if let Some(after) = after {
            filter.insert(
                "$or",
                vec![
                    doc! {"createdAt": {"$lt": after.created_at}},
                    doc! {"createdAt": after.created_at, "_id": {"$lt": after.id}},
                ],
            );
        }
        self.orders
            .find(filter)
            .sort(doc! {"createdAt": -1, "_id": -1})
            .limit(limit)
            .await?
            .try_collect()
            .await
    }

    /// Some orders, read in a transaction.
    ///
    /// # Errors
    /// The driver's.
    pub(crate) async fn orders_in(
        &self,
        session: &mut ClientSession,
        ids: &[&str],
    ) -> Result<HashMap<OrderId, Order>, Error> {
        let mut cursor = self
            .orders
            .find(doc! {"_id": {"$in": ids}})
            .batch_size(2_000)
            .session(&mut *session)
            .await?;
        let found: Vec<Order> = cursor.stream(session).try_collect().await?;
        Ok(found.into_iter().map(|order| (order.id.clone(), order)).collect())
    }
}

/// The id of a turn.
pub(crate) fn turn_id(user: &UserId, product: &ProductId) -> String {
    format!("{user}/{product}")
}
