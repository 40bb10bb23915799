//! `quicksale rehearse`: the load of a rehearsal. The operator starts it as a Job, and reads what it has found from its last words.

use anyhow::{Context, bail};
use clap::Args;
use quicksale_load::{
    buyers::Mint,
    doors::Doors,
    rehearsal::{Arrival, Found, Plan, Rehearsal},
};
use std::{
    net::SocketAddr,
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

/// How long the gateway's name may lead nowhere.
const REACHED_WITHIN: Duration = Duration::from_secs(60);

/// Which sale, and how buyers come.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// A gateway, as NAME:PORT; every address that the name has takes turns.
    #[arg(long)]
    gateway: String,
    /// The host that is asked for, where an ingress leads to the gateways.
    #[arg(long, default_value = "quicksale")]
    host: String,
    /// The directory with the sale's signing key: buyers get tokens, and no accounts.
    #[arg(long, env = "QUICKSALE_KEYS")]
    keys: PathBuf,
    /// How buyers come: steps, more in each until a rate is not held; steady, evenly at the highest rate; or burst, all at once.
    #[arg(long, default_value = "steps")]
    arrival: Arrival,
    /// The most orders a second.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    orders_per_second: u32,
    /// Buyers of a burst, each of whom places one order.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=200_000))]
    buyers: u32,
    /// How long each rate lasts.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=300))]
    step_seconds: u32,
    /// Where what was found is written as JSON, besides the output.
    #[arg(long)]
    outcome: Option<PathBuf>,
}

/// Ends with 0 once something was found out, whatever it is.
pub(crate) async fn run(options: Options) -> anyhow::Result<ExitCode> {
    let addresses = addresses(&options.gateway).await?;
    let plan = Plan {
        arrival: options.arrival,
        most: options.orders_per_second,
        buyers: options.buyers,
        step: Duration::from_secs(options.step_seconds.into()),
    };
    let run = uuid::Uuid::new_v4().simple().to_string();
    let mint = Mint::read(&options.keys)?;
    let rehearsal = Rehearsal::begin(mint, Doors::new(&addresses), options.host, run).await?;
    let found = rehearsal
        .run(plan, |step| {
            let why = step.why_not.as_deref().unwrap_or("held");
            println!(
                "{} orders/s: {} of {} accepted, p99 {} ms: {why}",
                step.per_second, step.accepted, step.orders, step.p99_millis
            );
        })
        .await?;
    tell(&found, options.outcome)?;
    Ok(ExitCode::SUCCESS)
}

/// The gateway's addresses. A pod that has just started may reach no DNS for a moment.
async fn addresses(gateway: &str) -> anyhow::Result<Vec<SocketAddr>> {
    let end = Instant::now() + REACHED_WITHIN;
    loop {
        let found = tokio::net::lookup_host(gateway)
            .await
            .map(Iterator::collect::<Vec<_>>);
        match found {
            Ok(addresses) if !addresses.is_empty() => return Ok(addresses),
            _ if Instant::now() < end => tokio::time::sleep(Duration::from_secs(1)).await,
            Ok(_) => bail!("{gateway} leads to no gateway"),
            Err(error) => return Err(error).with_context(|| format!("{gateway} leads to no gateway")),
        }
    }
}

fn tell(found: &Found, outcome: Option<PathBuf>) -> anyhow::Result<()> {
    let text = serde_json::to_string(found)?;
    println!("{text}");
    match outcome {
        Some(path) => {
            std::fs::write(&path, text).with_context(|| format!("{} cannot be written", path.display()))
        }
        None => Ok(()),
    }
}
