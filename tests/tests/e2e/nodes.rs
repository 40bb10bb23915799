//! What takes more than one node: an autoscaler follows the load, and a node is drained while orders come in. `hack/test-nodes.sh` makes the
//! cluster, and names the node.

use super::sale::{OpenSale, SERVICES, spec};
use anyhow::{Context, Result, ensure};
use platform::tokens::Role;
use quicksale_tests::{
    cluster::{Cluster, command},
    shop::{RESTART, Shop, close_code},
    world::eventually,
};
use reqwest::Method;
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// How long pods may take to start, or a node to be emptied.
const MOVED: Duration = Duration::from_secs(240);
/// How long orders may take to come to their ends.
const SETTLED: Duration = Duration::from_secs(120);
/// Units of a sale: more than are ordered.
const UNITS: usize = 100_000;
/// Buyers who order one after another.
const BUYERS: usize = 6;
/// Sockets that are open meanwhile.
const SOCKETS: usize = 8;

async fn open(prefix: &str, services: Value) -> Result<OpenSale> {
    let cluster = Cluster::with_namespace(prefix).await?;
    let host = format!("{}.localhost", cluster.namespace);
    let mut spec = spec(&host);
    spec["services"] = services;
    spec["products"][0]["stock"] = json!(UNITS);
    cluster.sell("units", &spec).await?;
    OpenSale::of(cluster, "units", &host).await
}

/// Orders one unit after another, each as somebody else, until told to stop; returns the orders that were accepted.
async fn buys(shop: Arc<Shop>, stop: CancellationToken) -> Result<Vec<String>> {
    let mut accepted = Vec::new();
    while !stop.is_cancelled() {
        let buyer = Uuid::new_v4().to_string();
        let answer = shop.order_patiently(&buyer, &buyer, "UNIT", 1).await?;
        let order = answer.expect(201)?.json["order"]["_id"].as_str();
        accepted.push(order.context("no id")?.to_owned());
    }
    Ok(accepted)
}

/// What becomes of the orders that are placed while something else is done.
async fn orders_meanwhile(
    shop: &Arc<Shop>,
    meanwhile: impl Future<Output = Result<()>>,
) -> Result<Vec<String>> {
    let stop = CancellationToken::new();
    let buyers: Vec<_> = (0..BUYERS)
        .map(|_| tokio::spawn(buys(Arc::clone(shop), stop.clone())))
        .collect();
    let done = meanwhile.await;
    stop.cancel();
    let mut accepted = Vec::new();
    for buyer in buyers {
        accepted.extend(buyer.await??);
    }
    done.map(|()| accepted)
}

/// Every one has its unit, and nobody else has one.
async fn each_is_confirmed(sale: &OpenSale, orders: &[String]) -> Result<()> {
    eventually(SETTLED, "as many units are sold as were ordered", async || {
        let product = sale.shop.shown("UNIT").await?;
        Ok(product["sold"] == orders.len() && product["reserved"] == 0)
    })
    .await?;
    for order in orders {
        let token = sale.shop.observer()?;
        let path = format!("/api/orders/{order}");
        let read = sale.shop.send(Method::GET, &path, Some(&token), None).await?;
        ensure!(
            read.expect(200)?.json["status"] == "CONFIRMED",
            "{order}: {}",
            read.text
        );
    }
    Ok(())
}

/// The nodes that a service runs on.
async fn nodes(sale: &OpenSale, service: &str) -> Result<BTreeSet<String>> {
    let pods = sale.pods(service).await?.into_iter();
    Ok(pods
        .filter(|pod| pod.metadata.deletion_timestamp.is_none())
        .filter_map(|pod| pod.spec?.node_name)
        .collect())
}

