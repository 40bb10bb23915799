//! The phases of a sale and what it takes to enter each: evidence, never hope.
//!
//! ```text
//! Pending ──warm-up begins──> Warming ──the doors opened──> Live ──closed, sold out, deleted──> Draining ──settled──> Ended
//!    │                           │                           ^                                      │                  │
//!    └─deleted: clean up         └─deleted unopened:         └───────────reopened by a word─────────┴──────────────────┘
//!                                  clean up
//! ```
//! Everything here is pure: the time and what is known come in, the next step comes out. Every combination of facts that decides
//! about a phase, an opening or a deletion is made here.

use jiff::Timestamp;
use sale::phase::Phase;
use std::time::Duration;

/// An opening that is nearer than this can no longer be moved: gateways open by their own clocks, and one that hears too late has
/// opened.
pub const OPENING_STANDS: Duration = Duration::from_secs(5);
/// How long an order may take to settle once its hold is over: a message or two, also past a process that has died.
pub const SETTLES_WITHIN: Duration = Duration::from_secs(60);

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
    pub decided: Option<Timestamp>,
    /// Since when the doors have been open: a fact that was seen, which no edit and no clock takes back.
    pub opened_at: Option<Timestamp>,
}

impl Schedule {
    /// When the doors open, as the control document is to say.
    pub fn opening(&self) -> Option<Timestamp> {
        self.opened_at.or(self.opens_at).or(self.decided)
    }
}

/// What is known. What is not known is whatever changes nothing: `false`, but for [`Self::stock_changes`] and [`Self::units_offered`].
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
    /// There are units, and none is available or held.
    pub no_unit_left: bool,
    /// An edit of stock is on its way to the inventory.
    pub stock_changes: bool,
    /// The load of a rehearsal has ended.
    pub rehearsed: bool,
    /// No order pending, nothing in the outbox, no lag; the last accounts are read, and the report is asked for.
    pub settled: bool,
    /// An order process is alive and has not answered: it may still commit what it began by an older document.
    pub silent_orders: bool,
    /// Somebody has asked to reopen the sale, by a word that was not acted on yet.
    pub reopening: bool,
    /// Whether there is anything left that could be reopened.
    pub can_reopen: bool,
    /// What is written offers units that are not sold.
    pub units_offered: bool,
    /// The FlashSale is being deleted.
    pub deleting: bool,
}

impl Evidence {
    /// Whether everything that selling needs is there.
    pub fn ready_to_sell(&self) -> bool {
        self.backends_reachable && self.topics_ready && self.workloads_ready && self.catalogue_ready
    }

    /// Whether the sale is over for want of units. One that gets more of them is not.
    pub fn sold_out(&self) -> bool {
        self.no_unit_left && !self.stock_changes
    }

    /// Whether every accepted order has its end, and none can be accepted any more.
    pub fn is_settled(&self) -> bool {
        self.settled && self.control_in_force && !self.silent_orders
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
    /// Open the doors of a closed sale again.
    Reopen,
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
            let sold_out = evidence.sold_out() && schedule.closes_at.is_none();
            if is_closing_time(schedule, now) || sold_out || evidence.rehearsed || evidence.deleting {
                Step::Enter(Phase::Draining)
            } else {
                Step::Stay
            }
        }
        Phase::Draining | Phase::Ended if reopens(schedule, evidence, now) => Step::Reopen,
        // The doors must be closed everywhere first, or an order could be accepted after the count. Doors that never opened have
        // let nobody in.
        Phase::Draining if evidence.is_settled() || schedule.opened_at.is_none() => Step::Enter(Phase::Ended),
        Phase::Draining | Phase::Ended => Step::Stay,
    }
}

fn warming(schedule: &Schedule, evidence: &Evidence, now: Timestamp) -> Step {
    let opened = schedule.opened_at.is_some();
    if is_closing_time(schedule, now) || (evidence.deleting && opened) {
        return Step::Enter(Phase::Draining);
    }
    if evidence.deleting {
        return Step::Stay;
    }
    // The doors open on time, whatever is missing then: that is for the conditions to say.
    if opened {
        return Step::Enter(Phase::Live);
    }
    if schedule.opening().is_none() && evidence.ready_to_sell() {
        return Step::DecideOpening(whole_second(now));
    }
    Step::Stay
}

fn is_closing_time(schedule: &Schedule, now: Timestamp) -> bool {
    schedule.closes_at.is_some_and(|at| now >= at)
}

