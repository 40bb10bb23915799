//! Products and prices in memory, as inventory last told them.

use arc_swap::ArcSwapOption;
use platform::{health::ReadinessGate, rounds::Rounds};
use sale::{Currency, ProductId, Sku, catalogue::PricedProduct, money::JsonDecimal};
use serde::Deserialize;
use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use url::Url;

/// How often prices are read again: an order is priced by what was true at most this long ago.
const REFRESH: Duration = Duration::from_millis(500);
/// An unknown product makes the catalogue be read again at once, but not more often than this.
const SOONEST_AFTER_MISS: Duration = Duration::from_millis(50);
/// How long inventory may take to answer.
const DEADLINE: Duration = Duration::from_secs(2);

type Products = HashMap<ProductId, PricedProduct>;

/// The products of the sale.
#[derive(Debug, Clone)]
pub struct Catalogue {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    products: ArcSwapOption<Products>,
    last_miss: Mutex<Option<Look>>,
    client: reqwest::Client,
    inventory: Url,
    currency: Currency,
}

/// A reading of the catalogue because of an unknown product.
#[derive(Debug)]
struct Look {
    began: Instant,
    /// What inventory said, if it answered.
    products: Option<Arc<Products>>,
}

/// Why a product is not in the catalogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// Inventory does not have it.
    Unknown,
    /// Inventory may have it, and does not answer.
    NoAnswer,
}

/// How an order names a product.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Named {
    /// By id.
    Id(ProductId),
    /// By SKU.
    Sku(Sku),
}

impl Named {
    /// The product's id: a SKU's id follows from the SKU.
    fn id(&self) -> ProductId {
        match self {
            Self::Id(id) => id.clone(),
            Self::Sku(sku) => sku.product_id(),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PageOfProducts {
    items: Vec<ProductJson>,
    next_cursor: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ProductJson {
    #[serde(rename = "_id")]
    id: ProductId,
    sku: Sku,
    price: JsonDecimal,
    limit_per_customer: Option<u32>,
}

impl Catalogue {
    /// An empty catalogue that reads from inventory.
    pub fn new(inventory: Url, currency: Currency) -> Self {
        let client = reqwest::Client::builder()
            .timeout(DEADLINE)
            // A kept connection would stay with one replica, or with what answered before there was any.
            .pool_max_idle_per_host(0)
            .build()
            .unwrap_or_default();
        Self {
            shared: Arc::new(Shared {
                products: ArcSwapOption::empty(),
                last_miss: Mutex::new(None),
                client,
                inventory,
                currency,
            }),
        }
    }

    /// A product. One that is not known makes the catalogue be read again before the answer is no.
    ///
    /// # Errors
    /// [`Missing`].
    pub async fn product(&self, named: &Named) -> Result<PricedProduct, Missing> {
        let id = named.id();
        if let Some(found) = self.known(&id) {
            return Ok(found);
        }
        let asked = Instant::now();
        let mut last = self.shared.last_miss.lock().await;
        // Whoever waited for the lock may find that somebody else has looked since. An earlier look says nothing: the
        // product may have been made in between.
        if last.as_ref().is_none_or(|look| look.began < asked) {
            if let Some(look) = last.as_ref() {
                tokio::time::sleep(SOONEST_AFTER_MISS.saturating_sub(look.began.elapsed())).await;
            }
            let began = Instant::now();
            let products = self.refresh().await;
            *last = Some(Look { began, products });
        }
        match last.as_ref().and_then(|look| look.products.as_ref()) {
            Some(products) => products.get(&id).cloned().ok_or(Missing::Unknown),
            None => Err(Missing::NoAnswer),
        }
    }

    fn known(&self, id: &ProductId) -> Option<PricedProduct> {
        self.shared
            .products
            .load()
            .as_ref()
            .and_then(|products| products.get(id).cloned())
    }

    /// Reads the catalogue again and again until the process ends.
    pub async fn refresh_until(self, ready: ReadinessGate, stop: CancellationToken) {
        let mut ready = Some(ready);
        let mut rounds = Rounds::every(REFRESH, &stop);
        while rounds.another().await {
            match (self.refresh().await, ready.take()) {
                (Some(_), Some(gate)) => gate.release(),
                (None, Some(gate)) => {
                    gate.waits(&"inventory does not answer");
                    ready = Some(gate);
                }
                (_, None) => {}
            }
        }
    }

    async fn refresh(&self) -> Option<Arc<Products>> {
        match self.read().await {
            Ok(products) => {
                let products = Arc::new(products);
                self.shared.products.store(Some(Arc::clone(&products)));
                Some(products)
            }
            Err(error) => {
                tracing::debug!(%error, "inventory does not answer; prices stay as they are");
                None
            }
        }
    }

    async fn read(&self) -> Result<Products, reqwest::Error> {
        let mut products = HashMap::new();
        let mut cursor: Option<String> = None;
        loop {
            let mut url = self.shared.inventory.clone();
            url.set_path("/api/inventory/products");
            url.query_pairs_mut().append_pair("limit", "100");
            if let Some(cursor) = &cursor {
                url.query_pairs_mut().append_pair("cursor", cursor);
            }
            let page: PageOfProducts = self
                .shared
                .client
                .get(url)
                .send()
                .await?
                .error_for_status()?
                .json()
                .await?;
            for product in page.items {
                let Ok(price) = product.price.money(self.shared.currency) else {
                    tracing::error!(sku = %product.sku, "price is not in the sale's currency; product left out");
                    continue;
                };
                products.insert(
                    product.id.clone(),
                    PricedProduct {
                        id: product.id,
                        sku: product.sku,
                        price,
                        limit_per_customer: product.limit_per_customer,
                    },
                );
            }
            cursor = page.next_cursor;
            if cursor.is_none() {
                return Ok(products);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn without_inventory_nobody_can_say_that_a_product_does_not_exist() {
        let nobody_listens = Url::parse("http://127.0.0.1:1").unwrap();
        let catalogue = Catalogue::new(nobody_listens, Currency::parse("USD").unwrap());
        let shared = &catalogue.shared;
        // As it was read when there were no products yet.
        shared.products.store(Some(Arc::default()));
        let named = Named::Sku(Sku::parse("NEW").unwrap());
        assert_eq!(catalogue.product(&named).await, Err(Missing::NoAnswer));
    }
}
