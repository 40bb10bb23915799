//! A rehearsal's load against a sale that is open, and what it has found.

use crate::{
    buyers::Mint,
    doors::Doors,
    orders::{Crowd, Key, Load},
    search::Search,
    step::{Step, Terms},
    wire::Answer,
};
use anyhow::{Context, ensure};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::{
    sync::{Arc, atomic::AtomicUsize},
    time::{Duration, Instant},
};

/// How long the products may take to be on sale at the gateways.
const ON_SALE_WITHIN: Duration = Duration::from_secs(60);
/// A pause between two rates, in which what has piled up goes.
const REST: Duration = Duration::from_secs(2);
/// How long an order is followed until it is decided.
const FOLLOWED: Duration = Duration::from_secs(20);
/// How often an order is looked at that is followed.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// The part of the highest rate that a search begins with.
const FIRST: u32 = 16;
/// The most orders of one rate: each has a buyer, whose token takes room.
pub const MOST_ORDERS: u32 = 200_000;
/// Buyers who order at the same time in a burst.
const AT_ONCE: u32 = 1_000;

/// How buyers come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Arrival {
    /// In steps, each with more orders a second than the one before, until one is not held.
    Steps,
    /// Evenly, at the highest rate.
    Steady,
    /// All at once.
    Burst,
}

impl Arrival {
    /// As it is said on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Steps => "steps",
            Self::Steady => "steady",
            Self::Burst => "burst",
        }
    }
}

impl std::str::FromStr for Arrival {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let all = [Self::Steps, Self::Steady, Self::Burst];
        let found = all.into_iter().find(|arrival| arrival.as_str() == text);
        found.ok_or_else(|| format!("{text:?} is none of steps, steady and burst"))
    }
}

/// What is asked of the load.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// How buyers come.
    pub arrival: Arrival,
    /// The most orders a second.
    pub most: u32,
    /// Buyers of a burst.
    pub buyers: u32,
    /// How long each rate lasts.
    pub step: Duration,
}

/// What was found, small enough for the last words of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Found {
    /// How buyers came.
    pub arrival: Arrival,
    /// The most orders a second that were held; 0 where none were.
    pub held_per_second: u32,
    /// The fewest that were not; none where the most that was asked for was held.
    pub failed_per_second: Option<u32>,
    /// Why those were not held.
    pub why: Option<String>,
    /// When the rate that was held was fired, and until when.
    pub held_from: Option<Timestamp>,
    /// See [`Self::held_from`].
    pub held_until: Option<Timestamp>,
    /// The same of the one that was not.
    pub failed_from: Option<Timestamp>,
    /// See [`Self::failed_from`].
    pub failed_until: Option<Timestamp>,
    /// At the rate that was held, all but one of a hundred orders were answered within so many milliseconds.
    pub p99_millis: u64,
    /// Orders that were placed in all.
    pub orders: usize,
    /// Orders that were accepted in all.
    pub accepted: usize,
}

/// Whoever rehearses.
pub struct Rehearsal {
    mint: Mint,
    crowd: Crowd,
    run: String,
    terms: Terms,
}

/// A rate and when it was fired.
struct Fired {
    step: Step,
    from: Timestamp,
    until: Timestamp,
}

