//! The evidence that a sale is settled: orders by status, messages waiting, records not handled.

use crate::store::Store;
use events::lag;
use futures::TryStreamExt;
use mongodb::{
    Database,
    bson::{Document, doc},
};
use platform::backends::{kafka::KafkaCredentials, mongo::MongoError};
use serde::{Deserialize, Serialize};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::Mutex;
use utoipa::ToSchema;

/// How long an answer is good for, so that many askers cost one look.
const FRESH: Duration = Duration::from_millis(500);

/// Numbers of a sale at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Numbers {
    /// Orders ever accepted.
    pub accepted: u64,
    /// Orders not decided yet.
    pub pending: u64,
    /// Orders confirmed.
    pub confirmed: u64,
    /// Orders failed.
    pub failed: u64,
    /// Orders cancelled.
    pub cancelled: u64,
    /// Orders whose hold ran out.
    pub expired: u64,
    /// Messages that Kafka has not acknowledged.
    pub outbox: u64,
    /// Records that a group has not handled.
    pub lag: u64,
}

/// Looks the numbers up, at most once in a while.
#[derive(Debug, Clone)]
pub struct Settlement {
    store: Store,
    database: Database,
    kafka: KafkaCredentials,
    prefix: String,
    last: Arc<Mutex<Option<(Instant, Numbers)>>>,
}

impl Settlement {
    /// Looks into a sale's database and topics.
    pub fn new(store: Store, database: Database, kafka: KafkaCredentials, prefix: String) -> Self {
        Self {
            store,
            database,
            kafka,
            prefix,
            last: Arc::default(),
        }
    }

    /// The numbers now.
    ///
    /// # Errors
    /// [`lag::LagError`]: a number that is not known is not zero.
    pub async fn numbers(&self) -> Result<Numbers, lag::LagError> {
        let mut last = self.last.lock().await;
        if let Some((at, numbers)) = *last
            && at.elapsed() < FRESH
        {
            return Ok(numbers);
        }
        let numbers = self.look().await?;
        *last = Some((Instant::now(), numbers));
        Ok(numbers)
    }

    async fn look(&self) -> Result<Numbers, lag::LagError> {
        // In this order: an order that is decided meanwhile moves from one to the next, and is seen at least once.
        let orders = self.orders().await.map_err(MongoError::from)?;
        let outbox = self.store.outbox.len().await.map_err(MongoError::from)?;
        let lag = lag::total(&self.database, &self.kafka, &self.prefix).await?;
        Ok(Numbers {
            outbox,
            lag,
            ..orders
        })
    }

    async fn orders(&self) -> mongodb::error::Result<Numbers> {
        let by_status = vec![doc! {"$group": {"_id": "$status", "orders": {"$sum": 1}}}];
        let rows: Vec<Document> = self
            .store
            .orders
            .aggregate(by_status)
            .await?
            .try_collect()
            .await?;
        let of = |status: &str| -> u64 {
            let row = rows
                .iter()
                .find(|row| row.get_str("_id").is_ok_and(|s| s == status));
            let count = row.and_then(|row| {
                row.get_i32("orders")
                    .map(i64::from)
                    .or_else(|_| row.get_i64("orders"))
                    .ok()
            });
            count.and_then(|n| u64::try_from(n).ok()).unwrap_or(0)
        };
        let (pending, confirmed, failed) = (of("PENDING"), of("CONFIRMED"), of("FAILED"));
        let (cancelled, expired) = (of("CANCELLED"), of("EXPIRED"));
        let accepted = pending + confirmed + failed + cancelled + expired;
        Ok(Numbers {
            accepted,
            pending,
            confirmed,
            failed,
            cancelled,
            expired,
            outbox: 0,
            lag: 0,
        })
    }
}
