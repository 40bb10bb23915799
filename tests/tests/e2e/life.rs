//! The life of a sale by its clock and its switches: opened with nobody there to open it, halted, sold out, reopened, and deleted while
//! an order waits for its payment.

use super::sale::{OpenSale, SERVICES, spec};
use anyhow::{Context, Result, ensure};
use crds::FlashSale;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Secret};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, Patch, PatchParams},
};
use quicksale_tests::{
    cluster::{Cluster, refusal},
    ports,
    shop::Shop,
    world::eventually,
};
use reqwest::Method;
use serde_json::json;
use std::{
    process::Stdio,
    time::{Duration, Instant},
};
use tokio::process::{Child, Command};
use uuid::Uuid;

/// How long the cluster may take for what needs new pods.
const ROLLED_OUT: Duration = Duration::from_secs(120);
/// How long what needs no new pods may take.
const SOON: Duration = Duration::from_secs(30);
/// The gateways of a sale open within this of one another.
const SPREAD: Duration = Duration::from_millis(100);

/// Whether a condition of the sale has this status, and a message with these words.
async fn says(cluster: &Cluster, kind: &str, status: &str, words: &str) -> Result<bool> {
    let now = cluster.sale("units").await?.status.unwrap_or_default();
    let found = now.conditions.into_iter().find(|c| c.type_ == kind);
    Ok(found.is_some_and(|c| c.status == status && c.message.contains(words)))
}

async fn is_in(cluster: &Cluster, phase: &str) -> Result<bool> {
    let status = cluster.sale("units").await?.status.unwrap_or_default();
    Ok(status.phase().as_str() == phase)
}

/// Sets how many operators there are, and waits until it is so.
async fn operators(cluster: &Cluster, replicas: i32) -> Result<()> {
    let api: Api<Deployment> = Api::namespaced(cluster.client.clone(), "quicksale-system");
    let scale = Patch::Merge(json!({"spec": {"replicas": replicas}}));
    api.patch_scale("quicksale-operator", &PatchParams::default(), &scale)
        .await?;
    eventually(
        ROLLED_OUT,
        &format!("there are {replicas} operators"),
        async || {
            let status = api.get("quicksale-operator").await?.status.unwrap_or_default();
            Ok(status.replicas.unwrap_or(0) == replicas && status.ready_replicas.unwrap_or(0) == replicas)
        },
    )
    .await
}

/// A way to one pod that ends with this.
async fn way_to(cluster: &Cluster, pod: &str) -> Result<(Child, u16)> {
    let [port] = ports::free()?;
    let way = Command::new("kubectl")
        .args([
            "--namespace",
            &cluster.namespace,
            "port-forward",
            &format!("pod/{pod}"),
        ])
        .arg(format!("{port}:3000"))
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    eventually(SOON, "the way to the pod is there", async || {
        Ok(tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok())
    })
    .await?;
    Ok((way, port))
}

/// When a gateway takes its first order.
async fn first_order(shop: Shop, opens: Timestamp) -> Result<Timestamp> {
    // Whoever tries all the time keeps the gateways busy.
    let soon = opens.duration_since(Timestamp::now()) - SignedDuration::from_secs(1);
    tokio::time::sleep(soon.try_into().unwrap_or_default()).await;
    let until = opens + SignedDuration::from_secs(30);
    while Timestamp::now() < until {
        let key = Uuid::new_v4().to_string();
        let answer = shop.order(&key, &key, "UNIT", 1).await?;
        if answer.status == 201 {
            return Ok(Timestamp::now());
        }
        answer.expect_problem(409, "sale_not_open")?;
    }
    anyhow::bail!("it did not open until {until}")
}

async fn buys(sale: &OpenSale) -> Result<bool> {
    let key = Uuid::new_v4().to_string();
    Ok(sale.shop.order_patiently(&key, &key, "UNIT", 1).await?.status == 201)
}

