//! The command line.

use crate::{processes::Watched, scenario::Name};
use clap::Parser;
use std::{net::SocketAddr, path::PathBuf};

/// Measures a running QuickSale on loopback: orders per second, latencies, CPU and memory.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Options {
    /// The directory with the signing key of the system that is measured.
    #[arg(long)]
    pub(crate) keys: PathBuf,
    /// A gateway. Like the other addresses it must be on loopback: this is a load generator. May be repeated: requests go to each in turn.
    #[arg(long = "gateway", default_value = "127.0.0.1:3000", value_parser = loopback)]
    pub(crate) gateways: Vec<SocketAddr>,
    /// Auth, which accounts log in to past the gateway and its rate limits.
    #[arg(long, default_value = "127.0.0.1:3001", value_parser = loopback)]
    pub(crate) auth: SocketAddr,
    /// The inventory, which is asked for the product's account past the gateway and its rate limits.
    #[arg(long, default_value = "127.0.0.1:3002", value_parser = loopback)]
    pub(crate) inventory: SocketAddr,
    /// The order service, which is asked for the number of orders by state.
    #[arg(long, default_value = "127.0.0.1:3003", value_parser = loopback)]
    pub(crate) order: SocketAddr,
    /// A notifier, whose WebSocket tells the end of an order. May be repeated: sockets are opened to each in turn.
    #[arg(long = "notifier", default_value = "127.0.0.1:3004", value_parser = loopback)]
    pub(crate) notifiers: Vec<SocketAddr>,
    /// A process whose CPU and memory are reported; several of one name are added up, and those of one group, such as
    /// quicksale/gateway-1, also for the group. May be repeated.
    #[arg(long = "process", value_name = "NAME=PID", value_parser = Watched::parse)]
    pub(crate) processes: Vec<Watched>,
    /// The admin address of a process of the services, which is asked what it has counted. May be repeated.
    #[arg(long, value_parser = loopback)]
    pub(crate) metrics: Vec<SocketAddr>,
    /// The connection string of the MongoDB whose counts are shown.
    #[arg(long, env = "MONGODB_URI")]
    pub(crate) mongodb: Option<String>,
    /// The URL of the Redis whose counts are shown.
    #[arg(long, env = "REDIS_URL")]
    pub(crate) redis: Option<String>,
    /// A version to note beside the results. May be repeated.
    #[arg(long = "version-of", value_name = "NAME=VERSION", value_parser = pair)]
    pub(crate) versions: Vec<(String, String)>,
    /// What to measure; everything, when left out. May be repeated.
    #[arg(long = "scenario", value_enum)]
    pub(crate) scenarios: Vec<Name>,
    /// Seconds of hot.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=300))]
    pub(crate) seconds: u32,
    /// Orders per second of steady; half of what hot has confirmed, when left out (500 without hot).
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    pub(crate) rate: Option<u32>,
    /// Seconds of steady and trickle.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=300))]
    pub(crate) open_seconds: u32,
    /// Orders of overlimit, basket, replay, the bursts and the spreads; sold-out and in-flight have twice as many.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(100..=200_000))]
    pub(crate) orders: u32,
    /// Orders that refused-known and refused-fresh refuse.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1_000..=400_000))]
    pub(crate) refusals: u32,
    /// Every so many-th buyer waits on a WebSocket, 2,000 of them at the most; of the storefronts and of sockets each one does.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) sample_every: u32,
    /// Orders that go ahead of the first scenario and are not measured.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    pub(crate) warm_up_orders: u32,
    /// Where results.json and environment.json go.
    #[arg(long, default_value = "bench/out")]
    pub(crate) out: PathBuf,
}

impl Options {
    /// The rate of steady.
    pub(crate) fn steady_rate(&self, confirmed_before: Option<f64>) -> u32 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "some thousand orders a second"
        )]
        let half = confirmed_before.map_or(500, |per_second| (per_second / 2.0).round() as u32);
        self.rate.unwrap_or(half).max(1)
    }
}

fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text
        .parse()
        .map_err(|_| "write an address and a port, such as 127.0.0.1:3000".to_owned())?;
    if address.ip().is_loopback() {
        Ok(address)
    } else {
        Err("only loopback is measured: run the bench on the machine of the system".to_owned())
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VERSION")?;
    Ok((name.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_is_a_target() {
        assert!(loopback("127.0.0.1:3000").is_ok());
        assert!(loopback("[::1]:3000").is_ok());
        for elsewhere in ["10.0.0.1:3000", "0.0.0.0:3000", "example.com:3000", "localhost"] {
            assert!(loopback(elsewhere).is_err(), "{elsewhere}");
        }
    }

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory;
        Options::command().debug_assert();
    }
}
