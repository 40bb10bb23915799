//! Calling an order off before it is confirmed.

use crate::{document::Order, follow::status_message, store::Store};
use futures::FutureExt;
use jiff::Timestamp;
use mongodb::{
    ClientSession,
    bson::{DateTime, doc},
};
use platform::backends::mongo::{MongoError, TransientError};
use sale::{OrderId, UserId, order::OrderStatus};

/// What a cancellation came to.
#[derive(Debug)]
pub enum Cancelled {
    /// It is cancelled, now or before.
    Done(Order),
    /// It had come to another end.
    Final(Order),
    /// There is no such order of this user.
    NotFound,
}

/// The database did not carry it through.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct CancelError(#[from] MongoError);

impl From<mongodb::error::Error> for CancelError {
    fn from(error: mongodb::error::Error) -> Self {
        Self(error.into())
    }
}

impl TransientError for CancelError {
    fn is_transient(&self) -> bool {
        self.0.is_transient()
    }
}

/// Cancels an order of a user (of any user for `None`).
///
/// # Errors
/// [`CancelError`]; nothing was changed, or it was and will show when asked again.
pub async fn cancel(
    store: Store,
    id: OrderId,
    user: Option<UserId>,
    now: Timestamp,
) -> Result<Cancelled, CancelError> {
    store
        .transactions
        .run(|session| {
            let (store, id, user) = (store.clone(), id.clone(), user.clone());
            async move { cancel_in(&store, session, &id, user.as_ref(), now).await }.boxed()
        })
        .await
}

async fn cancel_in(
    store: &Store,
    session: &mut ClientSession,
    id: &OrderId,
    user: Option<&UserId>,
    now: Timestamp,
) -> Result<Cancelled, CancelError> {
    let found = store.orders_in(session, &[id.as_str()]).await?.remove(id);
    let Some(mut order) = found.filter(|order| user.is_none_or(|user| *user == order.user_id)) else {
        return Ok(Cancelled::NotFound);
    };
    let Some(state) = order.state().cancelled() else {
        let cancelled = order.status == OrderStatus::Cancelled;
        return Ok(if cancelled {
            Cancelled::Done(order)
        } else {
            Cancelled::Final(order)
        });
    };
    order.status = state.status;
    order.inventory_status = state.inventory;
    order.updated_at = DateTime::from_millis(now.as_millisecond());
    store
        .orders
        .update_one(
            doc! {"_id": id.as_str()},
            doc! {"$set": {
                "status": state.status.as_str(),
                "inventoryStatus": state.inventory.as_str(),
                "updatedAt": order.updated_at,
            }},
        )
        .session(&mut *session)
        .await?;
    store.return_quota(session, &order.user_id, &order.items).await?;
    store
        .outbox
        .append(session, &[status_message(&order, now)])
        .await?;
    Ok(Cancelled::Done(order))
}
