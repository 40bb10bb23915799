//! Ending an order: its buyer cancels it, or a payment service says how the payment went.

use super::{Orders, owner};
use crate::{
    decide::{Decided, Request},
    document::OrderView,
};
use axum::extract::State;
use platform::{
    http::{
        Json, Path,
        authorization::Caller,
        problem::{Code, Problem},
    },
    tokens::Role,
};
use sale::{
    OrderId, UserId,
    order::{Decision, OrderStatus},
};
use serde::Serialize;
use utoipa::ToSchema;

/// Seconds until a payment whose order holds no units yet may be confirmed, as a rule.
const HELD_WITHIN: u64 = 1;

/// An order that has come to its end.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct EndedView {
    /// For people.
    message: String,
    /// The order.
    order: OrderView,
}

/// Calls an order off while it is PENDING.
#[utoipa::path(post, path = "/api/orders/{id}/cancel", tag = "orders", security(("bearer" = [])),
    params(("id" = String, Path, description = "The order's _id")),
    responses((status = 200, body = EndedView, description = "The cancelled order"),
              (status = 404, body = Problem, description = "not_found"),
              (status = 409, body = Problem, description = "order_final: orderStatus says what it came to")))]
pub(super) async fn cancel(
    State(orders): State<Orders>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<EndedView>, Problem> {
    let user = owner(&caller);
    end(orders, user, id, Decision::Cancel, "Order cancelled").await
}

/// Confirms an order that was paid. Repeats are answered alike. An answer of 409 order_final says that the payment came too late: give
/// the money back.
#[utoipa::path(post, path = "/api/orders/{id}/confirm", tag = "orders",
    security(("bearer" = ["admin", "service"])),
    params(("id" = String, Path, description = "The order's _id")),
    responses((status = 200, body = EndedView, description = "The confirmed order"),
              (status = 404, body = Problem, description = "not_found"),
              (status = 409, body = Problem, description = "order_final, not_held_yet: of the first orderStatus says what it came to; after the second ask again")))]
pub(super) async fn confirm(
    State(orders): State<Orders>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<EndedView>, Problem> {
    caller.require(&[Role::Admin, Role::Service])?;
    end(orders, None, id, Decision::Pay, "Order confirmed").await
}

/// Ends an order whose payment failed: its units go back. Repeats are answered alike.
#[utoipa::path(post, path = "/api/orders/{id}/fail", tag = "orders",
    security(("bearer" = ["admin", "service"])),
    params(("id" = String, Path, description = "The order's _id")),
    responses((status = 200, body = EndedView, description = "The failed order"),
              (status = 404, body = Problem, description = "not_found"),
              (status = 409, body = Problem, description = "order_final: orderStatus says what it came to")))]
pub(super) async fn fail(
    State(orders): State<Orders>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<EndedView>, Problem> {
    caller.require(&[Role::Admin, Role::Service])?;
    end(orders, None, id, Decision::Decline, "Order failed").await
}

async fn end(
    orders: Orders,
    user: Option<UserId>,
    id: String,
    decision: Decision,
    message: &str,
) -> Result<Json<EndedView>, Problem> {
    let request = Request {
        order: OrderId::new(id),
        user,
        decision,
        asked_at: orders.asked_at()?,
    };
    match orders.decider.decide(request).await.ok_or_else(Problem::busy)? {
        Decided::Done(order) | Decided::Already(order) => Ok(Json(EndedView {
            message: message.to_owned(),
            order: order.view(orders.currency),
        })),
        Decided::Final(order) => {
            let status = order.status.as_str();
            let what_to_do = match decision {
                Decision::Pay => "so the payment came too late: give the money back",
                Decision::Decline if order.status == OrderStatus::Confirmed => {
                    "so it was paid before, and its units are sold"
                }
                Decision::Decline => "so it was over already, and nothing is left to do",
                Decision::Cancel | Decision::Expire => "and can no longer be cancelled",
            };
            let mut problem = Problem::new(Code::OrderFinal, format!("The order is {status}, {what_to_do}."));
            problem.order_status = Some(order.status);
            Err(problem)
        }
        Decided::NotHeld(_) => Err(Problem::new(
            Code::NotHeldYet,
            "The order's units are not held yet, so it cannot be confirmed; ask again in a moment.",
        )
        .retry_after(HELD_WITHIN)),
        Decided::NotFound => Err(Problem::not_found("order")),
    }
}
