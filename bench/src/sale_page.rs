//! How often the sale can be asked for, as by storefronts that are opened all at once.

use crate::{
    options::Options,
    processes::{self, Watched},
    wire::Wire,
};
use hdrhistogram::Histogram;
use std::{
    fmt::Write,
    time::{Duration, Instant},
};
use tokio::task::JoinSet;

/// Connections, each of which asks again at once.
const CONNECTIONS: usize = 64;
/// For so long.
const SECONDS: Duration = Duration::from_secs(10);

/// Asks, and tells how it went.
pub(crate) async fn measure(options: &Options, watched: &[Watched]) -> anyhow::Result<String> {
    let request = "GET /api/sale HTTP/1.1\r\nhost: quicksale\r\n\r\n";
    let before = processes::usage(watched)?;
    let begun = Instant::now();
    let mut asking = JoinSet::new();
    for gateway in options.gateways.iter().cycle().take(CONNECTIONS) {
        let mut wire = Wire::connect(*gateway).await?;
        asking.spawn(async move {
            let mut answers = Histogram::<u64>::new_with_bounds(1, 120_000_000, 3)?;
            while begun.elapsed() < SECONDS {
                let asked = Instant::now();
                let answer = wire.ask(request.as_bytes()).await?;
                anyhow::ensure!(answer.status == 200, "answered {}", answer.status);
                answers.saturating_record(u64::try_from(asked.elapsed().as_micros())?.max(1));
            }
            anyhow::Ok(answers)
        });
    }
    let mut all = Histogram::<u64>::new_with_bounds(1, 120_000_000, 3)?;
    while let Some(answers) = asking.join_next().await {
        all.add(answers??)?;
    }
    let seconds = begun.elapsed().as_secs_f64();
    let after = processes::usage(watched)?;
    let ms = |quantile| all.value_at_quantile(quantile) as f64 / 1_000.0;
    let mut line = format!(
        "sale-page: {:.0} answers a second, p50 {:.2} ms, p99 {:.2} ms; CPU s per 1,000:",
        all.len() as f64 / seconds,
        ms(0.5),
        ms(0.99)
    );
    for (name, usage) in &after {
        let spent = usage.cpu_seconds - before.get(name).copied().unwrap_or_default().cpu_seconds;
        let _infallible = write!(line, " {name} {:.4}", spent * 1_000.0 / all.len() as f64);
    }
    Ok(line)
}
