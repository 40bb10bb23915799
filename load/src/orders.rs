//! Fires orders and notes for each when it was meant to start, how long it took, and what was answered.

use crate::{buyers::Buyer, doors::Doors, wire::Answer};
use serde::Deserialize;
use std::{
    fmt::Write,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{sync::Semaphore, task::JoinSet};

/// Requests under way at a time in the open loop. Beyond it orders wait, and their waiting counts.
const MOST_IN_FLIGHT: usize = 1_000;
/// No new order is fired later than this after the first, however slow the system is.
const MOST_TIME: Duration = Duration::from_secs(420);

/// How orders come.
#[derive(Debug, Clone, Copy)]
pub enum Load {
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
        /// No new order is fired after so many seconds.
        at_most_seconds: u32,
    },
}

/// Under which key a buyer orders who comes again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// Another one each time.
    New,
    /// The same.
    Same,
}

/// What became of the request for an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// 201.
    Accepted,
    /// Turned away with this code: nothing was accepted.
    Refused(String),
    /// No clean answer: the order may have been accepted all the same.
    Unknown(String),
}

/// One order and its answer.
#[derive(Debug, Clone)]
pub struct Shot {
    /// Which buyer.
    pub buyer: usize,
    /// When it was meant to start.
    pub intended: Instant,
    /// When it was answered.
    pub answered: Instant,
    /// The answer.
    pub verdict: Verdict,
}

/// Everybody who orders, and what.
#[derive(Debug)]
pub struct Crowd {
    /// The buyers. Where there are more orders than buyers, each comes again after all others.
    pub buyers: Vec<Buyer>,
    /// Under which key they do.
    pub key: Key,
    /// The products, of which orders ask in turn.
    pub products: Vec<String>,
    /// How many of them are in each order, one unit of each.
    pub items: usize,
    /// The host that they ask for: an ingress leads by it.
    pub host: String,
    /// The gateways.
    pub doors: Doors,
    /// Orders that have been answered.
    pub answered: AtomicUsize,
}

#[derive(Debug, Deserialize)]
struct Problem<'a> {
    code: &'a str,
}

impl Load {
    /// Orders in all.
    pub fn orders(self) -> u32 {
        match self {
            Self::Open { per_second, seconds } => per_second.saturating_mul(seconds),
            Self::Closed { orders, .. } => orders,
        }
    }

    /// Orders at a time, where that is fixed.
    pub fn in_flight(self) -> u32 {
        match self {
            Self::Open { .. } => 0,
            Self::Closed {
                in_flight, orders, ..
            } => in_flight.min(orders),
        }
    }

    /// Fires them all and waits for the last answer.
    pub async fn fire(self, crowd: &Arc<Crowd>) -> Vec<Shot> {
        match self {
            Self::Open { per_second, .. } => open(crowd, per_second, self.orders()).await,
            Self::Closed {
                in_flight,
                at_most_seconds,
                ..
            } => {
                let at_most = Duration::from_secs(at_most_seconds.into()).min(MOST_TIME);
                closed(crowd, in_flight, self.orders(), at_most).await
            }
        }
    }
}

impl Crowd {
    /// The same products for others, who are still to be named, and keys of that kind.
    pub fn with(&self, key: Key) -> Self {
        Self {
            buyers: Vec::new(),
            key,
            products: self.products.clone(),
            items: self.items,
            host: self.host.clone(),
            doors: self.doors.anew(),
            answered: AtomicUsize::new(0),
        }
    }

    /// Places the n-th order.
    pub async fn shoot(&self, number: usize, intended: Instant) -> Shot {
        let buyer = number % self.buyers.len().max(1);
        let verdict = self.order(number, buyer).await;
        self.answered.fetch_add(1, Ordering::Relaxed);
        Shot {
            buyer,
            intended,
            answered: Instant::now(),
            verdict: verdict.unwrap_or_else(|error| Verdict::Unknown(format!("{error:#}"))),
        }
    }

    async fn order(&self, number: usize, buyer: usize) -> anyhow::Result<Verdict> {
        let request = self.request(number, buyer);
        self.doors.ask(number, &request, verdict).await
    }

