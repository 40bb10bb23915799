//! The gate: turns buyers away by a count in Redis before anything is written elsewhere. Inventory keeps the counts;
//! see its module of the same name. A missing count lets everybody through: correctness never depends on the gate.
//!
//! With the units goes a marker that says whose they are: the idempotency key's. A buyer whose answer was lost, because
//! a gateway died or the order service did not answer in time, sends the order again with its key, and passes: the
//! order service knows whether it took the order the first time. Without the marker such a buyer could be told "sold
//! out" of an order that was accepted. Units whose buyer never comes back are found by inventory like any difference.

use fred::{
    clients::Client,
    error::Error,
    interfaces::{KeysInterface, LuaInterface},
};
use sale::{ProductId, UserId};
use sha2::{Digest, Sha256};

/// How long it is remembered that a key may have made an order.
const MARKER_SECONDS: i64 = 24 * 3_600;

/// KEYS: the marker, then a count for each product. ARGV: the marker's seconds, then the units of each product.
/// Returns 1 when units were taken, 2 when the order may pass without taking, 0 when it is refused.
const TAKE: &str = r"
if redis.call('EXISTS', KEYS[1]) == 1 then
  redis.call('SET', KEYS[1], 'repeated', 'KEEPTTL')
  return 2
end
for i = 2, #KEYS do
  local left = redis.call('GET', KEYS[i])
  if left and tonumber(left) < tonumber(ARGV[i]) then return 0 end
end
for i = 2, #KEYS do
  if redis.call('EXISTS', KEYS[i]) == 1 then redis.call('DECRBY', KEYS[i], ARGV[i]) end
end
redis.call('SET', KEYS[1], 'once', 'EX', ARGV[1])
return 1
";
/// KEYS: the marker, then a count for each product. ARGV: 1 to drop the marker, then the units of each product.
/// A marker that a repeat has used stays: the repeat may be accepted where the first try was refused.
const GIVE_BACK: &str = r"
if ARGV[1] == '1' and redis.call('GET', KEYS[1]) == 'once' then redis.call('DEL', KEYS[1]) end
for i = 2, #KEYS do
  if redis.call('EXISTS', KEYS[i]) == 1 then redis.call('INCRBY', KEYS[i], ARGV[i]) end
end
return 1
";

/// The counts of a sale.
#[derive(Debug, Clone)]
pub struct Gate {
    redis: Client,
    prefix: String,
}

/// What the gate says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passage {
    /// Units were taken and the key was marked.
    Taken,
    /// The key was marked before: pass, nothing was taken.
    Repeat,
    /// No units are left.
    Refused,
}

/// What became of an order that had taken units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was accepted: the units are its own.
    Accepted,
    /// Its key had made an order before, which has its units: these are too many.
    Known,
    /// It was refused, or never reached the order service.
    Refused,
    /// Nobody can say: no answer, or one that promises nothing.
    Unknown,
}

/// An order as the gate sees it.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// Who orders.
    pub user: UserId,
    /// The idempotency key.
    pub key: String,
    /// Units of each product; every product once.
    pub wanted: Vec<(ProductId, u32)>,
}

impl Gate {
    /// The counts under a sale's prefix.
    pub fn new(redis: Client, prefix: &str) -> Self {
        Self {
            redis,
            prefix: prefix.to_owned(),
        }
    }

    fn marker(&self, user: &UserId, key: &str) -> String {
        let mut hash = Sha256::new();
        hash.update((user.as_str().len() as u64).to_be_bytes());
        hash.update(user.as_str());
        hash.update(key);
        format!("{}idem:{}", self.prefix, hex::encode(hash.finalize()))
    }

    /// The marker and the counts that an order touches.
    fn keys(&self, attempt: &Attempt) -> Vec<String> {
        let counts = attempt
            .wanted
            .iter()
            .map(|(product, _)| format!("{}gate:{product}", self.prefix));
        std::iter::once(self.marker(&attempt.user, &attempt.key))
            .chain(counts)
            .collect()
    }

    /// Takes the units of an order, all or none, and marks its key.
    ///
    /// # Errors
    /// Redis does not answer.
    pub async fn take(&self, attempt: &Attempt) -> Result<Passage, Error> {
        let arguments = arguments(MARKER_SECONDS, attempt);
        let said: i64 = self.redis.eval(TAKE, self.keys(attempt), arguments).await?;
        Ok(match said {
            1 => Passage::Taken,
            2 => Passage::Repeat,
            _ => Passage::Refused,
        })
    }

    /// Whether a key was marked, and so may have made an order.
    ///
    /// # Errors
    /// Redis does not answer.
    pub async fn knows(&self, user: &UserId, key: &str) -> Result<bool, Error> {
        let found: i64 = self.redis.exists(self.marker(user, key)).await?;
        Ok(found > 0)
    }

    /// Gives back what an order took and does not need. Best effort: inventory sets the counts right.
    pub async fn settle(&self, attempt: &Attempt, outcome: Outcome) {
        let drop_marker = match outcome {
            Outcome::Accepted | Outcome::Unknown => return,
            Outcome::Known => 0,
            Outcome::Refused => 1,
        };
        let arguments = arguments(drop_marker, attempt);
        let given: Result<i64, Error> = self.redis.eval(GIVE_BACK, self.keys(attempt), arguments).await;
        if let Err(error) = given {
            tracing::debug!(%error, "units not given back to the gate; it will be set right");
        }
    }
}

fn arguments(first: i64, attempt: &Attempt) -> Vec<i64> {
    let units = attempt.wanted.iter().map(|(_, units)| i64::from(*units));
    std::iter::once(first).chain(units).collect()
}
