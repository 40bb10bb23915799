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
    #[error("cannot apply the {kind} {name}: {source}{}", remedy(source))]
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

/// The objects that could not be applied.
#[derive(Debug)]
pub struct ApplyErrors(Vec<ApplyError>);

impl std::error::Error for ApplyErrors {}

impl From<ApplyError> for ApplyErrors {
    fn from(error: ApplyError) -> Self {
        Self(vec![error])
    }
}

/// How many are told of in full; of the others one reads their names.
const TOLD: usize = 2;

impl ApplyErrors {
    /// `None` for none.
    pub fn of(errors: Vec<ApplyError>) -> Option<Self> {
        (!errors.is_empty()).then_some(Self(errors))
    }
}

impl std::fmt::Display for ApplyErrors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (n, error) in self.0.iter().take(TOLD).enumerate() {
            let before = if n == 0 { "" } else { ". " };
            write!(f, "{before}{error}")?;
        }
        for (n, error) in self.0.iter().skip(TOLD).enumerate() {
            let before = if n == 0 { ". Nor" } else { "," };
            write!(f, "{before} {}", error.object())?;
        }
        Ok(())
    }
}

impl ApplyError {
    /// Its kind and name.
    fn object(&self) -> String {
        let (Self::Api { kind, name, .. } | Self::NameTaken { kind, name }) = self;
        format!("{kind} {name}")
    }
}

/// What people can do about a refusal, where that follows from its words.
fn remedy(source: &ApiError) -> &'static str {
    let said = source.to_string();
    let has = |words: &str| said.contains(words);
    if has("webhook") || has("ValidatingAdmissionPolicy") {
        "; let the operator's service account through there, or get the webhook to answer"
    } else if has("exceeded quota") {
        "; raise the namespace's quota"
    } else if source.is_unknown_kind() {
        "; install the definition of this kind, as for HTTPRoutes that of the Gateway API"
    } else if source.is_forbidden() {
        "; give the operator's service account that right, as the chart does"
    } else {
        ""
    }
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
    // A Job cannot be changed; one that is asked for anew has another name.
    if live.is_some_and(|live| child.is_met_by(live) || child.kind == Kind::Job) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::Status;

    /// One that is refused hides no other, and what people can do is said with it.
    #[test]
    fn all_that_could_not_be_applied_is_named() {
        let refused = |name: &str, message: &str| ApplyError::Api {
            kind: "Deployment".into(),
            name: name.into(),
            source: Box::new(kube::Error::Api(Box::new(
                Status::failure(message, "Forbidden").with_code(403),
            )))
            .into(),
        };
        let denied = r#"admission webhook "w.example.com" denied the request: no"#;
        let taken = ApplyError::NameTaken {
            kind: "Service".into(),
            name: "shoes-order".into(),
        };
        let errors = vec![
            refused("shoes-auth", denied),
            refused("shoes-order", "no such right"),
            taken,
            refused("shoes-processor", denied),
        ];
        let told = ApplyErrors::of(errors).unwrap().to_string();
        assert_eq!(
            told,
            "cannot apply the Deployment shoes-auth: the API server: admission webhook \"w.example.com\" denied the request: no; let the \
             operator's service account through there, or get the webhook to answer. cannot apply the Deployment shoes-order: the API \
             server: no such right; give the operator's service account that right, as the chart does. Nor Service shoes-order, \
             Deployment shoes-processor"
        );
        assert!(ApplyErrors::of(Vec::new()).is_none());
    }
}
