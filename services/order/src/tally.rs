//! Counts of orders by their end, kept as they end. A look at them costs the same for a thousand orders and for a million.
//!
//! Each process has counts of its own, and each kind of work in it: two transactions that write the same document would wait for
//! each other. Accepted orders are counted where the fence is passed ([`crate::fence`]).

use futures::TryStreamExt;
use mongodb::{
    ClientSession, Collection, Database,
    bson::{Document, doc},
    error::Error,
};
use platform::backends::mongo::whole_number;
use sale::order::OrderStatus;

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

impl Tally {
    /// The counts in a sale's database, for a process whose name no other has or had.
    pub fn new(database: &Database, process: &str) -> Self {
        Self {
            tallies: database.collection("tallies"),
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
        let mut ends = Ends::default();
        for counted in all {
            for status in OrderStatus::ENDS {
                let orders = whole_number(&counted, status.as_str())?;
                ends.add(status, orders.unsigned_abs());
            }
        }
        Ok(ends)
    }
}
