//! An object as it is kept: as compressed text, without what nobody reads of it. Parsed it would take a hundred times the room.

use super::{Item, SaleKey, Source, Thing, version};
use crate::controller::build::Kind;
use crds::FlashSale;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use kube::{Resource, ResourceExt, core::DynamicObject};
use serde_json::{Value, json};
use std::sync::{Arc, OnceLock};

/// The text of the first object of each kind, which the others of that kind are compressed against: most of what they say is the same, from
/// sale to sale. Never changes, so that what was compressed can be read.
static FIRST: [OnceLock<Box<[u8]>>; Kind::ALL.len()] = [const { OnceLock::new() }; Kind::ALL.len()];

/// An object that the operator made, cut down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// What it is compressed against.
    like: Option<Kind>,
    text: Box<[u8]>,
}

impl Kept {
    /// Cuts an object down; `None` for one that cannot be written, which there is not.
    pub fn of(object: DynamicObject) -> Option<Self> {
        Self::compressed(object, None)
    }

    /// The same, compressed against the first object of its kind.
    fn of_kind(kind: Kind, object: DynamicObject) -> Option<Self> {
        Self::compressed(object, Some(kind))
    }

    fn compressed(object: DynamicObject, like: Option<Kind>) -> Option<Self> {
        let text = serde_json::to_vec(&cut(object)).ok()?;
        let first = like.map(|kind| &**FIRST[kind as usize].get_or_init(|| text.clone().into_boxed_slice()));
        Some(Self {
            like,
            text: deflate(&text, first)?.into_boxed_slice(),
        })
    }

    /// The object, as far as it is kept.
    pub fn read(&self) -> Option<DynamicObject> {
        let first = match self.like {
            Some(kind) => Some(&**FIRST[kind as usize].get()?),
            None => None,
        };
        serde_json::from_slice(&inflate(&self.text, first)?).ok()
    }
}

fn deflate(text: &[u8], first: Option<&[u8]>) -> Option<Vec<u8>> {
    let mut compress = Compress::new(Compression::fast(), false);
    if let Some(first) = first {
        compress.set_dictionary(first).ok()?;
    }
    let mut compressed = Vec::with_capacity(text.len() / 4 + 128);
    loop {
        let at = usize::try_from(compress.total_in()).ok()?;
        let status = compress.compress_vec(text.get(at..)?, &mut compressed, FlushCompress::Finish);
        match status.ok()? {
            Status::StreamEnd => return Some(compressed),
            Status::Ok | Status::BufError => compressed.reserve(text.len() / 2 + 128),
        }
    }
}

fn inflate(compressed: &[u8], first: Option<&[u8]>) -> Option<Vec<u8>> {
    let mut decompress = Decompress::new(false);
    if let Some(first) = first {
        decompress.set_dictionary(first).ok()?;
    }
    let mut text = Vec::with_capacity(first.map_or(4 * compressed.len(), <[u8]>::len) + 1_024);
    loop {
        let (at, long) = (usize::try_from(decompress.total_in()).ok()?, text.len());
        let status = decompress.decompress_vec(compressed.get(at..)?, &mut text, FlushDecompress::Finish);
        match status.ok()? {
            Status::StreamEnd => return Some(text),
            // Cut off: more room brings nothing more.
            _ if text.len() == long && text.capacity() > long => return None,
            Status::Ok | Status::BufError => text.reserve(text.len() + 1_024),
        }
    }
}

/// An object of a sale, as its owner says; `None` for one of nobody's.
pub fn child(kind: Kind, object: DynamicObject) -> Option<Item> {
    let owner = object
        .owner_references()
        .iter()
        .find(|owner| owner.kind == FlashSale::kind(&()) && owner.api_version.starts_with("quicksale.io/"))?;
    let sale = SaleKey {
        namespace: object.namespace().unwrap_or_default(),
        name: owner.name.clone(),
    };
    Some(Item {
        source: Source::Child(kind),
        sale: Arc::new(sale),
        name: object.name_any().into(),
        uid: object.uid().unwrap_or_default().into(),
        version: version(&object),
        thing: Thing::Child(Kept::of_kind(kind, object)?),
    })
}