/// A sale that was asked to go on does so if there is something to sell and time to sell it in.
fn reopens(schedule: &Schedule, evidence: &Evidence, now: Timestamp) -> bool {
    let asked = evidence.reopening && evidence.can_reopen && !evidence.deleting;
    asked && evidence.units_offered && !is_closing_time(schedule, now)
}

/// Why a sale that was asked to reopen does not; `None` where it does, or was not asked.
pub fn reopening_refused(
    phase: Phase,
    schedule: &Schedule,
    evidence: &Evidence,
    now: Timestamp,
) -> Option<&'static str> {
    if !evidence.reopening || evidence.deleting || !matches!(phase, Phase::Draining | Phase::Ended) {
        return None;
    }
    if !evidence.can_reopen {
        Some("the data of a rehearsal goes with its end; apply a new one")
    } else if is_closing_time(schedule, now) {
        Some("spec.closesAt has passed; move it to a later time, or take it out")
    } else if !evidence.units_offered {
        Some("every unit is sold; raise spec.products[].stock")
    } else {
        None
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

/// What the doors of a sale go by, as they were told, and whether there are any.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Doors {
    /// The opening in the control document that the services hold.
    pub told: Option<Timestamp>,
    /// Whether the document says that the sale is over.
    pub closed: bool,
    /// Whether a gateway and an order service run, or have run: without them nobody can have ordered.
    pub exist: bool,
}

/// Since when the doors are open, if they are or were: once they were told a time that has come, they have opened by their own
/// clocks, whatever the phase says and whoever was there to see it.
pub fn opened(known: Option<Timestamp>, doors: &Doors, now: Timestamp) -> Option<Timestamp> {
    known.or_else(|| doors.told.filter(|at| *at <= now && doors.exist && !doors.closed))
}

/// The opening that stands although it was edited: it is so near that a gateway may open by it before it hears of another.
pub fn standing_opening(doors: &Doors, now: Timestamp) -> Option<Timestamp> {
    doors
        .told
        .filter(|at| *at <= now + OPENING_STANDS && doors.exist && !doors.closed)
}

/// What a deleted sale waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deletion {
    /// Accepted orders are still settling.
    Drain,
    /// Nothing: there were no orders, or all are settled.
    CleanUp,
    /// Nothing: somebody has said not to wait.
    Force,
    /// Nothing any more, for nobody is left who could settle them. The data stays, since orders in it have no end.
    KeepData,
}

/// What is known of a sale that is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Farewell {
    /// Where it stands.
    pub phase: Phase,
    /// Whether its doors ever opened.
    pub opened: bool,
    /// Whether somebody has said not to wait.
    pub forced: bool,
    /// Whether the report of one that has ended is written, or nobody waits for it any more.
    pub reported: bool,
    /// Whether its namespace is deleted as well, and everything in it has gone before it.
    pub namespace_is_gone: bool,
}

/// Whether a deleted sale may be cleaned up. An accepted order is never dropped: without a word to the contrary a sale waits for the
/// last of them, however long that takes.
pub fn deletion(farewell: &Farewell) -> Deletion {
    let nothing_accepted = match farewell.phase {
        Phase::Pending => true,
        Phase::Ended => farewell.reported || farewell.forced || farewell.namespace_is_gone,
        Phase::Warming | Phase::Draining => !farewell.opened,
        Phase::Live => false,
    };
    if nothing_accepted {
        Deletion::CleanUp
    } else if farewell.forced {
        Deletion::Force
    } else if farewell.namespace_is_gone {
        Deletion::KeepData
    } else {
        Deletion::Drain
    }
}

