//! What the API server would refuse a new FlashSale for, asked without one: by the same definition, its types and bounds as well as its
//! rules in CEL. [`crate::valid`] is more patient, since an object may be older than a rule; here nothing is.

use crate::{FlashSale, ValidSale, component::Amount, definition::definition};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Resource,
    core::cel::{ErrorKind, ValidationError, Validator, apply_defaults},
};
use regex::Regex;
use serde_json::{Map, Value, json};

/// A FlashSale as it is written down, and what it means; or everything that is wrong with it, a sentence each.
///
/// # Errors
/// The sentences.
pub fn checked(written: &Value) -> Result<(FlashSale, ValidSale), Vec<String>> {
    let sale: FlashSale = serde_json::from_value(taken(written)?).map_err(|error| vec![error.to_string()])?;
    match ValidSale::try_from(&sale) {
        Ok(valid) => Ok((sale, valid)),
        Err(invalid) => Err(invalid.0),
    }
}

/// As the API server would take it, with the defaults of what is left out.
fn taken(written: &Value) -> Result<Value, Vec<String>> {
    let definition = definition();
    let Some(schema) = schema(&definition) else {
        return Err(vec!["the definition of FlashSale cannot be read".to_owned()]);
    };
    let mut found = Vec::new();
    let mut sale = written.clone();
    read(&schema, &mut sale);
    let Some(object) = sale.as_object_mut() else {
        return Err(vec!["this is no object".to_owned()]);
    };
    frame(object, &definition, &mut found);
    let own = object
        .iter()
        .filter(|(key, _)| !OF_EVERY_OBJECT.contains(&key.as_str()));
    let own: Map<String, Value> = own.map(|(key, value)| (key.clone(), value.clone())).collect();
    // A rule is not asked about what has not even its type.
    shape(&schema, &Value::Object(own), "", &mut found);
    if !found.is_empty() {
        return Err(found);
    }
    let whole = apply_defaults(&schema, &sale);
    let Err(errors) = Validator::new().validate(&schema, &whole, None) else {
        return Ok(whole);
    };
    // Which type a value has is a question that this CEL does not know; see `shape`.
    let judged = |error: &&ValidationError| error.rule != Amount::RULE;
    found.extend(errors.iter().filter(judged).map(|error| match error.kind {
        // Which of several it is, the sentence does not say.
        ErrorKind::ValidationFailure if error.field_path.contains('[') => {
            format!("{}: {}", error.field_path, error.message)
        }
        ErrorKind::ValidationFailure => error.message.clone(),
        _ => format!("{} cannot be judged here: {}", error.field_path, error.message),
    }));
    if found.is_empty() { Ok(whole) } else { Err(found) }
}

/// What each object has, whatever its kind.
const OF_EVERY_OBJECT: [&str; 3] = ["apiVersion", "kind", "metadata"];
/// What people write into metadata.
const OF_PEOPLE: [&str; 7] = [
    "name",
    "generateName",
    "namespace",
    "labels",
    "annotations",
    "finalizers",
    "ownerReferences",
];
/// What an API server writes into it, and a file has that was read from one. A new object gets its own.
const OF_THE_SERVER: [&str; 8] = [
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "managedFields",
    "selfLink",
];

/// What is around the spec. A status in the file is dropped, as the API server does.
fn frame(object: &mut Map<String, Value>, definition: &CustomResourceDefinition, found: &mut Vec<String>) {
    object.remove("status");
    let served: Vec<_> = definition
        .spec
        .versions
        .iter()
        .map(|version| format!("{}/{}", FlashSale::group(&()), version.name))
        .collect();
    let version = object
        .get("apiVersion")
        .and_then(Value::as_str)
        .unwrap_or_default();
    if !served.iter().any(|served| served == version) {
        found.push(format!(
            "apiVersion must be one of {}, not {version:?}",
            served.join(", ")
        ));
    }
    let kind = FlashSale::kind(&());
    if object.get("kind").and_then(Value::as_str) != Some(&kind) {
        found.push(format!("kind must be {kind}"));
    }
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else {
        found.push("metadata is missing; it has the name".to_owned());
        return;
    };
    metadata.retain(|field, _| !OF_THE_SERVER.contains(&field.as_str()));
    for field in metadata
        .keys()
        .filter(|field| !OF_PEOPLE.contains(&field.as_str()))
    {
        found.push(format!("metadata.{field} is no field of an object"));
    }
    for field in ["labels", "annotations"] {
        let entries = metadata
            .get(field)
            .and_then(Value::as_object)
            .into_iter()
            .flatten();
        for (name, _) in entries.filter(|(_, value)| !value.is_string()) {
            found.push(format!(
                "metadata.{field}.{name} must be a text; put it in quotes"
            ));
        }
    }
    match (metadata.get("name"), metadata.get("generateName")) {
        (Some(Value::String(_)), _) => {}
        // The API server puts five letters behind it.
        (None, Some(Value::String(begins))) => {
            let name = json!(format!("{begins}xxxxx"));
            metadata.insert("name".to_owned(), name);
        }
        _ => found.push("metadata.name is missing".to_owned()),
    }
}

