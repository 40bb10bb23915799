//! `POST /api/orders`

use super::Orders;
use crate::{
    accept::{Answer, Wish, WishedItem},
    catalogue::{Missing, Named},
    document::OrderView,
};
use axum::{
    body::Bytes,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use futures::{FutureExt, future::join_all};
use platform::{
    http::{
        Json,
        authorization::Caller,
        idempotency,
        line::Line,
        parse_json,
        problem::{Code, Problem},
        together::{self, Answered, Asked, Serving},
    },
    traces::context,
};
use sale::{
    ProductId, Quantity, Sku, UserId,
    catalogue::{PricedItem, total},
    order::MOST_ITEMS,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::panic::AssertUnwindSafe;
use utoipa::ToSchema;

/// An order to place.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewOrder {
    /// 1 to 100 lines, each of another product.
    #[schema(value_type = Vec<Line>, min_items = 1, max_items = 100)]
    items: Vec<NewItem>,
}

/// One line: a product by id or by SKU, and how many units. [`Line`] describes it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct NewItem {
    product_id: Option<String>,
    sku: Option<Sku>,
    quantity: Quantity,
}

/// The answer to an accepted order.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Placed {
    /// For people.
    message: String,
    /// The order.
    order: OrderView,
}

/// Places an order. 201 means that it is accepted and will come to an end that you can read and are told of.
#[utoipa::path(post, path = "/api/orders", tag = "orders", request_body = NewOrder, security(("bearer" = [])),
    params(("Idempotency-Key" = String, Header, min_length = 1, max_length = 255, pattern = "^[!-~]([ -~]*[!-~])?$",
            description = "1 to 255 printable characters; one key makes one order")),
    responses((status = 201, body = Placed, description = "Accepted; Location is the order's address. For a repeat, with Idempotency-Replayed: true",
            links(("order" = (operation_id = "orders_show", parameters(("id" = "$response.body#/order/_id")),
                              description = "What became of it")),
                  ("by-key" = (operation_id = "orders_list",
                               parameters(("idempotencyKey" = "$request.header.Idempotency-Key")),
                               description = "The order of this key, for who has lost the answer")),
                  ("cancel" = (operation_id = "orders_cancel", parameters(("id" = "$response.body#/order/_id")),
                               description = "Calls it off while it is PENDING")))),
        (status = 409, body = Problem, description = "sold_out, units_held, sale_not_open, sale_closed, sale_halted, customer_limit"),
        (status = 422, body = Problem, description = "idempotency_key_reused")))]
pub(super) async fn place(
    State(orders): State<Orders>,
    caller: Caller,
    headers: HeaderMap,
    Json(new): Json<NewOrder>,
) -> Result<Response, Problem> {
    let key = idempotency::key(&headers)?.ok_or_else(idempotency::missing)?;
    let traceparent = context::of_headers(&headers).map(str::to_owned);
    place_one(&orders, caller.0.user, key, traceparent, &new).await
}

/// Places orders that a gateway has sent on together. Who orders each of them, its own token says.
pub(super) async fn place_together(State(orders): State<Orders>, body: Bytes) -> Result<Response, Problem> {
    let asked: Vec<Asked<'_>> = serde_json::from_slice(&body)
        .map_err(|error| Problem::field("body", format!("is no list of orders: {error}")))?;
    if asked.len() > together::MOST {
        return Err(Problem::field(
            "body",
            format!("has more than {} orders", together::MOST),
        ));
    }
    let answers = asked.iter().map(async |one| {
        let serving = Serving::begin("order", one);
        let placing = AssertUnwindSafe(place_asked(&orders, one, serving.context().to_owned()));
        // What one of them does is no affair of the others.
        let placed = placing
            .catch_unwind()
            .await
            .unwrap_or_else(|_| Err(Problem::internal(&"placing an order panicked")));
        Answered::of(serving.end(placed.unwrap_or_else(IntoResponse::into_response))).await
    });
    let answers: Vec<Answered> = join_all(answers).await;
    Ok(Json(answers).into_response())
}

