//! The fence that every acceptance passes. Once the sale's doors are closed in the database, no process accepts an order any more,
//! however late it wakes up and whatever document it goes by.
//!
//! Each process has a gate of its own, so that acceptances do not meet there. Who makes a gate and who closes the doors write the
//! same document, so of two at once one runs again.
//!
//! A sale that was deleted and made anew under its name, and that has what the one before it left, opens by a later control document
//! than the one that the doors were closed by: it passes. So does a sale that was closed and opened once more: its document is a
//! later one, and who goes by that opens its own gate again.

use futures::{FutureExt, TryStreamExt};
use mongodb::{
    ClientSession, Collection, Database,
    bson::{Document, doc},
    error::Error,
};
use platform::backends::mongo::{MongoError, Transactions, whole_number};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// Name of the collection.
const COLLECTION: &str = "fences";

/// The document that says whether the doors are closed.
const DOORS: &str = "doors";

/// How many orders have passed through all gates, for somebody who looks on.
///
/// # Errors
/// The driver's.
pub(crate) async fn accepted(database: &Database) -> Result<u64, Error> {
    let gates = database.collection::<Document>(COLLECTION);
    sum_of(&gates.find(with_orders()).await?.try_collect::<Vec<_>>().await?)
}

fn with_orders() -> Document {
    doc! {"accepted": {"$exists": true}}
}

fn sum_of(gates: &[Document]) -> Result<u64, Error> {
    let of = |gate: &Document| whole_number(gate, "accepted").map(i64::unsigned_abs);
    gates.iter().map(of).sum()
}

/// The fence of one sale, as one process passes it.
#[derive(Debug, Clone)]
pub struct Fence {
    transactions: Transactions,
    gates: Collection<Document>,
    process: String,
    /// The last document that this process has closed the doors by: for that one there is nothing more to do.
    closed_by: Arc<AtomicU64>,
}

impl Fence {
    /// The fence in a sale's database, for a process whose name no other has or had.
    pub fn new(database: &Database, transactions: Transactions, process: &str) -> Self {
        Self {
            transactions,
            gates: database.collection(COLLECTION),
            process: format!("gate/{process}"),
            closed_by: Arc::default(),
        }
    }

    /// Passes in the transaction of an acceptance, with a number of orders and by a control document of this version, or does not: then
    /// nothing may be accepted in it.
    ///
    /// # Errors
    /// The driver's.
    pub(crate) async fn pass(
        &self,
        session: &mut ClientSession,
        orders: usize,
        document: u64,
    ) -> Result<bool, Error> {
        let orders = i64::try_from(orders).unwrap_or(i64::MAX);
        let open = doc! {"_id": &self.process, "open": true};
        let passed = self
            .gates
            .update_one(open, doc! {"$inc": {"accepted": orders}})
            .session(&mut *session)
            .await?;
        if passed.matched_count == 1 {
            return Ok(true);
        }
        let own = self
            .gates
            .find_one(doc! {"_id": &self.process})
            .session(&mut *session)
            .await?;
        let doors = self
            .gates
            .find_one(doc! {"_id": DOORS})
            .session(&mut *session)
            .await?;
        let is_closed = match doors {
            None => false,
            Some(doors) => {
                let by = whole_number(&doors, "version")?;
                doors.get_bool("closed").unwrap_or(false) && number(document) <= by
            }
        };
        if is_closed {
            return Ok(false);
        }
        self.gates
            .update_one(doc! {"_id": DOORS}, doc! {"$inc": {"gates": 1_i64}})
            .upsert(true)
            .session(&mut *session)
            .await?;
        let gate = doc! {"_id": &self.process};
        if own.is_some() {
            let opened = doc! {"$set": {"open": true}, "$inc": {"accepted": orders}};
            self.gates.update_one(gate, opened).session(&mut *session).await?;
        } else {
            let gate = doc! {"_id": &self.process, "open": true, "accepted": orders};
            self.gates.insert_one(gate).session(&mut *session).await?;
        }
        Ok(true)
    }

    /// How many orders have passed through all gates.
    ///
    /// # Errors
    /// The driver's.
    pub(crate) async fn passed(&self, session: &mut ClientSession) -> Result<u64, Error> {
        let gates = self.gates.find(with_orders());
        let mut cursor = gates.session(&mut *session).await?;
        let all: Vec<Document> = cursor.stream(session).try_collect().await?;
        sum_of(&all)
    }

    /// Closes the doors for every process there is or will be that goes by this version of the control document or an earlier one.
    ///
    /// # Errors
    /// The database's.
    pub async fn close(&self, document: u64) -> Result<(), MongoError> {
        if self.closed_by.load(Ordering::Acquire) >= document {
            return Ok(());
        }
        self.transactions
            .run(|session| {
                let gates = self.gates.clone();
                async move {
                    gates
                        .update_one(
                            doc! {"_id": DOORS},
                            doc! {"$set": {"closed": true}, "$max": {"version": number(document)}},
                        )
                        .upsert(true)
                        .session(&mut *session)
                        .await?;
                    gates
                        .update_many(doc! {"open": true}, doc! {"$set": {"open": false}})
                        .session(&mut *session)
                        .await?;
                    Ok::<_, MongoError>(())
                }
                .boxed()
            })
            .await?;
        self.closed_by.fetch_max(document, Ordering::AcqRel);
        tracing::info!("the doors are closed: no process accepts an order any more");
        Ok(())
    }
}

/// A version as the database holds it.
fn number(version: u64) -> i64 {
    i64::try_from(version).unwrap_or(i64::MAX)
}
