//! Audits of everything, one at a time in a process, begun when somebody asks.

use super::{Audit, run};
use crate::{
    on_the_way::OnTheWay,
    store::{Store, StoreError},
};
use mongodb::{
    Collection, Database,
    bson::{self, DateTime, Document, doc},
};
use platform::{
    backends::mongo::{self, MongoError},
    clock::Clock,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// The document that holds the last audit.
const LAST: &str = "full";

/// One audit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// When it began.
    pub started_at: DateTime,
    /// When it ended; it is under way until then.
    pub finished_at: Option<DateTime>,
    /// What it has found.
    pub audit: Option<Audit>,
    /// Why it has found out nothing.
    pub failure: Option<String>,
}

/// Begins audits and keeps what they found.
#[derive(Debug, Clone)]
pub struct Audits {
    store: Store,
    audits: Collection<Document>,
    on_the_way: OnTheWay,
    asked: Arc<Notify>,
    clock: Clock,
}

impl Audits {
    /// Of a sale.
    pub fn new(store: Store, database: &Database, on_the_way: OnTheWay, clock: Clock) -> Self {
        Self {
            store,
            on_the_way,
            audits: database.collection("audits"),
            asked: Arc::default(),
            clock,
        }
    }

    /// Asks for one. While one is under way, another follows it.
    ///
    /// # Errors
    /// The store's: nobody would find the result.
    pub async fn ask(&self) -> Result<Record, MongoError> {
        let started_at = self.now();
        // What the one before has found stands until this one has found something.
        self.set(doc! {"startedAt": started_at, "finishedAt": null, "failure": null})
            .await?;
        self.asked.notify_one();
        Ok(Record {
            started_at,
            finished_at: None,
            audit: None,
            failure: None,
        })
    }

    /// The last one; `None` before the first.
    ///
    /// # Errors
    /// The store's.
    pub async fn last(&self) -> Result<Option<Record>, MongoError> {
        let audits = self.audits.clone_with_type::<Record>();
        mongo::detached(async move {
            audits
                .find_one(doc! {"_id": LAST})
                .await
                .map_err(MongoError::from)
        })
        .await
    }

    /// Works until the process ends.
    pub async fn run(self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.asked.notified() => {}
            }
            let audited = tokio::select! {
                () = stop.cancelled() => return,
                audited = self.audit_and_keep() => audited,
            };
            if let Err(error) = audited {
                tracing::warn!(%error, "what an audit has found could not be kept; ask for another one");
            }
        }
    }

    /// Audits everything now, and keeps what that has found where the operator looks.
    ///
    /// # Errors
    /// The store's: nobody would find the result.
    pub async fn audit_and_keep(&self) -> Result<Record, MongoError> {
        let started_at = self.now();
        let (audit, failure) = match self.audit().await {
            Ok(audit) => (Some(audit), None),
            Err(error) => (None, Some(error.to_string())),
        };
        let differences = audit.as_ref().map(|audit| audit.differences.len());
        tracing::info!(differences, failure, "the books were audited");
        let record = Record {
            started_at,
            finished_at: Some(self.now()),
            audit,
            failure,
        };
        self.keep(&record).await?;
        Ok(record)
    }

    /// In a task of its own: a call of the driver must not be dropped.
    async fn audit(&self) -> Result<Audit, StoreError> {
        let (store, on_the_way, now) = (self.store.clone(), self.on_the_way.clone(), self.clock.now());
        match tokio::spawn(async move { run(&store, &on_the_way, now).await }).await {
            Ok(found) => found,
            Err(panicked) => Err(MongoError::Panicked(panicked.to_string()).into()),
        }
    }

    /// One that has found out nothing leaves what the one before has found.
    async fn keep(&self, record: &Record) -> Result<(), MongoError> {
        let mut set = doc! {
            "startedAt": record.started_at,
            "finishedAt": record.finished_at,
            "failure": record.failure.clone(),
        };
        if let Some(audit) = &record.audit {
            let audit = bson::serialize_to_bson(audit).map_err(mongodb::error::Error::from)?;
            set.insert("audit", audit);
        }
        self.set(set).await
    }

    async fn set(&self, set: Document) -> Result<(), MongoError> {
        let audits = self.audits.clone();
        mongo::detached(async move {
            audits
                .update_one(doc! {"_id": LAST}, doc! {"$set": set})
                .upsert(true)
                .await?;
            Ok(())
        })
        .await
    }

    fn now(&self) -> DateTime {
        DateTime::from_millis(self.clock.now().as_millisecond())
    }
}
