//! What limits a sale that more machines do not help.

use super::{bounds, cpu::Cpus, demand::Demand, quantity::PerSecond, sale::Sale};
use serde::Serialize;

/// Something of which there is only so much.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Limit {
    /// What it is.
    pub(crate) what: &'static str,
    /// How much the sale wants.
    pub(crate) wanted: f64,
    /// How much there is.
    pub(crate) there: f64,
    /// How often what is wanted goes into what is there.
    pub(crate) ratio: f64,
    /// How it is known.
    pub(crate) known: Known,
}

/// How a limit is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Known {
    /// It is a bound of the code or of the FlashSale.
    Bound,
    /// It is the pace that was measured, on two cores that everything shared. Its own limit is higher, and nobody knows it.
    Measured,
}

/// The chain of a product's batches.
pub(crate) const ONE_PRODUCT: &str = "orders a second for one product";

/// What a sale may meet, the first that it does at the beginning. `pace` is how many orders of such a sale were confirmed in a second.
pub(crate) fn limits(
    sale: &Sale,
    demand: &Demand,
    cpus: &Cpus,
    partitions: u64,
    pace: PerSecond,
) -> Vec<Limit> {
    let orders = demand.selling.accepted.0;
    let partitions = u32::try_from(partitions).unwrap_or(u32::MAX);
    let sockets = bounds::SOCKETS_OF_ONE.saturating_mul(bounds::REPLICAS_AT_MOST);
    let mut limits = vec![
        limit(
            ONE_PRODUCT,
            orders / f64::from(sale.products),
            pace.0,
            Known::Measured,
        ),
        limit(
            "orders a second through the one relay",
            orders,
            pace.0,
            Known::Measured,
        ),
        limit(
            "cores for the one thread of Redis",
            cpus.redis.most().0,
            1.0,
            Known::Bound,
        ),
        limit(
            "partitions of a topic",
            f64::from(partitions),
            f64::from(bounds::PARTITIONS_AT_MOST),
            Known::Bound,
        ),
        limit("WebSockets", demand.sockets, f64::from(sockets), Known::Bound),
    ];
    // Stable: of two that are met at once the one that stands first is named.
    limits.sort_by(|one, other| other.ratio.total_cmp(&one.ratio));
    limits
}

fn limit(what: &'static str, wanted: f64, there: f64, known: Known) -> Limit {
    Limit {
        what,
        wanted,
        there,
        ratio: wanted / there,
        known,
    }
}
