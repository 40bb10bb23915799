//! Ends holds: those that were made by hand when they run out, and any when somebody asks for it. An order is only told, and its
//! units stay held until it says that it is over: it may have been confirmed meanwhile.

use crate::{
    gate::Gate,
    ledger::Posting,
    product::BrokenAccount,
    store::{Origin, Reservation, Store, StoreError, Told},
};
use events::message::OrderedItem;
use futures::{FutureExt, TryStreamExt};
use jiff::Timestamp;
use mongodb::{
    ClientSession,
    bson::{DateTime, Document, RawDocumentBuf, doc},
};
use platform::{
    backends::mongo::{self, Aside, OneAtATime, Read},
    clock::Clock,
    rounds::Rounds,
};
use sale::{
    OrderId,
    ledger::Cause,
    order::{InventoryOutcome, ReservationState},
};
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

/// How often holds are looked at: a hold ends within this time after its deadline.
const EVERY: Duration = Duration::from_secs(1);
/// Holds ended in one round.
const BATCH: i64 = 200;

/// Ends holds until the process ends. Every replica may do it: a hold ends by a change of its document, once.
pub async fn run(store: Store, gate: Gate, clock: Clock, stop: CancellationToken) {
    let mut rounds = Rounds::every(EVERY, &stop);
    let (alone, mut aside) = (OneAtATime::default(), Aside::new(Instant::now()));
    while rounds.another().await {
        if let Err(error) = end_due(&store, &gate, clock.now(), &alone, &mut aside, &stop).await {
            tracing::warn!(%error, "cannot end holds; trying again");
        }
    }
}

/// Ends those whose time is over, each by itself: what cannot be read, or is of a broken account, keeps no other hold.
async fn end_due(
    store: &Store,
    gate: &Gate,
    now: Timestamp,
    alone: &OneAtATime,
    aside: &mut Aside,
    stop: &CancellationToken,
) -> Result<(), StoreError> {
    let due = aside.others(due(now), Instant::now());
    let holds = store.reservations.clone_with_type::<RawDocumentBuf>();
    let found: Vec<RawDocumentBuf> = mongo::detached(async move {
        let found = holds.find(due).sort(doc! {"expiresAt": 1}).limit(BATCH).await?;
        Ok::<_, StoreError>(found.try_collect().await?)
    })
    .await?;
    let due = Read::<Reservation>::each(found, "reservation");
    aside.add(due.unreadable_keys());
    for hold in due.readable {
        if stop.is_cancelled() {
            break;
        }
        let (store, order) = (store.clone(), hold.order.clone());
        let ended: Result<_, StoreError> = alone
            .detached(async move { end_hold(&store, &order, Why::RunOut, now).await })
            .await;
        match ended {
            Ok(Ended::GaveBack(items)) => gate.add_all(&items).await,
            Ok(_) => {}
            Err(error) if error.lies_in_documents() => {
                tracing::error!(order = %hold.order, %error, "cannot end a hold; looking at it again in five minutes (docs/operations.md, What cannot be read)");
                aside.add([hold.order.as_str()]);
            }
            // The database is away, and the others would fail as well.
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Holds by hand whose time is over.
fn due(now: Timestamp) -> Document {
    doc! {
        "state": ReservationState::Held.as_str(),
        "origin": Origin::Direct.as_str(),
        "expiresAt": {"$lte": DateTime::from_millis(now.as_millisecond())},
    }
}

/// Why a hold is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Its time is over.
    RunOut,
    /// Somebody has asked for it.
    Asked,
}

/// What became of the wish to end a hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// Nothing was ever held under this id.
    Unknown,
    /// It stands like this, since before or until its order says what becomes of it.
    Stands(ReservationState),
    /// It has ended now, and these units are for sale again.
    GaveBack(Vec<OrderedItem>),
    /// The order was told before that it is paid.
    Paid,
}

/// Ends one hold. Where an order waits, it is told, and its units go back when it says that it is over; others go back
/// at once.
///
/// # Errors
/// The store's.
pub async fn end_hold(store: &Store, order: &OrderId, why: Why, now: Timestamp) -> Result<Ended, StoreError> {
    store
        .transactions
        .run(|session| {
            let (store, order) = (store.clone(), order.clone());
            async move { end_in(&store, session, &order, why, now).await }.boxed()
        })
        .await
}

async fn end_in(
    store: &Store,
    session: &mut ClientSession,
    order: &OrderId,
    why: Why,
    now: Timestamp,
) -> Result<Ended, StoreError> {
    let any = doc! {"_id": order.as_str()};
    let Some(hold) = store.reservations.find_one(any).session(&mut *session).await? else {
        return Ok(Ended::Unknown);
    };
    match hold.told {
        _ if hold.state != ReservationState::Held => return Ok(Ended::Stands(hold.state)),
        Some(Told::Paid) => return Ok(Ended::Paid),
        Some(Told::Ended) => return Ok(Ended::Stands(ReservationState::Held)),
        None => {}
    }
    let is_over = |at| at <= DateTime::from_millis(now.as_millisecond());
    if why == Why::RunOut && !hold.expires_at.is_some_and(is_over) {
        return Ok(Ended::Stands(ReservationState::Held));
    }
    if hold.origin == Origin::Order {
        let outcome = InventoryOutcome::Released;
        store.tell(session, order, Told::Ended, outcome, now).await?;
        return Ok(Ended::Stands(ReservationState::Held));
    }
    give_back(store, session, &hold, now).await?;
    Ok(Ended::GaveBack(hold.items))
}

async fn give_back(
    store: &Store,
    session: &mut ClientSession,
    hold: &Reservation,
    now: Timestamp,
) -> Result<(), StoreError> {
    let released = doc! {"$set": {"state": ReservationState::Released.as_str()}, "$unset": {"expiresAt": ""}};
    store
        .reservations
        .update_one(doc! {"_id": hold.order.as_str()}, released)
        .session(&mut *session)
        .await?;
    let products: BTreeSet<_> = hold.items.iter().map(|item| item.product_id.clone()).collect();
    let mut accounts = store.accounts(session, &products).await?;
    for item in &hold.items {
        if let Some(account) = accounts.get_mut(&item.product_id) {
            account
                .release(u64::from(item.quantity.get()))
                .map_err(|_| BrokenAccount(item.product_id.clone()))?;
        }
    }
    let postings: Vec<_> = hold
        .items
        .iter()
        .map(|item| Posting::of(item, &hold.order, Cause::Released))
        .collect();
    Ok(store.post(session, &accounts, &postings, now).await?)
}
