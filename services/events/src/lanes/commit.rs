//! One batch, one transaction: offsets by compare-and-set, effects, dead letters.

use super::{
    ApplyError, DELAY, Expectation, Handler, LaneStore, NEWER, Repeats, WAIT,
    fetch::{Fetched, Lane},
    spans,
};
use crate::{
    dead_letters::{DEAD_LETTERS, DeadLetters, Undeliverable},
    losses::{Loss, Losses},
    message::Message,
    outbox::Outbox,
    reader::{LastRead, traceparent},
};
use futures::FutureExt;
use mongodb::{
    ClientSession, Database,
    bson::{self, DateTime, doc},
};
use platform::{
    backends::mongo::{Change, Transactions, update_each},
    clock::Clock,
};
use rskafka::record::Record;
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// Attempts at one batch; where all of them meet conflicts the worker tries smaller ones.
const ATTEMPTS: u32 = 6;

/// Writes batches of one group.
pub(super) struct Committer<H> {
    pub(super) database: Database,
    pub(super) transactions: Transactions,
    pub(super) lanes: LaneStore,
    pub(super) outbox: Outbox,
    pub(super) dead_letters: DeadLetters,
    pub(super) losses: Losses,
    pub(super) handler: Arc<H>,
    /// Whether messages have come again of late.
    pub(super) expectation: Expectation,
    /// What losses and dead letters are dated by.
    pub(super) clock: Clock,
    /// Of the sale's topics.
    pub(super) topic_prefix: Arc<str>,
    /// Set where another process may fare better: a batch has no end, or a message is of a version that this one does not know.
    pub(super) elsewhere: Arc<AtomicBool>,
}

/// Where a record is: a message that comes again may be another record.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Place {
    pub(super) lane: Arc<str>,
    pub(super) offset: i64,
}

/// Records that the database can never take, with what it says of them.
pub(super) type Poison = HashMap<Place, String>;

/// A batch as it is committed: decoded once, however often the transaction runs.
#[derive(Debug, Default)]
struct Batch {
    moves: Vec<Move>,
    /// Lanes that stop before a message of a later version.
    stopped: Vec<Lane>,
    messages: Vec<Message>,
    /// Where each of them is.
    places: Vec<Place>,
    undeliverable: Vec<Undeliverable>,
    replies: Vec<Message>,
    losses: Vec<Loss>,
}

/// How far a batch takes a lane.
#[derive(Debug)]
struct Move {
    lane: Lane,
    from: i64,
    to: i64,
    /// The record before `to`.
    last: Last,
}

/// What a batch says of the record before a lane's offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Last {
    /// The batch has not come past any.
    AsBefore,
    /// This one.
    Read(LastRead),
    /// The topic has changed, and no record of it was read yet.
    Unknown,
}

impl<H: Handler> Committer<H> {
    pub(super) fn new(
        database: &Database,
        transactions: Transactions,
        handler: Arc<H>,
        clock: Clock,
        topic_prefix: &str,
    ) -> Self {
        Self {
            database: database.clone(),
            transactions,
            lanes: LaneStore::new(database),
            outbox: Outbox::new(database),
            dead_letters: DeadLetters::new(database),
            losses: Losses::new(database),
            handler,
            expectation: Expectation::default(),
            clock,
            topic_prefix: topic_prefix.into(),
            elsewhere: Arc::default(),
        }
    }

