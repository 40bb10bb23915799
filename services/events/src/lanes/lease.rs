//! Who owns a lane, and how far it is.

use super::{COLLECTION, LEASES};
use crate::reader::LastRead;
use futures::TryStreamExt;
use mongodb::{
    Collection, Database,
    bson::{self, Document, doc},
    error::Error,
    options::ReturnDocument,
};
use platform::{
    backends::mongo::{is_duplicate_key, whole_number},
    pulse::Pulses,
};
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

/// So many times as long as a lease lasts a worker is dead before it is taken off the list.
const LONG_DEAD: u32 = 12;

/// How long a lease lasts and therefore how soon a dead worker's lanes are taken over.
#[derive(Debug, Clone, Copy)]
pub struct LeaseTerms {
    /// From the last renewal that another worker has seen to the moment when it may take over.
    pub duration: Duration,
    /// From one renewal to the next; well below a third of the duration.
    pub renew_every: Duration,
}

impl Default for LeaseTerms {
    fn default() -> Self {
        Self {
            duration: Duration::from_secs(5),
            renew_every: Duration::from_secs(1),
        }
    }
}

/// Where a lane stands: the fencing token and where to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// Grows with every change of owner.
    pub epoch: i64,
    /// The next record to read.
    pub offset: i64,
    /// What is remembered of the record before it.
    pub last: Option<LastRead>,
}

/// The leases and lanes of one sale.
///
/// A lease says who should work and is renewed every second; a lane says how far the work is and is written in the
/// transactions of the batches. They are two documents, so that a renewal and a batch never wait for each other. A renewal is a
/// beat: whoever sees none for as long as a lease lasts, by its own monotonic clock, takes it. That two owners never both
/// write is decided by the lane's epoch.
#[derive(Debug, Clone)]
pub struct LaneStore {
    leases: Collection<Document>,
    lanes: Collection<Document>,
    pulses: Arc<Pulses>,
}

/// The leases of a group, as one of its workers sees them.
#[derive(Debug, Default)]
pub struct Renewed {
    /// Ids and epochs of those that it holds.
    pub mine: HashMap<String, i64>,
    /// Ids of those that others hold, who are alive.
    pub others: HashSet<String>,
}

impl LaneStore {
    /// The leases and lanes in a sale's database.
    pub fn new(database: &Database) -> Self {
        Self {
            leases: database.collection(LEASES),
            lanes: database.collection(COLLECTION),
            pulses: Arc::default(),
        }
    }

    /// Takes a lane whose lease nobody holds, or `None` when somebody does.
    ///
    /// # Errors
    /// The driver's.
    pub async fn acquire(
        &self,
        id: &str,
        owner: &str,
        terms: LeaseTerms,
        now: Instant,
    ) -> Result<Option<Lease>, Error> {
        match self.take_lease(id, owner, terms, now).await? {
            Some(epoch) => self.open_lane(id, owner, epoch).await,
            None => Ok(None),
        }
    }

    /// Takes or renews a lease that no lane belongs to; returns whether it is ours.
    ///
    /// # Errors
    /// The driver's.
    pub async fn hold(&self, id: &str, owner: &str, terms: LeaseTerms, now: Instant) -> Result<bool, Error> {
        Ok(self.take_lease(id, owner, terms, now).await?.is_some())
    }

    async fn take_lease(
        &self,
        id: &str,
        owner: &str,
        terms: LeaseTerms,
        now: Instant,
    ) -> Result<Option<i64>, Error> {
        let free = doc! {"_id": id, "$or": [{"owner": owner}, {"owner": {"$exists": false}}]};
        if let Some(epoch) = self.take(free, owner).await? {
            return Ok(Some(epoch));
        }
        let Some(held) = self.leases.find_one(doc! {"_id": id}).await? else {
            let new = doc! {"_id": id, "owner": owner, "epoch": 1_i64, "beat": 1_i64};
            return match self.leases.insert_one(new).await {
                Ok(_) => Ok(Some(1)),
                Err(error) if is_duplicate_key(&error) => Ok(None),
                Err(error) => Err(error),
            };
        };
        if !self.has_run_out(&held, terms, now)? {
            return Ok(None);
        }
        let as_it_was = doc! {"_id": id, "owner": held.get("owner"), "beat": held.get("beat")};
        self.take(as_it_was, owner).await
    }

    async fn take(&self, filter: Document, owner: &str) -> Result<Option<i64>, Error> {
        let change = doc! {"$set": {"owner": owner}, "$inc": {"epoch": 1_i64, "beat": 1_i64}};
        let taken = self
            .leases
            .find_one_and_update(filter, change)
            .return_document(ReturnDocument::After)
            .await?;
        taken.map(|lease| whole_number(&lease, "epoch")).transpose()
    }

    /// Whether the owner of a lease has not renewed it for as long as it lasts.
    fn has_run_out(&self, lease: &Document, terms: LeaseTerms, now: Instant) -> Result<bool, Error> {
        let (id, beat) = (
            lease.get_str("_id").unwrap_or_default(),
            whole_number(lease, "beat")?,
        );
        Ok(self.pulses.is_still(id, beat, terms.duration, now))
    }

