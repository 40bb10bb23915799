//! The ways in beside an Ingress, with real parts: a Gateway that the ingress controller serves, and a load balancer. kind has nobody who
//! makes load balancers, so what one would send to the node's port of its Service the test sends there.

use super::sale::{OpenSale, spec};
use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::{Node, Pod, Service};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use platform::tokens::Role;
use quicksale_tests::{
    cluster::Cluster,
    shop::{RESTART, Shop, close_code, next_update},
    world::eventually,
};
use serde_json::json;
use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

const SOON: Duration = Duration::from_secs(60);
/// Sockets that pass through the gateways.
const SOCKETS: usize = 8;

/// Waits for what the sale says of the ways in.
async fn says(sale: &OpenSale, reason: &str, words: &str) -> Result<()> {
    eventually(
        SOON,
        &format!("EntranceReady says {reason}: {words}"),
        async || {
            let status = sale.resource().await?.status.unwrap_or_default();
            let found = status.conditions.into_iter().find(|c| c.type_ == "EntranceReady");
            Ok(found.is_some_and(|c| c.reason == reason && c.message.contains(words)))
        },
    )
    .await
}

/// Where a load balancer would send what comes to it: the first node, at the port of the Service.
async fn behind_the_load_balancer(sale: &OpenSale) -> Result<SocketAddr> {
    let service = sale.cluster.api::<Service>().get("units-load-balancer").await?;
    let ports = service.spec.and_then(|spec| spec.ports).unwrap_or_default();
    let port = ports
        .first()
        .and_then(|port| port.node_port)
        .context("no port on nodes")?;
    let nodes: Api<Node> = Api::all(sale.cluster.client.clone());
    let nodes = nodes.list(&ListParams::default()).await?.items;
    let addresses = nodes
        .into_iter()
        .filter_map(|node| node.status?.addresses)
        .flatten();
    let internal = addresses
        .into_iter()
        .find(|address| address.type_ == "InternalIP");
    let address: IpAddr = internal.context("the node has no address")?.address.parse()?;
    Ok((address, u16::try_from(port)?).into())
}

/// One order of somebody new, which is told of over a socket of the same way in.
async fn one_is_bought_and_told_of(shop: &Shop, buyer: &str) -> Result<()> {
    let mut socket = shop.socket(&shop.token(buyer, Role::Buyer)?).await?;
    shop.order_patiently(buyer, buyer, "UNIT", 1).await?.expect(201)?;
    let update = tokio::time::timeout(SOON, next_update(&mut socket)).await??;
    ensure!(update["data"]["status"] == "CONFIRMED", "{update}");
    Ok(())
}

#[tokio::test]
async fn a_sale_is_reached_through_a_gateway_and_through_a_load_balancer() -> Result<()> {
    let cluster = Cluster::with_namespace("ways").await?;
    let host = format!("{}.localhost", cluster.namespace);
    let mut spec = spec(&host);
    spec["ingress"] =
        json!({"host": host, "parentRef": {"name": "front", "namespace": "traefik", "sectionName": "web"}});
    spec["loadBalancer"] = json!({});
    cluster.sell("units", &spec).await?;
    // The same port as for an Ingress leads to the Gateway.
    let sale = OpenSale::of(cluster, "units", &host).await?;
    one_is_bought_and_told_of(&sale.shop, "by-gateway").await?;

    says(&sale, "AwaitingAddress", "units-load-balancer").await?;
    let address = behind_the_load_balancer(&sale).await?;
    let status = json!({"status": {"loadBalancer": {"ingress": [{"ip": address.ip()}]}}});
    let services = sale.cluster.api::<Service>();
    services
        .patch_status(
            "units-load-balancer",
            &PatchParams::default(),
            &Patch::Merge(status),
        )
        .await?;
    says(&sale, "LeadsHere", "the Gateway traefik/front takes").await?;

    let balanced = sale.at(address).await?;
    one_is_bought_and_told_of(&balanced, "by-load-balancer").await?;
    let mut sockets = Vec::new();
    for n in 0..SOCKETS {
        let token = balanced.token(&format!("listener-{n}"), Role::Buyer)?;
        sockets.push(balanced.socket(&token).await?);
    }
    let pods = sale.cluster.api::<Pod>();
    for gateway in sale.pods("gateway").await? {
        pods.delete(&gateway.name_any(), &DeleteParams::default()).await?;
    }
    let codes = tokio::time::timeout(
        SOON,
        futures::future::join_all(sockets.iter_mut().map(close_code)),
    );
    for code in codes.await.context("a socket outlived its gateway")? {
        ensure!(code == Some(RESTART), "a socket was closed with {code:?}");
    }
    eventually(SOON, "new gateways take orders", async || {
        one_is_bought_and_told_of(&balanced, "afterwards")
            .await
            .map(|()| true)
    })
    .await?;
    sale.close().await
}
