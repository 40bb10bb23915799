//! The crowd: who orders, pays, cancels, and asks again under the same key where no answer came.

use anyhow::{Result, anyhow, bail, ensure};
use jiff::Timestamp;
use platform::tokens::Role;
use quicksale_tests::shop::{Answer, Shop};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use reqwest::Method;
use sale::order::Confirmation;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::task::JoinSet;

/// Orders that one buyer follows at a time while placing the next.
const FOLLOWED: usize = 4;
/// How long somebody waits for an answer, before asking the same again, of whichever process.
const WAITS: Duration = Duration::from_secs(4);
/// How often somebody asks the same again before he gives up.
const PATIENCE: usize = 400;

/// What is sold.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ware {
    pub(super) sku: &'static str,
    pub(super) stock: u32,
    pub(super) limit: Option<u32>,
}

impl Ware {
    pub(super) fn new(sku: &'static str, stock: u32, limit: Option<u32>) -> Self {
        Self { sku, stock, limit }
    }
}

/// What somebody asked to become of an order, and the answer to it.
#[derive(Debug, Clone)]
pub(super) struct Word {
    pub(super) verb: &'static str,
    pub(super) status: u16,
    /// What the answer says of the order's status, if it was refused for that.
    pub(super) order_status: Option<String>,
}

/// One order, as its buyer sees it.
#[derive(Debug, Clone)]
pub(super) struct Deal {
    pub(super) user: String,
    pub(super) key: String,
    pub(super) sku: &'static str,
    pub(super) quantity: u32,
    /// Its id, once it was accepted.
    pub(super) order: Option<String>,
    /// What it was refused with for good, and when.
    pub(super) refused: Option<(String, Timestamp)>,
    pub(super) words: Vec<Word>,
}

/// The buyers under way.
pub(super) struct Crowd {
    stop: Arc<AtomicBool>,
    buyers: JoinSet<Result<Vec<Deal>>>,
}

impl Crowd {
    pub(super) fn begin(
        shops: &[Arc<Shop>; 2],
        wares: &[Ware],
        confirmation: Confirmation,
        seed: u64,
        at_once: u64,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut buyers = JoinSet::new();
        for n in 0..at_once {
            let buyer = Buyer {
                shops: shops.clone(),
                wares: wares.to_vec(),
                pays: confirmation == Confirmation::Payment,
                stop: Arc::clone(&stop),
                chance: StdRng::seed_from_u64(seed ^ (n << 32)),
                name: format!("buyer-{n}"),
            };
            buyers.spawn(buyer.shop_on());
        }
        Self { stop, buyers }
    }

    /// Lets everybody finish what he has begun.
    pub(super) async fn end(mut self) -> Result<Vec<Deal>> {
        self.stop.store(true, Ordering::Release);
        let mut all = Vec::new();
        while let Some(deals) = self.buyers.join_next().await {
            all.extend(deals??);
        }
        Ok(all)
    }
}

struct Buyer {
    shops: [Arc<Shop>; 2],
    wares: Vec<Ware>,
    pays: bool,
    stop: Arc<AtomicBool>,
    chance: StdRng,
    name: String,
}

impl Buyer {
    async fn shop_on(mut self) -> Result<Vec<Deal>> {
        let (mut deals, mut followed) = (Vec::new(), JoinSet::new());
        'shopping: for person in 0.. {
            // Few enough for the limit of ten orders a minute.
            for n in 0..4 {
                if self.stop.load(Ordering::Acquire) {
                    break 'shopping;
                }
                let ware = self.wares[self.chance.random_range(0..self.wares.len())];
                let mut deal = Deal {
                    user: format!("{}-{person}", self.name),
                    key: format!("k{n}"),
                    sku: ware.sku,
                    quantity: self.chance.random_range(1..=2),
                    order: None,
                    refused: None,
                    words: Vec::new(),
                };
                place(&self.shops, &mut self.chance, &mut deal).await?;
                let mind = Mind {
                    pays: self.pays,
                    draw: self.chance.random_range(0..100),
                    seeds: self.chance.random(),
                };
                followed.spawn(follow(self.shops.clone(), deal, mind));
                while followed.len() > FOLLOWED
                    && let Some(deal) = followed.join_next().await
                {
                    deals.push(deal??);
                }
            }
        }
        while let Some(deal) = followed.join_next().await {
            deals.push(deal??);
        }
        Ok(deals)
    }
}

/// What somebody will do about an order.
struct Mind {
    pays: bool,
    draw: u32,
    seeds: (u64, u64),
}

