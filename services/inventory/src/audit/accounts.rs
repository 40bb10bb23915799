//! Ledger and reservations against the stock accounts, from one snapshot.

use super::Audit;
use crate::store::{Store, StoreError};
use futures::{FutureExt, TryStreamExt};
use mongodb::{
    ClientSession,
    bson::{Document, doc},
};
use sale::{
    ProductId,
    books::Difference,
    ledger::{Cause, Sums},
    order::ReservationState,
};
use serde::Deserialize;
use std::collections::HashMap;

/// Entries of one product and cause.
#[derive(Deserialize)]
struct Row {
    #[serde(rename = "_id")]
    of: Of,
    units: i64,
    entries: i64,
    last: i64,
}

#[derive(Deserialize)]
struct Of {
    product: ProductId,
    cause: Cause,
}

/// Reservations of one product in one state.
#[derive(Deserialize)]
struct Held {
    #[serde(rename = "_id")]
    of: HeldOf,
    units: i64,
}

#[derive(Deserialize)]
struct HeldOf {
    product: ProductId,
    state: ReservationState,
}

/// What the ledger says of one product.
#[derive(Default)]
struct Added {
    sums: Sums,
    entries: i64,
    last: i64,
}

/// Compares them.
///
/// # Errors
/// The store's.
pub(super) async fn check(store: &Store) -> Result<Audit, StoreError> {
    store
        .transactions
        .run(|session| {
            let store = store.clone();
            async move { check_in(&store, session).await }.boxed()
        })
        .await
}

async fn check_in(store: &Store, session: &mut ClientSession) -> Result<Audit, StoreError> {
    let mut cursor = store.products.find(doc! {}).session(&mut *session).await?;
    let products: Vec<crate::product::Product> = cursor.stream(&mut *session).try_collect().await?;
    let (ledger, reservations) = (added(store, session).await?, held(store, session).await?);
    let mut audit = Audit {
        products: products.len() as u64,
        entries: ledger.values().map(|added| added.entries.unsigned_abs()).sum(),
        ..Audit::default()
    };
    for product in products {
        let account = Sums {
            stock: product.stock,
            reserved: product.reserved,
            sold: product.sold,
        };
        let nothing = Added::default();
        let added = ledger.get(&product.id).unwrap_or(&nothing);
        if added.entries != product.ledger || added.last != product.ledger {
            audit.name(Difference::Entries {
                product: product.id.clone(),
                found: added.entries,
                last: product.ledger.max(added.last),
            });
        }
        if added.sums != account {
            audit.name(Difference::Ledger {
                product: product.id.clone(),
                ledger: added.sums,
                account,
            });
        }
        let (reserved, sold) = reservations.get(&product.id).copied().unwrap_or_default();
        if (reserved, sold) != (account.reserved, account.sold) {
            audit.name(Difference::Reservations {
                product: product.id,
                reserved,
                sold,
                account,
            });
        }
    }
    Ok(audit)
}

async fn added(store: &Store, session: &mut ClientSession) -> Result<HashMap<ProductId, Added>, StoreError> {
    let by_cause = vec![doc! {"$group": {
        "_id": {"product": "$product", "cause": "$cause"},
        "units": {"$sum": "$units"},
        "entries": {"$sum": 1_i64},
        "last": {"$max": "$number"},
    }}];
    let mut cursor = store
        .ledger
        .aggregate(by_cause)
        .session(&mut *session)
        .with_type::<Row>()
        .await?;
    let rows: Vec<Row> = cursor.stream(session).try_collect().await?;
    let mut all: HashMap<ProductId, Added> = HashMap::new();
    for row in rows {
        let added = all.entry(row.of.product).or_default();
        added.sums.add(row.of.cause, row.units);
        added.entries += row.entries;
        added.last = added.last.max(row.last);
    }
    Ok(all)
}

/// Units held and sold, by product.
async fn held(
    store: &Store,
    session: &mut ClientSession,
) -> Result<HashMap<ProductId, (i64, i64)>, StoreError> {
    // Of every state: nearly all are sold in the end, so that looking them up by their state would cost more than reading on.
    let by_product: Vec<Document> = vec![
        doc! {"$unwind": "$items"},
        doc! {"$group": {
            "_id": {"product": "$items.productId", "state": "$state"},
            "units": {"$sum": "$items.quantity"},
        }},
    ];
    let mut cursor = store
        .reservations
        .aggregate(by_product)
        .session(&mut *session)
        .with_type::<Held>()
        .await?;
    let rows: Vec<Held> = cursor.stream(session).try_collect().await?;
    let mut all: HashMap<ProductId, (i64, i64)> = HashMap::new();
    for row in rows {
        let units = all.entry(row.of.product).or_default();
        match row.of.state {
            ReservationState::Held => units.0 += row.units,
            ReservationState::Confirmed => units.1 += row.units,
            ReservationState::Released | ReservationState::Rejected => {}
        }
    }
    Ok(all)
}
