//! The products of a sale with their accounts.

use crate::{place::Place, problems::busy, sales::view::Units};
use inventory::product::Product;
use platform::{
    backends::mongo::{self, MongoError},
    http::problem::Problem,
};
use serde::Serialize;
use std::{collections::BTreeMap, sync::Arc};

/// A product on a page.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProductView {
    /// Opaque id.
    #[serde(rename = "_id")]
    pub id: String,
    /// Unique in the sale.
    pub sku: String,
    /// For people.
    pub name: String,
    /// Price of a unit, as people write it.
    pub price: String,
    /// Price before the sale.
    pub original_price: Option<String>,
    /// Its picture.
    pub image_url: Option<String>,
    /// Its account.
    #[serde(flatten)]
    pub units: Units,
    /// The stock as the FlashSale declares it, which is what a switch changes. Where units came or went by other ways it is another
    /// number; without an operator it is the stock.
    pub declared_stock: i64,
    /// Units that one customer may hold and buy.
    pub limit_per_customer: Option<u32>,
}

/// All of a sale, by SKU.
///
/// # Errors
/// The database's.
pub async fn all(place: &Place) -> Result<Vec<Product>, MongoError> {
    let store = inventory::store::Store::new(&place.database, place.transactions.clone());
    let mut products = store.all_products().await?;
    products.sort_by(|a, b| a.sku.as_str().cmp(b.sku.as_str()));
    Ok(products)
}

/// Its account.
pub fn units(product: &Product) -> Units {
    Units {
        stock: product.stock,
        available: product.stock - product.reserved - product.sold,
        reserved: product.reserved,
        sold: product.sold,
    }
}

/// All of a sale as pages show them.
///
/// # Errors
/// 503.
pub async fn views(
    place: &Arc<Place>,
    declared: &BTreeMap<String, i64>,
) -> Result<Vec<ProductView>, Problem> {
    let looking = Arc::clone(place);
    let products = mongo::detached(async move { all(&looking).await });
    let products = products.await.map_err(|error| busy(&error))?;
    Ok(products
        .iter()
        .map(|product| view(product, place, declared))
        .collect())
}

/// As a page shows it.
pub fn view(product: &Product, place: &Place, declared: &BTreeMap<String, i64>) -> ProductView {
    let currency = place.config.currency;
    let decimal = |money: sale::Money| money.decimal(currency);
    ProductView {
        id: product.id.to_string(),
        sku: product.sku.as_str().to_owned(),
        name: product.name.clone(),
        price: decimal(product.price),
        original_price: product.original_price.map(decimal),
        image_url: product.image_url.as_ref().map(|url| url.as_str().to_owned()),
        units: units(product),
        declared_stock: declared
            .get(product.sku.as_str())
            .copied()
            .unwrap_or(product.stock),
        limit_per_customer: product.limit_per_customer,
    }
}
