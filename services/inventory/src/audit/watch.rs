//! Follows the ledger as it grows. What was added up is kept by product, so a look costs what has come since the last one.

use super::{Audit, MOST_NAMED};
use crate::{
    ledger::{Entry, id_of},
    product::Product,
    store::{Store, StoreError},
};
use events::lanes::{LaneStore, LeaseTerms};
use futures::{FutureExt, TryStreamExt};
use jiff::Timestamp;
use mongodb::{
    ClientSession, Collection, Database,
    bson::{self, DateTime, Document, doc},
};
use platform::{
    backends::mongo::{self, MongoError},
    clock::Clock,
    metrics::{Metric, must},
    rounds::Rounds,
};
use prometheus::{IntGauge, IntGaugeVec, register_int_gauge, register_int_gauge_vec};
use sale::{ProductId, books::Difference, ledger::Sums};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, HashMap},
    sync::LazyLock,
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

/// How often it is looked.
const EVERY: Duration = Duration::from_secs(5);
/// Entries added up at once.
const PAGE: i64 = 1_000;
/// Entries of one product that may have come since the last page.
const MOST_NEW: u64 = 10_000;
/// One replica does it at a time: twice would be harmless, and twice the work. Not under the name of a group, whose workers renew all
/// that they have there: a process whose looks fail is to lose it.
const LEASE: &str = "audit/ledger/0";
/// The document that holds the last result.
const RESULT: &str = "watch";

static DIFFERENCES: LazyLock<IntGauge> = LazyLock::new(|| {
    must(register_int_gauge!(
        "quicksale_audit_differences",
        "Differences between books that the last look of this process has found."
    ))
});

static UNITS: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    must(register_int_gauge_vec!(
        "quicksale_units",
        "Units of a product, by what has become of them: available, reserved, sold. Shown by the one process that follows the ledger.",
        &["sku", "state"]
    ))
});

/// What is counted here.
pub(crate) fn metrics() -> Vec<Metric> {
    vec![&*DIFFERENCES, &*UNITS]
}

/// What has been added up of one product.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Added {
    /// Number of the last entry in it.
    number: i64,
    sums: Sums,
}

/// The result of a look.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Looked {
    /// When.
    pub at: DateTime,
    /// What does not fit.
    pub differences: Vec<Difference>,
}

/// Compares the ledger with the stock accounts, for as long as the process lasts.
#[derive(Debug, Clone)]
pub struct Watch {
    store: Store,
    audits: Collection<Document>,
    leases: LaneStore,
    owner: String,
    clock: Clock,
}

impl Watch {
    /// For the products of a sale, by a process of this name.
    pub fn new(store: Store, database: &Database, owner: &str, clock: Clock) -> Self {
        Self {
            store,
            audits: database.collection("audits"),
            leases: LaneStore::new(database),
            owner: owner.to_owned(),
            clock,
        }
    }

    /// Works until the process ends.
    pub async fn run(self, stop: CancellationToken) {
        let mut rounds = Rounds::every(EVERY, &stop);
        while rounds.another().await {
            if let Err(error) = self.look().await {
                tracing::warn!(%error, "cannot look at the books; trying again");
            }
        }
    }

    /// What the last look of any process has found; `None` before the first.
    ///
    /// # Errors
    /// The store's.
    pub async fn last(&self) -> Result<Option<Looked>, MongoError> {
        let audits = self.audits.clone_with_type::<Looked>();
        mongo::detached(async move {
            let result = doc! {"_id": RESULT};
            audits.find_one(result).await.map_err(MongoError::from)
        })
        .await
    }

