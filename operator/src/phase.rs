//! The phases of a sale and what it takes to enter each: evidence, never hope.
//!
//! ```text
//! Pending ──warm-up begins──> Warming ──everything ready, opening time reached──> Live
//!    │                           │                                                  │
//!    └── deleted: clean up       └── deleted ──┐        closing time, sold out, deleted
//!                                              v                                    v
//!                                  (may have opened by its own clocks)          Draining ──settled──> Ended
//! ```
//! Everything here is pure: the time and what is known come in, the next step comes out.

use jiff::Timestamp;
use sale::phase::Phase;
use std::time::Duration;

/// How long a deleted sale may take to settle before it is cleaned up regardless.
pub const DRAIN_BOUND: Duration = Duration::from_secs(60);

/// What the spec and the status say about time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    /// The opening time in the spec.
    pub opens_at: Option<Timestamp>,
    /// The closing time in the spec.
    pub closes_at: Option<Timestamp>,
    /// How long before the opening the services start.
    pub warm_up: Duration,
    /// The opening time in the status: the spec's, or the moment when everything was ready.
    pub opened_at: Option<Timestamp>,
}

/// What is known, `false` and `None` standing for "not known" as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Evidence {
    /// MongoDB, Kafka and Redis answer.
    pub backends_reachable: bool,
    /// Topics, database and keys are marked as the sale's own.
    pub claimed: bool,
    /// The topics exist.
    pub topics_ready: bool,
    /// Every service is rolled out.
    pub workloads_ready: bool,
    /// The inventory holds the catalogue.
    pub catalogue_ready: bool,
    /// Every gateway and order replica confirmed the control document that belongs to this phase.
    pub control_in_force: bool,
    /// No product has a unit available or reserved.
    pub sold_out: bool,
    /// No order pending, nothing in the outbox, no lag.
    pub settled: bool,
    /// The FlashSale is being deleted.
    pub deleting: bool,
}

impl Evidence {
    /// Whether everything that selling needs is there.
    pub fn ready_to_sell(&self) -> bool {
        self.backends_reachable && self.topics_ready && self.workloads_ready && self.catalogue_ready
    }
}

/// What happens next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing.
    Stay,
    /// Decide the opening time of a sale that opens as soon as it is ready.
    DecideOpening(Timestamp),
    /// Enter a phase.
    Enter(Phase),
}

/// The next step of a sale.
pub fn next(phase: Phase, schedule: &Schedule, evidence: &Evidence, now: Timestamp) -> Step {
    match phase {
        // Nothing is made for a sale before its place in the backends is its own.
        Phase::Pending if evidence.deleting || !evidence.claimed || !is_time_to_warm_up(schedule, now) => {
            Step::Stay
        }
        Phase::Pending => Step::Enter(Phase::Warming),
        Phase::Warming => warming(schedule, evidence, now),
        Phase::Live => {
            let closing = schedule.closes_at.is_some_and(|at| now >= at);
            let sold_out = evidence.sold_out && schedule.closes_at.is_none();
            if closing || sold_out || evidence.deleting {
                Step::Enter(Phase::Draining)
            } else {
                Step::Stay
            }
        }
        // The doors must be closed everywhere first, or an order could be accepted after the count.
        Phase::Draining if evidence.settled && evidence.control_in_force => Step::Enter(Phase::Ended),
        Phase::Draining | Phase::Ended => Step::Stay,
    }
}

fn warming(schedule: &Schedule, evidence: &Evidence, now: Timestamp) -> Step {
    let opening = schedule.opens_at.or(schedule.opened_at);
    let overslept = schedule.closes_at.is_some_and(|at| now >= at);
    if overslept || (evidence.deleting && may_have_opened(schedule, now)) {
        return Step::Enter(Phase::Draining);
    }
    if evidence.deleting || !evidence.ready_to_sell() {
        return Step::Stay;
    }
    match opening {
        None => Step::DecideOpening(whole_second(now)),
        Some(at) if now >= at && evidence.control_in_force => Step::Enter(Phase::Live),
        Some(_) => Step::Stay,
    }
}

