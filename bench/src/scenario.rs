//! What is measured.

use crate::{load::Load, options::Options};
use clap::ValueEnum;
use serde::Serialize;

/// Units nobody can sell out.
const PLENTY: u32 = 10_000_000;
/// Units of the product that sells out.
const FEW: u32 = 500;

/// Storefronts that are open.
const PAGES: u32 = 2_000;
/// How long they are: as many buyers order in each second as there are pages for.
const PAGES_SECONDS: u32 = 40;

/// A scenario by the name it has in the results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Name {
    /// Orders at a steady rate, whatever the system answers.
    AcceptSteady,
    /// 64 buyers at a time, each order at once after the last one's answer.
    #[value(name = "burst-64")]
    #[serde(rename = "burst-64")]
    Burst64,
    /// The same with 256.
    #[value(name = "burst-256")]
    #[serde(rename = "burst-256")]
    Burst256,
    /// Far more orders than units.
    SoldOut,
    /// 2,000 storefronts are open, each with a socket and looking at the sale, and each of their buyers orders once.
    Storefronts,
}

/// A scenario with its numbers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scenario {
    /// Its name, and with it the product's.
    pub(crate) label: &'static str,
    /// Units on sale.
    pub(crate) stock: u32,
    /// How orders come.
    pub(crate) load: Load,
    /// Storefronts that are open meanwhile, each of a buyer who listens.
    pub(crate) pages: u32,
}

impl Name {
    fn label(self) -> &'static str {
        match self {
            Self::AcceptSteady => "accept-steady",
            Self::Burst64 => "burst-64",
            Self::Burst256 => "burst-256",
            Self::SoldOut => "sold-out",
            Self::Storefronts => "storefronts",
        }
    }

    /// The scenario with the numbers of the command line.
    pub(crate) fn with(self, options: &Options) -> Scenario {
        let burst = |in_flight| Load::Closed {
            in_flight,
            orders: options.burst_orders,
        };
        let (stock, load) = match self {
            Self::AcceptSteady => (
                PLENTY,
                Load::Open {
                    per_second: options.rate,
                    seconds: options.seconds,
                },
            ),
            Self::Burst64 => (PLENTY, burst(64)),
            Self::Burst256 => (PLENTY, burst(256)),
            Self::SoldOut => (
                FEW,
                Load::Closed {
                    in_flight: 64,
                    orders: options.sold_out_orders,
                },
            ),
            Self::Storefronts => (
                PLENTY,
                Load::Open {
                    per_second: PAGES / PAGES_SECONDS,
                    seconds: PAGES_SECONDS,
                },
            ),
        };
        Scenario {
            label: self.label(),
            stock,
            load,
            pages: if self == Self::Storefronts { PAGES } else { 0 },
        }
    }
}

/// Orders that fill caches and open connections before anything is measured.
pub(crate) fn warm_up(options: &Options) -> Scenario {
    let load = Load::Closed {
        in_flight: 32,
        orders: options.warm_up_orders,
    };
    Scenario {
        label: "warm-up",
        stock: PLENTY,
        load,
        pages: 0,
    }
}
