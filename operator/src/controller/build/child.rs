//! An object that the operator makes, whatever its kind.

use super::labels::{APPLIED_HASH, all_labels};
use crds::{
    FlashSale, ValidSale,
    names::{MANAGED_BY_LABEL, SALE_LABEL},
};
use k8s_openapi::api::{
    apps::v1::Deployment,
    autoscaling::v2::HorizontalPodAutoscaler,
    batch::v1::Job,
    core::v1::{ConfigMap, Secret, Service},
    networking::v1::{Ingress, NetworkPolicy},
    policy::v1::PodDisruptionBudget,
};
use kube::{
    Resource, ResourceExt,
    core::{ApiResource, DynamicObject},
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// The kinds that the operator makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Configuration, control document, report.
    ConfigMap,
    /// Keys and credentials.
    Secret,
    /// How services find each other.
    Service,
    /// Who may call whom.
    NetworkPolicy,
    /// The services.
    Deployment,
    /// What may be evicted.
    PodDisruptionBudget,
    /// The load of a rehearsal.
    Job,
    /// How many there are.
    HorizontalPodAutoscaler,
    /// What leads from the sale's host to it, by an ingress controller.
    Ingress,
    /// The same, by a Gateway.
    HttpRoute,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 10] = [
        Self::ConfigMap,
        Self::Secret,
        Self::Service,
        Self::NetworkPolicy,
        Self::Deployment,
        Self::PodDisruptionBudget,
        Self::Job,
        Self::HorizontalPodAutoscaler,
        Self::Ingress,
        Self::HttpRoute,
    ];

    /// The kinds whose objects are watched: Secrets are not, which are read by name, and HTTPRoutes only where the platform allows them,
    /// since the right to read them comes with that.
    pub fn followed(with_routes: bool) -> impl Iterator<Item = Self> {
        Self::ALL
            .into_iter()
            .filter(move |kind| *kind != Self::Secret && (with_routes || *kind != Self::HttpRoute))
    }

    /// How the API server knows it.
    pub fn api_resource(self) -> ApiResource {
        match self {
            Self::ConfigMap => ApiResource::erase::<ConfigMap>(&()),
            Self::Secret => ApiResource::erase::<Secret>(&()),
            Self::Service => ApiResource::erase::<Service>(&()),
            Self::NetworkPolicy => ApiResource::erase::<NetworkPolicy>(&()),
            Self::Deployment => ApiResource::erase::<Deployment>(&()),
            Self::PodDisruptionBudget => ApiResource::erase::<PodDisruptionBudget>(&()),
            Self::Job => ApiResource::erase::<Job>(&()),
            Self::HorizontalPodAutoscaler => ApiResource::erase::<HorizontalPodAutoscaler>(&()),
            Self::Ingress => ApiResource::erase::<Ingress>(&()),
            // Of the Gateway API (https://gateway-api.sigs.k8s.io), which Kubernetes does not bring itself.
            Self::HttpRoute => ApiResource {
                group: "gateway.networking.k8s.io".to_owned(),
                version: "v1".to_owned(),
                api_version: "gateway.networking.k8s.io/v1".to_owned(),
                kind: "HTTPRoute".to_owned(),
                plural: "httproutes".to_owned(),
            },
        }
    }
}

/// An object as it should be.
#[derive(Debug, Clone, PartialEq)]
pub struct Child {
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// All of it, as it is applied.
    pub json: Value,
}

impl Child {
    /// An object of a sale: `body` is everything beside its type and metadata.
    ///
    /// The body's hash goes with it as an annotation. It shows that a field was taken away, which a comparison of
    /// the fields that are still wanted does not.
    pub(super) fn new(sale: &ValidSale, kind: Kind, suffix: &str, body: Value) -> Self {
        let resource = kind.api_resource();
        let name = super::object_name(&sale.id.name, suffix);
        let hash = hash(&body);
        let mut json = body;
        json["apiVersion"] = resource.api_version.into();
        json["kind"] = resource.kind.into();
        json["metadata"] = json!({
            "name": name,
            "namespace": sale.id.namespace,
            "labels": all_labels(&sale.id.name, suffix),
            "annotations": {APPLIED_HASH: hash},
            "ownerReferences": [{
                "apiVersion": FlashSale::api_version(&()), "kind": FlashSale::kind(&()),
                "name": sale.id.name, "uid": sale.uid, "controller": true, "blockOwnerDeletion": true,
            }],
        });
        Self { kind, name, json }
    }

    /// With annotations beside the operator's own.
    pub(super) fn annotated(mut self, more: BTreeMap<String, String>) -> Self {
        if more.is_empty() {
            return self;
        }
        let annotations = &mut self.json["metadata"]["annotations"];
        // One that was taken away shows as one of the body's fields would.
        let of_body = annotations[APPLIED_HASH].take();
        annotations[APPLIED_HASH] = hash(&json!([of_body, more])).into();
        for (name, value) in more {
            annotations[name] = value.into();
        }
        self
    }

    /// Puts what is kept in the place of what was built, if there is anything; returns whether the two differ.
    pub fn keep(&mut self, pointer: &str, kept: Option<Value>) -> bool {
        let (Some(kept), Some(built)) = (kept, self.json.pointer_mut(pointer)) else {
            return false;
        };
        if kept == *built {
            return false;
        }
        *built = kept;
        let mut body = self.json.clone();
        if let Some(fields) = body.as_object_mut() {
            fields.retain(|name, _| !matches!(name.as_str(), "apiVersion" | "kind" | "metadata"));
        }
        self.json["metadata"]["annotations"][APPLIED_HASH] = hash(&body).into();
        true
    }

