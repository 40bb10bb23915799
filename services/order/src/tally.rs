//! Counts of orders by their end, kept as they end. A look at them costs the same for a thousand orders and for a million.
//!
//! Each process has counts of its own, and each kind of work in it: two transactions that write the same document would wait for
//! each other. Accepted orders are counted where the fence is passed ([`crate::fence`]).

use crate::fence;
use futures::TryStreamExt;
use mongodb::{
    ClientSession, Collection, Database,
    bson::{Document, doc},
    error::Error,
};
use platform::backends::mongo::whole_number;
use sale::order::OrderStatus;
use serde::Serialize;

/// Name of the collection.
const COLLECTION: &str = "tallies";

/// Documents for batches of decisions.
const AT_ONCE: usize = 4;

/// What ends orders.
#[derive(Debug, Clone, Copy)]
pub(crate) enum By {
    /// A lane's batch.
    Lane,
    /// Decisions: payments, cancellations.
    Decision {
        /// Which batch of them: one that has no end must not keep the next one from counting.
        turn: usize,
    },
    /// Holds that have run out.
    Expiry,
}

/// The counts of one sale, as one process writes them.
#[derive(Debug, Clone)]
pub struct Tally {
    tallies: Collection<Document>,
    process: String,
}

/// Orders that have come to each end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Ends {
    pub(crate) confirmed: u64,
    pub(crate) failed: u64,
    pub(crate) cancelled: u64,
    pub(crate) expired: u64,
}

impl Ends {
    /// All of them.
    pub(crate) fn sum(self) -> u64 {
        self.confirmed + self.failed + self.cancelled + self.expired
    }

    /// Those of all documents together.
    fn sum_of(tallies: &[Document]) -> Result<Self, Error> {
        let mut ends = Self::default();
        for counted in tallies {
            for status in OrderStatus::ENDS {
                ends.add(status, whole_number(counted, status.as_str())?.unsigned_abs());
            }
        }
        Ok(ends)
    }

    fn add(&mut self, status: OrderStatus, orders: u64) {
        match status {
            OrderStatus::Pending => {}
            OrderStatus::Confirmed => self.confirmed += orders,
            OrderStatus::Failed => self.failed += orders,
            OrderStatus::Cancelled => self.cancelled += orders,
            OrderStatus::Expired => self.expired += orders,
        }
    }
}

/// Orders of a sale by what has become of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Ever accepted.
    pub accepted: u64,
    /// Not decided yet.
    pub pending: u64,
    /// Confirmed.
    pub confirmed: u64,
    /// Failed.
    pub failed: u64,
    /// Cancelled.
    pub cancelled: u64,
    /// Those whose hold ran out.
    pub expired: u64,
}

/// Counts the orders in a sale's database for somebody who looks on: while orders come in, what is pending may be some too many.
///
/// # Errors
/// The driver's.
pub async fn counts(database: &Database) -> Result<Counts, Error> {
    let tallies = database.collection::<Document>(COLLECTION);
    let ends = Ends::sum_of(&tallies.find(doc! {}).await?.try_collect::<Vec<_>>().await?)?;
    // After the ends, so that no order has ended that was not accepted.
    let accepted = fence::accepted(database).await?;
    Ok(Counts {
        accepted,
        pending: accepted.saturating_sub(ends.sum()),
        confirmed: ends.confirmed,
        failed: ends.failed,
        cancelled: ends.cancelled,
        expired: ends.expired,
    })
}

impl Tally {
    /// The counts in a sale's database, for a process whose name no other has or had.
    pub fn new(database: &Database, process: &str) -> Self {
        Self {
            tallies: database.collection(COLLECTION),
            process: process.to_owned(),
        }
    }

    /// Counts orders that end in the caller's transaction. Each order ends once.
    ///
    /// # Errors
    /// The driver's.
    pub(crate) async fn count(
        &self,
        session: &mut ClientSession,
        by: By,
        ends: impl IntoIterator<Item = OrderStatus>,
    ) -> Result<(), Error> {
        let mut counted = Document::new();
        for status in ends.into_iter().filter(|status| status.is_terminal()) {
            let before = counted.get_i64(status.as_str()).unwrap_or(0);
            counted.insert(status.as_str(), before + 1);
        }
        if counted.is_empty() {
            return Ok(());
        }
        self.tallies
            .update_one(doc! {"_id": self.place(by)}, doc! {"$inc": counted})
            .upsert(true)
            .session(session)
            .await
            .map(drop)
    }

    fn place(&self, by: By) -> String {
        match by {
            By::Lane => format!("{}/lanes", self.process),
            By::Expiry => format!("{}/expiry", self.process),
            By::Decision { turn } => format!("{}/decisions/{}", self.process, turn % AT_ONCE),
        }
    }

    /// The sums over all processes.
    ///
    /// # Errors
    /// The driver's.
    pub(crate) async fn ends(&self, session: &mut ClientSession) -> Result<Ends, Error> {
        let mut cursor = self.tallies.find(doc! {}).session(&mut *session).await?;
        let all: Vec<Document> = cursor.stream(session).try_collect().await?;
        Ends::sum_of(&all)
    }
}
