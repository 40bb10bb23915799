//! The gate: for each product a count in Redis of the orders that may still be let through.
//!
//! The gateways take from it before an order is accepted. It may be wrong in both directions for a moment: too high
//! and an accepted order finds no stock and fails, too low and a buyer is turned away early. It is never the record,
//! and it mends itself: units that come back are added by the batch that gives them back, a missing count is set, and
//! a count that differs from the units available while neither moves is set right. Upwards only where no order is on
//! its way to inventory: while the broker is away the units available stand still, and those of the orders that were
//! accepted meanwhile are not among those that are left. It also says of which products every unit is sold, so that
//! buyers hear "sold out" when none can come back, and not before.

use crate::{markers::Markers, on_the_way::OnTheWay, product::Product, store::Store};
use events::message::OrderedItem;
use fred::{
    clients::Client,
    error::Error,
    interfaces::{KeysInterface, LuaInterface, SetsInterface},
    types::{Expiration, SetOptions},
};
use platform::{
    backends::mongo::{self, MongoError},
    gate::{GateKeys, SAID_FOR_SECONDS},
    metrics::{Metric, must},
    rounds::Rounds,
};
use prometheus::{IntCounterVec, register_int_counter_vec};
use sale::ProductId;
use std::{
    collections::{BTreeSet, HashMap},
    sync::LazyLock,
    time::Duration,
};
use tokio_util::sync::CancellationToken;

/// How often counts are compared with the units available.
const EVERY: Duration = Duration::from_millis(500);
/// Looks without any movement before a difference is an error and not work under way: 2 s.
const QUIET_LOOKS: u32 = 4;
/// Looks between two times when the counts are told to stay: 5 min.
const KEPT_EVERY: u32 = 600;
/// Sets a count only if it is still what it was when it was judged to be wrong.
const CORRECT: &str = "if redis.call('GET', KEYS[1]) == ARGV[1] then \
                       redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3]) return 1 else return 0 end";
/// Adds to a count if there is one. What comes back is not all sold.
const ADD: &str = "if tonumber(ARGV[1]) > 0 then redis.call('SREM', KEYS[2], ARGV[2]) end \
                   if redis.call('EXISTS', KEYS[1]) == 1 then return redis.call('INCRBY', KEYS[1], ARGV[1]) \
                   else return -1 end";

static CORRECTED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    must(register_int_counter_vec!(
        "quicksale_gate_corrections_total",
        "Times when the count of a product at the gate was set right.",
        &["direction"]
    ))
});

/// What is counted here.
pub(crate) fn metrics() -> Vec<Metric> {
    for direction in ["up", "down"] {
        CORRECTED.with_label_values(&[direction]);
    }
    vec![&*CORRECTED]
}

/// The counts of one sale.
#[derive(Debug, Clone)]
pub struct Gate {
    redis: Client,
    keys: GateKeys,
    markers: Markers,
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
            markers: Markers::new(redis.clone(), prefix),
            redis,
            keys: GateKeys::new(prefix),
        }
    }

    /// Lets more (or fewer) orders through at once after stock was changed. Best effort: [`keep`] mends the rest.
    pub async fn add(&self, product: &ProductId, units: i64) {
        let keys = vec![self.keys.count(product), self.keys.all_sold()];
        let arguments = vec![units.to_string(), product.as_str().to_owned()];
        let added: Result<i64, Error> = self.redis.eval(ADD, keys, arguments).await;
        if let Err(error) = added {
            tracing::debug!(%error, "gate not changed; it will be set right");
        }
    }

    /// Lets orders through for units that came back.
    pub async fn add_all(&self, freed: &[OrderedItem]) {
        for item in freed {
            self.add(&item.product_id, i64::from(item.quantity.get())).await;
        }
    }

    /// Opens the gate of a new product at once. Best effort: [`keep`] mends the rest.
    pub async fn open(&self, product: &ProductId, units: i64) {
        if let Err(error) = self.fill(product, units).await {
            tracing::debug!(%error, "gate not opened; it will be set right");
        }
    }

    async fn fill(&self, product: &ProductId, available: i64) -> Result<(), Error> {
        let expiry = Some(Expiration::EX(SAID_FOR_SECONDS));
        self.redis
            .set::<(), _, _>(
                self.keys.count(product),
                available,
                expiry,
                Some(SetOptions::NX),
                false,
            )
            .await
    }

    async fn count(&self, product: &ProductId) -> Result<Option<i64>, Error> {
        self.redis.get(self.keys.count(product)).await
    }

    async fn keep(&self, product: &ProductId) -> Result<(), Error> {
        self.redis
            .expire(self.keys.count(product), SAID_FOR_SECONDS, None)
            .await
    }

    /// Says of which products every unit is sold.
    async fn say_all_sold(&self, now: &BTreeSet<&str>) -> Result<(), Error> {
        let key = self.keys.all_sold();
        let said: BTreeSet<String> = self.redis.smembers(&key).await?;
        let said: BTreeSet<&str> = said.iter().map(String::as_str).collect();
        let (more, less): (Vec<&str>, Vec<&str>) = (
            now.difference(&said).copied().collect(),
            said.difference(now).copied().collect(),
        );
        if !more.is_empty() {
            self.redis.sadd::<(), _, _>(&key, more).await?;
            self.redis.expire::<(), _>(&key, SAID_FOR_SECONDS, None).await?;
        }
        if !less.is_empty() {
            self.redis.srem::<(), _, _>(&key, less).await?;
        }
        Ok(())
    }

    async fn keep_saying(&self) -> Result<(), Error> {
        self.markers.keep().await?;
        self.redis
            .expire(self.keys.all_sold(), SAID_FOR_SECONDS, None)
            .await
    }

    /// Whether it was changed: nothing may have moved since.
    async fn correct(&self, product: &ProductId, from: i64, to: i64) -> Result<bool, Error> {
        self.redis
            .eval(
                CORRECT,
                vec![self.keys.count(product)],
                vec![from, to, SAID_FOR_SECONDS],
            )
            .await
    }
}

