//! Where the logs end, as the relay knows it.
//!
//! A reader notices what a broker has lost by the record that it has read before it ([`crate::reader`]). Whoever has read nothing, or
//! nothing of what was lost, has no such record. The relay has more: a log that ends before a record that its broker has acknowledged has
//! lost that record. So it remembers for each partition where the log ended, and compares.

use crate::{producer::Way, topics::Topic};
use futures::{StreamExt, stream};
use mongodb::{Collection, Database, bson::doc, error::Error};
use platform::backends::kafka::{self, KafkaCredentials, KafkaError};
use rskafka::client::{Client, partition::PartitionClient};
use serde::{Deserialize, Serialize};
use std::{collections::HashMap, mem, ops::Range};

/// The one document of a sale.
const ID: &str = "relay";
/// Partitions that are asked at the same time.
const CONCURRENCY: usize = 16;

/// A log that has become shorter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shortened {
    /// Which one.
    pub way: Way,
    /// Where it had ended: the offset that was to be written next.
    pub old_end: i64,
    /// Where it ended when that was noticed.
    pub new_end: i64,
}

/// Where each log ends, for all that is known: the offset of the record that comes next.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogEnds(HashMap<Way, i64>);

impl LogEnds {
    /// Takes note of records that were written at these offsets. Returns what the log has lost before them, if anything.
    pub fn record_write(&mut self, way: &Way, at: Range<i64>) -> Option<Shortened> {
        let old_end = self.0.insert(way.clone(), at.end)?;
        (at.start < old_end).then(|| Shortened {
            way: way.clone(),
            old_end,
            new_end: at.start,
        })
    }

    /// Takes note of where a log ends according to Kafka, and returns what it has lost, if anything. `asked` is what was known when Kafka
    /// was asked: where more was written since, the answer says nothing, and the writing has told.
    pub fn compare(&mut self, way: &Way, end: i64, asked: &Self) -> Option<Shortened> {
        let known = self.0.get_mut(way)?;
        // A later end is of records that are being written, and is known once they are acknowledged.
        if end >= *known || asked.0.get(way) != Some(known) {
            return None;
        }
        Some(Shortened {
            way: way.clone(),
            old_end: mem::replace(known, end),
            new_end: end,
        })
    }

    /// Adds what another one knows: of each log the later end.
    pub fn merge(&mut self, other: Self) {
        for (way, end) in other.0 {
            let known = self.0.entry(way).or_insert(end);
            *known = end.max(*known);
        }
    }
}

/// Asks Kafka where the logs that somebody reads end. It keeps a connection for each of them.
#[derive(Debug)]
pub struct Asker {
    credentials: KafkaCredentials,
    prefix: String,
    clients: HashMap<Way, PartitionClient>,
}

impl Asker {
    /// One that has not connected yet.
    pub fn new(credentials: KafkaCredentials, prefix: String) -> Self {
        Self {
            credentials,
            prefix,
            clients: HashMap::new(),
        }
    }

    /// Where they end. What does not answer is left out, and connected to anew the next time.
    ///
    /// # Errors
    /// Kafka's, where it cannot be reached at all.
    pub async fn ask(&mut self) -> Result<Vec<(Way, i64)>, KafkaError> {
        let client = self.credentials.connect().await?;
        let topics = kafka::topics(&client).await?;
        let mut ways = Vec::new();
        for topic in Topic::ALL {
            let name = format!("{}{}", self.prefix, topic.plain_name());
            let of_topic = topics.get(&name).into_iter().flatten();
            ways.extend(of_topic.map(|partition| (topic.plain_name().to_owned(), *partition)));
        }
        let mut clients = mem::take(&mut self.clients);
        let mut asked = Vec::with_capacity(ways.len());
        for way in ways {
            let connected = clients.remove(&way);
            asked.push((way, connected));
        }
        let (client, prefix) = (&client, &self.prefix);
        let mut answers = stream::iter(asked)
            .map(async |(way, connected)| {
                end_of(client, prefix, &way, connected)
                    .await
                    .map(|(log, end)| (way, log, end))
            })
            .buffer_unordered(CONCURRENCY);
        let mut ends = Vec::new();
        while let Some(answer) = answers.next().await {
            if let Ok((way, log, end)) = answer {
                self.clients.insert(way.clone(), log);
                ends.push((way, end));
            }
        }
        Ok(ends)
    }
}