fn schema(definition: &CustomResourceDefinition) -> Option<Value> {
    let stored = definition.spec.versions.iter().find(|version| version.storage)?;
    serde_json::to_value(stored.schema.as_ref()?.open_api_v3_schema.as_ref()?).ok()
}

/// Reads it as the API server does: a field that is null is one that is left out.
fn read(schema: &Value, value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            for (name, value) in fields {
                let field = match &schema["properties"][name.as_str()] {
                    Value::Null => &schema["additionalProperties"],
                    field => field,
                };
                read(field, value);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| read(&schema["items"], item)),
        _ => {}
    }
}

fn shape(schema: &Value, value: &Value, path: &str, found: &mut Vec<String>) {
    if value.is_null() {
        found.push(format!("{path} must not be null; leave it out"));
        return;
    }
    let wanted = if schema["x-kubernetes-int-or-string"] == true {
        "whole number or text"
    } else {
        schema["type"].as_str().unwrap_or_default()
    };
    let fits = match wanted {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "whole number or text" => value.is_i64() || value.is_u64() || value.is_string(),
        _ => true,
    };
    if !fits {
        found.push(format!("{path} must be of the type {wanted}, not {value}"));
        return;
    }
    match value {
        Value::Object(fields) => object(schema, fields, path, found),
        Value::Array(items) => {
            bounded(
                items.len(),
                [&schema["minItems"], &schema["maxItems"]],
                path,
                "items",
                found,
            );
            for (index, item) in items.iter().enumerate() {
                shape(&schema["items"], item, &format!("{path}[{index}]"), found);
            }
        }
        Value::String(text) => self::text(schema, text, path, found),
        Value::Number(number) => {
            let number = number.as_f64().unwrap_or(f64::NAN);
            let beyond = schema["minimum"].as_f64().is_some_and(|least| number < least)
                || schema["maximum"].as_f64().is_some_and(|most| number > most);
            if schema["x-kubernetes-int-or-string"] == true && value.as_u64().is_none_or(|n| n > Amount::MOST)
            {
                found.push(format!("{path}: {}", Amount::SENTENCE));
            }
            if beyond {
                found.push(format!("{path} is beyond what the field holds: {value}"));
            }
        }
        _ => {}
    }
}

fn object(schema: &Value, fields: &Map<String, Value>, path: &str, found: &mut Vec<String>) {
    let of = |name: &str| {
        if path.is_empty() {
            name.to_owned()
        } else {
            format!("{path}.{name}")
        }
    };
    for required in schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
    {
        if !fields.contains_key(required) {
            found.push(format!("{} is missing", of(required)));
        }
    }
    if schema["additionalProperties"].is_object() {
        bounded(
            fields.len(),
            [&schema["minProperties"], &schema["maxProperties"]],
            path,
            "entries",
            found,
        );
        for (name, value) in fields {
            shape(&schema["additionalProperties"], value, &of(name), found);
        }
    }
    // One whose fields are not named keeps what it is given.
    let Some(known) = schema["properties"].as_object() else {
        return;
    };
    for (name, value) in fields {
        match known.get(name) {
            Some(field) => shape(field, value, &of(name), found),
            None => found.push(format!(
                "{} is no field of a FlashSale; see kubectl explain flashsale",
                of(name)
            )),
        }
    }
}

fn text(schema: &Value, text: &str, path: &str, found: &mut Vec<String>) {
    bounded(
        text.chars().count(),
        [&schema["minLength"], &schema["maxLength"]],
        path,
        "characters",
        found,
    );
    if let Some(words) = schema["enum"].as_array()
        && !words.iter().any(|word| word == text)
    {
        let words: Vec<_> = words.iter().filter_map(Value::as_str).collect();
        found.push(format!(
            "{path} must be one of {}, not {text:?}",
            words.join(", ")
        ));
    }
    let pattern = schema["pattern"]
        .as_str()
        .and_then(|pattern| Regex::new(pattern).ok());
    if pattern.is_some_and(|pattern| !pattern.is_match(text)) {
        found.push(format!(
            "{path} is not written as it must be: {text:?}; see kubectl explain flashsale.{path}"
        ));
    } else if schema["format"] == "date-time" && text.parse::<jiff::Timestamp>().is_err() {
        found.push(format!(
            "{path} must be a time in RFC 3339, such as 2026-12-01T12:00:00Z, not {text:?}"
        ));
    }
}

