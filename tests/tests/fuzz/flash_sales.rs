//! FlashSales as somebody may have written them past every rule: read and refused with a sentence, or valid.

use crate::{fuzz, mangled_json};
use crds::{FlashSale, ValidSale};
use sale::limits::LimitedRoute;
use serde_json::json;

#[test]
fn a_flash_sale_is_refused_with_a_sentence_or_valid() {
    let original = json!({
        "apiVersion": "quicksale.io/v1alpha1", "kind": "FlashSale", "metadata": {"namespace": "shop", "name": "laptops"},
        "spec": {
            "opensAt": "2026-12-01T12:00:00Z", "closesAt": "2026-12-02T12:00:00Z", "warmUp": "10m", "currency": "USD",
            "reservationTtl": "10m", "retainFor": "24h",
            "products": [{"sku": "A", "name": "a", "price": "799.99", "originalPrice": "999", "stock": 50, "limitPerCustomer": 1}],
            "rateLimits": [{"route": LimitedRoute::Orders.as_str(), "limit": 10, "window": "1m"}],
            "kafka": {"topicPrefix": "shop.", "partitions": 12, "replicationFactor": 1},
            "services": {"gateway": {"replicas": {"min": 1, "max": 3}}},
            "ingress": {"host": "laptops.example.com"}
        }
    });
    let read: FlashSale = serde_json::from_value(original.clone()).unwrap();
    ValidSale::try_from(&read).unwrap();
    fuzz(|u| {
        if let Ok(sale) = serde_json::from_slice::<FlashSale>(&mangled_json(u, &original)?) {
            match ValidSale::try_from(&sale) {
                Ok(valid) => {
                    assert!(!valid.database().is_empty());
                    let _any = valid.total_stock();
                }
                Err(invalid) => assert!(!invalid.0.is_empty()),
            }
        }
        Ok(())
    });
}