    async fn look(&self) -> Result<(), StoreError> {
        let leads = self.leads().await;
        if !matches!(leads, Ok(true)) {
            // Another process does, or may.
            UNITS.reset();
            return leads.map(drop).map_err(StoreError::from);
        }
        let store = self.store.clone();
        let products: Vec<Product> =
            mongo::detached(async move { store.all_products().await.map_err(StoreError::from) }).await?;
        show(&products);
        let before = self.added().await?;
        for product in &products {
            let mut added = before.get(&product.id).cloned().unwrap_or_default();
            // All but the last page may be read at any time: entries never change, and there is none before them that could come.
            while product.ledger - added.number > PAGE {
                let (read, page) = (added.number, self.page(&product.id, added.number).await?);
                add(&mut added, &page);
                self.keep(&product.id, &added).await?;
                if added.number == read {
                    break;
                }
            }
        }
        let this = self.clone();
        let found = mongo::detached(async move {
            let clone = this.clone();
            this.store
                .transactions
                .run(move |session| {
                    let this = clone.clone();
                    async move { this.compare(session).await }.boxed()
                })
                .await
        })
        .await?;
        self.say(found, self.clock.now()).await
    }

    async fn leads(&self) -> Result<bool, MongoError> {
        let (leases, owner, now) = (self.leases.clone(), self.owner.clone(), Instant::now());
        mongo::detached(async move {
            // Longer than the time between two looks.
            let terms = LeaseTerms {
                duration: EVERY * 3,
                renew_every: EVERY,
            };
            leases
                .hold(LEASE, &owner, terms, now)
                .await
                .map_err(MongoError::from)
        })
        .await
    }

    /// What was added up so far.
    async fn added(&self) -> Result<HashMap<ProductId, Added>, MongoError> {
        let audits = self.audits.clone();
        let all: Vec<Document> = mongo::detached(async move {
            let of_products = doc! {"product": {"$exists": true}};
            Ok::<_, MongoError>(audits.find(of_products).await?.try_collect().await?)
        })
        .await?;
        Ok(all.into_iter().filter_map(kept).collect())
    }

    async fn page(&self, product: &ProductId, after: i64) -> Result<Vec<Entry>, MongoError> {
        let (ledger, behind) = (self.store.ledger.clone(), behind(product, after));
        mongo::detached(async move {
            let page = ledger
                .find(behind)
                .sort(doc! {"_id": 1})
                .projection(without_lines())
                .limit(PAGE);
            Ok::<_, MongoError>(page.await?.try_collect().await?)
        })
        .await
    }

    async fn keep(&self, product: &ProductId, added: &Added) -> Result<(), MongoError> {
        let (audits, id) = (self.audits.clone(), format!("product/{product}"));
        let set = document(product, added)?;
        mongo::detached(async move {
            audits
                .update_one(doc! {"_id": id}, doc! {"$set": set})
                .upsert(true)
                .await?;
            Ok(())
        })
        .await
    }

    /// All accounts and the rest of their entries, from one moment.
    async fn compare(&self, session: &mut ClientSession) -> Result<Audit, StoreError> {
        let mut cursor = self.store.products.find(doc! {}).session(&mut *session).await?;
        let products: Vec<Product> = cursor.stream(&mut *session).try_collect().await?;
        let of_products = doc! {"product": {"$exists": true}};
        let mut cursor = self.audits.find(of_products).session(&mut *session).await?;
        let before: Vec<Document> = cursor.stream(&mut *session).try_collect().await?;
        let mut before: BTreeMap<ProductId, Added> = before.into_iter().filter_map(kept).collect();
        let mut audit = Audit::default();
        for product in products {
            let mut added = before.remove(&product.id).unwrap_or_default();
            let known = added.clone();
            if product.ledger != added.number {
                let rest = behind(&product.id, added.number);
                let rest = self
                    .store
                    .ledger
                    .find(rest)
                    .sort(doc! {"_id": 1})
                    .projection(without_lines())
                    .limit(MOST_NEW.cast_signed());
                let mut cursor = rest.session(&mut *session).await?;
                let rest: Vec<Entry> = cursor.stream(&mut *session).try_collect().await?;
                add(&mut added, &rest);
                // More has come since the last page was added up: the next look goes on there.
                if rest.len() as u64 == MOST_NEW {
                    continue;
                }
            }
            let account = Sums {
                stock: product.stock,
                reserved: product.reserved,
                sold: product.sold,
            };
            if added.number != product.ledger {
                audit.name(Difference::Entries {
                    product: product.id.clone(),
                    found: added.number,
                    last: product.ledger,
                });
            } else if added.sums != account {
                audit.name(Difference::Ledger {
                    product: product.id.clone(),
                    ledger: added.sums,
                    account,
                });
            } else if added != known {
                let set = document(&product.id, &added)?;
                self.audits
                    .update_one(
                        doc! {"_id": format!("product/{}", product.id)},
                        doc! {"$set": set},
                    )
                    .upsert(true)
                    .session(&mut *session)
                    .await?;
            }
        }
        Ok(audit)
    }

