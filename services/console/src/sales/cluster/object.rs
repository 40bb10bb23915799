//! What is known of a sale from its object alone.

use super::super::view::{Condition, Halt, Known, ShownPhase, Steering, Summary, Units};
use super::report;
use crds::{
    FlashSale, Readable,
    flashsale::Mode,
    status::{Condition as Stated, ConditionType},
};
use kube::ResourceExt;
use order::tally::Counts;
use sale::SaleId;
use std::collections::BTreeMap;

/// The reason of the condition Halted where the operator has halted the sale by itself.
const BOOKS_DIFFER: &str = "BooksDiffer";

/// What is known of a sale from its object alone.
pub(super) fn known(object: &Readable) -> Option<Known> {
    let sale = SaleId {
        namespace: object.namespace()?,
        name: object.name_any(),
    };
    let sale = match &object.0 {
        Ok(read) => readable(sale, read),
        Err(error) => unreadable(sale, &error.error),
    };
    Some(sale)
}

fn unreadable(sale: SaleId, why: &str) -> Known {
    let condition = Condition {
        kind: "Readable".to_owned(),
        status: "False".to_owned(),
        reason: "Unreadable".to_owned(),
        message: format!("This version cannot read the FlashSale: {why}."),
        since: None,
        good: Some(false),
    };
    Known {
        summary: Summary {
            sale,
            phase: ShownPhase::UNREADABLE,
            mode: "Sale",
            opens_at: None,
            closes_at: None,
            halt: Halt::No,
            halt_requested: false,
            message: condition.message.clone(),
            url: None,
            units: Units::default(),
            orders: None,
            attention: vec![condition.clone()],
        },
        conditions: vec![condition],
        declared_stock: BTreeMap::new(),
        retain_for: None,
        report: None,
        steering: Steering::None,
    }
}

fn readable(sale: SaleId, object: &FlashSale) -> Known {
    let status = object.status.clone().unwrap_or_default();
    let stated: Vec<_> = status.conditions.iter().map(condition).collect();
    let account = |product: &crds::status::ProductStatus| Units {
        stock: product.stock,
        available: product.available,
        reserved: product.reserved,
        sold: product.sold,
    };
    let units: Units = if status.products.is_empty() {
        // Nothing was brought to the inventory yet: all that there will be.
        let stock = object.spec.products.iter().map(|product| product.stock).sum();
        Units {
            stock,
            available: stock,
            ..Units::default()
        }
    } else {
        status.products.iter().map(account).sum()
    };
    Known {
        summary: Summary {
            sale,
            phase: ShownPhase::Known(status.phase()),
            mode: match object.spec.mode {
                Mode::Sale => "Sale",
                Mode::Rehearsal => "Rehearsal",
            },
            opens_at: status.opens_at.or(object.spec.opens_at),
            closes_at: status.closes_at.or(object.spec.closes_at),
            halt: halt(object),
            halt_requested: object.spec.halted,
            message: status
                .message
                .clone()
                .unwrap_or_else(|| "The operator has not looked at it yet.".to_owned()),
            url: status.url.clone(),
            units,
            orders: status.orders.map(|orders| counts(&orders)),
            attention: stated
                .iter()
                .filter(|condition| condition.good == Some(false))
                .cloned()
                .collect(),
        },
        conditions: stated,
        declared_stock: object
            .spec
            .products
            .iter()
            .map(|product| (product.sku.clone(), product.stock))
            .collect(),
        retain_for: Some(object.spec.retain_for.as_str().to_owned()),
        report: report::name(object).map(str::to_owned),
        steering: Steering::FlashSale,
    }
}

/// The operator halts a sale by itself where its books differ, whatever the spec says.
fn halt(object: &FlashSale) -> Halt {
    let status = object.status.as_ref();
    let halted = status.and_then(|status| status.condition(ConditionType::Halted));
    if halted.is_some_and(|halted| halted.holds() == Some(true) && halted.reason == BOOKS_DIFFER) {
        Halt::BooksDiffer
    } else if object.spec.halted {
        Halt::OnRequest
    } else {
        Halt::No
    }
}