/// Nobody is there to open it: the doors do, all at once.
#[tokio::test]
async fn a_sale_opens_on_time_by_itself_and_is_steered_afterwards() -> Result<()> {
    let cluster = Cluster::with_namespace("clock").await?;
    let host = format!("{}.localhost", cluster.namespace);
    let opens = Timestamp::from_second(Timestamp::now().as_second() + 75)?;
    let mut spec = spec(&host);
    spec["opensAt"] = json!(opens);
    spec["products"][0]["stock"] = json!(6);
    spec["rateLimits"] = json!([{"route": "/api/orders", "limit": 100_000, "window": "60s"}]);
    cluster.sell("units", &spec).await?;
    eventually(ROLLED_OUT, "everything is ready but the time", async || {
        says(&cluster, "Ready", "False", "waiting for the opening time").await
    })
    .await?;
    operators(&cluster, 0).await?;
    it_opens_within_a_moment(&cluster, &host, opens).await?;
    operators(&cluster, 2).await?;
    let sale = OpenSale::of(cluster, "units", &host).await?;
    let opened = sale.resource().await?.status.unwrap_or_default().opened_at;
    ensure!(opened == Some(opens), "{opened:?}");
    a_halt_is_obeyed_within_two_seconds(&sale).await?;
    it_sells_out_and_is_reopened(&sale).await?;
    sale.close().await
}

async fn it_opens_within_a_moment(cluster: &Cluster, host: &str, opens: Timestamp) -> Result<()> {
    let keys = cluster.api::<Secret>().get("units-signing-keys").await?;
    let pem = keys
        .data
        .unwrap_or_default()
        .remove("signing-key.pem")
        .context("no key")?;
    let pem = String::from_utf8(pem.0)?;
    let selected = kube::api::ListParams::default()
        .labels("quicksale.io/sale=units,app.kubernetes.io/component=gateway");
    let gateways = cluster
        .api::<k8s_openapi::api::core::v1::Pod>()
        .list(&selected)
        .await?;
    ensure!(gateways.items.len() == 2, "{} gateways", gateways.items.len());
    let (mut ways, mut first) = (Vec::new(), Vec::new());
    for gateway in gateways.items {
        let (way, port) = way_to(cluster, &gateway.name_any()).await?;
        ways.push(way);
        let shop = Shop::new(host, ([127, 0, 0, 1], port).into(), &pem)?;
        first.push(first_order(shop, opens));
    }
    ensure!(
        Timestamp::now() < opens,
        "the sale was not ready in time: {opens}"
    );
    let times = futures::future::try_join_all(first).await?;
    let (earliest, latest) = (
        times.iter().min().context("none")?,
        times.iter().max().context("none")?,
    );
    let spread = latest.duration_since(*earliest).unsigned_abs();
    println!(
        "opened {} ms after its time, the gateways within {} ms",
        earliest.duration_since(opens).as_millis(),
        spread.as_millis()
    );
    ensure!(*earliest >= opens, "{earliest} is before {opens}");
    ensure!(spread < SPREAD, "{times:?}");
    Ok(())
}

async fn a_halt_is_obeyed_within_two_seconds(sale: &OpenSale) -> Result<()> {
    sale.cluster.edit(sale.name, &json!({"halted": true})).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    // The ingress takes turns among the gateways.
    for _ in 0..10 {
        let key = Uuid::new_v4().to_string();
        let answer = sale.shop.order(&key, &key, "UNIT", 1).await?;
        answer.expect_problem(409, "sale_halted")?;
    }
    eventually(SOON, "it says who obeys", async || {
        says(&sale.cluster, "Halted", "True", "2 of 2 gateways").await
    })
    .await?;
    sale.cluster.edit(sale.name, &json!({"halted": false})).await?;
    eventually(SOON, "it sells again", async || buys(sale).await).await
}

