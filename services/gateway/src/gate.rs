//! The gate: turns buyers away by a count in Redis before anything is written elsewhere. Inventory keeps the counts;
//! see its module of the same name. A missing count lets everybody through: correctness never depends on the gate.
//!
//! With the units goes a marker that says whose they are: the idempotency key's. A buyer whose answer was lost, because
//! a gateway died or the order service did not answer in time, sends the order again with its key, and passes: the
//! order service knows whether it took the order the first time. Without the marker such a buyer could be told "sold
//! out" of an order that was accepted. Units whose buyer never comes back are found by inventory like any difference.
//!
//! Units that are taken for an order which is refused afterwards are missing to others for that moment. So a user has
//! one order under way at a time, and whoever had one refused takes units for the next minute only once they are
//! accepted. So does whoever has bought as many as a customer may, as far as the gate knows: it remembers what it has
//! seen accepted. The order service decides, which also knows what was given back.

use crate::{
    limiter::{self, Counting},
    scripts::{Script, Scripts},
};
use fred::error::Error;
use platform::gate::GateKeys;
use sale::{
    ProductId, UserId,
    limits::{RateLimit, Verdict},
};
use sha2::{Digest, Sha256};
use std::sync::LazyLock;

/// How long it is remembered that a key may have made an order: longer than a sale lasts.
const MARKER_SECONDS: i64 = 7 * 24 * 3_600;
/// How long a user's order is taken to be under way if its gateway dies: longer than a service is waited for.
const UNDER_WAY_MS: i64 = 15_000;
/// How long a refused user takes units only afterwards.
const DOUBTED_SECONDS: i64 = 60;

/// KEYS: the marker, the user's order under way, the user's doubt, whether markers are whole, whether tries may be unknown, the
/// products that are all sold, what the user has bought, then a count for each product.
/// ARGV: the marker's seconds, milliseconds of being under way, this order's name, then for each product its id, its units, and
/// how many of them each customer may buy (-1 for any number).
/// Returns {2} when the order may pass as a repeat, {3} when another order of the user is under way; goes on when it is
/// new.
const LOOK: &str = r"
if redis.call('EXISTS', KEYS[1]) == 1 then
  redis.call('SET', KEYS[1], 'repeated', 'KEEPTTL')
  return say(2)
end
if redis.call('EXISTS', KEYS[2]) == 1 then return say(3) end
";
/// Where there are too few units returns {0, the product's number from 0, what is left, 1 if every unit is sold}; {5, …} when
/// markers have been lost, {6, …} when that may have been while a try of this key was under way, or nobody has said.
const CHECK: &str = r"
local short
for i = 8, last do
  local at = 4 + (i - 8) * 3
  local left = redis.call('GET', KEYS[i])
  if left and tonumber(left) < tonumber(ARGV[at + 1]) then
    local sold = redis.call('SISMEMBER', KEYS[6], ARGV[at])
    if not short or sold == 1 then short = {i - 8, tonumber(left), sold} end
  end
end
if short then
  local said, markers = 5, redis.call('GET', KEYS[4])
  if markers == 'whole' then said = 0
  elseif not markers or redis.call('EXISTS', KEYS[5]) == 1 then said = 6 end
  return say(said, short[1], short[2], short[3])
end
";
/// The order is under way from here on.
const MARK: &str = r"
redis.call('SET', KEYS[1], 'once', 'EX', ARGV[1])
redis.call('SET', KEYS[2], ARGV[3], 'PX', ARGV[2])
";
/// Returns {1} when units were taken, {4} when they are taken once the order is accepted: where that is doubtful, since
/// the user had an order refused or has bought as many as a customer may.
const TAKE: &str = r"
if redis.call('EXISTS', KEYS[3]) == 1 then return say(4) end
for i = 8, last do
  local at = 4 + (i - 8) * 3
  local limit = tonumber(ARGV[at + 2])
  if limit >= 0 then
    local bought = redis.call('HGET', KEYS[7], ARGV[at]) or '0'
    if tonumber(bought) + tonumber(ARGV[at + 1]) > limit then return say(4) end
  end
end
for i = 8, last do
  if redis.call('EXISTS', KEYS[i]) == 1 then redis.call('DECRBY', KEYS[i], ARGV[5 + (i - 8) * 3]) end
