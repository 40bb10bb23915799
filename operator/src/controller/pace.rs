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
/// How soon to look again when nobody is there who could answer.
const LATER: Duration = Duration::from_secs(5);
/// How long nothing is looked at: everything that matters then is watched.
const LONGEST: Duration = Duration::from_secs(600);
/// How soon to look again at what somebody has to put right first.
const PUT_RIGHT: Duration = Duration::from_secs(20);
/// How soon to look again at what cannot be gone on with.
pub const IDLE: Duration = Duration::from_secs(60);
/// The least time between two writes of a status that differ in numbers and sentences alone.
const NUMBERS_EVERY: Duration = Duration::from_secs(5);

/// What the next look is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Awaited {
    /// A process is there that has not said yet what is waited for.
    Answer,
    /// Nobody is there who could say anything.
    Pods,
    /// Somebody has to put something right that no watch shows.
    People,
    /// Nothing but numbers.
    Nothing,
}

/// How long nothing is expected to happen. A sale that is over is looked at again when nobody needs to read it any more.
pub fn pause(
    status: &FlashSaleStatus,
    schedule: &Schedule,
    retain_for: Duration,
    awaited: Awaited,
    now: Timestamp,
) -> Duration {
    let retained_until = status.ended_at.and_then(|at| at.checked_add(retain_for).ok());
    let until = |at: Timestamp| at.duration_since(now).unsigned_abs().max(AT_ONCE);
    let ahead = |at: Option<Timestamp>| at.filter(|at| *at > now).map_or(LONGEST, until);
    let usual = match awaited {
        Awaited::Answer => SOON,
        // Pods that come are seen by the watches.
        Awaited::Pods => LATER,
        Awaited::People => PUT_RIGHT,
        Awaited::Nothing => LIVE,
    };
    match status.phase() {
        Phase::Pending if phase::is_time_to_warm_up(schedule, now) => SOON,
        Phase::Pending if awaited == Awaited::People => ahead(phase::warm_up_begins(schedule)).min(usual),
        Phase::Pending => ahead(phase::warm_up_begins(schedule)).min(LONGEST),
        Phase::Warming => ahead(schedule.opening()).min(usual),
        Phase::Draining => usual,
        Phase::Live => ahead(schedule.closes_at).min(usual),
        Phase::Ended => ahead(retained_until).min(LONGEST),
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

    /// Hundreds of sales that wait for something ask for nothing meanwhile.
    #[test]
    fn a_sale_is_looked_at_when_something_can_have_happened() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let schedule = Schedule {
            opens_at: Some(at(10_000)),
            closes_at: Some(at(20_000)),
            warm_up: Duration::from_secs(600),
            decided: None,
            opened_at: None,
        };
        let pause = |phase, awaited, now| {
            let status = FlashSaleStatus {
                phase: Some(phase),
                ended_at: Some(at(30_000)),
                ..FlashSaleStatus::default()
            };
            super::pause(&status, &schedule, Duration::from_secs(1_000), awaited, at(now)).as_secs()
        };
        assert_eq!(pause(Phase::Pending, Awaited::Pods, 0), 600);
        assert_eq!(pause(Phase::Pending, Awaited::Pods, 9_000), 400);
        assert_eq!(pause(Phase::Pending, Awaited::People, 9_000), 20);
        assert_eq!(pause(Phase::Pending, Awaited::Pods, 9_400), 1);
        assert_eq!(pause(Phase::Warming, Awaited::Answer, 9_500), 1);
        assert_eq!(pause(Phase::Warming, Awaited::Pods, 9_500), 5);
        assert_eq!(pause(Phase::Warming, Awaited::Nothing, 9_998), 2);
        assert_eq!(pause(Phase::Live, Awaited::Nothing, 10_001), 3);
        assert_eq!(pause(Phase::Live, Awaited::Nothing, 19_999), 1);
        assert_eq!(pause(Phase::Draining, Awaited::Answer, 20_000), 1);
        assert_eq!(pause(Phase::Ended, Awaited::Pods, 30_900), 100);
        assert_eq!(pause(Phase::Ended, Awaited::Pods, 40_000), 600);
    }

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
