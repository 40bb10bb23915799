//! Records that nobody but the processor may write, such as those that are no messages.

use crate::world::World;
use anyhow::Result;
use events::Topic;
use platform::backends::kafka;
use rskafka::{client::partition::Compression, record::Record};
use std::{collections::BTreeMap, time::Duration};

/// How long a broker may take.
const DEADLINE: Duration = Duration::from_secs(10);

/// Writes any record to any partition.
pub async fn produce(
    world: &World,
    topic: Topic,
    partition: i32,
    key: Option<&str>,
    value: Option<Vec<u8>>,
) -> Result<()> {
    let client = world.backends.credentials()?.kafka.connect().await?;
    let lane = kafka::partition(&client, &world.topic(topic), partition).await?;
    let record = Record {
        key: key.map(|key| key.as_bytes().to_vec()),
        value,
        headers: BTreeMap::new(),
        timestamp: rskafka::chrono::Utc::now(),
    };
    kafka::within(DEADLINE, lane.produce(vec![record], Compression::NoCompression)).await?;
    Ok(())
}
