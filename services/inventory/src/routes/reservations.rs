//! Reservations by hand: for admins, and for services that sell on another way than through orders.

use super::{Inventory, products::Refusal, store_problem};
use crate::{
    expiry::{self, Ended, Why},
    ledger::Posting,
    plan::{Move, NewReservation, Plan},
    store::{Origin, Reservation, Store, Told},
};
use axum::extract::State;
use events::message::OrderedItem;
use futures::FutureExt;
use jiff::Timestamp;
use mongodb::{ClientSession, bson::doc};
use platform::{
    backends::mongo,
    http::{
        Json,
        authorization::Caller,
        line::Line,
        problem::{Code, Problem},
    },
    tokens::Role,
};
use sale::{
    OrderId, ProductId, Quantity, Sku,
    ledger::Cause,
    order::{InventoryOutcome, MOST_ITEMS, ReservationState},
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use utoipa::ToSchema;

/// The longest id of a reservation, in characters.
pub const LONGEST_ORDER_ID: usize = 128;

/// What to reserve, and under which id.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Reserve {
    /// Names the reservation; reserving the same twice under one id reserves once.
    #[schema(min_length = 1, max_length = 128)]
    order_id: String,
    /// 1 to 100 lines.
    #[schema(value_type = Vec<Line>, min_items = 1, max_items = 100)]
    items: Vec<Item>,
}

/// One line, as [`Line`] describes it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Item {
    product_id: Option<String>,
    sku: Option<Sku>,
    quantity: Quantity,
}

/// Which reservation is meant.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Which {
    /// The id that the units are held under.
    #[schema(min_length = 1, max_length = 128)]
    order_id: String,
}

/// Where a reservation stands.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Standing {
    /// For people.
    message: String,
    /// The id that the units are held under.
    order_id: String,
    /// HELD, CONFIRMED or RELEASED.
    state: String,
}

fn standing(message: &str, order: &OrderId, state: ReservationState) -> Json<Standing> {
    Json(Standing {
        message: message.to_owned(),
        order_id: order.as_str().to_owned(),
        state: state.as_str().to_owned(),
    })
}

/// Holds units, whole or not at all.
#[utoipa::path(post, path = "/api/inventory/reserve", tag = "inventory", request_body = Reserve,
    security(("bearer" = ["admin", "service"])),
    responses((status = 200, body = Standing, description = "Where the reservation stands"),
              (status = 409, body = Problem, description = "sold_out, units_held, order_final"),
              (status = 422, body = Problem, description = "idempotency_key_reused: other units are held under this id")))]
pub(super) async fn reserve(
    State(inventory): State<Inventory>,
    caller: Caller,
    Json(wanted): Json<Reserve>,
) -> Result<Json<Standing>, Problem> {
    caller.require(&[Role::Admin, Role::Service])?;
    let order = named(&wanted.order_id)?;
    let items = wanted.check()?;
    let now = inventory.clock.now();
    let expires_at = now + inventory.terms.ttl;
    let (store, id) = (inventory.store.clone(), order.clone());
    let wanted = items.clone();
    let (made, state) = mongo::detached(async move {
        store
            .clone()
            .transactions
            .run(|session| {
                let new = NewReservation {
                    order: id.clone(),
                    items: items.clone(),
                    state: ReservationState::Held,
                    expires_at: Some(expires_at),
                    reason: None,
                };
                let store = store.clone();
                async move { reserve_in(&store, session, new, now).await }.boxed()
            })
            .await
    })
    .await?;
    if made {
        for item in &wanted {
            let taken = -i64::from(item.quantity.get());
            inventory.gate.add(&item.product_id, taken).await;
        }
    }
    Ok(standing("Units are held", &order, state))
}

