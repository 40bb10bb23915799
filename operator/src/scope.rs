//! Where the operator looks: the whole cluster, or the namespaces that its chart names. In each of those it has rights of
//! its own, and where it has none it stays out without disturbing the others.

use futures::{Stream, StreamExt, stream};
use kube::{
    Api, Client, Resource, ResourceExt,
    core::NamespaceResourceScope,
    runtime::{
        WatchStreamExt,
        watcher::{self, Event, watcher},
    },
};
use std::collections::BTreeMap;

/// FlashSales of one page of a list: a page is in memory as it is parsed.
const PAGE: u32 = 100;

/// Where to look.
#[derive(Clone)]
pub struct Scope {
    client: Client,
    namespaces: Vec<String>,
}

impl Scope {
    /// The namespaces of that name, or all where there is none.
    pub fn new(client: Client, namespaces: &[String]) -> Self {
        let mut namespaces: Vec<_> = namespaces
            .iter()
            .filter(|name| !name.is_empty())
            .cloned()
            .collect();
        namespaces.sort();
        namespaces.dedup();
        Self { client, namespaces }
    }

    /// A view of the whole cluster, which is nobody's in particular, or one of each namespace.
    pub fn apis<K>(&self) -> Vec<(Option<&str>, Api<K>)>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        if self.namespaces.is_empty() {
            return vec![(None, Api::all(self.client.clone()))];
        }
        let of = |name: &String| Api::namespaced(self.client.clone(), name);
        self.namespaces
            .iter()
            .map(|name| (Some(name.as_str()), of(name)))
            .collect()
    }

    /// The namespaces, or `None` for all of them.
    pub fn parts(&self) -> Vec<Option<String>> {
        match self.namespaces.as_slice() {
            [] => vec![None],
            some => some.iter().cloned().map(Some).collect(),
        }
    }

    /// The client that it looks with.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// A view of one namespace, or of all.
    pub fn api<K>(&self, part: Option<&str>) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        match part {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        }
    }

    /// Everything that happens to objects of a kind, as one watch.
    pub fn watch<K>(&self) -> impl Stream<Item = watcher::Result<Event<K>>> + Send + use<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + std::fmt::Debug
            + serde::de::DeserializeOwned
            + Send
            + 'static,
    {
        let watches = self
            .apis::<K>()
            .into_iter()
            .map(|(_, api)| watcher(api, watcher::Config::default().page_size(PAGE)).default_backoff())
            // Who has written which field is half of what there is to keep, and nobody reads it.
            .map(|events| {
                events
                    .modify(|object| object.managed_fields_mut().clear())
                    .boxed()
            });
        let mut watches: Vec<_> = watches.collect();
        match (watches.pop(), watches.is_empty()) {
            (Some(only), true) => only,
            (Some(last), false) => {
                watches.push(last);
                merge(watches).boxed()
            }
            (None, _) => stream::pending().boxed(),
        }
    }
}

/// Makes one watch of several. A restart of one of them says nothing about the objects of the others, so what is begun
/// anew is told as what it comes to: objects that are there, and those that are there no more. The whole is ready at
/// once, because a namespace that cannot be read must not keep the others waiting.
fn merge<K, S>(watches: Vec<S>) -> impl Stream<Item = watcher::Result<Event<K>>>
where
    K: ResourceExt + Clone + Send + 'static,
    S: Stream<Item = watcher::Result<Event<K>>> + Send + Unpin + 'static,
{
    let changes = watches.into_iter().map(|watch| {
        let mut part = Part::default();
        watch
            .flat_map(move |event| {
                let events = match event {
                    Ok(event) => part.told(event).into_iter().map(Ok).collect(),
                    Err(error) => vec![Err(error)],
                };
                stream::iter(events)
            })
            .boxed()
    });
    let empty = stream::iter([Ok(Event::Init), Ok(Event::InitDone)]);
    empty.chain(stream::select_all(changes))
}

/// What is known of the objects of one watch.
struct Part<K> {
    known: BTreeMap<String, K>,
    /// Those of `known` that a restart has not shown again yet.
    unseen: BTreeMap<String, K>,
}

impl<K> Default for Part<K> {
    fn default() -> Self {
        Self {
            known: BTreeMap::new(),
            unseen: BTreeMap::new(),
        }
    }
}

impl<K: ResourceExt + Clone> Part<K> {
    fn told(&mut self, event: Event<K>) -> Vec<Event<K>> {
        match event {
            Event::Init => {
                self.unseen = self.known.clone();
                Vec::new()
            }
            Event::InitApply(object) | Event::Apply(object) => {
                self.unseen.remove(&object.name_any());
                self.known.insert(object.name_any(), object.clone());
                vec![Event::Apply(object)]
            }
            Event::Delete(object) => {
                self.unseen.remove(&object.name_any());
                self.known.remove(&object.name_any());
                vec![Event::Delete(object)]
            }
            Event::InitDone => {
                let gone = std::mem::take(&mut self.unseen);
                self.known.retain(|name, _| !gone.contains_key(name));
                gone.into_values().map(Event::Delete).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::future::ready;
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::runtime::reflector;

    fn map(namespace: &str, name: &str) -> ConfigMap {
        let mut map = ConfigMap::default();
        map.metadata.namespace = Some(namespace.to_owned());
        map.metadata.name = Some(name.to_owned());
        map
    }

    async fn kept(watches: Vec<Vec<Event<ConfigMap>>>) -> Vec<String> {
        let (store, writer) = reflector::store();
        let watches = watches
            .into_iter()
            .map(|events| stream::iter(events.into_iter().map(Ok)).boxed())
            .collect();
        merge(watches).reflect(writer).for_each(|_| ready(())).await;
        store.wait_until_ready().await.unwrap();
        let mut names: Vec<_> = store
            .state()
            .iter()
            .map(|map| format!("{}/{}", map.namespace().unwrap(), map.name_any()))
            .collect();
        names.sort();
        names
    }

    #[tokio::test]
    async fn the_objects_of_every_namespace_are_kept_when_one_begins_anew() {
        let a = || Event::InitApply(map("a", "x"));
        let b = || Event::InitApply(map("b", "x"));
        let names = kept(vec![
            vec![Event::Init, a(), Event::InitDone],
            vec![
                Event::Init,
                b(),
                Event::InitDone,
                Event::Init,
                b(),
                Event::InitDone,
            ],
        ])
        .await;
        assert_eq!(names, ["a/x", "b/x"]);
    }

    #[tokio::test]
    async fn what_went_while_nobody_watched_is_gone() {
        let names = kept(vec![
            vec![
                Event::Init,
                Event::InitApply(map("a", "x")),
                Event::InitApply(map("a", "y")),
                Event::InitDone,
                Event::Init,
                Event::InitApply(map("a", "y")),
                Event::InitDone,
            ],
            vec![Event::Apply(map("b", "z")), Event::Delete(map("b", "z"))],
        ])
        .await;
        assert_eq!(names, ["a/y"]);
    }

    #[tokio::test]
    async fn a_namespace_that_says_nothing_keeps_nobody_waiting() {
        let names = kept(vec![
            Vec::new(),
            vec![Event::Init, Event::InitApply(map("b", "x"))],
        ])
        .await;
        assert_eq!(names, ["b/x"]);
    }
}
