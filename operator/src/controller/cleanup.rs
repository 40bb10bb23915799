//! The end of a deleted sale, and of a rehearsal's data.

use super::{
    context::Context,
    error::Error,
    fetch::{Observed, SecretData},
    prune,
};
use crate::{backends::drop_database, deadline::within, topics};
use crds::{FlashSale, Readable, ValidSale, flashsale::DeletionPolicy};
use jiff::Timestamp;
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams},
};
use platform::backends::Credentials;
use serde_json::json;
use std::time::Duration;

/// Keeps a FlashSale from going before its orders are settled and what it made is deleted.
pub const FINALIZER: &str = "quicksale.io/drain";
/// Set to `true` on a FlashSale, it skips every wait of its deletion.
pub const FORCE_ANNOTATION: &str = "quicksale.io/force-delete";
/// How long pods may take to go before data is deleted regardless.
const PODS_BOUND: Duration = Duration::from_secs(60);

/// Whether somebody asked for the deletion not to wait.
pub fn is_forced(sale: &FlashSale) -> bool {
    sale.annotations()
        .get(FORCE_ANNOTATION)
        .is_some_and(|value| value == "true")
}

/// Whether the sale waits for us to clean up.
pub fn is_held(sale: &impl ResourceExt) -> bool {
    sale.finalizers().iter().any(|name| name == FINALIZER)
}

/// Puts the finalizer on, before anything is made that it has to take away.
///
/// # Errors
/// [`Error::Api`].
pub async fn hold(context: &Context, sale: &FlashSale) -> Result<(), Error> {
    if is_held(sale) {
        return Ok(());
    }
    let mut finalizers = sale.finalizers().to_vec();
    finalizers.push(FINALIZER.to_owned());
    set_finalizers(context, sale, &finalizers).await
}

/// Takes the finalizer off: the API server then lets the object go.
///
/// # Errors
/// [`Error::Api`].
pub async fn release(context: &Context, sale: &impl ResourceExt) -> Result<(), Error> {
    let others: Vec<_> = sale
        .finalizers()
        .iter()
        .filter(|name| *name != FINALIZER)
        .cloned()
        .collect();
    context.backends.forget(&sale.uid().unwrap_or_default());
    context.succeeded(sale);
    match set_finalizers(context, sale, &others).await {
        Err(Error::Api(error)) if error.is_not_found() => Ok(()),
        result => result,
    }
}

async fn set_finalizers(
    context: &Context,
    sale: &impl ResourceExt,
    finalizers: &[String],
) -> Result<(), Error> {
    let api: Api<Readable> = Api::namespaced(context.client.clone(), &sale.namespace().unwrap_or_default());
    // With the version that was read: somebody else's finalizer must not be lost.
    let patch = json!({"metadata": {"finalizers": finalizers, "resourceVersion": sale.resource_version()}});
    within(api.patch(&sale.name_any(), &PatchParams::default(), &Patch::Merge(&patch))).await?;
    Ok(())
}

/// Deletes everything that was made for the sale and, if it is so decided, its data. Returns `false` while the pods
/// are still there: they would make the data anew.
///
/// # Errors
/// [`Error`] when something cannot be deleted.
pub async fn clean_up(
    context: &Context,
    sale: &FlashSale,
    valid: Option<&ValidSale>,
    observed: &Observed,
    now: Timestamp,
) -> Result<bool, Error> {
    prune::prune(
        &context.client,
        &sale.namespace().unwrap_or_default(),
        observed,
        &[],
    )
    .await?;
    let Some(valid) =
        valid.filter(|valid| valid.deletion_policy == DeletionPolicy::Delete || valid.is_rehearsal())
    else {
        return Ok(true);
    };
    let deleted_at = sale
        .metadata
        .deletion_timestamp
        .as_ref()
        .map_or(now, |time| time.0);
    let waited = now.duration_since(deleted_at).unsigned_abs();
    if !is_forced(sale) && !observed.pods.is_empty() && waited < PODS_BOUND * 2 {
        return Ok(false);
    }
    match wipe(valid, observed.backends.as_ref()).await {
        Err(error) if is_forced(sale) => {
            tracing::warn!(sale = %valid.id, %error, "data left behind, as asked for");
            Ok(true)
        }
        result => result.map(|()| true),
    }
}

/// Deletes the topics and the database of a sale.
///
/// # Errors
/// [`Error`].
pub async fn wipe(sale: &ValidSale, backends: Option<&SecretData>) -> Result<(), Error> {
    let credentials = credentials(backends).map_err(Error::Credentials)?;
    topics::delete(&credentials.kafka, &sale.topics.prefix)
        .await
        .map_err(Error::Topics)?;
    drop_database(&credentials, &sale.database())
        .await
        .map_err(Error::Database)?;
    tracing::info!(sale = %sale.id, database = sale.database(), "data deleted");
    Ok(())
}

/// Reads credentials from a Secret's data.
///
/// # Errors
/// A sentence for a condition.
pub fn credentials(backends: Option<&SecretData>) -> Result<Credentials, String> {
    let data = backends
        .ok_or("the backends Secret does not exist; create it, or name another in spec.backendsSecretRef")?;
    let text = |name: &str| {
        data.get(name)
            .and_then(|value| String::from_utf8(value.clone()).ok())
            .filter(|v| !v.is_empty())
    };
    Credentials::from_lookup(&text).map_err(|error| error.to_string())
}