/// Times that people read have no fractions.
fn whole_second(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

/// When the services start; `None` for at once.
pub fn warm_up_begins(schedule: &Schedule) -> Option<Timestamp> {
    schedule
        .opens_at
        .map(|at| at.checked_sub(schedule.warm_up).unwrap_or(at))
}

/// Whether the services should start by now.
pub fn is_time_to_warm_up(schedule: &Schedule, now: Timestamp) -> bool {
    warm_up_begins(schedule).is_none_or(|at| now >= at)
}

/// What a deleted sale waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deletion {
    /// Accepted orders are still settling.
    Drain,
    /// Nothing: there were no orders, or all are settled.
    CleanUp,
    /// Nothing any more: it took too long.
    GiveUpDraining,
}

/// Whether a deleted sale may be cleaned up.
pub fn deletion(
    phase: Phase,
    schedule: &Schedule,
    draining_since: Option<Timestamp>,
    deleted_at: Timestamp,
    now: Timestamp,
) -> Deletion {
    let nothing_accepted = match phase {
        Phase::Pending | Phase::Ended => true,
        Phase::Warming => !may_have_opened(schedule, now),
        Phase::Live | Phase::Draining => false,
    };
    let since = draining_since.unwrap_or(deleted_at).max(deleted_at);
    if nothing_accepted {
        Deletion::CleanUp
    } else if now.duration_since(since).unsigned_abs() < DRAIN_BOUND {
        Deletion::Drain
    } else {
        Deletion::GiveUpDraining
    }
}

