//! Which lanes a worker holds: a fair share of them, taken when free, given up when others come; or all of them or none, where a group
//! works in one process at a time.

use super::{
    LaneStore, OWNED, Sharing,
    fetch::{self, Fetched, Lane},
    lane_id,
    lease::{Lease, Renewed},
    worker::Settings,
};
use crate::topics::Topic;
use platform::{
    backends::mongo::{self, MongoError},
    health::{Health, Heartbeat},
    rounds::Rounds,
};
use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{
    sync::mpsc,
    task::{self, JoinSet},
};
use tokio_util::sync::CancellationToken;

/// How long nothing could be read before another process is to try it.
const FAILS_FOR: Duration = Duration::from_secs(10);
/// For how long others come first then: they look every second.
const STANDS_BACK: Duration = Duration::from_secs(3);
/// How long it stays here at the least, whatever the committer says: what goes on nowhere must not go round and round.
const STAYS: Duration = Duration::from_secs(60);

/// The lanes of one group that this process holds, and the tasks that read them.
pub(super) struct Ownership {
    settings: Settings,
    group: &'static str,
    sharing: Sharing,
    /// When others were let have all lanes the last time, where one process at a time does the work.
    gave_way: Option<Instant>,
    /// Set by the committer: see there.
    elsewhere: Arc<AtomicBool>,
    store: LaneStore,
    all: Vec<(Topic, i32)>,
    held: HashMap<String, Lane>,
    readers: JoinSet<()>,
    read_by: HashMap<task::Id, Lane>,
    out: mpsc::Sender<Fetched>,
    health: Health,
}

