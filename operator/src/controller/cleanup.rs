//! The end of a deleted sale, and of a rehearsal's data.

use super::{
    backends_secret::{self, PlaintextConsent},
    context::Context,
    deletion::Data,
    error::Error,
    fetch::SecretData,
    observed::Observed,
    prune,
    trail::{self, Deed},
};
use crate::{
    backends::{self, Place},
    deadline::within,
    ownership::Claimant,
};
use crds::{
    FlashSale, FlashSaleStatus, Readable, ValidSale,
    flashsale::DeletionPolicy,
    names::{FORCE_DELETE_ANNOTATION, TAKE_OVER_ANNOTATION, says_true},
};
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams},
    runtime::events::EventType,
};
use platform::audit::Outcome;
use sale::phase::Phase;
use serde_json::json;
use std::time::Duration;

/// Keeps a FlashSale from going before its orders are settled and what it made is deleted.
pub const FINALIZER: &str = "quicksale.io/drain";
/// How long pods may take to go before data is deleted regardless.
const PODS_BOUND: Duration = Duration::from_secs(120);
/// How long backends that do not answer are waited for.
const WIPE_BOUND: Duration = Duration::from_secs(600);
/// How long a Secret that is not there is waited for: a namespace that is deleted takes it first.
const SECRET_BOUND: Duration = Duration::from_secs(60);

/// Whether somebody asked for the deletion not to wait.
pub fn is_forced(sale: &FlashSale) -> bool {
    says_true(sale, FORCE_DELETE_ANNOTATION)
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
    context.backends.forget(&sale.uid().unwrap_or_default()).await;
    match set_finalizers(context, sale, &others).await {
        Err(Error::Api(error)) if error.is_not_found() => {}
        result => result?,
    }
    // Only now: where somebody else was faster, the next round needs all of it.
    context.forget(sale);
    trail::record(sale, Deed::Release, Outcome::Done);
    Ok(())
}

async fn set_finalizers(
    context: &Context,
    sale: &impl ResourceExt,
    finalizers: &[String],
) -> Result<(), Error> {
    let api: Api<Readable> = Api::namespaced(context.client.clone(), &sale.namespace().unwrap_or_default());
    // With the version that was read: somebody else's finalizer must not be lost.
    let patch = json!({"metadata": {"finalizers": finalizers, "resourceVersion": sale.resource_version()}});
    let written = within(api.patch(&sale.name_any(), &PatchParams::default(), &Patch::Merge(&patch))).await?;
    context.saw(written);
    Ok(())
}

/// The finalizers of Kubernetes' own on an object that is deleted with `--cascade=foreground` or `--cascade=orphan`: while there is one, the
/// garbage collector deletes what the object owns, or removes the owner references.
const CASCADE_FINALIZERS: [&str; 2] = ["foregroundDeletion", "orphan"];

/// Removes those finalizers from a sale whose orders are to be settled first, so that what is gone already can be made anew; returns whether
/// there was one.
///
/// # Errors
/// [`Error::Api`].
pub async fn keep_children(context: &Context, sale: &FlashSale) -> Result<bool, Error> {
    let (cascades, others): (Vec<_>, Vec<_>) = sale
        .finalizers()
        .iter()
        .cloned()
        .partition(|name| CASCADE_FINALIZERS.contains(&name.as_str()));
    if cascades.is_empty() {
        return Ok(false);
    }
    set_finalizers(context, sale, &others).await?;
    Ok(true)
}

/// Deletes everything that was made for the sale and, if it is so decided, its data. Returns `false` while the pods
/// are still there: they would make the data anew.
///
/// It comes to an end in any case: data that cannot be deleted in time is left behind with an event, because a namespace
/// that can never go helps nobody.
///
/// # Errors
/// [`Error`] when something cannot be deleted yet.
pub async fn clean_up(
    context: &Context,
    sale: &FlashSale,
    valid: &ValidSale,
    status: &FlashSaleStatus,
    observed: &Observed,
    data: Data,
) -> Result<bool, Error> {
    let namespace = sale.namespace().unwrap_or_default();
    prune::prune(context, &namespace, observed, &[]).await?;
    // A sale that has made nothing has nothing to delete, and needs no credentials for that.
    let wipes = valid.deletion_policy == DeletionPolicy::Delete || valid.is_rehearsal();
    if data == Data::Kept || !wipes || !status.has_begun() {
        return Ok(true);
    }
    let now = context.clock.now();
    let deleted_at = sale
        .metadata
        .deletion_timestamp
        .as_ref()
        .map_or(now, |time| time.0);
    // From when there was nothing left to settle.
    let since = status.ended_at.map_or(deleted_at, |ended| ended.max(deleted_at));
    let waited = now.duration_since(since).unsigned_abs();
    if !is_forced(sale) && !observed.pods.is_empty() && waited < PODS_BOUND {
        return Ok(false);
    }
    let remembered = context.remembered(sale);
    let backends = observed.backends.as_ref().or(remembered.as_ref());
    let bound = if backends.is_some() {
        WIPE_BOUND
    } else {
        SECRET_BOUND
    };
    match wipe(context, sale, valid, status, backends).await {
        Err(error) if is_forced(sale) || waited >= bound => {
            tracing::warn!(sale = %valid.id, %error, "data left behind");
            trail::record(sale, Deed::DeleteData, Outcome::Failed);
            let note = format!("topics and database are left behind: {error}");
            context
                .event(sale, EventType::Warning, "CleanUp", "DataLeftBehind", note)
                .await;
            Ok(true)
        }
        result => result.map(|()| true),
    }
}

/// Deletes the topics and the database of a sale, as far as they are its own.
///
/// # Errors
/// [`Error`].
pub async fn wipe(
    context: &Context,
    sale: &FlashSale,
    valid: &ValidSale,
    status: &FlashSaleStatus,
    backends: Option<&SecretData>,
) -> Result<(), Error> {
    let consent = PlaintextConsent::of(valid, context.settings.plaintext_passwords);
    let credentials = backends_secret::operators(backends, consent)
        .map_err(|why| Error::Credentials(why.sentence().to_owned()))?;
    let claimant = claimant(context, sale, status);
    // A look that is under way would make the topics anew.
    context.backends.forget(&claimant.owner.uid).await;
    let wiped = backends::wipe(&credentials, &place(valid), &claimant).await?;
    tracing::info!(sale = %valid.id, database = valid.database(), ?wiped, "data deleted");
    let all_its_own = wiped.topics && wiped.database;
    let outcome = if all_its_own {
        Outcome::Done
    } else {
        Outcome::Refused
    };
    trail::record(sale, Deed::DeleteData, outcome);
    if !all_its_own {
        let note = "what carries no mark of this sale was left alone: see the topics and the database";
        context
            .event(sale, EventType::Warning, "CleanUp", "NotItsOwn", note.to_owned())
            .await;
    }
    Ok(())
}

/// What a sale uses in its backends.
pub fn place(sale: &ValidSale) -> Place {
    Place {
        topics: sale.topics.clone(),
        database: sale.database(),
        redis_prefix: sale.id.redis_prefix(sale.is_rehearsal()),
    }
}

/// A sale as it asks for that.
pub fn claimant(context: &Context, sale: &FlashSale, status: &FlashSaleStatus) -> Claimant {
    Claimant {
        owner: context.owner(sale),
        has_begun: status.phase() != Phase::Pending,
        takes_over: says_true(sale, TAKE_OVER_ANNOTATION),
        known: context.known(),
    }
}
