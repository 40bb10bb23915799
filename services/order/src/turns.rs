//! What keeps two orders of one customer apart. Each order has a number among those of its customer, and no two have the same: who accepts
//! one reads what the customer has together with the last number, so of two at once one finds its number taken, runs again, and counts
//! the other's order. What a customer holds or has bought the orders say themselves.

use crate::{accept::Wish, store::Store};
use futures::TryStreamExt;
use mongodb::{
    ClientSession, IndexModel,
    bson::{RawDocumentBuf, doc},
    error::Error,
    options::IndexOptions,
};
use platform::backends::mongo::{Last, Read, last_of_each};
use sale::{ProductId, Quantity, UserId, catalogue, order::OrderStatus};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashMap, HashSet};

/// An order's number among those of its customer, from 1 on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Turn(i64);

impl Turn {
    fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// What an earlier version has accepted has no number.
pub(crate) fn index() -> IndexModel {
    let numbered = IndexOptions::builder()
        .unique(true)
        .partial_filter_expression(doc! {"turn": {"$gt": 0}})
        .build();
    IndexModel::builder()
        .keys(doc! {"userId": 1, "turn": -1})
        .options(numbered)
        .build()
}

/// What the customers of a batch have.
#[derive(Debug, Default)]
pub(crate) struct Customers {
    /// The last number of each, as far as they have one.
    last: HashMap<UserId, Turn>,
    /// Units that one holds or has bought of a product. Only of those who want a product with a limit.
    bought: HashMap<UserId, HashMap<ProductId, u64>>,
    /// Those of whom one of both is not known, because an order of theirs cannot be read.
    pub(crate) unknown: HashSet<UserId>,
}

/// Reads what the customers of a batch have, in its transaction.
///
/// # Errors
/// The driver's.
pub(crate) async fn read(
    store: &Store,
    session: &mut ClientSession,
    wishes: &[Wish],
) -> Result<Customers, Error> {
    let is_limited = |wish: &&Wish| wish.items.iter().any(|item| item.limit_per_customer.is_some());
    let mut customers = Customers::default();
    read_last(store, session, &users_of(wishes.iter()), &mut customers).await?;
    let limited = users_of(wishes.iter().filter(is_limited));
    if !limited.is_empty() {
        read_bought(store, session, &limited, &mut customers).await?;
    }
    Ok(customers)
}

/// Who wishes, each of them once.
fn users_of<'w>(wishes: impl Iterator<Item = &'w Wish>) -> Vec<&'w str> {
    let users: BTreeSet<&str> = wishes.map(|wish| wish.user.as_str()).collect();
    users.into_iter().collect()
}

/// What is read of an order to count it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Counted {
    user_id: UserId,
    items: Vec<CountedItem>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct CountedItem {
    product_id: ProductId,
    quantity: Quantity,
}

/// Reads what some users hold or have bought.
async fn read_bought(
    store: &Store,
    session: &mut ClientSession,
    users: &[&str],
    customers: &mut Customers,
) -> Result<(), Error> {
    let counts = [OrderStatus::Pending, OrderStatus::Confirmed].map(OrderStatus::as_str);
    let mut cursor = store
        .documents()
        .find(doc! {"userId": {"$in": users}, "status": {"$in": counts.to_vec()}})
        .projection(doc! {"userId": 1, "items": 1})
        .batch_size(2_000)
        .session(&mut *session)
        .await?;
    let orders: Vec<RawDocumentBuf> = cursor.stream(session).try_collect().await?;
    let orders = Read::<Counted>::each(orders, "order");
    let of_whom = |order: &RawDocumentBuf| order.get_str("userId").map(UserId::new).ok();
    customers
        .unknown
        .extend(orders.unreadable.iter().filter_map(of_whom));
    for order in orders.readable {
        let bought = customers.bought.entry(order.user_id).or_default();
        for item in order.items {
            *bought.entry(item.product_id).or_default() += u64::from(item.quantity.get());
        }
    }
    Ok(())
}

/// Reads the last number of some users.
async fn read_last(
    store: &Store,
    session: &mut ClientSession,
    users: &[&str],
    customers: &mut Customers,
) -> Result<(), Error> {
    let last = last_of_each(&store.orders, session, ("userId", "turn"), users).await?;
    customers.unknown.extend(last.unreadable_ids().map(UserId::new));
    let of_user = |last: Last| (UserId::new(last.owner), Turn(last.number));
    customers.last.extend(last.readable.into_iter().map(of_user));
    Ok(())
}

/// A customer would hold or have bought too many.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct OverLimit {
    /// The product's SKU.
    pub(crate) sku: String,
    /// Units that each customer may hold and buy.
    pub(crate) limit: u32,
}

/// What a batch takes, order by order.
#[derive(Debug)]
pub(crate) struct Taken<'a> {
    customers: &'a Customers,
    /// The last number that was given to each.
    last: HashMap<&'a UserId, Turn>,
    units: HashMap<(&'a UserId, &'a ProductId), u64>,
}

impl<'a> Taken<'a> {
    /// Nothing yet.
    pub(crate) fn of(customers: &'a Customers) -> Self {
        Self {
            customers,
            last: HashMap::new(),
            units: HashMap::new(),
        }
    }

    /// Takes the units that a customer wants, and the next number; nothing where one product has a limit that they are above.
    pub(crate) fn take(&mut self, wish: &'a Wish) -> Result<Turn, OverLimit> {
        let bought = self.customers.bought.get(&wish.user);
        let mut wanted: HashMap<&ProductId, u64> = HashMap::new();
        for item in &wish.items {
            let (product, units) = (&item.priced.product_id, u64::from(item.priced.quantity.get()));
            let Some(limit) = item.limit_per_customer else {
                continue;
            };
            let held = bought
                .and_then(|bought| bought.get(product))
                .copied()
                .unwrap_or(0)
                + self.units.get(&(&wish.user, product)).copied().unwrap_or(0)
                + wanted.get(product).copied().unwrap_or(0);
            if !catalogue::within_customer_limit(Some(limit), held, units) {
                return Err(OverLimit {
                    sku: item.priced.sku.as_str().to_owned(),
                    limit,
                });
            }
            *wanted.entry(product).or_default() += units;
        }
        for (product, units) in wanted {
            *self.units.entry((&wish.user, product)).or_default() += units;
        }
        let before = self
            .last
            .get(&wish.user)
            .or_else(|| self.customers.last.get(&wish.user));
        let turn = before.copied().unwrap_or_default().next();
        self.last.insert(&wish.user, turn);
        Ok(turn)
    }
}

#[cfg(test)]
impl Customers {
    /// A customer who has bought units of a product, with the last number.
    pub(crate) fn who_has(user: &str, product: &str, units: u64, last: i64) -> Self {
        let bought = HashMap::from([(ProductId::new(product), units)]);
        Self {
            last: HashMap::from([(UserId::new(user), Turn(last))]),
            bought: HashMap::from([(UserId::new(user), bought)]),
            unknown: HashSet::new(),
        }
    }
}

#[cfg(test)]
impl Turn {
    /// This number.
    pub(crate) fn numbered(number: i64) -> Self {
        Self(number)
    }
}
