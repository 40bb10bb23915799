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
/// How long what inventory says at the gate outlives the sale's last process, in seconds.
pub const SAID_FOR_SECONDS: i64 = 3_600;
/// Value of [`GateKeys::markers`] once it may have lost some.
pub const MARKERS_ARE_LOST: &str = "lost";
/// How long a try to order may be under way, in seconds, but for one in a process that stands still alone: longer than an order waits for
/// its batch (8 s in `order::batcher`) and the next batch for that one (15 s), and than it takes until other processes end the
/// transactions of one that stands still. docs/api.md tells clients a minute.
pub const TRIES_LAST_SECONDS: i64 = 30;

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

    /// There for [`TRIES_LAST_SECONDS`] since it was noticed that markers are lost: those of tries that are under way may be among them.
    pub fn tries_unknown(&self) -> String {
        format!("{}gate:tries-unknown", self.prefix)
    }

    /// Whether the gateways' markers are whole; see [`MARKERS_ARE_WHOLE`]. While nobody has said so, they have just been lost, or the
    /// sale is new.
    pub fn markers(&self) -> String {
        format!("{}gate:markers", self.prefix)
    }
}
