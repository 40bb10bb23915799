//! Runs scenarios one after the other.

use crate::{
    backends::Backends,
    buyers::{Buyer, Mint},
    client::{Client, Numbers},
    counted,
    doors::Doors,
    environment::Environment,
    load::{Crowd, Key, Load, Shot, Verdict},
    login,
    marks::Marks,
    memory::{Memory, Moments},
    metrics::Metrics,
    options::Options,
    pages::Pages,
    processes::{self, Watched},
    report::{self, Figures, Observed},
    sale_page,
    sample::Sample,
    scenario::{self, Listeners, Name, Prelude, Scenario},
    settle::{self, Followed},
    stages, tail,
};
use anyhow::bail;
use clap::ValueEnum;
use std::{
    collections::HashSet,
    sync::{Arc, atomic::AtomicUsize},
    time::{Duration, Instant},
};
use tokio::sync::watch;

/// How long a new product may take to be on sale in every service.
const ON_SALE_WITHIN: Duration = Duration::from_secs(20);
/// After a product shows in one place, the others follow by their own refresh of half a second.
const EVERYWHERE_AFTER: Duration = Duration::from_millis(1_500);
/// How long the last updates may take to reach the sockets once all units are sold.
const LAST_UPDATES: Duration = Duration::from_secs(30);

/// Buyers who listen where not all do.
const MOST_SAMPLED: usize = 2_000;

