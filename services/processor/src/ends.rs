//! Where the logs end: the relay takes note of it as it writes, keeps it for its successor, and asks where it writes nothing. Where a log
//! has become shorter it notes the loss.

use crate::backlog::Backlog;
use events::{
    lanes::LaneStore,
    log_ends::{Asker, LogEndStore, LogEnds, Shortened},
    losses::Losses,
    producer::Way,
};
use mongodb::Database;
use platform::{
    backends::{
        kafka::KafkaCredentials,
        mongo::{self, MongoError, OneAtATime},
    },
    clock::Clock,
    rounds::Rounds,
};
use std::{
    mem,
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

/// How often they are kept at the most. What was written since is left to the reminders, if the relay dies together with the log.
const KEPT_EVERY: Duration = Duration::from_secs(1);
/// How often Kafka is asked where the logs end.
const ASKED_EVERY: Duration = Duration::from_secs(5);
/// How long that may take, however many there are.
const ASKING_MAY_TAKE: Duration = Duration::from_secs(30);

/// The ends of a sale's logs, shared by the relay, which writes, and the task that asks Kafka.
#[derive(Debug, Clone)]
pub(crate) struct Ends {
    store: LogEndStore,
    losses: Losses,
    lanes: LaneStore,
    clock: Clock,
    state: Arc<Mutex<State>>,
    /// Of two that keep, the later one might keep what is older.
    keeping: OneAtATime,
}

#[derive(Debug, Default)]
struct State {
    /// Whether this process is the relay.
    leads: bool,
    /// Whether what was kept by the relay before is among what is known.
    knows_what_was_kept: bool,
    /// What is known. It stays so where somebody else has led meanwhile: at worst a loss is noted twice, and nobody else knows of what
    /// was not kept.
    known: LogEnds,
    /// Losses without a note.
    shortened: Vec<Shortened>,
    /// What this process has kept last, and when.
    kept: Option<(LogEnds, Instant)>,
    /// When keeping has failed the last time, if it has not succeeded since.
    failed_at: Option<Instant>,
}

impl Ends {
    pub(crate) fn new(database: &Database, clock: Clock) -> Self {
        Self {
            store: LogEndStore::new(database),
            losses: Losses::new(database),
            lanes: LaneStore::new(database),
            clock,
            state: Arc::default(),
            keeping: OneAtATime::default(),
        }
    }

    /// This process relays from here on.
    pub(crate) async fn take_over(&self) {
        {
            let mut state = self.state();
            state.leads = true;
            state.knows_what_was_kept = false;
            state.kept = None;
        }
        let this = self.clone();
        if let Err(error) = mongo::detached(async move { this.load().await }).await {
            tracing::warn!(%error, "it is not known where the logs ended for the relay before; trying on");
        }
    }

    /// Somebody else relays.
    pub(crate) fn leave(&self) {
        self.state().leads = false;
    }

    /// Takes note of records that were written.
    pub(crate) fn record_writes(&self, written: Vec<(Way, Range<i64>)>) {
        let mut state = self.state();
        for (way, at) in written {
            let shortened = state.known.record_write(&way, at);
            state.shortened.extend(shortened);
        }
    }

    /// Notes what was lost, and keeps what is known, if that is due. Where the database does not take it, it stays known and is tried again
    /// a little later.
    pub(crate) async fn keep(&self, now: Instant) {
        if !self.state().has_to_keep(now) {
            return;
        }
        let kept = self.keep_at_once(now).await;
        let mut state = self.state();
        match kept {
            Ok(()) => state.failed_at = None,
            Err(error) => {
                if state.failed_at.replace(now).is_none() {
                    tracing::warn!(%error, "cannot keep where the logs end; trying on");
                }
            }
        }
    }

    /// The same although it is not due yet, as where this process ends.
    pub(crate) async fn keep_at_once(&self, now: Instant) -> Result<(), MongoError> {
        let this = self.clone();
        self.keeping
            .detached(async move { this.try_to_keep(now).await })
            .await
    }

    async fn try_to_keep(&self, now: Instant) -> Result<(), MongoError> {
        if !self.state().knows_what_was_kept {
            self.load().await?;
        }
        // At once: an end that is kept must not be older than its loss.
        let (shortened, known) = self.state().take();
        if !shortened.is_empty()
            && let Err(error) = self.losses.note(&shortened, &self.lanes, self.clock.now()).await
        {
            self.state().shortened.extend(shortened);
            return Err(error.into());
        }
        self.store.save(known.clone()).await?;
        self.state().kept = Some((known, now));
        Ok(())
    }

    async fn load(&self) -> Result<(), MongoError> {
        let kept = self.store.load().await?;
        let mut state = self.state();
        state.known.merge(kept);
        state.knows_what_was_kept = true;
        Ok(())
    }

    /// Asks Kafka until the process ends: a log to which nothing is written may have been lost all the same.
    pub(crate) async fn watch(
        self,
        credentials: KafkaCredentials,
        prefix: String,
        backlog: Backlog,
        stop: CancellationToken,
    ) {
        let mut rounds = Rounds::every(ASKED_EVERY, &stop);
        let new = || Asker::new(credentials.clone(), prefix.clone());
        let mut asker = new();
        while rounds.another().await {
            let Some(asked) = self.known_to_the_relay() else {
                asker = new();
                Backlog::hide();
                continue;
            };
            // Also where Kafka does not answer: that is when it grows.
            if let Err(error) = backlog.show_outbox(self.clock.now()).await {
                tracing::debug!(%error, "cannot count what waits to be said; trying again");
            }
            let answers = tokio::select! {
                () = stop.cancelled() => return,
                answers = tokio::time::timeout(ASKING_MAY_TAKE, asker.ask()) => answers,
            };
            match answers {
                Ok(Ok(answers)) => {
                    if let Err(error) = backlog.show_lanes(&answers).await {
                        tracing::debug!(%error, "cannot count what waits to be handled; trying again");
                    }
                    self.compare(answers, &asked);
                }
                Ok(Err(error)) => tracing::debug!(%error, "cannot ask where the logs end; trying again"),
                Err(_) => asker = new(),
            }
        }
    }

    fn known_to_the_relay(&self) -> Option<LogEnds> {
        let state = self.state();
        state.leads.then(|| state.known.clone())
    }

    fn compare(&self, answers: Vec<(Way, i64)>, asked: &LogEnds) {
        let mut state = self.state();
        for (way, end) in answers {
            let shortened = state.known.compare(&way, end, asked);
            state.shortened.extend(shortened);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The losses without a note, and what is known.
    fn take(&mut self) -> (Vec<Shortened>, LogEnds) {
        (mem::take(&mut self.shortened), self.known.clone())
    }

    /// Whether there is something to note, or ends that have changed since they were kept, a while ago.
    fn has_to_keep(&self, now: Instant) -> bool {
        let is_a_while_ago = |at: Instant| now.saturating_duration_since(at) >= KEPT_EVERY;
        if self.failed_at.is_some_and(|at| !is_a_while_ago(at)) {
            return false;
        }
        let has_changed = self
            .kept
            .as_ref()
            .is_none_or(|(kept, at)| is_a_while_ago(*at) && *kept != self.known);
        has_changed || !self.shortened.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_kept_once_a_second_where_they_have_changed_and_losses_at_once() {
        let now = Instant::now();
        let (soon, later) = (now + KEPT_EVERY / 2, now + KEPT_EVERY);
        let way = ("order.status".to_owned(), 0);
        let mut state = State::default();
        assert!(state.has_to_keep(now));
        state.kept = Some((LogEnds::default(), now));
        assert!(!state.has_to_keep(later));
        state.known.record_write(&way, 0..7);
        assert!(!state.has_to_keep(soon));
        assert!(state.has_to_keep(later));
        let shortened = state.known.record_write(&way, 0..1);
        state.shortened.extend(shortened);
        assert!(state.has_to_keep(soon));
        state.failed_at = Some(now);
        assert!(!state.has_to_keep(soon), "not as fast as it fails");
        assert!(state.has_to_keep(later));
    }
}
