//! Ends holds that were made by hand, when they run out or when they are asked to. How long an order's units are held is for the
//! order to say, which may have been confirmed meanwhile.

use crate::store::{Origin, Reservation, Store, StoreError, Told};
use futures::{FutureExt, TryStreamExt};
use jiff::Timestamp;
use mongodb::{
    ClientSession,
    bson::{DateTime, doc},
};
use platform::{
    backends::mongo::{self, MongoError, TransientError},
    clock::Clock,
};
use sale::{
    OrderId,
    order::{InventoryOutcome, ReservationState},
};
use std::{collections::BTreeSet, time::Duration};
use tokio_util::sync::CancellationToken;

/// How often holds are looked at: a hold ends within this time after its deadline.
const EVERY: Duration = Duration::from_secs(1);
/// Holds ended in one round.
const BATCH: i64 = 200;

impl TransientError for StoreError {
    fn is_transient(&self) -> bool {
        matches!(self, Self::Mongo(error) if error.is_transient())
    }
}

/// Ends holds until the process ends. Every replica may do it: a hold ends by a change of its document, once.
pub async fn run(store: Store, clock: Clock, stop: CancellationToken) {
    let mut tick = tokio::time::interval(EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => {}
        }
        let (store, now) = (store.clone(), clock.now());
        let round: Result<(), StoreError> = mongo::detached(async move { end_due(&store, now).await }).await;
        if let Err(error) = round {
            tracing::warn!(%error, "cannot end holds; trying again");
        }
    }
}

async fn end_due(store: &Store, now: Timestamp) -> Result<(), StoreError> {
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
    for reservation in due {
        // One that cannot be ended must not keep those behind it.
        if let Err(error) = end_hold(store, &reservation.order, InventoryOutcome::HoldExpired, now).await {
            tracing::error!(order = %reservation.order, %error, "cannot end a hold; trying again");
        }
    }
    Ok(())
}

/// Ends one hold for a reason. Where an order waits, it is told, and its units go back when it says that it is over;
/// others go back at once. Returns where the reservation stands then, and nothing if there was no hold to end.
///
/// # Errors
/// The store's.
pub async fn end_hold(
    store: &Store,
    order: &OrderId,
    outcome: InventoryOutcome,
    now: Timestamp,
) -> Result<Option<ReservationState>, StoreError> {
    store
        .transactions
        .run(|session| {
            let (store, order) = (store.clone(), order.clone());
            async move { end_in(&store, session, &order, outcome, now).await }.boxed()
        })
        .await
}

async fn end_in(
    store: &Store,
    session: &mut ClientSession,
    order: &OrderId,
    outcome: InventoryOutcome,
    now: Timestamp,
) -> Result<Option<ReservationState>, StoreError> {
    let held = doc! {"_id": order.as_str(), "state": ReservationState::Held.as_str()};
    let found = store.reservations.find_one(held).session(&mut *session).await?;
    let Some(reservation) = found.filter(|hold| may_end(hold, outcome, now)) else {
        return Ok(None);
    };
    if reservation.origin == Origin::Order {
        store.tell(session, order, Told::Ended, outcome, now).await?;
        return Ok(Some(ReservationState::Held));
    }
    let released = doc! {"$set": {"state": ReservationState::Released.as_str(), "expiresAt": null}};
    store
        .reservations
        .update_one(doc! {"_id": order.as_str()}, released)
        .session(&mut *session)
        .await?;
    let products: BTreeSet<_> = reservation
        .items
        .iter()
        .map(|item| item.product_id.clone())
        .collect();
    let mut accounts = store.accounts(session, &products).await?;
    for item in &reservation.items {
        if let Some(account) = accounts.get_mut(&item.product_id) {
            account
                .release(u64::from(item.quantity.get()))
                .map_err(|error| MongoError::Panicked(format!("release of {order}: {error}")))?;
        }
    }
    for (product, account) in &accounts {
        store.set_account(session, product, account).await?;
    }
    Ok(Some(ReservationState::Released))
}

/// Whether a hold can end for this reason now: its order was told of no end yet, and what is to run out has run out.
fn may_end(hold: &Reservation, outcome: InventoryOutcome, now: Timestamp) -> bool {
    let due = hold
        .expires_at
        .is_some_and(|at| at <= DateTime::from_millis(now.as_millisecond()));
    hold.told.is_none() && (outcome != InventoryOutcome::HoldExpired || due)
}
