//! What goes wrong, when, and for how long: drawn from a seed.

use anyhow::Result;
use events::topics::Topic;
use platform::backends::kafka;
use quicksale_tests::world::World;
use rand::{RngExt, rngs::StdRng};
use rskafka::client::partition::{Compression, OffsetAt, PartitionClient};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::{Duration, Instant},
};

/// How long a broker that has just begun may answer nothing.
const BEGINS: Duration = Duration::from_secs(10);
/// Between two faults, in milliseconds.
const BETWEEN_MS: std::ops::Range<u64> = 300..2_000;
/// How long a process may be gone, in milliseconds.
const GONE_MS: std::ops::Range<u64> = 0..4_000;
/// How long a process may stand still, in milliseconds.
const STILL_MS: std::ops::Range<u64> = 500..60_000;
/// How long a backend may be away, in milliseconds.
const AWAY_MS: std::ops::Range<u64> = 500..5_000;
/// How long a backend may stand still, in milliseconds.
const HANGS_MS: std::ops::Range<u64> = 500..6_000;
/// How far the clock of a process is wrong that starts again, in milliseconds: less than a minute between any two, the bound
/// within which tokens are good on all machines.
const WRONG_MS: std::ops::Range<i64> = -25_000..25_000;
/// How many backends' falls, and topics made anew or cut off, there are at the most in a minute.
const HEAVY_IN_A_MINUTE: u64 = 6;
const DEADLINE: Duration = Duration::from_secs(5);

/// Every process there is.
const PROCESSES: [&str; 12] = [
    "auth",
    "inventory",
    "order",
    "processor",
    "notifier",
    "gateway",
    "auth-2",
    "inventory-2",
    "order-2",
    "processor-2",
    "notifier-2",
    "gateway-2",
];

/// What has happened, by kind.
#[derive(Debug, Default)]
pub(super) struct Faults(BTreeMap<&'static str, u32>);

impl Faults {
    fn note(&mut self, kind: &'static str) {
        *self.0.entry(kind).or_default() += 1;
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Vec<String> = self
            .0
            .iter()
            .map(|(kind, times)| format!("{times} {kind}"))
            .collect();
        f.write_str(&all.join(", "))
    }
}

/// Rages for a while; afterwards everything runs again.
pub(super) async fn rage(world: &mut World, chance: &mut StdRng, length: Duration) -> Result<Faults> {
    let end = Instant::now() + length;
    let mut weather = Weather {
        faults: Faults::default(),
        gone: BTreeMap::new(),
        still: BTreeMap::new(),
        heavy: HEAVY_IN_A_MINUTE * length.as_secs().max(20) / 60,
    };
    while Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(chance.random_range(BETWEEN_MS))).await;
        weather.clear_up(world, Instant::now()).await?;
        weather.strike(world, chance).await?;
    }
    weather.clear_up(world, end + Duration::from_secs(3_600)).await?;
    world.all_still_run()?;
    Ok(weather.faults)
}

struct Weather {
    faults: Faults,
    /// Processes that are gone, and until when.
    gone: BTreeMap<&'static str, Instant>,
    /// Processes that stand still, and until when.
    still: BTreeMap<&'static str, Instant>,
    heavy: u64,
}

impl Weather {
    /// Ends what is over.
    async fn clear_up(&mut self, world: &mut World, now: Instant) -> Result<()> {
        let over = |all: &BTreeMap<&'static str, Instant>| -> BTreeSet<&'static str> {
            let over = all.iter().filter(|(_, until)| **until <= now);
            over.map(|(process, _)| *process).collect()
        };
        for process in over(&self.gone) {
            self.gone.remove(process);
            world.kill_and_restart(process)?;
        }
        for process in over(&self.still) {
            self.still.remove(process);
            world.thaw(process).await?;
        }
        Ok(())
    }

