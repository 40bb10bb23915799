//! What whoever writes a backends Secret can make the operator do: connect to three addresses, and nothing more.

use super::chart::installed;
use anyhow::{Context, Result, ensure};
use crds::FlashSale;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::{
    Api, ResourceExt,
    api::{ListParams, Patch, PatchParams, PostParams},
};
use quicksale_tests::{
    cluster::{Cluster, small_sale},
    world::eventually,
};
use serde_json::{Value, json};
use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{io::AsyncReadExt, net::TcpListener};

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

/// A password does not leave the operator in plain text until somebody has written that this is meant.
/// A listener on loopback, and what each who connects to it says first.
struct Ear {
    port: u16,
    heard: Arc<Mutex<Vec<u8>>>,
}

impl Ear {
    async fn open() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = listener.local_addr()?.port();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let ear = Arc::clone(&heard);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut first = vec![0; 1_024];
                let length = stream.read(&mut first).await.unwrap_or(0);
                ear.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .extend_from_slice(&first[..length]);
            }
        });
        Ok(Self { port, heard })
    }

    fn hears(&self, word: &str) -> bool {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.windows(word.len()).any(|window| window == word.as_bytes())
    }
}

#[tokio::test]
async fn a_password_goes_over_plain_text_only_where_the_sale_says_so() -> Result<()> {
    installed().await?;
    let cluster = Cluster::with_namespace("plain").await?;
    let ear = Ear::open().await?;
    let port = ear.port;
    let hears = |word: &str| ear.hears(word);
    let backends = json!({
        "MONGODB_URI": format!("mongodb://127.0.0.1:{port}/?directConnection=true"),
        "KAFKA_BROKERS": format!("127.0.0.1:{port}"), "REDIS_URL": format!("redis://:wordofthesale@127.0.0.1:{port}"),
    });
    sale_with(&cluster, "shoes", backends).await?;
    let says = async |reason: &str, word: &str| {
        let status = cluster.sale("shoes").await?.status.unwrap_or_default();
        let found = status.conditions.iter().find(|c| c.type_ == "BackendsSecure");
        Ok(found.is_some_and(|c| c.status == "False" && c.reason == reason && c.message.contains(word)))
    };
    eventually(SOON, "it is told who would send a password to what", async || {
        says("PlaintextPasswords", "Redis (from gateway, inventory, operator)").await
    })
    .await?;
    ensure!(
        says("PlaintextPasswords", "spec.plaintextPasswords: Allow").await?,
        "it is not told what to write"
    );
    ensure!(!hears("wordofthesale"), "the operator has sent the password");
    let sale = cluster.sale("shoes").await?;
    ensure!(
        sale.status.unwrap_or_default().claimed_at.is_none(),
        "the sale has begun"
    );
    let allow = json!({"spec": {"plaintextPasswords": "Allow"}});
    cluster
        .api::<FlashSale>()
        .patch("shoes", &PatchParams::default(), &Patch::Merge(&allow))
        .await?;
    eventually(SOON, "the word is taken", async || {
        Ok(says("PlaintextPasswordsAllowed", "as allowed").await? && hears("wordofthesale"))
    })
    .await
}

/// Whoever edits the Secret of a sale that has begun is told the same, and heeded as little.
#[tokio::test]
async fn a_sale_that_has_begun_sends_no_password_in_plain_text_either() -> Result<()> {
    installed().await?;
    let cluster = Cluster::with_namespace("plain-later").await?;
    let ear = Ear::open().await?;
    let here = |name: &str| std::env::var(name).with_context(|| format!("{name} is not set"));
    let backends = json!({
        "MONGODB_URI": here("MONGODB_URI")?, "KAFKA_BROKERS": here("KAFKA_BROKERS")?, "KAFKA_TLS": "false",
        "REDIS_URL": here("REDIS_URL")?,
    });
    sale_with(&cluster, "shoes", backends).await?;
    eventually(SOON, "the sale has begun", async || {
        let status = cluster.sale("shoes").await?.status.unwrap_or_default();
        Ok(status.phase().to_string() == "Warming")
    })
    .await?;
    let edit = |url: String| Patch::Merge(json!({"stringData": {"REDIS_URL": url}}));
    cluster
        .api::<Secret>()
        .patch(
            "shoes-mine",
            &PatchParams::default(),
            &edit(format!("redis://:wordofthesale@127.0.0.1:{}", ear.port)),
        )
        .await?;
    eventually(SOON, "it is told, and the backends are not used", async || {
        let said = said_of_backends(&cluster, "shoes").await?;
        Ok(said
            .is_some_and(|said| said.contains("in plain text") && said.contains("spec.plaintextPasswords")))
    })
    .await?;
    ensure!(!ear.hears("wordofthesale"), "the operator has sent the password");
    // Without the password it is looked at again, which a listener that does not answer would hold up.
    let back = edit(here("REDIS_URL")?);
    let secrets = cluster.api::<Secret>();
    secrets
        .patch("shoes-mine", &PatchParams::default(), &back)
        .await?;
    eventually(SOON, "the backends are used again", async || {
        Ok(said_of_backends(&cluster, "shoes").await?.is_none())
    })
    .await
}