/// Takes away what changes all the time and what is long and not read.
fn cut(mut object: DynamicObject) -> DynamicObject {
    object.metadata.resource_version = None;
    let fields = object.metadata.managed_fields.take();
    // Who has written the replicas is asked for; nothing else of this is.
    let replicas = |entry: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry| {
        let fields = entry.fields_v1.as_ref()?;
        fields.0.get("f:spec")?.get("f:replicas")?;
        let mut entry = entry.clone();
        entry.time = None;
        if let Some(fields) = &mut entry.fields_v1 {
            fields.0 = json!({"f:spec": {"f:replicas": {}}});
        }
        Some(entry)
    };
    let kept: Vec<_> = fields.iter().flatten().filter_map(replicas).collect();
    object.metadata.managed_fields = (!kept.is_empty()).then_some(kept);
    let is_deployment = object.data["spec"]["template"].is_object();
    if !is_deployment && let Some(data) = object.data.as_object_mut() {
        let status = data.remove("status").as_ref().and_then(of_an_entrance);
        data.extend(status.map(|status| ("status".to_owned(), status)));
    }
    for condition in object.data["status"]["conditions"]
        .as_array_mut()
        .into_iter()
        .flatten()
        .filter_map(Value::as_object_mut)
    {
        condition.remove("lastUpdateTime");
    }
    object
}

/// What a status says of a way in: where a load balancer is, and what a Gateway makes of a route.
fn of_an_entrance(status: &Value) -> Option<Value> {
    let said = ["loadBalancer", "parents"].map(|field| {
        let value = &status[field];
        let says_something = value.as_object().is_some_and(|object| !object.is_empty()) || value.is_array();
        says_something.then(|| (field.to_owned(), value.clone()))
    });
    let said: serde_json::Map<_, _> = said.into_iter().flatten().collect();
    (!said.is_empty()).then_some(Value::Object(said))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deployment(version: &str, updated: &str) -> DynamicObject {
        let json = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {
            "name": "shoes-order", "namespace": "shop", "uid": "d", "resourceVersion": version,
            "ownerReferences": [{"apiVersion": "quicksale.io/v1alpha1", "kind": "FlashSale", "name": "shoes", "uid": "u"}],
            "managedFields": [
                {"manager": "somebody", "operation": "Update", "time": updated, "fieldsType": "FieldsV1", "apiVersion": "apps/v1",
                    "fieldsV1": {"f:spec": {"f:replicas": {}, "f:template": {"f:x": {}}}}},
                {"manager": "another", "operation": "Update", "time": updated, "fieldsType": "FieldsV1", "apiVersion": "apps/v1",
                    "fieldsV1": {"f:status": {}}},
            ]},
            "spec": {"template": {}}, "status": {"conditions": [{"type": "Available", "lastUpdateTime": updated}]}});
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn what_changes_all_the_time_is_no_change() {
        let [first, second] = [("1", "2026-12-01T12:00:00Z"), ("2", "2026-12-01T12:00:05Z")]
            .map(|(version, updated)| child(Kind::Deployment, deployment(version, updated)).unwrap());
        assert_eq!(first.thing, second.thing);
        assert_eq!((first.version, second.version), (1, 2));
        let Thing::Child(kept) = first.thing else { panic!() };
        let read = kept.read().unwrap();
        assert_eq!(read.managed_fields().len(), 1);
        assert_eq!(read.managed_fields()[0].manager.as_deref(), Some("somebody"));
    }

    #[test]
    fn objects_of_a_kind_take_the_room_of_what_tells_them_apart() {
        let long = |name: &str| {
            let mut object = deployment("1", "2026-12-01T12:00:00Z");
            object.metadata.name = Some(name.to_owned());
            object.data["spec"] = json!({"template": {}, "words": (0..500).map(|n| format!("word {}", n * n * 7_919)).collect::<Vec<_>>()});
            object
        };
        let size = |kept: &Kept| kept.text.len();
        let (alone, first) = (
            Kept::of(long("a")).unwrap(),
            Kept::of_kind(Kind::Job, long("a")).unwrap(),
        );
        let other = Kept::of_kind(Kind::Job, long("b")).unwrap();
        assert!(
            10 * size(&other) < size(&alone),
            "{} and {}",
            size(&other),
            size(&alone)
        );
        for (kept, name) in [(&alone, "a"), (&first, "a"), (&other, "b")] {
            let read = kept.read().unwrap();
            assert_eq!(read.metadata.name.as_deref(), Some(name));
            assert_eq!(read.data["spec"], long(name).data["spec"]);
        }
        // One that has nothing in common with the first.
        let another = deployment("7", "2026-12-01T12:00:00Z");
        let kept = Kept::of_kind(Kind::Job, another.clone()).unwrap();
        assert_eq!(kept.read().unwrap().data["spec"], another.data["spec"]);
        assert_ne!(other, kept);
        let cut = Kept {
            like: other.like,
            text: other.text[..size(&other) / 2].into(),
        };
        assert!(cut.read().is_none());
    }

    #[test]
    fn an_object_is_its_owners_whatever_its_labels_say() {
        let mut object = deployment("1", "2026-12-01T12:00:00Z");
        let child = |object| child(Kind::Deployment, object);
        assert_eq!(child(object.clone()).unwrap().sale.name, "shoes");
        object.metadata.owner_references = None;
        assert!(child(object).is_none());
    }
}
