//! `quicksale healthy`: for a container's health check, because the image holds no other program that could ask.

use anyhow::{Context, Result};
use clap::Args;
use platform::config::ports;
use std::{process::ExitCode, time::Duration};

/// How long the process may take to answer.
const DEADLINE: Duration = Duration::from_secs(2);

/// Whom to ask.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The admin port of the process.
    #[arg(long, default_value_t = ports::ADMIN)]
    admin_port: u16,
}

/// Asks, and says why where the answer is no.
pub(crate) async fn run(options: Options) -> Result<ExitCode> {
    let client = reqwest::Client::builder().timeout(DEADLINE).no_proxy().build()?;
    let address = format!("http://127.0.0.1:{}/readyz", options.admin_port);
    let answer = client.get(&address).send().await;
    let answer = answer.with_context(|| format!("no answer from {address}"))?;
    let is_ready = answer.status().is_success();
    println!("{}", answer.text().await?);
    Ok(if is_ready {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
