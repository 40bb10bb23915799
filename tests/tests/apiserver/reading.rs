//! Whatever the API server takes, the operator can read; and what it cannot read hurts itself alone.
//!
//! The first is a property, tried with values at the edge of every field of the schema, one at a time and several at
//! once. The API server is asked with `dryRun`: it says what it would store, and stores nothing.

use super::{chart::installed, operator::services_are_deployed};
use anyhow::{Context, Result, bail, ensure};
use crds::{FlashSale, Readable, ValidSale, definition::definition};
use futures::{StreamExt, stream};
use kube::{
    Api,
    api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams},
    core::ApiResource,
};
use quicksale_tests::{
    cluster::{Cluster, small_sale},
    world::eventually,
};
use serde_json::{Value, json};
use std::time::Duration;

/// Requests under way at once.
const AT_ONCE: usize = 16;
/// Objects with several odd values.
const MIXED: usize = 400;

/// A place in an object, as a JSON pointer.
type Place = String;

/// Every place of a schema that holds a value, the first item standing for all.
fn places(schema: &Value, at: &str, found: &mut Vec<Place>) {
    found.push(at.to_owned());
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        places(property, &format!("{at}/{name}"), found);
    }
    if schema["items"].is_object() {
        places(&schema["items"], &format!("{at}/0"), found);
    }
}

/// What somebody may write anywhere.
fn odd_values() -> Vec<Value> {
    let texts = [
        "",
        " ",
        "a",
        "A",
        "0",
        "-1",
        "1",
        "1e3",
        "0.1",
        "true",
        "null",
        "\u{0}",
        "\u{202e}",
        "é",
        "🦀",
        "../..",
        "{{x}}",
        "9999-12-31T23:59:59Z",
        "9999-12-30T22:00:00.999999999Z",
        "10000-01-01T00:00:00Z",
        "0000-01-01T00:00:00Z",
        "1999-12-31T23:59:59Z",
        "2199-12-31T23:59:59Z",
        "2200-01-01T00:00:00Z",
        "2026-12-01T12:00:00.1234567890Z",
        "2026-12-01T12:00:00.123456789Z",
        "2026-12-01t12:00:00z",
        "2026-12-01 12:00:00Z",
        "2026-12-01T12:00:00+99:00",
        "2026-12-01T12:00:00+23:59",
        "2026-12-01T12:00:00-24:00",
        "2026-12-01T12:00:00",
        "2026-02-30T12:00:00Z",
        "2026-12-31T23:59:60Z",
        "2026-12-31T24:00:00Z",
        "2026-12-01",
        "0s",
        "1ms",
        "24h",
        "25h",
        "720h",
        "721h",
        "8784h",
        "8785h",
        "999999h999999h",
        "1h1h1h1h1h1h1h1h",
        "-1s",
        "1.5h",
        "USD",
        "JPY",
        "KWD",
        "XXX",
        "usd",
        "100Ei",
        "1n",
        "99999999999999999999",
        "9999999999999999999E",
        "0.000000000000000000001",
        "799.99",
        "99999999.99",
        "100000000",
        "Live",
        "Unknown",
        "Sale",
        "Payment",
        "*",
        "/api/orders",
    ];
    let numbers = [
        json!(0),
        json!(-1),
        json!(1),
        json!(1_000_000_000),
        json!(1_000_000_001),
        json!(1_i64 << 31),
        json!(1_i64 << 53),
        json!(i64::MAX),
        json!(i64::MIN),
        json!(u64::MAX),
        json!(1.5),
        json!(1e18),
        json!(1e20),
        json!(1e300),
        json!(-0.0),
    ];
    let others = [
        json!(null),
        json!(true),
        json!([]),
        json!({}),
        json!([null]),
        json!([[]]),
        json!({"a": 1}),
    ];
    let long = [20, 65, 254, 501, 1_000, 40_000].map(|length| json!("x".repeat(length)));
    let texts = texts.into_iter().map(Value::from);
    texts.chain(numbers).chain(others).chain(long).collect()
}

/// Writes a value at a place, making what is above it.
fn put(object: &mut Value, place: &str, value: Value) -> bool {
    let mut at = object;
    for step in place.split('/').skip(1) {
        at = match (at, step.parse::<usize>()) {
            (Value::Array(items), Ok(index)) => {
                while items.len() <= index {
                    items.push(json!({}));
                }
                &mut items[index]
            }
            (Value::Object(fields), _) => fields.entry(step).or_insert_with(|| json!({})),
            (other @ Value::Null, _) => {
                *other = json!({});
                &mut other[step]
            }
            // Another odd value is above: there is no such place now.
            _ => return false,
        };
    }
    *at = value;
    true
}

