//! A product, as it is stored and as it is shown.

use mongodb::bson::{DateTime, Document, doc};
use sale::{Currency, ImageUrl, Money, ProductId, Sku, money::JsonDecimal, stock::Stock};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A product in the store. Amounts are minor units; `available` is not stored but follows from the other three.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Product {
    /// Derived from the SKU.
    #[serde(rename = "_id")]
    pub id: ProductId,
    /// Unique in the sale.
    pub sku: Sku,
    /// For people.
    pub name: String,
    /// For people.
    pub description: String,
    /// For people.
    pub category: String,
    /// Price of a unit.
    pub price: Money,
    /// Price before the sale, for show.
    pub original_price: Option<Money>,
    /// Its picture.
    #[serde(default)]
    pub image_url: Option<ImageUrl>,
    /// All units.
    pub stock: i64,
    /// Units held.
    pub reserved: i64,
    /// Units of confirmed orders.
    pub sold: i64,
    /// Units a customer may hold and buy.
    pub limit_per_customer: Option<u32>,
    /// Grows with every edit of the product and every change of its stock; units that orders move do not count.
    pub version: i64,
    /// Number of the last entry in its ledger.
    #[serde(default)]
    pub ledger: i64,
    /// When it was created.
    pub created_at: DateTime,
    /// When it was last edited.
    pub updated_at: DateTime,
}

/// The stored account of a product breaks `stock = available + reserved + sold`.
#[derive(Debug, thiserror::Error)]
#[error(
    "the stock account of product {0} is broken: it cannot be read, reserved and sold exceed its stock, or less is reserved than is held"
)]
pub struct BrokenAccount(pub ProductId);

/// What is read of a product whose units move.
#[derive(Debug, Deserialize)]
pub(crate) struct Account {
    #[serde(rename = "_id")]
    pub(crate) id: ProductId,
    stock: i64,
    reserved: i64,
    sold: i64,
    /// Number of the last entry in its ledger.
    #[serde(default)]
    pub(crate) ledger: i64,
}

impl Account {
    /// The fields that are read.
    pub(crate) fn projection() -> Document {
        doc! {"stock": 1, "reserved": 1, "sold": 1, "ledger": 1}
    }

    /// The stock account.
    ///
    /// # Errors
    /// [`BrokenAccount`], as of a product.
    pub(crate) fn stock(&self) -> Result<Stock, BrokenAccount> {
        account_of(&self.id, [self.stock, self.reserved, self.sold])
    }
}

fn account_of(product: &ProductId, numbers: [i64; 3]) -> Result<Stock, BrokenAccount> {
    let [stock, reserved, sold] = numbers.map(|number| u64::try_from(number).ok());
    stock
        .zip(reserved)
        .zip(sold)
        .and_then(|((stock, reserved), sold)| Stock::from_parts(stock, reserved, sold))
        .ok_or_else(|| BrokenAccount(product.clone()))
}

impl Product {
    /// The stock account.
    ///
    /// # Errors
    /// [`BrokenAccount`], which only a hand in the database can bring about.
    pub fn account(&self) -> Result<Stock, BrokenAccount> {
        account_of(&self.id, [self.stock, self.reserved, self.sold])
    }

    /// The product as the API shows it.
    pub fn view(&self, currency: Currency) -> ProductView {
        ProductView {
            id: self.id.as_str().to_owned(),
            sku: self.sku.as_str().to_owned(),
            name: self.name.clone(),
            description: self.description.clone(),
            category: self.category.clone(),
            price: self.price.to_json(currency),
            original_price: self.original_price.map(|price| price.to_json(currency)),
            image_url: self.image_url.clone(),
            currency: currency.code().to_owned(),
            stock: self.stock,
            reserved: self.reserved,
            sold: self.sold,
            available: self.stock - self.reserved - self.sold,
            limit_per_customer: self.limit_per_customer,
            version: self.version,
            created_at: text(self.created_at),
            updated_at: text(self.updated_at),
        }
    }
}

fn text(at: DateTime) -> String {
    at.try_to_rfc3339_string().unwrap_or_default()
}

/// A product as the API shows it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProductView {
    /// Opaque id.
    #[serde(rename = "_id")]
    pub id: String,
    /// Unique in the sale.
    pub sku: String,
    /// For people.
    pub name: String,
    /// For people.
    pub description: String,
    /// For people.
    pub category: String,
    /// Price of a unit, with the currency's digits.
    #[schema(value_type = f64, example = 799.99)]
    pub price: JsonDecimal,
    /// Price before the sale.
    #[schema(value_type = Option<f64>, example = 1299.99)]
    pub original_price: Option<JsonDecimal>,
    /// Address of its picture; null for none.
    #[schema(value_type = Option<String>, example = "https://cdn.example/laptop.webp")]
    pub image_url: Option<ImageUrl>,
    /// ISO 4217.
    pub currency: String,
    /// All units: available + reserved + sold.
    pub stock: i64,
    /// Units held for orders that are not confirmed yet.
    pub reserved: i64,
    /// Units of confirmed orders.
    pub sold: i64,
    /// Units that can still be ordered.
    pub available: i64,
    /// Units a customer may hold and buy; null for any number.
    pub limit_per_customer: Option<u32>,
    /// Send it back with an edit.
    pub version: i64,
    /// RFC 3339.
    pub created_at: String,
    /// RFC 3339.
    pub updated_at: String,
}
