//! `quicksale sizing`: what a sale needs, by what was measured. The model is told in docs/sizing.md.

mod bounds;
mod costs;
mod cpu;
mod demand;
mod limits;
mod model;
#[cfg(test)]
mod page;
mod quantity;
mod sale;
mod table;

use clap::Args;
use sale::Sale;
use std::process::ExitCode;

/// Which sale, and how it is said.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    sale: Sale,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

/// Prints the plan.
pub(crate) fn print(options: Options) -> anyhow::Result<ExitCode> {
    let plan = model::plan(options.sale, &costs::MEASURED);
    if options.json {
        println!("{}", serde_json::to_string_pretty(&plan)?);
    } else {
        print!("{plan}");
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use costs::{Costs, Figure, Split, cpu};
    use quantity::{Bytes, Cores, CpuPerThousand, PerSecond};

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        options: Options,
    }

    fn parse(flags: &str) -> Result<Options, clap::Error> {
        // A flag of a test stands instead of one that came before it.
        let command = <Cli as clap::CommandFactory>::command().args_override_self(true);
        let matches = command.try_get_matches_from(["sizing"].into_iter().chain(flags.split_whitespace()))?;
        <Cli as clap::FromArgMatches>::from_arg_matches(&matches).map(|cli| cli.options)
    }

    /// The sale of these flags.
    pub(super) fn sale(flags: &str) -> Sale {
        parse(flags).unwrap().sale
    }

    /// Costs with nothing left out, in numbers that a hand can reckon with.
    pub(super) fn invented() -> Costs {
        Costs {
            accepted: figure(cpu([0.3, 0.2, 0.1, 0.05])),
            accepted_of_many: figure(cpu([0.4, 0.3, 0.05, 0.06])),
            refused_first: figure(cpu([0.1, 0.01, 0.0, 0.03])),
            refused_again: figure(cpu([0.08, 0.01, 0.0, 0.02])),
            page_view: figure(CpuPerThousand(0.03)),
            log: figure(Bytes(9_000.0)),
            log_of_many: figure(Bytes(10_000.0)),
            pace: figure(PerSecond(2_000.0)),
            pace_of_many: figure(PerSecond(1_600.0)),
            pace_of_a_thousand: figure(PerSecond(1_000.0)),
            partitions: 4.0,
            login: Some(figure(cpu([50.0, 2.0, 0.0, 0.1]))),
            socket_opened: Some(figure(cpu([0.4, 0.5, 0.0, 0.01]))),
            pushed: Some(figure(CpuPerThousand(0.05))),
            ping: Some(figure(CpuPerThousand(0.02))),
            split: Some(figure(Split {
                gateway: 0.4,
                order: 0.3,
                inventory: 0.1,
                processor: 0.1,
                notifier: 0.1,
            })),
            stored: Some(figure(Bytes(2_000.0))),
            records: Some(figure(Bytes(1_500.0))),
            remembered: Some(figure(Bytes(500.0))),
            socket: Some(figure(Bytes(1_000.0))),
            connection: Some(figure(Bytes(2_000.0))),
        }
    }

    fn figure<T: Copy>(is: T) -> Figure<T> {
        costs::figure("invented", is)
    }

    /// Two numbers of cores that differ by no more than floating point does.
    pub(super) fn near(cores: Cores, expected: f64) {
        assert!(
            (cores.0 - expected).abs() < 1e-9,
            "{} and not {expected}",
            cores.0
        );
    }

    #[test]
    fn what_cannot_be_is_refused_by_the_name_of_its_flag() {
        let wrong = [
            "--buyers 0",
            "--buyers many",
            "--window 0",
            "--window 86401",
            "--units 0",
            "--products 0",
            "--page-views 1.5",
            "--sockets 1.5",
            "--sockets NaN",
            "--logins 1.01",
            "--tries 0",
            "--utilisation 0",
            "--utilisation 60",
        ];
        for flags in wrong {
            let error = parse(flags).unwrap_err().to_string();
            let flag = flags.split(' ').next().unwrap();
            assert!(error.contains(flag), "{flags}: {error}");
        }
    }

    #[test]
    fn as_json_it_says_null_for_what_was_not_measured() {
        let costs = Costs {
            socket: None,
            ..invented()
        };
        let json = serde_json::to_value(model::plan(sale(""), &costs)).unwrap();
        assert_eq!(json["sale"]["units"], 50_000);
        assert_eq!(json["room"]["socketsMemory"], serde_json::Value::Null);
        assert_eq!(json["room"]["stored"], 100_000_000.0);
        assert_eq!(json["limits"][0]["known"], "measured");
    }
}
