//! What whoever writes a backends Secret can make the operator do: connect to three addresses, and nothing more.

use super::chart::installed;
use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::Secret;
use kube::api::PostParams;
use quicksale_tests::{
    cluster::{Cluster, small_sale},
    world::eventually,
};
use serde_json::{Value, json};
use std::{
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::net::TcpListener;

/// How long the operator may take to look.
const SOON: Duration = Duration::from_secs(40);

/// A sale whose backends are what somebody wrote.
async fn sale_with(cluster: &Cluster, name: &str, backends: Value) -> Result<()> {
    let secret = json!({"metadata": {"name": format!("{name}-mine")}, "stringData": backends});
    cluster
        .api::<Secret>()
        .create(&PostParams::default(), &serde_json::from_value(secret)?)
        .await?;
    let mut spec = small_sale();
    spec["backendsSecretRef"] = json!({"name": format!("{name}-mine")});
    cluster.sell(name, &spec).await
}

async fn said_of_backends(cluster: &Cluster, name: &str) -> Result<Option<String>> {
    let status = cluster.sale(name).await?.status.unwrap_or_default();
    let found = status
        .conditions
        .into_iter()
        .find(|c| c.type_ == "BackendsReachable" && c.status == "False");
    Ok(found.map(|condition| condition.message))
}

/// A listener on loopback, and how many have connected to it.
async fn listener() -> Result<(u16, Arc<AtomicUsize>)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let port = listener.local_addr()?.port();
    let connected = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&connected);
    tokio::spawn(async move {
        // What is connected is kept, and never answered.
        let mut open = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::Relaxed);
            open.push(stream);
        }
    });
    Ok((port, connected))
}

#[tokio::test]
async fn the_operator_lends_nobody_its_identity() -> Result<()> {
    installed().await?;
    let cluster = Cluster::with_namespace("lends").await?;
    let (port, connected) = listener().await?;
    let odd = [
        (
            "oidc",
            "directConnection=true&authMechanism=MONGODB-OIDC&authMechanismProperties=ENVIRONMENT:k8s",
        ),
        ("aws", "directConnection=true&authMechanism=MONGODB-AWS"),
        (
            "file",
            "tls=true&tlsCertificateKeyFile=/var/run/secrets/kubernetes.io/serviceaccount/token",
        ),
    ];
    for (name, options) in odd {
        let backends = json!({
            "MONGODB_URI": format!("mongodb://127.0.0.1:{port}/?{options}"),
            "KAFKA_BROKERS": format!("127.0.0.1:{port}"), "REDIS_URL": format!("redis://127.0.0.1:{port}"),
        });
        sale_with(&cluster, name, backends).await?;
    }
    for (name, _) in odd {
        eventually(
            SOON,
            &format!("{name} is told which value is wrong"),
            async || {
                let said = said_of_backends(&cluster, name).await?;
                Ok(said.is_some_and(|said| said.contains("MONGODB_URI")))
            },
        )
        .await?;
    }
    // The sentence comes from the text alone; a look at the backends would have begun by now.
    let connections = connected.load(Ordering::Relaxed);
    ensure!(
        connections == 0,
        "{connections} connections were made with what is refused"
    );
    Ok(())
}

#[tokio::test]
async fn a_condition_does_not_tell_a_closed_port_from_an_open_one() -> Result<()> {
    installed().await?;
    let cluster = Cluster::with_namespace("scans").await?;
    let closed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let closed_port = closed.local_addr()?.port();
    drop(closed);
    let (open_port, connected) = listener().await?;
    for (name, port) in [("closed", closed_port), ("open", open_port)] {
        let backends = json!({
            "MONGODB_URI": format!("mongodb://127.0.0.1:{port}/?directConnection=true"),
            "KAFKA_BROKERS": format!("127.0.0.1:{port}"), "REDIS_URL": format!("redis://127.0.0.1:{port}"),
        });
        sale_with(&cluster, name, backends).await?;
    }
    eventually(SOON, "both are told the same of all three", async || {
        let said = (
            said_of_backends(&cluster, "closed").await?,
            said_of_backends(&cluster, "open").await?,
        );
        let (Some(closed), Some(open)) = said else {
            return Ok(false);
        };
        let whole = ["MongoDB", "Kafka", "Redis"]
            .iter()
            .all(|backend| closed.contains(backend));
        Ok(whole && closed == open)
    })
    .await?;
    ensure!(
        connected.load(Ordering::Relaxed) > 0,
        "nobody looked at the open port"
    );
    Ok(())
}
