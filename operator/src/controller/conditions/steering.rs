//! What is said of those who decide by the control document: whether they go by it, and by which time.

use super::some;
use crate::{
    controller::{control::Halt, status::Finding},
    push::{CLOCKS_AGREE, Heard, Receipts},
};
use crds::status::ConditionType;
use jiff::SignedDuration;

/// Whether every replica that decides by the control document has it, as they have answered. Nothing is said while there are none.
pub fn control_in_force(receipts: &Receipts) -> Option<Finding> {
    let kind = ConditionType::ControlInForce;
    if receipts.audience == 0 && receipts.unheard == 0 {
        return None;
    }
    let told = numbers(&receipts.gateways, &receipts.orders);
    if receipts.everywhere() {
        let message = format!("{told} go by the control document");
        return Some(Finding::new(kind, true, "Confirmed", message));
    }
    let mut message = format!("{told} have confirmed the control document");
    if !receipts.silent.is_empty() {
        message = format!(
            "{message}; no answer from {}: let the operator reach port 9090 of the sale's pods, or delete a pod that hangs",
            some(&receipts.silent)
        );
    }
    Some(Finding::new(kind, false, "NotEverywhere", message))
}

fn numbers(gateways: &Heard, orders: &Heard) -> String {
    format!(
        "{} of {} gateways and {} of {} order services",
        gateways.in_force, gateways.audience, orders.in_force, orders.audience
    )
}

/// Whether those who open and close the doors go by the operator's time; nothing where nobody said the time.
pub fn clocks(receipts: &Receipts) -> Option<Finding> {
    let kind = ConditionType::ClocksAgree;
    if receipts.clocks == 0 {
        return None;
    }
    let wrong: Vec<_> = receipts
        .wrong_clocks
        .iter()
        .map(|(pod, by)| wrong(pod, *by))
        .collect();
    Some(match wrong.as_slice() {
        [] => Finding::new(
            kind,
            true,
            "Agree",
            format!(
                "the clocks of gateways and order services are within {CLOCKS_AGREE:#} of the operator's"
            ),
        ),
        wrong => {
            let message = format!(
                "{}: doors open and close that much too early or too late; have NTP set the clocks of all nodes, the operator's too",
                some(wrong)
            );
            Finding::new(kind, false, "ClockSkew", message)
        }
    })
}

fn wrong(pod: &str, by: SignedDuration) -> String {
    // Whole seconds: what is off by more and less from look to look is no news.
    let seconds = by
        .round(jiff::Unit::Second)
        .map_or_else(|_| by.as_secs(), |by| by.as_secs());
    let side = if by.is_negative() { "behind" } else { "ahead of" };
    format!("the clock of {pod} is {} s {side} the operator's", seconds.abs())
}

/// Nobody has asked for a halt.
pub const NOT_REQUESTED: &str = "NotRequested";
/// Nobody asks for one any more, and not everybody knows it yet.
pub const RESUMING: &str = "Resuming";

/// Whether new orders are refused: by those who decide about them, not by what is written.
pub fn halted(halt: Option<Halt>, receipts: &Receipts) -> Finding {
    let kind = ConditionType::Halted;
    let obeyed = receipts.in_force() == receipts.audience;
    let told = numbers(&receipts.gateways, &receipts.orders);
    let (reason, why) = match halt {
        None if obeyed => return Finding::new(kind, false, NOT_REQUESTED, "spec.halted is not set"),
        None => {
            let message = format!("spec.halted is not set any more; {told} know it");
            return Finding::new(kind, false, RESUMING, message);
        }
        Some(Halt::OnRequest) => ("OnRequest", "spec.halted is set"),
        Some(Halt::BooksDiffer) => (
            "BooksDiffer",
            "the books differ, as StockConserved says (set spec.onAuditDifference to Continue to sell on)",
        ),
    };
    if obeyed {
        let message = format!("new orders are refused and accepted ones settle: {why}; {told} obey");
        return Finding::new(kind, true, reason, message);
    }
    let reason = match halt {
        Some(Halt::BooksDiffer) => reason,
        _ => "NotEverywhere",
    };
    let message = format!(
        "{why}; {told} refuse new orders, and the others may still take some: ControlInForce says who"
    );
    Finding::new(kind, false, reason, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receipts(gateways: (usize, usize), orders: (usize, usize)) -> Receipts {
        let heard = |(in_force, audience)| Heard {
            in_force,
            audience,
            failing: 0,
        };
        Receipts {
            gateways: heard(gateways),
            orders: heard(orders),
            audience: gateways.1 + orders.1,
            ..Receipts::default()
        }
    }

    /// A gateway that was not reached sells on.
    #[test]
    fn a_sale_is_halted_where_everybody_who_decides_obeys() {
        let all = halted(Some(Halt::OnRequest), &receipts((4, 4), (1, 1)));
        assert_eq!((all.holds, all.reason), (true, "OnRequest"));
        let three = halted(Some(Halt::OnRequest), &receipts((3, 4), (1, 1)));
        assert_eq!((three.holds, three.reason), (false, "NotEverywhere"));
        assert!(three.message.contains("3 of 4 gateways"), "{}", three.message);
        let books = halted(Some(Halt::BooksDiffer), &receipts((3, 4), (1, 1)));
        assert_eq!((books.holds, books.reason), (false, "BooksDiffer"));
        let open = halted(None, &receipts((4, 4), (1, 1)));
        assert_eq!((open.holds, open.reason), (false, "NotRequested"));
        let opening = halted(None, &receipts((3, 4), (1, 1)));
        assert_eq!((opening.holds, opening.reason), (false, "Resuming"));
    }

    #[test]
    fn whoever_has_not_confirmed_the_document_is_named() {
        assert_eq!(control_in_force(&Receipts::default()), None);
        let all = control_in_force(&receipts((2, 2), (1, 1))).unwrap();
        assert!(all.holds && all.message.contains("2 of 2 gateways and 1 of 1 order services"));
        let silent = Receipts {
            unheard: 1,
            silent: vec!["shoes-gateway-7".to_owned()],
            ..receipts((1, 2), (1, 1))
        };
        let some = control_in_force(&silent).unwrap();
        assert_eq!((some.holds, some.reason), (false, "NotEverywhere"));
        assert!(
            some.message.contains("no answer from shoes-gateway-7"),
            "{}",
            some.message
        );
        // Doors that cannot be reached are not closed because there are none.
        assert!(!control_in_force(&receipts((2, 2), (0, 0))).unwrap().holds);
    }

    #[test]
    fn a_wrong_clock_is_told_of_with_its_side() {
        let receipts = |wrong: &[(&str, i64)], clocks| Receipts {
            wrong_clocks: wrong
                .iter()
                .map(|(pod, millis)| ((*pod).to_owned(), SignedDuration::from_millis(*millis)))
                .collect(),
            clocks,
            ..Receipts::default()
        };
        assert_eq!(clocks(&receipts(&[], 0)), None);
        assert!(clocks(&receipts(&[], 2)).unwrap().holds);
        let found = clocks(&receipts(&[("a", 4_600), ("b", -2_300)], 2)).unwrap();
        assert_eq!((found.holds, found.reason), (false, "ClockSkew"));
        assert!(
            found.message.starts_with(
                "the clock of a is 5 s ahead of the operator's, the clock of b is 2 s behind the operator's: "
            ),
            "{}",
            found.message
        );
    }
}
