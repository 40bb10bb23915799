//! What a rehearsal has found: the most orders a second that the sale held, what that is compared with what is expected, and who is the
//! limit.
//!
//! - [`limits`] reads from what the processes have counted which of them, or which backend, was short of something.

pub mod limits;

use crate::controller::obstacle::Obstacle;
use crds::{
    FlashSale, FlashSaleStatus, ValidSale,
    flashsale::Mode,
    rehearsal::{BesideOpenSales, Expectation},
};
use kube::ResourceExt;
use limits::{Limit, Reading};
use quicksale_load::rehearsal::{Arrival, Found};
use sale::{SaleId, phase::Phase};

/// How the load of a rehearsal stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// It waits for this sale, which is open on the same backends.
    Waiting(SaleId),
    /// It goes on, or is to begin; and what keeps it from that, if something does.
    UnderWay(Option<Obstacle>),
    /// It has ended with these words.
    Ended(Box<Found>),
    /// It has ended without any, for this reason.
    Failed(String),
}

/// The open sale that the load of a rehearsal would take from, and waits for: one that counts, on the same backends.
pub fn beside<'a>(sale: &ValidSale, others: impl Iterator<Item = &'a FlashSale>) -> Option<SaleId> {
    let waits = sale
        .load
        .is_some_and(|load| load.beside_open_sales == BesideOpenSales::Wait);
    // Of a sale with a Secret of its own the backends are those that its namespace's Secret of that name leads to.
    let same_backends = |other: &FlashSale| {
        let secret = other.spec.backends_secret_ref.as_ref().map(|secret| &secret.name);
        let namespace = other.namespace();
        secret == sale.backends_secret.as_ref()
            && (secret.is_none() || namespace.as_deref() == Some(&*sale.id.namespace))
    };
    let is_open = |other: &&FlashSale| {
        let phase = other.status.as_ref().map(FlashSaleStatus::phase);
        other.spec.mode == Mode::Sale
            && matches!(phase, Some(Phase::Live | Phase::Draining))
            && same_backends(other)
    };
    let found = others.filter(|_| waits).find(is_open)?;
    Some(SaleId {
        namespace: found.namespace().unwrap_or_default(),
        name: found.name_any(),
    })
}

/// What is made of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// What the load has found.
    pub found: Found,
    /// Orders a second that are expected.
    pub expected_per_second: Option<i64>,
    /// Buyers who are expected.
    pub expected_buyers: Option<i64>,
    /// Whether that is held; none where nothing is expected.
    pub holds: Option<bool>,
    /// Who is the limit, as far as that can be told.
    pub limited_by: Vec<Limit>,
}

impl Verdict {
    /// Compares what was found with what is expected.
    pub fn of(found: Found, expect: &Expectation, looks: &[Reading]) -> Self {
        let holds = expect
            .orders_per_second
            .map(|expected| i64::from(found.held_per_second) >= expected);
        // Who is the limit shows where it was too much; a load that was held had none.
        let limited_by = match (found.failed_from, found.failed_until) {
            (Some(from), Some(until)) => limits::between(looks, from, until),
            _ => Vec::new(),
        };
        Self {
            expected_per_second: expect.orders_per_second,
            expected_buyers: expect.buyers,
            holds,
            limited_by,
            found,
        }
    }

