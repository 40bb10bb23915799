//! Reads what the API server knows about a sale: the only reads of a reconciliation.

use super::{
    build::{BACKENDS, Kind, MANAGER, SECRETS, SIGNING_KEYS, object_name},
    context::Context,
    observed::Observed,
    pods::KnownPods,
};
use crate::{
    deadline::{ApiError, within},
    watched::{Item, SaleKey, Source, Thing},
};
use crds::{
    FlashSale, FlashSaleStatus, Readable,
    names::{BACKENDS_LABEL, MANAGED_BY_LABEL, SALE_LABEL, SHARED},
};
use futures::future::try_join_all;
use jiff::Timestamp;
use k8s_openapi::{ByteString, api::core::v1::Namespace};
use kube::{Api, Client, ResourceExt, core::DynamicObject};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// How old what is known of the Secrets that were made for a sale may be. One that was deleted by hand is missed when anything else of
/// the sale is put right, and otherwise by then: its pods have what was in it.
const OWN_SECRETS: Duration = Duration::from_secs(600);
/// The same of the Secret with the signing keys. Whoever deletes it wants others, because these have leaked.
const KEYS: Duration = Duration::from_secs(180);
/// The same of both while pods start.
const STARTING: Duration = Duration::from_secs(10);
/// The same of the Secrets of the platform, which all sales share.
const SHARED_SECRETS: Duration = Duration::from_secs(5);
/// The same of the Secret that a sale names.
const NAMED_SECRET: Duration = Duration::from_secs(20);
/// The same of what a sale waits for.
const AWAITED: Duration = Duration::from_secs(2);
/// The same of what a namespace may use.
const NAMESPACE: Duration = Duration::from_secs(60);

/// What a Secret holds.
pub type SecretData = BTreeMap<String, Vec<u8>>;

/// Reads it; `None` while the watches have not told all that there is.
///
/// # Errors
/// [`ApiError`]: a part that could not be read is not the same as a part that is not there.
pub async fn fetch(
    context: &Context,
    sale: &FlashSale,
    now: Timestamp,
) -> Result<Option<Observed>, ApiError> {
    let (client, settings) = (&context.client, &context.settings);
    let namespace = sale.namespace().unwrap_or_default();
    let name = sale.name_any();
    let Some(items) = context.watched.of(&key(sale)) else {
        return Ok(None);
    };
    let mut pods = KnownPods::among(&items);
    let is_under_way = sale.metadata.deletion_timestamp.is_some()
        && sale.status.as_ref().is_some_and(FlashSaleStatus::has_begun);
    let orphans = match is_under_way {
        true => Orphans::Count,
        false => Orphans::AreNobodys,
    };
    let admin = context.named.secret(
        client,
        &settings.namespace,
        &settings.admin_secret,
        SHARED_SECRETS,
    );
    let (secrets, backends, admin, ()) = tokio::try_join!(
        own_secrets(context, sale, pods.settle(), orphans),
        backends(context, sale, &namespace),
        admin,
        pods.look_up_the_unknown(client, &namespace),
    )?;
    let mut children = children(sale, &items);
    children.extend(secrets.into_iter().map(|secret| (Kind::Secret, secret)));
    let (load_end, load_waits) = (pods.load_end(&children), pods.load_waits(&children));
    let pods = pods.owned(&name, &children, now);
    let mut observed = Observed {
        children,
        pods,
        backends: backends.as_ref().ok().cloned().flatten(),
        backends_refused: backends.err(),
        administrator: None,
        load_end,
        load_waits,
        knows_no_routes: context.watched.is_undefined(Source::Child(Kind::HttpRoute)),
    };
    // A Secret that went away must neither take its copies with it nor restart anything.
    if sale.spec.backends_secret_ref.is_none() {
        observed.backends = observed
            .backends
            .take()
            .or_else(|| observed.copied(&name, BACKENDS));
    }
    // Only where the platform's backends may be used; and a Secret that is gone or broken changes nothing for sales that
    // know the administrator: somebody may be half-way through an edit.
    let known = observed.known_administrator(&name);
    let shared = observed.backends_refused.is_none();
    observed.administrator = match admin.as_ref().map(known_data).filter(|_| shared) {
        Some(secret) => context.administrator(&secret).await.or(known),
        None => known,
    };
    Ok(Some(observed))
}

