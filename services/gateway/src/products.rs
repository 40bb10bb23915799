//! The product list in memory, as inventory last told it.

use arc_swap::ArcSwapOption;
use sale::{ProductId, money::JsonDecimal};
use serde::{Deserialize, Serialize};
use std::{sync::Arc, time::Duration};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use url::Url;
use utoipa::ToSchema;

/// How often the list is read again.
const REFRESH: Duration = Duration::from_millis(500);
/// How long inventory may take to answer.
const DEADLINE: Duration = Duration::from_secs(2);

/// Between two reads that orders ask for: made-up products must not become a load on inventory.
const SPACING: Duration = Duration::from_millis(50);
/// How long an order waits for such a read.
const FRESH: Duration = Duration::from_secs(1);

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
    /// Address of its picture; null for none.
    #[serde(default)]
    pub image_url: Option<String>,
    /// ISO 4217.
    pub currency: String,
    /// All units.
    pub stock: i64,
    /// Units that can still be ordered.
    pub available: i64,
    /// Units that one customer may buy; null for any number.
    pub limit_per_customer: Option<u32>,
}

/// What the list says of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judgement {
    /// Nothing against it. How many of each product, in its order, one customer may buy.
    Fine(Vec<Option<u32>>),
    /// A product that is not on the list.
    UnknownProduct,
    /// More units than one customer may buy.
    AboveLimit {
        /// Of this product.
        sku: String,
        /// So many may be bought.
        limit: u32,
    },
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
    /// Somebody needs a newer list.
    wanted: Arc<Notify>,
    reads: watch::Sender<Reads>,
}

/// How many reads of the list there have been.
#[derive(Debug, Clone, Copy, Default)]
struct Reads {
    begun: u64,
    done: u64,
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
            wanted: Arc::default(),
            reads: watch::Sender::default(),
        }
    }

    /// Judges an order before anything is taken for it. A product that is not on the list may be newer than the list,
    /// so the list is read once more.
    pub async fn judge(&self, wanted: &[(ProductId, u32)]) -> Judgement {
        match judge(&self.list(), wanted) {
            Judgement::UnknownProduct => {
                // A list that does not come in time is judged by as it is.
                let _late = tokio::time::timeout(FRESH, self.read_anew()).await;
                judge(&self.list(), wanted)
            }
            judgement => judgement,
        }
    }

    /// Waits for the end of a read that begins after now.
    async fn read_anew(&self) {
        let mut reads = self.reads.subscribe();
        let so_far = reads.borrow_and_update().begun;
        self.wanted.notify_one();
        let _process_ends = reads.wait_for(|reads| reads.done > so_far).await;
    }

    /// The list as it was last read; empty while it never was.
    pub fn list(&self) -> Arc<Vec<Product>> {
        self.list.load_full().unwrap_or_default()
    }

    /// What a product is called by people who sell: its SKU, or its id while it is not on the list.
    pub fn sku(&self, id: &ProductId) -> String {
        let list = self.list();
        let product = list.iter().find(|product| product.product_id == id.as_str());
        product.map_or_else(|| id.as_str().to_owned(), |product| product.sku.clone())
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
                () = self.wanted.notified() => tokio::time::sleep(SPACING).await,
            }
            self.reads.send_modify(|reads| reads.begun += 1);
            match self.read().await {
                Ok(products) => self.list.store(Some(Arc::new(products))),
                Err(error) => tracing::debug!(%error, "inventory does not answer; the list stays as it is"),
            }
            self.reads.send_modify(|reads| reads.done = reads.begun);
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

fn judge(list: &[Product], wanted: &[(ProductId, u32)]) -> Judgement {
    let (mut limits, mut above) = (Vec::with_capacity(wanted.len()), None);
    for (id, units) in wanted {
        let Some(product) = list.iter().find(|product| product.product_id == id.as_str()) else {
            return Judgement::UnknownProduct;
        };
        limits.push(product.limit_per_customer);
        if let Some(limit) = product.limit_per_customer.filter(|limit| units > limit) {
            let sku = product.sku.clone();
            above = Some(Judgement::AboveLimit { sku, limit });
        }
    }
    above.unwrap_or(Judgement::Fine(limits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_judged_by_the_list() {
        let product = |id: &str, limit: Option<u32>| -> Product {
            serde_json::from_value(serde_json::json!({
                "_id": id, "sku": id.to_uppercase(), "name": id, "price": 1.5, "originalPrice": null, "currency": "USD",
                "stock": 5, "available": 5, "limitPerCustomer": limit,
            }))
            .unwrap()
        };
        let list = [product("a", Some(2)), product("b", None)];
        let of = |wanted: &[(&str, u32)]| {
            let wanted: Vec<_> = wanted
                .iter()
                .map(|(id, units)| (ProductId::new(*id), *units))
                .collect();
            judge(&list, &wanted)
        };
        assert_eq!(of(&[("a", 2), ("b", 100)]), Judgement::Fine(vec![Some(2), None]));
        assert_eq!(of(&[("a", 1), ("c", 1)]), Judgement::UnknownProduct);
        assert_eq!(of(&[("a", 3), ("c", 1)]), Judgement::UnknownProduct);
        let above = Judgement::AboveLimit {
            sku: "A".to_owned(),
            limit: 2,
        };
        assert_eq!(of(&[("a", 3), ("b", 1)]), above);
    }
}
