//! What ends an order from outside of the stock: its buyer calls it off, the payment succeeds or fails, or the hold runs out.
//! Each reads the order and writes it in one transaction: of two at once one has a write conflict, runs again, and finds what
//! the other has made of it.

use crate::{document::Order, follow::status_message, store::Store, tally::By};
use futures::FutureExt;
use jiff::Timestamp;
use mongodb::{
    ClientSession,
    bson::{DateTime, doc},
};
use platform::backends::mongo::{MongoError, TransientError};
use sale::{
    OrderId, UserId,
    order::{Decision, Verdict},
};

/// What became of a decision.
#[derive(Debug)]
pub enum Decided {
    /// The order is as was decided.
    Done(Order),
    /// It was so before.
    Already(Order),
    /// It had come to another end.
    Final(Order),
    /// It cannot be paid before its units are held.
    NotHeld(Order),
    /// There is no such order of this user.
    NotFound,
}

/// The database did not carry it through.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct DecideError(#[from] MongoError);

impl From<mongodb::error::Error> for DecideError {
    fn from(error: mongodb::error::Error) -> Self {
        Self(error.into())
    }
}

impl TransientError for DecideError {
    fn is_transient(&self) -> bool {
        self.0.is_transient()
    }
}

/// Decides about an order of a user (of any user for `None`).
///
/// # Errors
/// [`DecideError`]; nothing was changed, or it was and will show when asked again.
pub async fn decide(
    store: Store,
    id: OrderId,
    user: Option<UserId>,
    decision: Decision,
    now: Timestamp,
) -> Result<Decided, DecideError> {
    store
        .transactions
        .run(|session| {
            let (store, id, user) = (store.clone(), id.clone(), user.clone());
            async move {
                let decided = decide_in(&store, session, &id, user.as_ref(), decision, now).await?;
                if let Decided::Done(order) = &decided {
                    let by = By::Decision(&order.id);
                    store.tally.count(session, by, [order.status]).await?;
                }
                Ok(decided)
            }
            .boxed()
        })
        .await
}

/// Lets the holds of orders run out, all in one transaction. One that was paid in the meantime stays paid.
///
/// # Errors
/// [`DecideError`]; nothing was changed.
pub(crate) async fn expire(store: &Store, due: &[OrderId], now: Timestamp) -> Result<(), DecideError> {
    store
        .transactions
        .run(|session| {
            let (store, due) = (store.clone(), due.to_vec());
            async move {
                let mut ended = Vec::with_capacity(due.len());
                for id in &due {
                    let decided = decide_in(&store, session, id, None, Decision::Expire, now).await?;
                    if let Decided::Done(order) = decided {
                        ended.push(order.status);
                    }
                }
                Ok(store.tally.count(session, By::Expiry, ended).await?)
            }
            .boxed()
        })
        .await
}

async fn decide_in(
    store: &Store,
    session: &mut ClientSession,
    id: &OrderId,
    user: Option<&UserId>,
    decision: Decision,
    now: Timestamp,
) -> Result<Decided, DecideError> {
    let found = store.orders_in(session, &[id.as_str()]).await?.remove(id);
    let Some(mut order) = found.filter(|order| user.is_none_or(|user| *user == order.user_id)) else {
        return Ok(Decided::NotFound);
    };
    let state = match order.state().decide(decision) {
        Verdict::Becomes(state) => state,
        Verdict::Already => return Ok(Decided::Already(order)),
        Verdict::Final => return Ok(Decided::Final(order)),
        Verdict::NotHeld => return Ok(Decided::NotHeld(order)),
    };
    order.status = state.status;
    order.inventory_status = state.inventory;
    order.reason = decision.reason();
    order.updated_at = DateTime::from_millis(now.as_millisecond());
    let reason = mongodb::bson::serialize_to_bson(&order.reason).map_err(mongodb::error::Error::from)?;
    store
        .orders
        .update_one(
            doc! {"_id": id.as_str()},
            doc! {"$set": {
                "status": state.status.as_str(),
                "inventoryStatus": state.inventory.as_str(),
                "reason": reason,
                "updatedAt": order.updated_at,
            }},
        )
        .session(&mut *session)
        .await?;
    store
        .outbox
        .append(session, &[status_message(&order, now)])
        .await?;
    Ok(Decided::Done(order))
}
