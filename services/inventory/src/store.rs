//! Products and reservations in MongoDB.

use crate::{
    ledger::{self, Entry, Posting},
    plan::{Facts, Known, Move, NewReservation, Plan},
    product::{Account, BrokenAccount, Product},
    recent::Recent,
};
use events::{
    Message, Payload,
    lanes::{ApplyError, Repeats},
    message::OrderedItem,
    outbox::Outbox,
};
use futures::{FutureExt, TryStreamExt};
use jiff::Timestamp;
use mongodb::{
    ClientSession, Collection, Database, IndexModel,
    bson::{DateTime, Document, RawDocumentBuf, doc},
    error::Error,
    options::IndexOptions,
};
use platform::backends::mongo::{
    Change, MongoError, Read, TransactionError, Transactions, is_duplicate_key, update_each, whole_number,
};
use sale::{
    OrderId, ProductId,
    order::{FailureReason, InventoryOutcome, ReservationState},
    stock::Stock,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<DateTime>,
    /// What its order was told of the hold's end; from then on the units wait for the order's own status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
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

/// Name of the collection of products.
const PRODUCTS: &str = "products";

/// The collections of inventory.
#[derive(Debug, Clone)]
pub struct Store {
    /// Transactions on them.
    pub transactions: Transactions,
    database: Database,
    pub(crate) products: Collection<Product>,
    pub(crate) reservations: Collection<Reservation>,
    /// Keys of stock changes that were made, so that each is made once.
    pub(crate) stock_changes: Collection<Document>,
    /// Every movement of units.
    pub(crate) ledger: Collection<Entry>,
    /// The orders, which are only read here: by the audit, and by `markers`.
    pub(crate) orders: Collection<Document>,
    /// What is to be known of the gate although Redis has lost it.
    gate_notes: Collection<Document>,
    pub(crate) outbox: Outbox,
}

impl Store {
    /// The collections in a sale's database.
    pub fn new(database: &Database, transactions: Transactions) -> Self {
        Self {
            transactions,
            database: database.clone(),
            products: database.collection(PRODUCTS),
            reservations: database.collection("reservations"),
            stock_changes: database.collection("stock_changes"),
            ledger: database.collection(ledger::COLLECTION),
            orders: database.collection("orders"),
            gate_notes: database.collection("gate_notes"),
            outbox: Outbox::new(database),
        }
    }

    /// Makes the database ready: indexes, and a ledger for every product.
    ///
    /// # Errors
    /// The driver's, or a broken stock account.
    pub async fn prepare(self, now: Timestamp) -> Result<(), StoreError> {
        self.create_indexes().await?;
        self.carry_forward(now).await
    }

    /// Creates the indexes; those that exist stay.
    async fn create_indexes(&self) -> Result<(), Error> {
        let unique = IndexOptions::builder().unique(true).build();
        self.products
            .create_index(
                IndexModel::builder()
                    .keys(doc! {"sku": 1})
                    .options(unique)
                    .build(),
            )
            .await?;
        // Only holds are looked for by their end, and most reservations are none for long.
        let holds = doc! {"state": ReservationState::Held.as_str()};
        let expiring = IndexModel::builder()
            .keys(doc! {"expiresAt": 1})
            .options(IndexOptions::builder().partial_filter_expression(holds).build())
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

    /// Whether any order was ever accepted.
    ///
    /// # Errors
    /// The driver's.
    pub(crate) async fn has_an_order(&self) -> Result<bool, Error> {
        let found = self.orders.find_one(doc! {}).projection(doc! {"_id": 1}).await?;
        Ok(found.is_some())
    }

    /// Whether nothing was ever said of the gateways' markers, and no order made. From then on something was said.
    ///
    /// # Errors
    /// The driver's.
    pub(crate) async fn speaks_of_markers_for_the_first_time(&self) -> Result<bool, Error> {
        match self.gate_notes.insert_one(doc! {"_id": "markersSpokenOf"}).await {
            Ok(_) => Ok(!self.has_an_order().await?),
            Err(error) if is_duplicate_key(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// One product.
    ///
    /// # Errors
    /// The driver's.
    pub async fn product(&self, id: &ProductId) -> Result<Option<Product>, Error> {
        self.products.find_one(doc! {"_id": id.as_str()}).await
    }

    /// The SKU of a product, or its id where there is no such product.
    ///
    /// # Errors
    /// The driver's.
    pub(crate) async fn sku(&self, session: &mut ClientSession, id: &ProductId) -> Result<String, Error> {
        let found = self
            .products
            .find_one(doc! {"_id": id.as_str()})
            .session(session)
            .await?;
        Ok(found.map_or_else(
            || id.as_str().to_owned(),
            |product| product.sku.as_str().to_owned(),
        ))
    }

    /// What a batch of messages needs to know, read in its transaction. Where no repeats are expected, of an order that was just accepted
    /// there is no reservation, and what this process has held a moment ago is taken to be held.
    ///
    /// # Errors
    /// The driver's.
    pub(crate) async fn known(
        &self,
        session: &mut ClientSession,
        messages: &[Message],
        recent: &Recent,
        repeats: Repeats,
    ) -> Result<Known, Error> {
        let is_new = |message: &Message| {
            repeats == Repeats::Unlikely && matches!(message.payload, Payload::OrderCreated(_))
        };
        let asked = messages.iter().filter(|message| !is_new(message));
        // What an order is told that asks again is not remembered.
        let new: HashSet<&OrderId> = messages
            .iter()
            .filter(|message| is_new(message))
            .map(|message| &message.order_id)
            .collect();
        let follow = asked.clone().map(|message| &message.order_id);
        let held = match repeats {
            Repeats::Unlikely => recent.among(follow.filter(|order| !new.contains(order))),
            Repeats::Possible => HashMap::new(),
        };
        let orders: BTreeSet<&str> = asked
            .filter(|message| !held.contains_key(&message.order_id))
            .map(|message| message.order_id.as_str())
            .collect();
        let (mut reservations, unreadable) = self
            .reservations_of(session, orders.into_iter().collect())
            .await?;
        let remembered = held.keys().cloned().collect();
        reservations.extend(held);
        let mut products: BTreeSet<ProductId> = BTreeSet::new();
        for held in reservations.values() {
            products.extend(held.items.iter().map(|item| item.product_id.clone()));
        }
        for message in messages {
            if let Payload::OrderCreated(order) = &message.payload {
                products.extend(order.items.iter().map(|item| item.product_id.clone()));
            }
        }
        let found = self.products_in(session, &products).await?;
        let mut known = Known {
            reservations,
            remembered,
            unreadable,
            broken: found.unreadable_ids().map(ProductId::new).collect(),
            ..Known::default()
        };
        for account in found.readable {
            match account.stock() {
                Ok(stock) => {
                    known.last_entries.insert(account.id.clone(), account.ledger);
                    known.stock.insert(account.id, stock);
                }
                Err(_) => {
                    known.broken.insert(account.id);
                }
            }
        }
        Ok(known)
    }

    async fn reservations_of(
        &self,
        session: &mut ClientSession,
        orders: Vec<&str>,
    ) -> Result<(HashMap<OrderId, Facts>, HashSet<OrderId>), Error> {
        if orders.is_empty() {
            return Ok((HashMap::new(), HashSet::new()));
        }
        let mut cursor = self
            .reservations
            .clone_with_type::<RawDocumentBuf>()
            .find(doc! {"_id": {"$in": orders}})
            .batch_size(2_000)
            .session(&mut *session)
            .await?;
        let found: Vec<RawDocumentBuf> = cursor.stream(session).try_collect().await?;
        let found = Read::<Reservation>::each(found, "reservation");
        let unreadable = found.unreadable_ids().map(OrderId::new).collect();
        let known = found.readable.into_iter().map(|r| (r.order.clone(), r.facts()));
        Ok((known.collect(), unreadable))
    }

    /// The stock accounts of some products, read in a transaction.
    ///
    /// # Errors
    /// The driver's, or a broken stock account.
    pub async fn accounts(
        &self,
        session: &mut ClientSession,
        products: &BTreeSet<ProductId>,
    ) -> Result<BTreeMap<ProductId, Stock>, StoreError> {
        let mut stock = BTreeMap::new();
        let found = self.products_in(session, products).await?;
        if let Some(unreadable) = found.unreadable_ids().next() {
            return Err(BrokenAccount(ProductId::new(unreadable)).into());
        }
        for account in found.readable {
            stock.insert(account.id.clone(), account.stock()?);
        }
        Ok(stock)
    }

    async fn products_in(
        &self,
        session: &mut ClientSession,
        products: &BTreeSet<ProductId>,
    ) -> Result<Read<Account>, Error> {
        let ids: Vec<&str> = products.iter().map(ProductId::as_str).collect();
        let documents = self.products.clone_with_type::<RawDocumentBuf>();
        let found: Vec<RawDocumentBuf> = if ids.is_empty() {
            Vec::new()
        } else {
            let mut cursor = documents
                .find(doc! {"_id": {"$in": ids}})
                .projection(Account::projection())
                .batch_size(2_000)
                .session(&mut *session)
                .await?;
            cursor.stream(session).try_collect().await?
        };
        Ok(Read::each(found, "product"))
    }

    /// Writes a plan in its transaction.
    ///
    /// # Errors
    /// The driver's, or one of the reservations does not stand where the plan took it to be.
    pub async fn write(
        &self,
        session: &mut ClientSession,
        plan: &Plan,
        origin: Origin,
        now: Timestamp,
    ) -> Result<(), WriteError> {
        if !plan.created.is_empty() {
            let new = plan
                .created
                .iter()
                .map(|reservation| stored(reservation, origin, now));
            self.reservations.insert_many(new).session(&mut *session).await?;
        }
        self.write_moves(session, &plan.moved).await?;
        match &plan.last_entries {
            Some(last) => {
                self.post_behind(session, last, &plan.stock, &plan.postings, now)
                    .await?;
            }
            None => self.post(session, &plan.stock, &plan.postings, now).await?,
        }
        let answers: Vec<Message> = plan
            .answers
            .iter()
            .map(|answer| {
                let payload = Payload::InventoryResult(answer.outcome);
                Message::new(answer.order.clone(), now, answer.traceparent.clone(), payload)
                    .about(answer.about.clone())
            })
            .collect();
        Ok(self.outbox.append(session, &answers).await?)
    }

    /// Moves reservations, with one command for all that go the same way.
    async fn write_moves(
        &self,
        session: &mut ClientSession,
        moved: &BTreeMap<OrderId, Move>,
    ) -> Result<(), WriteError> {
        let mut ways: HashMap<(&str, &str), Vec<&str>> = HashMap::new();
        for (order, Move { from, to }) in moved {
            let way = ways.entry((from.as_str(), to.as_str())).or_default();
            way.push(order.as_str());
        }
        for ((from, to), orders) in ways {
            let (which, expected) = (doc! {"_id": {"$in": &orders}, "state": from}, orders.len() as u64);
            let change = doc! {"$set": {"state": to}, "$unset": {"expiresAt": ""}};
            let done = self.reservations.update_many(which, change);
            if done.session(&mut *session).await?.matched_count != expected {
                return Err(WriteError::NotAsPlanned);
            }
        }
        Ok(())
    }

    /// Writes accounts, and how they came about. The transaction's snapshot makes this safe: a change by anybody else since they
    /// were read is a write conflict.
    ///
    /// # Errors
    /// The driver's.
    pub async fn post(
        &self,
        session: &mut ClientSession,
        accounts: &BTreeMap<ProductId, Stock>,
        postings: &[Posting],
        now: Timestamp,
    ) -> Result<(), Error> {
        let last = self.last_entries(session, accounts).await?;
        self.post_behind(session, &last, accounts, postings, now).await
    }

    /// The same where the numbers of the products' last entries were read in this transaction.
    async fn post_behind(
        &self,
        session: &mut ClientSession,
        last: &HashMap<ProductId, i64>,
        accounts: &BTreeMap<ProductId, Stock>,
        postings: &[Posting],
        now: Timestamp,
    ) -> Result<(), Error> {
        let mut entries = ledger::entries(postings, DateTime::from_millis(now.as_millisecond()));
        let (mut changes, mut numbered) = (Vec::with_capacity(accounts.len()), Vec::new());
        for (product, stock) in accounts {
            let new = entries.remove(product).unwrap_or_default();
            changes.push(Change {
                which: doc! {"_id": product.as_str()},
                how: change_of(*stock, new.len()),
            });
            let last = last.get(product).copied().unwrap_or(0);
            numbered.extend(new.into_iter().map(|entry| entry.after(last)));
        }
        update_each(&self.database, PRODUCTS, session, changes).await?;
        if !numbered.is_empty() {
            self.ledger.insert_many(numbered).session(session).await?;
        }
        Ok(())
    }

    /// The numbers of the last entries of some products.
    async fn last_entries(
        &self,
        session: &mut ClientSession,
        accounts: &BTreeMap<ProductId, Stock>,
    ) -> Result<HashMap<ProductId, i64>, Error> {
        if accounts.is_empty() {
            return Ok(HashMap::new());
        }
        let ids: Vec<&str> = accounts.keys().map(ProductId::as_str).collect();
        let mut cursor = self
            .products
            .clone_with_type::<Document>()
            .find(doc! {"_id": {"$in": ids}})
            .projection(doc! {"ledger": 1})
            .batch_size(2_000)
            .session(&mut *session)
            .await?;
        let found: Vec<Document> = cursor.stream(session).try_collect().await?;
        let number = |product: Document| {
            let id = product.get_str("_id").unwrap_or_default();
            Ok((ProductId::new(id), whole_number(&product, "ledger")?))
        };
        found.into_iter().map(number).collect()
    }

    /// Adds a product of which nothing has been sold yet.
    ///
    /// # Errors
    /// The driver's, such as a duplicate key where there is one of its SKU.
    pub async fn add_product(&self, product: Product, now: Timestamp) -> Result<(), StoreError> {
        self.transactions
            .run(|session| {
                let (store, product) = (self.clone(), product.clone());
                async move {
                    store.products.insert_one(&product).session(&mut *session).await?;
                    let stocked = Posting::of_stock(&product.id, product.stock);
                    let accounts = BTreeMap::from([(product.id.clone(), product.account()?)]);
                    let postings: Vec<_> = stocked.into_iter().collect();
                    Ok(store.post(session, &accounts, &postings, now).await?)
                }
                .boxed()
            })
            .await
    }

    /// Begins the ledger of products that are older than it.
    ///
    /// # Errors
    /// The driver's, or a broken stock account.
    async fn carry_forward(&self, now: Timestamp) -> Result<(), StoreError> {
        let without = doc! {"ledger": {"$exists": false}};
        let older: Vec<Product> = self.products.find(without).await?.try_collect().await?;
        for product in older {
            self.transactions
                .run(|session| {
                    let (store, id) = (self.clone(), product.id.clone());
                    async move { store.carry_one_forward(session, id, now).await }.boxed()
                })
                .await?;
        }
        Ok(())
    }

    async fn carry_one_forward(
        &self,
        session: &mut ClientSession,
        id: ProductId,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let without = doc! {"_id": id.as_str(), "ledger": {"$exists": false}};
        let found = self.products.find_one(without).session(&mut *session).await?;
        let Some(product) = found else {
            return Ok(());
        };
        let account = product.account()?;
        let postings = ledger::carried_forward(&id, &account);
        let begin = doc! {"$set": {"ledger": 0_i64}};
        self.products
            .update_one(doc! {"_id": id.as_str()}, begin)
            .session(&mut *session)
            .await?;
        let accounts = BTreeMap::from([(id, account)]);
        Ok(self.post(session, &accounts, &postings, now).await?)
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
                doc! {"$set": {"told": told.as_str()}, "$unset": {"expiresAt": ""}},
            )
            .session(&mut *session)
            .await?;
        let message = Message::new(order.clone(), now, None, Payload::InventoryResult(outcome));
        self.outbox.append(session, &[message]).await
    }
}

/// What an account comes to, and how many entries of the ledger say how.
fn change_of(stock: Stock, entries: usize) -> Document {
    let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    doc! {
        "$set": {
            "stock": number(stock.total()),
            "reserved": number(stock.reserved()),
            "sold": number(stock.sold()),
        },
        "$inc": {"ledger": number(entries as u64)},
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

/// Why a plan could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The driver's.
    #[error(transparent)]
    Driver(#[from] Error),
    /// The plan went by what is not so any more.
    #[error("a reservation does not stand where it was taken to be")]
    NotAsPlanned,
}

impl From<WriteError> for ApplyError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Driver(error) => error.into(),
            WriteError::NotAsPlanned => Self::NotAsExpected,
        }
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

impl StoreError {
    /// Whether the database has answered, and does not take what is written, or what is there does not allow it: others may go.
    pub(crate) fn lies_in_documents(&self) -> bool {
        match self {
            Self::Mongo(error) => error.was_refused(),
            Self::Broken(_) => true,
        }
    }

    /// Whether there is a document of this key already.
    pub fn is_duplicate_key(&self) -> bool {
        matches!(self, Self::Mongo(error) if error.is_duplicate_key())
    }
}

impl From<Error> for StoreError {
    fn from(error: Error) -> Self {
        Self::Mongo(MongoError::Driver(error))
    }
}

impl TransactionError for StoreError {
    fn of_database(&self) -> Option<&MongoError> {
        match self {
            Self::Mongo(error) => Some(error),
            Self::Broken(_) => None,
        }
    }
}
