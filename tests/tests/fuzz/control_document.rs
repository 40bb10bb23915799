//! The control document, which is pushed and mounted: what is read can be used and written again.

use crate::{fuzz, mangled_json, mangled_text};
use jiff::Timestamp;
use sale::{SaleId, control::ControlDocument, limits::LimitedRoute};

#[test]
fn a_document_is_refused_or_can_be_used() {
    let sale = SaleId {
        namespace: "shop".into(),
        name: "laptops".into(),
    };
    let mut document = ControlDocument::open_now(sale, Timestamp::UNIX_EPOCH);
    document.closes_at = Some(Timestamp::MAX);
    let original = serde_json::to_value(&document).unwrap();
    fuzz(|u| {
        let json = mangled_json(u, &original)?;
        let Ok(read) = serde_json::from_slice::<ControlDocument>(&json) else {
            return Ok(());
        };
        let _any = read.admission(Timestamp::from_second(u.int_in_range(0..=4_000_000_000)?).unwrap());
        for route in LimitedRoute::ALL {
            let _any = read.rate_limits.get(route);
        }
        let written = serde_json::to_vec(&read).unwrap();
        assert_eq!(serde_json::from_slice::<ControlDocument>(&written).unwrap(), read);
        Ok(())
    });
}

#[test]
fn every_sale_has_names_that_fit() {
    let longest = "x".repeat(63);
    fuzz(|u| {
        let sale = SaleId {
            namespace: mangled_text(u, &longest)?,
            name: mangled_text(u, "laptops")?,
        };
        for rehearsal in [false, true] {
            assert!(sale.database(rehearsal).len() <= 63, "{sale:?}");
            assert!(sale.redis_prefix(rehearsal).contains(&sale.to_string()));
            assert!(sale.default_topic_prefix(rehearsal).ends_with('.'));
        }
        Ok(())
    });
}
