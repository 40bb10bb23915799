//! A line of an order or a reservation, as the API's document describes it.

use utoipa::ToSchema;

/// A product, by its id or by its SKU, and how many units.
#[derive(Debug, ToSchema)]
#[serde(untagged)]
pub enum Line {
    /// By its id.
    Id(LineById),
    /// By its SKU.
    Sku(LineBySku),
}

/// A product by its id.
#[derive(Debug, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LineById {
    /// The product's _id; or `sku`, and not both.
    pub product_id: String,
    /// 1 to 100.
    #[schema(minimum = 1, maximum = 100, example = 1)]
    pub quantity: i64,
}

/// A product by its SKU.
#[derive(Debug, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LineBySku {
    /// The product's SKU; or `productId`, and not both.
    #[schema(
        example = "FLASH-LAPTOP-001",
        min_length = 1,
        max_length = 64,
        pattern = "^[A-Za-z0-9][A-Za-z0-9._-]*$"
    )]
    pub sku: String,
    /// 1 to 100.
    #[schema(minimum = 1, maximum = 100, example = 1)]
    pub quantity: i64,
}