    async fn strike(&mut self, world: &mut World, chance: &mut StdRng) -> Result<()> {
        let process = PROCESSES[chance.random_range(0..PROCESSES.len())];
        let now = Instant::now();
        let is_whole = !self.gone.contains_key(process) && !self.still.contains_key(process);
        match chance.random_range(0..100_u32) {
            0..45 if is_whole => {
                world.kill(process)?;
                world.set_clock_wrong_by(process, chance.random_range(WRONG_MS));
                self.gone.insert(process, now + drawn(chance, GONE_MS));
                self.faults.note("killed");
            }
            // Mostly for a moment, sometimes for so long that others take over what it held.
            45..70 if is_whole && self.still.len() < 4 => {
                let longest = drawn(chance, STILL_MS).min(drawn(chance, STILL_MS));
                world.freeze(process).await?;
                self.still.insert(process, now + longest);
                self.faults.note("frozen");
            }
            70..76 => {
                world.backends.flush_redis().await?;
                self.faults.note("Redis emptied");
            }
            76..86 if self.heavy > 0 => {
                self.heavy -= 1;
                let names = [
                    ("kafka", "Kafka killed", "Kafka frozen"),
                    ("mongodb", "MongoDB killed", "MongoDB frozen"),
                    ("redis", "Redis killed", "Redis frozen"),
                ];
                let (name, killed, frozen) = names[chance.random_range(0..names.len())];
                if chance.random_bool(0.3) {
                    world.backends.freeze(name).await?;
                    tokio::time::sleep(drawn(chance, HANGS_MS)).await;
                    world.backends.thaw(name).await?;
                    self.faults.note(frozen);
                } else {
                    world.backends.kill(name).await?;
                    tokio::time::sleep(drawn(chance, AWAY_MS)).await;
                    world.backends.start(name).await?;
                    self.faults.note(killed);
                }
            }
            86..89 if self.heavy > 0 => {
                self.heavy -= 1;
                let topic = Topic::ALL[chance.random_range(0..Topic::ALL.len())];
                if in_two_tries(async || drop_records(world, topic, chance).await).await? {
                    self.faults.note("partitions emptied");
                }
            }
            89..92 if self.heavy > 0 => {
                self.heavy -= 1;
                let topic = Topic::ALL[chance.random_range(0..Topic::ALL.len())];
                world.make_anew(topic).await?;
                self.faults.note("topics made anew");
            }
            92.. => {
                let topic = Topic::ALL[chance.random_range(0..Topic::ALL.len())];
                if in_two_tries(async || repeat(world, topic, chance).await).await? {
                    self.faults.note("records repeated");
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// A broker that has just begun may answer nothing for a while.
async fn in_two_tries(mut fault: impl AsyncFnMut() -> Result<bool>) -> Result<bool> {
    match fault().await {
        Err(_) => {
            tokio::time::sleep(BEGINS).await;
            fault().await
        }
        done => done,
    }
}

fn drawn(chance: &mut StdRng, millis: std::ops::Range<u64>) -> Duration {
    Duration::from_millis(chance.random_range(millis))
}

/// A partition that has records, with the offsets of its first one and of its end.
async fn some_partition(
    world: &World,
    topic: Topic,
    chance: &mut StdRng,
) -> Result<Option<(PartitionClient, i64, i64)>> {
    let name = world.topic(topic);
    let client = world.backends.credentials()?.kafka.connect().await?;
    let number = chance.random_range(0..world.config.kafka.partitions);
    let partition = kafka::partition(&client, &name, number).await?;
    let begin = kafka::within(DEADLINE, partition.get_offset(OffsetAt::Earliest)).await?;
    let end = kafka::within(DEADLINE, partition.get_offset(OffsetAt::Latest)).await?;
    Ok((end > begin).then_some((partition, begin, end)))
}

/// Loses the older records of a partition, read or not.
async fn drop_records(world: &World, topic: Topic, chance: &mut StdRng) -> Result<bool> {
    let Some((partition, begin, end)) = some_partition(world, topic, chance).await? else {
        return Ok(false);
    };
    // Mostly also what nobody has read yet: that is at the end.
    let up_to = if chance.random_bool(0.7) {
        end
    } else {
        chance.random_range(begin..=end)
    };
    kafka::within(DEADLINE, partition.delete_records(up_to, 5_000)).await?;
    Ok(true)
}

/// Writes some records of a topic once more, later ones first.
async fn repeat(world: &World, topic: Topic, chance: &mut StdRng) -> Result<bool> {
    let Some((partition, begin, end)) = some_partition(world, topic, chance).await? else {
        return Ok(false);
    };
    let from = chance.random_range(begin..end);
    let read = kafka::within(DEADLINE, partition.fetch_records(from, 1..100_000, 1_000)).await?;
    let mut records: Vec<_> = read.0.into_iter().map(|record| record.record).take(20).collect();
    records.reverse();
    if records.is_empty() {
        return Ok(false);
    }
    kafka::within(DEADLINE, partition.produce(records, Compression::NoCompression)).await?;
    Ok(true)
}
