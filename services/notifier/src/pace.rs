//! How often a user may open sockets and ask for tickets. It is counted here, in each process, since an ingress leads
//! WebSockets past the gateway, and before anything else is done for them.

use sale::UserId;
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Handshakes and tickets of a user in a minute.
pub const MOST_IN_A_MINUTE: u32 = 60;
const MINUTE: Duration = Duration::from_secs(60);
/// Users that are counted at once: twice as many as there can be sockets.
const MOST_USERS: usize = 40_000;

/// Counts by user.
#[derive(Debug, Default)]
pub struct Pace {
    users: Mutex<HashMap<UserId, Minute>>,
}

#[derive(Debug, Clone, Copy)]
struct Minute {
    began: Instant,
    count: u32,
}

impl Pace {
    /// Counts one try, or says how many seconds to wait.
    ///
    /// # Errors
    /// The seconds.
    pub fn count(&self, user: &UserId, now: Instant) -> Result<(), u64> {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        if users.len() >= MOST_USERS && !users.contains_key(user) {
            users.retain(|_, minute| !minute.is_over(now));
            if users.len() >= MOST_USERS {
                return Err(1);
            }
        }
        let minute = users
            .entry(user.clone())
            .and_modify(|minute| {
                if minute.is_over(now) {
                    *minute = Minute::new(now);
                }
            })
            .or_insert_with(|| Minute::new(now));
        if minute.count >= MOST_IN_A_MINUTE {
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

    #[test]
    fn a_user_has_so_many_tries_in_a_minute_and_others_have_their_own() {
        let (pace, begin) = (Pace::default(), Instant::now());
        let (ada, bob) = (UserId::new("ada"), UserId::new("bob"));
        for _ in 0..MOST_IN_A_MINUTE {
            pace.count(&ada, begin).unwrap();
        }
        assert_eq!(pace.count(&ada, begin + Duration::from_secs(20)), Err(41));
        pace.count(&bob, begin).unwrap();
        pace.count(&ada, begin + MINUTE).unwrap();
    }

    #[test]
    fn the_counts_take_a_bounded_space() {
        let (pace, begin) = (Pace::default(), Instant::now());
        for n in 0..MOST_USERS {
            pace.count(&UserId::new(n.to_string()), begin).unwrap();
        }
        let late = UserId::new("late");
        assert_eq!(pace.count(&late, begin), Err(1));
        pace.count(&UserId::new("7"), begin).unwrap();
        pace.count(&late, begin + MINUTE).unwrap();
        assert_eq!(pace.users.lock().unwrap().len(), 1);
    }
}