    /// Commits what was fetched, setting aside the records in `poison`.
    pub(super) async fn commit(&self, fetched: &[Fetched], poison: &Poison) -> Result<usize, ApplyError> {
        let mut batch = self.decode(fetched, poison);
        let reader = spans::Reader {
            group: self.handler.group(),
            topic_prefix: &self.topic_prefix,
        };
        let mut spans = spans::start(reader, &mut batch.messages, &batch.places);
        let batch = Arc::new(batch);
        let count = batch.messages.len();
        let mut tries = 0;
        let written = self
            .transactions
            .run_up_to(ATTEMPTS, |session| {
                let (batch, this) = (Arc::clone(&batch), self.parts());
                let repeats = this.expectation.of_try(tries);
                tries += 1;
                async move {
                    let written = this.write(session, &batch, repeats).await;
                    let is_repeat = match &written {
                        Err(ApplyError::Mongo(error)) => error.is_duplicate_key(),
                        Err(ApplyError::NotAsExpected) => true,
                        _ => false,
                    };
                    if is_repeat {
                        this.expectation.has_met_one();
                    }
                    written
                }
                .boxed()
            })
            .await;
        if written.is_ok() {
            self.expectation.batch_is_done();
        }
        if let Err(error) = &written {
            spans.fail(&error);
        }
        drop(spans);
        let effect = written?;
        self.observe_waits(fetched, &batch.messages);
        for record in &batch.undeliverable {
            DEAD_LETTERS
                .with_label_values(&[record.group, record.topic.plain_name()])
                .inc();
            tracing::error!(
                group = record.group,
                topic = record.topic.plain_name(),
                partition = record.partition,
                offset = record.offset,
                reason = record.reason,
                "message went to the dead letters"
            );
        }
        for loss in &batch.losses {
            loss.count();
        }
        for lane in &batch.stopped {
            NEWER.with_label_values(&[self.handler.group()]).inc();
            tracing::warn!(
                lane = %lane.id,
                "the next message is of a later version; waiting for a process that knows it"
            );
            // Whoever takes the lane next may know it.
            lane.lost.cancel();
            self.elsewhere.store(true, Ordering::Release);
        }
        self.handler.committed(effect).await;
        Ok(count + batch.undeliverable.len())
    }

    fn observe_waits(&self, fetched: &[Fetched], messages: &[Message]) {
        let group = self.handler.group();
        let waits = WAIT.with_label_values(&[group]);
        for part in fetched {
            waits.observe(part.at.elapsed().as_secs_f64());
        }
        let now = self.clock.now();
        for topic in self.handler.topics() {
            let delays = DELAY.with_label_values(&[group, topic.plain_name()]).local();
            for message in messages.iter().filter(|message| message.topic() == *topic) {
                delays.observe(now.duration_since(message.at).as_secs_f64().max(0.0));
            }
        }
    }

    fn parts(&self) -> Self {
        Self {
            database: self.database.clone(),
            transactions: self.transactions.clone(),
            lanes: self.lanes.clone(),
            outbox: self.outbox.clone(),
            dead_letters: self.dead_letters.clone(),
            losses: self.losses.clone(),
            handler: Arc::clone(&self.handler),
            expectation: self.expectation.clone(),
            clock: self.clock.clone(),
            topic_prefix: Arc::clone(&self.topic_prefix),
            elsewhere: Arc::clone(&self.elsewhere),
        }
    }

    async fn write(
        &self,
        session: &mut ClientSession,
        batch: &Batch,
        repeats: Repeats,
    ) -> Result<H::Effect, ApplyError> {
        self.move_offsets(session, batch).await?;
        self.losses.keep(session, &batch.losses).await?;
        let effect = match batch.messages.as_slice() {
            [] => H::Effect::default(),
            messages => self.handler.apply(session, messages, repeats).await?,
        };
        if !batch.undeliverable.is_empty() {
            let entries = self
                .dead_letters
                .bury(
                    session,
                    &batch.undeliverable,
                    DateTime::from_millis(self.clock.now().as_millisecond()),
                )
                .await?;
            self.outbox.append_entries(session, entries).await?;
            self.outbox.append(session, &batch.replies).await?;
        }
        Ok(effect)
    }

    /// The fence: fails as a whole unless every lane still has our epoch and the offset that we read from.
    async fn move_offsets(&self, session: &mut ClientSession, batch: &Batch) -> Result<(), ApplyError> {
        let mut changes = Vec::with_capacity(batch.moves.len());
        for Move { lane, from, to, last } in &batch.moves {
            let how = match last {
                Last::AsBefore => doc! {"$set": {"offset": to}},
                Last::Read(last) => {
                    doc! {"$set": {"offset": to, "last": bson::serialize_to_bson(last).map_err(mongodb::error::Error::from)?}}
                }
                Last::Unknown => doc! {"$set": {"offset": to}, "$unset": {"last": ""}},
            };
            changes.push(Change {
                which: doc! {"_id": &*lane.id, "epoch": lane.epoch, "offset": from},
                how,
            });
        }
        let moves = changes.len() as u64;
        let moved = update_each(&self.database, super::COLLECTION, session, changes).await?;
        if moved == moves {
            Ok(())
        } else {
            Err(ApplyError::LaneLost)
        }
    }

