//! `quicksale dead-letters`: messages that were given up on, from where the order service runs.

use crate::sale_database::{Sale, SaleOptions};
use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use events::{
    dead_letters::{Action, DeadLetter, DeadLetters, Undone},
    outbox::Outbox,
};
use futures::FutureExt;
use mongodb::bson::DateTime;
use std::process::ExitCode;

/// Letters in a list.
const LISTED: i64 = 100;

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Lists those that nothing was done about.
    List(List),
    /// Shows one whole.
    Show(One),
    /// Sends one to its topic once more.
    Replay(One),
    /// Says that nobody will do anything about one.
    Discard(One),
}

/// Which ones.
#[derive(Debug, Args)]
pub(crate) struct List {
    #[command(flatten)]
    sale: SaleOptions,
    /// Also those that something was done about.
    #[arg(long)]
    all: bool,
    /// Those behind this id.
    #[arg(long)]
    after: Option<String>,
}

/// Which one.
#[derive(Debug, Args)]
pub(crate) struct One {
    #[command(flatten)]
    sale: SaleOptions,
    /// Its id, as the list has it.
    id: String,
}

pub(crate) async fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::List(list) => self::list(list).await?,
        Command::Show(one) => show(one).await?,
        Command::Replay(one) => act(one, Action::Replayed).await?,
        Command::Discard(one) => act(one, Action::Discarded).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(list: List) -> Result<()> {
    let sale = Sale::open(&list.sale).await?;
    let letters = DeadLetters::new(&sale.database);
    let found = letters
        .page(list.all, list.after, LISTED)
        .await
        .context("the dead letters could not be read")?;
    for letter in &found {
        println!("{}", line(letter));
    }
    match found.last() {
        None => println!("There are none."),
        Some(last) if i64::try_from(found.len()).is_ok_and(|found| found == LISTED) => {
            println!("There may be more: --after '{}'", last.id);
        }
        Some(_) => {}
    }
    Ok(())
}

fn line(letter: &DeadLetter) -> String {
    let at = letter.at.try_to_rfc3339_string().unwrap_or_default();
    let deeds: Vec<String> = letter
        .deeds
        .iter()
        .map(|deed| format!(", {} by {}", format!("{:?}", deed.what).to_lowercase(), deed.who))
        .collect();
    format!("{}  {at}  {}{}", letter.id, letter.reason, deeds.concat())
}

async fn show(one: One) -> Result<()> {
    let sale = Sale::open(&one.sale).await?;
    let found = DeadLetters::new(&sale.database)
        .letter(&one.id)
        .await
        .context("the dead letters could not be read")?;
    let Some(letter) = found else {
        bail!(Undone::Unknown);
    };
    println!("{}\norder: {}\n{}", line(&letter), letter.key, letter.text());
    Ok(())
}

async fn act(one: One, what: Action) -> Result<()> {
    let sale = Sale::open(&one.sale).await?;
    let (letters, outbox) = (DeadLetters::new(&sale.database), Outbox::new(&sale.database));
    // Whoever may run commands where the sale runs; who that is the cluster knows.
    let (who, at) = ("command line", DateTime::now());
    let letter = sale
        .transactions
        .run(|session| {
            let (letters, outbox, id) = (letters.clone(), outbox.clone(), one.id.clone());
            async move { letters.act(session, &outbox, &id, what, who, at).await }.boxed()
        })
        .await?;
    sale.close().await?;
    println!("{}", line(&letter));
    Ok(())
}