/// Keeps the counts right until the process ends.
pub async fn keep(gate: Gate, store: Store, on_the_way: OnTheWay, stop: CancellationToken) {
    let mut looks: HashMap<ProductId, Look> = HashMap::new();
    let mut turns: u32 = 0;
    let mut rounds = Rounds::every(EVERY, &stop);
    while rounds.another().await {
        // First, and whether the database answers or not: what is said of markers must not be older than Redis.
        if let Err(error) = gate.markers.look(&store).await {
            tracing::debug!(%error, "cannot look at the markers");
            looks.clear();
            continue;
        }
        let products = match read(&store).await {
            Ok(products) => products,
            Err(error) => {
                tracing::debug!(%error, "cannot look at products");
                continue;
            }
        };
        // Also at once: nobody may have looked for a while.
        let keeps = turns.is_multiple_of(KEPT_EVERY);
        turns = turns.wrapping_add(1);
        if let Err(error) = look_at_all(&gate, &store, &on_the_way, &mut looks, &products, keeps).await {
            tracing::debug!(%error, "cannot look at the gate");
            looks.clear();
        }
    }
}

async fn look_at_all(
    gate: &Gate,
    store: &Store,
    on_the_way: &OnTheWay,
    looks: &mut HashMap<ProductId, Look>,
    products: &[Product],
    keeps: bool,
) -> Result<(), Error> {
    if keeps {
        gate.keep_saying().await?;
    }
    let all_sold = products.iter().filter(|product| product.sold == product.stock);
    gate.say_all_sold(&all_sold.map(|product| product.id.as_str()).collect())
        .await?;
    let mut too_low = Vec::new();
    for product in products {
        let available = self::available(product);
        let Some(count) = gate.count(&product.id).await? else {
            gate.fill(&product.id, available).await?;
            looks.remove(&product.id);
            continue;
        };
        if keeps {
            gate.keep(&product.id).await?;
        }
        let now = judge(looks.get(&product.id).copied(), count, available);
        looks.insert(product.id.clone(), now);
        if now.quiet < QUIET_LOOKS || count == available {
            continue;
        }
        if count > available {
            set_right(gate, looks, &product.id, now).await?;
        } else {
            too_low.push((&product.id, now));
        }
    }
    if too_low.is_empty() || !on_the_way.has_no_order(store).await {
        return Ok(());
    }
    // What was on its way when the units were read may have arrived before it was asked for: then there are fewer.
    let units_now = match read(store).await {
        Ok(products) => products,
        Err(error) => {
            tracing::debug!(%error, "cannot look at products once more");
            return Ok(());
        }
    };
    for (product, look) in too_low {
        let now = units_now.iter().find(|now| now.id == *product);
        if now.is_some_and(|now| available(now) == look.available) {
            set_right(gate, looks, product, look).await?;
        }
    }
    Ok(())
}

async fn read(store: &Store) -> Result<Vec<Product>, MongoError> {
    let store = store.clone();
    mongo::detached(async move { store.all_products().await.map_err(MongoError::from) }).await
}

fn available(product: &Product) -> i64 {
    product.stock - product.reserved - product.sold
}

async fn set_right(
    gate: &Gate,
    looks: &mut HashMap<ProductId, Look>,
    product: &ProductId,
    look: Look,
) -> Result<(), Error> {
    looks.remove(product);
    if gate.correct(product, look.count, look.available).await? {
        let direction = if look.count < look.available { "up" } else { "down" };
        CORRECTED.with_label_values(&[direction]).inc();
        tracing::info!(%product, from = look.count, to = look.available, "gate set right");
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