/// A sale in which every part is there.
fn whole_sale() -> Value {
    let mut spec = small_sale();
    let range = json!({"replicas": {"min": 1, "max": 2}, "resources": {"requests": {"cpu": "1", "memory": 1}, "limits": {}}});
    for (field, value) in [
        ("opensAt", json!("2126-12-01T12:00:00Z")),
        ("closesAt", json!("2126-12-01T14:00:00Z")),
        (
            "rateLimits",
            json!([{"route": "/api/orders", "limit": 1, "window": "1s"}]),
        ),
        ("services", json!({"order": range})),
        (
            "ingress",
            json!({"host": "a.example", "className": "x", "tlsSecretName": "y"}),
        ),
        ("backendsSecretRef", json!({"name": "mine"})),
    ] {
        spec[field] = value;
    }
    spec
}

/// Numbers that look random and are the same each time (a linear congruential generator, Numerical Recipes').
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        usize::try_from(self.0 >> 16).unwrap_or(0) % bound
    }
}

/// Objects with one odd value each, and some with several.
fn odd_objects(schema: &Value, whole: &Value, at: &str) -> Vec<Value> {
    let (mut all, values) = (Vec::new(), odd_values());
    places(schema, at, &mut all);
    let single = all
        .iter()
        .flat_map(|place| values.iter().map(move |value| (place, value)));
    let mut objects: Vec<Value> = single
        .filter_map(|(place, value)| {
            let mut object = whole.clone();
            put(&mut object, place, value.clone()).then_some(object)
        })
        .collect();
    let mut dice = Dice(1);
    for _ in 0..MIXED {
        let mut object = whole.clone();
        for _ in 0..=dice.below(4) {
            let (place, value) = (&all[dice.below(all.len())], &values[dice.below(values.len())]);
            put(&mut object, place, value.clone());
        }
        objects.push(object);
    }
    objects
}

fn schema_of(part: &str) -> Result<Value> {
    let definition = serde_json::to_value(definition())?;
    let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"][part];
    ensure!(schema.is_object(), "no schema of {part}");
    Ok(schema.clone())
}

/// Sends each object, and says how many were taken, and what was taken and cannot be read.
async fn taken_and_unreadable<F>(
    objects: Vec<Value>,
    send: impl Fn(Value) -> F,
) -> Result<(usize, Vec<String>)>
where
    F: Future<Output = Result<DynamicObject, kube::Error>>,
{
    let answers = stream::iter(objects).map(send).buffer_unordered(AT_ONCE);
    let answers: Vec<_> = answers.collect().await;
    let (mut taken, mut unreadable) = (0, Vec::new());
    for answer in answers {
        let stored = match answer {
            Ok(stored) => serde_json::to_value(stored)?,
            Err(kube::Error::Api(_)) => continue,
            Err(other) => bail!("no answer: {other}"),
        };
        taken += 1;
        let read = serde_json::from_value::<FlashSale>(stored.clone());
        let problem = match read {
            Err(error) => error.to_string(),
            Ok(sale) => match ValidSale::try_from(&sale) {
                Err(invalid) => invalid.to_string(),
                Ok(_) => continue,
            },
        };
        unreadable.push(format!("{problem}: {} {}", stored["spec"], stored["status"]));
    }
    Ok((taken, unreadable))
}

fn raw_sales(cluster: &Cluster) -> Api<DynamicObject> {
    let resource = ApiResource::erase::<FlashSale>(&());
    Api::namespaced_with(cluster.client.clone(), &cluster.namespace, &resource)
}

fn report(what: &str, taken: usize, unreadable: &[String]) -> Result<()> {
    ensure!(
        taken > 100,
        "only {taken} {what} were taken: the test tries nothing"
    );
    ensure!(
        unreadable.is_empty(),
        "{} of {taken} {what} that the API server takes cannot be read, such as\n{}",
        unreadable.len(),
        unreadable.iter().take(20).cloned().collect::<Vec<_>>().join("\n")
    );
    Ok(())
}

#[tokio::test]
async fn whatever_the_api_server_takes_can_be_read() -> Result<()> {
    installed().await?;
    let cluster = Cluster::with_namespace("reads").await?;
    let (sales, namespace) = (raw_sales(&cluster), cluster.namespace.clone());
    let whole = json!({
        "apiVersion": "quicksale.io/v1alpha1", "kind": "FlashSale",
        "metadata": {"name": "odd", "namespace": namespace}, "spec": whole_sale(),
    });
    let objects = odd_objects(&schema_of("spec")?, &whole, "/spec");
    let dry = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    let (taken, unreadable) = taken_and_unreadable(objects, |object| {
        let (sales, dry) = (&sales, &dry);
        async move {
            sales
                .create(
                    dry,
                    &serde_json::from_value(object).map_err(kube::Error::SerdeError)?,
                )
                .await
        }
    })
    .await?;
    report("specs", taken, &unreadable)
}

