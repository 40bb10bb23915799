//! One sale without an operator: its configuration and its control document are files, and this is who writes the second one.

use super::{
    Doors, Process, StockChange, changed_meanwhile,
    view::{Condition, Halt, Happening, Known, ShownPhase, Steering, Summary},
};
use crate::{place::Place, problems::busy, scrape::Target};
use inventory::product::Product;
use platform::{
    backends::mongo::{self, MongoError},
    clock::Clock,
    http::problem::{Code, Problem},
    private,
    tokens::Signer,
};
use sale::{
    SaleId,
    control::{Admission, ControlDocument},
    phase::Phase,
};
use serde_json::json;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::sync::Mutex;
use url::Url;

/// How long inventory has for an answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// The sale.
pub struct One {
    place: Arc<Place>,
    control: PathBuf,
    keys: Option<PathBuf>,
    targets: Vec<Target>,
    url: Option<String>,
    clock: Clock,
    http: reqwest::Client,
    /// Whoever changes the control document, or stock.
    writing: Mutex<()>,
}

/// What a sale without an operator is put together from.
pub struct Parts {
    /// Its data.
    pub place: Arc<Place>,
    /// The file with its control document.
    pub control: PathBuf,
    /// The directory with its signing key, where stock may be changed.
    pub keys: Option<PathBuf>,
    /// Where its processes show their metrics.
    pub targets: Vec<Target>,
    /// Where buyers find it.
    pub url: Option<String>,
    /// The clock.
    pub clock: Clock,
}

impl One {
    /// Puts it together.
    ///
    /// # Errors
    /// When there can be no HTTP client.
    pub fn new(parts: Parts) -> Result<Self, reqwest::Error> {
        Ok(Self {
            place: parts.place,
            control: parts.control,
            keys: parts.keys,
            targets: parts.targets,
            url: parts.url,
            clock: parts.clock,
            http: reqwest::Client::builder()
                .timeout(PATIENCE)
                .no_proxy()
                .redirect(reqwest::redirect::Policy::none())
                .build()?,
            writing: Mutex::default(),
        })
    }

    /// Which one it is.
    pub fn id(&self) -> &SaleId {
        &self.place.config.sale
    }

    pub(super) fn place(&self) -> Arc<Place> {
        Arc::clone(&self.place)
    }

    pub(super) fn processes(&self) -> Vec<Process> {
        let process = |target: &Target| Process {
            component: target.component.clone(),
            name: target.name.clone(),
            ready: true,
            target: Some(target.clone()),
        };
        self.targets.iter().map(process).collect()
    }

    /// Nothing is written down of it but what it is.
    pub(super) fn happenings(&self) -> Vec<Happening> {
        Vec::new()
    }

    pub(super) async fn known(&self) -> Result<Known, Problem> {
        let document = self.document().await?;
        let place = Arc::clone(&self.place);
        let inside = mongo::detached(async move {
            let products = crate::products::all(&place).await?;
            Ok::<_, MongoError>((products, order::tally::counts(&place.database).await?))
        });
        // Whether it is open is known without the database, and so is how to halt it.
        let (products, orders, answers) = match inside.await {
            Ok((products, orders)) => (products, Some(orders), true),
            Err(error) => {
                tracing::warn!(%error, "the database gave no answer");
                (Vec::new(), None, false)
            }
        };
        let admission = document.admission(self.clock.now());
        let conditions = conditions(&document, admission, answers.then_some(&products));
        let attention = conditions
            .iter()
            .filter(|condition| condition.good == Some(false));
        Ok(Known {
            summary: Summary {
                sale: self.id().clone(),
                phase: ShownPhase::Known(phase(&document, admission)),
                mode: "Sale",
                opens_at: document.opens_at,
                closes_at: document.closes_at,
                halt: if document.halted {
                    Halt::OnRequest
                } else {
                    Halt::No
                },
                halt_requested: document.halted,
                message: sentence(admission).to_owned(),
                url: self.url.clone(),
                units: products.iter().map(crate::products::units).sum(),
                orders,
                attention: attention.cloned().collect(),
            },
            conditions,
            declared_stock: BTreeMap::new(),
            retain_for: None,
            report: None,
            steering: Steering::File,
        })
    }

    pub(super) async fn set_doors(&self, doors: Doors) -> Result<(), Problem> {
        let _alone = self.writing.lock().await;
        let mut document = self.document().await?;
        document.halted = doors == Doors::Halted;
        document.version += 1;
        let text = serde_json::to_vec_pretty(&document).map_err(|error| Problem::internal(&error))?;
        let file = self.control.clone();
        let written = tokio::task::spawn_blocking(move || private::write(&file, &text)).await;
        written
            .map_err(|error| Problem::internal(&error))?
            .map_err(|error| no_file(&self.control, &error))
    }