/// Returns whether the units were held now, and where the reservation stands.
async fn reserve_in(
    store: &Store,
    session: &mut ClientSession,
    new: NewReservation,
    now: Timestamp,
) -> Result<(bool, ReservationState), Refusal> {
    if let Some(existing) = find(store, session, &new.order).await? {
        if by_product(&existing.items) != by_product(&new.items) {
            let detail = format!(
                "Other units were asked for under the orderId {} before; take a new one.",
                new.order
            );
            return Err(Problem::new(Code::IdempotencyKeyReused, detail).into());
        }
        return match existing.state {
            ReservationState::Held | ReservationState::Confirmed => Ok((false, existing.state)),
            ReservationState::Rejected | ReservationState::Released => Err(Problem::new(
                Code::OrderFinal,
                "The reservation under this orderId is over; hold units under a new one.",
            )
            .into()),
        };
    }
    let products: BTreeSet<ProductId> = new.items.iter().map(|item| item.product_id.clone()).collect();
    let mut accounts = store.accounts(session, &products).await?;
    for (index, item) in new.items.iter().enumerate() {
        let account = accounts.get_mut(&item.product_id).ok_or_else(|| {
            Problem::field(format!("items[{index}].productId"), "is no product of this sale")
        })?;
        let units = item.quantity.get();
        if account.reserve(u64::from(units)).is_err() {
            let sku = store.sku(session, &item.product_id).await?;
            let left = u32::try_from(account.available()).unwrap_or(u32::MAX);
            let all_sold = account.sold() == account.total();
            return Err(Problem::too_few(&sku, units, left, all_sold).into());
        }
    }
    let posting = |item: &OrderedItem| Posting::of(item, &new.order, Cause::Reserved);
    let plan = Plan {
        postings: new.items.iter().map(posting).collect(),
        created: vec![new],
        stock: accounts,
        ..Plan::default()
    };
    store.write(session, &plan, Origin::Direct, now).await?;
    Ok((true, ReservationState::Held))
}

/// The units of each product, whatever the order of the lines.
fn by_product(items: &[OrderedItem]) -> BTreeMap<&ProductId, u64> {
    let mut units = BTreeMap::new();
    for item in items {
        *units.entry(&item.product_id).or_default() += u64::from(item.quantity.get());
    }
    units
}

async fn find(
    store: &Store,
    session: &mut ClientSession,
    order: &OrderId,
) -> Result<Option<Reservation>, Refusal> {
    Ok(store
        .reservations
        .find_one(doc! {"_id": order.as_str()})
        .session(session)
        .await?)
}

/// Gives held units back. Those of an order go back when it is cancelled for that; its units stay if it was confirmed
/// before.
#[utoipa::path(post, path = "/api/inventory/release", tag = "inventory", request_body = Which,
    security(("bearer" = ["admin", "service"])),
    responses((status = 200, body = Standing, description = "Where the reservation stands"),
              (status = 404, body = Problem, description = "not_found: nothing was ever held under this id"),
              (status = 409, body = Problem, description = "order_final: it has come to another end")))]
pub(super) async fn release(
    State(inventory): State<Inventory>,
    caller: Caller,
    Json(which): Json<Which>,
) -> Result<Json<Standing>, Problem> {
    caller.require(&[Role::Admin, Role::Service])?;
    let order = named(&which.order_id)?;
    let (store, id, now) = (inventory.store.clone(), order.clone(), inventory.clock.now());
    let ended = mongo::detached(async move { expiry::end_hold(&store, &id, Why::Asked, now).await })
        .await
        .map_err(|e| store_problem(&e))?;
    let (message, state) = match ended {
        Ended::Unknown => return Err(Problem::not_found("reservation")),
        Ended::Paid => return Err(is_final(&order, "is paid")),
        Ended::Stands(ReservationState::Held) => (
            "The order is asked to give its units back",
            ReservationState::Held,
        ),
        Ended::Stands(ReservationState::Confirmed) => return Err(is_final(&order, "is sold")),
        Ended::Stands(ReservationState::Rejected) => {
            let detail = format!("Nothing was ever held under {order}: there were too few units.");
            return Err(Problem::new(Code::OrderFinal, detail));
        }
        Ended::GaveBack(items) => {
            inventory.gate.add_all(&items).await;
            ("Units were given back", ReservationState::Released)
        }
        Ended::Stands(state) => ("Units were given back", state),
    };
    Ok(standing(message, &order, state))
}

/// 409: what was held has come to another end than the one that is asked for.
fn is_final(order: &OrderId, how: &str) -> Problem {
    let detail = format!(
        "What was held under {order} {how}, and that is not changed any more; GET /api/orders/{order} says what became of \
         an order."
    );
    Problem::new(Code::OrderFinal, detail)
}

