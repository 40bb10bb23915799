//! The operator's process.

use clap::Parser;
use operator::{run, settings::Settings};
use platform::telemetry::{self, LogFormat};
use std::process::ExitCode;

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let settings = Settings::parse();
    telemetry::init(LogFormat::Json);
    run::run(settings).await
}