struct Bench<'a> {
    options: &'a Options,
    client: Client,
    mint: Mint,
    watched: Vec<Watched>,
    backends: Backends,
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
        backends: Backends::connect(options).await?,
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
    let (mut figures, mut violations) = (Vec::<Figures>::new(), Vec::new());
    for name in names {
        if *name == Name::SalePage {
            println!("{}", sale_page::measure(options, &bench.watched).await?);
            continue;
        }
        if *name == Name::Login {
            println!("{}", login::measure(options, &bench.run, &bench.watched).await?);
            continue;
        }
        let hot = figures.iter().find(|measured| measured.name == Name::Hot.label());
        let scenario = name.with(options, hot.map(|measured| measured.confirmed_per_s));
        let (measured, found) = bench.measure(scenario).await?;
        println!("{}", report::line(&measured));
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
        let books_before = settle::closed_books(&self.client, &self.mint).await?;
        let products = self.products(&run, scenario).await?;
        let settled = processes::usage(&self.watched)?;
        let (buyers, sample) = self.buyers(&run, scenario).await?;
        let with_sockets = processes::usage(&self.watched)?;
        let new_buyers = buyers.len();
        let pages = Pages::open(&self.client, scenario.pages);
        let crowd = Arc::new(Crowd {
            buyers,
            key: scenario.key,
            products: products.clone(),
            items: scenario.items as usize,
            host: "quicksale".to_owned(),
            doors: Doors::new(&self.options.gateways),
            answered: AtomicUsize::new(0),
        });
        let followed = Followed {
            products,
            stock: i64::from(scenario.stock),
        };
        let ahead = self.prelude(&run, scenario, &crowd, &followed).await?;

        let before = processes::usage(&self.watched)?;
        let counts_before = self.backends.counts().await?;
        let metrics_before = Metrics::read(&self.client, &self.options.metrics).await?;
        let (expect, expected) = watch::channel(None);
        let follower = tokio::spawn(settle::follow(self.client.clone(), followed.clone(), expected));
        let marks = Marks::watch(Arc::clone(&crowd), self.watched.clone());
        let shots = scenario.load.fire(&crowd).await;
        let seen = pages.close().await;
        if scenario.pages > 0 {
            println!("{}: {}", scenario.label, seen.line()?);
        }
        if let Some(line) = tail::line(&shots) {
            println!("{}: {line}", scenario.label);
        }
        let tally = Tally::of(&shots);
        let all = tally.and(ahead);
        let units = all.accepted * i64::from(scenario.items);
        expect.send_replace(Some(units.min(followed.units())));
        let mut course = follower.await?;
        let after = processes::usage(&self.watched)?;
        let counts_after = self.backends.counts().await?;
        let noted = marks.end().await;
        for line in noted.lines() {
            println!("{}: {line}", scenario.label);
        }
        let moments = Moments {
            settled: &settled,
            with_sockets: &with_sockets,
            at_most: &noted.at_most(),
            at_the_end: &after,
        };
        let in_flight = scenario.load.in_flight() as usize;
        let memory = Memory::of(&moments, sample.buyers().len(), in_flight, new_buyers);

        let waiting: HashSet<usize> = sample.buyers().iter().copied().collect();
        let accepted_sample: Vec<usize> = shots
            .iter()
            .filter(|shot| shot.verdict == Verdict::Accepted && waiting.contains(&shot.buyer))
            .map(|shot| shot.buyer)
            .collect();
        let ends = sample.ends(&accepted_sample, LAST_UPDATES).await;
        let books = settle::closed_books(&self.client, &self.mint).await?;
        let metrics = Metrics::read(&self.client, &self.options.metrics).await?;
        let metrics = metrics.since(&metrics_before);
        let mut counts = counts_after.for_each_order_since(&counts_before, shots.len());
        counts.extend(counted::for_each_order(&metrics, shots.len()));

        let mut violations: Vec<String> = course.violations.iter().cloned().collect();
        let sold = Sold {
            units: course.sold,
            at_most: followed.units(),
            in_an_order: i64::from(scenario.items),
        };
        violations.extend(all.violations(sold, books_before, books));
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
        course.sold = (course.sold / i64::from(scenario.items)).saturating_sub(ahead.accepted);
        let observed = Observed {
            scenario,
            shots: &shots,
            ends: &ends,
            course: &course,
            before: &before,
            after: &after,
            counts,
            stages: stages::gone_through(&metrics),
            memory,
        };
        let violations = violations
            .into_iter()
            .map(|what| format!("{}: {what}", scenario.label))
            .collect();
        Ok((observed.figures()?, violations))
    }

    /// The buyers of a scenario, and those of them who listen.
    async fn buyers(&self, run: &str, scenario: Scenario) -> anyhow::Result<(Vec<Buyer>, Sample)> {
        let buyers = self.mint.buyers(run, scenario.buyers())?;
        let (every, at_most) = match scenario.listeners {
            Listeners::Sample => (self.options.sample_every, MOST_SAMPLED),
            Listeners::All => (1, buyers.len()),
            Listeners::None => (1, 0),
        };
        let sample = Sample::connect(&self.options.notifiers, &buyers, every, at_most).await?;
        Ok((buyers, sample))
    }

    /// What goes ahead of what is measured, until it is settled.
    async fn prelude(
        &self,
        run: &str,
        scenario: Scenario,
        crowd: &Arc<Crowd>,
        followed: &Followed,
    ) -> anyhow::Result<Tally> {
        let mut ahead = Tally::default();
        if matches!(scenario.prelude, Prelude::LastUnit | Prelude::LastUnitAndATry) {
            let first = Crowd {
                buyers: self.mint.buyers(&format!("{run}-first"), 1)?,
                ..crowd.with(Key::New)
            };
            ahead = ahead.and(Tally::of(&[first.shoot(0, Instant::now()).await]));
            self.settle(ahead.accepted, followed).await?;
        }
        if matches!(scenario.prelude, Prelude::LastUnitAndATry | Prelude::FirstOrders) {
            let buyers = u32::try_from(crowd.buyers.len())?;
            let each_once = Load::Closed {
                in_flight: 256,
                orders: buyers,
                at_most_seconds: 120,
            };
            // Under keys of their own, where they come again under new ones.
            let crowd = Arc::new(Crowd {
                buyers: crowd
                    .buyers
                    .iter()
                    .map(|buyer| buyer.first(scenario.key))
                    .collect(),
                ..crowd.with(Key::Same)
            });
            ahead = ahead.and(Tally::of(&each_once.fire(&crowd).await));
            self.settle(ahead.accepted * i64::from(scenario.items), followed)
                .await?;
        }
        Ok(ahead)
    }

    async fn settle(&self, units: i64, followed: &Followed) -> anyhow::Result<()> {
        let (_expect, expected) = watch::channel(Some(units));
        let course = settle::follow(self.client.clone(), followed.clone(), expected).await;
        if let Some(violation) = course.violations.first() {
            bail!("what goes ahead did not come to an end: {violation}");
        }
        // The gateways hear of it within half a second.
        tokio::time::sleep(EVERYWHERE_AFTER).await;
        Ok(())
    }

    /// Products of its own for each scenario, on sale everywhere.
    async fn products(&self, run: &str, scenario: Scenario) -> anyhow::Result<Vec<String>> {
        let admin = self.mint.admin()?;
        let mut products = Vec::with_capacity(scenario.products as usize);
        for number in 0..scenario.products {
            let sku = format!("BENCH-{run}-{number}");
            let limit = scenario.limit;
            products.push(
                self.client
                    .create_product(&admin, &sku, scenario.stock, limit)
                    .await?,
            );
        }
        let deadline = Instant::now() + ON_SALE_WITHIN;
        while !self.client.are_on_sale(&products).await? {
            if Instant::now() > deadline {
                bail!(
                    "not all products of {run} are on sale after {} s",
                    ON_SALE_WITHIN.as_secs()
                );
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        tokio::time::sleep(EVERYWHERE_AFTER).await;
        Ok(products)
    }
}

impl Followed {
    /// Units of all products.
    fn units(&self) -> i64 {
        let products = i64::try_from(self.products.len()).unwrap_or(i64::MAX);
        self.stock.saturating_mul(products)
    }
}

/// Orders by what was answered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Tally {
    accepted: i64,
    unknown: i64,
}