/// The gateways open by their own clocks, so orders may have been taken although the sale never became Live.
pub fn may_have_opened(schedule: &Schedule, now: Timestamp) -> bool {
    schedule
        .opens_at
        .or(schedule.opened_at)
        .is_some_and(|at| now >= at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    const ALL_GOOD: Evidence = Evidence {
        backends_reachable: true,
        claimed: true,
        topics_ready: true,
        workloads_ready: true,
        catalogue_ready: true,
        control_in_force: true,
        sold_out: false,
        settled: false,
        deleting: false,
    };

    fn schedule(opens: Option<i64>, closes: Option<i64>) -> Schedule {
        Schedule {
            opens_at: opens.map(at),
            closes_at: closes.map(at),
            warm_up: Duration::from_secs(600),
            opened_at: None,
        }
    }

    #[test]
    fn the_warm_up_begins_before_the_opening_or_at_once() {
        let scheduled = schedule(Some(10_000), None);
        let claimed = Evidence {
            claimed: true,
            ..Evidence::default()
        };
        assert_eq!(next(Phase::Pending, &scheduled, &claimed, at(9_399)), Step::Stay);
        assert_eq!(
            next(Phase::Pending, &scheduled, &claimed, at(9_400)),
            Step::Enter(Phase::Warming)
        );
        assert_eq!(
            next(Phase::Pending, &schedule(None, None), &claimed, at(0)),
            Step::Enter(Phase::Warming)
        );
        let nothing = Evidence::default();
        assert_eq!(next(Phase::Pending, &scheduled, &nothing, at(9_400)), Step::Stay);
    }

    #[test]
    fn a_sale_goes_live_on_all_of_the_evidence_and_on_time() {
        let scheduled = schedule(Some(10_000), None);
        assert_eq!(next(Phase::Warming, &scheduled, &ALL_GOOD, at(9_999)), Step::Stay);
        assert_eq!(
            next(Phase::Warming, &scheduled, &ALL_GOOD, at(10_000)),
            Step::Enter(Phase::Live)
        );
        for missing in [
            Evidence {
                backends_reachable: false,
                ..ALL_GOOD
            },
            Evidence {
                topics_ready: false,
                ..ALL_GOOD
            },
            Evidence {
                workloads_ready: false,
                ..ALL_GOOD
            },
            Evidence {
                catalogue_ready: false,
                ..ALL_GOOD
            },
            Evidence {
                control_in_force: false,
                ..ALL_GOOD
            },
        ] {
            assert_eq!(
                next(Phase::Warming, &scheduled, &missing, at(10_000)),
                Step::Stay,
                "{missing:?}"
            );
        }
    }

    #[test]
    fn a_sale_without_a_time_opens_when_it_is_ready_and_the_doors_know() {
        let mut open_ended = schedule(None, None);
        let a_moment_later = at(5) + Duration::from_millis(7);
        let step = next(Phase::Warming, &open_ended, &ALL_GOOD, a_moment_later);
        assert_eq!(step, Step::DecideOpening(at(5)));
        open_ended.opened_at = Some(at(5));
        let unheard = Evidence {
            control_in_force: false,
            ..ALL_GOOD
        };
        assert_eq!(next(Phase::Warming, &open_ended, &unheard, at(6)), Step::Stay);
        assert_eq!(
            next(Phase::Warming, &open_ended, &ALL_GOOD, at(6)),
            Step::Enter(Phase::Live)
        );
    }

    #[test]
    fn a_live_sale_stays_live_through_outages_and_ends_for_three_reasons() {
        let open_ended = schedule(None, None);
        assert_eq!(
            next(Phase::Live, &open_ended, &Evidence::default(), at(1)),
            Step::Stay
        );
        let sold_out = Evidence {
            sold_out: true,
            ..ALL_GOOD
        };
        assert_eq!(
            next(Phase::Live, &open_ended, &sold_out, at(1)),
            Step::Enter(Phase::Draining)
        );
        let until = schedule(None, Some(100));
        assert_eq!(next(Phase::Live, &until, &sold_out, at(99)), Step::Stay);
        assert_eq!(
            next(Phase::Live, &until, &ALL_GOOD, at(100)),
            Step::Enter(Phase::Draining)
        );
        let deleting = Evidence {
            deleting: true,
            ..ALL_GOOD
        };
        assert_eq!(
            next(Phase::Live, &until, &deleting, at(1)),
            Step::Enter(Phase::Draining)
        );
    }

    #[test]
    fn draining_ends_when_everything_is_settled_behind_closed_doors() {
        let settled = Evidence {
            settled: true,
            ..ALL_GOOD
        };
        let any = schedule(None, None);
        assert_eq!(next(Phase::Draining, &any, &ALL_GOOD, at(1)), Step::Stay);
        let open_door = Evidence {
            control_in_force: false,
            ..settled
        };
        assert_eq!(next(Phase::Draining, &any, &open_door, at(1)), Step::Stay);
        assert_eq!(
            next(Phase::Draining, &any, &settled, at(1)),
            Step::Enter(Phase::Ended)
        );
        assert_eq!(next(Phase::Ended, &any, &settled, at(1)), Step::Stay);
    }

    #[test]
    fn a_sale_deleted_while_warming_drains_only_if_it_may_have_opened() {
        let deleting = Evidence {
            deleting: true,
            ..Evidence::default()
        };
        let scheduled = schedule(Some(100), None);
        assert_eq!(next(Phase::Warming, &scheduled, &deleting, at(99)), Step::Stay);
        assert_eq!(
            next(Phase::Warming, &scheduled, &deleting, at(100)),
            Step::Enter(Phase::Draining)
        );
        assert_eq!(
            next(Phase::Warming, &schedule(Some(1), Some(100)), &ALL_GOOD, at(100)),
            Step::Enter(Phase::Draining)
        );
    }

    #[test]
    fn deletion_waits_for_the_drain_within_bounds() {
        let (unplanned, opened) = (schedule(None, None), schedule(Some(0), None));
        assert_eq!(
            deletion(Phase::Warming, &unplanned, None, at(0), at(1)),
            Deletion::CleanUp
        );
        assert_eq!(
            deletion(Phase::Warming, &opened, None, at(0), at(1)),
            Deletion::Drain
        );
        assert_eq!(
            deletion(Phase::Ended, &opened, Some(at(0)), at(0), at(1)),
            Deletion::CleanUp
        );
        assert_eq!(
            deletion(Phase::Draining, &opened, Some(at(10)), at(5), at(69)),
            Deletion::Drain
        );
        assert_eq!(
            deletion(Phase::Draining, &opened, Some(at(10)), at(5), at(70)),
            Deletion::GiveUpDraining
        );
        // A sale that had been draining for long when it was deleted still gets its time.
        assert_eq!(
            deletion(Phase::Draining, &opened, Some(at(10)), at(500), at(501)),
            Deletion::Drain
        );
    }
}
