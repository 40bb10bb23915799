//! The report of a sale that has ended.

use super::{Child, Kind};
use crds::{FlashSaleStatus, ValidSale};
use serde_json::json;

/// The suffix of the ConfigMap with the report.
pub const REPORT: &str = "report";

/// What became of the sale, from the last numbers in its status.
pub fn report(sale: &ValidSale, status: &FlashSaleStatus) -> Child {
    let products: Vec<_> = status
        .products
        .iter()
        .map(|p| json!({"sku": p.sku, "stock": p.stock, "sold": p.sold, "reserved": p.reserved, "available": p.available}))
        .collect();
    let report = json!({
        "sale": sale.id,
        "mode": sale.mode,
        "currency": sale.currency,
        "opensAt": status.opens_at,
        "closedAt": status.draining_since,
        "endedAt": status.ended_at,
        "orders": status.orders,
        "products": products,
    });
    let text = serde_json::to_string_pretty(&report).unwrap_or_default();
    Child::new(
        sale,
        Kind::ConfigMap,
        REPORT,
        json!({"data": {"report.json": text}}),
    )
}
