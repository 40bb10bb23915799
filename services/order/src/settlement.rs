//! The evidence that a sale is settled: orders by status, messages waiting, records not handled.

use crate::{fence::Fence, store::Store};
use events::lag;
use futures::TryStreamExt;
use mongodb::{
    Database,
    bson::{Document, doc},
};
use platform::{
    backends::{
        kafka::KafkaCredentials,
        mongo::{self, MongoError},
    },
    control::Control,
};
use serde::{Deserialize, Serialize};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::Mutex;
use utoipa::ToSchema;

/// How long a look may take: one connection to Kafka for each partition.
const LOOK_DEADLINE: Duration = Duration::from_secs(10);

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

/// Looks the numbers up. Askers who wait for a look under way share the one after it.
#[derive(Debug, Clone)]
pub struct Settlement {
    store: Store,
    fence: Fence,
    control: Control,
    database: Database,
    kafka: KafkaCredentials,
    prefix: String,
    last: Arc<Mutex<Option<(Instant, Numbers)>>>,
}

impl Settlement {
    /// Looks into a sale's database and topics. Where the control document says that the sale is over, the fence is closed
    /// first: what is counted then is all that there will ever be.
    pub fn new(
        store: Store,
        fence: Fence,
        control: Control,
        database: Database,
        kafka: KafkaCredentials,
        prefix: String,
    ) -> Self {
        Self {
            store,
            fence,
            control,
            database,
            kafka,
            prefix,
            last: Arc::default(),
        }
    }

    /// The numbers, from a look that began after the question: who asks once the doors are closed must not get an
    /// answer from before.
    ///
    /// # Errors
    /// [`lag::LagError`]: a number that is not known is not zero.
    pub async fn numbers(&self) -> Result<Numbers, lag::LagError> {
        let (asked, this) = (Instant::now(), self.clone());
        // In a task of its own: an asker who hangs up must not cost the others their answer.
        let answer = tokio::spawn(async move { this.numbers_since(asked).await });
        match tokio::time::timeout(LOOK_DEADLINE, answer).await {
            Ok(Ok(numbers)) => numbers,
            Ok(Err(panicked)) => Err(MongoError::Panicked(panicked.to_string()).into()),
            Err(_) => Err(lag::LagError::Deadline(LOOK_DEADLINE)),
        }
    }

    async fn numbers_since(&self, asked: Instant) -> Result<Numbers, lag::LagError> {
        let mut last = self.last.lock().await;
        if let Some((began, numbers)) = *last
            && began >= asked
        {
            return Ok(numbers);
        }
        let began = Instant::now();
        let numbers = self.look().await?;
        *last = Some((began, numbers));
        Ok(numbers)
    }

    async fn look(&self) -> Result<Numbers, lag::LagError> {
        if self.control.current().closed {
            let fence = self.fence.clone();
            mongo::detached(async move { fence.close().await }).await?;
        }
        // In this order: an order that is decided meanwhile moves from one to the next, and is seen at least once.
        let this = self.clone();
        let orders: Numbers =
            mongo::detached(async move { this.orders().await.map_err(MongoError::from) }).await?;
        let waiting = self.store.outbox.clone();
        let outbox: u64 =
            mongo::detached(async move { waiting.len().await.map_err(MongoError::from) }).await?;
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
