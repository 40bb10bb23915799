//! How soon a sale is looked at again, and how often its status is written.

use crate::phase::{self, Schedule};
use crds::{FlashSaleStatus, status::ProductStatus};
use jiff::Timestamp;
use sale::phase::Phase;
use std::time::Duration;

/// How soon to look again when something was just written that the next look needs.
pub const AT_ONCE: Duration = Duration::from_millis(20);
/// How soon to look again when somebody else was faster.
pub const AFTER_CONFLICT: Duration = Duration::from_millis(200);
/// How soon to look again while something is awaited.
pub const SOON: Duration = Duration::from_secs(1);
/// How soon to look again at an open sale, whose numbers move.
const LIVE: Duration = Duration::from_secs(3);
/// How soon to look again when nothing is expected to happen.
pub const IDLE: Duration = Duration::from_secs(60);
/// The least time between two writes of a status that differ in numbers and sentences alone.
const NUMBERS_EVERY: Duration = Duration::from_secs(5);

/// How long nothing is expected to happen.
pub fn pause(status: &FlashSaleStatus, schedule: &Schedule, unheard: bool, now: Timestamp) -> Duration {
    let until = |at: Timestamp| at.duration_since(now).unsigned_abs().max(AT_ONCE);
    let ahead = |at: Option<Timestamp>| at.filter(|at| *at > now).map_or(IDLE, until);
    match status.phase() {
        Phase::Pending if phase::is_time_to_warm_up(schedule, now) => SOON,
        Phase::Pending => ahead(phase::warm_up_begins(schedule)).min(IDLE),
        Phase::Warming => ahead(schedule.opening()).min(SOON),
        Phase::Draining => SOON,
        Phase::Live if unheard => SOON,
        Phase::Live => ahead(schedule.closes_at).min(LIVE),
        Phase::Ended => IDLE,
    }
}

/// How long a status that differs in numbers and sentences alone waits to be written, after a write that was so long ago.
pub fn waits(
    before: Option<&FlashSaleStatus>,
    after: &FlashSaleStatus,
    written: Option<Duration>,
) -> Option<Duration> {
    let rest = NUMBERS_EVERY.checked_sub(written?)?;
    let same = before.is_some_and(|before| without_numbers(before) == without_numbers(after));
    same.then_some(rest)
}

fn without_numbers(status: &FlashSaleStatus) -> FlashSaleStatus {
    let mut status = status.clone();
    (
        status.stock,
        status.sold,
        status.orders,
        status.ready,
        status.message,
    ) = (None, None, None, None, None);
    for condition in &mut status.conditions {
        condition.message.clear();
    }
    for product in &mut status.products {
        *product = ProductStatus {
            sku: std::mem::take(&mut product.sku),
            applied_stock: product.applied_stock,
            stock_change: product.stock_change.take(),
            ..ProductStatus::default()
        };
    }
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_wait_and_what_people_wait_for_does_not() {
        let before = FlashSaleStatus {
            phase: Some(Phase::Live),
            sold: Some(1),
            ..FlashSaleStatus::default()
        };
        let counted = FlashSaleStatus {
            sold: Some(2),
            ..before.clone()
        };
        let closed = FlashSaleStatus {
            phase: Some(Phase::Draining),
            ..counted.clone()
        };
        let ago = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(waits(Some(&before), &counted, ago(1)), ago(4));
        assert_eq!(waits(Some(&before), &counted, ago(6)), None);
        assert_eq!(waits(Some(&before), &counted, None), None);
        assert_eq!(waits(Some(&before), &closed, ago(1)), None);
        assert_eq!(waits(None, &counted, ago(1)), None);
    }
}
