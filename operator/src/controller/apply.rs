//! Writes objects to the API server: only those that differ, server-side, in order.

use super::build::{Child, Kind, MANAGER};
use super::context::Context;
use super::observed::Observed;
use crate::deadline::{ApiError, within};
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams},
    core::DynamicObject,
};

/// Why an object could not be applied.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The API server refused or did not answer.
    #[error("cannot apply the {kind} {name}: {source}")]
    Api {
        /// Its kind.
        kind: String,
        /// Its name.
        name: String,
        /// Why.
        source: ApiError,
    },
    /// Somebody else made an object of that name.
    #[error("the {kind} {name} is there already and was not made for this sale; rename it or the sale")]
    NameTaken {
        /// Its kind.
        kind: String,
        /// Its name.
        name: String,
    },
}

/// Applies one object unless it is already as it should be; returns whether it was written.
///
/// Ownership of the fields is taken by force: whoever edited them by hand finds the sale's spec in force again.
///
/// # Errors
/// [`ApplyError`].
pub async fn apply(
    context: &Context,
    namespace: &str,
    observed: &Observed,
    child: &Child,
) -> Result<bool, ApplyError> {
    let live = observed.child(child.kind, &child.name);
    if live.is_some_and(|live| child.is_met_by(live)) {
        return Ok(false);
    }
    let resource = child.kind.api_resource();
    let api: Api<DynamicObject> = Api::namespaced_with(context.client.clone(), namespace, &resource);
    let params = PatchParams::apply(MANAGER).force();
    let failed = |source| ApplyError::Api {
        kind: resource.kind.clone(),
        name: child.name.clone(),
        source,
    };
    // What is known of a Secret may be minutes old: one that was deleted since was deleted to be made anew, and not to come back as
    // it was.
    if let Some(known) = live.filter(|_| child.kind == Kind::Secret) {
        let there = within(api.get_opt(&child.name)).await.map_err(failed)?;
        if there.is_none_or(|there| there.uid() != known.uid()) {
            context.named.forget(namespace, &child.name);
            return Ok(true);
        }
    }
    if live.is_none() {
        let stranger = within(api.get_opt(&child.name)).await.map_err(failed)?;
        if stranger.is_some_and(|object| !child.is_for_the_same_sale(&object)) {
            return Err(ApplyError::NameTaken {
                kind: resource.kind.clone(),
                name: child.name.clone(),
            });
        }
    }
    let applied = within(api.patch(&child.name, &params, &Patch::Apply(&child.json)))
        .await
        .map_err(failed)?;
    // The API server may have found that nothing differs.
    let changed = live.is_none_or(|live| live.resource_version() != applied.resource_version());
    if changed {
        tracing::info!(kind = resource.kind, name = child.name, namespace, "applied");
    }
    match child.kind {
        Kind::Secret => context.named.wrote(applied),
        kind => context.watched.wrote(kind, applied),
    }
    Ok(changed)
}