async fn secrets(cluster: &Cluster) -> Result<BTreeMap<String, Secret>> {
    let list = cluster.api::<Secret>().list(&ListParams::default()).await?;
    Ok(list
        .items
        .into_iter()
        .map(|secret| (secret.name_any(), secret))
        .collect())
}

#[tokio::test]
async fn the_platforms_backends_are_for_namespaces_that_it_names() -> Result<()> {
    installed().await?;
    let cluster = Cluster::with_namespace("dev").await?;
    let namespaces = Api::<Namespace>::all(cluster.client.clone());
    let label = async |value: Value| {
        let patch = json!({"metadata": {"labels": {"quicksale.io/backends": value}}});
        namespaces
            .patch(&cluster.namespace, &PatchParams::default(), &Patch::Merge(&patch))
            .await
    };
    label(Value::Null).await?;
    // Whoever may edit a namespace may write this Secret, as if the operator had made it.
    cluster.sell("shoes", &small_sale()).await?;
    let uid = cluster.sale("shoes").await?.uid().context("no uid")?;
    let forged = json!({
        "metadata": {
            "name": "shoes-backends",
            "labels": {"app.kubernetes.io/managed-by": "quicksale-operator", "quicksale.io/sale": "shoes"},
            "ownerReferences": [{"apiVersion": "quicksale.io/v1alpha1", "kind": "FlashSale", "name": "shoes", "uid": uid}],
        },
        "stringData": {"MONGODB_URI": "mongodb://mine"},
    });
    let api = cluster.api::<Secret>();
    api.create(&PostParams::default(), &serde_json::from_value(forged)?)
        .await?;
    eventually(SOON, "the sale is told whose the backends are not", async || {
        let status = cluster.sale("shoes").await?.status.unwrap_or_default();
        let said = status.conditions.iter().find(|c| c.type_ == "BackendsReachable");
        Ok(said.is_some_and(|c| c.status == "False"))
    })
    .await?;
    // It is never filled; the operator takes it for one of its own that nobody wants any more.
    let came = RefCell::new(BTreeSet::new());
    eventually(SOON, "the forged Secret is gone", async || {
        let made = secrets(&cluster).await?;
        let is_forged = |name: &String, secret: &Secret| {
            name == "shoes-backends" && secret.data.as_ref().is_some_and(|data| data.len() == 1)
        };
        let others = made.iter().filter(|(name, secret)| !is_forged(name, secret));
        came.borrow_mut().extend(others.map(|(name, _)| name.clone()));
        Ok(made.is_empty())
    })
    .await?;
    let came = came.into_inner();
    ensure!(
        came.is_empty(),
        "credentials came to a namespace that was not to have them: {came:?}"
    );
    eventually(SOON, "it says what to do", async || {
        let said = said_of_backends(&cluster, "shoes").await?;
        Ok(said.is_some_and(|said| {
            said.contains("are not for the namespace") && said.contains("quicksale.io/backends=shared")
        }))
    })
    .await?;
    label(json!("shared")).await?;
    eventually(SOON, "it gets them once the platform says so", async || {
        Ok(secrets(&cluster).await?.contains_key("shoes-backends"))
    })
    .await?;
    // Even then the administrator's password stays where it is.
    eventually(
        SOON,
        "auth gets what it can check the administrator by",
        async || Ok(secrets(&cluster).await?.contains_key("shoes-admin")),
    )
    .await?;
    let admin = secrets(&cluster).await?["shoes-admin"]
        .data
        .clone()
        .unwrap_or_default();
    ensure!(
        admin.keys().eq(["email", "passwordHash"]),
        "{:?}",
        admin.keys().collect::<Vec<_>>()
    );
    let hash = String::from_utf8(admin["passwordHash"].0.clone())?;
    ensure!(hash.starts_with("$argon2id$"), "no hash of the known kind");
    Ok(())
}
