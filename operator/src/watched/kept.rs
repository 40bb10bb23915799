//! An object as it is kept: as compressed text, without what nobody reads of it. Parsed it would take thirty times the room.

use super::{Item, SaleKey, Source, Thing, version};
use crate::controller::build::Kind;
use crds::FlashSale;
use flate2::{Compression, read::DeflateDecoder, write::DeflateEncoder};
use kube::{Resource, ResourceExt, core::DynamicObject};
use serde_json::{Value, json};

/// An object that the operator made, cut down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    text: Box<[u8]>,
}

impl Kept {
    /// Cuts an object down; `None` for one that cannot be written, which there is not.
    pub fn of(object: DynamicObject) -> Option<Self> {
        let mut text = DeflateEncoder::new(Vec::new(), Compression::fast());
        serde_json::to_writer(&mut text, &cut(object)).ok()?;
        Some(Self {
            text: text.finish().ok()?.into_boxed_slice(),
        })
    }

    /// The object, as far as it is kept.
    pub fn read(&self) -> Option<DynamicObject> {
        serde_json::from_reader(DeflateDecoder::new(&*self.text)).ok()
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
        sale,
        uid: object.uid().unwrap_or_default(),
        version: version(&object),
        thing: Thing::Child(Kept::of(object)?),
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
        data.remove("status");
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
    fn an_object_is_its_owners_whatever_its_labels_say() {
        let mut object = deployment("1", "2026-12-01T12:00:00Z");
        let child = |object| child(Kind::Deployment, object);
        assert_eq!(child(object.clone()).unwrap().sale.name, "shoes");
        object.metadata.owner_references = None;
        assert!(child(object).is_none());
    }
}
