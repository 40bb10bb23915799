//! The account of a sale that is over: every order by what became of it, counted once, from one consistent view of the database.
//!
//! A sale has up to millions of orders, and whoever asks does not wait so long: the count goes on by itself, and asking again finds it.

use crate::store::Store;
use futures::FutureExt;
use jiff::Timestamp;
use mongodb::{
    ClientSession,
    bson::{RawBsonRef, RawDocument, doc},
};
use platform::{backends::mongo::MongoError, clock::Clock, control::Control};
use sale::{
    account::{Account, Count},
    order::OrderStatus,
};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::sync::{Mutex, OwnedMutexGuard};

/// How long whoever asks waits for a count: most sales are counted by then.
const PATIENCE: Duration = Duration::from_millis(500);
/// How long a count may take: as long as MongoDB lets a transaction last.
const LONGEST: Duration = Duration::from_secs(60);
/// Orders that are read at once.
const AT_ONCE: u32 = 5_000;

/// Counts, once for each time that the doors have closed.
#[derive(Debug, Clone)]
pub struct Accounts {
    store: Store,
    control: Control,
    clock: Clock,
    last: Arc<Mutex<Option<(u64, Account)>>>,
}

impl Accounts {
    /// Of a sale.
    pub fn new(store: Store, control: Control, clock: Clock) -> Self {
        Self {
            store,
            control,
            clock,
            last: Arc::default(),
        }
    }

    /// The account of a sale that is over, or how far it is. It begins with the first asking.
    ///
    /// # Errors
    /// [`MongoError`] where the last count has failed; the next asking begins another.
    pub async fn ask(&self) -> Result<Count, MongoError> {
        let document = self.control.current();
        if !document.closed {
            return Ok(Count::Open);
        }
        let Ok(last) = Arc::clone(&self.last).try_lock_owned() else {
            return Ok(Count::Counting);
        };
        if let Some((version, account)) = last.as_ref()
            && *version == document.version
        {
            let account = Box::new(account.clone());
            return Ok(Count::Counted { account });
        }
        let counting = tokio::spawn(self.clone().count_and_keep(document.version, last));
        match tokio::time::timeout(PATIENCE, counting).await {
            Err(_) => Ok(Count::Counting),
            Ok(Err(panicked)) => Err(MongoError::Panicked(panicked.to_string())),
            Ok(Ok(counted)) => counted.map(|account| Count::Counted {
                account: Box::new(account),
            }),
        }
    }

    async fn count_and_keep(
        self,
        version: u64,
        mut last: OwnedMutexGuard<Option<(u64, Account)>>,
    ) -> Result<Account, MongoError> {
        let (store, began) = (self.store.clone(), self.clock.now());
        // In a task of its own: a driver call that is dropped midway can leave the driver's state corrupt.
        let counting = tokio::spawn(async move {
            let transactions = store.transactions.clone();
            transactions
                .run(|session| {
                    let store = store.clone();
                    async move { count(&store, session).await }.boxed()
                })
                .await
        });
        let counted = match tokio::time::timeout(LONGEST, counting).await {
            Ok(Ok(counted)) => counted,
            Ok(Err(panicked)) => Err(MongoError::Panicked(panicked.to_string())),
            Err(_) => Err(MongoError::Deadline(LONGEST)),
        };
        let account = counted.inspect_err(|error: &MongoError| {
            tracing::warn!(%error, "the orders could not be counted");
        })?;
        let account = Account {
            counted_at: began,
            ..account
        };
        *last = Some((version, account.clone()));
        Ok(account)
    }
}

async fn count(store: &Store, session: &mut ClientSession) -> Result<Account, MongoError> {
    let parts = doc! {"status": 1, "reason": 1, "createdAt": 1, "totalAmount": 1};
    let orders = store.documents();
    let found = orders.find(doc! {}).projection(parts).batch_size(AT_ONCE);
    let mut cursor = found.session(&mut *session).await?;
    let mut counting = Counting::default();
    while cursor.advance(session).await? {
        counting.add(cursor.current());
    }
    Ok(counting.account())
}

