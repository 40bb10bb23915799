//! Where the logs end, as the relay knows it.
//!
//! A reader notices what a broker has lost by the record that it has read before it ([`crate::reader`]). Whoever has read nothing, or
//! nothing of what was lost, has no such record. The relay has: a log that ends before a record that its broker has acknowledged has lost
//! that record, and what it writes next gets its offset. So it remembers for each partition where the log ended, keeps it in the database
//! for the relay after it, and looks now and then where it writes nothing.

use crate::{
    lanes::{LaneStore, lane_id},
    losses::{LOSSES, Loss, Losses},
    producer::Way,
    reader::{Cause, Gap},
    topics::{GROUPS, Topic},
};
use futures::{StreamExt, stream};
use jiff::Timestamp;
use mongodb::{Collection, Database, bson::DateTime};
use platform::backends::{
    kafka::{self, CALL_DEADLINE, KafkaCredentials, KafkaError, within},
    mongo::MongoError,
};
use rskafka::client::{Client, partition::OffsetAt};
use serde::{Deserialize, Serialize};
use std::{
    collections::{HashMap, hash_map::Entry},
    ops::Range,
};

/// The one document of a sale.
const ID: &str = "relay";
/// Partitions that are asked at the same time.
const CONCURRENCY: usize = 16;

/// A log that has become shorter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shortened {
    /// Which one.
    pub way: Way,
    /// Where it ended when its broker said so the last time: the offset that came next.
    pub ended: i64,
    /// Where it ends now.
    pub ends: i64,
}

/// Where each log ends, for all that is known: the offset of the record that comes next.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogEnds(HashMap<Way, i64>);

impl LogEnds {
    /// Records were written at these offsets. Returns what the log has lost before them, if anything.
    pub fn wrote(&mut self, way: &Way, at: Range<i64>) -> Option<Shortened> {
        let ended = self.0.insert(way.clone(), at.end)?;
        (at.start < ended).then(|| Shortened {
            way: way.clone(),
            ended,
            ends: at.start,
        })
    }

    /// A log was found to end here, by a question that was asked when these ends were known. What was written meanwhile is
    /// no loss.
    pub fn found(&mut self, way: &Way, ends: i64, before: &Self) -> Option<Shortened> {
        let ended = *before.0.get(way)?;
        if ends >= ended {
            return None;
        }
        if let Entry::Occupied(mut known) = self.0.entry(way.clone())
            && *known.get() == ended
        {
            known.insert(ends);
        }
        Some(Shortened {
            way: way.clone(),
            ended,
            ends,
        })
    }

    /// Adds what another one knows: of each log the later end.
    pub fn merge(&mut self, other: Self) {
        for (way, end) in other.0 {
            let known = self.0.entry(way).or_insert(end);
            *known = end.max(*known);
        }
    }

    /// Asks Kafka where the logs end. What does not answer is left out.
    ///
    /// # Errors
    /// Kafka's, where it cannot be reached at all.
    pub async fn ask(
        &self,
        credentials: &KafkaCredentials,
        prefix: &str,
    ) -> Result<Vec<(Way, i64)>, KafkaError> {
        let client = credentials.connect().await?;
        let ways: Vec<Way> = self.0.keys().cloned().collect();
        let answers = stream::iter(ways).map(async |way| {
            let name = format!("{prefix}{}", way.0);
            let end = log_end(&client, &name, way.1).await;
            end.map(|end| (way, end))
        });
        let answers = answers.buffer_unordered(CONCURRENCY);
        Ok(answers.filter_map(async |answer| answer.ok()).collect().await)
    }
}

/// Where the log of a partition ends.
///
/// # Errors
/// Kafka's.
pub async fn log_end(client: &Client, topic: &str, partition: i32) -> Result<i64, KafkaError> {
    let partition = kafka::partition(client, topic, partition).await?;
    within(CALL_DEADLINE, partition.get_offset(OffsetAt::Latest)).await
}

/// As it is kept.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    #[serde(rename = "_id")]
    id: String,
    ends: Vec<KeptEnd>,
}

#[derive(Debug, Serialize, Deserialize)]
struct KeptEnd {
    topic: String,
    partition: i32,
    end: i64,
}

/// The ends of a sale's logs in its database, and the notes of what they have lost.
#[derive(Debug, Clone)]
pub struct LogEndStore {
    ends: Collection<Kept>,
    losses: Losses,
    lanes: LaneStore,
}

impl LogEndStore {
    /// Those in a sale's database.
    pub fn new(database: &Database) -> Self {
        Self {
            ends: database.collection("log_ends"),
            losses: Losses::new(database),
            lanes: LaneStore::new(database),
        }
    }

    /// What was kept; nothing where nobody has written yet.
    ///
    /// # Errors
    /// [`MongoError`].
    pub async fn load(&self) -> Result<LogEnds, MongoError> {
        let kept = self.ends.find_one(mongodb::bson::doc! {"_id": ID}).await?;
        let ends = kept.into_iter().flat_map(|kept| kept.ends);
        Ok(LogEnds(
            ends.map(|kept| ((kept.topic, kept.partition), kept.end))
                .collect(),
        ))
    }

