//! `quicksale audit`: checks the books of a sale from where its services run.

use crate::sale_database::{Sale, SaleOptions};
use anyhow::Context;
use clap::Args;
use inventory::{audit::full::Audits, on_the_way::OnTheWay, store::Store};
use platform::{backends::Credentials, clock::Clock};
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

/// Ends with 0 where the books agree, with 2 where they differ, and with 1 where nobody knows. What it has found is kept, and halts the
/// sale or lets it go on like an audit that was asked for over HTTP.
pub(crate) async fn run(options: Options) -> anyhow::Result<ExitCode> {
    let sale = Sale::open(&options.sale).await?;
    let begun = std::time::Instant::now();
    let store = Store::new(&sale.database, sale.transactions.clone());
    let on_the_way = OnTheWay::new(&sale.database, Credentials::from_env()?.kafka, &sale.config);
    let audits = Audits::new(store, &sale.database, on_the_way, Clock::System);
    let record = audits
        .audit_and_keep()
        .await
        .context("what was found could not be kept")?;
    let name = sale.config.sale.to_string();
    sale.close().await?;
    let found = record.audit.with_context(|| {
        let why = record.failure.unwrap_or_default();
        format!("the books could not be read: {why}")
    })?;
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
        if found.moving > 0 {
            println!(
                "{} orders wait for messages that are on their way; audit again later.",
                found.moving
            );
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
