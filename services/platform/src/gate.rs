//! What gateways and inventory both know of the gate: its keys in Redis. The gateways count orders there, and inventory keeps the
//! counts right.

use sale::ProductId;

/// Names the gate's keys under a sale's prefix.
#[derive(Debug, Clone)]
pub struct GateKeys {
    prefix: String,
}

/// Value of [`GateKeys::markers`] while Redis has lost none of the gateways' markers since the first order.
pub const MARKERS_ARE_WHOLE: &str = "whole";
/// Value of [`GateKeys::markers`] once it may have lost some.
pub const MARKERS_ARE_LOST: &str = "lost";

impl GateKeys {
    /// The keys under a sale's prefix.
    pub fn new(prefix: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
        }
    }

    /// The prefix itself, for keys that only one side knows.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// A number: the orders that may still be let through for a product, in units.
    pub fn count(&self, product: &ProductId) -> String {
        format!("{}gate:{product}", self.prefix)
    }

    /// A set: the ids of products of which every unit is sold, so that none comes back.
    pub fn all_sold(&self) -> String {
        format!("{}gate:all-sold", self.prefix)
    }

    /// Whether the gateways' markers are whole; see [`MARKERS_ARE_WHOLE`].
    pub fn markers(&self) -> String {
        format!("{}gate:markers", self.prefix)
    }
}
