//! The ledger in MongoDB: append-only, written in the transaction that moves the units.
//!
//! An entry is about one product and one cause, and lists the orders whose units moved: a batch that reserves for a thousand
//! orders writes one. Entries of a product are numbered without a gap, and the product knows the last number, so that one that is
//! missing is noticed.

use events::message::OrderedItem;
use mongodb::bson::DateTime;
use sale::{
    OrderId, ProductId,
    ledger::{Cause, Place},
    stock::Stock,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Name of the collection.
pub const COLLECTION: &str = "ledger";

/// The most orders in one entry: some hundred kilobytes.
const MOST_LINES: usize = 2_000;

/// Units of one product that moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Posting {
    /// Which product.
    pub product: ProductId,
    /// Why.
    pub cause: Cause,
    /// For which order; none where somebody changed the stock.
    pub order: Option<OrderId>,
    /// How many.
    pub units: u64,
}

impl Posting {
    /// Of a line of an order.
    pub fn of(item: &OrderedItem, order: &OrderId, cause: Cause) -> Self {
        Self {
            product: item.product_id.clone(),
            cause,
            order: Some(order.clone()),
            units: u64::from(item.quantity.get()),
        }
    }

    /// Of a change of stock; nothing where it stays what it was.
    pub fn of_stock(product: &ProductId, delta: i64) -> Option<Self> {
        (delta != 0).then(|| Self {
            product: product.clone(),
            cause: if delta > 0 {
                Cause::Stocked
            } else {
                Cause::Withdrawn
            },
            order: None,
            units: delta.unsigned_abs(),
        })
    }
}

/// An entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// `<product>/<number>`, the number with zeros in front, so that the order of ids is that of numbers.
    #[serde(rename = "_id")]
    pub id: String,
    /// Which product.
    pub product: ProductId,
    /// From 1, without a gap.
    pub number: i64,
    /// Why.
    pub cause: Cause,
    /// Where the units come from.
    pub from: Place,
    /// Where they went.
    pub to: Place,
    /// How many, over all lines.
    pub units: i64,
    /// The orders; empty where somebody changed the stock.
    #[serde(default)]
    pub lines: Vec<Line>,
    /// When.
    pub at: DateTime,
}

/// What moved for one order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// The order.
    pub order: OrderId,
    /// Units.
    pub units: i64,
}

/// The entries of some postings, numbered from 1 for each product: whoever writes them adds the number of the product's last entry.
/// Postings of a product and a cause that follow each other are one entry.
pub(crate) fn entries(postings: &[Posting], at: DateTime) -> BTreeMap<ProductId, Vec<Entry>> {
    let mut of_product: BTreeMap<ProductId, Vec<Entry>> = BTreeMap::new();
    for posting in postings {
        let units = i64::try_from(posting.units).unwrap_or(i64::MAX);
        let line = posting.order.clone().map(|order| Line { order, units });
        let entries = of_product.entry(posting.product.clone()).or_default();
        let number = i64::try_from(entries.len() + 1).unwrap_or(i64::MAX);
        match entries.last_mut() {
            Some(entry) if entry.cause == posting.cause && entry.lines.len() < MOST_LINES => {
                entry.units += units;
                entry.lines.extend(line);
            }
            _ => entries.push(Entry {
                id: String::new(),
                product: posting.product.clone(),
                number,
                cause: posting.cause,
                from: posting.cause.from(),
                to: posting.cause.to(),
                units,
                lines: line.into_iter().collect(),
                at,
            }),
        }
    }
    of_product
}

impl Entry {
    /// The entry behind others of its product.
    pub(crate) fn after(self, last: i64) -> Self {
        let number = self.number + last;
        Self {
            id: id_of(&self.product, number),
            number,
            ..self
        }
    }
}

/// The id of an entry.
pub fn id_of(product: &ProductId, number: i64) -> String {
    format!("{product}/{number:019}")
}

/// What must have happened to an account that is older than its ledger.
pub(crate) fn carried_forward(product: &ProductId, account: &Stock) -> Vec<Posting> {
    let held = account.reserved() + account.sold();
    [
        (Cause::Stocked, account.total()),
        (Cause::Reserved, held),
        (Cause::Sold, account.sold()),
    ]
    .into_iter()
    .filter(|(_, units)| *units > 0)
    .map(|(cause, units)| Posting {
        product: product.clone(),
        cause,
        order: None,
        units,
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use sale::ledger::Sums;

    #[test]
    fn a_batch_is_one_entry_for_each_product_and_cause() {
        let posting = |product: &str, cause, order: &str, units| Posting {
            product: ProductId::new(product),
            cause,
            order: Some(OrderId::new(order)),
            units,
        };
        let postings = [
            posting("a", Cause::Reserved, "1", 2),
            posting("b", Cause::Reserved, "1", 1),
            posting("a", Cause::Reserved, "2", 3),
            posting("a", Cause::Sold, "1", 2),
        ];
        let entries = entries(&postings, DateTime::from_millis(0));
        let entries: Vec<_> = entries
            .into_values()
            .flatten()
            .map(|entry| entry.after(7))
            .collect();
        let seen: Vec<_> = entries
            .iter()
            .map(|e| (e.product.as_str(), e.number, e.cause, e.units, e.lines.len()))
            .collect();
        assert_eq!(
            seen,
            [
                ("a", 8, Cause::Reserved, 5, 2),
                ("a", 9, Cause::Sold, 2, 1),
                ("b", 8, Cause::Reserved, 1, 1)
            ]
        );
    }

    #[test]
    fn what_is_carried_forward_adds_up_to_the_account() {
        let account = Stock::from_parts(10, 3, 2).unwrap();
        let mut sums = Sums::default();
        for posting in carried_forward(&ProductId::new("a"), &account) {
            sums.add(posting.cause, i64::try_from(posting.units).unwrap());
        }
        assert_eq!((sums.stock, sums.reserved, sums.sold), (10, 3, 2));
        assert!(carried_forward(&ProductId::new("a"), &Stock::new(0)).is_empty());
    }
}