/// What is known at once of a sale's doors, without a question to anybody: their document, their Deployments, and the pods that are
/// proven to be the sale's own.
pub fn glance(context: &Context, sale: &FlashSale, now: Timestamp) -> Observed {
    let mut items = context.watched.known_of(&key(sale));
    let needed = [
        Source::Child(Kind::ConfigMap),
        Source::Child(Kind::Deployment),
        Source::ReplicaSets,
        Source::Pods,
    ];
    items.retain(|item| needed.contains(&item.source));
    let children = children(sale, &items);
    Observed {
        pods: KnownPods::among(&items).owned(&sale.name_any(), &children, now),
        children,
        ..Observed::default()
    }
}

/// A sale as its objects are found by.
pub fn key(sale: &impl ResourceExt) -> SaleKey {
    SaleKey {
        namespace: sale.namespace().unwrap_or_default(),
        name: sale.name_any(),
    }
}

/// Reads the FlashSale itself: the one in the watch's cache may be older than the last status that we wrote.
///
/// # Errors
/// [`ApiError`].
pub async fn newest(client: &Client, sale: &impl ResourceExt) -> Result<Option<Readable>, ApiError> {
    let api: Api<Readable> = Api::namespaced(client.clone(), &sale.namespace().unwrap_or_default());
    within(api.get_opt(&sale.name_any())).await
}

/// Whether the namespace of a sale is being deleted.
///
/// # Errors
/// [`ApiError`].
pub async fn namespace_goes(client: &Client, sale: &impl ResourceExt) -> Result<bool, ApiError> {
    let api: Api<Namespace> = Api::all(client.clone());
    let found = within(api.get_metadata_opt(&sale.namespace().unwrap_or_default())).await?;
    Ok(found.is_none_or(|found| found.metadata.deletion_timestamp.is_some()))
}

/// The objects that the operator made for a sale, and not for one of the same name before it.
fn children(sale: &impl ResourceExt, items: &[Arc<Item>]) -> Vec<(Kind, DynamicObject)> {
    let uid = sale.uid().unwrap_or_default();
    let object = |item: &Arc<Item>| {
        let Thing::Child(kept) = &item.thing else {
            return None;
        };
        let mut object = kept.read()?;
        object.metadata.resource_version = Some(item.version.to_string());
        let kind = match item.source {
            Source::Child(kind) => kind,
            Source::Pods | Source::ReplicaSets => return None,
        };
        let is_its_own = object.owner_references().iter().any(|owner| owner.uid == uid);
        is_its_own.then_some((kind, object))
    };
    items.iter().filter_map(object).collect()
}

/// Everything that was made for a sale, to take it away; `None` while the watches have not told all that there is.
///
/// # Errors
/// [`ApiError`].
pub async fn all_children(
    context: &Context,
    sale: &impl ResourceExt,
) -> Result<Option<Vec<(Kind, DynamicObject)>>, ApiError> {
    let Some(items) = context.watched.of(&key(sale)) else {
        return Ok(None);
    };
    let mut all = children(sale, &items);
    let secrets = own_secrets(context, sale, false, Orphans::AreNobodys).await?;
    all.extend(secrets.into_iter().map(|secret| (Kind::Secret, secret)));
    Ok(Some(all))
}

/// Whether Secrets that have lost their owner are the sale's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Orphans {
    /// They are: it is under way.
    Count,
    /// They may be of one of the same name before it.
    AreNobodys,
}