    /// Keeps the result where every process finds it.
    async fn say(&self, found: Audit, now: Timestamp) -> Result<(), StoreError> {
        DIFFERENCES.set(i64::try_from(found.differences.len()).unwrap_or(i64::MAX));
        for difference in &found.differences {
            tracing::error!(%difference, "the books differ");
        }
        let looked = Looked {
            at: DateTime::from_millis(now.as_millisecond()),
            differences: found.differences.into_iter().take(MOST_NAMED).collect(),
        };
        let set = bson::serialize_to_document(&looked).map_err(mongodb::error::Error::from)?;
        let audits = self.audits.clone();
        mongo::detached(async move {
            audits
                .update_one(doc! {"_id": RESULT}, doc! {"$set": set})
                .upsert(true)
                .await?;
            Ok(())
        })
        .await
    }
}

/// Shows how many units of each product there are.
fn show(products: &[Product]) {
    for product in products {
        let available = product.stock - product.reserved - product.sold;
        for (state, units) in [
            ("available", available),
            ("reserved", product.reserved),
            ("sold", product.sold),
        ] {
            UNITS.with_label_values(&[product.sku.as_str(), state]).set(units);
        }
    }
}

/// Adds entries up for as long as no number is left out.
fn add(added: &mut Added, entries: &[Entry]) {
    for entry in entries {
        if entry.number != added.number + 1 {
            return;
        }
        added.number = entry.number;
        added.sums.add(entry.cause, entry.units);
    }
}

/// What is added up: sums need no orders.
fn without_lines() -> Document {
    doc! {"lines": 0}
}

/// The entries of a product behind one of them.
fn behind(product: &ProductId, number: i64) -> Document {
    doc! {"_id": {"$gt": id_of(product, number), "$lte": id_of(product, i64::MAX)}}
}

fn document(product: &ProductId, added: &Added) -> Result<Document, mongodb::error::Error> {
    let mut set = bson::serialize_to_document(added)?;
    set.insert("product", product.as_str());
    Ok(set)
}

fn kept(document: Document) -> Option<(ProductId, Added)> {
    let product = ProductId::new(document.get_str("product").ok()?);
    Some((product, bson::deserialize_from_document(document).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Posting, entries};
    use sale::ledger::Cause;

    #[test]
    fn adding_up_stops_at_a_number_that_is_missing() {
        let posting = |cause, units| Posting {
            product: ProductId::new("p"),
            cause,
            order: None,
            units,
        };
        let postings = [
            posting(Cause::Stocked, 10),
            posting(Cause::Reserved, 3),
            posting(Cause::Sold, 2),
        ];
        let all = entries(&postings, DateTime::from_millis(0));
        let mut all: Vec<Entry> = all.into_values().flatten().map(|entry| entry.after(0)).collect();
        let mut added = Added::default();
        add(&mut added, &all);
        let sums = Sums {
            stock: 10,
            reserved: 1,
            sold: 2,
        };
        assert_eq!(added, Added { number: 3, sums });
        all.remove(1);
        let mut added = Added::default();
        add(&mut added, &all);
        assert_eq!(added.number, 1);
    }

    #[test]
    fn entries_are_in_the_order_of_their_ids() {
        let product = ProductId::new("p");
        let ids = [9, 10, 99, 1_000, i64::MAX].map(|number| id_of(&product, number));
        assert!(ids.is_sorted(), "{ids:?}");
    }
}