#[tokio::test]
#[ignore = "takes three nodes: hack/test-nodes.sh"]
async fn a_node_is_drained_under_load_and_every_order_comes_to_its_end() -> Result<()> {
    let node = std::env::var("QUICKSALE_DRAINED_NODE").context("QUICKSALE_DRAINED_NODE names a node")?;
    let two = json!({"replicas": {"min": 2}});
    let services = SERVICES.map(|service| (service.to_owned(), two.clone()));
    let sale = open("drain", Value::Object(services.into_iter().collect())).await?;
    eventually(MOVED, "each service is on both nodes", async || {
        for service in SERVICES {
            if nodes(&sale, service).await?.len() < 2 {
                return Ok(false);
            }
        }
        Ok(true)
    })
    .await?;
    let mut sockets = Vec::new();
    for _ in 0..SOCKETS {
        let token = sale.shop.token(&Uuid::new_v4().to_string(), Role::Buyer)?;
        sockets.push(sale.shop.socket(&token).await?);
    }
    let began = Instant::now();
    let drained = async {
        let drain = [
            "drain",
            &node,
            "--ignore-daemonsets",
            "--delete-emptydir-data",
            "--timeout=240s",
        ];
        command("kubectl", &drain, "").await?;
        println!("the node was empty after {:.0} s", began.elapsed().as_secs_f64());
        // What was moved takes orders again.
        eventually(MOVED, "all is ready again", async || {
            Ok(sale
                .resource()
                .await?
                .status
                .and_then(|status| status.ready)
                .as_deref()
                == Some("6/6"))
        })
        .await
    };
    let orders = orders_meanwhile(&sale.shop, drained).await;
    command("kubectl", &["uncordon", &node], "").await?;
    let orders = orders?;
    println!(
        "{} orders in {:.0} s",
        orders.len(),
        began.elapsed().as_secs_f64()
    );
    ensure!(orders.len() > 100, "{} orders say little", orders.len());
    each_is_confirmed(&sale, &orders).await?;
    let mut told = 0;
    for socket in &mut sockets {
        // One that is open still has nothing to say.
        let code = tokio::time::timeout(Duration::from_secs(1), close_code(socket)).await;
        told += usize::from(code == Ok(Some(RESTART)));
    }
    println!("{told} of {SOCKETS} sockets were told to connect again");
    ensure!(told > 0, "no socket was told to connect again");
    sale.close().await
}

#[tokio::test]
#[ignore = "takes metrics-server: hack/test-nodes.sh"]
async fn more_replicas_come_with_the_load() -> Result<()> {
    let services = json!({"order": {
        "replicas": {"min": 1, "max": 3},
        "resources": {"requests": {"cpu": "25m"}},
        "scaling": {"cpuPercent": 30},
    }});
    let sale = open("scaled", services).await?;
    let began = Instant::now();
    let scaled = eventually(
        MOVED,
        "there are more replicas of the order service",
        async || {
            let status = sale.resource().await?.status.unwrap_or_default();
            Ok(status.replicas.get("order").is_some_and(|replicas| *replicas > 1))
        },
    );
    let orders = orders_meanwhile(&sale.shop, scaled).await?;
    println!(
        "scaled after {:.0} s and {} orders",
        began.elapsed().as_secs_f64(),
        orders.len()
    );
    each_is_confirmed(&sale, &orders).await?;
    sale.close().await
}

/// By value, through Prometheus and an adapter whose rules are those of the documentation.
#[tokio::test]
#[ignore = "takes prometheus-adapter: hack/test-nodes.sh"]
async fn more_replicas_come_with_the_sockets() -> Result<()> {
    let services = json!({"notifier": {
        "replicas": {"min": 1, "max": 3},
        "scaling": {"metrics": [{"name": "quicksale_sockets", "perReplica": 4}]},
    }});
    let sale = open("sockets", services).await?;
    let mut sockets = Vec::new();
    for _ in 0..10 {
        let token = sale.shop.token(&Uuid::new_v4().to_string(), Role::Buyer)?;
        sockets.push(sale.shop.socket(&token).await?);
    }
    let began = Instant::now();
    eventually(
        MOVED,
        "there are as many notifiers as ten sockets ask for",
        async || {
            let status = sale.resource().await?.status.unwrap_or_default();
            Ok(status.replicas.get("notifier") == Some(&3))
        },
    )
    .await?;
    println!("scaled after {:.0} s", began.elapsed().as_secs_f64());
    // No socket was cut for it.
    for socket in &mut sockets {
        let closed = tokio::time::timeout(Duration::from_millis(200), close_code(socket)).await;
        ensure!(closed.is_err(), "a socket was closed: {closed:?}");
    }
    sale.close().await
}