fn bounded(size: usize, [least, most]: [&Value; 2], path: &str, of: &str, found: &mut Vec<String>) {
    let size = u64::try_from(size).unwrap_or(u64::MAX);
    if let Some(least) = least.as_u64().filter(|least| size < *least) {
        found.push(format!("{path} must have at least {least} {of}, not {size}"));
    }
    if let Some(most) = most.as_u64().filter(|most| size > *most) {
        found.push(format!("{path} must have at most {most} {of}, not {size}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn sale(change: &Value) -> Value {
        let mut spec = json!({"products": [{"sku": "A", "name": "A", "price": "5", "stock": 1}]});
        for (name, value) in change.as_object().unwrap() {
            spec[name] = value.clone();
        }
        json!({"apiVersion": "quicksale.io/v1alpha1", "kind": "FlashSale", "metadata": {"name": "shoes"}, "spec": spec})
    }

    fn refusals(sale: &Value) -> Vec<String> {
        taken(sale).err().unwrap_or_default()
    }

    #[test]
    fn what_is_wrong_is_named_by_its_field() {
        assert_eq!(refusals(&sale(&json!({}))), Vec::<String>::new());
        for (change, said) in [
            (json!({"opens": "soon"}), "spec.opens is no field"),
            (
                json!({"opensAt": "soon"}),
                "spec.opensAt is not written as it must be",
            ),
            (
                json!({"opensAt": "2026-02-30T12:00:00Z"}),
                "spec.opensAt must be a time",
            ),
            (
                json!({"halted": "yes"}),
                "spec.halted must be of the type boolean",
            ),
            (
                json!({"mode": "Trial"}),
                "spec.mode must be one of Sale, Rehearsal",
            ),
            (json!({"currency": "usd"}), "spec.currency must be a three-letter"),
            (
                json!({"currency": "EUROPEAN-ONES"}),
                "spec.currency must have at most 8 characters",
            ),
            (json!({"products": null}), "spec.products is missing"),
            (
                json!({"kafka": {"partitions": 1.5}}),
                "spec.kafka.partitions must be of the type integer",
            ),
            (
                json!({"kafka": {"partitions": 3_000_000_000_i64}}),
                "spec.kafka.partitions is beyond",
            ),
            (
                json!({"products": [{"sku": "A"}]}),
                "spec.products[0].name is missing",
            ),
            (
                json!({"warmUp": "721h"}),
                "spec.warmUp must be a duration of at most 720h",
            ),
            (
                json!({"closesAt": "2026-12-01T12:00:00Z", "opensAt": "2026-12-01T12:00:00Z"}),
                "spec.closesAt must be after",
            ),
        ] {
            let found = refusals(&sale(&change)).join("; ");
            assert!(found.contains(said), "{change}: {found}");
        }
    }

    /// One that does not compile here would let everything pass.
    #[test]
    fn every_pattern_of_the_definition_compiles() {
        fn patterns<'a>(schema: &'a Value, all: &mut Vec<&'a str>) {
            match schema {
                Value::Object(fields) => {
                    all.extend(fields.get("pattern").and_then(Value::as_str));
                    fields.values().for_each(|value| patterns(value, all));
                }
                Value::Array(items) => items.iter().for_each(|item| patterns(item, all)),
                _ => {}
            }
        }
        let schema = schema(&definition()).unwrap();
        let mut all = Vec::new();
        patterns(&schema, &mut all);
        assert!(!all.is_empty());
        for pattern in all {
            assert!(Regex::new(pattern).is_ok(), "{pattern}");
        }
    }

    /// The rule of an amount is judged by a number of our own.
    #[test]
    fn the_most_of_an_amount_is_what_its_rule_says() {
        assert!(Amount::RULE.contains(&format!("self <= {} :", Amount::MOST)));
    }

    /// As the API server does.
    #[test]
    fn a_null_is_the_default_where_there_is_one() {
        assert_eq!(
            refusals(&sale(&json!({"warmUp": null, "opensAt": null}))),
            Vec::<String>::new()
        );
    }
}