    fn decode(&self, fetched: &[Fetched], poison: &Poison) -> Batch {
        let mut batch = Batch::default();
        for part in fetched {
            if batch.stopped.iter().any(|lane| lane.id == part.lane.id) {
                continue;
            }
            let to = self.decode_part(&mut batch, part, poison);
            let read = part.records.iter().rfind(|(offset, _)| *offset < to);
            let last = match (read, part.gap) {
                (Some((_, record)), _) => Last::Read(LastRead::of(record)),
                (None, Some(_)) => Last::Unknown,
                (None, None) => Last::AsBefore,
            };
            if let Some(gap) = part.gap {
                let Lane { topic, partition, .. } = part.lane;
                let group = self.handler.group();
                batch
                    .losses
                    .push(Loss::new(group, topic, partition, gap, self.clock.now()));
            }
            add_move(
                &mut batch.moves,
                Move {
                    lane: part.lane.clone(),
                    from: part.from,
                    to,
                    last,
                },
            );
        }
        batch
    }

    /// Returns the offset up to which the part was read.
    fn decode_part(&self, batch: &mut Batch, part: &Fetched, poison: &Poison) -> i64 {
        for (offset, record) in &part.records {
            let reason = match Message::decode(record.value.as_deref(), traceparent(record)) {
                Ok(message) if message.topic() != part.lane.topic => {
                    format!("a {} does not belong here", message.topic().plain_name())
                }
                Ok(message) => {
                    let place = Place {
                        lane: Arc::clone(&part.lane.id),
                        offset: *offset,
                    };
                    match poison.get(&place) {
                        None => {
                            batch.messages.push(message);
                            batch.places.push(place);
                            continue;
                        }
                        Some(reason) => reason.clone(),
                    }
                }
                Err(error) if error.is_from_the_future() => {
                    batch.stopped.push(part.lane.clone());
                    return *offset;
                }
                Err(error) => error.to_string(),
            };
            self.set_aside(batch, &part.lane, *offset, record, reason);
        }
        part.to
    }

    fn set_aside(&self, batch: &mut Batch, lane: &Lane, offset: i64, record: &Record, reason: String) {
        let key = String::from_utf8_lossy(record.key.as_deref().unwrap_or_default()).into_owned();
        if !key.is_empty() {
            batch.replies.extend(self.handler.give_up(&key));
        }
        batch.undeliverable.push(Undeliverable {
            group: self.handler.group(),
            topic: lane.topic,
            partition: lane.partition,
            offset,
            key,
            payload: record.value.clone().unwrap_or_default(),
            reason,
        });
    }

    /// Tells the lanes that are not ours any more that they are lost, and returns what is left of the batch.
    pub(super) async fn drop_lost(
        &self,
        fetched: Vec<Fetched>,
    ) -> Result<Vec<Fetched>, mongodb::error::Error> {
        let mut expected: HashMap<Arc<str>, i64> = HashMap::new();
        let mut kept = Vec::with_capacity(fetched.len());
        for part in fetched {
            let stored = self.lanes.current(&part.lane.id).await?;
            let from = expected
                .get(&part.lane.id)
                .copied()
                .or(stored.map(|lease| lease.offset));
            let ours = stored.is_some_and(|lease| lease.epoch == part.lane.epoch) && from == Some(part.from);
            if ours && !part.lane.lost.is_cancelled() {
                expected.insert(Arc::clone(&part.lane.id), part.to);
                kept.push(part);
            } else {
                tracing::warn!(lane = %part.lane.id, "lane lost");
                part.lane.lost.cancel();
            }
        }
        Ok(kept)
    }
}

/// One move for each lane: several fetches of a lane follow each other without a gap.
fn add_move(moves: &mut Vec<Move>, next: Move) {
    let before = moves
        .iter_mut()
        .find(|before| before.lane.id == next.lane.id && before.to == next.from);
    match before {
        Some(before) => {
            before.to = next.to;
            if next.last != Last::AsBefore {
                before.last = next.last;
            }
        }
        None => moves.push(next),
    }
}