/// What was sold.
#[derive(Debug, Clone, Copy)]
struct Sold {
    units: i64,
    /// Units that there were.
    at_most: i64,
    /// Units of each order.
    in_an_order: i64,
}

impl Tally {
    fn and(self, other: Self) -> Self {
        Self {
            accepted: self.accepted + other.accepted,
            unknown: self.unknown + other.unknown,
        }
    }

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
    fn violations(self, sold: Sold, before: Numbers, after: Numbers) -> Vec<String> {
        let grown =
            |from: u64, to: u64| i64::try_from(to).unwrap_or(i64::MAX) - i64::try_from(from).unwrap_or(0);
        let (accepted, confirmed) = (
            grown(before.accepted, after.accepted),
            grown(before.confirmed, after.confirmed),
        );
        let (least, most) = (self.accepted, self.accepted.saturating_add(self.unknown));
        let mut found = Vec::new();
        if sold.units > sold.at_most {
            found.push(format!("oversold: {} of {} units", sold.units, sold.at_most));
        }
        if !(least..=most).contains(&accepted) {
            found.push(format!(
                "{accepted} orders are stored, and from {least} to {most} were accepted"
            ));
        }
        if sold.units != confirmed * sold.in_an_order {
            found.push(format!(
                "{} units are sold, and {confirmed} orders of {} units are confirmed",
                sold.units, sold.in_an_order
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

    fn sold(units: i64) -> Sold {
        Sold {
            units,
            at_most: 50,
            in_an_order: 1,
        }
    }

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
                .violations(sold(50), books(10, 5, 0), books(111, 55, 0))
                .is_empty()
        );
    }

    #[test]
    fn whatever_does_not_add_up_is_named() {
        let tally = Tally {
            accepted: 100,
            unknown: 0,
        };
        for (units, after, word) in [
            (51, books(100, 51, 0), "oversold"),
            (50, books(99, 50, 0), "stored"),
            (50, books(100, 49, 0), "confirmed"),
            (50, books(100, 50, 3), "never decided"),
        ] {
            let found = tally.violations(sold(units), books(0, 0, 0), after);
            assert!(found.len() == 1 && found[0].contains(word), "{found:?}");
        }
    }
}
