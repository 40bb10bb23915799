//! Fires orders and notes for each when it was meant to start, how long it took, and what was answered.

use crate::{
    buyers::Buyer,
    client::{Client, Verdict},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{sync::Semaphore, task::JoinSet};

/// Requests under way at a time in the open loop. Beyond it orders wait, and their waiting counts.
const MOST_IN_FLIGHT: usize = 4_096;
/// No new order is fired later than this after the first, however slow the system is.
const MOST_TIME: Duration = Duration::from_secs(420);

/// How orders come.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Load {
    /// By a schedule that does not care how the system fares.
    Open {
        /// Orders per second.
        per_second: u32,
        /// For so long.
        seconds: u32,
    },
    /// A fixed number of buyers at a time.
    Closed {
        /// Buyers at a time.
        in_flight: u32,
        /// Orders in all.
        orders: u32,
    },
}

/// One order and its answer.
#[derive(Debug, Clone)]
pub(crate) struct Shot {
    /// Which buyer.
    pub(crate) buyer: usize,
    /// When it was meant to start.
    pub(crate) intended: Instant,
    /// When it was answered.
    pub(crate) answered: Instant,
    /// The answer.
    pub(crate) verdict: Verdict,
}

/// Everybody who orders, and what.
#[derive(Debug)]
pub(crate) struct Crowd {
    /// The buyers.
    pub(crate) buyers: Vec<Buyer>,
    /// The product.
    pub(crate) product: String,
    /// The system.
    pub(crate) client: Client,
}

impl Load {
    /// Orders in all.
    pub(crate) fn orders(self) -> u32 {
        match self {
            Self::Open { per_second, seconds } => per_second.saturating_mul(seconds),
            Self::Closed { orders, .. } => orders,
        }
    }

    /// Fires them all and waits for the last answer.
    pub(crate) async fn fire(self, crowd: &Arc<Crowd>) -> Vec<Shot> {
        match self {
            Self::Open { per_second, .. } => open(crowd, per_second).await,
            Self::Closed { in_flight, .. } => closed(crowd, in_flight).await,
        }
    }
}

impl Crowd {
    async fn shoot(&self, buyer: usize, intended: Instant) -> Option<Shot> {
        let verdict = self.client.order(self.buyers.get(buyer)?, &self.product).await;
        Some(Shot {
            buyer,
            intended,
            answered: Instant::now(),
            verdict,
        })
    }
}

async fn open(crowd: &Arc<Crowd>, per_second: u32) -> Vec<Shot> {
    let slots = Arc::new(Semaphore::new(MOST_IN_FLIGHT));
    let mut flying = JoinSet::new();
    let start = Instant::now();
    for buyer in 0..crowd.buyers.len() {
        let intended = start + due(buyer, per_second);
        tokio::time::sleep_until(intended.into()).await;
        if start.elapsed() > MOST_TIME {
            break;
        }
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
            break;
        };
        let crowd = Arc::clone(crowd);
        flying.spawn(async move {
            let shot = crowd.shoot(buyer, intended).await;
            drop(slot);
            shot
        });
    }
    flying.join_all().await.into_iter().flatten().collect()
}

/// When the n-th order is due, from the first.
fn due(order: usize, per_second: u32) -> Duration {
    Duration::from_secs_f64(order as f64 / f64::from(per_second))
}

async fn closed(crowd: &Arc<Crowd>, in_flight: u32) -> Vec<Shot> {
    let next = Arc::new(AtomicUsize::new(0));
    let start = Instant::now();
    let mut workers = JoinSet::new();
    for _ in 0..in_flight {
        let (crowd, next) = (Arc::clone(crowd), Arc::clone(&next));
        workers.spawn(async move {
            let mut shots = Vec::new();
            while start.elapsed() < MOST_TIME
                && let Some(shot) = crowd
                    .shoot(next.fetch_add(1, Ordering::Relaxed), Instant::now())
                    .await
            {
                shots.push(shot);
            }
            shots
        });
    }
    workers.join_all().await.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schedule_is_even_and_does_not_drift() {
        assert_eq!(due(0, 500), Duration::ZERO);
        assert_eq!(due(1, 500), Duration::from_millis(2));
        assert_eq!(due(10_000, 500), Duration::from_secs(20));
        assert_eq!(due(3_000_000, 3_000), Duration::from_secs(1_000));
    }

    #[test]
    fn orders_in_all() {
        assert_eq!(
            Load::Open {
                per_second: 500,
                seconds: 20
            }
            .orders(),
            10_000
        );
        assert_eq!(
            Load::Closed {
                in_flight: 64,
                orders: 7
            }
            .orders(),
            7
        );
    }
}
