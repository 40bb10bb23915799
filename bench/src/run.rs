//! Runs scenarios one after the other.

use crate::{
    buyers::Mint,
    client::{Client, Numbers, Verdict},
    environment::Environment,
    load::{Crowd, Shot},
    options::Options,
    pages::Pages,
    processes::{self, Watched},
    report::{self, Figures, Observed},
    sample::Sample,
    scenario::{self, Name, Scenario},
    settle, tail,
};
use anyhow::bail;
use clap::ValueEnum;
use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::watch;

/// How long a new product may take to be on sale in every service.
const ON_SALE_WITHIN: Duration = Duration::from_secs(20);
/// After a product shows in one place, the others follow by their own refresh of half a second.
const EVERYWHERE_AFTER: Duration = Duration::from_millis(1_500);
/// How long the last updates may take to reach the sockets once all units are sold.
const LAST_UPDATES: Duration = Duration::from_secs(30);

struct Bench<'a> {
    options: &'a Options,
    client: Client,
    mint: Mint,
    watched: Vec<Watched>,
    run: String,
}

/// Runs what the options ask for, prints and writes the results, and returns what was violated.
pub(crate) async fn all(options: &Options) -> anyhow::Result<Vec<String>> {
    let mut watched = options.processes.clone();
    watched.push(Watched::itself());
    processes::usage(&watched)?;
    let bench = Bench {
        options,
        client: Client::new(options),
        mint: Mint::read(&options.keys)?,
        watched,
        run: format!("{:x}", jiff::Timestamp::now().as_millisecond()),
    };
    let environment = Environment::here(&options.versions);
    println!("{}", environment.line());
    if options.warm_up_orders > 0 {
        let (_unmeasured, violations) = bench.measure(scenario::warm_up(options)).await?;
        if !violations.is_empty() {
            return Ok(violations);
        }
    }
    let names = if options.scenarios.is_empty() {
        Name::value_variants()
    } else {
        &options.scenarios
    };
    let (mut figures, mut violations) = (Vec::new(), Vec::new());
    for name in names {
        let (measured, found) = bench.measure(name.with(options)).await?;
        figures.push(measured);
        violations.extend(found);
        // After each, so that an interrupted run leaves what it has.
        report::write(&options.out, &figures, &environment)?;
        // A system that broke its promises, or still has work of this scenario, would give the next one false figures.
        if !violations.is_empty() {
            break;
        }
    }
    println!("\n{}", report::table(&figures));
    Ok(violations)
}

impl Bench<'_> {
    async fn measure(&self, scenario: Scenario) -> anyhow::Result<(Figures, Vec<String>)> {
        println!("{}: {} orders", scenario.label, scenario.load.orders());
        let run = format!("{}-{}", self.run, scenario.label);
        let stock = i64::from(scenario.stock);
        let books_before = settle::closed_books(&self.client, &self.mint).await?;
        let product = self.product(&run, scenario.stock).await?;
        let buyers = self.mint.buyers(&run, scenario.load.orders())?;
        let every = if scenario.pages > 0 {
            1
        } else {
            self.options.sample_every
        };
        let sample = Sample::connect(self.options.notifier, &buyers, every).await?;
        let pages = Pages::open(&self.client, scenario.pages);
        let crowd = Arc::new(Crowd {
            buyers,
            product: product.clone(),
            client: self.client.clone(),
        });

        let before = processes::usage(&self.watched)?;
        let (expect, expected) = watch::channel(None);
        let follower = tokio::spawn(settle::follow(self.client.clone(), product, stock, expected));
        let shots = scenario.load.fire(&crowd).await;
        let seen = pages.close().await;
        if scenario.pages > 0 {
            println!("{}: {}", scenario.label, seen.line()?);
        }
        if let Some(line) = tail::line(&shots) {
            println!("{}: {line}", scenario.label);
        }
        let tally = Tally::of(&shots);
        expect.send_replace(Some(tally.accepted.min(stock)));
        let course = follower.await?;
        let after = processes::usage(&self.watched)?;

        let waiting: HashSet<usize> = sample.buyers().iter().copied().collect();
        let accepted_sample: Vec<usize> = shots
            .iter()
            .filter(|shot| shot.verdict == Verdict::Accepted && waiting.contains(&shot.buyer))
            .map(|shot| shot.buyer)
            .collect();
        let ends = sample.ends(&accepted_sample, LAST_UPDATES).await;
        let books = settle::closed_books(&self.client, &self.mint).await?;

        let mut violations: Vec<String> = course.violations.iter().cloned().collect();
        violations.extend(tally.violations(stock, course.sold, books_before, books));
        let untold = accepted_sample
            .iter()
            .filter(|buyer| !ends.contains_key(buyer))
            .count();
        if untold > 0 {
            violations.push(format!(
                "{untold} of {} buyers were not told the outcome",
                accepted_sample.len()
            ));
        }
        let observed = Observed {
            scenario,
            shots: &shots,
            ends: &ends,
            course: &course,
            before: &before,
            after: &after,
        };
        let violations = violations
            .into_iter()
            .map(|what| format!("{}: {what}", scenario.label))
            .collect();
        Ok((observed.figures()?, violations))
    }

    /// A product of its own for each scenario, on sale everywhere.
    async fn product(&self, run: &str, stock: u32) -> anyhow::Result<String> {
        let product = self
            .client
            .create_product(&self.mint.admin()?, &format!("BENCH-{run}"), stock)
            .await?;
        let deadline = Instant::now() + ON_SALE_WITHIN;
        while !self.client.is_on_sale(&product).await? {
            if Instant::now() > deadline {
                bail!(
                    "the product BENCH-{run} is not on sale after {} s",
                    ON_SALE_WITHIN.as_secs()
                );
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        tokio::time::sleep(EVERYWHERE_AFTER).await;
        Ok(product)
    }
}

/// Orders by what was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Tally {
    accepted: i64,
    unknown: i64,
}

