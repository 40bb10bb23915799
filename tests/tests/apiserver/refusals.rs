//! What makes no sense is refused at apply time, by a sentence that names the field and the remedy.

use super::chart::installed;
use anyhow::{Context, Result, ensure};
use quicksale_tests::{
    cluster::{Cluster, refusal, small_sale},
    world::eventually,
};
use serde_json::{Value, json};
use std::time::Duration;

/// A small sale with one field changed; `null` takes it away.
fn with(pointer: &str, value: Value) -> Result<Value> {
    let mut spec = small_sale();
    let (parent, field) = pointer.rsplit_once('/').context("a pointer")?;
    let parent = spec.pointer_mut(parent).context("no such field")?;
    let parent = parent.as_object_mut().context("not an object")?;
    if value.is_null() {
        parent.remove(field);
    } else {
        parent.insert(field.to_owned(), value);
    }
    Ok(spec)
}

/// A rehearsal with this load.
fn rehearsal(load: Value) -> Result<Value> {
    let mut spec = with("/mode", json!("Rehearsal"))?;
    spec["load"] = load;
    Ok(spec)
}

/// A sale whose orders are paid there.
fn paid_at(url: &str) -> Result<Value> {
    let mut spec = with("/confirmation", json!("Payment"))?;
    spec["paymentUrl"] = json!(url);
    Ok(spec)
}

