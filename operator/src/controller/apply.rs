//! Writes objects to the API server: only those that differ, server-side, in order.

use super::build::{Child, MANAGER};
use super::fetch::Observed;
use crate::deadline::{ApiError, within};
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
    core::DynamicObject,
};

/// Why an object could not be applied.
#[derive(Debug, thiserror::Error)]
#[error("cannot apply the {kind} {name}: {source}")]
pub struct ApplyError {
    kind: String,
    name: String,
    source: ApiError,
}

/// Applies one object unless it is already as it should be; returns whether it was written.
///
/// Ownership of the fields is taken by force: whoever edited them by hand finds the sale's spec in force again.
///
/// # Errors
/// [`ApplyError`].
pub async fn apply(
    client: &Client,
    namespace: &str,
    observed: &Observed,
    child: &Child,
) -> Result<bool, ApplyError> {
    if observed
        .child(child.kind, &child.name)
        .is_some_and(|live| child.is_met_by(live))
    {
        return Ok(false);
    }
    let resource = child.kind.api_resource();
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
    let params = PatchParams::apply(MANAGER).force();
    within(api.patch(&child.name, &params, &Patch::Apply(&child.json)))
        .await
        .map_err(|source| ApplyError {
            kind: resource.kind.clone(),
            name: child.name.clone(),
            source,
        })?;
    tracing::info!(kind = resource.kind, name = child.name, namespace, "applied");
    Ok(true)
}
