//! The way to a sale's data, as the operator and the Secrets say.

use super::api_server::within;
use crate::place::Leads;
use crds::{FlashSale, PlaintextPasswords, ValidSale, flashsale::Mode};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{Api, Client, Resource, ResourceExt};
use platform::{
    backends::PLAINTEXT_PASSWORDS,
    config::Config,
    http::problem::{Code, Problem},
};
use sale::SaleId;

/// What comes before the keys of a backends Secret that are for the console alone, such as a user that may only read.
const OWN: &str = "CONSOLE_";

/// The platform's own backends, which sales use that name no others.
#[derive(Debug, Clone)]
pub struct Platform {
    /// The namespace of the Secret that leads there.
    pub namespace: String,
    /// The Secret's name.
    pub secret: String,
    /// Whether passwords may go there in plain text.
    pub plaintext: PlaintextPasswords,
}

impl Platform {
    /// What leads there, if anything does.
    ///
    /// # Errors
    /// 403, or 503 where the API server does not answer.
    pub async fn read(&self, client: &Client) -> Result<Option<Secret>, Problem> {
        let secrets: Api<Secret> = Api::namespaced(client.clone(), &self.namespace);
        within(secrets.get_opt(&self.secret)).await
    }
}

/// The values of a backends Secret as the console reads them: those for it alone before those for everybody.
pub fn values(secret: &Secret, plaintext: PlaintextPasswords) -> impl Fn(&str) -> Option<String> {
    let data = secret.data.clone().unwrap_or_default();
    let value = move |key: &str| {
        let value = data.get(key)?;
        String::from_utf8(value.0.clone())
            .ok()
            .filter(|value| !value.is_empty())
    };
    move |name| {
        if name == PLAINTEXT_PASSWORDS {
            return (plaintext == PlaintextPasswords::Allow).then(|| "Allow".to_owned());
        }
        value(&format!("{OWN}{name}")).or_else(|| value(name))
    }
}

/// The way to a sale's data, as the operator has written it down for this sale. Whoever may write ConfigMaps in its namespace could lead
/// elsewhere, so it must be the operator's own, and lead to the sale's own database and topics.
pub(super) fn way(
    sale: &FlashSale,
    map: &ConfigMap,
    secret: &Secret,
    plaintext: PlaintextPasswords,
) -> Result<(Config, Leads), Problem> {
    let text = map.data.as_ref().and_then(|data| data.get("config.json"));
    let config: Config = text
        .and_then(|text| serde_json::from_str(text).ok())
        .ok_or_else(|| Problem::new(Code::Busy, "This version cannot read the sale's configuration."))?;
    if !leads_to(sale, map, &config) {
        return Err(Problem::new(
            Code::Busy,
            "The sale's configuration does not lead to the sale's own data, so nothing is looked into; the operator will write it anew.",
        ));
    }
    let leads = Leads::read(&values(secret, plaintext)).map_err(|error| unreached(&error))?;
    Ok((config, leads))
}

fn leads_to(sale: &FlashSale, map: &ConfigMap, config: &Config) -> bool {
    let Some(namespace) = sale.namespace() else {
        return false;
    };
    let id = SaleId {
        namespace,
        name: sale.name_any(),
    };
    let rehearses = sale.spec.mode == Mode::Rehearsal;
    let owned = map
        .owner_references()
        .iter()
        .any(|owner| Some(&owner.uid) == sale.meta().uid.as_ref());
    // An edit that is not valid is not in force, and the topics stay what they were.
    let topics = ValidSale::try_from(sale).map(|valid| valid.topics.prefix);
    owned
        && config.sale == id
        && config.data.database == id.database(rehearses)
        && topics.is_ok_and(|prefix| prefix == config.kafka.topic_prefix)
}

pub(super) fn unreached(error: &dyn std::fmt::Display) -> Problem {
    tracing::warn!(%error, "a sale's data cannot be reached");
    Problem::new(Code::Busy, format!("The sale's data cannot be reached: {error}."))
}
