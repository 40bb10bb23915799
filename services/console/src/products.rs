//! The products of a sale with their accounts.

use crate::place::Place;
use inventory::product::Product;
use platform::backends::mongo::MongoError;
use serde::Serialize;

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
    /// All units.
    pub stock: i64,
    /// Those that can be ordered.
    pub available: i64,
    /// Those held.
    pub reserved: i64,
    /// Those of confirmed orders.
    pub sold: i64,
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

/// As a page shows it.
pub fn view(product: &Product, place: &Place) -> ProductView {
    let currency = place.config.currency;
    let decimal = |money: sale::Money| money.decimal(currency);
    ProductView {
        id: product.id.to_string(),
        sku: product.sku.as_str().to_owned(),
        name: product.name.clone(),
        price: decimal(product.price),
        original_price: product.original_price.map(decimal),
        image_url: product.image_url.as_ref().map(|url| url.as_str().to_owned()),
        stock: product.stock,
        available: product.stock - product.reserved - product.sold,
        reserved: product.reserved,
        sold: product.sold,
        limit_per_customer: product.limit_per_customer,
    }
}