    /// Writes our epoch into the lane: from here on the owner before us can commit nothing.
    async fn open_lane(&self, id: &str, owner: &str, epoch: i64) -> Result<Option<Lease>, Error> {
        let opened = self
            .lanes
            .find_one_and_update(
                doc! {"_id": id, "epoch": {"$lt": epoch}},
                doc! {"$set": {"epoch": epoch}},
            )
            .return_document(ReturnDocument::After)
            .await?;
        if let Some(lane) = opened {
            return Ok(Some(lease_of(&lane)));
        }
        let new = doc! {"_id": id, "epoch": epoch, "offset": 0_i64};
        match self.lanes.insert_one(new).await {
            Ok(_) => Ok(Some(Lease {
                epoch,
                offset: 0,
                last: None,
            })),
            Err(error) if is_duplicate_key(&error) => {
                self.catch_up(id, owner).await?;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// A lane with a later epoch than its lease: somebody was quicker, or the lease was lost and began anew. The next
    /// time the lease's epoch is later again.
    async fn catch_up(&self, id: &str, owner: &str) -> Result<(), Error> {
        if let Some(lane) = self.current(id).await? {
            let change = doc! {"$max": {"epoch": lane.epoch}};
            self.leases
                .update_one(doc! {"_id": id, "owner": owner}, change)
                .await?;
        }
        Ok(())
    }

    /// Extends every lease of an owner in a group, and looks at those of others.
    ///
    /// # Errors
    /// The driver's.
    pub async fn renew(
        &self,
        group: &str,
        owner: &str,
        terms: LeaseTerms,
        now: Instant,
    ) -> Result<Renewed, Error> {
        let of_group = doc! {"_id": {"$gte": format!("{group}/"), "$lt": format!("{group}0")}};
        let mut mine = of_group.clone();
        mine.insert("owner", owner);
        self.leases
            .update_many(mine, doc! {"$inc": {"beat": 1_i64}})
            .await?;
        let all: Vec<Document> = self.leases.find(of_group).await?.try_collect().await?;
        let mut renewed = Renewed::default();
        for lease in &all {
            let Ok(id) = lease.get_str("_id") else {
                continue;
            };
            match lease.get_str("owner") {
                Ok(holder) if holder == owner => {
                    renewed.mine.insert(id.to_owned(), whole_number(lease, "epoch")?);
                }
                Ok(_) if !self.has_run_out(lease, terms, now)? => {
                    renewed.others.insert(id.to_owned());
                }
                _ => {}
            }
        }
        Ok(renewed)
    }

    /// Gives a lease up so that another worker can take it at once.
    ///
    /// # Errors
    /// The driver's.
    pub async fn release(&self, id: &str, owner: &str) -> Result<(), Error> {
        self.leases
            .update_one(doc! {"_id": id, "owner": owner}, doc! {"$unset": {"owner": ""}})
            .await
            .map(drop)
    }

    /// The lane as it stands, whoever owns it.
    ///
    /// # Errors
    /// The driver's.
    pub async fn current(&self, id: &str) -> Result<Option<Lease>, Error> {
        Ok(self
            .lanes
            .find_one(doc! {"_id": id})
            .await?
            .map(|lane| lease_of(&lane)))
    }

    /// Says that a worker of a group is alive, and counts those that are.
    ///
    /// # Errors
    /// The driver's.
    pub async fn enrol(
        &self,
        group: &str,
        owner: &str,
        terms: LeaseTerms,
        now: Instant,
    ) -> Result<u64, Error> {
        let own = format!("worker:{group}/{owner}");
        self.leases
            .update_one(
                doc! {"_id": &own},
                doc! {"$set": {"group": group}, "$inc": {"beat": 1_i64}},
            )
            .upsert(true)
            .await?;
        let workers: Vec<Document> = self
            .leases
            .find(doc! {"group": group})
            .await?
            .try_collect()
            .await?;
        let (mut alive, mut long_dead) = (0, Vec::new());
        for worker in &workers {
            let id = worker.get_str("_id").unwrap_or_default();
            if id == own || !self.has_run_out(worker, terms, now)? {
                alive += 1;
            } else if self.pulses.still_for(id, now) > terms.duration * LONG_DEAD {
                long_dead.push(id);
            }
        }
        // One that is alive after all writes itself down anew.
        if !long_dead.is_empty() {
            self.leases.delete_many(doc! {"_id": {"$in": &long_dead}}).await?;
            self.pulses.keep_only(|id| !long_dead.contains(&id));
        }
        Ok(alive)
    }

    /// Takes a worker off the list.
    ///
    /// # Errors
    /// The driver's.
    pub async fn resign(&self, group: &str, owner: &str) -> Result<(), Error> {
        self.leases
            .delete_one(doc! {"_id": format!("worker:{group}/{owner}")})
            .await
            .map(drop)
    }
}

fn lease_of(lane: &Document) -> Lease {
    Lease {
        epoch: whole_number(lane, "epoch").unwrap_or(0),
        offset: whole_number(lane, "offset").unwrap_or(0),
        last: lane
            .get_document("last")
            .ok()
            .and_then(|last| bson::deserialize_from_document(last.clone()).ok()),
    }
}
