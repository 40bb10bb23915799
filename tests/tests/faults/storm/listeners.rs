//! Buyers with a WebSocket, who connect again with the last id that they have seen, and buy a little.

use super::buyers::{Deal, place};
use anyhow::Result;
use futures::StreamExt;
use platform::tokens::Role;
use quicksale_tests::{scenarios::SETTLED, shop::Shop};
use rand::{SeedableRng, rngs::StdRng};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::task::JoinSet;

/// How many.
const LISTENERS: u64 = 12;
/// Between two orders of one of them: the limit is ten a minute.
const BETWEEN: Duration = Duration::from_secs(7);
/// How long a socket is read before it is looked whether it is over.
const TURN: Duration = Duration::from_millis(500);
/// How long nothing must come after everything has ended.
const QUIET: Duration = Duration::from_secs(4);

/// What one of them has done and heard: for each order the statuses, in the order in which they came.
#[derive(Debug)]
pub(super) struct Heard {
    pub(super) deals: Vec<Deal>,
    pub(super) statuses: BTreeMap<String, Vec<String>>,
    /// Ids that came twice on one socket.
    pub(super) twice: usize,
}

pub(super) struct Listeners {
    /// They buy no more.
    content: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    all: JoinSet<Result<Heard>>,
}

pub(super) fn listen(shops: &[Arc<Shop>; 2]) -> Listeners {
    let (content, stop) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let mut all = JoinSet::new();
    for n in 0..LISTENERS {
        let (shops, content, stop) = (shops.clone(), Arc::clone(&content), Arc::clone(&stop));
        all.spawn(async move {
            let user = format!("listener-{n}");
            let (deals, heard) = tokio::join!(buy(&shops, &user, n, &content), hear(&shops, &user, &stop));
            let (statuses, twice) = heard?;
            Ok(Heard {
                deals: deals?,
                statuses,
                twice,
            })
        });
    }
    Listeners { content, stop, all }
}

impl Listeners {
    /// Lets them only listen from now on.
    pub(super) fn buy_no_more(&self) {
        self.content.store(true, Ordering::Release);
    }

    /// Lets everybody hear the last of it.
    pub(super) async fn end(mut self) -> Result<Vec<Heard>> {
        self.stop.store(true, Ordering::Release);
        let mut heard = Vec::new();
        while let Some(one) = self.all.join_next().await {
            heard.push(one??);
        }
        Ok(heard)
    }
}

async fn buy(shops: &[Arc<Shop>; 2], user: &str, n: u64, content: &AtomicBool) -> Result<Vec<Deal>> {
    let (mut deals, mut chance) = (Vec::new(), StdRng::seed_from_u64(n));
    for number in 0.. {
        if content.load(Ordering::Acquire) {
            break;
        }
        let mut deal = Deal {
            user: user.to_owned(),
            key: format!("k{number}"),
            sku: "PLENTY",
            quantity: 1,
            order: None,
            refused: None,
            words: Vec::new(),
        };
        place(shops, &mut chance, &mut deal).await?;
        deals.push(deal);
        for _ in 0..BETWEEN.as_secs() {
            if !content.load(Ordering::Acquire) {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
    Ok(deals)
}

async fn hear(
    shops: &[Arc<Shop>; 2],
    user: &str,
    stop: &AtomicBool,
) -> Result<(BTreeMap<String, Vec<String>>, usize)> {
    let (mut statuses, mut twice): (BTreeMap<String, Vec<String>>, usize) = (BTreeMap::new(), 0);
    let (mut last, mut connections): (Option<String>, usize) = (None, 0);
    loop {
        let mut token = shops[0].token(user, Role::Buyer)?;
        if let Some(last) = &last {
            token += &format!("&lastEventId={last}");
        }
        // When all is over a socket of its own, which stays until nothing comes any more.
        let is_last = stop.load(Ordering::Acquire);
        connections += 1;
        let Ok(mut socket) = shops[connections % 2].socket(&token).await else {
            tokio::time::sleep(TURN).await;
            continue;
        };
        let (mut seen, mut greeted) = (std::collections::BTreeSet::new(), false);
        loop {
            let wait = match (is_last, greeted) {
                (true, true) => QUIET,
                // The quiet begins with the first word.
                (true, false) => SETTLED,
                (false, _) => TURN,
            };
            match tokio::time::timeout(wait, socket.next()).await {
                Ok(Some(Ok(message))) if message.is_text() => {
                    greeted = true;
                    let update: Value = serde_json::from_str(message.to_text()?)?;
                    if update["type"] != "order.update" {
                        continue;
                    }
                    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                    let id = text(&update["id"]);
                    twice += usize::from(!seen.insert(id.clone()));
                    last = Some(id.clone());
                    statuses
                        .entry(text(&update["data"]["orderId"]))
                        .or_default()
                        .push(text(&update["data"]["status"]));
                }
                Ok(Some(Ok(message))) if !message.is_close() => {}
                Ok(_) => break,
                Err(_) if is_last => return Ok((statuses, twice)),
                Err(_) if stop.load(Ordering::Acquire) => break,
                Err(_) => {}
            }
        }
    }
}