    /// Keeps what is known. A relay that was replaced and does not know it may put its own in the place of its successor's: that one
    /// does so again with what it writes next.
    ///
    /// # Errors
    /// [`MongoError`].
    pub async fn save(&self, ends: LogEnds) -> Result<(), MongoError> {
        let ends = ends.0.into_iter().map(|((topic, partition), end)| KeptEnd {
            topic,
            partition,
            end,
        });
        let kept = Kept {
            id: ID.to_owned(),
            ends: ends.collect(),
        };
        let this = mongodb::bson::doc! {"_id": ID};
        self.ends.replace_one(this, kept).upsert(true).await?;
        Ok(())
    }

    /// Notes for each group that reads a log what it has lost, so that it is said again. What a group has handled is not known to be
    /// whole either: where it is, what comes again has no effect.
    ///
    /// # Errors
    /// [`MongoError`].
    pub async fn note(&self, shortened: &[Shortened], now: Timestamp) -> Result<(), MongoError> {
        let mut notes = Vec::new();
        for Shortened {
            way: (name, partition),
            ended,
            ends,
        } in shortened
        {
            for (group, topic) in readers(name) {
                let lane = self.lanes.current(&lane_id(group, topic, *partition)).await?;
                let last = lane.and_then(|lane| lane.last);
                let gap = Gap {
                    wanted: *ended,
                    found: *ends,
                    cause: Cause::CutOff,
                    since: last.and_then(|last| timestamp(last.at)),
                };
                notes.push(Loss::new(group, topic, *partition, gap, now));
            }
        }
        self.losses.add(&notes).await?;
        for note in &notes {
            LOSSES
                .with_label_values(&[&note.group, note.cause.as_str()])
                .inc();
            tracing::error!(
                group = note.group,
                topic = note.topic.plain_name(),
                partition = note.partition,
                ended = note.wanted,
                ends = note.found,
                "the broker has lost the end of a log; what was in it is said again"
            );
        }
        Ok(())
    }
}

fn timestamp(at: DateTime) -> Option<Timestamp> {
    Timestamp::from_millisecond(at.timestamp_millis()).ok()
}

/// The groups that read a topic by its name without the prefix.
fn readers(name: &str) -> impl Iterator<Item = (&'static str, Topic)> {
    GROUPS.into_iter().flat_map(move |(group, topics)| {
        let of_name = topics.iter().filter(move |topic| topic.plain_name() == name);
        of_name.map(move |topic| (group, *topic))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn way(partition: i32) -> Way {
        ("order.status".to_owned(), partition)
    }

    fn shortened(ended: i64, ends: i64) -> Option<Shortened> {
        Some(Shortened {
            way: way(0),
            ended,
            ends,
        })
    }

    #[test]
    fn what_is_written_before_the_end_has_found_a_shorter_log() {
        let mut ends = LogEnds::default();
        for (at, lost) in [
            (7..9, None),
            (9..10, None),
            // Written twice by a relay that did not hear of it.
            (12..13, None),
            (12..14, shortened(13, 12)),
            (0..1, shortened(14, 0)),
            (1..2, None),
        ] {
            assert_eq!(ends.wrote(&way(0), at.clone()), lost, "{at:?}");
        }
        assert_eq!(
            ends.wrote(&way(1), 0..1),
            None,
            "of another partition nothing is known"
        );
    }

    #[test]
    fn what_was_written_since_it_was_asked_is_no_loss() {
        let mut ends = LogEnds::default();
        ends.wrote(&way(0), 0..5);
        let asked = ends.clone();
        ends.wrote(&way(0), 5..9);
        assert_eq!(ends.found(&way(0), 5, &asked), None);
        assert_eq!(ends.found(&way(0), 8, &asked), None);
        assert_eq!(ends.found(&way(0), 3, &asked), shortened(5, 3));
        assert_eq!(
            ends.wrote(&way(0), 9..10),
            None,
            "what was written later is known better"
        );
        let asked = ends.clone();
        assert_eq!(ends.found(&way(0), 0, &asked), shortened(10, 0));
        assert_eq!(ends.found(&way(0), 0, &ends.clone()), None, "once");
        assert_eq!(ends.found(&way(1), 0, &asked), None);
    }

    #[test]
    fn of_two_the_later_end_counts() {
        let (mut one, mut other) = (LogEnds::default(), LogEnds::default());
        one.wrote(&way(0), 0..5);
        one.wrote(&way(1), 0..5);
        other.wrote(&way(1), 0..3);
        other.wrote(&way(2), 0..3);
        one.merge(other);
        assert_eq!(one.0, HashMap::from([(way(0), 5), (way(1), 5), (way(2), 3)]));
    }

    #[test]
    fn every_group_that_reads_a_topic_is_named() {
        let of = |name: &str| readers(name).map(|(group, _)| group).collect::<Vec<_>>();
        assert_eq!(of("order.status"), ["inventory", "notifier"]);
        assert_eq!(of("inventory.result"), ["order"]);
        assert!(of("order.status.dead-letter").is_empty());
    }
}
