//! `quicksale audit`: checks the books of a sale from where its services run.

use crate::sale_database::{Sale, SaleOptions};
use anyhow::Context;
use clap::Args;
use inventory::{audit, store::Store};
use platform::clock::Clock;
use std::process::ExitCode;

/// Which sale, and how it is said.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    sale: SaleOptions,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

/// Ends with 0 where the books agree, with 2 where they differ, and with 1 where nobody knows.
pub(crate) async fn run(options: Options) -> anyhow::Result<ExitCode> {
    let sale = Sale::open(&options.sale).await?;
    let begun = std::time::Instant::now();
    let store = Store::new(&sale.database, sale.transactions.clone());
    let found = audit::run(&store, Clock::System.now())
        .await
        .context("the books could not be read")?;
    let name = sale.config.sale.to_string();
    sale.close().await?;
    if options.json {
        println!("{}", serde_json::to_string_pretty(&found)?);
    } else {
        println!(
            "{}: {} products, {} entries of the ledger, {} orders and {} reservations in {:.1} s",
            name,
            found.products,
            found.entries,
            found.orders,
            found.reservations,
            begun.elapsed().as_secs_f64()
        );
        for difference in &found.differences {
            println!("  {difference}");
        }
        match (found.agrees(), found.more) {
            (true, _) => println!("The books agree."),
            (false, false) => println!("{} differences.", found.differences.len()),
            (false, true) => println!("More than {} differences.", found.differences.len()),
        }
    }
    Ok(if found.agrees() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(2)
    })
}
