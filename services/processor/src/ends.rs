//! Where the logs end: what the relay remembers of it, keeps for its successor, and looks at where it writes nothing.

use events::{
    log_ends::{LogEndStore, LogEnds, Shortened},
    producer::Way,
};
use platform::{
    backends::{
        kafka::KafkaCredentials,
        mongo::{self, MongoError},
    },
    clock::Clock,
    rounds::Rounds,
};
use std::{
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

/// How often they are kept at the most. What a broker loses that was written since, together with the relay that wrote it, is left to
/// the reminders.
const KEPT_EVERY: Duration = Duration::from_secs(1);
/// How often it is looked where they are.
const LOOKED_EVERY: Duration = Duration::from_secs(5);

/// The ends of a sale's logs, for the relay and for who looks after them.
#[derive(Debug, Clone)]
pub(crate) struct Ends {
    store: LogEndStore,
    clock: Clock,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// Whether this process is the relay: others know nothing.
    leads: bool,
    /// Whether it is known what was kept by the relay before.
    is_loaded: bool,
    known: LogEnds,
    /// Losses that no note says yet.
    shortened: Vec<Shortened>,
    /// What was kept last, and when.
    kept: Option<(LogEnds, Instant)>,
    /// When it could not be kept.
    tried: Option<Instant>,
}

impl Ends {
    pub(crate) fn new(store: LogEndStore, clock: Clock) -> Self {
        Self {
            store,
            clock,
            state: Arc::default(),
        }
    }

    /// This process relays from here on. What is known stays known: nobody else knows of what was not kept.
    pub(crate) async fn take_over(&self) {
        {
            let mut state = self.state();
            state.leads = true;
            state.is_loaded = false;
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

    /// Records were written.
    pub(crate) fn wrote(&self, written: Vec<(Way, Range<i64>)>) {
        let mut state = self.state();
        for (way, at) in written {
            let shortened = state.known.wrote(&way, at);
            state.shortened.extend(shortened);
        }
    }

    /// Notes what was lost, and keeps what is known if that is due. What cannot be written stays known and is tried again a little
    /// later: it keeps no message waiting.
    pub(crate) async fn keep(&self, now: Instant) {
        if self
            .state()
            .tried
            .is_some_and(|tried| now.saturating_duration_since(tried) < KEPT_EVERY)
        {
            return;
        }
        let kept = self.try_to_keep(now).await;
        let mut state = self.state();
        if let Err(error) = &kept
            && state.tried.is_none()
        {
            tracing::warn!(%error, "cannot keep where the logs end; trying on");
        }
        state.tried = kept.is_err().then_some(now);
    }

    async fn try_to_keep(&self, now: Instant) -> Result<(), MongoError> {
        if !self.state().is_loaded {
            self.load().await?;
        }
        let shortened = self.state().shortened.clone();
        if !shortened.is_empty() {
            self.store.note(&shortened, self.clock.now()).await?;
            self.state().shortened.drain(..shortened.len());
        }
        let Some(known) = self.state().due(now) else {
            return Ok(());
        };
        self.store.save(known.clone()).await?;
        self.state().kept = Some((known, now));
        Ok(())
    }

    async fn load(&self) -> Result<(), MongoError> {
        let kept = self.store.load().await?;
        let mut state = self.state();
        state.known.merge(kept);
        state.is_loaded = true;
        Ok(())
    }

    /// Looks until the process ends: a log to which nothing is written may have been lost all the same.
    pub(crate) async fn look(self, credentials: KafkaCredentials, prefix: String, stop: CancellationToken) {
        let mut rounds = Rounds::every(LOOKED_EVERY, &stop);
        while rounds.another().await {
            let Some(before) = self.known_to_the_relay() else {
                continue;
            };
            match before.ask(&credentials, &prefix).await {
                Ok(answers) => self.found(answers, &before),
                Err(error) => tracing::debug!(%error, "cannot look where the logs end; trying again"),
            }
        }
    }

    fn known_to_the_relay(&self) -> Option<LogEnds> {
        let state = self.state();
        state.leads.then(|| state.known.clone())
    }

    fn found(&self, answers: Vec<(Way, i64)>, before: &LogEnds) {
        let mut state = self.state();
        for (way, ends) in answers {
            let shortened = state.known.found(&way, ends, before);
            state.shortened.extend(shortened);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// What is to be kept, if it differs from what is kept and has not been for a while.
    fn due(&self, now: Instant) -> Option<LogEnds> {
        let is_due = self
            .kept
            .as_ref()
            .is_none_or(|(kept, at)| now.saturating_duration_since(*at) >= KEPT_EVERY && *kept != self.known);
        is_due.then(|| self.known.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_kept_once_a_second_where_it_has_changed() {
        let now = Instant::now();
        let mut state = State::default();
        assert!(state.due(now).is_some());
        state.kept = Some((LogEnds::default(), now));
        let later = now + KEPT_EVERY;
        assert_eq!(state.due(later), None);
        state.known.wrote(&("order.status".to_owned(), 0), 0..7);
        assert_eq!(state.due(now + KEPT_EVERY / 2), None);
        assert_eq!(state.due(later), Some(state.known.clone()));
    }
}
