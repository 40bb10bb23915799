//! Looks at the processes of every running sale, every five seconds, and keeps what that came to.

use crate::{
    history::{History, Part, STEP},
    measure::{Circuit, Meter, WANTED},
    sales::Sales,
    scrape::{Sample, Scraper, Target},
};
use futures::{StreamExt, future::join_all, stream::FuturesUnordered};
use jiff::Timestamp;
use platform::{clock::Clock, rounds::Rounds};
use sale::SaleId;
use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// Processes that are asked at the same time: many of those that do not answer may be among them.
const CONCURRENCY: usize = 128;
/// The most processes of a sale that are asked.
const MOST_PROCESSES: usize = 200;
/// How long what is known of a sale is kept that does not run any more, in seconds: as long as the charts go back.
const KEPT: i64 = 12 * 3_600;

/// What is known of the sales.
#[derive(Debug, Clone, Default)]
pub struct Watched(Arc<Mutex<HashMap<SaleId, Sale>>>);

#[derive(Debug, Default)]
struct Sale {
    meter: Meter,
    history: History,
    circuits: Vec<Circuit>,
    answered: HashSet<Target>,
    looked: Option<Timestamp>,
}

impl Watched {
    /// The last minutes of a sale; nothing where nobody has looked.
    pub fn history(&self, sale: &SaleId, minutes: i64, now: Timestamp) -> Part {
        let sales = self.sales();
        let nothing = History::default();
        sales
            .get(sale)
            .map_or(&nothing, |known| &known.history)
            .last(minutes, now)
    }

    /// Its circuits at the last look.
    pub fn circuits(&self, sale: &SaleId) -> Vec<Circuit> {
        self.sales()
            .get(sale)
            .map(|known| known.circuits.clone())
            .unwrap_or_default()
    }

    /// Whether a process has answered the last look.
    pub fn has_answered(&self, sale: &SaleId, target: &Target) -> bool {
        self.sales()
            .get(sale)
            .is_some_and(|known| known.answered.contains(target))
    }

    fn add(&self, sale: SaleId, scrapes: &[(Target, Vec<Sample>)], now: (Instant, Timestamp)) {
        let mut sales = self.sales();
        let known = sales.entry(sale).or_default();
        let measured = known.meter.measure(scrapes, now.0);
        known.history.add(now.1, &measured.numbers);
        known.circuits = measured.circuits;
        known.answered = scrapes.iter().map(|(target, _)| target.clone()).collect();
        known.looked = Some(now.1);
    }

    fn forget_old(&self, now: Timestamp) {
        let is_kept = |known: &Sale| {
            known
                .looked
                .is_some_and(|at| now.as_second() - at.as_second() < KEPT)
        };
        self.sales().retain(|_, known| is_kept(known));
    }

    fn sales(&self) -> std::sync::MutexGuard<'_, HashMap<SaleId, Sale>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Watches until the process ends. Each sale is looked at by itself, so that one whose processes do not answer delays no other.
pub async fn run(sales: Sales, watched: Watched, scraper: Scraper, clock: Clock, stop: CancellationToken) {
    let mut rounds = Rounds::every(Duration::from_secs(STEP as u64), &stop);
    let (mut looks, mut looked_at) = (FuturesUnordered::new(), HashSet::new());
    let places = Arc::new(Semaphore::new(CONCURRENCY));
    loop {
        tokio::select! {
            another = rounds.another() => {
                if !another {
                    return;
                }
                for sale in sales.running() {
                    if looked_at.insert(sale.clone()) {
                        let targets = sales.processes(&sale).into_iter().filter_map(|process| process.target);
                        let targets = targets.take(MOST_PROCESSES).collect();
                        looks.push(look(sale, targets, scraper.clone(), Arc::clone(&places)));
                    }
                }
                watched.forget_old(clock.now());
            }
            Some((sale, scrapes)) = looks.next() => {
                looked_at.remove(&sale);
                watched.add(sale, &scrapes, (Instant::now(), clock.now()));
            }
        }
    }
}

/// Asks the processes of a sale.
async fn look(
    sale: SaleId,
    targets: Vec<Target>,
    scraper: Scraper,
    places: Arc<Semaphore>,
) -> (SaleId, Vec<(Target, Vec<Sample>)>) {
    let asking = targets.into_iter().map(|target| {
        let (scraper, places) = (scraper.clone(), Arc::clone(&places));
        async move {
            // It is never closed.
            let _place = places.acquire().await;
            match scraper.scrape(&target, WANTED).await {
                Ok(samples) => Some((target, samples)),
                Err(error) => {
                    tracing::debug!(process = target.name, %error, "no metrics");
                    None
                }
            }
        }
    });
    let answers = join_all(asking).await;
    (sale, answers.into_iter().flatten().collect())
}
