//! The custom resource definition as YAML, for `kubectl apply` and for the chart, and the files that are generated.

use crate::{FlashSale, reference};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, CustomResourceDefinitionVersion, JSONSchemaProps, JSONSchemaPropsOrArray,
};
use kube::CustomResourceExt;

/// Where the definition is written, from the repository's root.
pub const PLAIN_PATH: &str = "crds/flashsales.quicksale.io.yaml";
/// Where the chart's copy is written, from the repository's root.
pub const CHART_PATH: &str = "charts/quicksale/templates/flashsales.quicksale.io.yaml";

const HEADER: &str = "# Generated from the Rust types in crds/ by `make generate`.\n";

/// The versions that are served beside the one that objects are stored in.
const NEWER: [&str; 1] = ["v1beta1"];

/// Why the definition could not be written.
#[derive(Debug, thiserror::Error)]
pub enum DefinitionError {
    /// It is no JSON.
    #[error("the definition cannot be expressed as JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// It is no YAML.
    #[error("the definition cannot be expressed as YAML: {0}")]
    Yaml(String),
    /// It cannot be stored.
    #[error("cannot write {path}: {source}")]
    Write {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
}

/// The largest number of a field that names no bound: what every reader of JSON understands exactly (2^53 - 1).
const LARGEST: f64 = 9_007_199_254_740_991.0;
/// The longest text of a field that names no bound, in characters.
const LONGEST: i64 = 32_768;
/// The most items of a list that names no bound.
const MOST: i64 = 100;

/// The definition. Nothing in it is without a bound: the API server would take a number that no type of ours holds, and
/// the object could not be read. And no sentence is broken where its source line ended, which `kubectl explain` would show.
///
/// Each version that is served has the same fields, so that objects need no conversion, and they are stored in the oldest one: whoever goes
/// back to an earlier release can read them.
pub fn definition() -> CustomResourceDefinition {
    let mut definition = FlashSale::crd();
    let newer: Vec<_> = definition
        .spec
        .versions
        .iter()
        .flat_map(|stored| {
            NEWER.map(|name| CustomResourceDefinitionVersion {
                name: name.to_owned(),
                storage: false,
                ..stored.clone()
            })
        })
        .collect();
    definition.spec.versions.extend(newer);
    let versions = definition.spec.versions.iter_mut();
    for schema in versions.filter_map(|version| version.schema.as_mut()) {
        schema.open_api_v3_schema.iter_mut().for_each(finish);
    }
    definition
}

fn finish(schema: &mut JSONSchemaProps) {
    bound(schema);
    if let Some(description) = &mut schema.description {
        *description = flowing(description);
    }
    schema
        .properties
        .iter_mut()
        .flat_map(|all| all.values_mut())
        .for_each(finish);
    match schema.items.as_mut() {
        Some(JSONSchemaPropsOrArray::Schema(item)) => finish(item),
        Some(JSONSchemaPropsOrArray::Schemas(items)) => items.iter_mut().for_each(finish),
        None => {}
    }
}

/// A text whose paragraphs are one line each.
fn flowing(text: &str) -> String {
    let paragraphs = text
        .split("\n\n")
        .map(|lines| lines.lines().map(str::trim).collect::<Vec<_>>().join(" "));
    paragraphs.collect::<Vec<_>>().join("\n\n")
}

fn bound(schema: &mut JSONSchemaProps) {
    match schema.type_.as_deref() {
        Some("integer" | "number") => {
            let (least, most) = match schema.format.as_deref() {
                Some("int32") => (f64::from(i32::MIN), f64::from(i32::MAX)),
                _ => (-LARGEST, LARGEST),
            };
            schema.minimum.get_or_insert(least);
            schema.maximum.get_or_insert(most);
        }
        Some("string") if schema.enum_.is_none() => {
            schema.max_length.get_or_insert(LONGEST);
        }
        Some("array") => {
            schema.max_items.get_or_insert(MOST);
        }
        _ => {}
    }
}

/// The definition as it is applied by hand.
///
/// # Errors
/// [`DefinitionError`].
pub fn plain() -> Result<String, DefinitionError> {
    yaml(&serde_json::to_value(definition())?)
}

/// The definition as a template of the chart. A cluster has one, whatever the number of releases, so the value
/// `crds.install` can leave it out. With `crds.keep` Helm keeps it when the release is uninstalled: deleting a definition
/// deletes every object of it, and uninstalling an operator must not delete anybody's sales.
///
/// # Errors
/// [`DefinitionError`].
pub fn chart() -> Result<String, DefinitionError> {
    // Braces in descriptions would be read as template actions.
    let text = plain()?.replace("{{", "{{ \"{{\" }}");
    let kept = "metadata:\n  {{- if .Values.crds.keep }}\n  annotations: {helm.sh/resource-policy: keep}\n  {{- end }}\n";
    let text = text.replacen("metadata:\n", kept, 1);
    Ok(format!(
        "{{{{- if .Values.crds.install }}}}\n{text}{{{{- end }}}}\n"
    ))
}

fn yaml(definition: &serde_json::Value) -> Result<String, DefinitionError> {
    let text =
        serde_saphyr::to_string(definition).map_err(|error| DefinitionError::Yaml(error.to_string()))?;
    Ok(format!("{HEADER}{text}"))
}

/// Every generated file: its path from the repository's root, and its text.
///
/// # Errors
/// [`DefinitionError`].
pub fn files() -> Result<[(&'static str, String); 3], DefinitionError> {
    Ok([
        (PLAIN_PATH, plain()?),
        (CHART_PATH, chart()?),
        (reference::PATH, reference::markdown()),
    ])
}

/// Writes every generated file below the repository's root.
///
/// # Errors
/// [`DefinitionError`].
pub fn write(root: &std::path::Path) -> Result<(), DefinitionError> {
    for (path, text) in files()? {
        std::fs::write(root.join(path), text).map_err(|source| DefinitionError::Write {
            path: path.to_owned(),
            source,
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paragraphs_flow_and_stay_apart() {
        assert_eq!(
            flowing("Names it:\nonce.\n\nAnd never\nagain."),
            "Names it: once.\n\nAnd never again."
        );
        let text = serde_json::to_string(&definition()).unwrap();
        assert!(text.contains("credentials; the operator's default when left out."));
        assert!(
            !text.replace("\\n\\n", "").contains("\\n"),
            "a description has a broken sentence"
        );
    }

    #[test]
    fn the_files_are_up_to_date() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        for (path, text) in files().unwrap() {
            let written = std::fs::read_to_string(root.join(path)).unwrap_or_default();
            assert!(written == text, "{path} is out of date; run `make generate`");
        }
    }
}
