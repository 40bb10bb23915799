//! Keeps [`Watched`] as the API server has it, and tells whose objects have changed.

use super::{Item, ObjectKey, SaleKey, Source, Thing, Watched, kept, key_of};
use crate::{
    controller::{
        build::{Kind, MANAGER},
        pods,
    },
    deadline::{ApiError, is_unknown_kind, within},
    metrics::WATCH_ERRORS,
    scope::Scope,
};
use crds::{FlashSale, names::MANAGED_BY_LABEL};
use futures::{StreamExt, stream::FuturesUnordered};
use k8s_openapi::api::{apps::v1::ReplicaSet, core::v1::Pod};
use kube::{
    Api, ResourceExt,
    api::ListParams,
    core::{DynamicObject, PartialObjectMeta},
    runtime::{
        WatchStreamExt,
        watcher::{self, Event, watcher},
    },
};
use std::{future::Future, pin::Pin, sync::Arc};
use tokio::sync::mpsc;

/// How many changes may wait to be looked at; a watch waits while they do.
const TOLD_AHEAD: usize = 1_024;

/// Objects of one page of a list: a page is in memory as it is parsed, some 60 KB for a Deployment, and all kinds are listed at once.
const PAGE: u32 = 50;

/// Everything that is watched, and the changes that it tells of.
pub struct Following {
    /// What is known.
    pub watched: Arc<Watched>,
    /// Whose objects have changed.
    pub told: mpsc::Receiver<SaleKey>,
    /// Must run for as long as that is wanted; it does not end.
    pub work: Pin<Box<dyn Future<Output = ()> + Send>>,
}

/// Follows all objects of the sales in a scope, HTTPRoutes among them where the platform allows these.
pub fn everything(scope: &Scope, with_routes: bool) -> Following {
    let (tell, told) = mpsc::channel(TOLD_AHEAD);
    let sources: Vec<_> = Kind::followed(with_routes)
        .map(Source::Child)
        .chain([Source::ReplicaSets, Source::Pods])
        .collect();
    let parts = scope.parts();
    let all = |part: &Option<String>| {
        sources
            .iter()
            .map(|source| (*source, part.clone()))
            .collect::<Vec<_>>()
    };
    let watched = Arc::new(Watched::awaiting(parts.iter().flat_map(all)));
    let mut work: FuturesUnordered<Pin<Box<dyn Future<Output = ()> + Send>>> = FuturesUnordered::new();
    for part in &parts {
        for source in &sources {
            let follower = Follower {
                watched: Arc::clone(&watched),
                source: *source,
                part: part.clone(),
                tell: tell.clone(),
            };
            let client = scope.client().clone();
            let ours = watcher::Config::default()
                .labels(&format!("{MANAGED_BY_LABEL}={MANAGER}"))
                .page_size(PAGE);
            work.push(match source {
                &Source::Child(kind) => {
                    let resource = kind.api_resource();
                    let api: Api<DynamicObject> = match part {
                        Some(namespace) => Api::namespaced_with(client, namespace, &resource),
                        None => Api::all_with(client, &resource),
                    };
                    Box::pin(follower.run(watcher(api, ours), move |object| kept::child(kind, object)))
                }
                Source::ReplicaSets => {
                    let api: Api<PartialObjectMeta<ReplicaSet>> = scope.api(part.as_deref());
                    Box::pin(follower.run(watcher(api, ours), |object| set(&object)))
                }
                Source::Pods => {
                    let api: Api<Pod> = scope.api(part.as_deref());
                    Box::pin(follower.run(watcher(api, ours), |object| pod(&object)))
                }
            });
        }
    }
    Following {
        watched,
        told,
        work: Box::pin(async move { while work.next().await.is_some() {} }),
    }
}

/// Whether everything that is followed may be read, in one of the namespaces at least: another that cannot be read disturbs it not.
///
/// # Errors
/// [`ApiError`] of the last that may not, or when the API server does not answer.
pub async fn may_read(scope: &Scope, with_routes: bool) -> Result<(), ApiError> {
    let mut result = Ok(());
    for part in scope.parts() {
        result = may_read_in(scope, part.as_deref(), with_routes).await;
        match &result {
            Ok(()) => return Ok(()),
            Err(error) => tracing::debug!(namespace = part, %error, "cannot be read"),
        }
    }
    result
}