impl Ownership {
    pub(super) fn new(
        settings: Settings,
        (group, sharing): (&'static str, Sharing),
        topics: &[Topic],
        store: LaneStore,
        out: mpsc::Sender<Fetched>,
        (health, elsewhere): (Health, Arc<AtomicBool>),
    ) -> Self {
        let all = topics
            .iter()
            .flat_map(|topic| (0..settings.partitions).map(|partition| (*topic, partition)))
            .collect();
        Self {
            settings,
            group,
            sharing,
            gave_way: None,
            elsewhere,
            store,
            all,
            held: HashMap::new(),
            readers: JoinSet::new(),
            read_by: HashMap::new(),
            out,
            health,
        }
    }

    /// Renews, balances and takes over until the process ends, then gives everything up.
    pub(super) async fn run(mut self, stop: CancellationToken, heart: Heartbeat) {
        let mut rounds = Rounds::every(self.settings.terms.renew_every, &stop);
        let mut failing = false;
        let work = self.health.work(format!("{} leases", self.group));
        while rounds.another().await {
            heart.beat();
            self.look_after_readers();
            match self.balance().await {
                Ok(()) => {
                    failing = false;
                    work.done();
                }
                Err(error) => {
                    work.failed(&error);
                    if !failing {
                        tracing::warn!(group = self.group, %error, "cannot renew leases; others may take the lanes over");
                    }
                    failing = true;
                }
            }
            OWNED
                .with_label_values(&[self.group])
                .set(i64::try_from(self.held.len()).unwrap_or(0));
        }
        self.give_all_up().await;
    }

    /// A lane whose reader has ended by itself, as by a panic, is given up and taken anew: its lease would be renewed for ever
    /// while nobody reads.
    fn look_after_readers(&mut self) {
        while let Some(ended) = self.readers.try_join_next_with_id() {
            let id = ended.as_ref().map_or_else(task::JoinError::id, |(id, ())| *id);
            let Some(lane) = self.read_by.remove(&id) else {
                continue;
            };
            if !lane.lost.is_cancelled() {
                tracing::error!(lane = %lane.id, failure = ?ended.err(), "the reader of a lane has ended; starting anew");
                lane.lost.cancel();
            }
        }
    }

    async fn balance(&mut self) -> Result<(), MongoError> {
        let (owner, terms) = (self.settings.owner.clone(), self.settings.terms);
        let now = Instant::now();
        let (store, group, worker) = (self.store.clone(), self.group, owner.clone());
        let (sharing, lanes) = (self.sharing, self.all.len());
        let stands_back = self
            .gave_way
            .is_some_and(|at| now.duration_since(at) < STANDS_BACK);
        let renewing = async move {
            let workers = store.enrol(group, &worker, terms, now).await?;
            let share = match sharing {
                Sharing::Fair => fair_share(lanes, workers),
                Sharing::OneAtATime if stands_back && workers > 1 => 0,
                Sharing::OneAtATime if store.hold(&alone(group), &worker, terms, now).await? => lanes,
                Sharing::OneAtATime => 0,
            };
            Ok::<_, MongoError>((workers, share, store.renew(group, &worker, terms, now).await?))
        };
        let (workers, share, Renewed { mine, others }) = mongo::detached(renewing).await?;
        self.held.retain(|id, lane| {
            let kept = mine.get(id) == Some(&lane.epoch) && !lane.lost.is_cancelled();
            if !kept {
                lane.lost.cancel();
            }
            kept
        });
        // What we hold by its document and read no more, as where a lane was lost or could not be given up: others are to have it.
        let unread: Vec<&String> = mine.keys().filter(|id| !self.held.contains_key(*id)).collect();
        for id in unread {
            self.release(id.clone()).await?;
        }
        if self.sharing == Sharing::OneAtATime && self.should_give_way((share, workers), now) {
            tracing::warn!(
                group = self.group,
                "another process is to do the work of this group: it does not go on here"
            );
            self.gave_way = Some(now);
            self.give_up_surplus(0).await?;
            return self.release(alone(self.group)).await;
        }
        self.give_up_surplus(share).await?;
        self.take_free(share, &others, now).await
    }

    /// Whether the work does not go on here, and there is somebody else: the committer says so, or nothing could be read for a while.
    /// Where nothing can be written, leases are not renewed either.
    fn should_give_way(&self, (share, workers): (usize, u64), now: Instant) -> bool {
        let says_so = self.elsewhere.swap(false, Ordering::AcqRel);
        if share == 0 || workers < 2 {
            return false;
        }
        let stays = self.gave_way.is_some_and(|at| now.duration_since(at) < STAYS);
        let fails = |lane: &String| self.health.has_failed_for(&reading(lane), FAILS_FOR, now);
        (says_so && !stays) || (!self.held.is_empty() && self.held.keys().all(fails))
    }

    async fn give_up_surplus(&mut self, share: usize) -> Result<(), MongoError> {
        let surplus: Vec<String> = self.held.keys().skip(share).cloned().collect();
        for id in surplus {
            if let Some(lane) = self.held.remove(&id) {
                lane.lost.cancel();
            }
            self.release(id).await?;
        }
        Ok(())
    }

    async fn take_free(
        &mut self,
        share: usize,
        others: &HashSet<String>,
        now: Instant,
    ) -> Result<(), MongoError> {
        let (owner, terms) = (self.settings.owner.clone(), self.settings.terms);
        for (topic, partition) in self.all.clone() {
            // The leases are renewed before more are taken.
            if self.held.len() >= share || now.elapsed() > terms.renew_every {
                break;
            }
            let id = lane_id(self.group, topic, partition);
            if self.held.contains_key(&id) || others.contains(&id) {
                continue;
            }
            let (store, owner, lane) = (self.store.clone(), owner.clone(), id.clone());
            let acquiring =
                async move { Ok::<_, MongoError>(store.acquire(&lane, &owner, terms, now).await?) };
            if let Some(lease) = mongo::detached(acquiring).await? {
                self.start(id, topic, partition, lease);
            }
        }
        Ok(())
    }

    fn start(&mut self, id: String, topic: Topic, partition: i32, lease: Lease) {
        tracing::debug!(
            lane = id,
            epoch = lease.epoch,
            offset = lease.offset,
            "lane taken"
        );
        let lane = Lane {
            id: Arc::from(id.as_str()),
            topic,
            partition,
            epoch: lease.epoch,
            lost: CancellationToken::new(),
        };
        let reader = self.readers.spawn(fetch::run(
            lane.clone(),
            (lease.offset, lease.last),
            self.settings.kafka.clone(),
            self.settings.topic_prefix.clone(),
            self.out.clone(),
            self.health.work(reading(&id)),
        ));
        self.read_by.insert(reader.id(), lane.clone());
        self.held.insert(id, lane);
    }

    async fn release(&self, lane: String) -> Result<(), MongoError> {
        let (store, owner) = (self.store.clone(), self.settings.owner.clone());
        mongo::detached(async move { Ok::<_, MongoError>(store.release(&lane, &owner).await?) }).await
    }

    async fn give_all_up(&mut self) {
        for lane in self.held.values() {
            lane.lost.cancel();
        }
        for id in self.held.keys() {
            if let Err(error) = self.release(id.clone()).await {
                tracing::debug!(lane = id, %error, "lease not released; it will run out");
                break;
            }
        }
        if self.sharing == Sharing::OneAtATime
            && let Err(error) = self.release(alone(self.group)).await
        {
            tracing::debug!(group = self.group, %error, "the group is not left to others; the lease will run out");
        }
        if let Err(error) = self.store.resign(self.group, &self.settings.owner).await {
            tracing::debug!(%error, "worker not taken off the list; its entry will run out");
        }
    }
}

/// The work of a lane's reader, by its name among what a process does.
fn reading(lane: &str) -> String {
    format!("reading {lane}")
}

/// The lease of the process that does all the work of a group. Not under the group's name, where all leases are those of lanes.
fn alone(group: &str) -> String {
    format!("alone/{group}/0")
}

/// Lanes for each of a number of workers, rounded up so that none is left over.
fn fair_share(lanes: usize, workers: u64) -> usize {
    lanes.div_ceil(usize::try_from(workers.max(1)).unwrap_or(1))
}

#[cfg(test)]
mod tests {
    use super::fair_share;

    #[test]
    fn shares_cover_all_lanes() {
        for lanes in 1..30 {
            for workers in 1..10 {
                assert!(fair_share(lanes, workers) * usize::try_from(workers).unwrap() >= lanes);
            }
        }
        assert_eq!(fair_share(12, 0), 12);
        assert_eq!(fair_share(12, 5), 3);
    }
}
