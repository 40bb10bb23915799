//! What is sold.

use crate::rules;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// One product of the sale.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Product {
    /// Names the product inside the sale: 1 to 64 letters, digits, '.', '_' or '-', starting with a letter or digit.
    /// It cannot change once the sale is open.
    #[schemars(length(max = 64))]
    #[x_kube(validation = rules::sku())]
    pub sku: String,
    /// The name that buyers see.
    #[schemars(length(max = 500))]
    #[x_kube(validation = rules::product_name())]
    pub name: String,
    /// A sentence for buyers.
    #[serde(default)]
    #[schemars(length(max = 500))]
    pub description: String,
    /// A word for buyers.
    #[serde(default)]
    #[schemars(length(max = 500))]
    pub category: String,
    /// Price of one unit as a decimal string, such as "799.99". The currency decides how many digits it may have.
    #[schemars(length(max = 20))]
    #[x_kube(validation = rules::decimal("price"))]
    pub price: String,
    /// Price before the sale, written like price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 20))]
    #[x_kube(validation = rules::decimal("originalPrice"))]
    pub original_price: Option<String>,
    /// Address of a picture for buyers, such as "https://cdn.example/laptop.webp".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1000))]
    #[x_kube(validation = rules::image_url())]
    pub image_url: Option<String>,
    /// Units for sale. Editing it while the sale is open adds or takes away the difference, once.
    #[x_kube(validation = rules::stock_not_negative(), validation = rules::stock_bound())]
    pub stock: i64,
    /// Units that one customer may hold and buy; left out for any number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = rules::limit_per_customer())]
    pub limit_per_customer: Option<i64>,
}
