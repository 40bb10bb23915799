//! Deletes what the operator made for a sale and no longer wants.

use super::{
    build::{Child, Kind},
    context::Context,
    observed::Observed,
};
use crate::deadline::{ApiError, within};
use crds::names::COMPONENT_LABEL;
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, Preconditions},
    core::DynamicObject,
};

/// Deletes every object that was observed and is not among those wanted; returns how many.
///
/// Only what carries our labels and the sale's uid is ever looked at, and the uid of the object is a precondition:
/// a stranger's object of the same name is safe.
///
/// # Errors
/// [`ApiError`].
pub async fn prune(
    context: &Context,
    namespace: &str,
    observed: &Observed,
    wanted: &[Child],
) -> Result<usize, ApiError> {
    let mut deleted = 0;
    for (kind, object) in unwanted(observed, wanted) {
        let api: Api<DynamicObject> =
            Api::namespaced_with(context.client.clone(), namespace, &kind.api_resource());
        let only_this = Preconditions {
            uid: object.uid(),
            resource_version: None,
        };
        let params = DeleteParams {
            preconditions: Some(only_this),
            ..DeleteParams::background()
        };
        match within(api.delete(&object.name_any(), &params)).await {
            Ok(_) => tracing::info!(?kind, name = object.name_any(), namespace, "pruned"),
            // Gone already, or replaced: the next look decides.
            Err(error) if error.is_not_found() || error.is_conflict() => {}
            Err(error) => return Err(error),
        }
        if kind == Kind::Secret {
            context.named.forget(namespace, &object.name_any());
        }
        deleted += 1;
    }
    Ok(deleted)
}

fn unwanted<'a>(
    observed: &'a Observed,
    wanted: &'a [Child],
) -> impl Iterator<Item = (Kind, &'a DynamicObject)> {
    observed
        .children
        .iter()
        .filter(|(kind, object)| {
            !wanted
                .iter()
                .any(|child| child.kind == *kind && child.name == object.name_any())
        })
        .filter(|(_, object)| object.metadata.deletion_timestamp.is_none())
        // The report of a version whose reports went with their sale: it does so still, and not before.
        .filter(|(kind, object)| *kind != Kind::ConfigMap || !is_report(object))
        .map(|(kind, object)| (*kind, object))
}

fn is_report(object: &DynamicObject) -> bool {
    object
        .labels()
        .get(COMPONENT_LABEL)
        .is_some_and(|component| component == "report")
}
