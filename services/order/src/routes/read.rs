//! Reading orders.

use super::{Orders, busy, owner};
use crate::{
    document::{Order, OrderView},
    settlement::Numbers,
    store::After,
};
use axum::extract::State;
use platform::{
    backends::mongo::{self, MongoError},
    http::{
        Json, Path, Query,
        authorization::Caller,
        page::{Page, PageQuery},
        problem::Problem,
    },
    tokens::Role,
};
use sale::{OrderId, UserId, account::Count};
use serde::Deserialize;
use utoipa::IntoParams;

/// Which orders are wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Wanted {
    /// Items wanted, 1 to 100; 20 when left out.
    #[param(minimum = 1, maximum = 100)]
    limit: Option<u32>,
    /// `nextCursor` of the page before.
    #[param(pattern = "^[A-Za-z0-9_-]*$")]
    cursor: Option<String>,
    /// The one order of yours that was placed with this key, if there is one.
    idempotency_key: Option<String>,
}

/// Your orders, newest first; an admin sees everybody's. With `idempotencyKey` the one that this key has made, for who has lost the
/// answer.
#[utoipa::path(get, path = "/api/orders", tag = "orders", security(("bearer" = [])), params(Wanted),
    responses((status = 200, body = Page<OrderView>, description = "A page of orders")))]
pub(super) async fn list(
    State(orders): State<Orders>,
    caller: Caller,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Page<OrderView>>, Problem> {
    let query = PageQuery::new(wanted.limit, wanted.cursor);
    let limit = query.limit()?;
    let after = match query.after()? {
        None => None,
        Some(key) => Some(
            After::parse(&key).ok_or_else(|| Problem::field("cursor", "is not a nextCursor of this list"))?,
        ),
    };
    if let Some(key) = wanted.idempotency_key {
        return made_with(&orders, &caller.0.user, &key).await;
    }
    let (store, user) = (orders.store.clone(), owner(&caller));
    let found = mongo::detached(async move {
        store
            .page(user.as_ref(), after, limit as usize + 1)
            .await
            .map_err(MongoError::from)
    })
    .await
    .map_err(|error| busy(&error))?;
    let page = Page::cut(found, limit, After::key);
    Ok(Json(page.map(|order: Order| order.view(orders.currency))))
}

async fn made_with(orders: &Orders, user: &UserId, key: &str) -> Result<Json<Page<OrderView>>, Problem> {
    let (store, id) = (orders.store.clone(), OrderId::derive(user, key.trim()));
    let found = mongo::detached(async move { store.order(&id).await.map_err(MongoError::from) })
        .await
        .map_err(|error| busy(&error))?;
    Ok(Json(Page {
        items: found.iter().map(|order| order.view(orders.currency)).collect(),
        next_cursor: None,
    }))
}

/// One order of yours; an admin sees everybody's.
#[utoipa::path(get, path = "/api/orders/{id}", tag = "orders", security(("bearer" = [])),
    params(("id" = String, Path, description = "The order's _id")),
    responses((status = 200, body = OrderView, description = "The order"),
              (status = 404, body = Problem, description = "not_found")))]
pub(super) async fn show(
    State(orders): State<Orders>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<OrderView>, Problem> {
    let (store, id) = (orders.store.clone(), OrderId::new(id));
    let order = mongo::detached(async move { store.order(&id).await.map_err(MongoError::from) })
        .await
        .map_err(|error| busy(&error))?
        .filter(|order| caller.sees_everything() || order.user_id == caller.0.user)
        .ok_or_else(|| Problem::not_found("order"))?;
    Ok(Json(order.view(orders.currency)))
}

/// Numbers of the sale; for services.
pub(super) async fn settlement(
    State(orders): State<Orders>,
    caller: Caller,
) -> Result<Json<Numbers>, Problem> {
    caller.require(&[Role::Service, Role::Admin])?;
    orders
        .settlement
        .numbers()
        .await
        .map(Json)
        .map_err(|error| busy(&error))
}

/// What became of the orders of a sale that is over; for services.
pub(super) async fn account(State(orders): State<Orders>, caller: Caller) -> Result<Json<Count>, Problem> {
    caller.require(&[Role::Service, Role::Admin])?;
    orders
        .accounts
        .ask()
        .await
        .map(Json)
        .map_err(|error| busy(&error))
}
