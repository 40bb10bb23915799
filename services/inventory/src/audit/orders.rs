//! Each order against its reservation. Both collections are read side by side in the order of their ids, which both have; what seems
//! not to fit is read again from one moment, since it may have moved in between.

use super::Audit;
use crate::{
    on_the_way::Moving,
    store::{Origin, Store, StoreError},
};
use events::message::OrderedItem;
use futures::{FutureExt, TryStreamExt};
use jiff::{SignedDuration, Timestamp};
use mongodb::{
    ClientSession, Collection,
    bson::{DateTime, Document, doc},
    error::Error,
};
use platform::backends::mongo::MongoError;
use sale::{
    OrderId,
    books::{Difference, fits},
    order::{OrderStatus, ReservationState},
};
use serde::Deserialize;
use std::cmp::Ordering;
use tokio::sync::mpsc;

/// How long after its last change an order or a reservation may be ahead of the other: longer than it takes to ask again.
const ON_THE_WAY: SignedDuration = SignedDuration::from_mins(3);
/// Documents fetched at once.
const AT_ONCE: u32 = 10_000;
/// Documents that are handed on together.
const IN_A_PART: usize = 1_000;
/// How many parts are read ahead at the most.
const PARTS_AHEAD: usize = 20;

/// The part of an order that is compared.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Order {
    #[serde(rename = "_id")]
    id: OrderId,
    status: OrderStatus,
    items: Vec<OrderedItem>,
    updated_at: DateTime,
}

/// The part of a reservation that is compared.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reservation {
    #[serde(rename = "_id")]
    id: OrderId,
    state: ReservationState,
    origin: Origin,
    items: Vec<OrderedItem>,
    created_at: DateTime,
}

/// Goes through all of them.
///
/// # Errors
/// The store's.
pub(super) async fn check(
    store: &Store,
    audit: &mut Audit,
    moving: &Moving,
    now: Timestamp,
) -> Result<(), StoreError> {
    let by = By {
        latest: DateTime::from_millis((now - ON_THE_WAY).as_millisecond()),
        moving,
    };
    let mut orders = Ahead::<Order>::read(
        &store.orders,
        doc! {"status": 1, "items.productId": 1, "items.quantity": 1, "updatedAt": 1},
    );
    let mut reservations = Ahead::<Reservation>::read(
        &store.reservations.clone_with_type(),
        doc! {"state": 1, "origin": 1, "items": 1, "createdAt": 1},
    );
    let (mut order, mut reservation) = (orders.next().await?, reservations.next().await?);
    loop {
        let which = match (&order, &reservation) {
            (None, None) => return Ok(()),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(order), Some(reservation)) => order.id.as_str().cmp(reservation.id.as_str()),
        };
        let (of_order, of_reservation) = (which.is_le(), which.is_ge());
        let pair = (
            order.as_ref().filter(|_| of_order),
            reservation.as_ref().filter(|_| of_reservation),
        );
        match compare(pair.0, pair.1, by) {
            Compared::Fits => {}
            Compared::May => audit.moving += 1,
            Compared::Differs(difference) => {
                if let Some(difference) = look_again(store, difference, by).await? {
                    audit.name(difference);
                }
            }
        }
        if of_order {
            audit.orders += 1;
            order = orders.next().await?;
        }
        if of_reservation {
            audit.reservations += 1;
            reservation = reservations.next().await?;
        }
    }
}

/// A collection in the order of its ids, read by a task of its own while what came before is compared.
struct Ahead<T> {
    parts: mpsc::Receiver<Result<Part<T>, Error>>,
    part: std::vec::IntoIter<T>,
}

/// Documents that follow each other; `None` is the end of the collection.
type Part<T> = Option<Vec<T>>;

impl<T> Ahead<T>
where
    T: for<'de> Deserialize<'de> + Send + Sync + 'static,
{
    fn read(collection: &Collection<Document>, fields: Document) -> Self {
        let (send, parts) = mpsc::channel(PARTS_AHEAD);
        let reading = read_all(collection.clone_with_type::<T>(), fields, send.clone());
        // Ends with the collection, or when nobody takes what it reads.
        tokio::spawn(async move {
            let ended = reading.await.map(|()| None);
            let _nobody_waits = send.send(ended).await;
        });
        Self {
            parts,
            part: Vec::new().into_iter(),
        }
    }

    async fn next(&mut self) -> Result<Option<T>, StoreError> {
        loop {
            if let Some(next) = self.part.next() {
                return Ok(Some(next));
            }
            match self.parts.recv().await {
                Some(Ok(Some(part))) => self.part = part.into_iter(),
                Some(Ok(None)) => {
                    self.parts.close();
                    return Ok(None);
                }
                Some(Err(error)) => return Err(error.into()),
                None => {
                    return Err(
                        MongoError::Panicked("a collection was not read to its end".to_owned()).into(),
                    );
                }
            }
        }
    }
}

