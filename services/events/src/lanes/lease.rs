//! Who owns a lane, and how far it is.

use super::{COLLECTION, LEASES};
use crate::reader::LastRead;
use jiff::Timestamp;
use mongodb::{
    Collection, Database,
    bson::{self, DateTime, Document, doc},
    error::Error,
    options::ReturnDocument,
};
use platform::backends::mongo::{is_duplicate_key, whole_number};
use std::time::Duration;

/// How long a lease lasts and therefore how soon a dead worker's lanes are taken over.
#[derive(Debug, Clone, Copy)]
pub struct LeaseTerms {
    /// From one renewal to the moment others may take over.
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
/// transactions of the batches. They are two documents, so that a renewal and a batch never wait for each other. Clocks
/// of different workers only decide how soon a lease changes hands; that two owners never both write is decided by the
/// lane's epoch.
#[derive(Debug, Clone)]
pub struct LaneStore {
    leases: Collection<Document>,
    lanes: Collection<Document>,
}

impl LaneStore {
    /// The leases and lanes in a sale's database.
    pub fn new(database: &Database) -> Self {
        Self {
            leases: database.collection(LEASES),
            lanes: database.collection(COLLECTION),
        }
    }

    /// The lanes, for the compare-and-set inside of a batch's transaction.
    pub(super) fn collection(&self) -> &Collection<Document> {
        &self.lanes
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
        now: Timestamp,
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
    pub async fn hold(
        &self,
        id: &str,
        owner: &str,
        terms: LeaseTerms,
        now: Timestamp,
    ) -> Result<bool, Error> {
        Ok(self.take_lease(id, owner, terms, now).await?.is_some())
    }

    async fn take_lease(
        &self,
        id: &str,
        owner: &str,
        terms: LeaseTerms,
        now: Timestamp,
    ) -> Result<Option<i64>, Error> {
        let filter = doc! {"_id": id, "$or": [
            {"owner": owner},
            {"owner": {"$exists": false}},
            {"expiresAt": {"$lt": bson_time(now)}},
        ]};
        let until = bson_time(now + terms.duration);
        let change = doc! {
            "$set": {"owner": owner, "expiresAt": until},
            "$inc": {"epoch": 1_i64},
        };
        let taken = self
            .leases
            .find_one_and_update(filter, change)
            .return_document(ReturnDocument::After)
            .await?;
        if let Some(lease) = taken {
            return Ok(Some(lease.get_i64("epoch").unwrap_or(0)));
        }
        let new = doc! {"_id": id, "owner": owner, "epoch": 1_i64, "expiresAt": until};
        match self.leases.insert_one(new).await {
            Ok(_) => Ok(Some(1)),
            Err(error) if is_duplicate_key(&error) => Ok(None),
            Err(error) => Err(error),
        }
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

    /// Extends every lease of an owner and returns the ids and epochs that it still holds.
    ///
    /// # Errors
    /// The driver's.
    pub async fn renew(
        &self,
        group: &str,
        owner: &str,
        terms: LeaseTerms,
        now: Timestamp,
    ) -> Result<Vec<(String, i64)>, Error> {
        use futures::TryStreamExt;
        let mine = doc! {"_id": {"$gte": format!("{group}/"), "$lt": format!("{group}0")}, "owner": owner};
        self.leases
            .update_many(
                mine.clone(),
                doc! {"$set": {"expiresAt": bson_time(now + terms.duration)}},
            )
            .await?;
        let held: Vec<Document> = self.leases.find(mine).await?.try_collect().await?;
        Ok(held
            .into_iter()
            .filter_map(|lease| {
                Some((
                    lease.get_str("_id").ok()?.to_owned(),
                    lease.get_i64("epoch").ok()?,
                ))
            })
            .collect())
    }

    /// Gives a lease up so that another worker can take it at once.
    ///
    /// # Errors
    /// The driver's.
    pub async fn release(&self, id: &str, owner: &str) -> Result<(), Error> {
        self.leases
            .update_one(
                doc! {"_id": id, "owner": owner},
                doc! {"$unset": {"owner": "", "expiresAt": ""}},
            )
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
        now: Timestamp,
    ) -> Result<u64, Error> {
        self.leases
            .update_one(
                doc! {"_id": format!("worker:{group}/{owner}")},
                doc! {"$set": {"group": group, "aliveUntil": bson_time(now + terms.duration)}},
            )
            .upsert(true)
            .await?;
        self.leases
            .count_documents(doc! {"group": group, "aliveUntil": {"$gte": bson_time(now)}})
            .await
    }

    /// Takes a worker off the list, and with it those that have been dead for an hour.
    ///
    /// # Errors
    /// The driver's.
    pub async fn resign(&self, group: &str, owner: &str, now: Timestamp) -> Result<(), Error> {
        let long_dead = bson_time(now - Duration::from_secs(3_600));
        self.leases
            .delete_many(doc! {"$or": [
                {"_id": format!("worker:{group}/{owner}")},
                {"group": group, "aliveUntil": {"$lt": long_dead}},
            ]})
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

fn bson_time(at: Timestamp) -> DateTime {
    DateTime::from_millis(at.as_millisecond())
}
