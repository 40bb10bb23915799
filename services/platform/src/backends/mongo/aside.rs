//! What work passes over that looks for what is due.

use mongodb::bson::{Bson, Document, doc};
use std::time::{Duration, Instant};

/// Documents about which nothing can be done for now: work that looks for the first that are due would find nothing else.
#[derive(Debug)]
pub struct Aside {
    ids: Vec<Bson>,
    since: Instant,
}

impl Aside {
    /// Where so many are set aside, all are looked at again, and more than these keep others waiting. Well above what any work looks up at
    /// once.
    const MOST: usize = 10_000;
    /// After so long all of them are looked at again: somebody may have mended them.
    const AT_LAST: Duration = Duration::from_secs(300);

    /// None yet.
    pub fn new(now: Instant) -> Self {
        Self {
            ids: Vec::new(),
            since: now,
        }
    }

    /// Passes these over from now on.
    pub fn add(&mut self, ids: impl IntoIterator<Item = impl Into<Bson>>) {
        self.ids.extend(ids.into_iter().map(Into::into));
    }

    /// A filter for others.
    pub fn others(&mut self, filter: Document, now: Instant) -> Document {
        if self.ids.len() >= Self::MOST || now.duration_since(self.since) >= Self::AT_LAST {
            *self = Self::new(now);
        }
        if self.ids.is_empty() {
            return filter;
        }
        doc! {"$and": [filter, {"_id": {"$nin": self.ids.clone()}}]}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_aside_is_looked_at_again_after_a_while() {
        let begun = Instant::now();
        let mut aside = Aside::new(begun);
        let all = doc! {"status": "PENDING"};
        assert_eq!(aside.others(all.clone(), begun), all);
        aside.add(["strange"]);
        aside.add([7]);
        let others = doc! {"$and": [{"status": "PENDING"}, {"_id": {"$nin": ["strange", 7]}}]};
        assert_eq!(aside.others(all.clone(), begun), others);
        assert_eq!(aside.others(all.clone(), begun + Aside::AT_LAST), all);
        aside.add((0..Aside::MOST).map(|n| n.to_string()));
        assert_eq!(aside.others(all.clone(), begun + Aside::AT_LAST), all);
    }
}