async fn read_all<T>(
    collection: Collection<T>,
    fields: Document,
    send: mpsc::Sender<Result<Part<T>, Error>>,
) -> Result<(), Error>
where
    T: for<'de> Deserialize<'de> + Send + Sync,
{
    let cursor = collection
        .find(doc! {})
        .sort(doc! {"_id": 1})
        .projection(fields)
        .batch_size(AT_ONCE)
        .await?;
    let mut parts = cursor.try_chunks(IN_A_PART);
    while let Some(part) = parts.try_next().await.map_err(|failed| failed.1)? {
        if send.send(Ok(Some(part))).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// What counts as on its way.
#[derive(Debug, Clone, Copy)]
struct By<'a> {
    /// Whatever has changed since.
    latest: DateTime,
    /// And these.
    moving: &'a Moving,
}

/// What comparing comes to.
#[derive(Debug, PartialEq, Eq)]
enum Compared {
    /// The two fit.
    Fits,
    /// They do not, and a message that is on its way may change that.
    May,
    /// They do not.
    Differs(Difference),
}

fn compare(order: Option<&Order>, reservation: Option<&Reservation>, by: By<'_>) -> Compared {
    let id = order
        .map(|order| &order.id)
        .or(reservation.map(|reservation| &reservation.id));
    let Some(id) = id else {
        return Compared::Fits;
    };
    // What was held by hand is for whoever did that, also under an order's id.
    let reservation = reservation.filter(|reservation| reservation.origin == Origin::Order);
    let settled = order.is_none_or(|order| order.updated_at <= by.latest)
        && reservation.is_none_or(|reservation| reservation.created_at <= by.latest);
    let (status, state) = (
        order.map(|order| order.status),
        reservation.map(|reservation| reservation.state),
    );
    if !fits(status, state, settled) {
        if settled && fits(status, state, false) && by.moving.includes(id.as_str()) {
            return Compared::May;
        }
        return Compared::Differs(Difference::Order {
            order: id.clone(),
            status,
            reservation: state,
        });
    }
    let holds = matches!(state, Some(ReservationState::Held | ReservationState::Confirmed));
    let differ = order
        .zip(reservation)
        .is_some_and(|(order, reservation)| order.items != reservation.items);
    if holds && differ {
        return Compared::Differs(Difference::Items { order: id.clone() });
    }
    Compared::Fits
}

/// The difference, if it is there in one moment.
async fn look_again(
    store: &Store,
    difference: Difference,
    by: By<'_>,
) -> Result<Option<Difference>, StoreError> {
    let (Difference::Order { order, .. } | Difference::Items { order }) = difference else {
        return Ok(Some(difference));
    };
    store
        .transactions
        .run(|session| {
            let (store, order) = (store.clone(), order.clone());
            async move { look_in(&store, session, &order).await }.boxed()
        })
        .await
        .map(
            |(order, reservation)| match compare(order.as_ref(), reservation.as_ref(), by) {
                Compared::Differs(difference) => Some(difference),
                Compared::Fits | Compared::May => None,
            },
        )
}

async fn look_in(
    store: &Store,
    session: &mut ClientSession,
    id: &OrderId,
) -> Result<(Option<Order>, Option<Reservation>), StoreError> {
    let this = doc! {"_id": id.as_str()};
    let orders = store.orders.clone_with_type::<Order>();
    let order = orders.find_one(this.clone()).session(&mut *session).await?;
    let reservations = store.reservations.clone_with_type::<Reservation>();
    let reservation = reservations.find_one(this).session(&mut *session).await?;
    Ok((order, reservation))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    /// Without a broker orders end, and nobody tells inventory for as long as that takes.
    #[test]
    fn what_a_message_on_its_way_may_mend_is_no_difference() {
        let time = DateTime::from_millis;
        let order = Order {
            id: OrderId::new("o"),
            status: OrderStatus::Confirmed,
            items: Vec::new(),
            updated_at: time(1_000),
        };
        let mut reservation = Reservation {
            id: OrderId::new("o"),
            state: ReservationState::Held,
            origin: Origin::Order,
            items: Vec::new(),
            created_at: time(1_000),
        };
        let compared = |reservation: &Reservation, moving: &Moving, latest| {
            let by = By {
                latest: time(latest),
                moving,
            };
            compare(Some(&order), Some(reservation), by)
        };
        let these =
            |ids: &[&str]| Moving::These(ids.iter().map(|id| (*id).to_owned()).collect::<HashSet<_>>());
        assert_eq!(compared(&reservation, &these(&[]), 999), Compared::Fits);
        assert_eq!(compared(&reservation, &Moving::Any, 2_000), Compared::May);
        assert_eq!(compared(&reservation, &these(&["o"]), 2_000), Compared::May);
        let differs = |reservation: &Reservation| {
            Compared::Differs(Difference::Order {
                order: OrderId::new("o"),
                status: Some(OrderStatus::Confirmed),
                reservation: Some(reservation.state),
            })
        };
        assert_eq!(
            compared(&reservation, &these(&["p"]), 2_000),
            differs(&reservation)
        );
        // No message makes this right.
        reservation.state = ReservationState::Rejected;
        assert_eq!(compared(&reservation, &Moving::Any, 2_000), differs(&reservation));
    }
}
