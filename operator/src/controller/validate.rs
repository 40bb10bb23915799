//! Checks a sale before anything is built from it.

use super::{
    context::Context,
    error::Error,
    status::{self, Finding},
};
use crds::{FlashSale, ValidSale, status::ConditionType, valid::Invalid};
use kube::runtime::events::EventType;

/// The checked sale: the API server checks the same rules, but an object may be older than a rule.
///
/// # Errors
/// [`Invalid`], with a sentence for each finding.
pub fn validate(sale: &FlashSale) -> Result<ValidSale, Invalid> {
    ValidSale::try_from(sale)
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
