//! One sale without an operator: its configuration and its control document are files, and this is who writes the second one.

use super::{
    Doors, Process, StockChange, changed_meanwhile,
    view::{Condition, Happening, Known, ShownPhase, Steering, Summary},
};
use crate::{place::Place, problems::busy, scrape::Target};
use inventory::product::Product;
use platform::{
    backends::mongo::{self, MongoError},
    clock::Clock,
    http::problem::{Code, Problem},
    tokens::Signer,
};
use sale::{
    SaleId,
    control::{Admission, ControlDocument},
    phase::Phase,
};
use serde_json::json;
use std::{
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
    /// Whoever changes the control document.
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
            http: reqwest::Client::builder().timeout(PATIENCE).build()?,
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
        let (products, orders) = mongo::detached(async move {
            let products = crate::products::all(&place).await?;
            Ok::<_, MongoError>((products, order::tally::counts(&place.database).await?))
        })
        .await
        .map_err(|error| busy(&error))?;
        let admission = document.admission(self.clock.now());
        let conditions = conditions(&document, admission, &products);
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
                halted: document.halted,
                message: sentence(admission).to_owned(),
                url: self.url.clone(),
                units: products.iter().map(crate::products::units).sum(),
                orders: Some(orders),
                attention: attention.cloned().collect(),
            },
            conditions,
            retain_for: None,
            steering: Steering::File,
        })
    }

    pub(super) async fn set_doors(&self, doors: Doors) -> Result<(), Problem> {
        let _alone = self.writing.lock().await;
        let mut document = self.document().await?;
        document.halted = doors == Doors::Halted;
        document.version += 1;
        let text = serde_json::to_vec_pretty(&document).map_err(|error| Problem::internal(&error))?;
        replace(&self.control, &text)
            .await
            .map_err(|error| no_file(&self.control, &error))
    }

    pub(super) async fn change_stock(&self, change: &StockChange) -> Result<(), Problem> {
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
        if answer.status().is_success() {
            return Ok(());
        }
        Err(answer.json::<Problem>().await.unwrap_or_else(|_| Problem::busy()))
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

/// Puts another file in the place of one at once: who reads it meanwhile sees either.
async fn replace(file: &Path, text: &[u8]) -> std::io::Result<()> {
    let next = file.with_extension("next");
    tokio::fs::write(&next, text).await?;
    tokio::fs::rename(&next, file).await
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

/// What an operator would say, as far as one can know without.
fn conditions(document: &ControlDocument, admission: Admission, products: &[Product]) -> Vec<Condition> {
    let condition = |kind: &str, holds: bool, reason: &str, message: &str, good: Option<bool>| Condition {
        kind: kind.to_owned(),
        status: if holds { "True" } else { "False" }.to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        since: None,
        good,
    };
    let broken: Vec<&str> = products
        .iter()
        .filter(|product| product.account().is_err())
        .map(|product| product.sku.as_str())
        .collect();
    let books = if broken.is_empty() {
        "Stock is what is available, reserved and sold, for every product.".to_owned()
    } else {
        format!(
            "The accounts of these products are broken: {}.",
            broken.join(", ")
        )
    };
    let halted = if document.halted { "OnRequest" } else { "NotHalted" };
    vec![
        condition("Halted", document.halted, halted, sentence(admission), None),
        condition(
            "StockConserved",
            broken.is_empty(),
            if broken.is_empty() { "Agrees" } else { "Broken" },
            &books,
            Some(broken.is_empty()),
        ),
    ]
}