async fn end_of(
    client: &Client,
    prefix: &str,
    (topic, partition): &Way,
    connected: Option<PartitionClient>,
) -> Result<(PartitionClient, i64), KafkaError> {
    let log = match connected {
        Some(log) => log,
        None => kafka::partition(client, &format!("{prefix}{topic}"), *partition).await?,
    };
    let end = kafka::log_end(&log).await?;
    Ok((log, end))
}

/// As it is kept.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    #[serde(rename = "_id")]
    id: String,
    ends: Vec<KeptEnd>,
}

/// Of one log.
#[derive(Debug, Serialize, Deserialize)]
struct KeptEnd {
    topic: String,
    partition: i32,
    end: i64,
}

/// The ends of a sale's logs in its database.
#[derive(Debug, Clone)]
pub struct LogEndStore {
    ends: Collection<Kept>,
}

impl LogEndStore {
    /// Those in a sale's database.
    pub fn new(database: &Database) -> Self {
        Self {
            ends: database.collection("log_ends"),
        }
    }

    /// What was kept; nothing where nobody has written yet.
    ///
    /// # Errors
    /// The driver's.
    pub async fn load(&self) -> Result<LogEnds, Error> {
        let kept = self.ends.find_one(doc! {"_id": ID}).await?;
        let ends = kept.into_iter().flat_map(|kept| kept.ends);
        Ok(LogEnds(
            ends.map(|kept| ((kept.topic, kept.partition), kept.end))
                .collect(),
        ))
    }

    /// Keeps what is known. A relay that was replaced and does not know it may put its own in the place of its successor's, which puts
    /// its own there with what it writes next.
    ///
    /// # Errors
    /// The driver's.
    pub async fn save(&self, ends: LogEnds) -> Result<(), Error> {
        let ends = ends.0.into_iter().map(|((topic, partition), end)| KeptEnd {
            topic,
            partition,
            end,
        });
        let kept = Kept {
            id: ID.to_owned(),
            ends: ends.collect(),
        };
        self.ends.replace_one(doc! {"_id": ID}, kept).upsert(true).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn way(partition: i32) -> Way {
        ("order.status".to_owned(), partition)
    }

    fn shortened(old_end: i64, new_end: i64) -> Option<Shortened> {
        Some(Shortened {
            way: way(0),
            old_end,
            new_end,
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
            assert_eq!(ends.record_write(&way(0), at.clone()), lost, "{at:?}");
        }
        assert_eq!(
            ends.record_write(&way(1), 0..1),
            None,
            "of another partition nothing is known"
        );
    }

    #[test]
    fn an_answer_says_nothing_of_what_was_written_since_it_was_asked_for() {
        let mut ends = LogEnds::default();
        ends.record_write(&way(0), 0..5);
        let asked = ends.clone();
        ends.record_write(&way(0), 5..9);
        for end in [3, 5, 8] {
            assert_eq!(ends.compare(&way(0), end, &asked), None);
        }
        let asked = ends.clone();
        assert_eq!(ends.compare(&way(0), 9, &asked), None);
        assert_eq!(ends.compare(&way(0), 0, &asked), shortened(9, 0));
        assert_eq!(ends.compare(&way(0), 0, &asked), None, "once");
        assert_eq!(ends.record_write(&way(0), 0..1), None);
    }

    /// The answer may be older than its acknowledgement.
    #[test]
    fn what_is_being_written_while_it_is_asked_is_no_loss() {
        let mut ends = LogEnds::default();
        ends.record_write(&way(0), 0..5);
        let asked = ends.clone();
        assert_eq!(ends.compare(&way(0), 9, &asked), None);
        assert_eq!(ends.compare(&way(1), 9, &asked), None);
        assert_eq!(ends.record_write(&way(0), 5..9), None);
        assert_eq!(ends.record_write(&way(1), 5..9), None);
    }

    #[test]
    fn of_two_the_later_end_counts() {
        let (mut one, mut other) = (LogEnds::default(), LogEnds::default());
        one.record_write(&way(0), 0..5);
        one.record_write(&way(1), 0..5);
        other.record_write(&way(1), 0..3);
        other.record_write(&way(2), 0..3);
        one.merge(other);
        assert_eq!(one.0, HashMap::from([(way(0), 5), (way(1), 5), (way(2), 3)]));
    }
}