impl Tally {
    fn of(shots: &[Shot]) -> Self {
        let count = |wanted: fn(&Verdict) -> bool| {
            i64::try_from(shots.iter().filter(|shot| wanted(&shot.verdict)).count()).unwrap_or(i64::MAX)
        };
        Self {
            accepted: count(|verdict| *verdict == Verdict::Accepted),
            unknown: count(|verdict| matches!(verdict, Verdict::Unknown(_))),
        }
    }

    /// What does not add up between the answers, the product and the orders.
    fn violations(self, stock: i64, sold: i64, before: Numbers, after: Numbers) -> Vec<String> {
        let grown =
            |from: u64, to: u64| i64::try_from(to).unwrap_or(i64::MAX) - i64::try_from(from).unwrap_or(0);
        let (accepted, confirmed) = (
            grown(before.accepted, after.accepted),
            grown(before.confirmed, after.confirmed),
        );
        let (least, most) = (self.accepted, self.accepted.saturating_add(self.unknown));
        let mut found = Vec::new();
        if sold > stock {
            found.push(format!("oversold: {sold} of {stock} units"));
        }
        if !(least..=most).contains(&accepted) {
            found.push(format!(
                "{accepted} orders are stored, and from {least} to {most} were accepted"
            ));
        }
        if sold != confirmed {
            found.push(format!(
                "{sold} units are sold, and {confirmed} orders of one unit are confirmed"
            ));
        }
        if after.pending > 0 {
            found.push(format!("{} accepted orders were never decided", after.pending));
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn books(accepted: u64, confirmed: u64, pending: u64) -> Numbers {
        Numbers {
            accepted,
            pending,
            confirmed,
            outbox: 0,
            lag: 0,
        }
    }

    #[test]
    fn books_that_agree_are_no_violation() {
        let tally = Tally {
            accepted: 100,
            unknown: 2,
        };
        assert!(
            tally
                .violations(50, 50, books(10, 5, 0), books(111, 55, 0))
                .is_empty()
        );
    }

    #[test]
    fn whatever_does_not_add_up_is_named() {
        let tally = Tally {
            accepted: 100,
            unknown: 0,
        };
        for (sold, after, word) in [
            (51, books(100, 51, 0), "oversold"),
            (50, books(99, 50, 0), "stored"),
            (50, books(100, 49, 0), "confirmed"),
            (50, books(100, 50, 3), "never decided"),
        ] {
            let found = tally.violations(50, sold, books(0, 0, 0), after);
            assert!(found.len() == 1 && found[0].contains(word), "{found:?}");
        }
    }
}