    /// Whether an object was made for the sale that this one is for, or for one of the same name before it.
    pub fn is_for_the_same_sale(&self, object: &DynamicObject) -> bool {
        // Whatever became of its labels.
        let uid = self.json["metadata"]["ownerReferences"][0]["uid"].as_str();
        let mut owners = object.metadata.owner_references.iter().flatten();
        owners.any(|owner| Some(owner.uid.as_str()) == uid) || self.has_labels_of(object)
    }

    fn has_labels_of(&self, object: &DynamicObject) -> bool {
        [MANAGED_BY_LABEL, SALE_LABEL].into_iter().all(|label| {
            let wanted = self.json["metadata"]["labels"][label].as_str();
            wanted.is_some() && object.labels().get(label).map(String::as_str) == wanted
        })
    }

    /// Whether the object in the cluster is as it should be: its hash is this one's and every field that is wanted is
    /// there. Fields that others added are theirs.
    pub fn is_met_by(&self, live: &DynamicObject) -> bool {
        let (Ok(live), Some(wanted)) = (serde_json::to_value(live), self.json.as_object()) else {
            return false;
        };
        // The items of a list do not repeat their type.
        wanted
            .iter()
            .filter(|(key, _)| !matches!(key.as_str(), "apiVersion" | "kind"))
            .all(|(key, wanted)| live.get(key).is_some_and(|live| contains(live, wanted)))
    }
}

fn hash(body: &Value) -> String {
    hex::encode(&Sha256::digest(body.to_string().as_bytes())[..16])
}

fn contains(live: &Value, wanted: &Value) -> bool {
    match (live, wanted) {
        (Value::Object(live), Value::Object(wanted)) => {
            wanted.iter().all(|(key, wanted)| match live.get(key) {
                Some(live) => contains(live, wanted),
                // The API server leaves out what is empty.
                None => wanted.as_object().is_some_and(serde_json::Map::is_empty) || wanted == &json!([]),
            })
        }
        (Value::Array(live), Value::Array(wanted)) => {
            live.len() == wanted.len()
                && live
                    .iter()
                    .zip(wanted)
                    .all(|(live, wanted)| contains(live, wanted))
        }
        (Value::String(live), Value::String(wanted)) => live == wanted || same_quantity(live, wanted),
        _ => live == wanted,
    }
}

/// Whether two texts are the same quantity: the API server writes `1024Mi` as `1Gi` and `0.5` as `500m`.
fn same_quantity(a: &str, b: &str) -> bool {
    matches!((quantity(a), quantity(b)), (Some(a), Some(b)) if a == b)
}

/// A Kubernetes quantity in thousandths; `None` for any other text, and for what has no exact thousandths.
fn quantity(text: &str) -> Option<i128> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits);
    let (numerator, denominator): (i128, i128) = match suffix {
        "m" => (1, 1_000),
        "" => (1, 1),
        "k" => (1_000, 1),
        "M" => (1_000_000, 1),
        "G" => (1_000_000_000, 1),
        "T" => (1_000_000_000_000, 1),
        "Ki" => (1 << 10, 1),
        "Mi" => (1 << 20, 1),
        "Gi" => (1 << 30, 1),
        "Ti" => (1 << 40, 1),
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let value: i128 = format!("{whole}{fraction}").parse().ok()?;
    let scale = 10_i128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let thousandths = value.checked_mul(numerator)?.checked_mul(1_000)?;
    let divisor = scale.checked_mul(denominator)?;
    (thousandths % divisor == 0).then(|| thousandths / divisor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_compared_by_value() {
        for (a, b) in [("0.5", "500m"), ("1024Mi", "1Gi"), ("1000m", "1"), ("2", "2.0")] {
            assert!(same_quantity(a, b), "{a} {b}");
        }
        for (a, b) in [
            ("1Gi", "1G"),
            ("1", "2"),
            ("x", "x1"),
            ("http", "https"),
            ("", "0."),
        ] {
            assert!(!same_quantity(a, b), "{a} {b}");
        }
    }

    #[test]
    fn an_object_from_a_list_has_no_type_and_meets_what_is_wanted() {
        let child = Child {
            kind: Kind::ConfigMap,
            name: "a".into(),
            json: json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": "v"}}),
        };
        let listed = |value: &str| -> DynamicObject {
            serde_json::from_value(json!({"metadata": {"name": "a"}, "data": {"k": value}})).unwrap()
        };
        assert!(child.is_met_by(&listed("v")));
        assert!(!child.is_met_by(&listed("other")));
    }

    #[test]
    fn what_others_added_does_not_matter_and_what_is_wanted_does() {
        let live = json!({"spec": {"replicas": 2, "selector": {"a": "b"}, "added": true}, "ports": [{"port": 1, "protocol": "TCP"}]});
        assert!(contains(
            &live,
            &json!({"spec": {"replicas": 2}, "ports": [{"port": 1}], "podSelector": {}})
        ));
        for wanted in [
            json!({"spec": {"replicas": 3}}),
            json!({"ports": []}),
            json!({"spec": {"missing": 1}}),
        ] {
            assert!(!contains(&live, &wanted), "{wanted}");
        }
    }
}
