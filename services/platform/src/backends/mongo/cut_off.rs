//! Transactions of this process that it could neither commit nor abort, because the server was not there to hear it: a standstill, or a
//! network that was cut. A server that comes back has them still, with their locks, for as long as it keeps a transaction open (a minute,
//! unless `transactionLifetimeLimitSeconds` says otherwise), and every order of the same products would wait for that. So their sessions
//! are remembered, and ended as soon as the server answers.

use mongodb::{
    ClientSession,
    bson::{Bson, Document},
};
use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// How many times a session is ended. More than once, since a server that stood still may carry out what lay in its connections only after
/// it has answered others.
const TIMES: u32 = 5;
/// After this the server has given up a transaction by itself.
pub(super) const SURELY_OVER: Duration = Duration::from_secs(120);
/// The most that are remembered; of more the oldest are left to the server.
const MOST: usize = 1_000;

/// Sessions to end. They are kept as well: the driver would hand out again what is about to be ended.
#[derive(Debug)]
pub(super) struct CutOff<S = ClientSession>(Mutex<VecDeque<Entry<S>>>);

#[derive(Debug)]
struct Entry<S> {
    id: Document,
    _session: S,
    since: Instant,
    ended: u32,
}

impl<S> Default for CutOff<S> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<S> CutOff<S> {
    /// Keeps the session of a transaction whose end the server may not have heard.
    pub(super) fn keep(&self, id: Document, session: S, now: Instant) {
        let mut sessions = self.lock();
        if sessions.len() == MOST {
            sessions.pop_front();
        }
        sessions.push_back(Entry {
            id,
            _session: session,
            since: now,
            ended: 0,
        });
    }

    /// The sessions to end now.
    pub(super) fn ids(&self, now: Instant) -> Vec<Bson> {
        let mut sessions = self.lock();
        sessions.retain(|session| now.duration_since(session.since) < SURELY_OVER);
        let ids = sessions.iter().map(|session| session.id.clone().into());
        ids.collect()
    }

    /// The server has ended these. Returns how many of them for the first time.
    pub(super) fn ended(&self, ids: &[Bson]) -> usize {
        let mut first = 0;
        self.lock().retain_mut(|session| {
            if ids.iter().any(|id| id.as_document() == Some(&session.id)) {
                first += usize::from(session.ended == 0);
                session.ended += 1;
            }
            session.ended < TIMES
        });
        first
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<Entry<S>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mongodb::bson::doc;

    #[test]
    fn a_session_is_ended_several_times_and_forgotten() {
        let (cut_off, now) = (CutOff::default(), Instant::now());
        let one = |id: i32| Bson::Document(doc! {"id": id});
        cut_off.keep(doc! {"id": 1}, (), now);
        let ids = cut_off.ids(now);
        cut_off.keep(doc! {"id": 2}, (), now);
        assert_eq!(cut_off.ended(&ids), 1);
        assert_eq!(cut_off.ids(now), [one(1), one(2)]);
        for _ in 1..TIMES {
            assert_eq!(cut_off.ended(&ids), 0);
        }
        assert_eq!(cut_off.ids(now), [one(2)], "which came meanwhile");
    }

    #[test]
    fn what_the_server_has_given_up_is_forgotten_and_there_is_a_bound() {
        let (cut_off, now) = (CutOff::default(), Instant::now());
        for _ in 0..MOST {
            cut_off.keep(doc! {"id": 1}, (), now);
        }
        cut_off.keep(doc! {"id": 2}, (), now);
        let ids = cut_off.ids(now);
        assert_eq!(ids.len(), MOST);
        assert!(ids.contains(&Bson::Document(doc! {"id": 2})));
        assert!(cut_off.ids(now + SURELY_OVER).is_empty());
    }
}