    pub(super) async fn change_stock(&self, change: &StockChange) -> Result<(), Problem> {
        // What it is now is compared with what it was for whoever asks, and nobody here changes it in between.
        let _alone = self.writing.lock().await;
        let keys = self.keys.as_ref().ok_or_else(|| {
            Problem::new(
                Code::Forbidden,
                "This console has no keys of the sale, so it changes no stock.",
            )
        })?;
        let place = self.place();
        let products = mongo::detached(async move { crate::products::all(&place).await })
            .await
            .map_err(|error| busy(&error))?;
        let product = products
            .iter()
            .find(|product| product.sku.as_str() == change.sku)
            .ok_or_else(|| Problem::not_found("product"))?;
        if product.stock != change.expected {
            return Err(changed_meanwhile(&change.sku, product.stock));
        }
        let token = Signer::read(keys)
            .and_then(|signer| signer.service_token("console", self.clock.now()))
            .map_err(|error| Problem::internal(&error))?;
        let path = format!("/api/inventory/products/{}/stock", product.id);
        let sent = self
            .http
            .post(self.inventory(&path)?)
            .bearer_auth(token)
            .header("idempotency-key", &change.key)
            .json(&json!({"delta": change.delta}))
            .send()
            .await;
        let answer = sent.map_err(|error| {
            tracing::warn!(%error, "inventory was not reached");
            Problem::new(
                Code::Busy,
                "Inventory did not answer, so it is not known whether the stock was changed; look at it before you try again.",
            )
        })?;
        match answer.status().as_u16() {
            200..=299 => Ok(()),
            // Whoever has logged in here is not who is refused there.
            status @ (401 | 403) => {
                tracing::error!(status, "inventory does not take the console's token");
                Err(Problem::new(
                    Code::Busy,
                    "Inventory does not take the console's key; the stock was not changed. Look at the keys that both were given.",
                ))
            }
            _ => Err(answer.json::<Problem>().await.unwrap_or_else(|_| Problem::busy())),
        }
    }

    fn inventory(&self, path: &str) -> Result<Url, Problem> {
        let inventory = &self.place.config.upstreams.inventory;
        inventory.join(path).map_err(|error| Problem::internal(&error))
    }

    async fn document(&self) -> Result<ControlDocument, Problem> {
        let text = tokio::fs::read(&self.control)
            .await
            .map_err(|error| no_file(&self.control, &error))?;
        serde_json::from_slice(&text).map_err(|error| no_file(&self.control, &error))
    }
}

fn no_file(file: &Path, error: &dyn std::fmt::Display) -> Problem {
    tracing::error!(%error, file = %file.display(), "the control document cannot be read or written");
    Problem::new(
        Code::Busy,
        "The control document of this sale cannot be read or written here; the console's log says why.",
    )
}

fn phase(document: &ControlDocument, admission: Admission) -> Phase {
    match admission {
        Admission::Open | Admission::Halted => Phase::Live,
        Admission::NotOpen { .. } => Phase::Warming,
        Admission::Closed if document.phase == Phase::Ended => Phase::Ended,
        Admission::Closed => Phase::Draining,
    }
}

fn sentence(admission: Admission) -> &'static str {
    match admission {
        Admission::Open => "Orders are taken.",
        Admission::Halted => "New orders are refused on request; those accepted go on.",
        Admission::NotOpen { .. } => "It has not opened yet.",
        Admission::Closed => "It takes no orders any more.",
    }
}

/// What an operator would say, as far as one can know without. There are no products where the database gives no answer.
fn conditions(
    document: &ControlDocument,
    admission: Admission,
    products: Option<&Vec<Product>>,
) -> Vec<Condition> {
    let halted = if document.halted {
        "OnRequest"
    } else {
        "NotRequested"
    };
    let mut conditions = vec![condition(
        "Halted",
        document.halted,
        halted,
        sentence(admission),
        None,
    )];
    let Some(products) = products else {
        let sentence = "The sale's database gives no answer, so units and orders are not known; the console's log says why.";
        conditions.push(condition(
            "BackendsReachable",
            false,
            "NoAnswer",
            sentence,
            Some(false),
        ));
        return conditions;
    };
    let broken: Vec<&str> = products
        .iter()
        .filter(|product| product.account().is_err())
        .map(|product| product.sku.as_str())
        .collect();
    let (reason, sentence) = if broken.is_empty() {
        let agrees = "Stock is what is available, reserved and sold, for every product.";
        ("Agrees", agrees.to_owned())
    } else {
        let products = broken.join(", ");
        (
            "Broken",
            format!("The accounts of these products are broken: {products}."),
        )
    };
    conditions.push(condition(
        "StockConserved",
        broken.is_empty(),
        reason,
        &sentence,
        Some(broken.is_empty()),
    ));
    conditions
}

fn condition(kind: &str, holds: bool, reason: &str, message: &str, good: Option<bool>) -> Condition {
    Condition {
        kind: kind.to_owned(),
        status: if holds { "True" } else { "False" }.to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        since: None,
        good,
    }
}
