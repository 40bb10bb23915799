//! The control document that belongs to a sale now.

use crds::{FlashSaleStatus, ValidSale};
use jiff::Timestamp;
use sale::{control::ControlDocument, phase::Phase};

/// The document: with the version of the one before if nothing changed, with a higher one otherwise.
///
/// The version follows the clock where it can, so that a document made after a lost ConfigMap is still newer than
/// what the services hold.
pub fn document(
    sale: &ValidSale,
    status: &FlashSaleStatus,
    deleting: bool,
    before: Option<&ControlDocument>,
    now: Timestamp,
) -> ControlDocument {
    let phase = status.phase();
    let mut document = ControlDocument {
        version: before.map_or(0, |before| before.version),
        sale: sale.id.clone(),
        phase,
        opens_at: sale.opens_at.or(status.opens_at),
        closes_at: sale.closes_at,
        halted: sale.halted,
        closed: deleting || matches!(phase, Phase::Draining | Phase::Ended),
        rate_limits: sale.rate_limits.clone(),
        waiting_room: sale.waiting_room,
    };
    if before != Some(&document) {
        let clock = u64::try_from(now.as_millisecond()).unwrap_or(0);
        document.version = clock.max(document.version + 1);
    }
    document
}
