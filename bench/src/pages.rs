//! Storefronts that are open: each asks for the sale as the page does, while its buyer may be ordering.

use crate::client::Client;
use hdrhistogram::Histogram;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How often the page of somebody who is logged in looks at an open sale (`pace` in the storefront's `sale.js`), before jitter.
const EVERY: Duration = Duration::from_millis(2_500);

/// Open pages.
#[derive(Debug)]
pub(crate) struct Pages {
    open: JoinSet<Seen>,
    stop: CancellationToken,
}

/// What the pages have seen.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// How long answers took, in microseconds.
    pub(crate) answers: Vec<u64>,
    /// Looks without a good answer.
    pub(crate) failures: u64,
}

impl Pages {
    /// Opens so many, spread over the time from one look to the next.
    pub(crate) fn open(client: &Client, pages: u32) -> Self {
        let stop = CancellationToken::new();
        let mut open = JoinSet::new();
        for number in 0..pages {
            let (client, stop) = (client.clone(), stop.clone());
            open.spawn(async move {
                let first = EVERY.mul_f64(f64::from(number) / f64::from(pages));
                tokio::select! {
                    () = stop.cancelled() => return Seen::default(),
                    () = tokio::time::sleep(first) => {}
                }
                look(&client, number, &stop).await
            });
        }
        Self { open, stop }
    }

    /// Closes them, and tells what they have seen.
    pub(crate) async fn close(mut self) -> Seen {
        self.stop.cancel();
        let mut all = Seen::default();
        while let Some(seen) = self.open.join_next().await {
            match seen {
                Ok(seen) => {
                    all.answers.extend(seen.answers);
                    all.failures += seen.failures;
                }
                Err(_) => all.failures += 1,
            }
        }
        all
    }
}

impl Seen {
    /// A line for people.
    pub(crate) fn line(&self) -> anyhow::Result<String> {
        let mut answers = Histogram::<u64>::new_with_bounds(1, 120_000_000, 3)?;
        for answer in &self.answers {
            answers.saturating_record(*answer);
        }
        let ms = |quantile| answers.value_at_quantile(quantile) as f64 / 1_000.0;
        Ok(format!(
            "pages looked {} times at the sale: p50 {:.1} ms, p99 {:.1} ms, {} without an answer",
            answers.len(),
            ms(0.5),
            ms(0.99),
            self.failures
        ))
    }
}

/// Looks again and again, until the page is closed.
async fn look(client: &Client, number: u32, stop: &CancellationToken) -> Seen {
    let (mut seen, mut tag, mut looks) = (Seen::default(), None, 0_u32);
    while !stop.is_cancelled() {
        let begun = Instant::now();
        match client.look_at_sale(number, tag.as_deref()).await {
            Ok(next) => {
                let took = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
                seen.answers.push(took.max(1));
                tag = next.or(tag);
            }
            Err(_) => seen.failures += 1,
        }
        looks += 1;
        // As the page does it: from 0.8 to 1.2 of it, another part each time.
        let part = 0.8
            + f64::from(
                (number
                    .wrapping_mul(7_919)
                    .wrapping_add(looks.wrapping_mul(104_729)))
                    % 401,
            ) / 1_000.0;
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(EVERY.mul_f64(part)) => {}
        }
    }
    seen
}
