//! `quicksale-bench`: measures a running QuickSale on loopback.
//!
//! - [`scenario`] names what is measured and with how much load;
//! - buyers, gateways and orders come from [`quicksale_load`];
//! - [`pages`] are storefronts that are open meanwhile;
//! - [`login`] logs accounts in, as often as it can;
//! - [`memory`] is what sockets, buyers and orders in flight take of it;
//! - [`marks`] notes on the way what the first and the last orders cost;
//! - [`sale_page`] asks for the sale as often as it can;
//! - [`sample`] listens on the WebSocket of some of the buyers for the end of their orders;
//! - [`settle`] follows the product until every accepted order has its units, and checks the account;
//! - [`backends`] asks MongoDB and Redis what they have counted;
//! - [`metrics`] asks the services what they have counted, [`counted`] and [`stages`] are what is looked at of it;
//! - [`processes`] reads CPU and memory of every process from `/proc`;
//! - [`tail`] tells when the slowest answers were;
//! - [`run`] puts one scenario together, [`report`] prints and writes what came of it.
//!
//! Latencies count from the moment at which an order was meant to start, so that a system that stalls cannot make the
//! generator wait and the figures look good.

mod backends;
mod client;
mod counted;
mod environment;
mod login;
mod marks;
mod memory;
mod metrics;
mod options;
mod pages;
mod processes;
mod report;
mod run;
mod sale_page;
mod sample;
mod scenario;
mod settle;
mod stages;
mod tail;

use clap::Parser;
use options::Options;
use quicksale_load::{buyers, doors, orders as load, wire};
use std::process::ExitCode;

/// The same as that of the services: what the load costs is taken from what it measures.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    match run::all(&Options::parse()).await {
        Ok(violations) if violations.is_empty() => ExitCode::SUCCESS,
        Ok(violations) => {
            for violation in violations {
                eprintln!("violated: {violation}");
            }
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("quicksale-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}
