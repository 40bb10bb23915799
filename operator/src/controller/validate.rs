//! Checks a sale before anything is built from it.

use super::{
    context::Context,
    error::Error,
    status::{self, Finding, Write},
};
use crds::{FlashSale, ValidSale, status::ConditionType, valid::Invalid};
use kube::{ResourceExt, runtime::events::EventType};
use sale::phase::Phase;

/// The checked sale: the API server checks the same rules, but an object may be older than a rule.
///
/// # Errors
/// [`Invalid`], with a sentence for each finding.
pub fn validate(sale: &FlashSale) -> Result<ValidSale, Invalid> {
    ValidSale::try_from(sale)
}

/// Refuses a sale whose topics are named like those of another with the same Secret, before anything looks at the
/// backends; what they themselves say decides in the end ([`crate::ownership`]). Each would take the other's messages for its own, and the end of one
/// would delete the topics of both. Who has begun to use them keeps them; among those that have not, who was there first.
/// (Creation times have a resolution of one second, so they alone cannot tell.)
///
/// # Errors
/// [`Invalid`].
pub fn owns_its_topics<'a>(
    sale: &FlashSale,
    valid: ValidSale,
    others: impl Iterator<Item = &'a FlashSale>,
) -> Result<ValidSale, Invalid> {
    let rank = |sale: &FlashSale| {
        let phase = sale.status.as_ref().and_then(|status| status.phase);
        let waits = matches!(phase, None | Some(Phase::Pending));
        (waits, sale.creation_timestamp().map(|at| at.0), sale.uid())
    };
    let backends = |sale: &ValidSale| {
        let own = sale.backends_secret.as_ref();
        own.map(|name| (sale.id.namespace.clone(), name.clone()))
    };
    let owner = others
        .filter(|other| other.uid() != sale.uid() && rank(other) < rank(sale))
        .find_map(|other| {
            let other = ValidSale::try_from(other).ok()?;
            let same = other.topics.prefix == valid.topics.prefix && backends(&other) == backends(&valid);
            same.then_some(other.id)
        });
    match owner {
        None => Ok(valid),
        Some(owner) => Err(Invalid(vec![format!(
            "spec.kafka.topicPrefix: the topics {}* belong to the sale {} in {}; choose another prefix",
            valid.topics.prefix, owner.name, owner.namespace
        )])),
    }
}

/// The sentence for a sale that has begun and whose spec is not valid any more, as after a rule was made tighter.
pub fn still_steered(invalid: &Invalid) -> String {
    format!(
        "The spec is not valid: {invalid}. The sale is opened, halted, closed and settled by the rest of it; nothing else of it changes \
         until that is mended"
    )
}

/// Says what is wrong with a sale that nothing was made for yet.
///
/// # Errors
/// [`Error::Api`].
pub async fn report(context: &Context, sale: &FlashSale, invalid: &Invalid) -> Result<(), Error> {
    let sentence = invalid.to_string();
    let mut status = sale.status.clone().unwrap_or_default();
    status.phase.get_or_insert_default();
    status.observed_generation = sale.metadata.generation;
    status.message = Some(format!("The spec is not valid: {sentence}"));
    let findings = [
        Finding::new(ConditionType::Ready, false, "InvalidSpec", sentence.as_str()),
        Finding::new(ConditionType::Prepared, false, "InvalidSpec", sentence.as_str()),
        Finding::new(ConditionType::Degraded, true, "InvalidSpec", sentence.as_str()),
    ];
    status::record(
        &mut status,
        &findings,
        sale.metadata.generation.unwrap_or(0),
        context.clock.now(),
    );
    if sale.status.as_ref() != Some(&status) {
        context
            .event(sale, EventType::Warning, "Validate", "InvalidSpec", sentence)
            .await;
    }
    status::write(context, sale, &status, Write::Anyway).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn sale(name: &str, uid: &str, created: &str, phase: Option<&str>) -> FlashSale {
        let json = json!({
            "apiVersion": "quicksale.io/v1alpha1", "kind": "FlashSale",
            "metadata": {"name": name, "namespace": "shop", "uid": uid, "generation": 1, "creationTimestamp": created},
            "spec": {
                "products": [{"sku": "A", "name": "a", "price": "1.00", "stock": 1}],
                "kafka": {"topicPrefix": "same."},
            },
            "status": {"phase": phase},
        });
        serde_json::from_value(json).unwrap()
    }

    fn may_use(sale: &FlashSale, other: &FlashSale) -> bool {
        let valid = validate(sale).unwrap();
        owns_its_topics(sale, valid, std::iter::once(other)).is_ok()
    }

    #[test]
    fn exactly_one_of_two_sales_gets_the_topics() {
        let (noon, later) = ("2026-12-01T12:00:00Z", "2026-12-01T12:00:01Z");
        let (first, second) = (sale("a", "2", noon, None), sale("b", "1", later, None));
        assert!(may_use(&first, &second) && !may_use(&second, &first));
        let in_the_same_second = sale("b", "1", noon, None);
        assert!(may_use(&in_the_same_second, &first) && !may_use(&first, &in_the_same_second));
    }

    #[test]
    fn who_has_begun_keeps_the_topics() {
        let noon = "2026-12-01T12:00:00Z";
        for phase in ["Warming", "Live", "Draining", "Ended"] {
            let begun = sale("a", "2", noon, Some(phase));
            for waiting in [None, Some("Pending")] {
                let new = sale("b", "1", noon, waiting);
                assert!(
                    may_use(&begun, &new) && !may_use(&new, &begun),
                    "{phase} {waiting:?}"
                );
            }
        }
    }
}
