//! `quicksale-operator check`: would these sales open here, and why not? Asked with the rights of whoever asks, and nothing is changed.

use crate::{
    controller::{
        backends_secret::{self, PlaintextConsent, Secrecy},
        host, validate,
    },
    deadline::within,
};
use clap::Args;
use crds::{
    FlashSale, PlaintextPasswords, Readable, ValidSale,
    names::{BACKENDS_LABEL, SHARED},
    offline,
};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::{
    Api, Client, ResourceExt,
    api::{ListParams, Patch, PatchParams},
};
use serde_json::Value;
use std::{collections::BTreeMap, io::Read, path::PathBuf, process::ExitCode};

/// Which sales.
#[derive(Debug, Args)]
pub struct Options {
    /// The file with the FlashSales; - for what comes in.
    #[arg(long, short)]
    filename: PathBuf,
    /// Looks at the spec alone, and asks no cluster.
    #[arg(long)]
    offline: bool,
    /// The namespace of sales that name none.
    #[arg(long, short, default_value = "default")]
    namespace: String,
    /// The Secret with the backends of sales that name none, as the operator's chart says.
    #[arg(long, env = "QUICKSALE_BACKENDS_SECRET", default_value = "quicksale-backends")]
    backends_secret: String,
    /// Its namespace.
    #[arg(
        long,
        env = "QUICKSALE_BACKENDS_SECRET_NAMESPACE",
        default_value = "quicksale-backends"
    )]
    backends_secret_namespace: String,
}

/// Why the question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// Nothing to look at.
    #[error("{path} cannot be read: {source}")]
    Read {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// It is no YAML.
    #[error("document {number} of the file cannot be read: {problem}")]
    Parse {
        /// Which document, from 1 on.
        number: usize,
        /// Why.
        problem: String,
    },
    /// Nothing to check.
    #[error("there is no object of the kind FlashSale in it; name a file that has one")]
    NoSale,
    /// No cluster to ask.
    #[error("no cluster can be asked ({0}); set KUBECONFIG, or use --offline")]
    Cluster(Box<kube::Error>),
}

/// Says of each sale what is in the way. Ends with 0 where nothing is, and with 2 where something is.
///
/// # Errors
/// [`CheckError`].
pub async fn run(options: &Options) -> Result<ExitCode, CheckError> {
    let sales = read(options)?;
    let client = match options.offline {
        true => None,
        false => Some(
            Client::try_default()
                .await
                .map_err(|error| CheckError::Cluster(Box::new(error)))?,
        ),
    };
    let mut in_the_way = false;
    for mut written in sales {
        if let Some(metadata) = written["metadata"].as_object_mut() {
            metadata
                .entry("namespace")
                .or_insert_with(|| options.namespace.clone().into());
        }
        let [namespace, name] =
            ["namespace", "name"].map(|field| written["metadata"][field].as_str().unwrap_or("?"));
        let name = format!("{namespace}/{name}");
        let mut findings = match (offline::checked(&written), &client) {
            (Ok((sale, valid)), Some(client)) => here(client, options, &sale, &valid).await,
            (Ok(_), None) => Vec::new(),
            (Err(findings), _) => findings,
        };
        in_the_way |= !findings.is_empty();
        if findings.is_empty() {
            let looked = if client.is_some() {
                "it would open here"
            } else {
                "its spec is valid"
            };
            findings.push(format!("{looked}, as far as can be known before its warm-up"));
        }
        for finding in findings {
            println!("{name}: {finding}");
        }
    }
    Ok(if in_the_way {
        ExitCode::from(2)
    } else {
        ExitCode::SUCCESS
    })
}

fn read(options: &Options) -> Result<Vec<Value>, CheckError> {
    let text = if options.filename.as_os_str() == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(&options.filename)
    };
    let text = text.map_err(|source| CheckError::Read {
        path: options.filename.display().to_string(),
        source,
    })?;
    parse(&text)
}

/// Whether it is a FlashSale, or was meant to be one.
fn is_ours(object: &Value) -> bool {
    let version = object["apiVersion"].as_str().unwrap_or_default();
    object["kind"] == "FlashSale" || version.starts_with("quicksale.io/")
}

/// The FlashSales of a file; what else is in it is left alone.
fn parse(text: &str) -> Result<Vec<Value>, CheckError> {
    let mut sales = Vec::new();
    for (number, document) in text.split("\n---").enumerate() {
        let value: Value = serde_saphyr::from_str(document).map_err(|error| CheckError::Parse {
            number: number + 1,
            problem: error.to_string(),
        })?;
        let items = match value["items"].as_array() {
            Some(items) if value["kind"] == "List" => items.as_slice(),
            _ => std::slice::from_ref(&value),
        };
        sales.extend(items.iter().filter(|item| is_ours(item)).cloned());
    }
    if sales.is_empty() {
        return Err(CheckError::NoSale);
    }
    Ok(sales)
}

/// What is in the way of a valid sale in this cluster.
async fn here(client: &Client, options: &Options, sale: &FlashSale, valid: &ValidSale) -> Vec<String> {
    let (server, secret, others) = tokio::join!(
        taken_by_the_server(client, sale),
        backends(client, options, valid),
        among_others(client, sale, valid),
    );
    [server, secret, others].into_iter().flatten().collect()
}