    /// The request for the n-th order, of this buyer.
    pub fn request(&self, number: usize, buyer: usize) -> String {
        let mut body = String::from(r#"{"items":["#);
        for item in 0..self.items {
            let product = self.products.get((number + item) % self.products.len().max(1));
            let product = product.map_or("", String::as_str);
            let comma = if item > 0 { "," } else { "" };
            let _infallible = write!(body, r#"{comma}{{"productId":"{product}","quantity":1}}"#);
        }
        body.push_str("]}");
        let Some(Buyer { token, key }) = self.buyers.get(buyer) else {
            return body;
        };
        let again = match self.key {
            Key::New if number >= self.buyers.len() => format!("-{}", number / self.buyers.len()),
            _ => String::new(),
        };
        format!(
            "POST /api/orders HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {token}\r\nidempotency-key: {key}{again}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            self.host,
            body.len()
        )
    }
}

fn verdict(answer: Answer<'_>) -> Verdict {
    match answer {
        Answer {
            status: 201,
            replayed: false,
            ..
        } => Verdict::Accepted,
        Answer { status: 201, .. } => Verdict::Refused("replayed".to_owned()),
        Answer { status, body, .. } => {
            let code = serde_json::from_slice::<Problem<'_>>(body)
                .map_or_else(|_| status.to_string(), |problem| problem.code.to_owned());
            // A gateway that gives up waiting cannot know what the order service did.
            if (400..500).contains(&status) {
                Verdict::Refused(code)
            } else {
                Verdict::Unknown(code)
            }
        }
    }
}

async fn open(crowd: &Arc<Crowd>, per_second: u32, orders: u32) -> Vec<Shot> {
    let slots = Arc::new(Semaphore::new(MOST_IN_FLIGHT));
    let mut flying = JoinSet::new();
    let start = Instant::now();
    for number in 0..orders as usize {
        let intended = start + due(number, per_second);
        tokio::time::sleep_until(intended.into()).await;
        if start.elapsed() > MOST_TIME {
            break;
        }
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
            break;
        };
        let crowd = Arc::clone(crowd);
        flying.spawn(async move {
            let shot = crowd.shoot(number, intended).await;
            drop(slot);
            shot
        });
    }
    flying.join_all().await
}

/// When the n-th order is due, from the first.
fn due(order: usize, per_second: u32) -> Duration {
    Duration::from_secs_f64(order as f64 / f64::from(per_second))
}

async fn closed(crowd: &Arc<Crowd>, in_flight: u32, orders: u32, at_most: Duration) -> Vec<Shot> {
    let next = Arc::new(AtomicUsize::new(0));
    let start = Instant::now();
    let mut workers = JoinSet::new();
    for _ in 0..in_flight {
        let (crowd, next) = (Arc::clone(crowd), Arc::clone(&next));
        workers.spawn(async move {
            let mut shots = Vec::new();
            while start.elapsed() < at_most {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= orders as usize {
                    break;
                }
                shots.push(crowd.shoot(number, Instant::now()).await);
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
        let open = Load::Open {
            per_second: 500,
            seconds: 20,
        };
        assert_eq!(open.orders(), 10_000);
        let closed = Load::Closed {
            in_flight: 64,
            orders: 7,
            at_most_seconds: 60,
        };
        assert_eq!(closed.orders(), 7);
    }

    #[test]
    fn who_comes_again_does_so_under_a_new_key_or_the_same() {
        let crowd = |key| Crowd {
            buyers: ["ada", "bob"]
                .map(|name| Buyer {
                    token: name.to_owned(),
                    key: name.to_owned(),
                })
                .to_vec(),
            key,
            products: vec!["p".to_owned(), "q".to_owned(), "r".to_owned()],
            items: 2,
            host: "quicksale".to_owned(),
            doors: Doors::new(&[]),
            answered: AtomicUsize::new(0),
        };
        let key = |key, number| {
            let request = crowd(key).request(number, number % 2);
            request
                .split("idempotency-key: ")
                .nth(1)
                .unwrap()
                .split("\r\n")
                .next()
                .unwrap()
                .to_owned()
        };
        assert_eq!([key(Key::New, 1), key(Key::New, 5)], ["bob", "bob-2"]);
        assert_eq!([key(Key::Same, 1), key(Key::Same, 5)], ["bob", "bob"]);
        let basket = crowd(Key::New).request(2, 0);
        assert!(
            basket.ends_with(r#"{"items":[{"productId":"r","quantity":1},{"productId":"p","quantity":1}]}"#)
        );
    }

    #[test]
    fn answers_are_told_apart() {
        let answer = |status, replayed, body| {
            verdict(Answer {
                status,
                replayed,
                closes: false,
                body,
            })
        };
        assert_eq!(answer(201, false, b"{}"), Verdict::Accepted);
        assert_eq!(answer(201, true, b"{}"), Verdict::Refused("replayed".into()));
        assert_eq!(
            answer(409, false, br#"{"code":"sold_out"}"#),
            Verdict::Refused("sold_out".into())
        );
        assert_eq!(
            answer(503, false, br#"{"code":"busy"}"#),
            Verdict::Unknown("busy".into())
        );
    }
}
