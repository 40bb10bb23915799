//! Reads every partition of `order.status` from now on and pushes to the sockets of this process. Nothing depends on
//! it: what it misses is in the store.

use crate::{hub::Hub, store::Notification};
use events::{Message, Topic};
use platform::{
    backends::kafka::{CALL_DEADLINE, KafkaCredentials, KafkaError, within},
    config::Kafka,
    retry::Backoff,
};
use rskafka::client::partition::OffsetAt;
use std::{sync::Arc, time::Duration};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Bytes asked for at once.
const FETCH_BYTES: i32 = 512 * 1024;
/// How long the broker holds an empty answer back, in milliseconds.
const LONG_POLL_MS: i32 = 500;

/// Reads until the process ends.
pub async fn run(hub: Arc<Hub>, credentials: KafkaCredentials, config: Kafka, stop: CancellationToken) {
    let topic = format!("{}{}", config.topic_prefix, Topic::OrderStatus.plain_name());
    let mut readers = JoinSet::new();
    for partition in 0..config.partitions {
        let (hub, credentials, topic) = (Arc::clone(&hub), credentials.clone(), topic.clone());
        readers.spawn(async move { follow(&hub, &credentials, &topic, partition).await });
    }
    tokio::select! {
        () = stop.cancelled() => {}
        Some(ended) = readers.join_next() => tracing::error!(?ended, "a reader of order.status ended"),
    }
}

async fn follow(hub: &Hub, credentials: &KafkaCredentials, topic: &str, partition: i32) {
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
    let mut next: Option<i64> = None;
    loop {
        let Err(error) = read(hub, credentials, topic, partition, &mut next, &mut backoff).await;
        if error.is_offset_out_of_range() {
            next = None;
        }
        if backoff.attempts() == 3 {
            tracing::warn!(topic, partition, %error, "cannot follow; trying on");
        }
        tokio::time::sleep(backoff.next_wait()).await;
    }
}

async fn read(
    hub: &Hub,
    credentials: &KafkaCredentials,
    topic: &str,
    partition: i32,
    next: &mut Option<i64>,
    backoff: &mut Backoff,
) -> Result<std::convert::Infallible, KafkaError> {
    let reader = credentials.reader(topic, partition).await?;
    let mut at = match *next {
        Some(at) => at,
        None => within(CALL_DEADLINE, reader.get_offset(OffsetAt::Latest)).await?,
    };
    loop {
        *next = Some(at);
        let poll = reader.fetch_records(at, 1..FETCH_BYTES, LONG_POLL_MS);
        let (records, _high_watermark) = within(CALL_DEADLINE, poll).await?;
        backoff.reset();
        for record in records {
            at = at.max(record.offset + 1);
            // What cannot be read is the lane's business: it goes to the dead letters there.
            if let Ok(message) = Message::decode(record.record.value.as_deref(), None)
                && let Some(notification) = Notification::of(&message)
            {
                hub.push(&notification);
            }
        }
    }
}
