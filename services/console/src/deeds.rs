//! What administrators do by the console, kept beside the accounts: a deed is written down before it is done, and how it ended
//! afterwards. So one whose console died in the middle stands there as begun.

use crate::{problems::busy, session::Administrator};
use futures::TryStreamExt;
use jiff::Timestamp;
use mongodb::{
    Collection, Database, IndexModel,
    bson::{DateTime, doc},
};
use platform::{
    audit::{self, Event, Outcome},
    backends::mongo::{self, MongoError},
    http::problem::Problem,
    metrics::Metric,
};
use sale::SaleId;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// What can be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// Refuse new orders.
    Halt,
    /// Take them again.
    Reopen,
    /// Change the stock of a product.
    ChangeStock,
    /// Send a dead letter to its topic once more.
    ReplayDeadLetter,
    /// Say that nobody will do anything about one.
    DiscardDeadLetter,
    /// Have the books audited.
    Audit,
}

impl What {
    /// All there are.
    const ALL: [Self; 6] = [
        Self::Halt,
        Self::Reopen,
        Self::ChangeStock,
        Self::ReplayDeadLetter,
        Self::DiscardDeadLetter,
        Self::Audit,
    ];

    /// Its name in the audit trail.
    fn action(self) -> &'static str {
        match self {
            Self::Halt => "console_halt",
            Self::Reopen => "console_reopen",
            Self::ChangeStock => "console_stock",
            Self::ReplayDeadLetter => "console_dead_letter_replay",
            Self::DiscardDeadLetter => "console_dead_letter_discard",
            Self::Audit => "console_audit",
        }
    }
}

/// What is counted here.
pub fn metric() -> Metric {
    audit::metric(
        What::ALL
            .map(What::action)
            .into_iter()
            .chain(["console_login", "console_logout"]),
    )
}

/// How a deed stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stands {
    /// It was begun, and nobody knows how it ended.
    Begun,
    /// It was done.
    Done,
    /// It was not.
    Refused,
    /// It may have been done.
    Unknown,
}

/// A deed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Deed {
    /// In the order of time.
    #[serde(rename = "_id")]
    pub id: String,
    /// `<namespace>.<name>` of the sale.
    pub sale: String,
    /// When.
    pub at: DateTime,
    /// Whose account did it.
    pub user_id: String,
    /// Its address then.
    pub who: String,
    /// What.
    pub what: What,
    /// To what, for people.
    pub detail: String,
    /// Why, in the words of whoever did it.
    pub reason: Option<String>,
    /// How it ended.
    pub outcome: Stands,
}

/// What is about to be done.
#[derive(Debug, Clone)]
pub struct Intent {
    /// To which sale.
    pub sale: SaleId,
    /// By whom.
    pub who: Administrator,
    /// From where.
    pub from: IpAddr,
    /// In which request.
    pub request_id: Option<String>,
    /// What.
    pub what: What,
    /// To what, for people.
    pub detail: String,
    /// Why.
    pub reason: Option<String>,
}

/// The deeds of all sales.
#[derive(Debug, Clone)]
pub struct Deeds(Collection<Deed>);

impl Deeds {
    /// In the database of accounts.
    pub fn new(accounts: &Database) -> Self {
        Self(accounts.collection("console_deeds"))
    }

    /// Creates the index; one that exists stays.
    ///
    /// # Errors
    /// The driver's.
    pub async fn create_index(self) -> Result<(), MongoError> {
        let by_sale = IndexModel::builder().keys(doc! {"sale": 1, "_id": -1}).build();
        Ok(self.0.create_index(by_sale).await.map(drop)?)
    }

    /// Writes down what is about to be done, does it, and writes down how that ended.
    ///
    /// # Errors
    /// Those of the work, or of the database where it cannot be written down: then nothing is done.
    pub async fn carry_out<T>(
        &self,
        intent: Intent,
        now: Timestamp,
        work: impl Future<Output = Result<T, Problem>>,
    ) -> Result<T, Problem> {
        let deed = Deed {
            id: uuid::Uuid::now_v7().to_string(),
            sale: intent.sale.to_string(),
            at: DateTime::from_millis(now.as_millisecond()),
            user_id: intent.who.id.as_str().to_owned(),
            who: intent.who.email.clone(),
            what: intent.what,
            detail: intent.detail.clone(),
            reason: intent.reason.clone(),
            outcome: Stands::Begun,
        };
        let (deeds, written) = (self.0.clone(), deed.clone());
        mongo::detached(async move {
            deeds.insert_one(&written).await?;
            Ok::<_, MongoError>(())
        })
        .await
        .map_err(|error| busy(&error))?;
        let done = work.await;
        let outcome = match &done {
            Ok(_) => Stands::Done,
            // Whoever says 4xx has done nothing.
            Err(problem) if problem.status < 500 => Stands::Refused,
            Err(_) => Stands::Unknown,
        };
        audit::record(Event {
            action: intent.what.action(),
            outcome: match outcome {
                Stands::Done => Outcome::Done,
                Stands::Refused => Outcome::Refused,
                Stands::Unknown | Stands::Begun => Outcome::Failed,
            },
            who: intent.who.id.as_str(),
            whose: &deed.sale,
            from: Some(intent.from),
            request_id: intent.request_id.as_deref(),
        });
        if let Err(error) = self.note(&deed.id, outcome).await {
            tracing::warn!(%error, deed = deed.id, "how a deed ended could not be written down");
        }
        done
    }

    async fn note(&self, id: &str, outcome: Stands) -> Result<(), MongoError> {
        let (deeds, id) = (self.0.clone(), id.to_owned());
        mongo::detached(async move {
            let outcome = mongodb::bson::serialize_to_bson(&outcome).map_err(mongodb::error::Error::from)?;
            let change = doc! {"$set": {"outcome": outcome}};
            deeds.update_one(doc! {"_id": id}, change).await?;
            Ok(())
        })
        .await
    }

    /// Those of a sale, the newest first.
    ///
    /// # Errors
    /// The driver's.
    pub async fn page(
        &self,
        sale: &SaleId,
        before: Option<String>,
        limit: i64,
    ) -> Result<Vec<Deed>, MongoError> {
        let (deeds, mut filter) = (self.0.clone(), doc! {"sale": sale.to_string()});
        if let Some(id) = before {
            filter.insert("_id", doc! {"$lt": id});
        }
        mongo::detached(async move {
            let page = deeds.find(filter).sort(doc! {"_id": -1}).limit(limit);
            Ok(page.await?.try_collect().await?)
        })
        .await
    }
}
