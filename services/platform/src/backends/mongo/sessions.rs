//! Which process works under which server sessions, so that the sessions of a dead one can be ended. Dead is who gives no sign of life
//! for a while by the clock of whoever looks ([`crate::pulse`]).
//!
//! A process ends sessions of its own as well: those whose transaction was cut off ([`super::cut_off`]).
//!
//! Ending the sessions of a process that is alive after all costs it time: its open transaction fails, as transient or as
//! interrupted, and is run again, and it writes itself down anew.

use super::{MongoError, cut_off::CutOff, detached, whole_number};
use crate::{pulse::Pulses, rounds::Rounds, tasks::GRACE};
use futures::TryStreamExt;
use mongodb::{
    Client, ClientSession, Collection, Database,
    bson::{Bson, Document, doc},
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
/// How long after its last sign of life a process counts as alive.
const ALIVE_FOR: Duration = Duration::from_secs(5);
/// And one that has ended: what was under way is still finished within the grace period.
const ENDED_FOR: Duration = Duration::from_secs(GRACE.as_secs() + ALIVE_FOR.as_secs());
/// After this the server has given up a transaction by itself, even where sessions cannot be ended from outside.
const SURELY_OVER: Duration = Duration::from_secs(120);
/// A session that was not used for so long is not used again: the driver lets it go after 30 minutes.
const FORGET_AFTER: Duration = Duration::from_secs(3_600);

/// The list of processes and sessions in a sale's database.
#[derive(Debug)]
pub(super) struct Register {
    processes: Collection<Document>,
    instance: String,
    /// Whoever has logged in as another cannot end these sessions, and is not told so.
    user: Option<String>,
    pulses: Pulses,
    used: Mutex<HashMap<String, (Document, Instant)>>,
    /// One write at a time: an older list that arrived last would hide a new session.
    writing: tokio::sync::Mutex<()>,
    cut_off: CutOff,
    /// When the last sign of life was written.
    signed: Mutex<Option<Instant>>,
}

impl Register {
    pub(super) fn new(database: &Database, user: Option<String>, instance: String) -> Self {
        Self {
            processes: database.collection("sessions"),
            instance,
            user,
            pulses: Pulses::default(),
            used: Mutex::default(),
            writing: tokio::sync::Mutex::default(),
            cut_off: CutOff::default(),
            signed: Mutex::default(),
        }
    }

    /// The end of a transaction was not heard by the server: its session is ended as soon as the server answers.
    pub(super) fn keep_cut_off(&self, session: ClientSession) {
        self.cut_off.keep(session.id().clone(), session);
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
        let written = self.write(false).await;
        if written.is_err() {
            self.lock().remove(&id.to_string());
        }
        written
    }

    /// Two loops, since ending others must not keep anybody waiting for the sign of life.
    pub(super) async fn keep(&self, client: &Client, stop: CancellationToken) {
        tokio::join!(self.give_signs(&stop), self.end_what_is_left(client, &stop));
        // What was cut off in between is ended by this process, or in half a minute by another one.
        let (signed, ended) = tokio::join!(self.write(true), self.end_the_cut_off(client));
        if let Err(error) = signed {
            tracing::debug!(%error, "no last sign of life; what is under way may be run again by others");
        }
        if let Err(error) = ended {
            tracing::debug!(%error, "cannot end what was cut off");
        }
    }

    async fn give_signs(&self, stop: &CancellationToken) {
        let mut rounds = Rounds::every(RENEW_EVERY, stop);
        while rounds.another().await {
            self.lock()
                .retain(|_, (_, last_used)| last_used.elapsed() < FORGET_AFTER);
            if let Err(error) = self.write(false).await {
                tracing::debug!(%error, "cannot renew the sign of life");
            }
        }
    }

    async fn end_what_is_left(&self, client: &Client, stop: &CancellationToken) {
        let mut rounds = Rounds::every(RENEW_EVERY, stop);
        while rounds.another().await {
            if let Err(error) = self.end_the_cut_off(client).await {
                tracing::debug!(%error, "cannot end what was cut off; trying again");
            }
            // Where this process cannot write, the others may live and not be able to either.
            if self.has_signed_of_late()
                && let Err(error) = self.end_the_dead(client).await
            {
                tracing::debug!(%error, "cannot end the sessions of dead processes; trying again");
            }
        }
    }

    async fn write(&self, ends: bool) -> Result<(), Error> {
        let _one_at_a_time = self.writing.lock().await;
        let ids: Vec<Bson> = self
            .lock()
            .values()
            .map(|(id, _)| Bson::Document(id.clone()))
            .collect();
        let change = doc! {"$set": {"ends": ends, "ids": ids, "user": &self.user}, "$inc": {"beat": 1_i64}};
        self.processes
            .update_one(doc! {"_id": &self.instance}, change)
            .upsert(true)
            .await?;
        *self.signed.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        Ok(())
    }

    fn has_signed_of_late(&self) -> bool {
        let signed = *self.signed.lock().unwrap_or_else(PoisonError::into_inner);
        signed.is_some_and(|at| at.elapsed() < ALIVE_FOR)
    }

    async fn end_the_cut_off(&self, client: &Client) -> Result<(), MongoError> {
        let ids = self.cut_off.ids();
        if ids.is_empty() {
            return Ok(());
        }
        let ended = end_sessions(client, &ids).await;
        // Who is refused once is refused again.
        let first = match &ended {
            Err(error) if !error.was_refused() => 0,
            _ => self.cut_off.note_asked(&ids),
        };
        if ended.is_ok() && first > 0 {
            tracing::info!(
                sessions = first,
                "ended the sessions of transactions that were cut off"
            );
        }
        ended
    }

    async fn end_the_dead(&self, client: &Client) -> Result<(), MongoError> {
        let others = doc! {"_id": {"$ne": &self.instance}};
        let others: Vec<Document> = self.processes.find(others).await?.try_collect().await?;
        for process in others {
            let (name, now) = (process.get_str("_id").unwrap_or_default(), Instant::now());
            let beat = whole_number(&process, "beat")?;
            let ends = process.get_bool("ends").unwrap_or(false);
            let alive_for = if ends { ENDED_FOR } else { ALIVE_FOR };
            if !self.pulses.is_still(name, beat, alive_for, now) {
                continue;
            }
            let ids = process.get_array("ids").cloned().unwrap_or_default();
            let is_over = self.pulses.still_for(name, now) > SURELY_OVER;
            if !self.is_of_same_user(&process) && !is_over {
                continue;
            }
            if !ids.is_empty() && !is_over {
                end_sessions(client, &ids).await?;
                tracing::info!(process = name, "ended the sessions of a dead process");
            }
            self.processes
                .delete_one(doc! {"_id": name, "beat": process.get("beat")})
                .await?;
            self.pulses.keep_only(|other| other != name);
        }
        Ok(())
    }

    fn is_of_same_user(&self, process: &Document) -> bool {
        // An earlier version does not say.
        !process.contains_key("user") || process.get_str("user").ok() == self.user.as_deref()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, (Document, Instant)>> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends sessions, and with them their open transactions. Those of one's own user need no privilege.
async fn end_sessions(client: &Client, ids: &[Bson]) -> Result<(), MongoError> {
    let (admin, command) = (client.database("admin"), doc! {"killSessions": ids});
    detached(async move {
        admin
            .run_command(command)
            .await
            .map(drop)
            .map_err(MongoError::from)
    })
    .await
}
