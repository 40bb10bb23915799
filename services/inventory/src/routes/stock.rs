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
use axum::{extract::State, http::HeaderMap};
use futures::FutureExt;
use jiff::Timestamp;
use mongodb::{ClientSession, bson::doc};
use platform::{
    backends::mongo,
    http::{
        Json, Path,
        authorization::Caller,
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
    delta: i64,
}

/// Adds or takes away units. With an Idempotency-Key the change is made once, however often it is sent.
#[utoipa::path(post, path = "/api/inventory/products/{id}/stock", tag = "inventory", request_body = Delta,
    security(("bearer" = ["admin", "service"])),
    params(("id" = String, Path, description = "The product's _id"),
           ("Idempotency-Key" = Option<String>, Header, description = "Makes a repeat harmless")),
    responses((status = 200, body = Changed, description = "The product as it is now"),
              (status = 404, body = Problem, description = "not_found"),
              (status = 409, body = Problem, description = "stock_committed")))]
pub(super) async fn change(
    State(inventory): State<Inventory>,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
    Json(Delta { delta }): Json<Delta>,
) -> Result<Json<Changed>, Problem> {
    caller.require(&[Role::Admin, Role::Service])?;
    if delta.unsigned_abs() > MOST_STOCK.unsigned_abs() {
        return Err(Problem::field(
            "delta",
            format!("must be from -{MOST_STOCK} to {MOST_STOCK}, not {delta}"),
        ));
    }
    let key = headers
        .get("idempotency-key")
        .and_then(|key| key.to_str().ok())
        .map(str::to_owned);
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
    let product = product.view(inventory.currency);
    Ok(Json(Changed {
        message: "Stock changed".to_owned(),
        product,
    }))
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
        let mark = doc! {"_id": format!("{id}/{key}")};
        if store
            .stock_changes
            .find_one(mark.clone())
            .session(&mut *session)
            .await?
            .is_some()
        {
            return Ok((false, product));
        }
        store
            .stock_changes
            .insert_one(mark)
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
    Ok((true, product))
}