/// Whether the API server would take it: its rules know what an open sale may not change.
async fn taken_by_the_server(client: &Client, sale: &FlashSale) -> Vec<String> {
    let api: Api<FlashSale> = Api::namespaced(client.clone(), &sale.namespace().unwrap_or_default());
    let mut applied = sale.clone();
    (applied.metadata.managed_fields, applied.status) = (None, None);
    let params = PatchParams::apply("quicksale-check").force().dry_run();
    match within(api.patch(&sale.name_any(), &params, &Patch::Apply(&applied))).await {
        Ok(_) => Vec::new(),
        Err(error) => vec![format!("it would not be taken: {error}")],
    }
}

async fn backends(client: &Client, options: &Options, valid: &ValidSale) -> Vec<String> {
    let own = valid.backends_secret.as_ref();
    let (namespace, name) = match own {
        Some(own) => (valid.id.namespace.clone(), own.clone()),
        None => (
            options.backends_secret_namespace.clone(),
            options.backends_secret.clone(),
        ),
    };
    let mut findings = Vec::new();
    if own.is_none() {
        let namespaces: Api<Namespace> = Api::all(client.clone());
        match within(namespaces.get_opt(&valid.id.namespace)).await {
            Ok(Some(found)) if found.labels().get(BACKENDS_LABEL).is_some_and(|value| value == SHARED) => {}
            Ok(Some(_)) => findings.push(format!(
                "the namespace {} is not labelled {BACKENDS_LABEL}={SHARED}: unless the operator's chart names it in backends.sharedWith, the platform's \
                 backends are not for it",
                valid.id.namespace
            )),
            Ok(None) => findings.push(format!("there is no namespace {}", valid.id.namespace)),
            Err(error) => findings.push(format!("whether its namespace may use the platform's backends is not known: {error}")),
        }
    }
    let secrets: Api<Secret> = Api::namespaced(client.clone(), &namespace);
    match within(secrets.get_opt(&name)).await {
        Ok(None) => findings.push(format!(
            "the Secret {name} with its backends is not in {namespace}"
        )),
        Ok(Some(secret)) => {
            let data = secret.data.unwrap_or_default();
            let data: BTreeMap<String, Vec<u8>> =
                data.into_iter().map(|(key, value)| (key, value.0)).collect();
            // What the chart allows for the platform's own is not known here.
            let consent = PlaintextConsent::of(valid, PlaintextPasswords::Allow);
            match backends_secret::operators(Some(&data), consent) {
                Err(why) => findings.push(format!("the Secret {name} in {namespace}: {}", why.sentence())),
                Ok(_) => findings.extend(Secrecy::of(&data, consent).refusal()),
            }
        }
        Err(error) if error.is_forbidden() && own.is_none() => {
            tracing::debug!(%error, "the platform's Secret is the operator's to read");
        }
        Err(error) => findings.push(format!(
            "whether the Secret {name} is in {namespace} is not known: {error}"
        )),
    }
    findings
}

async fn among_others(client: &Client, sale: &FlashSale, valid: &ValidSale) -> Vec<String> {
    let api: Api<Readable> = Api::all(client.clone());
    let all = match within(api.list(&ListParams::default())).await {
        Ok(all) => all.items,
        Err(error) => {
            return vec![format!(
                "whether its topics and its host are free is not known: {error}"
            )];
        }
    };
    // The one that is there is itself.
    let same =
        |other: &&FlashSale| other.name_any() == sale.name_any() && other.namespace() == sale.namespace();
    let mut sale = sale.clone();
    let readable = || all.iter().filter_map(|other| other.0.as_ref().ok());
    if let Some(there) = readable().find(same) {
        sale.metadata = there.metadata.clone();
        sale.status.clone_from(&there.status);
    }
    let mut findings = Vec::new();
    if let Err(invalid) = validate::owns_its_topics(&sale, valid.clone(), readable()) {
        findings.extend(invalid.0);
    }
    let holder = host::holder(&sale, valid, readable());
    let finding = host::finding(valid, holder.as_ref()).filter(|finding| !finding.holds);
    findings.extend(finding.map(|finding| finding.message));
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    const SALE: &str = "apiVersion: quicksale.io/v1beta1\nkind: FlashSale\nmetadata: {name: shoes}\nspec:\n  products: [{sku: A, name: a, price: \"1.00\", stock: 1}]\n";

    #[test]
    fn the_sales_of_a_file_are_found_among_other_things() {
        let file =
            format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: shop}}\n---\n{SALE}---\n{SALE}");
        assert_eq!(parse(&file).unwrap().len(), 2);
        let none = parse("kind: ConfigMap\n").unwrap_err().to_string();
        assert!(none.contains("no object of the kind FlashSale"), "{none}");
        let broken = parse(&SALE.replace("spec:", "  spec:")).unwrap_err().to_string();
        assert!(
            broken.starts_with("document 1 of the file cannot be read"),
            "{broken}"
        );
    }

    #[test]
    fn what_is_wrong_with_a_sale_is_said_of_it_and_keeps_no_other_from_its_answer() {
        let wrong = SALE.replace("stock: 1", "stock: many");
        let answers: Vec<_> = parse(&format!("{wrong}---\n{SALE}"))
            .unwrap()
            .into_iter()
            .map(|sale| offline::checked(&sale))
            .collect();
        let said = answers[0].as_ref().unwrap_err().join("; ");
        assert!(
            said.contains("spec.products[0].stock must be of the type integer"),
            "{said}"
        );
        assert!(answers[1].is_ok());
    }
}
