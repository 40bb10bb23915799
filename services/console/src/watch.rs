//! Looks at the processes of every running sale, every five seconds, and keeps what that came to.

use crate::{
    history::{History, Part, STEP},
    measure::{self, Circuit, Meter},
    sales::{Process, Sales},
    scrape::{Sample, Scraper, Target},
};
use futures::{StreamExt, stream};
use jiff::Timestamp;
use platform::{clock::Clock, rounds::Rounds};
use sale::SaleId;
use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

/// Processes that are asked at the same time.
const CONCURRENCY: usize = 32;
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
    looked: Option<(Instant, Timestamp)>,
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
        #[expect(clippy::cast_precision_loss, reason = "five")]
        let usual = STEP as f64;
        let seconds = known
            .looked
            .map_or(usual, |(before, _)| now.0.duration_since(before).as_secs_f64());
        let measured = known.meter.measure(scrapes, seconds.max(0.001));
        known.history.add(now.1, &measured.numbers);
        known.circuits = measured.circuits;
        known.answered = scrapes.iter().map(|(target, _)| target.clone()).collect();
        known.looked = Some(now);
    }

    fn forget_old(&self, now: Timestamp) {
        let is_kept = |known: &Sale| {
            known
                .looked
                .is_some_and(|(_, at)| now.as_second() - at.as_second() < KEPT)
        };
        self.sales().retain(|_, known| is_kept(known));
    }

    fn sales(&self) -> std::sync::MutexGuard<'_, HashMap<SaleId, Sale>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Watches until the process ends.
pub async fn run(sales: Sales, watched: Watched, scraper: Scraper, clock: Clock, stop: CancellationToken) {
    let mut rounds = Rounds::every(Duration::from_secs(STEP as u64), &stop);
    while rounds.another().await {
        let asked: Vec<(SaleId, Target)> = sales
            .running()
            .into_iter()
            .flat_map(|sale| {
                let targets = sales
                    .processes(&sale)
                    .into_iter()
                    .filter_map(|process: Process| process.target);
                targets
                    .map(move |target| (sale.clone(), target))
                    .collect::<Vec<_>>()
            })
            .collect();
        let mut answers: HashMap<SaleId, Vec<(Target, Vec<Sample>)>> = HashMap::new();
        let mut asking = stream::iter(asked)
            .map(|(sale, target)| {
                let scraper = scraper.clone();
                async move {
                    let answer = scraper.scrape(&target, measure::is_wanted).await;
                    (sale, target, answer)
                }
            })
            .buffer_unordered(CONCURRENCY);
        while let Some((sale, target, answer)) = asking.next().await {
            let answers = answers.entry(sale).or_default();
            match answer {
                Ok(samples) => answers.push((target, samples)),
                Err(error) => tracing::debug!(process = target.name, %error, "no metrics"),
            }
        }
        let now = (Instant::now(), clock.now());
        for (sale, scrapes) in answers {
            watched.add(sale, &scrapes, now);
        }
        watched.forget_old(now.1);
    }
}