/// What is kept while orders go by: one number for each second of the sale, and none for each order.
#[derive(Debug, Default)]
struct Counting {
    account: Account,
    by_second: BTreeMap<i64, u64>,
    orders: Span,
    sales: Span,
}

/// From the first to the last of something, in milliseconds since 1970.
#[derive(Debug, Default, Clone, Copy)]
struct Span(Option<(i64, i64)>);

impl Span {
    fn add(&mut self, at: i64) {
        let (first, last) = self.0.unwrap_or((at, at));
        self.0 = Some((first.min(at), last.max(at)));
    }

    fn ends(self) -> [Option<Timestamp>; 2] {
        let time = |millis| Timestamp::from_millisecond(millis).ok();
        match self.0 {
            Some((first, last)) => [time(first), time(last)],
            None => [None, None],
        }
    }
}

impl Counting {
    fn add(&mut self, order: &RawDocument) {
        let (Ok(status), Ok(created)) = (order.get_str("status"), order.get_datetime("createdAt")) else {
            self.account.unreadable += 1;
            return;
        };
        let created = created.timestamp_millis();
        self.account.accepted += 1;
        *self.account.by_status.entry(status.to_owned()).or_default() += 1;
        *self.by_second.entry(created.div_euclid(1_000)).or_default() += 1;
        self.orders.add(created);
        if status == OrderStatus::Confirmed.as_str() {
            self.sales.add(created);
            let total = match order.get("totalAmount") {
                Ok(Some(RawBsonRef::Int64(total))) => total,
                Ok(Some(RawBsonRef::Int32(total))) => total.into(),
                _ => 0,
            };
            self.account.sold_for_minor = self.account.sold_for_minor.saturating_add(total);
        }
        if status == OrderStatus::Failed.as_str() {
            let reason = order.get_str("reason").unwrap_or("unknown").to_owned();
            *self.account.failed_by_reason.entry(reason).or_default() += 1;
        }
    }

    fn account(self) -> Account {
        let [first_order_at, last_order_at] = self.orders.ends();
        let [first_sale_at, last_sale_at] = self.sales.ends();
        // The first of several that are equal.
        let busiest = self.by_second.iter().rev().max_by_key(|(_, orders)| **orders);
        Account {
            first_order_at,
            last_order_at,
            first_sale_at,
            last_sale_at,
            busiest_second: busiest.and_then(|(second, _)| Timestamp::from_second(*second).ok()),
            most_orders_in_a_second: busiest.map_or(0, |(_, orders)| *orders),
            ..self.account
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mongodb::bson::{Bson, DateTime, RawDocumentBuf};

    fn order(status: &str, millis: i64, total: impl Into<Bson>) -> RawDocumentBuf {
        let reason = (status == "FAILED").then_some("sold_out");
        let order = doc! {"status": status, "createdAt": DateTime::from_millis(millis), "totalAmount": total.into(), "reason": reason};
        RawDocumentBuf::try_from(&order).unwrap()
    }

    #[test]
    fn orders_are_counted_by_what_became_of_them() {
        let mut counting = Counting::default();
        for order in [
            order("FAILED", 500, 10_i64),
            order("CONFIRMED", 1_999, 20_i64),
            order("CONFIRMED", 1_000, 7_i32),
            order("EXPIRED", 9_000, 5_i64),
        ] {
            counting.add(&order);
        }
        counting.add(&RawDocumentBuf::try_from(&doc! {"status": 1}).unwrap());
        let account = counting.account();
        let at = |millis| Timestamp::from_millisecond(millis).ok();
        let of = |pairs: &[(&str, u64)]| pairs.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect();
        let expected = Account {
            counted_at: Timestamp::default(),
            accepted: 4,
            by_status: of(&[("CONFIRMED", 2), ("EXPIRED", 1), ("FAILED", 1)]),
            failed_by_reason: of(&[("sold_out", 1)]),
            sold_for_minor: 27,
            first_order_at: at(500),
            last_order_at: at(9_000),
            first_sale_at: at(1_000),
            last_sale_at: at(1_999),
            busiest_second: at(1_000),
            most_orders_in_a_second: 2,
            unreadable: 1,
        };
        assert_eq!(account, expected);
        assert_eq!(Counting::default().account(), Account::default());
    }
}
