//! Products and reservations in MongoDB.

use crate::{
    plan::{Facts, Known, NewReservation, Plan},
    product::{BrokenAccount, Product},
};
use events::{Message, Payload, message::OrderedItem, outbox::Outbox};
use futures::TryStreamExt;
use jiff::Timestamp;
use mongodb::{
    ClientSession, Collection, Database, IndexModel,
    bson::{DateTime, Document, doc},
    error::Error,
    options::IndexOptions,
};
use platform::backends::mongo::{MongoError, Transactions, TransientError};
use sale::{
    OrderId, ProductId,
    order::{FailureReason, InventoryOutcome, ReservationState},
    stock::Stock,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashMap};

/// A reservation in the store.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reservation {
    /// The order it is for: an order holds units once.
    #[serde(rename = "_id")]
    pub order: OrderId,
    /// What it holds.
    pub items: Vec<OrderedItem>,
    /// Where it stands.
    pub state: ReservationState,
    /// When the hold runs out.
    pub expires_at: Option<DateTime>,
    /// What its order was told of the hold's end; from then on the units wait for the order's own status.
    #[serde(default)]
    pub told: Option<Told>,
    /// Why there was nothing to hold, for an order that asks again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<FailureReason>,
    /// Who asked for it.
    pub origin: Origin,
    /// When it was made.
    pub created_at: DateTime,
    /// When its order was asked the last time what became of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked_at: Option<DateTime>,
}

impl Reservation {
    /// The part that plans look at.
    pub(crate) fn facts(self) -> Facts {
        let expires_at = self
            .expires_at
            .and_then(|at| Timestamp::from_millisecond(at.timestamp_millis()).ok());
        Facts {
            items: self.items,
            state: self.state,
            told: self.told,
            expires_at,
            reason: self.reason,
            origin: self.origin,
        }
    }
}

/// Who asked for a reservation and therefore who settles it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// An accepted order; its status settles it.
    Order,
    /// A call of the API; further calls settle it.
    Direct,
}

impl Origin {
    /// The name in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Order => "order",
            Self::Direct => "direct",
        }
    }
}

/// What the order of a hold was told, once: whatever is asked for later comes too late.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Told {
    /// It is paid.
    Paid,
    /// Its hold has ended.
    Ended,
}

impl Told {
    /// The name in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Paid => "paid",
            Self::Ended => "ended",
        }
    }
}

/// The collections of inventory.
#[derive(Debug, Clone)]
pub struct Store {
    /// Transactions on them.
    pub transactions: Transactions,
    pub(crate) products: Collection<Product>,
    pub(crate) reservations: Collection<Reservation>,
    /// Keys of stock changes that were made, so that each is made once.
    pub(crate) stock_changes: Collection<Document>,
    pub(crate) outbox: Outbox,
}

impl Store {
    /// The collections in a sale's database.
    pub fn new(database: &Database, transactions: Transactions) -> Self {
        Self {
            transactions,
            products: database.collection("products"),
            reservations: database.collection("reservations"),
            stock_changes: database.collection("stock_changes"),
            outbox: Outbox::new(database),
        }
    }

    /// Creates the indexes; those that exist stay.
    ///
    /// # Errors
    /// The driver's.
    pub async fn create_indexes(self) -> Result<(), Error> {
        let unique = IndexOptions::builder().unique(true).build();
        self.products
            .create_index(
                IndexModel::builder()
                    .keys(doc! {"sku": 1})
                    .options(unique)
                    .build(),
            )
            .await?;
        let expiring = IndexModel::builder()
            .keys(doc! {"state": 1, "expiresAt": 1})
            .build();
        self.reservations.create_index(expiring).await?;
        Ok(())
    }

    /// Every product.
    ///
    /// # Errors
    /// The driver's.
    pub async fn all_products(&self) -> Result<Vec<Product>, Error> {
        self.products
            .find(doc! {})
            .sort(doc! {"_id": 1})
            .await?
            .try_collect()
            .await
    }

    /// A page of products in the order of their ids.
    ///
    /// # Errors
    /// The driver's.
    pub async fn page(&self, after: Option<String>, limit: i64) -> Result<Vec<Product>, Error> {
        let filter = after.map_or_else(Document::new, |id| doc! {"_id": {"$gt": id}});
        self.products
            .find(filter)
            .sort(doc! {"_id": 1})
            .limit(limit)
            .await?
            .try_collect()
            .await
    }

    /// One product.
    ///
    /// # Errors
    /// The driver's.
    pub async fn product(&self, id: &ProductId) -> Result<Option<Product>, Error> {
        self.products.find_one(doc! {"_id": id.as_str()}).await
    }

    /// What a batch of messages needs to know, read in its transaction.
    ///
    /// # Errors
    /// The driver's, or a broken stock account.
    pub async fn known(
        &self,
        session: &mut ClientSession,
        messages: &[Message],
    ) -> Result<Known, StoreError> {
        let orders: BTreeSet<&str> = messages.iter().map(|m| m.order_id.as_str()).collect();
        let reservations = self
            .reservations_of(session, orders.into_iter().collect())
            .await?;
        let mut products: BTreeSet<ProductId> = BTreeSet::new();
        for held in reservations.values() {
            products.extend(held.items.iter().map(|item| item.product_id.clone()));
        }
        for message in messages {
            if let Payload::OrderCreated(order) = &message.payload {
                products.extend(order.items.iter().map(|item| item.product_id.clone()));
            }
        }
        let stock = self.accounts(session, &products).await?;
        Ok(Known { reservations, stock })
    }

