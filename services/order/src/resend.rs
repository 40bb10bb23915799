//! Says once more what a broker has lost. A lane that met a gap has noted it ([`events::losses`]); what was in it the database knows
//! better than any log.
//!
//! - Where questions or answers about units were lost, inventory is asked about every order that waits for its answer.
//! - Where news of orders was lost, it is told again of every order that has changed since a little before the gap.
//!
//! Whoever has heard it already takes no notice, so too much is said rather than too little.

use crate::{accept, document::Order, follow::status_message, store::Store};
use events::{
    Message, Payload, Topic,
    lanes::{LaneStore, LeaseTerms},
    losses::{Loss, Losses},
    topics::partition_of,
};
use futures::{FutureExt, TryStreamExt};
use jiff::Timestamp;
use mongodb::{
    Database,
    bson::{DateTime, RawDocumentBuf, doc},
};
use platform::{
    backends::mongo::{self, MongoError, Read},
    clock::Clock,
    metrics::{Metric, must},
    retry::Backoff,
    rounds::Rounds,
};
use prometheus::{IntCounter, register_int_counter};
use sale::{
    OrderId,
    order::{InventoryStatus, OrderState, OrderStatus},
};
use serde::Deserialize;
use std::{
    collections::BTreeSet,
    sync::LazyLock,
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

/// How often it is looked for gaps.
const EVERY: Duration = Duration::from_secs(2);
/// How long before the last message before a gap an order may have changed whose news was in it: longer than a relay or a lane is
/// ever behind.
const MARGIN_MS: i64 = 10 * 60 * 1_000;
/// Orders glanced at at once: as many are read in well under a second, whatever the size of the sale.
const PAGE: i64 = 5_000;
/// Orders of which something is said in one transaction.
const SAID_AT_ONCE: usize = 500;
/// Tries to read a page or to write what it comes to, before it is begun anew.
const TRIES: u32 = 10;
/// One replica does it at a time: twice would be harmless, and twice the work. Not under the name of a group, whose workers renew all
/// that they have there.
const LEASE: &str = "resend/orders/0";

static SAID_AGAIN: LazyLock<IntCounter> = LazyLock::new(|| {
    must(register_int_counter!(
        "quicksale_orders_said_again_total",
        "Messages of orders that were written once more, because a broker had lost them."
    ))
});

/// What is counted here.
pub(crate) fn metrics() -> Vec<Metric> {
    vec![&*SAID_AGAIN]
}

/// Says again what was lost, for as long as the process lasts.
#[derive(Debug, Clone)]
pub struct Resend {
    store: Store,
    losses: Losses,
    leases: LaneStore,
    owner: String,
    partitions: i32,
    clock: Clock,
}

impl Resend {
    /// For the orders of a sale, by a process of this name.
    pub fn new(store: Store, database: &Database, owner: &str, partitions: i32, clock: Clock) -> Self {
        Self {
            store,
            losses: Losses::new(database),
            leases: LaneStore::new(database),
            owner: owner.to_owned(),
            partitions,
            clock,
        }
    }

    /// Works until the process ends.
    pub async fn run(self, stop: CancellationToken) {
        let mut rounds = Rounds::every(EVERY, &stop);
        while rounds.another().await {
            if let Err(error) = self.mend_all(&stop).await {
                tracing::warn!(%error, "cannot say again what the broker has lost; trying again");
            }
        }
    }

    async fn mend_all(&self, stop: &CancellationToken) -> Result<(), MongoError> {
        let losses = self.losses.clone();
        let open = mongo::detached(async move { losses.open().await.map_err(MongoError::from) }).await?;
        if open.is_empty() || !self.leads().await? {
            return Ok(());
        }
        let ids: Vec<String> = open.iter().map(|loss| loss.id.clone()).collect();
        let (news, questions): (Vec<Loss>, Vec<Loss>) = open
            .into_iter()
            .partition(|loss| loss.topic == Topic::OrderStatus);
        for again in [Again::questions(&questions), Again::news(&news)] {
            let Some(said) = self.say(&again, stop).await? else {
                return Ok(());
            };
            if said > 0 {
                tracing::warn!(
                    what = again.what,
                    orders = said,
                    "said again what the broker has lost"
                );
            }
        }
        let (losses, now) = (self.losses.clone(), self.clock.now());
        mongo::detached(async move { losses.mended(&ids, now).await.map_err(MongoError::from) }).await
    }

    async fn leads(&self) -> Result<bool, MongoError> {
        let (leases, owner, now) = (self.leases.clone(), self.owner.clone(), Instant::now());
        mongo::detached(async move {
            let terms = LeaseTerms::default();
            leases
                .hold(LEASE, &owner, terms, now)
                .await
                .map_err(MongoError::from)
        })
        .await
    }

    /// Returns of how many orders it was said; `None` if it did not come to its end.
    async fn say(&self, again: &Again, stop: &CancellationToken) -> Result<Option<u64>, MongoError> {
        let (mut after, mut said, mut led) = (String::new(), 0, Instant::now());
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        while !again.partitions.is_empty() {
            match self.say_of_page(again, &after).await {
                Ok(None) => break,
                Ok(Some((last, of_page))) => {
                    backoff.reset();
                    after = last;
                    said += of_page;
                }
                // On from here: in a large sale there would be no end to beginning anew.
                Err(_) if backoff.attempts() < TRIES => tokio::time::sleep(backoff.next_wait()).await,
                Err(error) => return Err(error),
            }
            if led.elapsed() > LeaseTerms::default().renew_every {
                if !self.leads().await? {
                    return Ok(None);
                }
                led = Instant::now();
            }
            if stop.is_cancelled() {
                return Ok(None);
            }
        }
        Ok(Some(said))
    }

    /// The last id of the page behind one, and of how many of its orders something was said; `None` behind the last page.
    async fn say_of_page(&self, again: &Again, after: &str) -> Result<Option<(String, u64)>, MongoError> {
        let page = self.page(after).await?;
        let last = page.last().and_then(|order| order.get_str("_id").ok());
        let Some(last) = last.map(str::to_owned) else {
            return Ok(None);
        };
        // Of one that cannot be read nothing can be said.
        let glances = Read::<Glance>::each(page, "order").readable.into_iter();
        let lost = |glance: &Glance| {
            let partition = partition_of(glance.id.as_str(), self.partitions);
            again.partitions.contains(&partition) && again.concerns.is_one(glance)
        };
        let ids: Vec<OrderId> = glances.filter(lost).map(|glance| glance.id).collect();
        let mut said = 0;
        for some in ids.chunks(SAID_AT_ONCE) {
            said += self.say_of(some.to_vec(), again.message).await?;
        }
        Ok(Some((last, said)))
    }

    /// Orders in the order of their ids. All of them: with a filter that few match, one page would be a walk through the whole
    /// collection, which no deadline allows.
    async fn page(&self, after: &str) -> Result<Vec<RawDocumentBuf>, MongoError> {
        let orders = self.store.documents();
        let behind = doc! {"_id": {"$gt": after}};
        mongo::detached(async move {
            let page = orders
                .find(behind)
                .sort(doc! {"_id": 1})
                .projection(doc! {"status": 1, "inventoryStatus": 1, "updatedAt": 1, "holdExpiresAt": 1})
                .limit(PAGE)
                .batch_size(5_000);
            Ok::<_, MongoError>(page.await?.try_collect().await?)
        })
        .await
    }

    /// Says how orders are now: each is read again in the transaction, since it may have changed meanwhile.
    async fn say_of(&self, ids: Vec<OrderId>, message: Telling) -> Result<u64, MongoError> {
        if ids.is_empty() {
            return Ok(0);
        }
        let (store, now) = (self.store.clone(), self.clock.now());
        let work = async move {
            store
                .transactions
                .run(|session| {
                    let (store, ids) = (store.clone(), ids.clone());
                    async move {
                        let ids: Vec<&str> = ids.iter().map(OrderId::as_str).collect();
                        let current = store.orders_in(session, &ids).await?.orders;
                        let messages: Vec<Message> =
                            current.values().filter_map(|order| message(order, now)).collect();
                        store.outbox.append(session, &messages).await?;
                        Ok::<_, MongoError>(messages.len() as u64)
                    }
                    .boxed()
                })
                .await
        };
        let said = mongo::detached(work).await?;
        SAID_AGAIN.inc_by(said);
        Ok(said)
    }
}

/// What an order has to say, if anything.
type Telling = fn(&Order, Timestamp) -> Option<Message>;

/// What is read of an order to see whether something has to be said of it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Glance {
    #[serde(rename = "_id")]
    id: OrderId,
    status: OrderStatus,
    inventory_status: InventoryStatus,
    updated_at: DateTime,
    hold_expires_at: Option<DateTime>,
}

