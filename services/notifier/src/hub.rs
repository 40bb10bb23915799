//! The sockets of this process, by user, and what happened a moment ago.
//!
//! A push may come before its notification is stored. A socket that registers between the two would miss it both
//! ways; so the hub remembers recent pushes and hands them to new sockets, which drop what they have sent already.

use crate::store::Notification;
use platform::metrics::{Metric, must};
use prometheus::{IntCounter, IntGauge, register_int_counter, register_int_gauge};
use sale::UserId;
use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

/// Notifications that wait for one socket; a client that is further behind is cut off and reconnects.
const QUEUE: usize = 64;
/// How long a push is remembered: well above the time from a push to its storing.
const RECENT: Duration = Duration::from_secs(30);
/// Pushes remembered at the most.
const MOST_RECENT: usize = 10_000;
/// Sockets of one process; at some 3 KiB each this is about 60 MiB.
pub const MOST_SOCKETS: usize = 20_000;
/// Sockets of one user in one process: some devices with some tabs each.
pub const MOST_OF_ONE_USER: usize = 10;

static SOCKETS: LazyLock<IntGauge> =
    LazyLock::new(|| must(register_int_gauge!("quicksale_sockets", "Open WebSockets.")));
static PUSHED: LazyLock<IntCounter> = LazyLock::new(|| {
    must(register_int_counter!(
        "quicksale_pushed_total",
        "Notifications handed to sockets."
    ))
});
static REPLACED: LazyLock<IntCounter> = LazyLock::new(|| {
    must(register_int_counter!(
        "quicksale_sockets_replaced_total",
        "Sockets closed because their user opened more than one user may have."
    ))
});
static CUT_OFF: LazyLock<IntCounter> = LazyLock::new(|| {
    must(register_int_counter!(
        "quicksale_sockets_cut_off_total",
        "Sockets closed because they did not keep up, or pushes may have been missed."
    ))
});

/// What is counted here.
pub(crate) fn metrics() -> Vec<Metric> {
    vec![&*SOCKETS, &*PUSHED, &*REPLACED, &*CUT_OFF]
}

/// The sockets of this process.
#[derive(Debug, Default)]
pub struct Hub {
    state: Mutex<State>,
    /// Told when the last socket has gone.
    emptied: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// The sockets of each user, oldest first.
    sockets: HashMap<UserId, VecDeque<Entry>>,
    open: usize,
    next: u64,
    recent: Recent,
}

/// What was pushed a moment ago.
#[derive(Debug, Default)]
struct Recent {
    pushes: VecDeque<(Instant, Arc<Notification>)>,
    /// How many of them each user has: most of those who connect have none, and need no look at all of them.
    of_user: HashMap<UserId, usize>,
}

impl Recent {
    fn add(&mut self, notification: Arc<Notification>, now: Instant) {
        while self.pushes.len() >= MOST_RECENT || self.is_oldest_over(now) {
            self.forget_oldest();
        }
        *self.of_user.entry(notification.user_id.clone()).or_default() += 1;
        self.pushes.push_back((now, notification));
    }

    fn is_oldest_over(&self, now: Instant) -> bool {
        let oldest = self.pushes.front();
        oldest.is_some_and(|(at, _)| now.duration_since(*at) > RECENT)
    }

    fn forget_oldest(&mut self) {
        let Some((_, oldest)) = self.pushes.pop_front() else {
            return;
        };
        if let Some(left) = self.of_user.get_mut(&oldest.user_id) {
            *left -= 1;
            if *left == 0 {
                self.of_user.remove(&oldest.user_id);
            }
        }
    }

    fn of(&self, user: &UserId) -> Vec<Arc<Notification>> {
        if !self.of_user.contains_key(user) {
            return Vec::new();
        }
        let pushes = self.pushes.iter().map(|(_, notification)| notification);
        pushes.filter(|one| one.user_id == *user).cloned().collect()
    }
}