#[tokio::test]
async fn nonsense_is_refused_by_a_sentence() -> Result<()> {
    installed().await?;
    let cluster = Cluster::with_namespace("refused").await?;
    let twice = json!([
        {"sku": "A-1", "name": "A", "price": "1.00", "stock": 1},
        {"sku": "A-1", "name": "B", "price": "2.00", "stock": 1},
    ]);
    let mut closing = with("/opensAt", json!("2126-12-01T14:00:00Z"))?;
    closing["closesAt"] = json!("2126-12-01T12:00:00Z");
    let limit = |route: &str, window: &str| json!([{"route": route, "limit": 10, "window": window}]);
    let cases = [
        (
            closing,
            "spec.closesAt must be after spec.opensAt",
            "later time or leave it out",
        ),
        (
            with("/products", json!([]))?,
            "spec.products must name at least one product",
            "add one",
        ),
        (
            with("/load", json!({}))?,
            "spec.load is for rehearsals",
            "set spec.mode to Rehearsal",
        ),
        (
            rehearsal(json!({"step": "10m"}))?,
            "spec.load.step must be a duration from 1s to 5m",
            "write one such as 10s",
        ),
        (
            rehearsal(json!({"ordersPerSecond": 0}))?,
            "spec.load.ordersPerSecond must be from 1 to 100000",
            "leave it out",
        ),
        (
            rehearsal(json!({"buyers": 200_001}))?,
            "spec.load.buyers must be from 1 to 200000",
            "a larger crowd",
        ),
        (
            with("/expect", json!({"buyers": 0}))?,
            "spec.expect.buyers must be from 1 to 100000000",
            "leave it out",
        ),
        (
            with("/expect", json!({"ordersPerSecond": 100_001}))?,
            "spec.expect.ordersPerSecond must be from 1 to 100000",
            "leave it out",
        ),
        (
            with(
                "/services/order",
                json!({"replicas": {"min": 2, "max": 4, "opening": 5}}),
            )?,
            "spec.services.*.replicas.opening must be from min to max",
            "raise max, or leave it out",
        ),
        (
            with("/products", twice)?,
            "spec.products must not repeat a sku",
            "a sku of its own",
        ),
        (
            with("/products/0/stock", json!(-1))?,
            "stock must not be negative",
            "0 or more",
        ),
        (
            with("/products/0/price", json!("12.345"))?,
            "price must have no more decimals",
            "\"12.35\" in USD",
        ),
        (
            with("/products/0/price", json!("-1.00"))?,
            "price must be a decimal string",
            "such as \"799.99\"",
        ),
        (
            with("/products/0/limitPerCustomer", json!(0))?,
            "limitPerCustomer must be at least 1",
            "leave it out for no limit",
        ),
        (
            with("/rateLimits", limit("/api/cart", "60s"))?,
            "spec.rateLimits[].route must be a route that has a limit",
            "write one of /api/auth/login",
        ),
        (
            with("/rateLimits", limit("/api/orders", "0s"))?,
            "window must be",
            "longer than 0s",
        ),
        (
            with("/currency", json!("usd"))?,
            "spec.currency must be a three-letter",
            "such as USD",
        ),
        (
            with("/services/gateway/replicas", json!({"min": 3, "max": 2}))?,
            "replicas.max must not be less than min",
            "raise max or lower min",
        ),
        (
            with(
                "/services/gateway/resources",
                json!({"limits": {"memory": "0Mi"}}),
            )?,
            "resources.limits.memory must be more than 0",
            "such as 256Mi",
        ),
        (
            with("/services/gateway/resources", json!({"limits": {"memory": 0}}))?,
            "resources.limits.memory must be more than 0",
            "leave it out for the usual one",
        ),
        (
            with("/kafka/partitions", json!(0))?,
            "spec.kafka.partitions must be from 1 to 100",
            "12 suits",
        ),
        (
            with("/ingress", json!({"host": "https://a.example/x"}))?,
            "spec.ingress.host must be",
            "without port or path",
        ),
        (
            with("/opensAt", json!("2026-12-01T12:00:00+99:00"))?,
            "opensAt",
            "",
        ),
        (
            with("/waitingRoom", json!({"enabled": true}))?,
            "spec.waitingRoom.enabled is not available",
            "leave it out",
        ),
        (
            with("/reservationTtl", json!("0s"))?,
            "spec.reservationTtl must be",
            "write one such as 10m",
        ),
        (
            paid_at("https://pay.example/")?,
            "spec.paymentUrl must begin with https://",
            "like https://pay.example/{orderId}",
        ),
        (
            paid_at("https://pay.example/{orderId}/{orderId}")?,
            "spec.paymentUrl must begin with https://",
            "have {orderId} once",
        ),
        (
            with("/paymentUrl", json!("https://pay.example/{orderId}"))?,
            "spec.paymentUrl is where buyers pay",
            "set spec.confirmation to Payment",
        ),
    ];
    for (spec, field, remedy) in cases {
        let said = refusal(cluster.sell("refused", &spec).await).with_context(|| field.to_owned())?;
        ensure!(said.contains(field) && said.contains(remedy), "{field}: {said}");
    }
    let unknown = refusal(
        cluster
            .sell("a-name-that-is-much-longer-than-forty-letters", &small_sale())
            .await,
    )?;
    ensure!(unknown.contains("metadata.name must be at most 40"), "{unknown}");
    let yen =
        json!({"currency": "JPY", "products": [{"sku": "A", "name": "A", "price": "12.5", "stock": 1}]});
    let digits = refusal(cluster.sell("yen", &yen).await)?;
    ensure!(digits.contains("0 for JPY"), "{digits}");
    Ok(())
}

#[tokio::test]
async fn what_is_left_out_has_its_default() -> Result<()> {
    installed().await?;
    let cluster = Cluster::with_namespace("defaults").await?;
    let least = json!({"products": [{"sku": "A", "name": "A", "price": "5", "stock": 1}]});
    cluster.sell("least", &least).await?;
    let spec = serde_json::to_value(cluster.sale("least").await?.spec)?;
    for (field, default) in [
        ("currency", json!("USD")),
        ("warmUp", json!("10m")),
        ("reservationTtl", json!("10m")),
        ("retainFor", json!("24h")),
        ("mode", json!("Sale")),
        ("halted", json!(false)),
        ("confirmation", json!("Automatic")),
        ("deletionPolicy", json!("Retain")),
    ] {
        ensure!(spec[field] == default, "{field}: {}", spec[field]);
    }
    ensure!(spec["kafka"]["partitions"] == 12, "{spec}");
    Ok(())
}