/// Of which orders something is said again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Concerned {
    /// Of those that wait for inventory's answer.
    Unanswered,
    /// Of those that have had news since then.
    ChangedSince(DateTime),
}

impl Concerned {
    fn is_one(self, order: &Glance) -> bool {
        match self {
            Self::Unanswered => {
                order.status == OrderStatus::Pending && order.inventory_status == InventoryStatus::Pending
            }
            Self::ChangedSince(since) => {
                let has_news = order.status != OrderStatus::Pending || order.hold_expires_at.is_some();
                has_news && order.updated_at >= since
            }
        }
    }
}

/// What is said again.
struct Again {
    /// For the log.
    what: &'static str,
    /// Of the orders in these partitions.
    partitions: BTreeSet<i32>,
    /// And of those only of these.
    concerns: Concerned,
    message: Telling,
}

impl Again {
    /// Questions or answers about units: whoever waits for an answer asks.
    fn questions(losses: &[Loss]) -> Self {
        Self {
            what: "questions to inventory",
            partitions: losses.iter().map(|loss| loss.partition).collect(),
            concerns: Concerned::Unanswered,
            message: |order, now| {
                (order.state() == OrderState::ACCEPTED).then(|| accept::created(order, now))
            },
        }
    }

    /// News of orders: of all that may have had any since then.
    fn news(losses: &[Loss]) -> Self {
        Self {
            what: "news of orders",
            partitions: losses.iter().map(|loss| loss.partition).collect(),
            concerns: Concerned::ChangedSince(since(losses)),
            message: |order, now| Some(again(order, now)),
        }
    }
}

