//! Transactions of this process that it could neither commit nor abort, because the server was not there to hear it: a standstill, or a
//! network that was cut. A server that comes back has them still, with their locks, for as long as it keeps a transaction open (a minute,
//! unless `transactionLifetimeLimitSeconds` says otherwise), and every order of the same products would wait for that. So their sessions
//! are kept, and ended as soon as the server answers.

use mongodb::{
    ClientSession,
    bson::{Bson, Document},
};
use std::{
    collections::{HashSet, VecDeque},
    sync::{Mutex, PoisonError},
};

/// How many times the server is asked to end a session. More than once, since one that stood still may carry out what lay in its
/// connections only after it has answered others.
const TIMES: u32 = 5;
/// The most that are kept; of more the oldest are left to the server.
const MOST: usize = 1_000;

/// Sessions to end. They are kept themselves: the driver would hand out again what is about to be ended.
#[derive(Debug)]
pub(super) struct CutOff<S = ClientSession>(Mutex<VecDeque<Entry<S>>>);

#[derive(Debug)]
struct Entry<S> {
    id: Document,
    _session: S,
    asked: u32,
}

impl<S> Default for CutOff<S> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<S> CutOff<S> {
    /// Keeps the session of a transaction whose end the server may not have heard.
    pub(super) fn keep(&self, id: Document, session: S) {
        let mut entries = self.lock();
        if entries.len() == MOST {
            entries.pop_front();
        }
        entries.push_back(Entry {
            id,
            _session: session,
            asked: 0,
        });
    }

    /// The sessions to end.
    pub(super) fn ids(&self) -> Vec<Bson> {
        self.lock().iter().map(|entry| entry.id.clone().into()).collect()
    }

    /// The server has answered to the wish to end these. Returns to how many of them for the first time.
    pub(super) fn note_asked(&self, ids: &[Bson]) -> usize {
        let ids: HashSet<String> = ids.iter().map(Bson::to_string).collect();
        let mut first = 0;
        self.lock().retain_mut(|entry| {
            if ids.contains(&entry.id.to_string()) {
                first += usize::from(entry.asked == 0);
                entry.asked += 1;
            }
            entry.asked < TIMES
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
        let cut_off = CutOff::default();
        let one = |id: i32| Bson::Document(doc! {"id": id});
        cut_off.keep(doc! {"id": 1}, ());
        let ids = cut_off.ids();
        cut_off.keep(doc! {"id": 2}, ());
        assert_eq!(cut_off.note_asked(&ids), 1);
        assert_eq!(cut_off.ids(), [one(1), one(2)]);
        for _ in 1..TIMES {
            assert_eq!(cut_off.note_asked(&ids), 0);
        }
        assert_eq!(cut_off.ids(), [one(2)], "which came meanwhile");
    }

    #[test]
    fn of_too_many_the_oldest_are_left() {
        let cut_off = CutOff::default();
        for id in 0..=i32::try_from(MOST).unwrap() {
            cut_off.keep(doc! {"id": id}, ());
        }
        let ids = cut_off.ids();
        assert_eq!(ids.len(), MOST);
        assert_eq!(ids[0], Bson::Document(doc! {"id": 1}));
    }
}
