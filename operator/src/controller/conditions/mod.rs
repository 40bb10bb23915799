//! What is said of a sale: every condition, each from the facts that it stands for.

mod backends;
mod drain;
mod load;
mod services;
mod steering;
mod stock;
mod summary;

pub use backends::{of_backends, of_processes};
pub use drain::settled;
pub use load::rehearsed;
pub use services::{PAUSED, ROLLOUT_HELD, afterwards, paused, up_to_date};
pub use steering::{NOT_REQUESTED, RESUMING, clocks, control_in_force, halted};
pub use stock::CHANGE_HELD;
pub use summary::{LAPSE, Summary};

use super::{evidence::Knowledge, status::Finding};
use crds::status::ConditionType;

/// The most of several things that a condition tells of.
const TOLD: usize = 3;
/// The most characters of one sentence of others that a condition repeats.
const SENTENCE: usize = 300;

/// The conditions that follow from what is known of a sale whose services are there.
pub fn of(known: &Knowledge) -> Vec<Finding> {
    let mut findings = of_backends(&known.brought.backends);
    findings.push(services::workloads(&known.rolled_out, &known.hindered));
    match &known.brought.catalogue {
        Err(error) => findings.push(Finding::new(
            ConditionType::CatalogReady,
            false,
            "InventoryNoAnswer",
            error.to_string(),
        )),
        Ok(catalogue) => {
            findings.push(stock::catalogue(catalogue));
            findings.extend(stock::conserved(catalogue, &known.books, known.at));
        }
    }
    findings
}

/// The first few of several, and how many more there are.
fn some(all: &[String]) -> String {
    let told = all
        .iter()
        .take(TOLD)
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(", ");
    match all.len().saturating_sub(TOLD) {
        0 => told,
        more => format!("{told} and {more} more"),
    }
}

/// As much of a sentence as a condition has room for.
fn first(sentence: &str) -> String {
    sentence.chars().take(SENTENCE).collect()
}
