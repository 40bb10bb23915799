//! The one executable of the services: `quicksale gateway`, `quicksale auth`, …, and `quicksale dev` for all of them
//! in one process.

mod api_document;
mod api_reference;
mod audit;
mod console;
mod dead_letters;
mod dev;
mod healthy;
mod metrics_reference;
mod payments;
mod prepare;
mod process;
mod rehearse;
mod sale_database;
mod sizing;

use clap::{Args, CommandFactory, Parser, Subcommand};
use platform::{
    command_line::{self, Page, Shell},
    config::{Config, paths},
    telemetry::{self, LogFormat},
    traces,
};
use process::{Overrides, Process, Role};
use std::{path::PathBuf, process::ExitCode};

/// The allocator of libc in a static binary took a third of the services' CPU (bench/RESULTS.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Flash sales as Kubernetes resources: the services of a sale.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The front door.
    Gateway(Files),
    /// Accounts and tokens.
    Auth(Files),
    /// Products, stock and reservations.
    Inventory(Files),
    /// Orders.
    Order(Files),
    /// The relay from the outbox to Kafka.
    Processor(Files),
    /// WebSockets and notifications.
    Notifier(Files),
    /// Everything in one process on loopback, for development.
    Dev(dev::Options),
    /// What the sales are doing, and the switches, as pages for administrators.
    Console(console::Options),
    /// Makes what the processes of a sale need before they start: keys, the control document, topics. For places without an
    /// operator.
    Prepare(prepare::Options),
    /// Puts products on sale that are not there yet, once inventory answers. For places without an operator.
    Catalogue(prepare::CatalogueOptions),
    /// Whether the process that runs in this container is ready.
    Healthy(healthy::Options),
    /// Stands in for a provider of payments, for development.
    Payments(payments::Options),
    /// Checks the books of a sale: ledger, stock, reservations and orders.
    Audit(audit::Options),
    /// Messages that were given up on: list, show, replay, discard.
    #[command(subcommand)]
    DeadLetters(dead_letters::Command),
    /// Says what a sale needs in cores, partitions, memory and disk, by what was measured.
    Sizing(sizing::Options),
    /// Orders as a crowd does, and says what the sale holds. For rehearsals.
    Rehearse(rehearse::Options),
    /// Prints the reference of the metrics.
    Metrics,
    /// Prints the OpenAPI document.
    Openapi {
        /// As a reference for people instead of JSON.
        #[arg(long)]
        markdown: bool,
    },
    /// Prints what completes this command in a shell.
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Prints a page for `man`.
    Man(Page),
}

#[derive(Debug, Args)]
struct Files {
    /// The configuration of the sale.
    #[arg(long, env = "QUICKSALE_CONFIG", default_value = paths::CONFIG)]
    config: PathBuf,
    /// The control document of the sale.
    #[arg(long, env = "QUICKSALE_CONTROL", default_value = paths::CONTROL)]
    control: PathBuf,
    /// The directory of keys.
    #[arg(long, env = "QUICKSALE_KEYS", default_value = paths::KEYS)]
    keys: PathBuf,
    /// Listens here instead of the service's own port.
    #[arg(long)]
    port: Option<u16>,
    /// Serves `/livez`, `/readyz` and `/metrics` here instead of the configured port.
    #[arg(long)]
    admin_port: Option<u16>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Gateway(files) => serve(Role::Gateway, files).await,
        Command::Auth(files) => serve(Role::Auth, files).await,
        Command::Inventory(files) => serve(Role::Inventory, files).await,
        Command::Order(files) => serve(Role::Order, files).await,
        Command::Processor(files) => serve(Role::Processor, files).await,
        Command::Notifier(files) => serve(Role::Notifier, files).await,
        Command::Dev(options) => dev::run(options).await,
        Command::Console(options) => Box::pin(console::run(options)).await,
        Command::Prepare(options) => prepare::run(options).await,
        Command::Catalogue(options) => prepare::run_catalogue(options).await,
        Command::Healthy(options) => healthy::run(options).await,
        Command::Payments(options) => payments::run(options).await,
        Command::Audit(options) => audit::run(options).await,
        Command::DeadLetters(command) => dead_letters::run(command).await,
        Command::Rehearse(options) => rehearse::run(options).await,
        Command::Sizing(options) => sizing::print(options),
        Command::Metrics => metrics_reference::print(),
        Command::Openapi { markdown } => api_document::print(markdown),
        Command::Completions { shell } => {
            print!("{}", command_line::completions(named(), shell));
            Ok(ExitCode::SUCCESS)
        }
        Command::Man(page) => command_line::man(named(), &page).map_or_else(
            |error| Err(error.into()),
            |page| {
                print!("{page}");
                Ok(ExitCode::SUCCESS)
            },
        ),
    };
    done.unwrap_or_else(|error| {
        eprintln!("quicksale: {error:#}");
        ExitCode::FAILURE
    })
}

/// The command line under the name that the executable has.
fn named() -> clap::Command {
    Cli::command().name("quicksale")
}

async fn serve(role: Role, files: Files) -> anyhow::Result<ExitCode> {
    telemetry::init(LogFormat::Ecs { service: role.name() });
    let Files {
        config,
        control,
        keys,
        port,
        admin_port,
    } = files;
    raise_open_files();
    let mut config = Config::read(&config)?;
    config.http.admin_port = admin_port.unwrap_or(config.http.admin_port);
    start_traces(role.name(), &config);
    let mut process = Process::new(config, &control, keys, Overrides { port }).await?;
    process.add(role).await?;
    process.run().await
}

/// Traces where it was asked for. A sale goes on without them.
fn start_traces(service: &'static str, config: &Config) {
    if let Err(error) = traces::start(service, &config.sale, config.tracing.as_ref()) {
        tracing::error!(%error, "nothing is traced");
    }
}

/// Asks for as many open files as the process may have. The usual 1,024 are fewer than the connections that a listener
/// takes, which are all files.
fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => tracing::info!(from = current, to = maximum, "open files"),
        Err(error) => tracing::warn!(%error, allowed = current, "cannot ask for more open files"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn completions_and_the_page_have_every_subcommand() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let script = command_line::completions(named(), shell);
            for subcommand in named().get_subcommands() {
                assert!(
                    script.contains(subcommand.get_name()),
                    "{shell:?}: {}",
                    subcommand.get_name()
                );
            }
        }
        let page = command_line::man(named(), &Page::default()).unwrap();
        for subcommand in named().get_subcommands() {
            // roff writes a hyphen as \-.
            let name = subcommand.get_name().replace('-', "\\-");
            assert!(page.contains(&name), "{name}");
        }
    }
}