async fn place_asked(orders: &Orders, asked: &Asked<'_>, context: String) -> Result<Response, Problem> {
    let user = orders.authority.identify(&asked.token)?.user;
    let key = idempotency::check(&asked.key)?;
    let new: NewOrder = parse_json(asked.body.get().as_bytes())?;
    place_one(orders, user, key, Some(context), &new).await
}

async fn place_one(
    orders: &Orders,
    user: UserId,
    idempotency_key: String,
    traceparent: Option<String>,
    new: &NewOrder,
) -> Result<Response, Problem> {
    let asked_at = orders.asked_at()?;
    let items = price(orders, &new.items).await?;
    let priced: Vec<PricedItem> = items.iter().map(|item| item.priced.clone()).collect();
    let total = total(&priced).ok_or_else(|| Problem::field("items", "add up to too large an amount"))?;
    let wish = Wish {
        user,
        idempotency_key,
        body_hash: body_hash(&priced),
        items,
        total,
        traceparent,
        asked_at,
    };
    answer(orders.acceptor.accept(wish).await, orders)
}

fn answer(answer: Answer, orders: &Orders) -> Result<Response, Problem> {
    let placed = |order: crate::document::Order, message: &str| {
        let placed = Placed {
            message: message.to_owned(),
            order: order.view(orders.currency),
        };
        let location = format!("/api/orders/{}", placed.order.id);
        (StatusCode::CREATED, [(header::LOCATION, location)], Json(placed)).into_response()
    };
    match answer {
        Answer::Accepted(order) => Ok(placed(order, "Order accepted")),
        Answer::Replayed(order) => {
            let mut response = placed(order, "Order was accepted before");
            response
                .headers_mut()
                .insert(idempotency::REPLAYED, HeaderValue::from_static("true"));
            Ok(response)
        }
        Answer::KeyReused => Err(idempotency::reused("order with other items")),
        Answer::CustomerLimit { sku, limit } => {
            let detail = format!(
                "Each customer may buy {limit} of {sku}, and with your other orders this one would be more."
            );
            let mut problem = Problem::new(Code::CustomerLimit, detail);
            problem.sku = Some(sku);
            problem.limit = Some(limit);
            Err(problem)
        }
        Answer::NotOpen(admission) => Err(Problem::outside_the_sale(admission).unwrap_or_else(Problem::busy)),
        Answer::Busy => Err(Problem::busy()),
    }
}

async fn price(orders: &Orders, items: &[NewItem]) -> Result<Vec<WishedItem>, Problem> {
    if !(1..=MOST_ITEMS).contains(&items.len()) {
        return Err(Problem::field(
            "items",
            format!("must have from 1 to {MOST_ITEMS} entries, not {}", items.len()),
        ));
    }
    let mut priced: Vec<WishedItem> = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        let (named, field) = match (&item.product_id, &item.sku) {
            (Some(id), None) => (Named::Id(ProductId::new(id.clone())), "productId"),
            (None, Some(sku)) => (Named::Sku(sku.clone()), "sku"),
            _ => {
                return Err(Problem::field(
                    format!("items[{index}]"),
                    "needs either productId or sku, and not both",
                ));
            }
        };
        let field = format!("items[{index}].{field}");
        let product = orders
            .catalogue
            .product(&named)
            .await
            .map_err(|missing| match missing {
                Missing::Unknown => Problem::field(field.clone(), "is no product of this sale"),
                Missing::NoAnswer => Problem::busy(),
            })?;
        if priced.iter().any(|other| other.priced.product_id == product.id) {
            return Err(Problem::field(field, "is named twice; add the quantities up"));
        }
        priced.push(WishedItem {
            priced: PricedItem {
                product_id: product.id,
                sku: product.sku,
                quantity: item.quantity,
                price: product.price,
            },
            limit_per_customer: product.limit_per_customer,
        });
    }
    Ok(priced)
}

/// What is ordered, whatever the order of its lines; the price is not part of it, since a repeat may come after a
/// change of price.
fn body_hash(items: &[PricedItem]) -> String {
    let mut lines: Vec<String> = items
        .iter()
        .map(|item| format!("{}={}", item.product_id, item.quantity.get()))
        .collect();
    lines.sort();
    hex::encode(Sha256::digest(lines.join("\n").as_bytes()))
}
