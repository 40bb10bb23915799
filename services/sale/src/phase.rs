//! The phases of a sale.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Where a FlashSale stands. Each phase is entered on evidence; see the operator's `phase` module for the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Default)]
pub enum Phase {
    /// Valid, waiting for its warm-up.
    #[default]
    Pending,
    /// Backends, topics, workloads, catalogue and gate are being made ready.
    Warming,
    /// Orders are taken between the opening and the closing time.
    Live,
    /// No new orders; every accepted one is settling.
    Draining,
    /// Settled and reported; buyers can still read their orders for a while.
    Ended,
}

impl Phase {
    /// The name in status and on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Warming => "Warming",
            Self::Live => "Live",
            Self::Draining => "Draining",
            Self::Ended => "Ended",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
