//! Which process works under which server sessions, so that the sessions of a dead one can be ended.
//!
//! Ending the sessions of a process that is alive after all costs it time: its open transaction fails, as transient or as
//! interrupted, and is run again, and it writes itself down anew.

use crate::{clock::Clock, tasks::GRACE};
use futures::TryStreamExt;
use jiff::Timestamp;
use mongodb::{
    Client, Collection, Database,
    bson::{Bson, DateTime, Document, doc},
    error::Error,
};
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

/// From one sign of life to the next.
const RENEW_EVERY: Duration = Duration::from_secs(1);
/// From a sign of life to the moment at which a process counts as dead.
const ALIVE_FOR: Duration = Duration::from_secs(5);
/// After this the server has given up a transaction by itself, even where sessions cannot be ended from outside.
const SURELY_OVER: Duration = Duration::from_secs(120);
/// A session that was not used for so long is not used again: the driver lets it go after 30 minutes.
const FORGET_AFTER: Duration = Duration::from_secs(3_600);

/// The list of processes and sessions in a sale's database.
#[derive(Debug)]
pub(super) struct Register {
    processes: Collection<Document>,
    instance: String,
    clock: Clock,
    used: Mutex<HashMap<String, (Document, Instant)>>,
    /// One write at a time: an older list that arrived last would hide a new session.
    writing: tokio::sync::Mutex<()>,
}

impl Register {
    pub(super) fn new(database: &Database, instance: String, clock: Clock) -> Self {
        Self {
            processes: database.collection("sessions"),
            instance,
            clock,
            used: Mutex::default(),
            writing: tokio::sync::Mutex::default(),
        }
    }

    /// Writes a session down before it is used for the first time. The driver hands out few sessions again and
    /// again, so this costs a write only while a process warms up.
    pub(super) async fn note(&self, id: &Document) -> Result<(), Error> {
        let new = self
            .lock()
            .insert(id.to_string(), (id.clone(), Instant::now()))
            .is_none();
        if !new {
            return Ok(());
        }
        let written = self.write(ALIVE_FOR).await;
        if written.is_err() {
            self.lock().remove(&id.to_string());
        }
        written
    }

    pub(super) async fn keep(&self, client: &Client, stop: CancellationToken) {
        let mut tick = tokio::time::interval(RENEW_EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = tick.tick() => {}
            }
            self.lock()
                .retain(|_, (_, last_used)| last_used.elapsed() < FORGET_AFTER);
            let turn = async {
                self.write(ALIVE_FOR).await?;
                self.end_the_dead(client).await
            };
            if let Err(error) = turn.await {
                tracing::debug!(%error, "cannot renew the sign of life");
            }
        }
        // What is under way is still finished within the grace period.
        if let Err(error) = self.write(GRACE + ALIVE_FOR).await {
            tracing::debug!(%error, "no last sign of life; what is under way may be run again by others");
        }
    }

    async fn write(&self, alive_for: Duration) -> Result<(), Error> {
        let _one_at_a_time = self.writing.lock().await;
        let alive_until = self.clock.now() + alive_for;
        let ids: Vec<Bson> = self
            .lock()
            .values()
            .map(|(id, _)| Bson::Document(id.clone()))
            .collect();
        let change = doc! {"$set": {"aliveUntil": bson_time(alive_until), "ids": ids}};
        self.processes
            .update_one(doc! {"_id": &self.instance}, change)
            .upsert(true)
            .await
            .map(drop)
    }

    async fn end_the_dead(&self, client: &Client) -> Result<(), Error> {
        let now = self.clock.now();
        let dead = doc! {"_id": {"$ne": &self.instance}, "aliveUntil": {"$lt": bson_time(now)}};
        let dead: Vec<Document> = self.processes.find(dead).await?.try_collect().await?;
        for process in dead {
            let ids = process.get_array("ids").cloned().unwrap_or_default();
            if !ids.is_empty() {
                let ended = client
                    .database("admin")
                    .run_command(doc! {"killSessions": ids})
                    .await;
                match ended {
                    Ok(_) => {
                        tracing::info!(process = ?process.get("_id"), "ended the sessions of a dead process");
                    }
                    Err(_) if is_older(&process, now - SURELY_OVER) => {}
                    Err(error) => return Err(error),
                }
            }
            let same = doc! {"_id": process.get("_id"), "aliveUntil": process.get("aliveUntil")};
            self.processes.delete_one(same).await?;
        }
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, (Document, Instant)>> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_older(process: &Document, than: Timestamp) -> bool {
    process
        .get_datetime("aliveUntil")
        .map_or(true, |at| *at < bson_time(than))
}

fn bson_time(at: Timestamp) -> DateTime {
    DateTime::from_millis(at.as_millisecond())
}
