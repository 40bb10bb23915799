//! Password hashing off the async threads, and no more at once than there are cores and memory for. Whoever sends many
//! fills a small part of the queue only.

use crate::{
    client::Network,
    hashing::{MEMORY_KIB, Memories, Memory, PASSES},
    memory,
};
use argon2::{Params, password_hash::phc::PasswordHash};
use platform::http::problem::Problem;
use secrecy::{ExposeSecret, SecretString};
use std::{
    collections::HashMap,
    sync::{Arc, LazyLock, Mutex, PoisonError},
};
use tokio::sync::Semaphore;

/// Memory of a hash under way, with what its thread needs.
const BYTES_OF_ONE: u64 = (MEMORY_KIB as u64 + 2 * 1024) * 1024;
/// Callers that may wait for a place each; at 25 ms a hash the last of them waits some 3 s.
const WAITING_FOR_EACH_PLACE: usize = 128;
/// One network may fill one part in this many of the queue.
const SHARES: usize = 8;

/// Compared with when there is no such user, so that the answer takes as long.
static NOBODY: LazyLock<String> = LazyLock::new(|| {
    Memory::default()
        .hash("nobody has this password")
        .unwrap_or_default()
});

/// Hashes and verifies within bounds.
#[derive(Debug, Clone)]
pub struct Passwords {
    places: Arc<Semaphore>,
    queue: Arc<Queue>,
    memories: Memories,
}

impl Default for Passwords {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        let limit = memory::limit();
        let places = memory::places(cores, limit, BYTES_OF_ONE);
        tracing::info!(places, cores, memory_limit = limit, "passwords hashed at once");
        Self {
            places: Arc::new(Semaphore::new(places)),
            queue: Arc::new(Queue::new(places * WAITING_FOR_EACH_PLACE)),
            memories: Memories::default(),
        }
    }
}

impl Passwords {
    /// Hashes a password into a PHC string, for somebody on a network, or for the service itself.
    ///
    /// # Errors
    /// 503 when too many are waiting.
    pub async fn hash(&self, password: SecretString, from: Option<Network>) -> Result<String, Problem> {
        self.in_place(from, move |memory| memory.hash(password.expose_secret()))
            .await?
            .map_err(|error| Problem::internal(&error))
    }

    /// Whether a password matches a hash; `None` for nobody's hash, which never matches and takes as long.
    ///
    /// # Errors
    /// 503 when too many are waiting.
    pub async fn verify(
        &self,
        password: SecretString,
        hash: Option<String>,
        from: Option<Network>,
    ) -> Result<bool, Problem> {
        self.in_place(from, move |memory| {
            let known = hash.is_some();
            let hash = hash.unwrap_or_else(|| NOBODY.clone());
            let matches = memory.matches(password.expose_secret(), &hash);
            matches && known
        })
        .await
    }

    async fn in_place<T: Send + 'static>(
        &self,
        from: Option<Network>,
        work: impl FnOnce(&mut Memory) -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let _waiting = Queue::enter(&self.queue, from).ok_or_else(Problem::busy)?;
        let place = Arc::clone(&self.places)
            .acquire_owned()
            .await
            .map_err(|_| Problem::busy())?;
        let memories = self.memories.clone();
        tokio::task::spawn_blocking(move || {
            let done = memories.with(work);
            drop(place);
            done
        })
        .await
        .map_err(|error| Problem::internal(&error))
    }
}

/// Who waits, by network.
#[derive(Debug)]
struct Queue {
    most: usize,
    most_of_one: usize,
    waiting: Mutex<HashMap<Option<Network>, usize>>,
}

/// A place in the queue, until it is dropped.
struct Waiting {
    queue: Arc<Queue>,
    from: Option<Network>,
}

impl Queue {
    fn new(most: usize) -> Self {
        Self {
            most,
            most_of_one: (most / SHARES).max(1),
            waiting: Mutex::default(),
        }
    }

