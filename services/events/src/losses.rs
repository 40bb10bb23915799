//! Records that a broker has lost before they were handled, as lanes have met the gap or the relay has. A note of each is kept until what
//! was lost has been said once more, from what the database holds.

use crate::{
    lanes::{LaneStore, lane_id},
    log_ends::Shortened,
    reader::{Cause, Gap},
    topics::{GROUPS, Topic},
};
use futures::TryStreamExt;
use jiff::Timestamp;
use mongodb::{
    ClientSession, Collection, Database,
    bson::{DateTime, Document, doc},
    error::Error,
};
use platform::metrics::{Metric, must};
use prometheus::{IntCounterVec, register_int_counter_vec};
use serde::{Deserialize, Serialize};
use std::sync::LazyLock;

/// Gaps, by group and cause.
pub static LOSSES: LazyLock<IntCounterVec> = LazyLock::new(|| {
    must(register_int_counter_vec!(
        "quicksale_lane_losses_total",
        "Times when a lane, or the relay for it, found that the broker has lost records.",
        &["group", "cause"]
    ))
});

/// The metric, with what a group has not lost as zero.
pub fn metric(group: &str) -> Metric {
    for cause in Cause::ALL {
        LOSSES.with_label_values(&[group, cause.as_str()]);
    }
    &*LOSSES
}

/// The most that are looked at at once: one for each lane and more.
const PAGE: i64 = 1_000;

/// One gap.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Loss {
    /// UUIDv7.
    #[serde(rename = "_id")]
    pub id: String,
    /// Whose lane.
    pub group: String,
    /// Of which topic.
    pub topic: Topic,
    /// And partition.
    pub partition: i32,
    /// The offset that was to be read next, or to be written next.
    pub wanted: i64,
    /// Where it was gone on, or where the log ended.
    pub found: i64,
    /// Why.
    pub cause: Cause,
    /// When the last message before the gap that the group has read was written, as far as it is known.
    pub since: Option<DateTime>,
    /// When it was met.
    pub at: DateTime,
    /// When what was lost had been said once more.
    pub mended_at: Option<DateTime>,
}

impl Loss {
    /// A gap in a lane.
    pub fn new(group: &str, topic: Topic, partition: i32, gap: Gap, now: Timestamp) -> Self {
        let time = |at: Timestamp| DateTime::from_millis(at.as_millisecond());
        Self {
            id: uuid::Uuid::now_v7().to_string(),
            group: group.to_owned(),
            topic,
            partition,
            wanted: gap.wanted,
            found: gap.found,
            cause: gap.cause,
            since: gap.since.map(time),
            at: time(now),
            mended_at: None,
        }
    }

    /// Counts it, once it is kept.
    pub(crate) fn count(&self) {
        LOSSES
            .with_label_values(&[self.group.as_str(), self.cause.as_str()])
            .inc();
    }
}

/// The groups that read a topic, by its name without the prefix.
fn readers(name: &str) -> impl Iterator<Item = (&'static str, Topic)> {
    GROUPS.into_iter().flat_map(move |(group, topics)| {
        let of_name = topics.iter().filter(move |topic| topic.plain_name() == name);
        of_name.map(move |topic| (group, *topic))
    })
}

/// The gaps of one sale.
#[derive(Debug, Clone)]
pub struct Losses {
    losses: Collection<Loss>,
}

impl Losses {
    /// The gaps in a sale's database.
    pub fn new(database: &Database) -> Self {
        Self {
            losses: database.collection("losses"),
        }
    }

    /// Keeps gaps in the transaction that moves the lanes over them.
    ///
    /// # Errors
    /// The driver's.
    pub(crate) async fn keep(&self, session: &mut ClientSession, losses: &[Loss]) -> Result<(), Error> {
        if !losses.is_empty() {
            self.losses.insert_many(losses).session(session).await?;
        }
        Ok(())
    }

    /// Notes for each group that reads a log what it has lost. Also for one that may have read it before: what comes again has no
    /// effect.
    ///
    /// # Errors
    /// The driver's.
    pub async fn note(
        &self,
        shortened: &[Shortened],
        lanes: &LaneStore,
        now: Timestamp,
    ) -> Result<(), Error> {
        let mut losses = Vec::new();
        for Shortened {
            way,
            old_end,
            new_end,
        } in shortened
        {
            let (name, partition) = way;
            for (group, topic) in readers(name) {
                let lane = lanes.current(&lane_id(group, topic, *partition)).await?;
                let last = lane.and_then(|lane| lane.last);
                let gap = Gap {
                    wanted: *old_end,
                    found: *new_end,
                    cause: Cause::CutOff,
                    since: last.and_then(|last| Timestamp::from_millisecond(last.at.timestamp_millis()).ok()),
                };
                losses.push(Loss::new(group, topic, *partition, gap, now));
            }
        }
        if !losses.is_empty() {
            self.losses.insert_many(&losses).await?;
        }
        for loss in &losses {
            loss.count();
            tracing::error!(
                group = loss.group,
                topic = loss.topic.plain_name(),
                partition = loss.partition,
                ended = loss.wanted,
                ends = loss.found,
                "the broker has lost the end of a log; what was in it is said again"
            );
        }
        Ok(())
    }

    /// Those that are not mended, as a filter.
    pub fn unmended() -> Document {
        doc! {"mendedAt": null}
    }

    /// Those that are not mended.
    ///
    /// # Errors
    /// The driver's.
    pub async fn open(&self) -> Result<Vec<Loss>, Error> {
        self.losses
            .find(Self::unmended())
            .limit(PAGE)
            .await?
            .try_collect()
            .await
    }

    /// Says that what was lost has been said once more.
    ///
    /// # Errors
    /// The driver's.
    pub async fn mended(&self, ids: &[String], now: Timestamp) -> Result<(), Error> {
        let mended = doc! {"$set": {"mendedAt": DateTime::from_millis(now.as_millisecond())}};
        self.losses
            .update_many(doc! {"_id": {"$in": ids}}, mended)
            .await
            .map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_group_that_reads_a_topic_is_named() {
        let of = |name: &str| readers(name).map(|(group, _)| group).collect::<Vec<_>>();
        assert_eq!(of("order.status"), ["inventory", "notifier"]);
        assert_eq!(of("inventory.result"), ["order"]);
        assert!(of("order.status.dead-letter").is_empty());
    }
}
