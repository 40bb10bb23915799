//! Ends holds: those that were made by hand when they run out, and any when somebody asks for it. An order is only told, and its
//! units stay held until it says that it is over: it may have been confirmed meanwhile.

use crate::{
    gate::Gate,
    ledger::Posting,
    store::{Origin, Reservation, Store, StoreError, Told},
};
use events::message::OrderedItem;
use futures::{FutureExt, TryStreamExt};
use jiff::Timestamp;
use mongodb::{
    ClientSession,
    bson::{DateTime, doc},
};
use platform::{
    backends::mongo::{self, MongoError},
    clock::Clock,
};
use sale::{
    OrderId,
    ledger::Cause,
    order::{InventoryOutcome, ReservationState},
};
use std::{collections::BTreeSet, time::Duration};
use tokio_util::sync::CancellationToken;

/// How often holds are looked at: a hold ends within this time after its deadline.
const EVERY: Duration = Duration::from_secs(1);
/// Holds ended in one round.
const BATCH: i64 = 200;

/// Ends holds until the process ends. Every replica may do it: a hold ends by a change of its document, once.
pub async fn run(store: Store, gate: Gate, clock: Clock, stop: CancellationToken) {
    let mut tick = tokio::time::interval(EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => {}
        }
        let (store, now) = (store.clone(), clock.now());
        let round: Result<_, StoreError> = mongo::detached(async move { end_due(&store, now).await }).await;
        match round {
            Ok(freed) => gate.add_all(&freed).await,
            Err(error) => tracing::warn!(%error, "cannot end holds; trying again"),
        }
    }
}

/// Returns the units that are for sale again.
async fn end_due(store: &Store, now: Timestamp) -> Result<Vec<OrderedItem>, StoreError> {
    let due = doc! {
        "state": ReservationState::Held.as_str(),
        "origin": Origin::Direct.as_str(),
        "expiresAt": {"$lte": DateTime::from_millis(now.as_millisecond())},
    };
    let due: Vec<Reservation> = store
        .reservations
        .find(due)
        .limit(BATCH)
        .await?
        .try_collect()
        .await?;
    let mut freed = Vec::new();
    for reservation in due {
        match end_hold(store, &reservation.order, Why::RunOut, now).await {
            Ok(Ended::GaveBack(items)) => freed.extend(items),
            Ok(_) => {}
            // One that cannot be ended must not keep those behind it.
            Err(error) => {
                tracing::error!(order = %reservation.order, %error, "cannot end a hold; trying again");
            }
        }
    }
    Ok(freed)
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
    let released = doc! {"$set": {"state": ReservationState::Released.as_str(), "expiresAt": null}};
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
                .map_err(|error| MongoError::Panicked(format!("release of {}: {error}", hold.order)))?;
        }
    }
    let postings: Vec<_> = hold
        .items
        .iter()
        .map(|item| Posting::of(item, &hold.order, Cause::Released))
        .collect();
    Ok(store.post(session, &accounts, &postings, now).await?)
}
