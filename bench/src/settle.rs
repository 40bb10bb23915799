//! Follows the product until every accepted order has its units, and checks the account on the way.

use crate::{
    buyers::Mint,
    client::{Account, Client, Numbers},
};
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};
use tokio::sync::watch;

/// How often the product is read: the resolution of the moment of the last confirmation.
const EVERY: Duration = Duration::from_millis(100);
/// Of how many products the accounts are read while orders come.
const FIRST: usize = 3;
/// How long after the last answer the accepted orders may take.
const SETTLING: Duration = Duration::from_secs(120);
/// How long the books of all services may take to agree after that.
const CLOSING: Duration = Duration::from_secs(60);

/// What was seen of the products.
#[derive(Debug, Clone, Default)]
pub(crate) struct Course {
    /// Units sold in the end.
    pub(crate) sold: i64,
    /// When the last of them was seen to be sold.
    pub(crate) last_sold: Option<Instant>,
    /// What must never be, and was.
    pub(crate) violations: BTreeSet<String>,
}

/// What is followed.
#[derive(Debug, Clone)]
pub(crate) struct Followed {
    /// The products.
    pub(crate) products: Vec<String>,
    /// Units of each.
    pub(crate) stock: i64,
}

/// Follows products. `expected` is unknown until every order has its answer; then it is the units that must be sold of all of them. Until
/// then only the first ones are read, for many would be a load of their own.
pub(crate) async fn follow(
    client: Client,
    of: Followed,
    mut expected: watch::Receiver<Option<i64>>,
) -> Course {
    let mut course = Course::default();
    let mut deadline = None;
    let mut tick = tokio::time::interval(EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let must_be_sold = *expected.borrow_and_update();
        let some = if must_be_sold.is_some() {
            of.products.len()
        } else {
            FIRST
        };
        let (mut sold, mut reserved, mut all_read) = (0, 0, true);
        for product in of.products.iter().take(some) {
            // A failed read says nothing about the account; the next one is due in a moment.
            let Ok(account) = client.account(product).await else {
                all_read = false;
                continue;
            };
            course.violations.extend(violation(account, of.stock));
            sold += account.sold;
            reserved += account.reserved;
        }
        if all_read && sold > course.sold {
            course.sold = sold;
            course.last_sold = Some(Instant::now());
        }
        if all_read && must_be_sold.is_some_and(|units| sold >= units) && reserved == 0 {
            return course;
        }
        if must_be_sold.is_some()
            && Instant::now() > *deadline.get_or_insert_with(|| Instant::now() + SETTLING)
        {
            course.violations.insert(format!(
                "{} of {} units were sold {} s after the last answer",
                course.sold,
                must_be_sold.unwrap_or_default(),
                SETTLING.as_secs()
            ));
            return course;
        }
    }
}

/// What is wrong with an account.
fn violation(account: Account, stock: i64) -> Option<String> {
    let Account {
        stock: total,
        available,
        reserved,
        sold,
    } = account;
    if total != stock || total != available + reserved + sold {
        Some(format!(
            "stock {total} (created with {stock}) is not {available} + {reserved} + {sold}"
        ))
    } else if available < 0 || reserved < 0 || sold < 0 {
        Some(format!(
            "an amount is negative: available {available}, reserved {reserved}, sold {sold}"
        ))
    } else {
        None
    }
}

/// The numbers of the sale once nothing is under way any more, or as they are when the time is over.
pub(crate) async fn closed_books(client: &Client, mint: &Mint) -> anyhow::Result<Numbers> {
    let deadline = Instant::now() + CLOSING;
    loop {
        let numbers = client.numbers(&mint.service()?).await;
        let over = Instant::now() > deadline;
        match numbers {
            Ok(numbers) if over || (numbers.pending == 0 && numbers.outbox == 0 && numbers.lag == 0) => {
                return Ok(numbers);
            }
            Err(error) if over => return Err(error),
            _ => tokio::time::sleep(Duration::from_millis(600)).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_account_is_noticed() {
        let account = |stock, available, reserved, sold| Account {
            stock,
            available,
            reserved,
            sold,
        };
        assert_eq!(violation(account(10, 7, 2, 1), 10), None);
        assert!(violation(account(10, 7, 2, 2), 10).is_some());
        assert!(violation(account(10, -1, 0, 11), 10).is_some());
        assert!(violation(account(11, 11, 0, 0), 10).is_some());
    }
}
