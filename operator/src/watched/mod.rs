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
use hashbrown::HashTable;
use kept::Kept;
use kube::core::DynamicObject;
use std::{
    collections::{HashMap, HashSet, VecDeque},
    hash::{BuildHasher, RandomState},
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
    Set(Box<SetFacts>),
    /// A pod.
    Pod(Box<PodFacts>),
}

/// An object as a watch shows it. There are tens of thousands with hundreds of sales, so each byte of it counts.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// Where it comes from.
    pub source: Source,
    /// Of which sale; it is in that sale's namespace.
    pub sale: Arc<SaleKey>,
    /// Its name.
    pub name: Box<str>,
    /// Its uid.
    pub uid: Box<str>,
    /// Its version, as a number that grows; zero where it is none.
    pub version: u64,
    /// What is known.
    pub thing: Thing,
}

impl Item {
    fn place(&self) -> Place<'_> {
        Place {
            source: self.source,
            namespace: &self.sale.namespace,
            name: &self.name,
        }
    }
}

/// Where an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Place<'a> {
    source: Source,
    namespace: &'a str,
    name: &'a str,
}

/// The objects of all sales.
#[derive(Debug, Default)]
pub struct Watched {
    state: RwLock<State>,
}

#[derive(Debug, Default)]
struct State {
    /// By sale, in the order of their sources and names.
    sales: HashMap<Arc<SaleKey>, Vec<Arc<Item>>>,
    /// By place, which each has in itself.
    places: HashTable<Arc<Item>>,
    hasher: RandomState,
    awaited: HashSet<(Source, Part)>,
    /// Whose definitions the API server does not have.
    undefined: HashSet<Source>,
    /// The uids of objects that went lately: what was written to one of them a moment before is no news of it.
    gone: VecDeque<Box<str>>,
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
        // What was written is of a kind that there is, whenever the watch finds that out.
        self.write().undefined.remove(&Source::Child(kind));
        if let Some(item) = kept::child(kind, object)
            && !self.read().gone.contains(&item.uid)
        {
            self.put(item);
        }
    }

    /// Keeps an object unless a newer one is known; returns whose it is, where anything has changed.
    fn put(&self, item: Item) -> Option<SaleKey> {
        let mut state = self.write();
        let known = state.at(item.place()).cloned();
        if let Some(known) = &known {
            let is_older = known.uid == item.uid && item.version != 0 && item.version < known.version;
            if is_older {
                return None;
            }
        }
        let changed = known.as_ref().is_none_or(|known| {
            (&known.sale, &known.uid, &known.thing) != (&item.sale, &item.uid, &item.thing)
        });
        let sale = changed.then(|| SaleKey::clone(&item.sale));
        if let Some(known) = known {
            state.take(&known);
        }
        state.insert(item);
        sale
    }

    /// Forgets an object; returns whose it was. One of the same name that came after it stays.
    fn remove(&self, source: Source, (namespace, name): &ObjectKey, uid: Option<&str>) -> Option<SaleKey> {
        let mut state = self.write();
        let place = Place {
            source,
            namespace,
            name,
        };
        let known = Arc::clone(state.at(place)?);
        if uid.is_some_and(|uid| uid != &*known.uid) {
            return None;
        }
        if state.gone.len() >= GONE {
            state.gone.pop_front();
        }
        state.gone.push_back(known.uid.clone());
        state.take(&known);
        Some(SaleKey::clone(&known.sale))
    }

    /// The objects that a watch has shown so far: what it does not show again is gone.
    fn shown_by(&self, source: Source, part: &Part) -> HashSet<ObjectKey> {
        let state = self.read();
        let of_it = |item: &&Arc<Item>| {
            item.source == source && part.as_ref().is_none_or(|part| *part == item.sale.namespace)
        };
        let key = |item: &Arc<Item>| (item.sale.namespace.clone(), item.name.to_string());
        state.places.iter().filter(of_it).map(key).collect()
    }

    /// A watch has told of all that there is.
    fn is_complete(&self, source: Source, part: &Part) {
        let mut state = self.write();
        state.awaited.remove(&(source, part.clone()));
        state.undefined.remove(&source);
    }

    /// A watch was told that the API server does not know what it is about, so there is nothing of it.
    fn has_no_definition(&self, source: Source, part: &Part) {
        let mut state = self.write();
        state.awaited.remove(&(source, part.clone()));
        state.undefined.insert(source);
    }

    /// Whether the API server did not know what this is when it was asked last.
    pub fn is_undefined(&self, source: Source) -> bool {
        self.read().undefined.contains(&source)
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
        self.sales.get(sale).cloned().unwrap_or_default()
    }

    fn at(&self, place: Place<'_>) -> Option<&Arc<Item>> {
        self.places
            .find(self.hasher.hash_one(place), |item| item.place() == place)
    }

    fn insert(&mut self, mut item: Item) {
        // All objects of a sale share its name.
        if let Some((sale, _)) = self.sales.get_key_value(&item.sale) {
            item.sale = Arc::clone(sale);
        }
        let item = Arc::new(item);
        let of_sale = self.sales.entry(Arc::clone(&item.sale)).or_default();
        let before = |other: &Arc<Item>| (other.source, &other.name) < (item.source, &item.name);
        of_sale.insert(of_sale.partition_point(before), Arc::clone(&item));
        let hasher = &self.hasher;
        self.places
            .insert_unique(hasher.hash_one(item.place()), item, |item| {
                hasher.hash_one(item.place())
            });
    }

    fn take(&mut self, known: &Arc<Item>) {
        let hash = self.hasher.hash_one(known.place());
        if let Ok(entry) = self.places.find_entry(hash, |item| Arc::ptr_eq(item, known)) {
            entry.remove();
        }
        if let Some(objects) = self.sales.get_mut(&known.sale) {
            objects.retain(|item| !Arc::ptr_eq(item, known));
            if objects.is_empty() {
                self.sales.remove(&known.sale);
            }
        }
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
    fn the_objects_of_a_sale_are_in_order_whatever_order_they_came_in() {
        let watched = Watched::default();
        for name in ["c", "a", "b", "a"] {
            watched.put(Item {
                name: name.into(),
                ..item("shoes", name, 5, "a")
            });
        }
        let names = || -> Vec<Box<str>> {
            let items = watched.of(&sale("shoes")).unwrap();
            items.iter().map(|item| item.name.clone()).collect()
        };
        assert_eq!(names(), ["a", "b", "c"].map(Box::from));
        assert_eq!(watched.len(), 3);
        assert_eq!(watched.shown_by(DEPLOYMENTS, &None).len(), 3);
        let b = ("shop".to_owned(), "b".to_owned());
        assert_eq!(watched.remove(DEPLOYMENTS, &b, None), Some(sale("shoes")));
        assert_eq!(names(), ["a", "c"].map(Box::from));
    }

    #[test]
    fn an_object_is_news_when_it_has_changed_and_never_goes_back() {
        let watched = Watched::default();
        let put = |item| watched.put(item);
        assert_eq!(put(item("shoes", "1", 5, "a")), Some(sale("shoes")));
        assert_eq!(put(item("shoes", "1", 6, "a")), None);
        assert_eq!(put(item("shoes", "1", 7, "b")), Some(sale("shoes")));
        // What was written is known before the watch has told of what came before it.
        assert_eq!(put(item("shoes", "1", 6, "a")), None);
        let known = watched.of(&sale("shoes")).unwrap();
        assert_eq!((known.len(), known[0].version), (1, 7));
        // Another one of the same name.
        assert_eq!(put(item("shoes", "2", 3, "b")), Some(sale("shoes")));
        assert_eq!(watched.remove(DEPLOYMENTS, &key(), Some("1")), None);
        assert_eq!(
            watched.remove(DEPLOYMENTS, &key(), Some("2")),
            Some(sale("shoes"))
        );
        assert_eq!((watched.of(&sale("shoes")), watched.len()), (Some(vec![]), 0));
    }

    #[test]
    fn an_object_that_gets_another_owner_is_the_others() {
        let watched = Watched::default();
        watched.put(item("shoes", "1", 5, "a"));
        watched.put(item("boots", "1", 6, "a"));
        assert_eq!(watched.of(&sale("shoes")), Some(vec![]));
        assert_eq!(watched.of(&sale("boots")).unwrap().len(), 1);
    }

    /// A sale whose objects are not known yet must not look like one that has none.
    #[test]
    fn nothing_is_known_before_every_watch_has_told_all() {
        let sources = [(DEPLOYMENTS, None), (Source::Pods, None)];
        let watched = Watched::awaiting(sources);
        watched.put(item("shoes", "1", 5, "a"));
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
