//! The evidence that a sale is settled: orders by status, messages waiting, records not handled.

use crate::{fence::Fence, store::Store};
use events::{dead_letters::DeadLetters, lag, losses::Losses};
use futures::FutureExt;
use mongodb::{
    ClientSession, Database,
    bson::{Document, doc},
};
use platform::{
    backends::{
        kafka::KafkaCredentials,
        mongo::{self, MongoError},
    },
    control::Control,
};
use sale::order::ReservationState;
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
#[serde(rename_all = "camelCase")]
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
    /// Orders whose units are still held.
    pub held: u64,
    /// Messages that were given up on, and that nothing was done about.
    pub dead_letters: u64,
    /// Gaps in topics whose messages have not been said again yet.
    pub losses: u64,
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
        let document = self.control.current();
        if document.closed {
            let (fence, version) = (self.fence.clone(), document.version);
            mongo::detached(async move { fence.close(version).await }).await?;
        }
        // In this order: what was said by that moment is in a topic, where it is seen, or handled.
        let this = self.clone();
        let counted: Numbers = mongo::detached(async move {
            let look = this.clone();
            this.store
                .transactions
                .run(move |session| {
                    let this = look.clone();
                    async move { this.count(session).await }.boxed()
                })
                .await
        })
        .await?;
        let lag = lag::total(&self.database, &self.kafka, &self.prefix).await?;
        Ok(Numbers { lag, ..counted })
    }

    /// All that the database knows, from one moment.
    async fn count(&self, session: &mut ClientSession) -> Result<Numbers, MongoError> {
        let accepted = self.fence.passed(session).await?;
        let ends = self.store.tally.ends(session).await?;
        let held = doc! {"state": ReservationState::Held.as_str(), "origin": "order"};
        let reservations = self.database.collection::<Document>("reservations");
        let held = reservations.count_documents(held).session(&mut *session).await?;
        let letters = self.database.collection::<Document>("dead_letters");
        let dead_letters = letters
            .count_documents(DeadLetters::open())
            .session(&mut *session)
            .await?;
        let losses = self.database.collection::<Document>("losses");
        let losses = losses
            .count_documents(Losses::unmended())
            .session(&mut *session)
            .await?;
        let outbox = self.store.outbox.len(session).await?;
        Ok(Numbers {
            accepted,
            pending: accepted.saturating_sub(ends.sum()),
            confirmed: ends.confirmed,
            failed: ends.failed,
            cancelled: ends.cancelled,
            expired: ends.expired,
            held,
            dead_letters,
            losses,
            outbox,
            lag: 0,
        })
    }
}