async fn it_sells_out_and_is_reopened(sale: &OpenSale) -> Result<()> {
    eventually(SOON, "every unit is sold", async || {
        let key = Uuid::new_v4().to_string();
        let answer = sale.shop.order_patiently(&key, &key, "UNIT", 1).await?;
        Ok(answer.status == 409)
    })
    .await?;
    eventually(ROLLED_OUT, "it has ended", async || {
        is_in(&sale.cluster, "Ended").await
    })
    .await?;
    // More of it changes nothing by itself.
    let mut products = serde_json::to_value(&sale.resource().await?.spec.products)?;
    products[0]["stock"] = json!(9);
    sale.cluster
        .edit(sale.name, &json!({"products": products}))
        .await?;
    ensure!(!buys(sale).await?, "a sale that is over has sold");
    sale.annotate("quicksale.io/paused", "true").await?;
    sale.annotate("quicksale.io/reopen", "three more were found")
        .await?;
    eventually(
        ROLLED_OUT,
        "it is open, and its products stay as they are",
        async || {
            Ok(is_in(&sale.cluster, "Live").await?
                && says(&sale.cluster, "CatalogReady", "False", "quicksale.io/paused=true").await?)
        },
    )
    .await?;
    ensure!(!buys(sale).await?, "a paused sale has got units");
    sale.annotate("quicksale.io/paused", "false").await?;
    eventually(ROLLED_OUT, "it sells again", async || buys(sale).await).await?;
    eventually(ROLLED_OUT, "it says that it is open", async || {
        Ok(is_in(&sale.cluster, "Live").await? && says(&sale.cluster, "Ready", "True", "").await?)
    })
    .await?;
    eventually(
        ROLLED_OUT,
        "the rest is sold, and it ends once more",
        async || {
            let _sold = buys(sale).await?;
            is_in(&sale.cluster, "Ended").await
        },
    )
    .await?;
    let status = sale.resource().await?.status.unwrap_or_default();
    ensure!(status.sold == Some(9), "{:?}", status.sold);
    Ok(())
}

/// How long the holds of the next test last: longer than any drain was ever waited for without a reason.
const HOLD: Duration = Duration::from_secs(70);

#[tokio::test]
async fn a_deleted_sale_waits_for_an_order_that_waits_for_its_payment() -> Result<()> {
    let cluster = Cluster::with_namespace("unpaid").await?;
    let host = format!("{}.localhost", cluster.namespace);
    let mut spec = spec(&host);
    spec["confirmation"] = json!("Payment");
    spec["reservationTtl"] = json!(format!("{}s", HOLD.as_secs()));
    cluster.sell("units", &spec).await?;
    let sale = OpenSale::of(cluster, "units", &host).await?;
    let placed = Instant::now();
    let answer = sale.shop.order_patiently("ada", "unpaid", "UNIT", 1).await?;
    let order = answer.expect(201)?.json["order"]["_id"]
        .as_str()
        .context("no order")?
        .to_owned();
    let sales = sale.cluster.api::<FlashSale>();
    let delete = async || -> Result<()> {
        sales.delete(sale.name, &DeleteParams::default()).await?;
        Ok(())
    };
    let refused = refusal(delete().await)?;
    ensure!(refused.contains("the sale units is open"), "{refused}");
    sale.annotate("quicksale.io/drain-and-delete", "true").await?;
    delete().await?;
    eventually(SOON, "it drains, and says what for", async || {
        says(&sale.cluster, "Settled", "False", "1 order without an end").await
    })
    .await?;
    let path = format!("/api/orders/{order}");
    eventually(HOLD * 2, "the hold has run out", async || {
        let token = sale.shop.observer()?;
        let answer = sale.shop.send(Method::GET, &path, Some(&token), None).await?;
        Ok(answer.expect(200)?.json["status"] != "PENDING")
    })
    .await?;
    ensure!(
        placed.elapsed() >= HOLD,
        "it was over after {:?}",
        placed.elapsed()
    );
    eventually(ROLLED_OUT, "the sale is gone", async || {
        Ok(sales.get_opt(sale.name).await?.is_none())
    })
    .await?;
    for service in SERVICES {
        eventually(ROLLED_OUT, "its pods are gone", async || {
            Ok(sale.pods(service).await?.is_empty())
        })
        .await?;
    }
    sale.cluster.leave().await
}
