//! The ledger of a sale: which units moved, when and why.

use crate::{place::Place, problems::busy};
use futures::TryStreamExt;
use inventory::ledger::{Entry, id_of};
use mongodb::bson::doc;
use order::document::Order;
use platform::{
    backends::mongo::{self, MongoError},
    http::{page::Page, problem::Problem},
};
use sale::{
    ProductId,
    ledger::{Cause, Place as Where},
};
use serde::Serialize;
use std::{collections::BTreeSet, sync::Arc, time::Duration};

/// Orders of an entry that are shown.
const LINES: usize = 50;
/// Entries of one order and product: it is held, and then sold or released.
const MOST: i64 = 20;
/// How long the database may look for those of one order.
const LOOKS_FOR: Duration = Duration::from_secs(3);

/// An entry as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EntryView {
    #[serde(rename = "_id")]
    id: String,
    product: String,
    number: i64,
    cause: Cause,
    from: Where,
    to: Where,
    units: i64,
    lines: Vec<LineView>,
    /// Orders that are not among the lines.
    more_lines: usize,
    at: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct LineView {
    order: String,
    units: i64,
}

/// Shows an entry: all its lines as far as they are few, or those of one order.
fn view(entry: Entry, order: Option<&Order>) -> EntryView {
    let is_shown = |line: &&inventory::ledger::Line| order.is_none_or(|order| line.order == order.id);
    let all = entry.lines.len();
    let lines: Vec<LineView> = entry
        .lines
        .iter()
        .filter(is_shown)
        .take(LINES)
        .map(|line| LineView {
            order: line.order.as_str().to_owned(),
            units: line.units,
        })
        .collect();
    EntryView {
        more_lines: all - lines.len(),
        id: entry.id,
        product: entry.product.to_string(),
        number: entry.number,
        cause: entry.cause,
        from: entry.from,
        to: entry.to,
        units: entry.units,
        lines,
        at: entry.at.try_to_rfc3339_string().unwrap_or_default(),
    }
}

/// A page of a product's entries, the newest first.
///
/// # Errors
/// 503.
pub async fn page(
    place: &Arc<Place>,
    product: ProductId,
    before: Option<String>,
    limit: u32,
) -> Result<Page<EntryView>, Problem> {
    let entries = place.database.collection::<Entry>(inventory::ledger::COLLECTION);
    let found = mongo::detached(async move {
        // Ids of a product are in the order of its numbers.
        let last = before.unwrap_or_else(|| id_of(&product, i64::MAX));
        let of_product = doc! {"_id": {"$gt": id_of(&product, 0), "$lt": last}};
        let page = entries
            .find(of_product)
            .sort(doc! {"_id": -1})
            .limit(i64::from(limit) + 1);
        Ok::<Vec<Entry>, MongoError>(page.await?.try_collect().await?)
    });
    let found = found.await.map_err(|error| busy(&error))?;
    Ok(Page::cut(found, limit, |entry| entry.id.clone()).map(|entry| view(entry, None)))
}

/// The entries that moved units of one order. There is no index by order, so the entries of its products are looked through from its
/// acceptance on, within bounds.
///
/// # Errors
/// 503, or where it takes too long.
pub(crate) async fn of_order(place: &Arc<Place>, order: &Order) -> Result<Vec<EntryView>, MongoError> {
    let entries = place.database.collection::<Entry>(inventory::ledger::COLLECTION);
    let order = order.clone();
    mongo::detached(async move {
        let products: BTreeSet<&ProductId> = order.items.iter().map(|item| &item.product_id).collect();
        let mut found = Vec::new();
        for product in products {
            let with_order = doc! {
                "_id": {"$gt": id_of(product, 0), "$lt": id_of(product, i64::MAX)},
                "at": {"$gte": order.created_at},
                "lines.order": order.id.as_str(),
            };
            let with_order = entries
                .find(with_order)
                .sort(doc! {"_id": 1})
                .limit(MOST)
                .max_time(LOOKS_FOR);
            let all: Vec<Entry> = with_order.await?.try_collect().await?;
            found.extend(all.into_iter().map(|entry| view(entry, Some(&order))));
        }
        Ok(found)
    })
    .await
}