/// Confirms held units, which are sold at once. Those of an order are for the order to confirm: it is asked to, and
/// POST /api/orders/{id}/confirm answers whether it does.
#[utoipa::path(post, path = "/api/inventory/confirm", tag = "inventory", request_body = Which,
    security(("bearer" = ["admin", "service"])),
    responses((status = 200, body = Standing, description = "Where the reservation stands"),
              (status = 404, body = Problem, description = "not_found: nothing was ever held under this id"),
              (status = 409, body = Problem, description = "order_final: it has come to another end")))]
pub(super) async fn confirm(
    State(inventory): State<Inventory>,
    caller: Caller,
    Json(which): Json<Which>,
) -> Result<Json<Standing>, Problem> {
    caller.require(&[Role::Admin, Role::Service])?;
    let order = named(&which.order_id)?;
    let (store, id, now) = (inventory.store.clone(), order.clone(), inventory.clock.now());
    let state = mongo::detached(async move {
        store
            .clone()
            .transactions
            .run(|session| {
                let (store, id) = (store.clone(), id.clone());
                async move { confirm_in(&store, session, &id, now).await }.boxed()
            })
            .await
    })
    .await?;
    let message = match state {
        ReservationState::Confirmed => "Confirmed",
        _ => "The order is asked to be confirmed; POST /api/orders/{orderId}/confirm answers whether it is",
    };
    Ok(standing(message, &order, state))
}

async fn confirm_in(
    store: &Store,
    session: &mut ClientSession,
    order: &OrderId,
    now: Timestamp,
) -> Result<ReservationState, Refusal> {
    let reservation = find(store, session, order)
        .await?
        .ok_or_else(|| Problem::not_found("reservation"))?;
    match reservation.state {
        ReservationState::Held => {}
        ReservationState::Confirmed => return Ok(ReservationState::Confirmed),
        ReservationState::Released | ReservationState::Rejected => {
            return Err(is_final(order, "has gone back").into());
        }
    }
    if reservation.origin == Origin::Order {
        match reservation.told {
            Some(Told::Paid) => return Ok(ReservationState::Held),
            Some(Told::Ended) => return Err(is_final(order, "goes back").into()),
            None => {}
        }
        // The deadline goes, and the units move when the order itself says that it is confirmed.
        store
            .tell(session, order, Told::Paid, InventoryOutcome::Paid, now)
            .await?;
        return Ok(ReservationState::Held);
    }
    let products: BTreeSet<ProductId> = reservation
        .items
        .iter()
        .map(|item| item.product_id.clone())
        .collect();
    let mut accounts = store.accounts(session, &products).await?;
    for item in &reservation.items {
        if let Some(account) = accounts.get_mut(&item.product_id) {
            account
                .confirm(u64::from(item.quantity.get()))
                .map_err(|error| Problem::internal(&error))?;
        }
    }
    let confirmed = Move {
        from: ReservationState::Held,
        to: ReservationState::Confirmed,
    };
    let plan = Plan {
        moved: [(order.clone(), confirmed)].into(),
        stock: accounts,
        postings: reservation
            .items
            .iter()
            .map(|item| Posting::of(item, order, Cause::Sold))
            .collect(),
        ..Plan::default()
    };
    store.write(session, &plan, Origin::Direct, now).await?;
    Ok(ReservationState::Confirmed)
}

fn named(id: &str) -> Result<OrderId, Problem> {
    if (1..=LONGEST_ORDER_ID).contains(&id.chars().count()) {
        Ok(OrderId::new(id))
    } else {
        Err(Problem::field(
            "orderId",
            format!("must have from 1 to {LONGEST_ORDER_ID} characters"),
        ))
    }
}

impl Reserve {
    fn check(&self) -> Result<Vec<OrderedItem>, Problem> {
        if !(1..=MOST_ITEMS).contains(&self.items.len()) {
            let detail = format!(
                "must have from 1 to {MOST_ITEMS} entries, not {}",
                self.items.len()
            );
            return Err(Problem::field("items", detail));
        }
        let item = |(index, item): (usize, &Item)| {
            let product_id = match (&item.product_id, &item.sku) {
                (Some(id), None) => ProductId::new(id.clone()),
                (None, Some(sku)) => sku.product_id(),
                _ => {
                    return Err(Problem::field(
                        format!("items[{index}]"),
                        "needs either productId or sku, and not both",
                    ));
                }
            };
            Ok(OrderedItem {
                product_id,
                quantity: item.quantity,
            })
        };
        self.items.iter().enumerate().map(item).collect()
    }
}
