//! What the API server knows of the objects of all sales, as its watches tell it. A reconciliation reads here and asks for nothing: with
//! hundreds of sales the questions would be most of what the API server does, and a switch would wait behind them.
//!
//! - [`follow`] keeps it as it is there;
//! - [`kept`] is an object, cut down to what a reconciliation reads of it;
//! - [`named`] is what is read by name and remembered for a while.

pub mod follow;
pub mod kept;
pub mod named;

use crate::controller::{
    build::Kind,
    pods::{PodFacts, SetFacts},
};
use kept::Kept;
use kube::core::DynamicObject;
use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

/// Where something comes from: one of these is watched in each namespace that the operator looks at, or in all at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    /// What the operator makes, but for Secrets.
    Child(Kind),
    /// What its Deployments make.
    ReplicaSets,
    /// What those make.
    Pods,
}

/// A sale by its namespace and its name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SaleKey {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// How many objects that went are remembered.
const GONE: usize = 1_000;

/// An object by its namespace and its name.
type ObjectKey = (String, String);
/// A namespace, or all of them.
type Part = Option<String>;

/// What is known of one object.
#[derive(Debug, Clone, PartialEq)]
pub enum Thing {
    /// What the operator made.
    Child(Kept),
    /// A ReplicaSet.
    Set(SetFacts),
    /// A pod.
    Pod(PodFacts),
}

/// An object as a watch shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// Where it comes from.
    pub source: Source,
    /// Of which sale.
    pub sale: SaleKey,
    /// Its uid.
    pub uid: String,
    /// Its version, as a number that grows; zero where it is none.
    pub version: u64,
    /// What is known.
    pub thing: Thing,
}

/// The objects of all sales.
#[derive(Debug, Default)]
pub struct Watched {
    state: RwLock<State>,
}

#[derive(Debug, Default)]
struct State {
    sales: HashMap<SaleKey, BTreeMap<(Source, String), Arc<Item>>>,
    places: HashMap<(Source, ObjectKey), SaleKey>,
    awaited: HashSet<(Source, Part)>,
    /// The uids of objects that went lately: what was written to one of them a moment before is no news of it.
    gone: VecDeque<String>,
}

impl Watched {
    /// Nothing is known of any sale in a namespace before all of these have told what there is.
    pub fn awaiting(sources: impl IntoIterator<Item = (Source, Part)>) -> Self {
        let state = State {
            awaited: sources.into_iter().collect(),
            ..State::default()
        };
        Self {
            state: RwLock::new(state),
        }
    }

    /// All objects of a sale, or `None` while not all of them are known.
    pub fn of(&self, sale: &SaleKey) -> Option<Vec<Arc<Item>>> {
        let state = self.read();
        let waits = |(_, part): &(Source, Part)| part.as_ref().is_none_or(|part| *part == sale.namespace);
        if state.awaited.iter().any(waits) {
            return None;
        }
        Some(state.items(sale))
    }

