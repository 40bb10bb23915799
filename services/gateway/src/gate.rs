//! The gate: turns buyers away by a count in Redis before anything is written elsewhere. Inventory keeps the counts;
//! see its module of the same name. A missing count lets everybody through: correctness never depends on the gate.

use fred::{
    clients::Client,
    error::Error,
    interfaces::{KeysInterface, LuaInterface},
    types::Expiration,
};
use sale::{ProductId, UserId};
use sha2::{Digest, Sha256};

/// How long it is remembered that a key made an order.
const MARKER_SECONDS: i64 = 24 * 3_600;

/// KEYS: the marker, then a count for each product. ARGV: the units of each.
/// Returns 1 when units were taken, 2 when the order may pass without taking, 0 when it is refused.
const TAKE: &str = r"
if redis.call('EXISTS', KEYS[1]) == 1 then return 2 end
for i = 2, #KEYS do
  local left = redis.call('GET', KEYS[i])
  if left and tonumber(left) < tonumber(ARGV[i - 1]) then return 0 end
end
for i = 2, #KEYS do
  if redis.call('EXISTS', KEYS[i]) == 1 then redis.call('DECRBY', KEYS[i], ARGV[i - 1]) end
end
return 1
";
const GIVE_BACK: &str = r"
for i = 1, #KEYS do
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
    /// Units were taken; give them back unless a new order comes of it.
    Taken,
    /// The key has made an order before: pass, nothing was taken.
    Repeat,
    /// No units are left.
    Refused,
}

impl Gate {
    /// The counts under a sale's prefix.
    pub fn new(redis: Client, prefix: &str) -> Self {
        Self {
            redis,
            prefix: prefix.to_owned(),
        }
    }

    fn keys(&self, wanted: &[(ProductId, u32)]) -> Vec<String> {
        wanted
            .iter()
            .map(|(product, _)| format!("{}gate:{product}", self.prefix))
            .collect()
    }

    fn marker(&self, user: &UserId, key: &str) -> String {
        let mut hash = Sha256::new();
        hash.update((user.as_str().len() as u64).to_be_bytes());
        hash.update(user.as_str());
        hash.update(key);
        format!("{}idem:{}", self.prefix, hex::encode(hash.finalize()))
    }

    /// Takes the units of an order, all or none.
    ///
    /// # Errors
    /// Redis does not answer.
    pub async fn take(
        &self,
        user: &UserId,
        key: &str,
        wanted: &[(ProductId, u32)],
    ) -> Result<Passage, Error> {
        let mut keys = vec![self.marker(user, key)];
        keys.extend(self.keys(wanted));
        let units: Vec<i64> = wanted.iter().map(|(_, units)| i64::from(*units)).collect();
        let said: i64 = self.redis.eval(TAKE, keys, units).await?;
        Ok(match said {
            1 => Passage::Taken,
            2 => Passage::Repeat,
            _ => Passage::Refused,
        })
    }

    /// Gives units back. Best effort: inventory sets the count right.
    pub async fn give_back(&self, wanted: &[(ProductId, u32)]) {
        let units: Vec<i64> = wanted.iter().map(|(_, units)| i64::from(*units)).collect();
        let given: Result<i64, Error> = self.redis.eval(GIVE_BACK, self.keys(wanted), units).await;
        if let Err(error) = given {
            tracing::debug!(%error, "units not given back to the gate; it will be set right");
        }
    }

    /// Remembers that a key made an order, so that its repeat passes a closed gate. Best effort.
    pub async fn mark(&self, user: &UserId, key: &str) {
        let expiry = Some(Expiration::EX(MARKER_SECONDS));
        let marked: Result<(), Error> = self
            .redis
            .set(self.marker(user, key), 1, expiry, None, false)
            .await;
        if let Err(error) = marked {
            tracing::debug!(%error, "order not marked in the gate");
        }
    }
}
