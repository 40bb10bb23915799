//! What the platform wants of the pods of all sales: where they run, by which name, with which labels. It is laid over what the operator
//! makes, and cannot take anything of that away.

use k8s_openapi::api::core::v1::{
    Affinity, EnvVar, HostAlias, LocalObjectReference, Toleration, Volume, VolumeMount,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::{collections::BTreeMap, str::FromStr};

/// The chart's `salePods`. Each field is one of a pod's own.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PodTemplate {
    /// Labels beside the operator's own.
    pub labels: BTreeMap<String, String>,
    /// Annotations beside the operator's own.
    pub annotations: BTreeMap<String, String>,
    /// Labels of the nodes that they may run on.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub node_selector: BTreeMap<String, String>,
    /// Taints that they bear.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tolerations: Vec<Toleration>,
    /// Which nodes and neighbours they like.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Affinity>,
    /// What they come before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority_class_name: Option<String>,
    /// Secrets in the sale's namespace to pull the image with.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub image_pull_secrets: Vec<LocalObjectReference>,
    /// Who they are in the sale's namespace; its token is not given to them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_account_name: Option<String>,
    /// Who schedules them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheduler_name: Option<String>,
    /// Which runtime runs them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime_class_name: Option<String>,
    /// Names beside those of DNS.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub host_aliases: Vec<HostAlias>,
    /// Volumes beside the operator's own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<Volume>,
    /// Where these are mounted.
    pub volume_mounts: Vec<VolumeMount>,
    /// Variables of the containers beside the operator's own.
    pub env: Vec<EnvVar>,
}

/// What a label or an annotation may not begin with: the operator finds its pods by these.
const RESERVED: [&str; 2] = ["quicksale.io/", "app.kubernetes.io/"];

impl FromStr for PodTemplate {
    type Err = String;

    fn from_str(json: &str) -> Result<Self, Self::Err> {
        let template: Self = serde_json::from_str(json).map_err(|error| error.to_string())?;
        let keys = template.labels.keys().chain(template.annotations.keys());
        for key in keys {
            if RESERVED.iter().any(|reserved| key.starts_with(reserved)) {
                return Err(format!("{key} is the operator's own; leave it out"));
            }
        }
        Ok(template)
    }
}

impl PodTemplate {
    /// Lays it over a pod template with one container. What both name stays the operator's.
    pub fn lay_over(&self, template: &mut Value) {
        if *self == Self::default() {
            return;
        }
        add(&mut template["metadata"], "labels", &json!(self.labels));
        add(&mut template["metadata"], "annotations", &json!(self.annotations));
        let container = &mut template["spec"]["containers"][0];
        append(container, "env", &json!(self.env), "name");
        append(container, "volumeMounts", &json!(self.volume_mounts), "mountPath");
        append(&mut template["spec"], "volumes", &json!(self.volumes), "name");
        let mut rest = serde_json::to_value(self).unwrap_or_default();
        for done in ["labels", "annotations", "env", "volumeMounts", "volumes"] {
            rest.as_object_mut().and_then(|rest| rest.remove(done));
        }
        add(template, "spec", &rest);
    }
}

/// Adds to an object's field, itself an object, what is not there.
fn add(object: &mut Value, field: &str, more: &Value) {
    let Some(more) = more.as_object().filter(|more| !more.is_empty()) else {
        return;
    };
    let to = &mut object[field];
    if to.is_null() {
        *to = Value::Object(Map::new());
    }
    if let Some(to) = to.as_object_mut() {
        for (key, value) in more {
            to.entry(key).or_insert_with(|| value.clone());
        }
    }
}

/// Adds to an object's field, a list, the items whose key none of those there has.
fn append(object: &mut Value, field: &str, more: &Value, key: &str) {
    let Some(more) = more.as_array().filter(|more| !more.is_empty()) else {
        return;
    };
    let to = &mut object[field];
    if to.is_null() {
        *to = json!([]);
    }
    if let Some(to) = to.as_array_mut() {
        for item in more {
            if !to.iter().any(|there| there[key] == item[key]) {
                to.push(item.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_platform_wants_is_added_and_nothing_of_the_operators_is_taken_away() {
        let wanted: PodTemplate = json!({
            "labels": {"team": "shop"}, "nodeSelector": {"pool": "sales"}, "priorityClassName": "high",
            "env": [{"name": "INSTANCE", "value": "evil"}, {"name": "HTTP_PROXY", "value": "http://proxy:3128"}],
            "volumes": [{"name": "ca", "configMap": {"name": "ca"}}],
            "volumeMounts": [{"name": "ca", "mountPath": "/etc/ca"}, {"name": "ca", "mountPath": "/keys"}],
        })
        .to_string()
        .parse()
        .unwrap();
        let mut template = json!({
            "metadata": {"labels": {"quicksale.io/sale": "shoes", "team": "ours"}},
            "spec": {"containers": [{
                "name": "order", "env": [{"name": "INSTANCE", "value": "mine"}],
                "volumeMounts": [{"name": "keys", "mountPath": "/keys"}],
            }]},
        });
        wanted.lay_over(&mut template);
        let expected = json!({
            "metadata": {"labels": {"quicksale.io/sale": "shoes", "team": "ours"}},
            "spec": {
                "containers": [{
                    "name": "order",
                    "env": [{"name": "INSTANCE", "value": "mine"}, {"name": "HTTP_PROXY", "value": "http://proxy:3128"}],
                    "volumeMounts": [{"name": "keys", "mountPath": "/keys"}, {"name": "ca", "mountPath": "/etc/ca"}],
                }],
                "volumes": [{"name": "ca", "configMap": {"name": "ca"}}],
                "nodeSelector": {"pool": "sales"}, "priorityClassName": "high",
            },
        });
        assert_eq!(template, expected);
    }

    #[test]
    fn a_template_that_says_nothing_changes_nothing() {
        let nothing: PodTemplate = "{}".parse().unwrap();
        let mut template = json!({"spec": {"containers": [{"name": "order"}]}});
        let before = template.clone();
        nothing.lay_over(&mut template);
        assert_eq!(template, before);
    }

    #[test]
    fn what_would_hide_pods_from_the_operator_or_is_no_field_is_refused() {
        let refused = |json: Value| json.to_string().parse::<PodTemplate>().unwrap_err();
        let said = refused(json!({"labels": {"quicksale.io/sale": "other"}}));
        assert!(
            said.starts_with("quicksale.io/sale is the operator's own"),
            "{said}"
        );
        assert!(refused(json!({"hostNetwork": true})).contains("hostNetwork"));
    }
}