#[tokio::test]
async fn whatever_status_the_api_server_takes_can_be_read() -> Result<()> {
    installed().await?;
    let cluster = Cluster::with_namespace("reads").await?;
    let mut spec = whole_sale();
    spec["backendsSecretRef"] = Value::Null;
    cluster.sell("odd", &spec).await?;
    let sales = raw_sales(&cluster);
    let time = "2026-12-01T12:00:00Z";
    let whole = json!({"status": {
        "phase": "Pending", "conditions": [{"type": "X", "status": "True", "reason": "R", "lastTransitionTime": time}],
        "products": [{"sku": "A-1", "stock": 1, "stockChange": {"to": 1, "key": "k"}}], "orders": {"accepted": 1},
        "opensAt": time, "closesAt": time, "reportRef": {"name": "r"},
    }});
    let objects = odd_objects(&schema_of("status")?, &whole, "/status");
    let dry = PatchParams {
        dry_run: true,
        ..PatchParams::default()
    };
    let (taken, unreadable) = taken_and_unreadable(objects, |object| {
        let (sales, dry) = (&sales, &dry);
        async move { sales.patch_status("odd", dry, &Patch::Merge(&object)).await }
    })
    .await?;
    report("statuses", taken, &unreadable)
}

/// Changes what etcd holds of a sale behind the API server's back: as if an older definition had let it in.
async fn store(cluster: &Cluster, name: &str, change: impl Fn(&mut Value)) -> Result<()> {
    use base64::{Engine, prelude::BASE64_STANDARD};
    let port = std::env::var("ETCD_PORT").unwrap_or_else(|_| "12379".to_owned());
    let http = reqwest::Client::new();
    let key = format!("/registry/quicksale.io/flashsales/{}/{name}", cluster.namespace);
    let key = BASE64_STANDARD.encode(key);
    let call = async |verb: &str, body: Value| -> Result<Value> {
        let url = format!("http://127.0.0.1:{port}/v3/kv/{verb}");
        let answer = http
            .post(url)
            .timeout(Duration::from_secs(10))
            .json(&body)
            .send()
            .await?;
        Ok(answer.error_for_status()?.json().await?)
    };
    let found = call("range", json!({"key": key})).await?;
    let text = found["kvs"][0]["value"]
        .as_str()
        .context("etcd holds no such sale")?;
    let mut object: Value = serde_json::from_slice(&BASE64_STANDARD.decode(text)?)?;
    change(&mut object);
    // As with every edit of a spec. Without it the operator sees nothing before it looks again by itself, a minute later.
    let generation = object["metadata"]["generation"]
        .as_i64()
        .context("no generation")?;
    object["metadata"]["generation"] = json!(generation + 1);
    let value = BASE64_STANDARD.encode(serde_json::to_vec(&object)?);
    call("put", json!({"key": key, "value": value})).await.map(drop)
}

#[tokio::test]
async fn a_sale_that_cannot_be_read_hurts_itself_alone() -> Result<()> {
    let soon = Duration::from_secs(30);
    installed().await?;
    let cluster = Cluster::with_namespace("unreadable").await?;
    let mut later = small_sale();
    later["opensAt"] = json!("2126-12-01T12:00:00Z");
    cluster.sell("forever", &later).await?;
    let sales = raw_sales(&cluster);
    eventually(soon, "the operator has seen the sale", async || {
        Ok(sales.get("forever").await?.data["status"]["phase"] == "Pending")
    })
    .await?;
    store(&cluster, "forever", |sale| {
        sale["spec"]["closesAt"] = json!("9999-12-31T23:59:59Z");
    })
    .await?;
    let typed = cluster.api::<FlashSale>().list(&ListParams::default()).await;
    ensure!(
        typed.is_err(),
        "it can be read after all, so this test tries nothing"
    );
    eventually(soon, "it says what is wrong", async || {
        let conditions = sales.get("forever").await?.data["status"]["conditions"].clone();
        let degraded = conditions
            .as_array()
            .into_iter()
            .flatten()
            .find(|c| c["type"] == "Degraded");
        Ok(degraded.is_some_and(|c| c["reason"] == "Unreadable" && c["status"] == "True"))
    })
    .await?;
    let list = cluster.api::<Readable>().list(&ListParams::default()).await?;
    ensure!(list.items.iter().any(|sale| sale.0.is_err()), "the list hides it");
    // Others in the same namespace are made, changed and deleted as ever.
    cluster.sell("beside", &small_sale()).await?;
    services_are_deployed(&cluster).await?;
    for name in ["beside", "forever"] {
        sales.delete(name, &DeleteParams::default()).await?;
        eventually(soon, &format!("{name} is gone"), async || {
            Ok(sales.get_opt(name).await?.is_none())
        })
        .await?;
    }
    cluster.leave().await
}