async fn may_read_in(scope: &Scope, part: Option<&str>, with_routes: bool) -> Result<(), ApiError> {
    let one = ListParams::default().limit(1);
    let sales: Api<PartialObjectMeta<FlashSale>> = scope.api(part);
    within(sales.list(&one)).await?;
    for kind in Kind::followed(with_routes) {
        let resource = kind.api_resource();
        let client = scope.client().clone();
        let api: Api<DynamicObject> = match part {
            Some(namespace) => Api::namespaced_with(client, namespace, &resource),
            None => Api::all_with(client, &resource),
        };
        match within(api.list(&one)).await {
            // Whose definition is not installed may be read as soon as it is.
            Err(error) if kind == Kind::HttpRoute && error.is_unknown_kind() => {}
            listed => drop(listed?),
        }
    }
    let sets: Api<PartialObjectMeta<ReplicaSet>> = scope.api(part);
    within(sets.list(&one)).await?;
    let pods: Api<PartialObjectMeta<Pod>> = scope.api(part);
    within(pods.list(&one)).await?;
    Ok(())
}

fn set(set: &PartialObjectMeta<ReplicaSet>) -> Option<Item> {
    Some(Item {
        source: Source::ReplicaSets,
        sale: Arc::new(pods::labelled(set)?),
        name: set.name_any().into(),
        uid: set.uid()?.into(),
        version: super::version(set),
        thing: Thing::Set(Box::new(pods::SetFacts::of(set)?)),
    })
}

fn pod(pod: &Pod) -> Option<Item> {
    Some(Item {
        source: Source::Pods,
        sale: Arc::new(pods::labelled(pod)?),
        name: pod.name_any().into(),
        uid: pod.uid()?.into(),
        version: super::version(pod),
        thing: Thing::Pod(Box::new(pods::PodFacts::of(pod))),
    })
}

/// Follows one source in one part of the cluster.
struct Follower {
    watched: Arc<Watched>,
    source: Source,
    part: Option<String>,
    tell: mpsc::Sender<SaleKey>,
}

impl Follower {
    async fn run<K: ResourceExt>(
        self,
        events: impl futures::Stream<Item = watcher::Result<Event<K>>>,
        read: impl Fn(K) -> Option<Item>,
    ) {
        let mut events = Box::pin(events.default_backoff());
        let mut unseen: std::collections::HashSet<ObjectKey> = std::collections::HashSet::new();
        while let Some(event) = events.next().await {
            let mut changed = Vec::new();
            match event {
                Ok(Event::Init) => unseen = self.watched.shown_by(self.source, &self.part),
                Ok(Event::InitApply(object) | Event::Apply(object)) => {
                    let key = key_of(&object);
                    unseen.remove(&key);
                    changed.extend(match read(object) {
                        Some(item) => self.watched.put(item),
                        None => self.watched.remove(self.source, &key, None),
                    });
                }
                Ok(Event::Delete(object)) => {
                    let key = key_of(&object);
                    changed.extend(self.watched.remove(self.source, &key, object.uid().as_deref()));
                }
                Ok(Event::InitDone) => {
                    for key in unseen.drain() {
                        changed.extend(self.watched.remove(self.source, &key, None));
                    }
                    self.watched.is_complete(self.source, &self.part);
                }
                // Kubernetes' own kinds are there: who says otherwise about them is not the API server.
                Err(watcher::Error::InitialListFailed(error))
                    if self.source == Source::Child(Kind::HttpRoute) && is_unknown_kind(&error) =>
                {
                    // There is none of it; and the watch begins anew until there may be.
                    tracing::warn!(source = ?self.source, "the API server does not know this kind: install its definition");
                    self.watched.has_no_definition(self.source, &self.part);
                }
                Err(error) => {
                    WATCH_ERRORS.inc();
                    tracing::warn!(source = ?self.source, namespace = self.part, %error, "a watch has failed; trying again");
                }
            }
            for sale in changed {
                // Nobody listens any more when all of this ends.
                if self.tell.send(sale).await.is_err() {
                    return;
                }
            }
        }
    }
}