end
return say(1)
";
/// What comes before: nothing, or the limiter's count, whose keys and arguments stand at the end. Then each answer begins with what is left
/// of the limit, and 0; with 0 and the milliseconds to wait where it has none of these.
const ALONE: &str = r"
local last = #KEYS
local function say(...) return {...} end
";
const COUNTED: &str = r"
local last = before
local function say(...) return {remaining, 0, ...} end
";
/// What takes the units of an order.
static TAKE_NOW: LazyLock<Script> =
    LazyLock::new(|| Script::new("take", format!("{ALONE}{LOOK}{CHECK}{MARK}{TAKE}")));
static COUNT_AND_TAKE_NOW: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "count_and_take",
        format!("{}{COUNTED}{LOOK}{CHECK}{MARK}{TAKE}", limiter::COUNT),
    )
});
/// What takes none, and asks for none: whether there are any is not why such an order is refused.
static TAKE_LATER: LazyLock<Script> =
    LazyLock::new(|| Script::new("look", format!("{ALONE}{LOOK}{MARK}return say(4)")));
static COUNT_AND_TAKE_LATER: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "count_and_look",
        format!("{}{COUNTED}{LOOK}{MARK}return say(4)", limiter::COUNT),
    )
});
/// KEYS: as above. ARGV: 1 to drop the marker, 2 to give back only if no repeat has used it (the repeat made the order, or may have, and
/// has no units of its own), 3 for both, seconds of doubt (0 to leave it, -1 to end it), this order's name, then for each product its id,
/// what comes back to its count, and how many more of it the user has bought.
/// A marker that a repeat has used stays: the repeat may be accepted where the first try was refused.
static SETTLE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "settle",
        r"
if (ARGV[1] == '1' or ARGV[1] == '3') and redis.call('GET', KEYS[1]) == 'once' then redis.call('DEL', KEYS[1]) end
if redis.call('GET', KEYS[2]) == ARGV[3] then redis.call('DEL', KEYS[2]) end
local doubt = tonumber(ARGV[2])
if doubt > 0 then redis.call('SET', KEYS[3], '1', 'EX', doubt) end
if doubt < 0 then redis.call('DEL', KEYS[3]) end
if (ARGV[1] == '2' or ARGV[1] == '3') and redis.call('GET', KEYS[1]) == 'repeated' then return 1 end
local bought = false
for i = 8, #KEYS do
  local at = 4 + (i - 8) * 3
  if ARGV[at + 1] ~= '0' and redis.call('EXISTS', KEYS[i]) == 1 then redis.call('INCRBY', KEYS[i], ARGV[at + 1]) end
  if ARGV[at + 2] ~= '0' then
    redis.call('HINCRBY', KEYS[7], ARGV[at], ARGV[at + 2])
    bought = true
  end
end
if bought then redis.call('EXPIRE', KEYS[7], ARGV[#ARGV]) end
return 1
",
    )
});
/// KEYS: a marker, whether markers are whole, whether tries may be unknown. Returns 1 where the marker is there, 0 where it was never
/// there, and 5 or 6 as above.
static KNOWS: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "knows",
        r"
if redis.call('EXISTS', KEYS[1]) == 1 then return 1 end
local markers = redis.call('GET', KEYS[2])
if markers == 'whole' then return 0 end
if not markers or redis.call('EXISTS', KEYS[3]) == 1 then return 6 end
return 5
",
    )
});

/// All scripts of the gate.
pub(crate) fn scripts() -> [&'static Script; 6] {
    [
        &TAKE_NOW,
        &COUNT_AND_TAKE_NOW,
        &TAKE_LATER,
        &COUNT_AND_TAKE_LATER,
        &SETTLE,
        &KNOWS,
    ]
}

/// When an order takes its units from the gate.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Units {
    /// Before it is sent on.
    Now,
    /// Once it is accepted: it may be refused for what it asks for.
    Later,
}

/// The counts of a sale.
#[derive(Debug, Clone)]
pub struct Gate {
    scripts: Scripts,
    keys: GateKeys,
}

/// What the gate says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passage {
    /// Units were taken and the key was marked.
    Taken,
    /// The key was marked; the units are there, and are taken once the order is accepted.
    TakesLater,
    /// The key was marked before: pass, nothing was taken.
    Repeat,
    /// Another order of the user is under way.
    UnderWay,
    /// There are too few units.
    Refused(Short),
    /// There are too few units, and the key may have made an order all the same: its marker may be lost.
    RefusedInDoubt(Short, Doubt),
}

/// Of which product there are too few units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Short {
    /// Its place among those that were wanted.
    pub index: usize,
    /// Units that can be ordered.
    pub left: u32,
    /// Whether every unit is sold, so that none comes back.
    pub all_sold: bool,
}

