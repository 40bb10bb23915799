//! What is said of the products and their units: whether they are as written, and whether none was made up or lost.

use super::{TOLD, first, some};
use crate::{
    calls::CallError,
    catalogue::{Because, Catalogue},
    controller::{evidence::Books, status::Finding},
};
use crds::{names::PAUSED_ANNOTATION, status::ConditionType};
use jiff::Timestamp;

/// Products are sold as they are, and what was written since waits.
pub const CHANGE_HELD: &str = "ChangeHeld";

pub(super) fn catalogue(catalogue: &Catalogue) -> Finding {
    let kind = ConditionType::CatalogReady;
    if !catalogue.lost.is_empty() {
        let message = format!(
            "the inventory no longer has {}; put the sale's database back, for made anew they would be sold twice",
            catalogue.lost.join(", ")
        );
        Finding::new(kind, false, "ProductsLost", message)
    } else if !catalogue.problems.is_empty() {
        Finding::new(kind, false, "ChangeRefused", catalogue.problems.join("; "))
    } else if let Some(because) = catalogue.left_because {
        let why = match because {
            Because::Paused => format!("the annotation {PAUSED_ANNOTATION}=true is there; take it away"),
            Because::Invalid => "the spec is not valid; mend it".to_owned(),
        };
        let message = format!("what is written of {} waits while {why}", some(&catalogue.left));
        Finding::new(kind, false, CHANGE_HELD, message)
    } else if catalogue.can_be_sold() {
        let message = "the inventory holds the products as they are written";
        Finding::new(kind, true, "AsWritten", message)
    } else {
        Finding::new(kind, false, "ChangeUnderWay", "an edit of stock is on its way")
    }
}

/// Whether no unit was made up or lost. What nobody has looked at stays as it was found before.
pub(super) fn conserved(
    catalogue: &Catalogue,
    books: &Result<Books, CallError>,
    now: Timestamp,
) -> Option<Finding> {
    let kind = ConditionType::StockConserved;
    if !catalogue.lost.is_empty() {
        let message = "the account of a product that was sold from is gone, as CatalogReady says";
        return Some(Finding::new(kind, false, "ProductsLost", message));
    }
    if !catalogue.unbalanced.is_empty() {
        let skus = catalogue.unbalanced.join(", ");
        let message = format!("the units of {skus} do not add up; the inventory's log says more");
        return Some(Finding::new(kind, false, "AccountBroken", message));
    }
    let books = books.as_ref().ok()?;
    let differences = books.differences()?;
    if differences.is_empty() {
        if let Some(looked) = books.stale_since(now) {
            let message =
                format!("the books agreed at {looked}; inventory has not looked since, and its log says why");
            return Some(Finding::new(kind, true, "LookIsOld", message));
        }
        let message = "every movement of units is in the ledger, and it adds up to the stock";
        return Some(Finding::new(kind, true, "BooksAgree", message));
    }
    let told: Vec<String> = differences.iter().take(TOLD).map(|one| first(one)).collect();
    let more = match differences.len().saturating_sub(TOLD) {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    let message = format!(
        "{}{more}; quicksale audit says all, and ends the halt once the books agree",
        told.join("; ")
    );
    Some(Finding::new(kind, false, "BooksDiffer", message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::evidence::{Audit, Ledger, RECENT};
    use crds::Component;

    #[test]
    fn books_that_differ_are_told_of_and_those_nobody_has_looked_at_say_nothing() {
        let books = |ledger: Option<&[&str]>, audit: &[&str]| {
            let lines = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect();
            Ok(Books {
                ledger: ledger.map(|differences| Ledger {
                    at: Timestamp::UNIX_EPOCH,
                    differences: lines(differences),
                }),
                audit: Some(Audit {
                    differences: Some(lines(audit)),
                }),
            })
        };
        let held = |unbalanced: &[String]| Catalogue {
            unbalanced: unbalanced.to_vec(),
            ..Catalogue::default()
        };
        let conserved = |unbalanced: &[String], books: &_| {
            super::conserved(&held(unbalanced), books, Timestamp::UNIX_EPOCH)
        };
        assert!(conserved(&[], &books(None, &[])).is_none());
        assert!(conserved(&[], &Err(CallError::NoReplica(Component::Inventory))).is_none());
        let late = Timestamp::UNIX_EPOCH + RECENT * 2;
        let old = super::conserved(&held(&[]), &books(Some(&[]), &[]), late).unwrap();
        assert_eq!((old.holds, old.reason), (true, "LookIsOld"));
        let agree = conserved(&[], &books(Some(&[]), &[])).unwrap();
        assert_eq!((agree.holds, agree.reason), (true, "BooksAgree"));
        let long = "x".repeat(10_000);
        let differ = conserved(&[], &books(Some(&["a", long.as_str()]), &["c", "d", "e"])).unwrap();
        assert_eq!((differ.holds, differ.reason), (false, "BooksDiffer"));
        assert!(differ.message.starts_with("a; xxx"), "{}", differ.message);
        assert!(differ.message.contains("; c; and 2 more;"), "{}", differ.message);
        assert!(differ.message.len() < 600, "{}", differ.message);
        let broken = conserved(&["A".to_owned()], &books(Some(&[]), &[])).unwrap();
        assert_eq!((broken.holds, broken.reason), (false, "AccountBroken"));
        let gone = Catalogue {
            lost: vec!["A".to_owned()],
            ..Catalogue::default()
        };
        let gone = super::conserved(&gone, &books(Some(&[]), &[]), Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!((gone.holds, gone.reason), (false, "ProductsLost"));
    }
}
