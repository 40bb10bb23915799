//! Asks again after orders whose units are held for longer than can be. A status that the broker has lost, or that went to the
//! dead letters, would leave the units of an order that is over held for ever; and so would an order that nobody knows,
//! as after the database was put back to an earlier moment.
//!
//! The question is the last answer, sent once more. An order that has not heard it follows it now; one that is over says so
//! again, and asking twice does no more than asking once.

use crate::store::{Origin, Reservation, Store};
use events::{Message, Payload};
use futures::{FutureExt, TryStreamExt};
use jiff::{SignedDuration, Timestamp};
use mongodb::{
    ClientSession,
    bson::{Bson, DateTime, Document, RawDocumentBuf, doc},
};
use platform::{
    backends::mongo::{Aside, MongoError, OneAtATime, Read},
    clock::Clock,
    metrics::{Metric, must},
    rounds::Rounds,
};
use prometheus::{IntCounter, register_int_counter};
use sale::order::ReservationState;
use std::{
    sync::LazyLock,
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

/// How often it is looked for such holds.
const EVERY: Duration = Duration::from_secs(15);
/// How long an order may take to say what became of it: after its units were held where that confirms it, else after the end of
/// the hold. Also the time between two askings.
const PATIENCE: SignedDuration = SignedDuration::from_secs(60);
/// Holds asked about in one round.
const BATCH: i64 = 200;
/// Holds asked about in one transaction.
const AT_ONCE: usize = 25;

static ASKED_AGAIN: LazyLock<IntCounter> = LazyLock::new(|| {
    must(register_int_counter!(
        "quicksale_holds_asked_again_total",
        "Times when an order was asked again what became of it, because its units were still held."
    ))
});

/// What is counted here.
pub(crate) fn metrics() -> Vec<Metric> {
    vec![&*ASKED_AGAIN]
}

/// Asks until the process ends. Every replica may do it: who asks about a hold moves the time of the next asking.
pub async fn run(store: Store, clock: Clock, stop: CancellationToken) {
    let mut rounds = Rounds::every(EVERY, &stop);
    let (alone, mut aside) = (OneAtATime::default(), Aside::new(Instant::now()));
    while rounds.another().await {
        let now = clock.now();
        let late = DateTime::from_millis((now - PATIENCE).as_millisecond());
        for due in due(late) {
            let (store, due) = (store.clone(), aside.others(due, Instant::now()));
            match alone
                .detached(async move { ask_again(&store, due, late, now).await })
                .await
            {
                Ok((asked, unreadable)) => {
                    aside.add(unreadable);
                    if asked > 0 {
                        ASKED_AGAIN.inc_by(asked);
                        tracing::warn!(
                            holds = asked,
                            "orders had not said what became of them and were asked again"
                        );
                    }
                }
                Err(error) => tracing::warn!(%error, "cannot ask about holds; trying again"),
            }
        }
    }
}

/// Two questions, each of which the index of holds answers: those whose time is over, and those that have none.
fn due(late: DateTime) -> [Document; 2] {
    let mut over = may_be_asked_about(late);
    over.insert("expiresAt", doc! {"$lte": late});
    let mut endless = may_be_asked_about(late);
    endless.insert("expiresAt", mongodb::bson::Bson::Null);
    endless.insert("createdAt", doc! {"$lte": late});
    [over, endless]
}

fn may_be_asked_about(late: DateTime) -> Document {
    doc! {
        "state": ReservationState::Held.as_str(),
        "origin": Origin::Order.as_str(),
        "$or": [{"askedAt": {"$exists": false}}, {"askedAt": {"$lte": late}}],
    }
}

/// Returns how many were asked about, and the ids of those that could not be read.
async fn ask_again(
    store: &Store,
    due: Document,
    late: DateTime,
    now: Timestamp,
) -> Result<(u64, Vec<Bson>), MongoError> {
    let holds = store.reservations.clone_with_type::<RawDocumentBuf>();
    let found: Vec<RawDocumentBuf> = holds.find(due).limit(BATCH).await?.try_collect().await?;
    let holds = Read::<Reservation>::each(found, "reservation");
    let unreadable = holds.unreadable_keys().collect();
    if holds.readable.is_empty() {
        return Ok((0, unreadable));
    }
    // What becomes of them may be coming in at this moment.
    let asked = store
        .transactions
        .give_way(&holds.readable, AT_ONCE, |session, holds| {
            let store = store.clone();
            async move { ask(&store, session, holds, late, now).await }.boxed()
        })
        .await?;
    Ok((asked, unreadable))
}

/// Asks about those that are still held, and that nobody has asked about meanwhile.
async fn ask(
    store: &Store,
    session: &mut ClientSession,
    holds: Vec<Reservation>,
    late: DateTime,
    now: Timestamp,
) -> Result<u64, MongoError> {
    let mut messages = Vec::with_capacity(holds.len());
    for hold in holds {
        let mut still = may_be_asked_about(late);
        still.insert("_id", hold.order.as_str());
        let asked = doc! {"$set": {"askedAt": DateTime::from_millis(now.as_millisecond())}};
        let done = store
            .reservations
            .update_one(still, asked)
            .session(&mut *session)
            .await?;
        if done.matched_count == 1 {
            let order = hold.order.clone();
            let payload = Payload::InventoryResult(hold.facts().answer());
            messages.push(Message::new(order, now, None, payload));
        }
    }
    store.outbox.append(session, &messages).await?;
    Ok(messages.len() as u64)
}
