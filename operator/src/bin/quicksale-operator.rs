//! The operator's process.

use clap::{CommandFactory, Parser, Subcommand};
use operator::{check, metrics, run, settings::Settings};
use platform::{
    command_line::{self, Page, Shell},
    telemetry::{self, LogFormat},
};
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
    /// Says whether the FlashSales of a file would open here, and why not. Nothing is changed.
    Check(check::Options),
    /// Prints the reference of its metrics.
    Metrics,
    /// Prints what completes this command in a shell.
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Prints a page for `man`.
    Man(Page),
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let Cli { command, settings } = Cli::parse();
    if let Some(command) = command {
        let text = match command {
            Command::Check(options) => return Ok(Box::pin(check::run(&options)).await?),
            Command::Metrics => metrics::markdown(),
            Command::Completions { shell } => command_line::completions(Cli::command(), shell),
            Command::Man(page) => command_line::man(Cli::command(), &page)?,
        };
        print!("{text}");
        return Ok(ExitCode::SUCCESS);
    }
    let settings = settings.unwrap_or_else(Settings::parse);
    telemetry::init(LogFormat::Ecs { service: "operator" });
    run::run(settings).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn completions_and_the_page_have_every_subcommand() {
        let page = command_line::man(Cli::command(), &Page::default()).unwrap();
        for subcommand in Cli::command().get_subcommands() {
            let name = subcommand.get_name();
            assert!(page.contains(name), "{name}");
            for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
                let script = command_line::completions(Cli::command(), shell);
                assert!(script.contains(name), "{shell:?}: {name}");
            }
        }
    }
}