#[derive(Debug)]
struct Entry {
    id: u64,
    /// A queue has room for 32 from the beginning on: pointers, since whole ones would be seven kilobytes of each socket.
    pushes: mpsc::Sender<Arc<Notification>>,
    replaced: CancellationToken,
}

/// One socket's place in the hub.
#[derive(Debug)]
pub struct Registration {
    /// Names the socket.
    pub id: u64,
    /// Pushes from now on.
    pub pushes: mpsc::Receiver<Arc<Notification>>,
    /// Pushes of a moment ago.
    pub recent: Vec<Arc<Notification>>,
    /// Cancelled when a newer socket of the user takes this one's place.
    pub replaced: CancellationToken,
}

impl Hub {
    /// Registers a socket of a user, or `None` when there are too many in all. A user who has too many loses the
    /// oldest: that is the tab which nobody looks at any more, or the connection that a device has lost.
    pub fn register(&self, user: &UserId) -> Option<Registration> {
        let mut state = self.lock();
        if state.open >= MOST_SOCKETS {
            return None;
        }
        let (send, pushes) = mpsc::channel(QUEUE);
        let (id, replaced) = (state.next, CancellationToken::new());
        state.next += 1;
        state.open += 1;
        SOCKETS.inc();
        let of_user = state.sockets.entry(user.clone()).or_default();
        of_user.push_back(Entry {
            id,
            pushes: send,
            replaced: replaced.clone(),
        });
        if of_user.len() > MOST_OF_ONE_USER
            && let Some(oldest) = of_user.pop_front()
        {
            REPLACED.inc();
            oldest.replaced.cancel();
        }
        let recent = state.recent.of(user);
        Some(Registration {
            id,
            pushes,
            recent,
            replaced,
        })
    }

    /// Whether a user has a socket here.
    pub fn listens(&self, user: &UserId) -> bool {
        self.lock().sockets.contains_key(user)
    }

    /// Takes a socket off.
    pub fn leave(&self, user: &UserId, id: u64) {
        let mut state = self.lock();
        state.open = state.open.saturating_sub(1);
        if state.open == 0 {
            self.emptied.notify_waiters();
        }
        SOCKETS.dec();
        if let Some(sockets) = state.sockets.get_mut(user) {
            sockets.retain(|other| other.id != id);
            if sockets.is_empty() {
                state.sockets.remove(user);
            }
        }
    }