/// Pays, cancels, does both at once, says that the payment has failed, or forgets about it.
async fn follow(shops: [Arc<Shop>; 2], mut deal: Deal, mind: Mind) -> Result<Deal> {
    let Some(order) = deal.order.clone() else {
        return Ok(deal);
    };
    let buyer = shops[0].token(&deal.user, Role::Buyer)?;
    let payment = shops[0].token(&uuid::Uuid::new_v4().to_string(), Role::Service)?;
    let (first, second) = mind.seeds;
    let ask = async |verb, token, seed| decide(&shops, seed, &order, verb, token).await;
    match (mind.pays, mind.draw) {
        (false, 0..20) | (true, 70..82) => deal.words.push(ask("cancel", &buyer, first).await?),
        (true, 0..55) => deal.words.push(ask("confirm", &payment, first).await?),
        (true, 55..70) => {
            let (paid, cancelled) =
                tokio::join!(ask("confirm", &payment, first), ask("cancel", &buyer, second));
            deal.words.extend([paid?, cancelled?]);
        }
        (true, 82..90) => deal.words.push(ask("fail", &payment, first).await?),
        _ => {}
    }
    Ok(deal)
}

/// Asks under the same key until there is an answer. Where it is said that this takes a while, most buy something else instead.
pub(super) async fn place(shops: &[Arc<Shop>; 2], chance: &mut StdRng, deal: &mut Deal) -> Result<()> {
    for _ in 0..PATIENCE {
        let shop = &shops[usize::from(chance.random_bool(0.5))];
        let asked = shop.order(&deal.user, &deal.key, deal.sku, deal.quantity);
        let answer = tokio::time::timeout(WAITS, asked).await;
        match answer.unwrap_or_else(|_| Err(anyhow!("no answer"))) {
            Ok(answer) if answer.status == 201 => {
                let id = answer.json["order"]["_id"]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned();
                ensure!(
                    deal.order.as_ref().is_none_or(|known| *known == id),
                    "one key has two orders: {deal:?} and {id}"
                );
                deal.order = Some(id);
                return Ok(());
            }
            Ok(answer) if answer.status == 409 => {
                let code = answer.json["code"].as_str().unwrap_or_default();
                ensure!(
                    ["sold_out", "units_held", "customer_limit"].contains(&code),
                    "{deal:?}: {}",
                    answer.text
                );
                deal.refused = Some((code.to_owned(), Timestamp::now()));
                return Ok(());
            }
            Ok(answer) if answer.status == 429 => tokio::time::sleep(Duration::from_secs(5)).await,
            Ok(answer) if is_no_answer(&answer) => match answer.retry_after() {
                Some(seconds) if seconds > 1 && chance.random_bool(0.8) => return Ok(()),
                // Whoever asks more often is soon told that this is too often.
                Some(seconds) if chance.random_bool(0.9) => {
                    tokio::time::sleep(Duration::from_secs(seconds)).await;
                }
                _ => pause(chance).await,
            },
            Ok(answer) => bail!("{deal:?}: {} {}", answer.status, answer.text),
            Err(_) => pause(chance).await,
        }
    }
    Ok(())
}

/// Asks until there is an answer that stands.
async fn decide(
    shops: &[Arc<Shop>; 2],
    seed: u64,
    order: &str,
    verb: &'static str,
    token: &str,
) -> Result<Word> {
    let mut chance = StdRng::seed_from_u64(seed);
    for _ in 0..PATIENCE {
        let shop = &shops[usize::from(chance.random_bool(0.5))];
        let path = format!("/api/orders/{order}/{verb}");
        let asked = shop.send(Method::POST, &path, Some(token), None);
        let answer = match tokio::time::timeout(WAITS, asked).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) | Err(_) => {
                pause(&mut chance).await;
                continue;
            }
        };
        let not_held_yet = answer.json["code"] == "not_held_yet";
        match answer.status {
            200 | 409 if !not_held_yet => {
                let order_status = answer.json["orderStatus"].as_str().map(str::to_owned);
                return Ok(Word {
                    verb,
                    status: answer.status,
                    order_status,
                });
            }
            409 => pause(&mut chance).await,
            429 => tokio::time::sleep(Duration::from_secs(2)).await,
            _ if is_no_answer(&answer) => pause(&mut chance).await,
            _ => bail!("{verb} of {order}: {} {}", answer.status, answer.text),
        }
    }
    // Nobody knows, and nothing follows from it.
    Ok(Word {
        verb,
        status: 0,
        order_status: None,
    })
}

fn is_no_answer(answer: &Answer) -> bool {
    [502, 503, 504].contains(&answer.status)
}

async fn pause(chance: &mut StdRng) {
    tokio::time::sleep(Duration::from_millis(chance.random_range(50..400))).await;
}
