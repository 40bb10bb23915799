//! A sale as the pages see it.

use jiff::Timestamp;
use order::tally::Counts;
use sale::{SaleId, phase::Phase};
use serde::Serialize;
use std::collections::BTreeMap;

/// A sale in a list.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Which one.
    #[serde(flatten)]
    pub sale: SaleId,
    /// Where it stands.
    pub phase: ShownPhase,
    /// Sale or Rehearsal.
    pub mode: &'static str,
    /// When it opens or opened.
    pub opens_at: Option<Timestamp>,
    /// When it closes or closed.
    pub closes_at: Option<Timestamp>,
    /// Whether new orders are refused, and why.
    pub halt: Halt,
    /// Whether somebody has asked for that; it can be asked for and not be in force yet, and the other way round.
    pub halt_requested: bool,
    /// One sentence on where it stands.
    pub message: String,
    /// Where buyers find it.
    pub url: Option<String>,
    /// Units of all products.
    #[serde(flatten)]
    pub units: Units,
    /// Orders by what has become of them, where that is known.
    pub orders: Option<Counts>,
    /// What is wrong, or may be.
    pub attention: Vec<Condition>,
}

/// Whether new orders are refused while a sale is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Halt {
    /// They are not.
    No,
    /// On request: whoever asked can take that back.
    OnRequest,
    /// Because ledger, stock and orders do not agree; until they do.
    BooksDiffer,
}

/// A phase, or that the object cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum ShownPhase {
    /// One of those a sale goes through.
    Known(Phase),
    /// The object in Kubernetes cannot be read by this version.
    Unreadable(Unreadable),
}

/// How that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Unreadable {
    /// So.
    Unreadable,
}

impl ShownPhase {
    /// What cannot be read.
    pub const UNREADABLE: Self = Self::Unreadable(Unreadable::Unreadable);

    /// Where it stands in a list: what is going on comes first.
    fn rank(self) -> u8 {
        match self {
            Self::Unreadable(_) => 0,
            Self::Known(Phase::Live) => 1,
            Self::Known(Phase::Warming) => 2,
            Self::Known(Phase::Draining) => 3,
            Self::Known(Phase::Pending) => 4,
            Self::Known(Phase::Ended) => 5,
        }
    }
}

impl Summary {
    /// What a list is sorted by: what needs somebody's attention, then by phase, then by name.
    pub fn place_in_list(&self) -> (bool, u8, SaleId) {
        (self.attention.is_empty(), self.phase.rank(), self.sale.clone())
    }
}

/// An account of units: stock = available + reserved + sold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Units {
    /// All.
    pub stock: i64,
    /// Those that can be ordered.
    pub available: i64,
    /// Those held.
    pub reserved: i64,
    /// Those of confirmed orders.
    pub sold: i64,
}

impl std::iter::Sum for Units {
    fn sum<I: Iterator<Item = Self>>(units: I) -> Self {
        units.fold(Self::default(), |sum, one| Self {
            stock: sum.stock + one.stock,
            available: sum.available + one.available,
            reserved: sum.reserved + one.reserved,
            sold: sum.sold + one.sold,
        })
    }
}

/// Something that is known about a sale.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Condition {
    /// What it is about.
    #[serde(rename = "type")]
    pub kind: String,
    /// True, False or Unknown.
    pub status: String,
    /// For programs.
    pub reason: String,
    /// For people.
    pub message: String,
    /// Since when.
    pub since: Option<Timestamp>,
    /// Whether that is as it should be; `None` where it is neither.
    pub good: Option<bool>,
}

/// A sale, and what else is known of it without asking its backends.
#[derive(Debug, Clone, PartialEq)]
pub struct Known {
    /// As in a list.
    pub summary: Summary,
    /// All that is known.
    pub conditions: Vec<Condition>,
    /// The stock of each product as the FlashSale declares it, by SKU; empty where there is none.
    pub declared_stock: BTreeMap<String, i64>,
    /// How long buyers can read their orders after the end.
    pub retain_for: Option<String>,
    /// The name of its report, where there is one.
    pub report: Option<String>,
    /// What a switch changes.
    pub steering: Steering,
}

/// What a switch changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Steering {
    /// The object in Kubernetes; the operator carries it out.
    FlashSale,
    /// The control file of a sale without an operator.
    File,
    /// Nothing can be switched.
    None,
}

/// Something that happened to a sale.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Happening {
    /// When.
    pub at: Timestamp,
    /// What kind of thing.
    pub kind: HappeningKind,
    /// A sentence.
    pub text: String,
    /// Who did it.
    pub who: Option<String>,
    /// More of it.
    pub detail: Option<String>,
}

/// Kinds of what happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum HappeningKind {
    /// The sale was made.
    Created,
    /// It has entered a phase.
    Phase,
    /// A condition has changed.
    Condition,
    /// Kubernetes was told so.
    Event,
    /// Somebody did something in the console.
    Deed,
    /// A message was given up on.
    DeadLetter,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_are_written_as_in_kubernetes() {
        let written = |phase| serde_json::to_value(phase).unwrap();
        assert_eq!(written(ShownPhase::Known(Phase::Live)), "Live");
        assert_eq!(written(ShownPhase::UNREADABLE), "Unreadable");
    }
}
