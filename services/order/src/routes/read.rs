//! Reading and cancelling orders.

use super::Orders;
use crate::{
    cancel::{self, Cancelled},
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
        problem::{Code, Problem},
    },
    tokens::Role,
};
use sale::{OrderId, UserId};
use serde::Serialize;
use utoipa::ToSchema;

/// Your orders, newest first; an admin sees everybody's.
#[utoipa::path(get, path = "/api/orders", tag = "orders", security(("bearer" = [])), params(PageQuery),
    responses((status = 200, body = Page<OrderView>, description = "A page of orders")))]
pub(super) async fn list(
    State(orders): State<Orders>,
    caller: Caller,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<OrderView>>, Problem> {
    let limit = query.limit()?;
    let after = match query.after()? {
        None => None,
        Some(key) => Some(
            After::parse(&key).ok_or_else(|| Problem::field("cursor", "is not a nextCursor of this list"))?,
        ),
    };
    let (store, user) = (orders.store.clone(), owner(&caller));
    let found = mongo::detached(async move {
        store
            .page(user.as_ref(), after, i64::from(limit) + 1)
            .await
            .map_err(MongoError::from)
    })
    .await
    .map_err(|error| busy(&error))?;
    let page = Page::cut(found, limit, After::key);
    Ok(Json(page.map(|order: Order| order.view(orders.currency))))
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

/// The answer to a cancellation.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CancelledView {
    /// For people.
    message: String,
    /// The order.
    order: OrderView,
}

/// Calls an order off while it is PENDING.
#[utoipa::path(post, path = "/api/orders/{id}/cancel", tag = "orders", security(("bearer" = [])),
    params(("id" = String, Path, description = "The order's _id")),
    responses((status = 200, body = CancelledView, description = "The cancelled order"),
              (status = 404, body = Problem, description = "not_found"),
              (status = 409, body = Problem, description = "order_final")))]
pub(super) async fn cancel(
    State(orders): State<Orders>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<CancelledView>, Problem> {
    let (store, user, now) = (orders.store.clone(), owner(&caller), orders.clock.now());
    let id = OrderId::new(id);
    let cancelled: Result<_, cancel::CancelError> =
        mongo::detached(async move { cancel::cancel(store, id, user, now).await }).await;
    match cancelled.map_err(|error| busy(&error))? {
        Cancelled::Done(order) => {
            let order = order.view(orders.currency);
            Ok(Json(CancelledView {
                message: "Order cancelled".to_owned(),
                order,
            }))
        }
        Cancelled::Final(order) => Err(Problem::new(
            Code::OrderFinal,
            format!(
                "The order is {} already and cannot be cancelled.",
                order.status.as_str()
            ),
        )),
        Cancelled::NotFound => Err(Problem::not_found("order")),
    }
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

/// Whose orders a caller may see: its own, or with `None` everybody's.
fn owner(caller: &Caller) -> Option<UserId> {
    (!caller.sees_everything()).then(|| caller.0.user.clone())
}

fn busy(error: &dyn std::fmt::Display) -> Problem {
    tracing::warn!(%error, "the store does not answer");
    Problem::busy()
}
