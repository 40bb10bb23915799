//! The operator's process.

use clap::{Parser, Subcommand};
use operator::{metrics, run, settings::Settings};
use platform::telemetry::{self, LogFormat};
use std::process::ExitCode;

/// Runs flash sales.
#[derive(Debug, Parser)]
#[command(
    name = "quicksale-operator",
    version,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    settings: Option<Settings>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Prints the reference of its metrics.
    Metrics,
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let Cli { command, settings } = Cli::parse();
    if let Some(Command::Metrics) = command {
        print!("{}", metrics::markdown());
        return Ok(ExitCode::SUCCESS);
    }
    let settings = settings.unwrap_or_else(Settings::parse);
    telemetry::init(LogFormat::Ecs { service: "operator" });
    run::run(settings).await
}