    /// Resolves when no socket is left, which a process that ends waits for: each of them has been told where to go then.
    pub async fn all_left(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.lock().open == 0 {
                return;
            }
            emptied.await;
        }
    }

    /// Ends all sockets, since pushes may have been missed: they reconnect and read the store.
    pub fn cut_off_all(&self) {
        let sockets = std::mem::take(&mut self.lock().sockets);
        CUT_OFF.inc_by(sockets.values().map(|of_one| of_one.len() as u64).sum());
    }

    /// Hands a notification to its user's sockets, and says how many these are.
    pub fn push(&self, notification: &Arc<Notification>) -> usize {
        let mut state = self.lock();
        state.recent.add(Arc::clone(notification), Instant::now());
        let Some(sockets) = state.sockets.get_mut(&notification.user_id) else {
            return 0;
        };
        sockets.retain(|socket| match socket.pushes.try_send(Arc::clone(notification)) {
            Ok(()) => {
                PUSHED.inc();
                true
            }
            // Dropping the sender closes the socket: it reconnects and reads what it missed from the store.
            Err(_) => {
                CUT_OFF.inc();
                false
            }
        });
        sockets.len()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mongodb::bson::DateTime;
    use sale::{OrderId, order::OrderStatus};

    fn about(user: &str, id: u32) -> Arc<Notification> {
        Arc::new(Notification {
            id: format!("{id:04}"),
            user_id: UserId::new(user),
            order_id: OrderId::new("o"),
            status: OrderStatus::Confirmed,
            message: String::new(),
            reason: None,
            hold_expires_at: None,
            read: false,
            again: false,
            created_at: DateTime::from_millis(0),
            traceparent: None,
            stored: None,
        })
    }

    #[test]
    fn pushes_reach_the_users_sockets_and_nobody_elses() {
        let hub = Hub::default();
        let (mut ada, mut bob) = (
            hub.register(&UserId::new("ada")).unwrap(),
            hub.register(&UserId::new("bob")).unwrap(),
        );
        hub.push(&about("ada", 1));
        assert_eq!(ada.pushes.try_recv().unwrap().id, "0001");
        assert!(bob.pushes.try_recv().is_err());
        let late = hub.register(&UserId::new("ada")).unwrap();
        assert_eq!(late.recent.len(), 1);
        assert!(hub.register(&UserId::new("bob")).unwrap().recent.is_empty());
    }

    #[test]
    fn what_was_pushed_is_remembered_for_a_while_and_so_much_of_it() {
        let (mut recent, begun) = (Recent::default(), Instant::now());
        let (ada, bob) = (UserId::new("ada"), UserId::new("bob"));
        recent.add(about("ada", 1), begun);
        recent.add(about("bob", 2), begun + RECENT);
        assert_eq!((recent.of(&ada).len(), recent.of(&bob).len()), (1, 1));
        recent.add(about("bob", 3), begun + RECENT + Duration::from_millis(1));
        assert_eq!((recent.of(&ada).len(), recent.of(&bob).len()), (0, 2));
        for id in 0..u32::try_from(MOST_RECENT).unwrap() {
            recent.add(about("eve", id), begun + RECENT * 2);
        }
        assert!(recent.of(&bob).is_empty());
        assert_eq!((recent.pushes.len(), recent.of_user.len()), (MOST_RECENT, 1));
    }

    #[test]
    fn all_are_cut_off_and_who_comes_back_is_served() {
        let hub = Hub::default();
        let user = UserId::new("ada");
        let mut before = hub.register(&user).unwrap();
        hub.cut_off_all();
        assert_eq!(
            before.pushes.try_recv(),
            Err(mpsc::error::TryRecvError::Disconnected)
        );
        let mut after = hub.register(&user).unwrap();
        hub.leave(&user, before.id);
        hub.push(&about("ada", 1));
        assert!(after.pushes.try_recv().is_ok());
    }

    #[test]
    fn the_oldest_socket_of_a_user_makes_room_for_the_newest() {
        let hub = Hub::default();
        let (ada, bob) = (UserId::new("ada"), UserId::new("bob"));
        let others = hub.register(&bob).unwrap();
        let mut sockets: Vec<_> = (0..=MOST_OF_ONE_USER)
            .map(|_| hub.register(&ada).unwrap())
            .collect();
        let replaced: Vec<bool> = sockets.iter().map(|s| s.replaced.is_cancelled()).collect();
        assert_eq!(replaced.iter().filter(|replaced| **replaced).count(), 1);
        assert!(replaced[0] && !others.replaced.is_cancelled());
        hub.push(&about("ada", 1));
        assert!(sockets[1].pushes.try_recv().is_ok());
        // The one that was closed leaves after that: the count must not be wrong.
        let open = hub.lock().open;
        hub.leave(&ada, sockets[0].id);
        assert_eq!(hub.lock().open, open - 1);
        assert_eq!(hub.lock().sockets[&ada].len(), MOST_OF_ONE_USER);
    }

    #[test]
    fn a_socket_that_does_not_keep_up_is_cut_off() {
        let hub = Hub::default();
        let mut slow = hub.register(&UserId::new("ada")).unwrap();
        for id in 0..=u32::try_from(QUEUE).unwrap() {
            hub.push(&about("ada", id));
        }
        for _ in 0..QUEUE {
            slow.pushes.try_recv().unwrap();
        }
        assert_eq!(
            slow.pushes.try_recv(),
            Err(mpsc::error::TryRecvError::Disconnected)
        );
    }
}
