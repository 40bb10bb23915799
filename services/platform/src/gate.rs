//! What gateways and inventory both know of the gate: its keys in Redis. The gateways count orders there, and inventory keeps the
//! counts right. Either notices a Redis that has begun anew.

use crate::backends::redis;
use fred::{clients::Client, error::Error, interfaces::LuaInterface};
use sale::ProductId;

/// Names the gate's keys under a sale's prefix.
#[derive(Debug, Clone)]
pub struct GateKeys {
    prefix: String,
}

/// Value of [`GateKeys::markers`] while Redis has lost none of the gateways' markers since the first order.
pub const MARKERS_ARE_WHOLE: &str = "whole";
/// How long what inventory says at the gate outlives the sale's last process, in seconds.
pub const SAID_FOR_SECONDS: i64 = 3_600;
/// Value of [`GateKeys::markers`] while it may have lost some: from when that is noticed until it is known that none is missing.
pub const MARKERS_ARE_LOST: &str = "lost";
/// How long a try to order may be under way, in seconds, but for one in a process that stands still alone: longer than an order waits for
/// its batch (8 s in `order::batcher`) and the next batch for that one (15 s), and than it takes until other processes end the
/// transactions of one that stands still. docs/api.md tells clients a minute.
pub const TRIES_LAST_SECONDS: i64 = 30;

/// KEYS: what is said of markers, in which run of Redis, whether tries may be unknown. ARGV: the run, lost, seconds, the seconds of tries.
/// Returns 1 if it was said in another run: it is lost from here on. Where it is not known in which, it was in this one.
const NEW_RUN: &str = r"
local by = redis.call('GET', KEYS[2])
if by == ARGV[1] or redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
if not by then
  redis.call('SET', KEYS[2], ARGV[1], 'EX', ARGV[3])
  return 0
end
redis.call('SET', KEYS[3], '1', 'EX', ARGV[4])
redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
redis.call('SET', KEYS[2], ARGV[1], 'EX', ARGV[3])
return 1
";

/// Says that markers are lost, if this run of Redis is another one than that in which something was said of them: it may have come
/// back with older data. Returns the run, where Redis names it.
///
/// # Errors
/// Redis does not answer.
pub async fn notice_a_new_run(client: &Client, keys: &GateKeys) -> Result<Option<String>, Error> {
    let Some(run) = redis::run(client).await else {
        return Ok(None);
    };
    let names = vec![keys.markers(), keys.run(), keys.tries_unknown()];
    let words = vec![
        run.clone(),
        MARKERS_ARE_LOST.to_owned(),
        SAID_FOR_SECONDS.to_string(),
        TRIES_LAST_SECONDS.to_string(),
    ];
    let said: i64 = client.eval(NEW_RUN, names, words).await?;
    if said == 1 {
        tracing::warn!(
            "Redis has begun anew and may have lost what it knew of this sale's orders; repeats are looked up from now on"
        );
    }
    Ok(Some(run))
}

impl GateKeys {
    /// The keys under a sale's prefix.
    pub fn new(prefix: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
        }
    }

    /// The prefix itself, for keys that only one side knows.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// A number: the orders that may still be let through for a product, in units.
    pub fn count(&self, product: &ProductId) -> String {
        format!("{}gate:{product}", self.prefix)
    }

    /// A set: the ids of products of which every unit is sold, so that none comes back.
    pub fn all_sold(&self) -> String {
        format!("{}gate:all-sold", self.prefix)
    }

    /// There for [`TRIES_LAST_SECONDS`] since it was noticed that markers are lost: those of tries that are under way may be among them.
    pub fn tries_unknown(&self) -> String {
        format!("{}gate:tries-unknown", self.prefix)
    }

    /// Whether the gateways' markers are whole; see [`MARKERS_ARE_WHOLE`]. While nobody has said so, they have just been lost, or the
    /// sale is new.
    pub fn markers(&self) -> String {
        format!("{}gate:markers", self.prefix)
    }

    /// The run of Redis in which that was said; see [`notice_a_new_run`].
    pub fn run(&self) -> String {
        format!("{}gate:run", self.prefix)
    }
}