#[derive(Debug, Deserialize)]
struct Sale {
    products: Vec<Product>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Product {
    product_id: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Order {
    #[serde(rename = "_id")]
    id: String,
    inventory_status: String,
}

#[derive(Debug, Deserialize)]
struct Placed {
    order: Order,
}

impl Rehearsal {
    /// Waits until the gateways know the sale's products.
    ///
    /// # Errors
    /// Where they do not within a minute.
    pub async fn begin(mint: Mint, doors: Doors, host: String, run: String) -> anyhow::Result<Self> {
        let end = Instant::now() + ON_SALE_WITHIN;
        let request = format!("GET /api/sale HTTP/1.1\r\nhost: {host}\r\n\r\n");
        let products = loop {
            let answer = doors.ask(0, &request, |answer| json::<Sale>(&answer)).await;
            match answer.and_then(|answer| answer) {
                Ok(sale) if !sale.products.is_empty() => break sale.products,
                Ok(_) => {}
                Err(error) if Instant::now() > end => return Err(error.context("the gateways show no sale")),
                Err(error) => tracing::debug!(%error, "the gateways show no sale yet"),
            }
            ensure!(Instant::now() < end, "the gateways show no products");
            tokio::time::sleep(REST).await;
        };
        Ok(Self {
            mint,
            crowd: Crowd {
                buyers: Vec::new(),
                key: Key::New,
                products: products.into_iter().map(|product| product.product_id).collect(),
                items: 1,
                host,
                doors,
                answered: AtomicUsize::new(0),
            },
            run,
            terms: Terms::default(),
        })
    }

    /// Lets the load loose, and tells of each rate.
    ///
    /// # Errors
    /// Where tokens cannot be made.
    pub async fn run(&self, plan: Plan, mut tell: impl FnMut(&Step)) -> anyhow::Result<Found> {
        let mut search = match plan.arrival {
            Arrival::Steps => Search::new(plan.most.div_ceil(FIRST), plan.most),
            Arrival::Steady | Arrival::Burst => Search::new(plan.most, plan.most),
        };
        let (mut best, mut worst): (Option<Fired>, Option<Fired>) = (None, None);
        let (mut orders, mut accepted, mut number) = (0, 0, 0);
        while let Some(rate) = search.next() {
            number += 1;
            let load = match plan.arrival {
                Arrival::Burst => Load::Closed {
                    in_flight: plan.buyers.min(AT_ONCE),
                    orders: plan.buyers,
                    at_most_seconds: 300,
                },
                Arrival::Steps | Arrival::Steady => Load::Open {
                    per_second: rate,
                    seconds: seconds(plan.step, rate),
                },
            };
            let fired = self.fire(load, rate, number).await?;
            tell(&fired.step);
            orders += fired.step.orders;
            accepted += fired.step.accepted;
            search.note(fired.step.is_held());
            if fired.step.is_held() {
                best = Some(fired);
            } else if search.failed() == Some(rate) || plan.arrival != Arrival::Steps {
                // Once alone is a hiccup.
                worst = Some(fired);
            }
            if plan.arrival != Arrival::Steps {
                break;
            }
            tokio::time::sleep(REST).await;
        }
        // A load that comes once, or evenly, is held or it is not.
        let failed = search
            .failed()
            .or_else(|| worst.as_ref().map(|fired| fired.step.per_second));
        Ok(Found {
            arrival: plan.arrival,
            held_per_second: best.as_ref().map_or(0, |fired| fired.step.per_second),
            failed_per_second: failed.filter(|_| {
                best.as_ref()
                    .is_none_or(|best| failed > Some(best.step.per_second))
            }),
            why: worst.as_ref().and_then(|fired| fired.step.why_not.clone()),
            held_from: best.as_ref().map(|fired| fired.from),
            held_until: best.as_ref().map(|fired| fired.until),
            failed_from: worst.as_ref().map(|fired| fired.from),
            failed_until: worst.as_ref().map(|fired| fired.until),
            p99_millis: best
                .as_ref()
                .or(worst.as_ref())
                .map_or(0, |fired| fired.step.p99_millis),
            orders,
            accepted,
        })
    }

    async fn fire(&self, load: Load, rate: u32, number: u32) -> anyhow::Result<Fired> {
        let run = format!("{}-{number}", self.run);
        let mut crowd = self.crowd.with(Key::New);
        // Each order is of a buyer who has not ordered before, and one more is followed afterwards.
        crowd.buyers = self.mint.buyers(&run, load.orders())?;
        let crowd = Arc::new(crowd);
        let (from, began) = (Timestamp::now(), Instant::now());
        let shots = load.fire(&crowd).await;
        let (until, took) = (Timestamp::now(), began.elapsed());
        let decided = self.follow_one(&run).await;
        if let Err(error) = &decided {
            tracing::debug!(%error, "the order right after the load was not decided");
        }
        let rate = match load {
            Load::Open { .. } => rate,
            Load::Closed { .. } => whole(shots.len(), took),
        };
        let step = Step::of(rate, &shots, decided.ok(), self.terms);
        Ok(Fired { step, from, until })
    }

    /// Places one order and says how long it waits for its decision.
    async fn follow_one(&self, run: &str) -> anyhow::Result<Duration> {
        let mut crowd = self.crowd.with(Key::New);
        crowd.buyers = self.mint.buyers(&format!("{run}-last"), 1)?;
        let placed = Instant::now();
        let request = crowd.request(0, 0);
        let order = self
            .crowd
            .doors
            .ask(0, &request, |answer| json::<Placed>(&answer))
            .await??;
        let token = &crowd.buyers.first().context("no buyer")?.token;
        let look = format!(
            "GET /api/orders/{} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {token}\r\n\r\n",
            order.order.id, self.crowd.host
        );
        loop {
            let seen = self
                .crowd
                .doors
                .ask(0, &look, |answer| json::<Order>(&answer))
                .await??;
            if seen.inventory_status != "PENDING" {
                return Ok(placed.elapsed());
            }
            ensure!(
                placed.elapsed() < FOLLOWED,
                "it is still {}",
                seen.inventory_status
            );
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

/// How long a rate is fired.
fn seconds(step: Duration, rate: u32) -> u32 {
    let wanted = u32::try_from(step.as_secs()).unwrap_or(u32::MAX);
    wanted.min(MOST_ORDERS / rate.max(1)).max(1)
}

fn json<T: serde::de::DeserializeOwned>(answer: &Answer<'_>) -> anyhow::Result<T> {
    ensure!(
        (200..300).contains(&answer.status),
        "answered {}: {}",
        answer.status,
        String::from_utf8_lossy(answer.body)
    );
    Ok(serde_json::from_slice(answer.body)?)
}

/// How many of them came in a second.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "orders are millions at the most"
)]
fn whole(orders: usize, took: Duration) -> u32 {
    (orders as f64 / took.as_secs_f64().max(0.001)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_fired_for_as_long_as_there_is_room_for_its_buyers() {
        let ten = Duration::from_secs(10);
        assert_eq!(
            [
                seconds(ten, 1),
                seconds(ten, 20_000),
                seconds(ten, 40_000),
                seconds(ten, 900_000)
            ],
            [10, 10, 5, 1]
        );
        assert_eq!(seconds(Duration::ZERO, 1), 1);
    }

    #[test]
    fn what_was_found_fits_the_last_words_of_a_container() {
        let now = Some(Timestamp::UNIX_EPOCH);
        let found = Found {
            arrival: Arrival::Steps,
            held_per_second: u32::MAX,
            failed_per_second: Some(u32::MAX),
            why: Some("w".repeat(200)),
            held_from: now,
            held_until: now,
            failed_from: now,
            failed_until: now,
            p99_millis: u64::MAX,
            orders: usize::MAX,
            accepted: usize::MAX,
        };
        let text = serde_json::to_string(&found).unwrap();
        assert!(text.len() < 4_096, "{}", text.len());
        assert_eq!(serde_json::from_str::<Found>(&text).unwrap(), found);
    }
}