/// Whether a key has made an order, as far as the gate knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Knowledge {
    /// It may have: it was marked.
    Marked,
    /// It has not.
    Unmarked,
    /// Markers may have been lost: the order service knows.
    InDoubt(Doubt),
}

/// What a key that is not marked may have made all the same, where markers may be lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doubt {
    /// An order, by a try that is under way: that there is none says nothing yet. Also while nobody has said whether markers are lost.
    TryMayBeUnderWay,
    /// An order that the order service knows of, and no other.
    NoTryUnderWay,
}

/// What became of an order that had passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was accepted: the units are its own.
    Accepted,
    /// Its key had made an order before, which has its units: these are too many.
    Known,
    /// It was refused: the units go back, and the key may be used again.
    Refused,
    /// It never reached the order service, which is nobody's fault: as if it had not been sent.
    NotSent,
    /// Nobody knows. The units stay taken: if it was accepted after all they are its own, otherwise inventory finds
    /// them.
    Unknown,
}

/// An order that passed, and holds the user's place for one order until it is settled.
#[derive(Debug, Clone)]
pub struct Passed {
    /// The order.
    pub attempt: Attempt,
    /// Whether its units are taken already.
    pub has_units: bool,
}

/// An order as the gate sees it.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// Who orders.
    pub user: UserId,
    /// The idempotency key.
    pub key: String,
    /// What is wanted; every product once.
    pub wanted: Vec<WantedUnits>,
}

/// How many units of a product are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedUnits {
    /// The product.
    pub product: ProductId,
    /// Units.
    pub units: u32,
    /// Units of it that each customer may buy; `None` for any number.
    pub limit: Option<u32>,
}

impl Gate {
    /// The counts under a sale's prefix.
    pub fn new(scripts: Scripts, prefix: &str) -> Self {
        Self {
            scripts,
            keys: GateKeys::new(prefix),
        }
    }

    fn marker(&self, user: &UserId, key: &str) -> String {
        format!("{}idem:{}", self.keys.prefix(), name(user, key))
    }

    /// The marker, what is kept of the user, and the counts that an order touches.
    fn keys(&self, attempt: &Attempt) -> Vec<String> {
        let (user, prefix) = (name(&attempt.user, ""), self.keys.prefix());
        let counts = attempt
            .wanted
            .iter()
            .map(|wanted| self.keys.count(&wanted.product));
        [
            self.marker(&attempt.user, &attempt.key),
            format!("{prefix}under-way:{user}"),
            format!("{prefix}doubt:{user}"),
            self.keys.markers(),
            self.keys.tries_unknown(),
            self.keys.all_sold(),
            format!("{prefix}bought:{user}"),
        ]
        .into_iter()
        .chain(counts)
        .collect()
    }

    /// Takes the units of an order, all or none, and marks its key.
    ///
    /// # Errors
    /// Redis does not answer.
    pub async fn take(&self, attempt: &Attempt) -> Result<Passage, Error> {
        self.pass(&TAKE_NOW, attempt).await
    }

    /// Marks the key of an order that may yet be refused for what it asks for, and takes nothing before it is accepted.
    /// Without the mark, a buyer whose answer was lost could hear "sold out" of an order that was accepted.
    ///
    /// # Errors
    /// Redis does not answer.
    pub async fn mark(&self, attempt: &Attempt) -> Result<Passage, Error> {
        self.pass(&TAKE_LATER, attempt).await
    }

