//! Whether a definition can follow one that was released: every object that people have stays valid, keeps its fields and means the same,
//! and whoever goes back to the release before finds what it knows. docs/api-versions.md has the policy.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, CustomResourceDefinitionVersion, JSONSchemaProps, JSONSchemaPropsOrArray,
    JSONSchemaPropsOrBool,
};
use std::{collections::BTreeSet, fmt::Debug};

/// The definitions of the releases, the newest last: their names and texts. The first is what 0.1.0 began with.
pub const RELEASED: [(&str, &str); 1] = [("0.1.0", include_str!("../released/0.1.0.yaml"))];

/// Rules that were made tighter on purpose: the path of the field and the beginning of the rule's message, with the reason. An object that
/// breaks such a rule already stays readable, and the API server takes edits of its other fields.
const TIGHTENED: [(&str, &str); 0] = [];

/// Why a definition that was released cannot be compared.
#[derive(Debug, thiserror::Error)]
#[error("the definition of {release} cannot be read: {problem}")]
pub struct UnreadableRelease {
    release: &'static str,
    problem: String,
}

/// What of a definition would break somebody who has used a release; nothing where it can follow.
///
/// # Errors
/// [`UnreadableRelease`].
pub fn with_releases(now: &CustomResourceDefinition) -> Result<Vec<String>, UnreadableRelease> {
    let mut all = Vec::new();
    for (release, text) in RELEASED {
        let before = serde_saphyr::from_str(text).map_err(|error| UnreadableRelease {
            release,
            problem: error.to_string(),
        })?;
        let breaks = breaks(&before, now).into_iter();
        all.extend(breaks.map(|sentence| format!("since {release}: {sentence}")));
    }
    Ok(all)
}

/// What in `now` breaks those who use `before`, each as a sentence that begins with where it is.
pub fn breaks(before: &CustomResourceDefinition, now: &CustomResourceDefinition) -> Vec<String> {
    let mut found = Found::default();
    let names = |definition: &CustomResourceDefinition| {
        let spec = &definition.spec;
        let (names, group) = (&spec.names, &spec.group);
        (
            group.clone(),
            names.kind.clone(),
            names.plural.clone(),
            spec.scope.clone(),
        )
    };
    if names(before) != names(now) {
        found.note("spec", "group, kind, plural or scope are others");
    }
    for version in &before.spec.versions {
        let same = now.spec.versions.iter().find(|other| other.name == version.name);
        match same {
            None => found.note(&version.name, "the version is gone"),
            Some(other) if version.served && !other.served => {
                found.note(&version.name, "the version is not served any more");
            }
            Some(other) => compare_versions(&mut found, version, other),
        }
    }
    // What is stored in a version that the release before does not have, it cannot read.
    let stored = now.spec.versions.iter().find(|version| version.storage);
    let knows = |stored: &CustomResourceDefinitionVersion| {
        before
            .spec
            .versions
            .iter()
            .any(|version| version.name == stored.name)
    };
    if !stored.is_some_and(knows) {
        found.note(
            "spec.versions",
            "objects are stored in a version that the release does not know",
        );
    }
    found.0
}

fn compare_versions(
    found: &mut Found,
    before: &CustomResourceDefinitionVersion,
    now: &CustomResourceDefinitionVersion,
) {
    let has_status = |version: &CustomResourceDefinitionVersion| {
        version
            .subresources
            .as_ref()
            .is_some_and(|all| all.status.is_some())
    };
    if has_status(before) && !has_status(now) {
        found.note(&before.name, "the subresource status is gone");
    }
    let schema = |version: &CustomResourceDefinitionVersion| {
        let schema = version
            .schema
            .as_ref()
            .and_then(|schema| schema.open_api_v3_schema.clone());
        schema.unwrap_or_default()
    };
    compare(found, &before.name, &schema(before), &schema(now));
}

/// What was found.
#[derive(Debug, Default)]
struct Found(Vec<String>);

impl Found {
    fn note(&mut self, path: &str, what: &str) {
        self.0.push(format!("{path}: {what}"));
    }

    /// A bound that may not come closer.
    fn bound<T: PartialOrd + Debug + Copy>(
        &mut self,
        path: &str,
        name: &str,
        before: Option<T>,
        now: Option<T>,
        is_least: bool,
    ) {
        let is_tighter = match (before, now) {
            (_, None) => false,
            (None, Some(_)) => true,
            (Some(before), Some(now)) if is_least => now > before,
            (Some(before), Some(now)) => now < before,
        };
        if is_tighter {
            self.note(
                path,
                &format!("{name} was {before:?} and is {now:?}, so that objects there are may break it"),
            );
        }
    }

