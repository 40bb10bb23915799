//! Checks a sale before anything is built from it.

use super::{
    context::Context,
    error::Error,
    status::{self, Finding},
};
use crds::{FlashSale, ValidSale, status::ConditionType, valid::Invalid};
use kube::{ResourceExt, runtime::events::EventType};

/// The checked sale: the API server checks the same rules, but an object may be older than a rule.
///
/// # Errors
/// [`Invalid`], with a sentence for each finding.
pub fn validate(sale: &FlashSale) -> Result<ValidSale, Invalid> {
    ValidSale::try_from(sale)
}

/// Refuses a sale whose topics belong to another: each would take the other's messages for its own, and the end of one
/// would delete the topics of both. The sale that was there first keeps them.
///
/// # Errors
/// [`Invalid`].
pub fn owns_its_topics(
    sale: &FlashSale,
    valid: ValidSale,
    others: &[FlashSale],
) -> Result<ValidSale, Invalid> {
    let age = |sale: &FlashSale| (sale.creation_timestamp().map(|at| at.0), sale.uid());
    let backends = |sale: &ValidSale| {
        let own = sale.backends_secret.as_ref();
        own.map(|name| (sale.id.namespace.clone(), name.clone()))
    };
    let owner = others
        .iter()
        .filter(|other| age(other) < age(sale))
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

/// Says what is wrong and leaves everything as it is: an open sale goes on as it was last valid.
///
/// # Errors
/// [`Error::Api`].
pub async fn report(context: &Context, sale: &FlashSale, invalid: &Invalid) -> Result<(), Error> {
    let sentence = invalid.to_string();
    let mut status = sale.status.clone().unwrap_or_default();
    status.phase.get_or_insert_default();
    status.message = Some(format!("The spec is not valid: {sentence}"));
    let findings = [
        Finding::new(ConditionType::Ready, false, "InvalidSpec", sentence.as_str()),
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
    status::write(&context.client, sale, &status).await?;
    Ok(())
}