/// The news of an order, for those who have not heard it.
pub(crate) fn again(order: &Order, now: Timestamp) -> Message {
    let mut message = status_message(order, now);
    if let Payload::OrderStatus(change) = &mut message.payload {
        change.again = true;
    }
    message
}

/// From when on news may have been lost; where one lane does not know, from the beginning.
fn since(losses: &[Loss]) -> DateTime {
    let earliest = losses
        .iter()
        .map(|loss| loss.since.map_or(0, DateTime::timestamp_millis))
        .min();
    DateTime::from_millis(earliest.unwrap_or(0).saturating_sub(MARGIN_MS))
}

#[cfg(test)]
mod tests {
    use super::*;
    use events::reader::{Cause, Gap};

    #[test]
    fn what_one_lane_does_not_know_counts_from_the_beginning() {
        let loss = |since: Option<i64>| {
            let gap = Gap {
                wanted: 7,
                found: 0,
                cause: Cause::CutOff,
                since: since.and_then(|millis| Timestamp::from_millisecond(millis).ok()),
            };
            Loss::new("notifier", Topic::OrderStatus, 0, gap, Timestamp::UNIX_EPOCH)
        };
        let hour = 3_600_000;
        let earliest = since(&[loss(Some(3 * hour)), loss(Some(2 * hour))]);
        assert_eq!(earliest.timestamp_millis(), 2 * hour - MARGIN_MS);
        assert!(since(&[loss(Some(3 * hour)), loss(None)]).timestamp_millis() < 0);
    }
}
