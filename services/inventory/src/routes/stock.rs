//! Changes of stock by a delta.

use super::{
    Inventory,
    products::{Changed, MOST_STOCK, Refusal},
};
use crate::{
    ledger::Posting,
    product::Product,
    store::{Store, StoreError},
};
use axum::{
    extract::State,
    http::{HeaderMap, HeaderValue},
    response::{IntoResponse, Response},
};
use futures::FutureExt;
use jiff::Timestamp;
use mongodb::{
    ClientSession,
    bson::{DateTime, doc},
};
use platform::{
    backends::mongo::{self, whole_number},
    http::{
        Json, Path,
        authorization::Caller,
        idempotency,
        problem::{Code, Problem},
    },
    tokens::Role,
};
use sale::ProductId;
use serde::Deserialize;
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// A change of stock.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Delta {
    /// Units to add, or with a minus to take away.
    #[schema(minimum = -1_000_000_000, maximum = 1_000_000_000)]
    delta: i64,
}

/// Adds or takes away units. With an Idempotency-Key the change is made once, however often it is sent, for as long as the sale is
/// kept.
#[utoipa::path(post, path = "/api/inventory/products/{id}/stock", tag = "inventory", request_body = Delta,
    security(("bearer" = ["admin", "service"])),
    params(("id" = String, Path, description = "The product's _id"),
           ("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 255, pattern = "^[!-~]([ -~]*[!-~])?$",
            description = "1 to 255 printable characters; makes a repeat harmless")),
    responses((status = 200, body = Changed, description = "The product as it is now; for a repeat, with Idempotency-Replayed: true"),
              (status = 404, body = Problem, description = "not_found"),
              (status = 409, body = Problem, description = "stock_committed"),
              (status = 422, body = Problem, description = "idempotency_key_reused: for another delta")))]
pub(super) async fn change(
    State(inventory): State<Inventory>,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
    Json(Delta { delta }): Json<Delta>,
) -> Result<Response, Problem> {
    caller.require(&[Role::Admin, Role::Service])?;
    if delta.unsigned_abs() > MOST_STOCK.unsigned_abs() {
        return Err(Problem::field(
            "delta",
            format!("must be from -{MOST_STOCK} to {MOST_STOCK}, not {delta}"),
        ));
    }
    let key = idempotency::key(&headers)?;
    let (store, id, now) = (inventory.store.clone(), ProductId::new(id), inventory.clock.now());
    let (made, product) = mongo::detached(async move {
        store
            .clone()
            .transactions
            .run(|session| {
                let (store, id, key) = (store.clone(), id.clone(), key.clone());
                async move { change_in(&store, session, &id, key.as_deref(), delta, now).await }.boxed()
            })
            .await
    })
    .await?;
    if made {
        inventory.gate.add(&product.id, delta).await;
    }
    let message = if made {
        "Stock changed"
    } else {
        "Stock was changed before"
    };
    let changed = Changed {
        message: message.to_owned(),
        product: product.view(inventory.currency),
    };
    let mut response = Json(changed).into_response();
    if !made {
        let headers = response.headers_mut();
        headers.insert(idempotency::REPLAYED, HeaderValue::from_static("true"));
    }
    Ok(response)
}

/// Makes the change unless its key shows that it was made; returns whether it was made now.
async fn change_in(
    store: &Store,
    session: &mut ClientSession,
    id: &ProductId,
    key: Option<&str>,
    delta: i64,
    now: Timestamp,
) -> Result<(bool, Product), Refusal> {
    let found = store
        .products
        .find_one(doc! {"_id": id.as_str()})
        .session(&mut *session)
        .await?;
    let mut product = found.ok_or_else(|| Problem::not_found("product"))?;
    if let Some(key) = key {
        let mark = format!("{id}/{key}");
        let made = store.stock_changes.find_one(doc! {"_id": &mark});
        if let Some(made) = made.session(&mut *session).await? {
            if made.contains_key("delta") && whole_number(&made, "delta")? != delta {
                return Err(idempotency::reused("other delta").into());
            }
            return Ok((false, product));
        }
        store
            .stock_changes
            .insert_one(doc! {"_id": mark, "delta": delta})
            .session(&mut *session)
            .await?;
    }
    let mut account = product.account().map_err(StoreError::from)?;
    account
        .adjust(delta)
        .map_err(|error| Problem::new(Code::StockCommitted, format!("The {error}.")))?;
    let postings: Vec<_> = Posting::of_stock(id, delta).into_iter().collect();
    store
        .post(session, &BTreeMap::from([(id.clone(), account)]), &postings, now)
        .await?;
    product.stock += delta;
    // An edit that was made from the stock before must not undo this.
    product.version += 1;
    product.updated_at = DateTime::from_millis(now.as_millisecond());
    let edited = doc! {"$set": {"updatedAt": product.updated_at}, "$inc": {"version": 1_i64}};
    store
        .products
        .update_one(doc! {"_id": id.as_str()}, edited)
        .session(session)
        .await?;
    Ok((true, product))
}