    /// Takes the units of an order, or marks its key alone, and counts the request with it: of a request that has no place within its limit
    /// nothing else is done.
    ///
    /// # Errors
    /// Redis does not answer.
    pub(crate) async fn count_and_pass(
        &self,
        units: Units,
        attempt: &Attempt,
        limit: RateLimit,
        counting: Counting,
    ) -> Result<(Verdict, Option<Passage>), Error> {
        let script: &'static Script = match units {
            Units::Now => &COUNT_AND_TAKE_NOW,
            Units::Later => &COUNT_AND_TAKE_LATER,
        };
        let (mut keys, mut arguments) = told(self, attempt);
        keys.extend(counting.keys);
        arguments.extend(counting.arguments);
        let said = self.scripts.run(script, keys, arguments).await?;
        let verdict = limiter::verdict(limit, &said);
        let passage = verdict
            .allowed()
            .then(|| passage(said.get(2..).unwrap_or_default()));
        Ok((verdict, passage))
    }

    async fn pass(&self, script: &'static Script, attempt: &Attempt) -> Result<Passage, Error> {
        let (keys, arguments) = told(self, attempt);
        let said = self.scripts.run(script, keys, arguments).await?;
        Ok(passage(&said))
    }

    /// Whether a key has made an order.
    ///
    /// # Errors
    /// Redis does not answer.
    pub async fn knows(&self, user: &UserId, key: &str) -> Result<Knowledge, Error> {
        let keys = vec![
            self.marker(user, key),
            self.keys.markers(),
            self.keys.tries_unknown(),
        ];
        let said = self.scripts.run(&KNOWS, keys, Vec::new()).await?;
        Ok(match said.first() {
            Some(1) => Knowledge::Marked,
            Some(0) => Knowledge::Unmarked,
            Some(5) => Knowledge::InDoubt(Doubt::NoTryUnderWay),
            _ => Knowledge::InDoubt(Doubt::TryMayBeUnderWay),
        })
    }

    /// Gives back what an order took and does not need, takes what it has not taken yet, and lets the user's next order
    /// in. Best effort: inventory sets the counts right, and nothing is under way for ever.
    pub async fn settle(&self, passed: &Passed, outcome: Outcome) {
        let give_back = i64::from(passed.has_units);
        let (drop_marker, doubt, back) = match outcome {
            Outcome::Accepted if passed.has_units => (0, 0, 0),
            Outcome::Accepted => (0, -1, -1),
            Outcome::Known => (2, 0, give_back),
            Outcome::Refused => (1, DOUBTED_SECONDS, give_back),
            Outcome::NotSent => (3, 0, give_back),
            Outcome::Unknown => (0, 0, 0),
        };
        let attempt = &passed.attempt;
        let numbers = |wanted: &WantedUnits| {
            let counts = outcome == Outcome::Accepted && wanted.limit.is_some();
            let units = i64::from(wanted.units);
            [units * back, if counts { units } else { 0 }]
        };
        let mut arguments = arguments(drop_marker, doubt, attempt, numbers);
        arguments.push(MARKER_SECONDS.to_string());
        let settled = self.scripts.run(&SETTLE, self.keys(attempt), arguments);
        if let Err(error) = settled.await {
            tracing::debug!(%error, "an order is not settled with the gate; it will be set right");
        }
    }
}

/// What the scripts are told that take units.
fn told(gate: &Gate, attempt: &Attempt) -> (Vec<String>, Vec<String>) {
    let numbers = |wanted: &WantedUnits| {
        let limit = wanted.limit.map_or(-1, i64::from);
        [i64::from(wanted.units), limit]
    };
    let arguments = arguments(MARKER_SECONDS, UNDER_WAY_MS, attempt, numbers);
    (gate.keys(attempt), arguments)
}

/// What they say.
fn passage(said: &[i64]) -> Passage {
    let short = || {
        let number = |at: usize| said.get(at).copied().unwrap_or(0);
        Short {
            index: usize::try_from(number(1)).unwrap_or(0),
            left: u32::try_from(number(2)).unwrap_or(0),
            all_sold: number(3) == 1,
        }
    };
    match said.first() {
        Some(1) => Passage::Taken,
        Some(2) => Passage::Repeat,
        Some(3) => Passage::UnderWay,
        Some(4) => Passage::TakesLater,
        Some(5) => Passage::RefusedInDoubt(short(), Doubt::NoTryUnderWay),
        Some(6) => Passage::RefusedInDoubt(short(), Doubt::TryMayBeUnderWay),
        _ => Passage::Refused(short()),
    }
}

/// What stands for a key of a user, or for the user.
fn name(user: &UserId, key: &str) -> String {
    let mut hash = Sha256::new();
    hash.update((user.as_str().len() as u64).to_be_bytes());
    hash.update(user.as_str());
    hash.update(key);
    hex::encode(hash.finalize())
}

/// What the scripts are told: two numbers and the order's name, then of each product its id and two numbers.
fn arguments(
    first: i64,
    second: i64,
    attempt: &Attempt,
    numbers: impl Fn(&WantedUnits) -> [i64; 2],
) -> Vec<String> {
    let head = [
        first.to_string(),
        second.to_string(),
        name(&attempt.user, &attempt.key),
    ];
    let products = attempt.wanted.iter().flat_map(|wanted| {
        let [one, other] = numbers(wanted);
        [
            wanted.product.as_str().to_owned(),
            one.to_string(),
            other.to_string(),
        ]
    });
    head.into_iter().chain(products).collect()
}