    /// What of it is known by now: an object that is not known yet is not missed.
    pub fn known_of(&self, sale: &SaleKey) -> Vec<Arc<Item>> {
        self.read().items(sale)
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.read().places.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Keeps what was just written, so that the next look does not miss it; the watch tells of it a moment later.
    pub fn wrote(&self, kind: Kind, object: DynamicObject) {
        if kind == Kind::Secret {
            return;
        }
        let key = key_of(&object);
        if let Some(item) = kept::child(kind, object)
            && !self.read().gone.contains(&item.uid)
        {
            self.put(key, item);
        }
    }

    /// Keeps an object unless a newer one is known; returns whose it is, where anything has changed.
    fn put(&self, key: ObjectKey, item: Item) -> Option<SaleKey> {
        let source = item.source;
        let mut state = self.write();
        let place = (source, key);
        let before = state.places.get(&place).cloned();
        let known = before
            .as_ref()
            .and_then(|sale| state.sales.get(sale)?.get(&(source, place.1.1.clone())).cloned());
        if let Some(known) = &known {
            let is_older = known.uid == item.uid && item.version != 0 && item.version < known.version;
            if is_older {
                return None;
            }
        }
        let changed = known.as_ref().is_none_or(|known| {
            (&known.sale, &known.uid, &known.thing) != (&item.sale, &item.uid, &item.thing)
        });
        let sale = item.sale.clone();
        if before.as_ref().is_some_and(|before| *before != sale) {
            state.take(&place);
        }
        let of_sale = state.sales.entry(sale.clone()).or_default();
        of_sale.insert((source, place.1.1.clone()), Arc::new(item));
        state.places.insert(place, sale.clone());
        changed.then_some(sale)
    }

    /// Forgets an object; returns whose it was. One of the same name that came after it stays.
    fn remove(&self, source: Source, key: ObjectKey, uid: Option<&str>) -> Option<SaleKey> {
        let mut state = self.write();
        let place = (source, key);
        let sale = state.places.get(&place)?;
        let known = state.sales.get(sale)?.get(&(source, place.1.1.clone()))?;
        if uid.is_some_and(|uid| uid != known.uid) {
            return None;
        }
        let gone = known.uid.clone();
        if state.gone.len() >= GONE {
            state.gone.pop_front();
        }
        state.gone.push_back(gone);
        state.take(&place)
    }

    /// The objects that a watch has shown so far: what it does not show again is gone.
    fn shown_by(&self, source: Source, part: &Part) -> HashSet<ObjectKey> {
        let state = self.read();
        let of_it = |(of, (namespace, _)): &&(Source, ObjectKey)| {
            *of == source && part.as_ref().is_none_or(|part| part == namespace)
        };
        state
            .places
            .keys()
            .filter(of_it)
            .map(|(_, key)| key.clone())
            .collect()
    }

    /// A watch has told of all that there is.
    fn is_complete(&self, source: Source, part: &Part) {
        self.write().awaited.remove(&(source, part.clone()));
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn items(&self, sale: &SaleKey) -> Vec<Arc<Item>> {
        let items = self.sales.get(sale).into_iter();
        items.flat_map(BTreeMap::values).cloned().collect()
    }

    fn take(&mut self, place: &(Source, ObjectKey)) -> Option<SaleKey> {
        let sale = self.places.remove(place)?;
        if let Some(objects) = self.sales.get_mut(&sale) {
            objects.remove(&(place.0, place.1.1.clone()));
            if objects.is_empty() {
                self.sales.remove(&sale);
            }
        }
        Some(sale)
    }
}

fn key_of(object: &impl kube::ResourceExt) -> ObjectKey {
    (object.namespace().unwrap_or_default(), object.name_any())
}

/// The version of an object as a number: it grows with every change of anything in the cluster. Zero where it is no number, as an
/// API server may have it.
pub fn version(object: &impl kube::ResourceExt) -> u64 {
    object
        .resource_version()
        .and_then(|version| version.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const DEPLOYMENTS: Source = Source::Child(Kind::Deployment);

    fn sale(name: &str) -> SaleKey {
        SaleKey {
            namespace: "shop".into(),
            name: name.into(),
        }
    }

    fn item(of: &str, uid: &str, version: u64, image: &str) -> Item {
        let object = json!({"metadata": {"name": "x", "namespace": "shop", "uid": uid, "resourceVersion": version.to_string(),
            "ownerReferences": [{"apiVersion": "quicksale.io/v1alpha1", "kind": "FlashSale", "name": of, "uid": "u"}]},
            "spec": {"image": image}});
        kept::child(Kind::Deployment, serde_json::from_value(object).unwrap()).unwrap()
    }

    fn key() -> ObjectKey {
        ("shop".into(), "x".into())
    }

    #[test]
    fn an_object_is_news_when_it_has_changed_and_never_goes_back() {
        let watched = Watched::default();
        let put = |item| watched.put(key(), item);
        assert_eq!(put(item("shoes", "1", 5, "a")), Some(sale("shoes")));
        assert_eq!(put(item("shoes", "1", 6, "a")), None);
        assert_eq!(put(item("shoes", "1", 7, "b")), Some(sale("shoes")));
        // What was written is known before the watch has told of what came before it.
        assert_eq!(put(item("shoes", "1", 6, "a")), None);
        let known = watched.of(&sale("shoes")).unwrap();
        assert_eq!((known.len(), known[0].version), (1, 7));
        // Another one of the same name.
        assert_eq!(put(item("shoes", "2", 3, "b")), Some(sale("shoes")));
        assert_eq!(watched.remove(DEPLOYMENTS, key(), Some("1")), None);
        assert_eq!(watched.remove(DEPLOYMENTS, key(), Some("2")), Some(sale("shoes")));
        assert_eq!((watched.of(&sale("shoes")), watched.len()), (Some(vec![]), 0));
    }

    #[test]
    fn an_object_that_gets_another_owner_is_the_others() {
        let watched = Watched::default();
        watched.put(key(), item("shoes", "1", 5, "a"));
        watched.put(key(), item("boots", "1", 6, "a"));
        assert_eq!(watched.of(&sale("shoes")), Some(vec![]));
        assert_eq!(watched.of(&sale("boots")).unwrap().len(), 1);
    }

    /// A sale whose objects are not known yet must not look like one that has none.
    #[test]
    fn nothing_is_known_before_every_watch_has_told_all() {
        let sources = [(DEPLOYMENTS, None), (Source::Pods, None)];
        let watched = Watched::awaiting(sources);
        watched.put(key(), item("shoes", "1", 5, "a"));
        watched.is_complete(DEPLOYMENTS, &None);
        assert_eq!(watched.of(&sale("shoes")), None);
        watched.is_complete(Source::Pods, &None);
        assert_eq!(watched.of(&sale("shoes")).unwrap().len(), 1);
        // In namespaces of their own, one that cannot be read keeps the others from nothing.
        let [a, b] = ["shop", "other"].map(|part| (DEPLOYMENTS, Some(part.to_owned())));
        let watched = Watched::awaiting([a, b]);
        watched.is_complete(DEPLOYMENTS, &Some("shop".to_owned()));
        assert!(watched.of(&sale("shoes")).is_some());
    }
}
