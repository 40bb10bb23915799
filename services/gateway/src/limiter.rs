//! Rate limits over all replicas: one script in Redis, by Redis' own clock.
//!
//! The window of a subject and route is cut into [`BUCKETS`] parts, and what is kept is a count for each of them and
//! their sum. Parts that have left the window are taken off as requests come, so that a request costs the same and a
//! subject takes the same space at a limit of ten and of a million. A part counts until its last instant has left the
//! window: in no window of any position are there more requests than the limit, and whoever has used it up waits up to
//! a sixtieth of a window longer than they would have to.

use crate::scripts::{Script, Scripts};
use fred::error::Error;
use sale::limits::{RateLimit, Verdict};
use std::{sync::LazyLock, time::Duration};

/// Parts of a window.
const BUCKETS: u64 = 60;

/// The last KEYS: the subjects, each with counts of its own; a request passes all of them or leaves no trace.
/// The last ARGV: the window, the parts, then the limit of each subject, and how many subjects there are.
/// Returns {0, milliseconds to wait}, or goes on with what `remaining` is; `before` keys belong to somebody else.
///
/// A key is a hash of `o`, the first part that may have a count, `t`, the sum, and the number of each part with its
/// count. Should Redis' clock go back (another server took over), the count begins anew.
pub(crate) const COUNT: &str = r"
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local subjects = tonumber(ARGV[#ARGV])
local before = #KEYS - subjects
local buckets = tonumber(ARGV[#ARGV - subjects - 1])
local width = math.ceil(tonumber(ARGV[#ARGV - subjects - 2]) / buckets)
local current = math.floor(now / width)
local first = current - buckets
local name = function(bucket) return string.format('%.0f', bucket) end
local totals, oldests = {}, {}
local remaining, wait = nil, 0
for i = 1, subjects do
  local key, limit = KEYS[before + i], tonumber(ARGV[#ARGV - subjects - 1 + i])
  local kept = redis.call('HMGET', key, 'o', 't')
  local oldest, total = tonumber(kept[1] or current), tonumber(kept[2] or 0)
  if oldest > current then
    redis.call('DEL', key)
    oldest, total = current, 0
  end
  local gone = {}
  while oldest < first do
    local count = redis.call('HGET', key, name(oldest))
    if count then
      total = total - tonumber(count)
      gone[#gone + 1] = name(oldest)
    end
    oldest = oldest + 1
  end
  if #gone > 0 then
    redis.call('HDEL', key, unpack(gone))
    redis.call('HSET', key, 'o', name(oldest), 't', name(total))
  end
  if total >= limit then
    local bucket, left = oldest, total
    while bucket <= current and left >= limit do
      left = left - tonumber(redis.call('HGET', key, name(bucket)) or 0)
      bucket = bucket + 1
    end
    wait = math.max(wait, (bucket + buckets) * width - now)
  end
  totals[i], oldests[i] = total, oldest
  remaining = math.min(remaining or limit, math.max(limit - total - 1, 0))
end
if wait > 0 then return {0, wait} end
for i = 1, subjects do
  local key = KEYS[before + i]
  redis.call('HINCRBY', key, name(current), 1)
  redis.call('HSET', key, 'o', name(oldests[i]), 't', name(totals[i] + 1))
  redis.call('PEXPIRE', key, (buckets + 2) * width)
end
";
/// What counts and does nothing else.
static COUNT_ALONE: LazyLock<Script> =
    LazyLock::new(|| Script::new("count", format!("{COUNT}return {{remaining, 0}}")));

/// All scripts of the limiter alone.
pub(crate) fn scripts() -> [&'static Script; 1] {
    [&COUNT_ALONE]
}

/// Counts requests.
#[derive(Debug, Clone)]
pub struct Limiter {
    scripts: Scripts,
    prefix: String,
}

/// Whom a request counts against, and how much that may ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Count {
    /// The subject, as it stands in a Redis key.
    pub subject: String,
    /// Its limit.
    pub limit: RateLimit,
}

impl Limiter {
    /// A limiter under a sale's prefix.
    pub fn new(scripts: Scripts, prefix: &str) -> Self {
        Self {
            scripts,
            prefix: prefix.to_owned(),
        }
    }

    /// Counts one request against the first count and against all others, if it is within the limits of all. The
    /// verdict speaks of the first one's limit. All of them have one window.
    ///
    /// # Errors
    /// Redis does not answer.
    pub async fn count(&self, first: &Count, others: &[Count]) -> Result<Verdict, Error> {
        let Counting { keys, arguments } = self.counting(first, others);
        let said = self.scripts.run(&COUNT_ALONE, keys, arguments).await?;
        Ok(verdict(first.limit, &said))
    }

    /// What a script is told that counts, behind whatever else it is told.
    pub(crate) fn counting(&self, first: &Count, others: &[Count]) -> Counting {
        let all = || std::iter::once(first).chain(others);
        // Parts of a window of another length are counted under another name.
        let key = |count: &Count| {
            format!(
                "{}limit:{}:{}:{}",
                self.prefix,
                count.limit.route.as_str(),
                count.limit.window_ms,
                count.subject
            )
        };
        let arguments = [first.limit.window_ms, BUCKETS]
            .into_iter()
            .chain(all().map(|count| u64::from(count.limit.limit)))
            .chain([1 + others.len() as u64]);
        Counting {
            keys: all().map(key).collect(),
            arguments: arguments.map(|number| number.to_string()).collect(),
        }
    }
}

/// The end of what a script is told that counts.
#[derive(Debug)]
pub(crate) struct Counting {
    /// The subjects.
    pub(crate) keys: Vec<String>,
    /// Their limits.
    pub(crate) arguments: Vec<String>,
}

/// What a script says first that has counted: what is left, and how long to wait.
pub(crate) fn verdict(limit: RateLimit, said: &[i64]) -> Verdict {
    let number = |at: usize| said.get(at).copied().unwrap_or(0);
    Verdict {
        limit,
        remaining: u32::try_from(number(0)).unwrap_or(0),
        retry_after: Duration::from_millis(u64::try_from(number(1)).unwrap_or(0)),
    }
}
