//! The product list in memory, as inventory last told it.

use arc_swap::ArcSwapOption;
use sale::money::JsonDecimal;
use serde::{Deserialize, Serialize};
use std::{sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;
use url::Url;
use utoipa::ToSchema;

/// How often the list is read again.
const REFRESH: Duration = Duration::from_millis(500);
/// How long inventory may take to answer.
const DEADLINE: Duration = Duration::from_secs(2);

/// A product as `GET /api/sale` shows it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Product {
    /// The product's _id.
    #[serde(rename(deserialize = "_id"))]
    pub product_id: String,
    /// Its SKU.
    pub sku: String,
    /// For people.
    pub name: String,
    /// Price of a unit.
    #[schema(value_type = f64)]
    pub price: JsonDecimal,
    /// Price before the sale.
    #[schema(value_type = Option<f64>)]
    pub original_price: Option<JsonDecimal>,
    /// ISO 4217.
    pub currency: String,
    /// All units.
    pub stock: i64,
    /// Units that can still be ordered.
    pub available: i64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PageOfProducts {
    items: Vec<Product>,
    next_cursor: Option<String>,
}

/// The list.
#[derive(Debug, Clone)]
pub struct Products {
    list: Arc<ArcSwapOption<Vec<Product>>>,
    client: reqwest::Client,
    inventory: Url,
}

impl Products {
    /// An empty list that is read from inventory.
    pub fn new(inventory: Url) -> Self {
        let client = reqwest::Client::builder()
            .timeout(DEADLINE)
            // A kept connection would stay with one replica, or with what answered before there was any.
            .pool_max_idle_per_host(0)
            .build()
            .unwrap_or_default();
        Self {
            list: Arc::default(),
            client,
            inventory,
        }
    }

    /// The list as it was last read; empty while it never was.
    pub fn list(&self) -> Arc<Vec<Product>> {
        self.list.load_full().unwrap_or_default()
    }

    /// Whether the list has been read.
    pub fn are_known(&self) -> bool {
        self.list.load().is_some()
    }

    /// Reads the list again and again until the process ends.
    pub async fn refresh_until(self, stop: CancellationToken) {
        let mut tick = tokio::time::interval(REFRESH);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = tick.tick() => {}
            }
            match self.read().await {
                Ok(products) => self.list.store(Some(Arc::new(products))),
                Err(error) => tracing::debug!(%error, "inventory does not answer; the list stays as it is"),
            }
        }
    }

    async fn read(&self) -> Result<Vec<Product>, reqwest::Error> {
        let (mut products, mut cursor) = (Vec::new(), None::<String>);
        loop {
            let mut url = self.inventory.clone();
            url.set_path("/api/inventory/products");
            url.query_pairs_mut().append_pair("limit", "100");
            if let Some(cursor) = &cursor {
                url.query_pairs_mut().append_pair("cursor", cursor);
            }
            let page: PageOfProducts = self
                .client
                .get(url)
                .send()
                .await?
                .error_for_status()?
                .json()
                .await?;
            products.extend(page.items);
            cursor = page.next_cursor;
            if cursor.is_none() {
                return Ok(products);
            }
        }
    }
}