    async fn reservations_of(
        &self,
        session: &mut ClientSession,
        orders: Vec<&str>,
    ) -> Result<HashMap<OrderId, Facts>, Error> {
        let mut cursor = self
            .reservations
            .find(doc! {"_id": {"$in": orders}})
            .batch_size(2_000)
            .session(&mut *session)
            .await?;
        let found: Vec<Reservation> = cursor.stream(session).try_collect().await?;
        Ok(found.into_iter().map(|r| (r.order.clone(), r.facts())).collect())
    }

    /// The stock accounts of some products, read in a transaction.
    ///
    /// # Errors
    /// The driver's, or a broken stock account.
    pub async fn accounts(
        &self,
        session: &mut ClientSession,
        products: &BTreeSet<ProductId>,
    ) -> Result<std::collections::BTreeMap<ProductId, Stock>, StoreError> {
        if products.is_empty() {
            return Ok(Default::default());
        }
        let ids: Vec<&str> = products.iter().map(ProductId::as_str).collect();
        let mut cursor = self
            .products
            .find(doc! {"_id": {"$in": ids}})
            .session(&mut *session)
            .await?;
        let found: Vec<Product> = cursor.stream(session).try_collect().await?;
        let mut stock = std::collections::BTreeMap::new();
        for product in found {
            stock.insert(product.id.clone(), product.account()?);
        }
        Ok(stock)
    }

    /// Writes a plan in its transaction.
    ///
    /// # Errors
    /// The driver's.
    pub async fn write(
        &self,
        session: &mut ClientSession,
        plan: &Plan,
        origin: Origin,
        now: Timestamp,
    ) -> Result<(), Error> {
        if !plan.created.is_empty() {
            let new = plan
                .created
                .iter()
                .map(|reservation| stored(reservation, origin, now));
            self.reservations.insert_many(new).session(&mut *session).await?;
        }
        for target in [ReservationState::Confirmed, ReservationState::Released] {
            let orders: Vec<&str> = plan
                .moved
                .iter()
                .filter(|(_, state)| **state == target)
                .map(|(order, _)| order.as_str())
                .collect();
            if !orders.is_empty() {
                self.reservations
                    .update_many(
                        doc! {"_id": {"$in": orders}},
                        doc! {"$set": {"state": target.as_str(), "expiresAt": null}},
                    )
                    .session(&mut *session)
                    .await?;
            }
        }
        for (product, stock) in &plan.stock {
            self.set_account(session, product, stock).await?;
        }
        let answers: Vec<Message> = plan
            .answers
            .iter()
            .map(|answer| {
                let payload = Payload::InventoryResult(answer.outcome);
                Message::new(answer.order.clone(), now, answer.traceparent.clone(), payload)
            })
            .collect();
        self.outbox.append(session, &answers).await
    }

    /// Writes an account. The transaction's snapshot makes this safe: a change by anybody else since it was read is
    /// a write conflict.
    ///
    /// # Errors
    /// The driver's.
    pub async fn set_account(
        &self,
        session: &mut ClientSession,
        product: &ProductId,
        stock: &Stock,
    ) -> Result<(), Error> {
        let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        self.products
            .update_one(
                doc! {"_id": product.as_str()},
                doc! {"$set": {"stock": number(stock.total()), "reserved": number(stock.reserved()), "sold": number(stock.sold())}},
            )
            .session(session)
            .await
            .map(drop)
    }

    /// Tells the order of a hold how the hold ends. The caller has seen, in this transaction, that it was not told yet.
    ///
    /// # Errors
    /// The store's.
    pub(crate) async fn tell(
        &self,
        session: &mut ClientSession,
        order: &OrderId,
        told: Told,
        outcome: InventoryOutcome,
        now: Timestamp,
    ) -> Result<(), Error> {
        self.reservations
            .update_one(
                doc! {"_id": order.as_str()},
                doc! {"$set": {"told": told.as_str(), "expiresAt": null}},
            )
            .session(&mut *session)
            .await?;
        let message = Message::new(order.clone(), now, None, Payload::InventoryResult(outcome));
        self.outbox.append(session, &[message]).await
    }
}

fn stored(new: &NewReservation, origin: Origin, now: Timestamp) -> Reservation {
    let time = |at: Timestamp| DateTime::from_millis(at.as_millisecond());
    Reservation {
        order: new.order.clone(),
        items: new.items.clone(),
        state: new.state,
        expires_at: new.expires_at.map(time),
        told: None,
        reason: new.reason,
        origin,
        created_at: time(now),
        asked_at: None,
    }
}

/// Why the store could not answer.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database.
    #[error(transparent)]
    Mongo(#[from] MongoError),
    /// A product's numbers do not add up.
    #[error(transparent)]
    Broken(#[from] BrokenAccount),
}

impl From<Error> for StoreError {
    fn from(error: Error) -> Self {
        Self::Mongo(MongoError::Driver(error))
    }
}

impl TransientError for StoreError {
    fn is_transient(&self) -> bool {
        matches!(self, Self::Mongo(error) if error.is_transient())
    }
}
