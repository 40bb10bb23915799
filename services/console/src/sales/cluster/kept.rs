//! What is in a cluster, as watches have it in memory.

use futures::{
    FutureExt, StreamExt,
    future::{BoxFuture, join_all},
};
use kube::{
    Api, Client,
    core::NamespaceResourceScope,
    runtime::{WatchStreamExt, reflector, watcher},
};
use sale::SaleId;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// What is there, as watches have it: one of the whole cluster, or one of each namespace. Each is by itself, so that a namespace which
/// cannot be read hides no other.
#[derive(Clone)]
pub(super) struct Kept<K: kube::Resource<DynamicType = ()> + Clone + 'static>(Vec<reflector::Store<K>>);

impl<K> Kept<K>
where
    K: kube::Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned
        + Send
        + Sync
        + 'static,
{
    /// Begins to watch.
    pub(super) fn follow(
        client: &Client,
        namespaces: &[String],
        config: &watcher::Config,
        stop: &CancellationToken,
    ) -> (Self, BoxFuture<'static, ()>) {
        let apis: Vec<Api<K>> = if namespaces.is_empty() {
            vec![Api::all(client.clone())]
        } else {
            let of = |namespace: &String| Api::namespaced(client.clone(), namespace);
            namespaces.iter().map(of).collect()
        };
        let (mut stores, mut watches) = (Vec::new(), Vec::new());
        for api in apis {
            let (store, writer) = reflector::store::<K>();
            stores.push(store);
            let watch = watcher(api, config.clone()).default_backoff().reflect(writer);
            watches.push(watch.for_each(|seen| {
                if let Err(error) = seen {
                    tracing::warn!(%error, "cannot watch the cluster; trying on");
                }
                std::future::ready(())
            }));
        }
        let stop = stop.clone();
        let following = async move {
            tokio::select! {
                () = stop.cancelled() => {}
                _ = join_all(watches) => {}
            }
        };
        (Self(stores), following.boxed())
    }

    pub(super) fn all(&self) -> Vec<Arc<K>> {
        self.0.iter().flat_map(reflector::Store::state).collect()
    }

    pub(super) fn get(&self, sale: &SaleId) -> Option<Arc<K>> {
        let reference = reflector::ObjectRef::new(&sale.name).within(&sale.namespace);
        self.0.iter().find_map(|store| store.get(&reference))
    }

    /// Whether some namespace has been read.
    pub(super) fn has_begun(&self) -> bool {
        let now = |store: &reflector::Store<K>| store.wait_until_ready().now_or_never().is_some();
        self.0.iter().any(now)
    }

    pub(super) fn is_ready(&self) -> impl Future<Output = ()> + use<K> {
        let stores = self.0.clone();
        async move {
            for store in stores {
                // It ends with its watch, which goes on for ever.
                let _ended = store.wait_until_ready().await;
            }
        }
    }
}