#[tokio::test]
async fn what_buyers_rely_on_cannot_change_under_them() -> Result<()> {
    installed().await?;
    let cluster = Cluster::with_namespace("fixed").await?;
    let mut at_a_host = paid_at("https://pay.example/{orderId}")?;
    at_a_host["ingress"] = json!({"host": "fixed.example.com"});
    cluster.sell("fixed", &at_a_host).await?;
    eventually(Duration::from_secs(30), "the sale warms up", async || {
        Ok(cluster
            .sale("fixed")
            .await?
            .status
            .is_some_and(|s| s.phase.is_some_and(|p| p.as_str() == "Warming")))
    })
    .await?;
    for (change, said) in [
        (
            json!({"currency": "EUR"}),
            "spec.currency cannot change once the sale warms up",
        ),
        (
            json!({"kafka": {"partitions": 3}}),
            "spec.kafka cannot change once the sale warms up",
        ),
        (
            json!({"mode": "Rehearsal"}),
            "spec.mode cannot change once the sale warms up",
        ),
        (
            json!({"backendsSecretRef": {"name": "elsewhere"}}),
            "spec.backendsSecretRef cannot change once the sale warms up",
        ),
    ] {
        let refused = refusal(cluster.edit("fixed", &change).await)?;
        ensure!(
            refused.contains(said) && refused.contains("apply a new one"),
            "{refused}"
        );
    }
    let mut as_it_was = serde_json::to_value(cluster.sale("fixed").await?.spec)?;
    as_it_was["opensAt"] = Value::Null;
    as_it_was["ingress"]["tlsSecretName"] = Value::Null;
    let open = json!({"status": {"phase": "Live", "products": [
        {"sku": "A-1", "stock": 50, "available": 20, "reserved": 10, "sold": 20},
    ]}});
    let another = json!([{"sku": "B-1", "name": "B", "price": "1.00", "stock": 50}]);
    let less =
        json!([{"sku": "A-1", "name": "A thing", "price": "799.99", "stock": 29, "limitPerCustomer": 1}]);
    for (change, said) in [
        (
            json!({"opensAt": "2126-12-01T12:00:00Z"}),
            "spec.opensAt cannot change once the sale is open",
        ),
        (
            json!({"ingress": {"host": "elsewhere.example.com"}}),
            "spec.ingress.host cannot change",
        ),
        (
            json!({"paymentUrl": "https://elsewhere.example/{orderId}"}),
            "spec.paymentUrl cannot change once the sale is open",
        ),
        (
            json!({"paymentUrl": null}),
            "spec.paymentUrl cannot change once the sale is open",
        ),
        (
            json!({"ingress": {"host": "fixed.example.com", "tlsSecretName": "fixed-tls"}}),
            "tlsSecretName can neither come nor go, once the sale is open",
        ),
        (
            json!({"products": another}),
            "sku cannot change or go away once the sale warms up",
        ),
        (
            json!({"products": less}),
            "stock must not be less than the units reserved and sold",
        ),
    ] {
        // The operator may write its own view of the status in between.
        eventually(Duration::from_secs(30), said, async || {
            let sales = cluster.api::<crds::FlashSale>();
            let merge = kube::api::Patch::Merge(&open);
            sales
                .patch_status("fixed", &kube::api::PatchParams::default(), &merge)
                .await?;
            let edited = cluster.edit("fixed", &change).await;
            if edited.is_ok() {
                // Another try with what is the spec by now would change nothing, and be refused by nobody.
                cluster.edit("fixed", &as_it_was).await?;
            }
            Ok(refusal(edited)?.contains(said))
        })
        .await?;
    }
    Ok(())
}