    /// What has to be as it was.
    fn same<T: PartialEq + Debug>(&mut self, path: &str, name: &str, before: &T, now: &T) {
        if before != now {
            self.note(path, &format!("{name} was {before:?} and is {now:?}"));
        }
    }
}

fn compare(found: &mut Found, path: &str, before: &JSONSchemaProps, now: &JSONSchemaProps) {
    found.same(path, "type", &before.type_, &now.type_);
    found.same(path, "format", &before.format, &now.format);
    found.same(path, "default", &before.default, &now.default);
    found.same(
        path,
        "list type",
        &before.x_kubernetes_list_type,
        &now.x_kubernetes_list_type,
    );
    found.same(
        path,
        "list keys",
        &before.x_kubernetes_list_map_keys,
        &now.x_kubernetes_list_map_keys,
    );
    if before.pattern != now.pattern && now.pattern.is_some() {
        found.note(path, "the pattern is another");
    }
    if before.nullable == Some(true) && now.nullable != Some(true) {
        found.note(path, "null is not taken any more");
    }
    found.bound(path, "maximum", before.maximum, now.maximum, false);
    found.bound(path, "minimum", before.minimum, now.minimum, true);
    found.bound(path, "maxLength", before.max_length, now.max_length, false);
    found.bound(path, "minLength", before.min_length, now.min_length, true);
    found.bound(path, "maxItems", before.max_items, now.max_items, false);
    found.bound(path, "minItems", before.min_items, now.min_items, true);
    found.bound(
        path,
        "maxProperties",
        before.max_properties,
        now.max_properties,
        false,
    );
    let values = |schema: &JSONSchemaProps| -> Option<Vec<String>> {
        let values = schema.enum_.as_ref()?.iter();
        Some(values.map(|value| value.0.to_string()).collect())
    };
    if let Some(now) = values(now) {
        match values(before) {
            None => found.note(path, "only some values are taken now"),
            Some(before) => {
                for gone in before.iter().filter(|value| !now.contains(value)) {
                    found.note(path, &format!("the value {gone} is not taken any more"));
                }
            }
        }
    }
    rules(found, path, before, now);
    required(found, path, before, now);
    for (name, property) in before.properties.iter().flatten() {
        let path = format!("{path}.{name}");
        match now.properties.as_ref().and_then(|all| all.get(name)) {
            None => found.note(
                &path,
                "the field is gone, and the API server would drop it from objects that have it",
            ),
            Some(other) => compare(found, &path, property, other),
        }
    }
    match (&before.items, &now.items) {
        (Some(JSONSchemaPropsOrArray::Schema(before)), Some(JSONSchemaPropsOrArray::Schema(now))) => {
            compare(found, &format!("{path}[]"), before, now);
        }
        (Some(_), None) => found.note(path, "what its items are is gone"),
        _ => {}
    }
    if let (Some(JSONSchemaPropsOrBool::Schema(before)), Some(JSONSchemaPropsOrBool::Schema(now))) =
        (&before.additional_properties, &now.additional_properties)
    {
        compare(found, &format!("{path}.*"), before, now);
    }
}

fn rules(found: &mut Found, path: &str, before: &JSONSchemaProps, now: &JSONSchemaProps) {
    let known: BTreeSet<&str> = before
        .x_kubernetes_validations
        .iter()
        .flatten()
        .map(|rule| rule.rule.as_str())
        .collect();
    for rule in now.x_kubernetes_validations.iter().flatten() {
        let message = rule
            .message
            .as_deref()
            .or(rule.message_expression.as_deref())
            .unwrap_or(&rule.rule);
        let is_meant = TIGHTENED
            .iter()
            .any(|(at, says)| *at == path && message.starts_with(says));
        // What it is about is not there in any object of before.
        let field = rule.field_path.as_deref().and_then(|path| path.strip_prefix('.'));
        let is_of_a_new_field = field.is_some_and(|field| {
            let properties = before.properties.as_ref();
            properties.is_some_and(|all| !all.contains_key(field))
        });
        if !known.contains(rule.rule.as_str()) && !is_meant && !is_of_a_new_field {
            found.note(
                path,
                &format!("there is a new rule, which objects there are may break: {message}"),
            );
        }
    }
}