    fn enter(queue: &Arc<Self>, from: Option<Network>) -> Option<Waiting> {
        let mut waiting = queue.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = waiting.values().sum();
        let own = waiting.get(&from).copied().unwrap_or(0);
        if all >= queue.most || own >= queue.most_of_one {
            return None;
        }
        waiting.insert(from, own + 1);
        Some(Waiting {
            queue: Arc::clone(queue),
            from,
        })
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut waiting = self.queue.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = waiting.get_mut(&self.from) {
            *own -= 1;
            if *own == 0 {
                waiting.remove(&self.from);
            }
        }
    }
}

/// Checks a hash that somebody brings: argon2id, and no more memory and work than our own, so that checking a password
/// stays within bounds.
///
/// # Errors
/// A sentence that says what is wrong.
pub fn check_hash(text: &str) -> Result<(), String> {
    let hash = PasswordHash::new(text).map_err(|error| {
        format!("is not a password hash in PHC format such as $argon2id$v=19$m=19456,t=2,p=1$…: {error}")
    })?;
    if hash.algorithm.as_str() != "argon2id" {
        return Err(format!("is made with {}; make it with argon2id", hash.algorithm));
    }
    let params = Params::try_from(&hash).map_err(|error| format!("has odd parameters: {error}"))?;
    if params.m_cost() > MEMORY_KIB || params.t_cost() > 10 || params.p_cost() > 4 {
        return Err(format!(
            "asks for m={}, t={}, p={}; at most m={MEMORY_KIB}, t=10 and p=4 are taken: make it with m={MEMORY_KIB}, t={PASSES}, p=1",
            params.m_cost(),
            params.t_cost(),
            params.p_cost()
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_hash_matches_its_password_only() {
        let passwords = Passwords::default();
        let hash = passwords.hash("correct horse".into(), None).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert!(
            passwords
                .verify("correct horse".into(), Some(hash.clone()), None)
                .await
                .unwrap()
        );
        assert!(
            !passwords
                .verify("wrong horse".into(), Some(hash), None)
                .await
                .unwrap()
        );
        assert!(
            !passwords
                .verify("nobody has this password".into(), None, None)
                .await
                .unwrap()
        );
    }

    /// Whoever guesses addresses learns nothing from how long an answer takes.
    #[tokio::test]
    async fn where_there_is_no_account_as_much_is_hashed() {
        let cost = |hash: &str| hash.split('$').take(4).map(str::to_owned).collect::<Vec<_>>();
        let passwords = Passwords::default();
        let hash = passwords.hash("correct horse".into(), None).await.unwrap();
        assert_eq!(cost(&NOBODY), cost(&hash), "another algorithm, or other costs");
        // A password that nobody compares needs no place.
        let full = Passwords {
            queue: Arc::new(Queue::new(0)),
            ..passwords
        };
        for hash in [Some(hash), None] {
            assert!(full.verify("wrong horse".into(), hash, None).await.is_err());
        }
    }

    #[test]
    fn one_network_fills_its_share_of_the_queue_only() {
        let network = |n: u8| Some(Network::of([203, 0, 113, n].into()));
        let queue = Arc::new(Queue::new(16));
        let first = Queue::enter(&queue, network(1)).unwrap();
        let _second = Queue::enter(&queue, network(1)).unwrap();
        assert!(Queue::enter(&queue, network(1)).is_none());
        let _others: Vec<_> = (2..16).filter_map(|n| Queue::enter(&queue, network(n))).collect();
        assert!(Queue::enter(&queue, network(99)).is_none(), "16 are waiting");
        drop(first);
        assert!(Queue::enter(&queue, network(1)).is_some());
        assert_eq!(queue.waiting.lock().unwrap().len(), 15);
    }

    #[test]
    fn a_hash_that_costs_too_much_is_refused() {
        check_hash(&Memory::default().hash("a password").unwrap()).unwrap();
        let salt_and_hash = "c2FsdHNhbHRzYWx0$MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE";
        for (hash, says) in [
            ("plain".to_owned(), "PHC"),
            (
                format!("$argon2id$v=19$m=4194304,t=1,p=1${salt_and_hash}"),
                "m=4194304",
            ),
            (
                format!("$argon2i$v=19$m=4096,t=3,p=1${salt_and_hash}"),
                "argon2id",
            ),
        ] {
            let refusal = check_hash(&hash).unwrap_err();
            assert!(refusal.contains(says), "{refusal}");
        }
    }
}
