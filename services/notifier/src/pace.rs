//! How often somebody may open sockets and ask for tickets: a user, or a network. It is counted here, in each process, since
//! an ingress leads WebSockets past the gateway, and before anything else is done for them.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

const MINUTE: Duration = Duration::from_secs(60);
/// How many are counted at once: twice as many as there can be sockets.
const MOST_COUNTED: usize = 40_000;

/// Counts by user or by network.
#[derive(Debug)]
pub struct Pace<K> {
    most: u32,
    counted: Mutex<HashMap<K, Minute>>,
}

#[derive(Debug, Clone, Copy)]
struct Minute {
    began: Instant,
    count: u32,
}

impl<K: Hash + Eq + Clone> Pace<K> {
    /// So many tries of each in a minute.
    pub fn new(most: u32) -> Self {
        Self {
            most,
            counted: Mutex::default(),
        }
    }

    /// Counts one try, or says how many seconds to wait.
    ///
    /// # Errors
    /// The seconds.
    pub fn count(&self, who: &K, now: Instant) -> Result<(), u64> {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        if counted.len() >= MOST_COUNTED && !counted.contains_key(who) {
            counted.retain(|_, minute| !minute.is_over(now));
            if counted.len() >= MOST_COUNTED {
                return Err(1);
            }
        }
        let minute = counted
            .entry(who.clone())
            .and_modify(|minute| {
                if minute.is_over(now) {
                    *minute = Minute::new(now);
                }
            })
            .or_insert_with(|| Minute::new(now));
        if minute.count >= self.most {
            let left = MINUTE.saturating_sub(now.duration_since(minute.began));
            return Err(left.as_secs() + 1);
        }
        minute.count += 1;
        Ok(())
    }
}

impl Minute {
    fn new(now: Instant) -> Self {
        Self { began: now, count: 0 }
    }

    fn is_over(self, now: Instant) -> bool {
        now.duration_since(self.began) >= MINUTE
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sale::UserId;

    #[test]
    fn a_user_has_so_many_tries_in_a_minute_and_others_have_their_own() {
        let (pace, begin) = (Pace::new(60), Instant::now());
        let (ada, bob) = (UserId::new("ada"), UserId::new("bob"));
        for _ in 0..60 {
            pace.count(&ada, begin).unwrap();
        }
        assert_eq!(pace.count(&ada, begin + Duration::from_secs(20)), Err(41));
        pace.count(&bob, begin).unwrap();
        pace.count(&ada, begin + MINUTE).unwrap();
    }

    #[test]
    fn the_counts_take_a_bounded_space() {
        let (pace, begin) = (Pace::new(60), Instant::now());
        for n in 0..MOST_COUNTED {
            pace.count(&UserId::new(n.to_string()), begin).unwrap();
        }
        let late = UserId::new("late");
        assert_eq!(pace.count(&late, begin), Err(1));
        pace.count(&UserId::new("7"), begin).unwrap();
        pace.count(&late, begin + MINUTE).unwrap();
        assert_eq!(pace.counted.lock().unwrap().len(), 1);
    }
}