    /// In one sentence.
    pub fn sentence(&self) -> String {
        let Found {
            held_per_second: held,
            failed_per_second,
            why,
            p99_millis,
            ..
        } = &self.found;
        let mut sentence = match self.expected_per_second {
            Some(expected) => format!("{held} orders/s are held, {expected} are expected"),
            None => format!("{held} orders/s are held"),
        };
        if *held > 0 {
            sentence = format!("{sentence}; 99 of 100 were answered within {p99_millis} ms");
        }
        if let Some(buyers) = self.expected_buyers.filter(|_| *held > 0) {
            let seconds = buyers.div_euclid(i64::from(*held)) + 1;
            sentence = format!("{sentence}; {buyers} buyers would all be answered after {seconds} s");
        }
        sentence = match (failed_per_second, why) {
            (Some(failed), Some(why)) => format!("{sentence}. At {failed}/s {why}"),
            (None, _) => {
                let field = match self.found.arrival {
                    Arrival::Burst => "buyers",
                    Arrival::Steps | Arrival::Steady => "ordersPerSecond",
                };
                format!("{sentence}. More was not asked for: raise spec.load.{field} to find the limit")
            }
            (Some(_), None) => sentence,
        };
        for limit in &self.limited_by {
            sentence = format!("{sentence}. {limit}");
        }
        sentence
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(held: u32, failed: Option<u32>) -> Found {
        Found {
            arrival: Arrival::Steps,
            held_per_second: held,
            failed_per_second: failed,
            why: failed.map(|_| "one of a hundred orders waited 1500 ms for its answer".into()),
            held_from: None,
            held_until: None,
            failed_from: None,
            failed_until: None,
            p99_millis: 210,
            orders: 1,
            accepted: 1,
        }
    }

    #[test]
    fn a_load_waits_for_sales_that_count_on_the_same_backends() {
        let sale = |mode: &str, phase: &str, secret: Option<&str>, load: serde_json::Value| -> FlashSale {
            let secret = secret.map(|name| serde_json::json!({"name": name}));
            serde_json::from_value(serde_json::json!({
                "apiVersion": "quicksale.io/v1alpha1", "kind": "FlashSale",
                "metadata": {"name": "other", "namespace": "shop"},
                "spec": {"mode": mode, "load": load, "backendsSecretRef": secret,
                    "products": [{"sku": "A", "name": "a", "price": "1.00", "stock": 1}]},
                "status": {"phase": phase},
            }))
            .unwrap()
        };
        let nothing = serde_json::Value::Null;
        let drill = |load: serde_json::Value, secret| {
            ValidSale::try_from(&sale("Rehearsal", "Live", secret, load)).unwrap()
        };
        let (waits, begins) = (
            drill(serde_json::json!({}), None),
            drill(serde_json::json!({"besideOpenSales": "Allow"}), None),
        );
        let open = sale("Sale", "Live", None, nothing.clone());
        assert!(beside(&waits, [&open].into_iter()).is_some());
        assert!(beside(&begins, [&open].into_iter()).is_none());
        for other in [
            sale("Sale", "Warming", None, nothing.clone()),
            sale("Rehearsal", "Live", None, nothing.clone()),
            sale("Sale", "Live", Some("own"), nothing.clone()),
        ] {
            assert!(beside(&waits, [&other].into_iter()).is_none(), "{:?}", other.spec);
        }
        let own = drill(serde_json::json!({}), Some("own"));
        assert!(
            beside(
                &own,
                [&sale("Sale", "Draining", Some("own"), nothing)].into_iter()
            )
            .is_some()
        );
        assert!(beside(&own, [&open].into_iter()).is_none());
    }

    #[test]
    fn what_was_found_is_compared_with_what_is_expected() {
        let expect = |rate, buyers| Expectation {
            buyers,
            orders_per_second: rate,
        };
        let verdict = Verdict::of(found(300, Some(330)), &expect(Some(500), Some(20_000)), &[]);
        assert_eq!(verdict.holds, Some(false));
        assert_eq!(
            verdict.sentence(),
            "300 orders/s are held, 500 are expected; 99 of 100 were answered within 210 ms; 20000 buyers would all be answered after 67 s. \
             At 330/s one of a hundred orders waited 1500 ms for its answer"
        );
        let verdict = Verdict::of(found(1_000, None), &expect(Some(500), None), &[]);
        assert_eq!(verdict.holds, Some(true));
        assert!(
            verdict
                .sentence()
                .ends_with("raise spec.load.ordersPerSecond to find the limit")
        );
        assert_eq!(Verdict::of(found(5, None), &expect(None, None), &[]).holds, None);
        let burst = Found {
            arrival: Arrival::Burst,
            ..found(5, None)
        };
        let sentence = Verdict::of(burst, &expect(None, None), &[]).sentence();
        assert!(
            sentence.ends_with("raise spec.load.buyers to find the limit"),
            "{sentence}"
        );
    }
}
