//! The gate: for each product a count in Redis of the orders that may still be let through.
//!
//! The gateways take from it before an order is accepted. It may be wrong in both directions for a moment: too high
//! and an accepted order finds no stock and fails, too low and a buyer is turned away early. It is never the record,
//! and it mends itself: a missing count is set, and a count that differs from the units available while neither
//! moves is set right.

use crate::store::Store;
use fred::{
    clients::Client,
    error::Error,
    interfaces::{KeysInterface, LuaInterface},
    types::{Expiration, SetOptions},
};
use platform::backends::mongo::{self, MongoError};
use sale::ProductId;
use std::{collections::HashMap, time::Duration};
use tokio_util::sync::CancellationToken;

/// How often counts are compared with the units available.
const EVERY: Duration = Duration::from_millis(500);
/// Looks without any movement before a difference is an error and not work under way: 2 s.
const QUIET_LOOKS: u32 = 4;
/// How long a count outlives the last look at it, in seconds.
const TTL_SECONDS: i64 = 3_600;

/// Sets a count only if it is still what it was when it was judged to be wrong.
const CORRECT: &str = "if redis.call('GET', KEYS[1]) == ARGV[1] then \
                       redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3]) return 1 else return 0 end";
/// Adds to a count if there is one.
const ADD: &str = "if redis.call('EXISTS', KEYS[1]) == 1 then return redis.call('INCRBY', KEYS[1], ARGV[1]) \
                   else return -1 end";

/// The counts of one sale.
#[derive(Debug, Clone)]
pub struct Gate {
    redis: Client,
    prefix: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Look {
    count: i64,
    available: i64,
    quiet: u32,
}

impl Gate {
    /// The counts under a sale's prefix.
    pub fn new(redis: Client, prefix: &str) -> Self {
        Self {
            redis,
            prefix: prefix.to_owned(),
        }
    }

    fn key(&self, product: &ProductId) -> String {
        format!("{}gate:{product}", self.prefix)
    }

    /// Lets more (or fewer) orders through at once after stock was changed. Best effort: [`keep`] mends the rest.
    pub async fn add(&self, product: &ProductId, units: i64) {
        let added: Result<i64, Error> = self.redis.eval(ADD, vec![self.key(product)], vec![units]).await;
        if let Err(error) = added {
            tracing::debug!(%error, "gate not changed; it will be set right");
        }
    }

    /// Opens the gate of a new product at once. Best effort: [`keep`] mends the rest.
    pub async fn open(&self, product: &ProductId, units: i64) {
        if let Err(error) = self.fill(product, units).await {
            tracing::debug!(%error, "gate not opened; it will be set right");
        }
    }

    async fn fill(&self, product: &ProductId, available: i64) -> Result<(), Error> {
        let expiry = Some(Expiration::EX(TTL_SECONDS));
        self.redis
            .set::<(), _, _>(self.key(product), available, expiry, Some(SetOptions::NX), false)
            .await
    }

    async fn count(&self, product: &ProductId) -> Result<Option<i64>, Error> {
        self.redis.get(self.key(product)).await
    }

    async fn correct(&self, product: &ProductId, from: i64, to: i64) -> Result<i64, Error> {
        self.redis
            .eval(CORRECT, vec![self.key(product)], vec![from, to, TTL_SECONDS])
            .await
    }
}

/// Keeps the counts right until the process ends.
pub async fn keep(gate: Gate, store: Store, stop: CancellationToken) {
    let mut looks: HashMap<ProductId, Look> = HashMap::new();
    let mut tick = tokio::time::interval(EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => {}
        }
        let reader = store.clone();
        let products =
            mongo::detached(async move { reader.all_products().await.map_err(MongoError::from) }).await;
        let products = match products {
            Ok(products) => products,
            Err(error) => {
                tracing::debug!(%error, "cannot look at products");
                continue;
            }
        };
        for product in products {
            let available = product.stock - product.reserved - product.sold;
            if let Err(error) = look(&gate, &mut looks, &product.id, available).await {
                tracing::debug!(%error, "cannot look at the gate");
                looks.clear();
                break;
            }
        }
    }
}

async fn look(
    gate: &Gate,
    looks: &mut HashMap<ProductId, Look>,
    product: &ProductId,
    available: i64,
) -> Result<(), Error> {
    let Some(count) = gate.count(product).await? else {
        gate.fill(product, available).await?;
        looks.remove(product);
        return Ok(());
    };
    let now = judge(looks.get(product).copied(), count, available);
    if now.quiet >= QUIET_LOOKS && count != available {
        gate.correct(product, count, available).await?;
        tracing::info!(%product, from = count, to = available, "gate set right");
        looks.remove(product);
    } else {
        looks.insert(product.clone(), now);
    }
    Ok(())
}

/// Counts how long nothing has moved.
fn judge(before: Option<Look>, count: i64, available: i64) -> Look {
    let quiet = match before {
        Some(look) if look.count == count && look.available == available => look.quiet + 1,
        _ => 0,
    };
    Look {
        count,
        available,
        quiet,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_difference_that_stands_still_is_an_error() {
        let mut look = None;
        for _ in 0..=QUIET_LOOKS {
            look = Some(judge(look, 3, 5));
        }
        assert_eq!(look.unwrap().quiet, QUIET_LOOKS);
        assert_eq!(judge(look, 2, 5).quiet, 0);
        assert_eq!(judge(look, 3, 4).quiet, 0);
    }
}
