//! What the operator does to sales, in the audit trail: a log line on the target `audit` and a count, which outlive the
//! sale and its events.

use kube::ResourceExt;
use platform::{
    audit::{self, Event, Outcome},
    metrics::Metric,
};
use sale::phase::Phase;

/// What is done to a sale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// It begins to use its topics, database and keys.
    Claim,
    /// It enters a phase.
    Enter(Phase),
    /// It is deleted before its orders are settled, because somebody has said so.
    Force,
    /// Its data stays although it is deleted, because orders in it are not settled.
    KeepData,
    /// Its doors open again.
    Reopen,
    /// Its data is deleted.
    DeleteData,
    /// Its object is let go.
    Release,
}

impl Deed {
    /// All there are.
    const ALL: [Self; 11] = [
        Self::Claim,
        Self::Enter(Phase::Pending),
        Self::Enter(Phase::Warming),
        Self::Enter(Phase::Live),
        Self::Enter(Phase::Draining),
        Self::Enter(Phase::Ended),
        Self::Force,
        Self::KeepData,
        Self::Reopen,
        Self::DeleteData,
        Self::Release,
    ];

    fn action(self) -> &'static str {
        match self {
            Self::Claim => "sale_claim",
            Self::Enter(Phase::Pending) => "sale_pending",
            Self::Enter(Phase::Warming) => "sale_warming",
            Self::Enter(Phase::Live) => "sale_live",
            Self::Enter(Phase::Draining) => "sale_draining",
            Self::Enter(Phase::Ended) => "sale_ended",
            Self::Force => "sale_deletion_forced",
            Self::KeepData => "sale_data_kept",
            Self::Reopen => "sale_reopening",
            Self::DeleteData => "sale_data_deletion",
            Self::Release => "sale_deletion",
        }
    }
}

/// The metric that counts them, with what was not done yet as zero.
pub fn metric() -> Metric {
    audit::metric(Deed::ALL.map(Deed::action))
}

/// Writes it down.
pub fn record(sale: &impl ResourceExt, deed: Deed, outcome: Outcome) {
    let whose = format!("{}/{}", sale.namespace().unwrap_or_default(), sale.name_any());
    audit::record(Event {
        action: deed.action(),
        outcome,
        who: "operator",
        whose: &whose,
        from: None,
        request_id: None,
    });
}
