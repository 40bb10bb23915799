//! The end of a deleted sale: it drains for as long as orders are settling, then what was made for it goes.

use super::{
    cleanup,
    context::Context,
    error::Error,
    evidence::Thing,
    fetch,
    observed::Observed,
    pace::{AT_ONCE, SOON},
    trail::{self, Deed},
};
use crate::phase::{self, Deletion, Doors, Farewell};
use crds::{FlashSale, FlashSaleStatus, ValidSale, names::FORCE_DELETE_ANNOTATION};
use jiff::Timestamp;
use kube::{
    Resource, ResourceExt,
    runtime::{controller::Action, events::EventType},
};
use platform::audit::Outcome;
use std::time::Duration;

/// What becomes of a sale's topics and database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Data {
    /// What its deletion policy says.
    ByPolicy,
    /// They stay: orders in them have no end.
    Kept,
}

/// Cleans up after a deleted sale, or answers `None` while its orders are still to be settled.
///
/// # Errors
/// [`Error`].
pub async fn attend(
    context: &Context,
    sale: &FlashSale,
    valid: &ValidSale,
    status: &FlashSaleStatus,
    observed: &Observed,
    doors: &Doors,
) -> Result<Option<Action>, Error> {
    if !cleanup::is_held(sale) {
        return Ok(Some(Action::await_change()));
    }
    let forced = cleanup::is_forced(sale);
    let phase = status.phase();
    let farewell = Farewell {
        phase,
        // Doors that are about to open may do so before they hear of this.
        opened: status.opened_at.is_some() || phase::standing_opening(doors, context.clock.now()).is_some(),
        forced,
        reported: is_reported(status, context.clock.now()),
        namespace_is_gone: false,
    };
    let mut decision = phase::deletion(&farewell);
    // With its namespace a sale loses its pods, whatever it says, and nobody is left who could settle anything.
    let is_abandoned = decision == Deletion::Drain && !observed.pods.iter().any(|pod| pod.alive);
    if is_abandoned && fetch::namespace_goes(&context.client, sale).await? {
        decision = phase::deletion(&Farewell {
            namespace_is_gone: true,
            ..farewell
        });
    }
    let (data, is_cut_short) = match decision {
        Deletion::Drain => return settle_first(context, sale).await,
        Deletion::CleanUp => (Data::ByPolicy, false),
        Deletion::Force => (Data::ByPolicy, true),
        Deletion::KeepData => (Data::Kept, true),
    };
    if is_cut_short {
        tell(context, sale, status, data).await;
    }
    if !cleanup::clean_up(context, sale, valid, status, observed, data).await? {
        return Ok(Some(Action::requeue(SOON)));
    }
    cleanup::release(context, sale).await?;
    Ok(Some(Action::await_change()))
}

/// Leaves the sale to its drain, with what that needs.
async fn settle_first(context: &Context, sale: &FlashSale) -> Result<Option<Action>, Error> {
    if !cleanup::keep_children(context, sale).await? {
        return Ok(None);
    }
    let note = "it was deleted with --cascade=foreground, which takes its services before its orders are settled, or with orphan, which takes \
                its name off them: it goes on as with --cascade=background, and what is gone already is made anew";
    context
        .event(
            sale,
            EventType::Warning,
            "Drain",
            "DrainsInBackground",
            note.to_owned(),
        )
        .await;
    Ok(Some(Action::requeue(AT_ONCE)))
}

/// How long a deleted sale that has ended waits for its report.
const REPORTED: Duration = Duration::from_secs(120);

fn is_reported(status: &FlashSaleStatus, now: Timestamp) -> bool {
    let ended = status.ended_at.map(|at| now.duration_since(at).unsigned_abs());
    status.report_ref.is_some() || ended.is_none_or(|ago| ago > REPORTED)
}

/// Says that the drain was cut short, by whom, and what it leaves.
async fn tell(context: &Context, sale: &FlashSale, status: &FlashSaleStatus, data: Data) {
    let pending = Thing("order", "orders").count(status.orders.unwrap_or_default().pending);
    let (deed, reason, note) = match data {
        Data::ByPolicy => (
            Deed::Force,
            "DrainForced",
            format!(
                "{FORCE_DELETE_ANNOTATION} is set: the sale is deleted at once, with {pending} without an end when they were last counted"
            ),
        ),
        Data::Kept => (
            Deed::KeepData,
            "DataLeftBehind",
            format!(
                "the namespace is deleted and took the services with it, so {pending} without an end \
                 when they were last counted are not settled: topics and database stay, whatever spec.deletionPolicy says"
            ),
        ),
    };
    tracing::warn!(
        namespace = sale.namespace(),
        sale = sale.name_any(),
        pending,
        reason,
        "the drain was cut short"
    );
    trail::record(sale, deed, Outcome::Done);
    context
        .event(sale, EventType::Warning, "Drain", reason, note)
        .await;
}

/// Whether the sale is being deleted.
pub fn is_asked_for(sale: &FlashSale) -> bool {
    sale.meta().deletion_timestamp.is_some()
}
