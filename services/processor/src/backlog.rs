//! What waits to be said and to be handled, as metrics. The relay shows it: one process of a sale, so that sums over processes are right.

use events::{GROUPS, Topic, lag::Offsets, outbox::Outbox, producer::Way};
use jiff::Timestamp;
use mongodb::Database;
use platform::{
    backends::mongo::{self, MongoError},
    metrics::{Metric, must},
};
use prometheus::{Gauge, IntGauge, IntGaugeVec, register_gauge, register_int_gauge, register_int_gauge_vec};
use std::{sync::LazyLock, time::Duration};

static LAG: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    must(register_int_gauge_vec!(
        "quicksale_lane_lag",
        "Records of a partition that a group has not handled. Shown by the relay, like those of kafka.",
        &["group", "topic", "partition"]
    ))
});
/// The names of kafka-exporter, which dashboards for lag know. The groups keep their offsets in MongoDB, so no exporter sees them.
static GROUP_LAG: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    must(register_int_gauge_vec!(
        "kafka_consumergroup_lag",
        "As quicksale_lane_lag, under the name and the labels that dashboards for kafka-exporter ask for; the topic with the sale's prefix.",
        &["consumergroup", "topic", "partition"]
    ))
});
static GROUP_OFFSET: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    must(register_int_gauge_vec!(
        "kafka_consumergroup_current_offset",
        "The offset of the record that a group handles next.",
        &["consumergroup", "topic", "partition"]
    ))
});
static LOG_END: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    must(register_int_gauge_vec!(
        "kafka_topic_partition_current_offset",
        "The offset of the record that is written next to a partition.",
        &["topic", "partition"]
    ))
});
static OLDEST: LazyLock<Gauge> = LazyLock::new(|| {
    must(register_gauge!(
        "quicksale_outbox_oldest_seconds",
        "Age of the oldest message that Kafka has not acknowledged; 0 where none waits, and in processes that are not the relay."
    ))
});
static ENTRIES: LazyLock<IntGauge> = LazyLock::new(|| {
    must(register_int_gauge!(
        "quicksale_outbox_entries",
        "Documents of the outbox, each one message or several that were written together, that Kafka has not acknowledged; 0 in processes that are not the relay."
    ))
});

/// What is counted here.
pub(crate) fn metrics() -> Vec<Metric> {
    vec![&*LAG, &*GROUP_LAG, &*GROUP_OFFSET, &*LOG_END, &*OLDEST, &*ENTRIES]
}

/// What is looked at.
#[derive(Debug, Clone)]
pub(crate) struct Backlog {
    database: Database,
    outbox: Outbox,
    /// Of the sale's topics.
    prefix: String,
}

impl Backlog {
    pub(crate) fn new(database: &Database, prefix: &str) -> Self {
        Self {
            database: database.clone(),
            outbox: Outbox::new(database),
            prefix: prefix.to_owned(),
        }
    }

    /// Shows what waits to be said.
    pub(crate) async fn show_outbox(&self, now: Timestamp) -> Result<(), MongoError> {
        let outbox = self.outbox.clone();
        let waiting =
            mongo::detached(async move { outbox.waiting().await.map_err(MongoError::from) }).await?;
        // The count is the server's own, and may be wrong for good after a crash.
        let entries = waiting.oldest.map_or(0, |_| waiting.documents);
        ENTRIES.set(i64::try_from(entries).unwrap_or(i64::MAX));
        let oldest = waiting.oldest.map_or(Duration::ZERO, |at| mongo::age(at, now));
        OLDEST.set(oldest.as_secs_f64());
        Ok(())
    }

    /// Shows what waits to be handled, where the logs end so.
    pub(crate) async fn show_lanes(&self, ends: &[(Way, i64)]) -> Result<(), MongoError> {
        let database = self.database.clone();
        let offsets =
            mongo::detached(async move { Offsets::read(&database).await.map_err(MongoError::from) }).await?;
        for ((topic, partition), end) in ends {
            self.show_partition(topic, *partition, *end, &offsets);
        }
        Ok(())
    }

    fn show_partition(&self, topic: &str, partition: i32, end: i64, offsets: &Offsets) {
        let (full, number) = (format!("{}{topic}", self.prefix), partition.to_string());
        LOG_END.with_label_values(&[&full, &number]).set(end);
        for (group, read) in GROUPS {
            let Some(topic) = read.iter().find(|one: &&Topic| one.plain_name() == topic) else {
                continue;
            };
            let next = offsets.next(group, *topic, partition);
            // A lane may have gone on since the end was asked for; one that is at another log is a loss, and counted as that.
            let lag = (end - next).max(0);
            let labels = [group, full.as_str(), number.as_str()];
            LAG.with_label_values(&[group, topic.plain_name(), &number])
                .set(lag);
            GROUP_LAG.with_label_values(&labels).set(lag);
            GROUP_OFFSET.with_label_values(&labels).set(next);
        }
    }

    /// Shows nothing: another process does.
    pub(crate) fn hide() {
        for of_partitions in [&*LAG, &*GROUP_LAG, &*GROUP_OFFSET, &*LOG_END] {
            of_partitions.reset();
        }
        OLDEST.set(0.0);
        ENTRIES.set(0);
    }
}
