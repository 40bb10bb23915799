//! The sale that is asked about, as the command line has it.

use super::quantity::{Part, Utilisation};
use clap::Args;
use serde::Serialize;

/// Whom and what to expect. One unit in each order, and as many buyers in each second as in any other.
#[derive(Debug, Clone, Args, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Sale {
    /// Buyers who come within the window, each of whom wants one unit.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000_000))]
    pub(crate) buyers: u32,
    /// Seconds within which they come.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub(crate) window: u32,
    /// Units on sale, of all products together.
    #[arg(long, default_value_t = 50_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) units: u32,
    /// Products that are wanted alike.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) products: u32,
    /// How often each buyer's page looks at the sale within the window. The storefront does every 2.5 s for who has logged in.
    #[arg(long, value_name = "TIMES", default_value_t = 24, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    pub(crate) page_views: u32,
    /// The part of the buyers who open a WebSocket within the window and keep it, from 0 to 1.
    #[arg(long, value_name = "PART", default_value = "1")]
    pub(crate) sockets: Part,
    /// The part of the buyers who log in within the window, from 0 to 1: the others come with a token.
    #[arg(long, value_name = "PART", default_value = "0")]
    pub(crate) logins: Part,
    /// How often a buyer orders for whom nothing is left, the first time included.
    #[arg(long, value_name = "TIMES", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) tries: u32,
    /// How much of what the cores can do is meant to be used, up to 1.
    #[arg(long, value_name = "PART", default_value = "0.6")]
    pub(crate) utilisation: Utilisation,
}
