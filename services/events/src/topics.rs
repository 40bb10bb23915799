//! The topics and who reads them.

use crate::fnv::Fnv;
use serde::{Deserialize, Serialize};

/// What travels on a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Topic {
    /// Accepted orders, from order to inventory.
    #[serde(rename = "order.created")]
    OrderCreated,
    /// What became of an order's units, from inventory to order.
    #[serde(rename = "inventory.result")]
    InventoryResult,
    /// What became of an order, from order to the notifier and to inventory.
    #[serde(rename = "order.status")]
    OrderStatus,
}

impl Topic {
    /// Every topic of a sale that carries work.
    pub const ALL: [Self; 3] = [Self::OrderCreated, Self::InventoryResult, Self::OrderStatus];

    /// The name without the sale's prefix.
    pub fn plain_name(self) -> &'static str {
        match self {
            Self::OrderCreated => "order.created",
            Self::InventoryResult => "inventory.result",
            Self::OrderStatus => "order.status",
        }
    }

    /// What a span is called in which a message of it is handled.
    pub fn process(self) -> &'static str {
        match self {
            Self::OrderCreated => "process order.created",
            Self::InventoryResult => "process inventory.result",
            Self::OrderStatus => "process order.status",
        }
    }

    /// The name of its dead-letter twin, without the sale's prefix.
    pub fn dead_letter_name(self) -> &'static str {
        match self {
            Self::OrderCreated => "order.created.dead-letter",
            Self::InventoryResult => "inventory.result.dead-letter",
            Self::OrderStatus => "order.status.dead-letter",
        }
    }
}

/// Every topic that a sale needs, dead-letter twins included, with its prefix.
pub fn all_names(prefix: &str) -> Vec<String> {
    Topic::ALL
        .into_iter()
        .flat_map(|topic| [topic.plain_name(), topic.dead_letter_name()])
        .map(|name| format!("{prefix}{name}"))
        .collect()
}

/// The groups of workers and the topics that they read through lanes. A sale is settled when none of them lags.
pub const GROUPS: [(&str, &[Topic]); 3] = [
    ("inventory", &[Topic::OrderCreated, Topic::OrderStatus]),
    ("order", &[Topic::InventoryResult]),
    ("notifier", &[Topic::OrderStatus]),
];

/// The partition of a key: FNV-1a over its bytes, so that all messages of an order keep their order.
pub fn partition_of(key: &str, partitions: i32) -> i32 {
    let hash = Fnv::default().with(key.as_bytes()).value();
    let partitions = u64::try_from(partitions.max(1)).unwrap_or(1);
    // Similar keys leave FNV's high bits alike; the finalizer of MurmurHash3 mixes them.
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    i32::try_from((hash >> 33) % partitions).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_spread_over_all_partitions_and_stay_put() {
        let mut seen = [0; 12];
        for n in 0..1_200 {
            let partition = partition_of(&format!("order-{n}"), 12);
            assert_eq!(partition, partition_of(&format!("order-{n}"), 12));
            seen[usize::try_from(partition).unwrap()] += 1;
        }
        assert!(seen.iter().all(|n| (50..200).contains(n)), "{seen:?}");
    }

    #[test]
    fn an_empty_prefix_gives_the_plain_names() {
        assert!(all_names("").contains(&"order.created".to_owned()));
        assert_eq!(all_names("shop.laptops.").len(), 6);
    }
}