/// The Secrets that were made for a sale, by their names: the right to list those of a sale would be the right to list everybody's.
async fn own_secrets(
    context: &Context,
    sale: &impl ResourceExt,
    pods_settle: bool,
    orphans: Orphans,
) -> Result<Vec<DynamicObject>, ApiError> {
    let (namespace, name) = (sale.namespace().unwrap_or_default(), sale.name_any());
    let uid = sale.uid().unwrap_or_default();
    let (context, namespace, sale) = (&context, namespace.as_str(), name.as_str());
    let found = SECRETS.map(|suffix| async move {
        // A pod that starts reads them: what is missing then is missed at once.
        let age = match suffix {
            _ if pods_settle => STARTING,
            SIGNING_KEYS => KEYS,
            _ => OWN_SECRETS,
        };
        let name = object_name(sale, suffix);
        context.named.secret(&context.client, namespace, &name, age).await
    });
    let found = try_join_all(found).await?;
    // Whose they are their owner says, whatever became of their labels. One that has lost its owner, as by a deletion with
    // --cascade=orphan, is still that of the sale it was made for: other keys would start every pod anew, and log everybody out.
    let is_its_own = |secret: &DynamicObject| {
        let owners = secret.owner_references();
        let label = |name: &str| secret.labels().get(name).map(String::as_str);
        let is_orphaned = orphans == Orphans::Count
            && owners.is_empty()
            && label(MANAGED_BY_LABEL) == Some(MANAGER)
            && label(SALE_LABEL) == Some(sale);
        owners.iter().any(|owner| owner.uid == uid) || is_orphaned
    };
    Ok(found.into_iter().flatten().filter(is_its_own).collect())
}

/// Has the Secrets of a sale read again at the next look.
pub fn forget_secrets(context: &Context, sale: &SaleKey) {
    for suffix in SECRETS {
        context
            .named
            .forget(&sale.namespace, &object_name(&sale.name, suffix));
    }
}

/// The Secret that leads to the backends of a sale, or why the platform's is not for it.
async fn backends(
    context: &Context,
    sale: &FlashSale,
    namespace: &str,
) -> Result<Result<Option<SecretData>, String>, ApiError> {
    let (client, settings) = (&context.client, &context.settings);
    let begun = sale.status.as_ref().is_some_and(FlashSaleStatus::has_begun);
    let age = |usual| if begun { usual } else { AWAITED };
    if let Some(own) = &sale.spec.backends_secret_ref {
        let found = context
            .named
            .secret(client, namespace, &own.name, age(NAMED_SECRET))
            .await?;
        if found.is_none() {
            // Somebody is about to make it.
            context.named.forget(namespace, &own.name);
        }
        return Ok(Ok(found.as_ref().map(known_data)));
    }
    if !may_share(context, namespace, age(NAMESPACE)).await? {
        return Ok(Err(format!(
            "the platform's backends are not for the namespace {namespace}: name a Secret of your own in \
             spec.backendsSecretRef, or ask the platform to label the namespace {BACKENDS_LABEL}={SHARED}"
        )));
    }
    let (of, name) = (&settings.backends_secret_namespace, &settings.backends_secret);
    let found = context.named.secret(client, of, name, SHARED_SECRETS).await?;
    Ok(Ok(found.as_ref().map(known_data)))
}

/// Whether the platform lets a namespace use its own backends. Only who may write Namespaces can label one, and whoever
/// may edit what is in it cannot.
async fn may_share(context: &Context, namespace: &str, at_most: Duration) -> Result<bool, ApiError> {
    let shared_with = &context.settings.shared_with;
    if shared_with.iter().any(|name| name == namespace || name == "*") {
        return Ok(true);
    }
    let found = context
        .named
        .namespace(&context.client, namespace, at_most)
        .await?;
    Ok(found.is_some_and(|found| {
        found
            .labels()
            .get(BACKENDS_LABEL)
            .is_some_and(|value| value == SHARED)
    }))
}

/// What a Secret holds; `None` for one that holds nothing.
pub(super) fn data(secret: &DynamicObject) -> Option<SecretData> {
    let data: BTreeMap<String, ByteString> = serde_json::from_value(secret.data["data"].clone()).ok()?;
    Some(data.into_iter().map(|(key, value)| (key, value.0)).collect())
}

/// The same of one that is there, whatever it holds.
fn known_data(secret: &DynamicObject) -> SecretData {
    data(secret).unwrap_or_default()
}
