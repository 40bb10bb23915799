//! Rate limits, exact over all replicas: one script in Redis, by Redis' own clock.
//!
//! For each subject and route there is a list of the instants of its last allowed requests, as many as the limit.
//! A request is allowed when the list is shorter than the limit or its oldest instant has left the window, so in no
//! window of any position are there more than the limit.

use fred::{clients::Client, error::Error, interfaces::LuaInterface};
use sale::limits::{RateLimit, Verdict};
use std::time::Duration;

/// Returns {remaining, milliseconds to wait}; a refused request leaves no trace.
const COUNT: &str = r"
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local limit, window = tonumber(ARGV[1]), tonumber(ARGV[2])
local oldest = redis.call('LINDEX', KEYS[1], limit - 1)
if oldest then
  local free = tonumber(oldest) + window
  if free > now then return {0, free - now} end
end
redis.call('LPUSH', KEYS[1], now)
redis.call('LTRIM', KEYS[1], 0, limit - 1)
redis.call('PEXPIRE', KEYS[1], window)
local used, recent = 0, redis.call('LRANGE', KEYS[1], 0, -1)
for _, at in ipairs(recent) do if tonumber(at) + window > now then used = used + 1 end end
return {limit - used, 0}
";

/// Counts requests.
#[derive(Debug, Clone)]
pub struct Limiter {
    redis: Client,
    prefix: String,
}

impl Limiter {
    /// A limiter under a sale's prefix.
    pub fn new(redis: Client, prefix: &str) -> Self {
        Self {
            redis,
            prefix: prefix.to_owned(),
        }
    }

    /// Counts one request of a subject.
    ///
    /// # Errors
    /// Redis does not answer.
    pub async fn count(&self, subject: &str, limit: RateLimit) -> Result<Verdict, Error> {
        let key = format!("{}rl:{}:{subject}", self.prefix, limit.route.as_str());
        let arguments = vec![
            i64::from(limit.limit),
            i64::try_from(limit.window_ms).unwrap_or(i64::MAX),
        ];
        let (remaining, wait): (i64, i64) = self.redis.eval(COUNT, vec![key], arguments).await?;
        Ok(Verdict {
            limit,
            remaining: u32::try_from(remaining).unwrap_or(0),
            retry_after: Duration::from_millis(u64::try_from(wait).unwrap_or(0)),
        })
    }
}
