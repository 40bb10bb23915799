//! The control document that belongs to a sale now.

use crate::phase::Schedule;
use crds::{FlashSaleStatus, ValidSale, flashsale::OnAuditDifference, status::ConditionType};
use jiff::Timestamp;
use sale::{control::ControlDocument, phase::Phase};

/// Why no new order is taken, whatever the time is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Halt {
    /// `spec.halted` is set.
    OnRequest,
    /// The books differ, and the sale is not to go on.
    BooksDiffer,
}

/// Whether the sale is halted, and why. Books that have differed do so until a look has found that they agree again.
pub fn halt(sale: &ValidSale, status: &FlashSaleStatus) -> Option<Halt> {
    if sale.halted {
        return Some(Halt::OnRequest);
    }
    let books = status.condition(ConditionType::StockConserved);
    let differ = books.is_some_and(|books| books.holds() == Some(false));
    (differ && sale.on_audit_difference == OnAuditDifference::Halt).then_some(Halt::BooksDiffer)
}

/// What the doors were told before.
#[derive(Debug, Clone, Copy, Default)]
pub struct Before<'a> {
    /// The last document that is known.
    pub document: Option<&'a ControlDocument>,
    /// A version that one of them is known to have, whoever sent it.
    pub beyond: u64,
}

impl<'a> Before<'a> {
    /// Both.
    pub fn of(document: &'a ControlDocument, beyond: u64) -> Self {
        Self {
            document: Some(document),
            beyond,
        }
    }
}

/// The document: with the version of the one before if nothing changed, with a higher one otherwise.
///
/// The version follows the clock where it can, so that a document made after a lost ConfigMap is still newer than
/// what the services hold.
pub fn document(
    sale: &ValidSale,
    status: &FlashSaleStatus,
    schedule: &Schedule,
    deleting: bool,
    before: Before<'_>,
    now: Timestamp,
) -> ControlDocument {
    let phase = status.phase();
    let mut document = ControlDocument {
        version: before.document.map_or(0, |before| before.version),
        sale: sale.id.clone(),
        phase,
        opens_at: schedule.opening(),
        closes_at: sale.closes_at,
        halted: halt(sale, status).is_some(),
        closed: deleting || matches!(phase, Phase::Draining | Phase::Ended),
        rate_limits: sale.rate_limits.clone(),
        waiting_room: sale.waiting_room,
    };
    if before.document != Some(&document) || before.beyond > document.version {
        let clock = u64::try_from(now.as_millisecond()).unwrap_or(0);
        document.version = clock.max(document.version.max(before.beyond) + 1);
    }
    document
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        controller::{
            known::schedule,
            status::{self, Finding},
        },
        phase::Doors,
    };
    use crds::FlashSale;

    fn sale(on_difference: &str) -> ValidSale {
        let sale: FlashSale = serde_json::from_value(serde_json::json!({
            "apiVersion": "quicksale.io/v1alpha1", "kind": "FlashSale",
            "metadata": {"name": "laptops", "namespace": "shop", "uid": "u"},
            "spec": {
                "onAuditDifference": on_difference,
                "products": [{"sku": "A", "name": "a", "price": "1.00", "stock": 1}],
            },
        }))
        .unwrap();
        ValidSale::try_from(&sale).unwrap()
    }

    #[test]
    fn books_that_differ_halt_a_sale_unless_it_is_to_go_on() {
        let now = Timestamp::UNIX_EPOCH;
        let mut status = FlashSaleStatus::default();
        assert_eq!(halt(&sale("Halt"), &status), None);
        for (agree, wanted) in [(false, Some(Halt::BooksDiffer)), (true, None)] {
            let finding = Finding::new(ConditionType::StockConserved, agree, "Looked", "so it is");
            status::record(&mut status, &[finding], 1, now);
            assert_eq!(halt(&sale("Halt"), &status), wanted);
            assert_eq!(halt(&sale("Continue"), &status), None);
            let schedule = schedule(&sale("Halt"), &status, &Doors::default(), now);
            let control = document(&sale("Halt"), &status, &schedule, false, Before::default(), now);
            assert_eq!(control.halted, wanted.is_some());
        }
    }

    /// Whoever led before may have sent a document and died before it was written down, by a clock that was ahead of ours.
    #[test]
    fn a_document_is_newer_than_any_that_a_door_has() {
        let (sale, status) = (sale("Halt"), FlashSaleStatus::default());
        let now = Timestamp::from_second(1_000).unwrap();
        let schedule = schedule(&sale, &status, &Doors::default(), now);
        let at = |before| document(&sale, &status, &schedule, false, before, now);
        let first = at(Before::default());
        assert_eq!(first.version, 1_000_000);
        assert_eq!(at(Before::of(&first, 0)), first);
        assert_eq!(at(Before::of(&first, first.version)), first);
        assert_eq!(at(Before::of(&first, 1_000_005)).version, 1_000_006);
    }
}