fn required(found: &mut Found, path: &str, before: &JSONSchemaProps, now: &JSONSchemaProps) {
    let is_in =
        |schema: &JSONSchemaProps, name: &String| schema.required.iter().flatten().any(|one| one == name);
    for name in now.required.iter().flatten().filter(|name| !is_in(before, name)) {
        let has_default = now
            .properties
            .iter()
            .flatten()
            .any(|(of, schema)| of == name && schema.default.is_some());
        if !has_default {
            found.note(&format!("{path}.{name}"), "the field has to be there now");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definition::definition;
    use std::path::Path;

    #[test]
    fn every_file_of_a_release_is_compared_with() {
        let files = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("released")).unwrap();
        let mut names: Vec<_> = files
            .map(|file| file.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        let known: Vec<_> = RELEASED
            .iter()
            .map(|(release, _)| format!("{release}.yaml"))
            .collect();
        assert_eq!(names, known);
    }

    use serde_json::{Value, json};

    #[test]
    fn the_definition_can_follow_every_release() {
        let breaks = with_releases(&definition()).unwrap();
        assert!(breaks.is_empty(), "{}", breaks.join("\n"));
    }

    /// What comes of a change of the definition as JSON.
    fn after(change: impl Fn(&mut Value)) -> Vec<String> {
        let before = definition();
        let mut json = serde_json::to_value(&before).unwrap();
        change(&mut json);
        breaks(&before, &serde_json::from_value(json).unwrap())
    }

    #[test]
    fn whatever_breaks_somebody_is_found() {
        let schema = "/spec/versions/0/schema/openAPIV3Schema";
        let spec = format!("{schema}/properties/spec");
        let at = |path: &str| format!("{spec}/properties/{path}");
        let set = |path: String, value: Value| {
            after(move |json| {
                let (parent, key) = path.rsplit_once('/').unwrap();
                json.pointer_mut(parent).unwrap()[key] = value.clone();
            })
        };
        let taken = |path: String| {
            after(move |json| {
                let (parent, key) = path.rsplit_once('/').unwrap();
                json.pointer_mut(parent)
                    .unwrap()
                    .as_object_mut()
                    .unwrap()
                    .remove(key);
            })
        };
        let rule = json!([{"rule": "self == ''", "message": "nothing may be said"}]);
        for (changed, says) in [
            (taken(at("closesAt")), "v1alpha1.spec.closesAt: the field is gone"),
            (
                set(at("halted/type"), json!("string")),
                "v1alpha1.spec.halted: type was",
            ),
            (
                set(at("currency/maxLength"), json!(3)),
                "v1alpha1.spec.currency: maxLength was",
            ),
            (
                set(at("products/maxItems"), json!(10)),
                "v1alpha1.spec.products: maxItems was",
            ),
            (
                set(at("mode/enum"), json!(["Sale"])),
                "v1alpha1.spec.mode: the value \"Rehearsal\" is not taken",
            ),
            (
                set(at("mode/default"), json!("Rehearsal")),
                "v1alpha1.spec.mode: default was",
            ),
            (
                set(at("paymentUrl/pattern"), json!("^https")),
                "v1alpha1.spec.paymentUrl: the pattern",
            ),
            (
                set(at("paymentUrl/x-kubernetes-validations"), rule),
                "v1alpha1.spec.paymentUrl: there is a new rule",
            ),
            (
                set(format!("{spec}/required"), json!(["products", "closesAt"])),
                "v1alpha1.spec.closesAt: the field has to be",
            ),
            (
                set("/spec/versions/0/served".into(), json!(false)),
                "v1alpha1: the version is not served",
            ),
            (
                taken("/spec/versions/0/subresources".into()),
                "v1alpha1: the subresource status is gone",
            ),
            (
                set("/spec/scope".into(), json!("Cluster")),
                "spec: group, kind, plural or scope",
            ),
        ] {
            assert!(
                changed.iter().any(|sentence| sentence.starts_with(says)),
                "{says}: {changed:?}"
            );
        }
    }

    #[test]
    fn what_comes_new_and_what_is_looser_breaks_nobody() {
        let found = after(|json| {
            let spec = json
                .pointer_mut("/spec/versions/0/schema/openAPIV3Schema/properties/spec")
                .unwrap();
            spec["properties"]["novel"] = json!({"type": "string"});
            let rule =
                json!({"rule": "!has(self.novel) || self.halted", "message": "no", "fieldPath": ".novel"});
            let rules = spec["x-kubernetes-validations"].as_array_mut().unwrap();
            rules.push(rule);
            spec["properties"]["products"]["maxItems"] = json!(60);
            spec["properties"]["mode"]["enum"] = json!(["Sale", "Rehearsal", "Drill"]);
            spec["properties"]["currency"]
                .as_object_mut()
                .unwrap()
                .remove("maxLength");
        });
        assert!(found.is_empty(), "{found:?}");
    }

    #[test]
    fn objects_are_stored_as_the_release_before_can_read_them() {
        let found = after(|json| {
            json["spec"]["versions"][0]["storage"] = json!(false);
            let mut new = json["spec"]["versions"][0].clone();
            (new["name"], new["storage"]) = (json!("v9"), json!(true));
            json["spec"]["versions"].as_array_mut().unwrap().push(new);
        });
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].contains("a version that the release does not know"),
            "{found:?}"
        );
    }
}