/// The operator counts what failed, was cancelled and expired as one.
fn counts(orders: &crds::status::OrderNumbers) -> Counts {
    let number = |orders: i64| u64::try_from(orders).unwrap_or_default();
    Counts {
        accepted: number(orders.accepted),
        pending: number(orders.pending),
        confirmed: number(orders.confirmed),
        failed: number(orders.failed),
        ..Counts::default()
    }
}

fn condition(stated: &Stated) -> Condition {
    Condition {
        kind: stated.type_.clone(),
        status: stated.status.clone(),
        reason: stated.reason.clone(),
        message: stated.message.clone(),
        since: Some(stated.last_transition_time),
        good: is_good(stated),
    }
}

/// Whether a condition is as it should be. A sale is halted because somebody wants it so, and what is not known is neither.
fn is_good(stated: &Stated) -> Option<bool> {
    // One that this version does not know is about something that should hold, as most are.
    let good = stated.kind().map_or(Some(true), ConditionType::good_when)?;
    Some(stated.holds()? == good)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn sale(halted: bool, condition: &str, reason: &str) -> Known {
        let object = json!({
            "apiVersion": "quicksale.io/v1alpha1", "kind": "FlashSale",
            "metadata": {"name": "laptops", "namespace": "shop"},
            "spec": {"halted": halted, "products": [{"sku": "A", "name": "A", "price": "1.00", "stock": 7}]},
            "status": {"phase": "Live", "conditions": [
                {"type": "Halted", "status": condition, "reason": reason, "lastTransitionTime": "2026-12-01T12:00:00Z"}]},
        });
        known(&serde_json::from_value(object).unwrap()).unwrap()
    }

    #[test]
    fn a_sale_that_the_operator_has_halted_is_shown_as_halted() {
        assert_eq!(sale(false, "False", "NotRequested").summary.halt, Halt::No);
        let asked = sale(true, "False", "NotRequested").summary;
        assert_eq!((asked.halt, asked.halt_requested), (Halt::OnRequest, true));
        let differs = sale(false, "True", BOOKS_DIFFER).summary;
        assert_eq!((differs.halt, differs.halt_requested), (Halt::BooksDiffer, false));
        assert_eq!(sale(true, "True", BOOKS_DIFFER).summary.halt, Halt::BooksDiffer);
    }

    #[test]
    fn an_object_that_cannot_be_read_is_there_and_cannot_be_steered() {
        let broken = json!({"apiVersion": "quicksale.io/v1alpha1", "kind": "FlashSale",
            "metadata": {"name": "laptops", "namespace": "shop"}, "spec": {"products": 7}});
        let shown = known(&serde_json::from_value(broken).unwrap()).unwrap();
        assert_eq!(
            (shown.summary.phase, shown.steering),
            (ShownPhase::UNREADABLE, Steering::None)
        );
        assert_eq!(shown.summary.attention.len(), 1);
    }

    #[test]
    fn what_is_good_depends_on_the_condition() {
        let is_good = |kind: &str, status: &str| {
            let stated = json!({"type": kind, "status": status, "reason": "Because", "lastTransitionTime": "2026-12-01T12:00:00Z"});
            super::is_good(&serde_json::from_value(stated).unwrap())
        };
        assert_eq!(is_good("Ready", "True"), Some(true));
        assert_eq!(is_good("Ready", "False"), Some(false));
        assert_eq!(is_good("Degraded", "True"), Some(false));
        assert_eq!(is_good("Degraded", "False"), Some(true));
        assert_eq!(is_good("Halted", "True"), None);
        assert_eq!(is_good("StockConserved", "Unknown"), None);
        assert_eq!(is_good("OfALaterVersion", "False"), Some(false));
    }
}