/// When the last order of a sale that drains should be settled: holds run out by themselves.
pub fn drained_by(draining_since: Timestamp, longest_hold: Duration) -> Timestamp {
    draining_since
        .checked_add(longest_hold + SETTLES_WITHIN)
        .unwrap_or(Timestamp::MAX)
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
        no_unit_left: false,
        stock_changes: false,
        rehearsed: false,
        settled: false,
        silent_orders: false,
        reopening: false,
        can_reopen: true,
        units_offered: true,
        deleting: false,
    };

    fn schedule(opens: Option<i64>, closes: Option<i64>) -> Schedule {
        Schedule {
            opens_at: opens.map(at),
            closes_at: closes.map(at),
            warm_up: Duration::from_secs(600),
            decided: None,
            opened_at: None,
        }
    }

    fn open_since(opened: i64, closes: Option<i64>) -> Schedule {
        Schedule {
            opened_at: Some(at(opened)),
            ..schedule(None, closes)
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

    /// Gateways open by their own clocks: a sale that sells is Live, and what is missing is for the conditions to say.
    #[test]
    fn a_sale_whose_doors_opened_is_live_whatever_is_missing() {
        let late = schedule(Some(10_000), None);
        assert_eq!(next(Phase::Warming, &late, &ALL_GOOD, at(10_001)), Step::Stay);
        let opened = Schedule {
            opened_at: Some(at(10_000)),
            ..late
        };
        for evidence in [ALL_GOOD, Evidence::default()] {
            assert_eq!(
                next(Phase::Warming, &opened, &evidence, at(10_000)),
                Step::Enter(Phase::Live)
            );
        }
    }

    #[test]
    fn doors_have_opened_once_they_were_told_a_time_that_has_come() {
        let doors = Doors {
            told: Some(at(100)),
            closed: false,
            exist: true,
        };
        assert_eq!(opened(None, &doors, at(99)), None);
        assert_eq!(opened(None, &doors, at(100)), Some(at(100)));
        // Once known it stays, whatever the clock says and the doors are told.
        assert_eq!(opened(Some(at(100)), &Doors::default(), at(5)), Some(at(100)));
        for never in [
            // Nobody who could have opened.
            Doors {
                exist: false,
                ..doors
            },
            Doors {
                closed: true,
                ..doors
            },
            Doors { told: None, ..doors },
        ] {
            assert_eq!(opened(None, &never, at(100)), None, "{never:?}");
        }
    }

    #[test]
    fn an_opening_that_is_near_stands() {
        let doors = Doors {
            told: Some(at(100)),
            closed: false,
            exist: true,
        };
        assert_eq!(standing_opening(&doors, at(94)), None);
        assert_eq!(standing_opening(&doors, at(95)), Some(at(100)));
        assert_eq!(standing_opening(&doors, at(500)), Some(at(100)));
        let nobody = Doors {
            exist: false,
            ..doors
        };
        assert_eq!(standing_opening(&nobody, at(99)), None);
        // What the doors are told from then on is the fact.
        let moved = Schedule {
            opened_at: Some(at(100)),
            ..schedule(Some(4_000), None)
        };
        assert_eq!(moved.opening(), Some(at(100)));
    }

    #[test]
    fn a_sale_without_a_time_opens_when_it_is_ready() {
        let open_ended = schedule(None, None);
        let a_moment_later = at(5) + Duration::from_millis(7);
        let step = |evidence: &Evidence| next(Phase::Warming, &open_ended, evidence, a_moment_later);
        assert_eq!(step(&ALL_GOOD), Step::DecideOpening(at(5)));
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
        ] {
            assert_eq!(step(&missing), Step::Stay, "{missing:?}");
        }
        let decided = Schedule {
            decided: Some(at(5)),
            ..open_ended
        };
        assert_eq!(next(Phase::Warming, &decided, &ALL_GOOD, at(6)), Step::Stay);
        assert_eq!(decided.opening(), Some(at(5)));
    }

    #[test]
    fn a_live_sale_stays_live_through_outages_and_ends_for_three_reasons() {
        let open_ended = open_since(0, None);
        assert_eq!(
            next(Phase::Live, &open_ended, &Evidence::default(), at(1)),
            Step::Stay
        );
        let sold_out = Evidence {
            no_unit_left: true,
            ..ALL_GOOD
        };
        assert_eq!(
            next(Phase::Live, &open_ended, &sold_out, at(1)),
            Step::Enter(Phase::Draining)
        );
        let until = open_since(0, Some(100));
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
    fn a_rehearsal_ends_with_its_load() {
        let open_ended = schedule(Some(0), None);
        let rehearsed = Evidence {
            rehearsed: true,
            ..ALL_GOOD
        };
        assert_eq!(next(Phase::Live, &open_ended, &ALL_GOOD, at(1)), Step::Stay);
        assert_eq!(
            next(Phase::Live, &open_ended, &rehearsed, at(1)),
            Step::Enter(Phase::Draining)
        );
    }

    #[test]
    fn units_on_their_way_keep_a_sale_from_being_sold_out() {
        let restocked = Evidence {
            no_unit_left: true,
            stock_changes: true,
            ..ALL_GOOD
        };
        assert_eq!(
            next(Phase::Live, &open_since(0, None), &restocked, at(1)),
            Step::Stay
        );
    }

    #[test]
    fn draining_ends_when_everything_is_settled_behind_closed_doors() {
        let settled = Evidence {
            settled: true,
            ..ALL_GOOD
        };
        let any = open_since(0, None);
        assert_eq!(next(Phase::Draining, &any, &ALL_GOOD, at(1)), Step::Stay);
        for unsure in [
            Evidence {
                control_in_force: false,
                ..settled
            },
            Evidence {
                silent_orders: true,
                ..settled
            },
        ] {
            assert_eq!(
                next(Phase::Draining, &any, &unsure, at(1)),
                Step::Stay,
                "{unsure:?}"
            );
        }
        assert_eq!(
            next(Phase::Draining, &any, &settled, at(1)),
            Step::Enter(Phase::Ended)
        );
        assert_eq!(next(Phase::Ended, &any, &settled, at(1)), Step::Stay);
        // It came to its closing time and had never opened.
        let unopened = schedule(Some(1), Some(100));
        assert_eq!(
            next(Phase::Draining, &unopened, &Evidence::default(), at(101)),
            Step::Enter(Phase::Ended)
        );
    }

    #[test]
    fn a_closed_sale_reopens_at_a_word_where_there_is_something_to_sell() {
        let asked = Evidence {
            reopening: true,
            settled: true,
            ..ALL_GOOD
        };
        let (any, over) = (open_since(0, None), open_since(0, Some(50)));
        for phase in [Phase::Draining, Phase::Ended] {
            assert_eq!(next(phase, &any, &asked, at(100)), Step::Reopen);
            assert_eq!(reopening_refused(phase, &any, &asked, at(100)), None);
            let says = |schedule, evidence| reopening_refused(phase, schedule, evidence, at(100)).unwrap();
            assert!(says(&over, &asked).contains("spec.closesAt"));
            let sold = Evidence {
                units_offered: false,
                ..asked
            };
            assert!(says(&any, &sold).contains("stock"));
            assert_ne!(next(phase, &any, &sold, at(100)), Step::Reopen);
            let deleting = Evidence {
                deleting: true,
                ..asked
            };
            assert_ne!(next(phase, &any, &deleting, at(100)), Step::Reopen);
        }
        assert_eq!(next(Phase::Live, &any, &asked, at(100)), Step::Stay);
    }

    #[test]
    fn a_sale_deleted_while_warming_drains_only_if_it_opened() {
        let deleting = Evidence {
            deleting: true,
            ..Evidence::default()
        };
        assert_eq!(
            next(Phase::Warming, &schedule(Some(100), None), &deleting, at(101)),
            Step::Stay
        );
        assert_eq!(
            next(Phase::Warming, &open_since(100, None), &deleting, at(101)),
            Step::Enter(Phase::Draining)
        );
        assert_eq!(
            next(Phase::Warming, &schedule(Some(1), Some(100)), &ALL_GOOD, at(100)),
            Step::Enter(Phase::Draining)
        );
    }

    /// Also where the opening was moved after the doors had opened, and the phase never said that they were.
    #[test]
    fn deletion_drops_no_accepted_order_unless_it_is_told_to() {
        let of = |phase, opened| Farewell {
            reported: true,
            phase,
            opened,
            forced: false,
            namespace_is_gone: false,
        };
        for (phase, opened, wanted) in [
            (Phase::Pending, false, Deletion::CleanUp),
            (Phase::Warming, false, Deletion::CleanUp),
            (Phase::Warming, true, Deletion::Drain),
            (Phase::Live, true, Deletion::Drain),
            (Phase::Draining, true, Deletion::Drain),
            (Phase::Draining, false, Deletion::CleanUp),
            (Phase::Ended, true, Deletion::CleanUp),
        ] {
            let farewell = of(phase, opened);
            assert_eq!(deletion(&farewell), wanted, "{phase}");
            let forced = Farewell {
                forced: true,
                ..farewell
            };
            let at_once = match wanted {
                Deletion::Drain => Deletion::Force,
                other => other,
            };
            assert_eq!(deletion(&forced), at_once, "{phase}");
            let alone = Farewell {
                namespace_is_gone: true,
                ..farewell
            };
            let kept = match wanted {
                Deletion::Drain => Deletion::KeepData,
                other => other,
            };
            assert_eq!(deletion(&alone), kept, "{phase}");
        }
    }

    #[test]
    fn a_drain_lasts_as_long_as_holds_may() {
        assert_eq!(drained_by(at(1_000), Duration::from_secs(600)), at(1_660));
    }
}
