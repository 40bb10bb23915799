//! What is known of a sale as a round begins: its status with the facts that have come since it was written, what its doors go by, and when
//! they open.

use super::{context::Context, observed::Observed};
use crate::phase::{self, Doors, Schedule};
use crds::{FlashSale, FlashSaleStatus, ValidSale, status::ConditionType};
use jiff::Timestamp;
use kube::ResourceExt;
use sale::phase::Phase;

/// The status as it was written, with the facts that have come since. Where somebody has emptied it, the phase comes from the
/// control document that the services hold: a sale that is open must not begin anew.
pub fn known_status(
    context: &Context,
    sale: &FlashSale,
    observed: &Observed,
    now: Timestamp,
) -> FlashSaleStatus {
    let mut status = sale.status.clone().unwrap_or_default();
    let name = sale.name_any();
    if status.phase.is_none()
        && let Some(document) = observed.control(&name)
    {
        tracing::warn!(namespace = sale.namespace(), sale = name, phase = %document.phase, "the status was empty");
        status.phase = Some(document.phase);
        status.opens_at = status.opens_at.or(document.opens_at);
        if !matches!(document.phase, Phase::Pending | Phase::Warming) {
            status.opened_at = status.opened_at.or(document.opens_at);
        }
        match document.phase {
            Phase::Draining => status.draining_since = status.draining_since.or(Some(now)),
            Phase::Ended => status.ended_at = status.ended_at.or(Some(now)),
            Phase::Pending | Phase::Warming | Phase::Live => {}
        }
    }
    let doors = doors(context, sale, observed);
    // Of a sale that sells, or has sold, nobody may have written down since when.
    let has_sold = matches!(status.phase, Some(Phase::Live | Phase::Draining));
    let since = status.opened_at.or_else(|| {
        let told = status.opens_at.or(doors.told);
        told.filter(|_| has_sold && doors.exist)
    });
    status.opened_at = phase::opened(since, &doors, now);
    status
}

/// What the doors of a sale go by: what they were told last, written down or not, and whether there are any.
pub fn doors(context: &Context, sale: &FlashSale, observed: &Observed) -> Doors {
    let status = sale.status.as_ref();
    let rolled_out = status.and_then(|status| status.condition(ConditionType::WorkloadsReady));
    let has_sold = status.is_some_and(|status| status.opened_at.is_some());
    let was_complete = has_sold || rolled_out.is_some_and(|condition| condition.holds() == Some(true));
    let written = observed.doors(&sale.name_any(), was_complete);
    let told = context.told.last(&sale.uid().unwrap_or_default());
    let newer = told.filter(|told| {
        let document = observed.control(&sale.name_any());
        document.is_none_or(|written| written.version < told.document.version)
    });
    match newer {
        Some(told) => Doors {
            told: told.document.opens_at,
            closed: told.document.closed,
            exist: written.exist,
        },
        None => written,
    }
}

/// What spec, status and doors say about time.
pub fn schedule(sale: &ValidSale, status: &FlashSaleStatus, doors: &Doors, now: Timestamp) -> Schedule {
    // An opening that was taken out of the spec is none any more; one that we decided on is never in the future.
    let decided = status.opens_at.filter(|at| sale.opens_at.is_none() && *at <= now);
    Schedule {
        opens_at: phase::standing_opening(doors, now).or(sale.opens_at),
        closes_at: sale.closes_at,
        warm_up: sale.warm_up,
        decided,
        opened_at: status.opened_at,
    }
}

/// Whether what is written offers units that nobody has bought.
pub fn offers_units(sale: &ValidSale, status: &FlashSaleStatus) -> bool {
    sale.products.iter().any(|product| {
        let known = status.products.iter().find(|p| p.sku == product.sku.as_str());
        known.is_none_or(|known| product.stock > known.sold + known.reserved)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn sale(spec: &serde_json::Value) -> ValidSale {
        let sale: FlashSale = serde_json::from_value(json!({
            "apiVersion": "quicksale.io/v1alpha1", "kind": "FlashSale",
            "metadata": {"name": "laptops", "namespace": "shop", "uid": "u"}, "spec": spec,
        }))
        .unwrap();
        ValidSale::try_from(&sale).unwrap()
    }

    fn products(stock: i64) -> serde_json::Value {
        json!({"products": [{"sku": "A", "name": "a", "price": "1.00", "stock": stock}]})
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// The moment that the operator has decided on lies ahead again; an open sale stays open, and one that is not decides anew.
    #[test]
    fn a_clock_that_steps_back_closes_no_open_sale() {
        let status = |opened_at| FlashSaleStatus {
            opens_at: Some(at(100)),
            opened_at,
            ..FlashSaleStatus::default()
        };
        let opening = |status: &FlashSaleStatus, now| {
            schedule(&sale(&products(1)), status, &Doors::default(), at(now)).opening()
        };
        assert_eq!(opening(&status(Some(at(100))), 99), Some(at(100)));
        assert_eq!(opening(&status(None), 100), Some(at(100)));
        assert_eq!(opening(&status(None), 99), None);
    }

    #[test]
    fn a_sale_offers_units_where_more_are_written_than_bought() {
        let sold = |sold, reserved| FlashSaleStatus {
            products: vec![crds::status::ProductStatus {
                sku: "A".into(),
                stock: 5,
                sold,
                reserved,
                ..Default::default()
            }],
            ..FlashSaleStatus::default()
        };
        assert!(!offers_units(&sale(&products(5)), &sold(4, 1)));
        assert!(offers_units(&sale(&products(6)), &sold(4, 1)));
        assert!(offers_units(&sale(&products(5)), &sold(3, 1)));
        assert!(offers_units(&sale(&products(5)), &FlashSaleStatus::default()));
    }
}
