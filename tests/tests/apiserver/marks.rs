//! The marks of a sale's place in the real backends: when they come and go, what carries none, and that what was deleted
//! stays away.

use super::{
    chart::installed,
    operator::{TOPICS, condition, services_are_deployed, topics},
};
use anyhow::{Context, Result, ensure};
use crds::FlashSale;
use events::topics::all_names;
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Namespace, Secret},
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use mongodb::{
    Database,
    bson::{Document, doc},
};
use platform::backends::{Credentials, kafka, mongo};
use quicksale_tests::{
    backends::Backends,
    cluster::{Cluster, small_sale},
    world::eventually,
};
use sale::SaleId;
use serde_json::{Value, json};
use std::{
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
};
use url::Url;

/// How long the operator may take for what needs no pods.
const SOON: Duration = Duration::from_secs(30);
/// How long the end of a sale may take, with a look at silent backends that has to be over first.
const AT_LAST: Duration = Duration::from_secs(60);

/// A small sale that leaves nothing behind.
pub(crate) fn passing_sale() -> Value {
    let mut spec = small_sale();
    spec["deletionPolicy"] = json!("Delete");
    spec
}

/// Deletes the one sale of a namespace and waits until it is gone.
pub(crate) async fn deleted(cluster: &Cluster) -> Result<()> {
    let sales = cluster.api::<FlashSale>();
    sales.delete("shoes", &DeleteParams::default()).await?;
    eventually(AT_LAST, "the sale is gone", async || {
        Ok(sales.get_opt("shoes").await?.is_none())
    })
    .await
}

fn id(cluster: &Cluster) -> SaleId {
    SaleId {
        namespace: cluster.namespace.clone(),
        name: "shoes".to_owned(),
    }
}

fn topic_prefix(cluster: &Cluster) -> String {
    id(cluster).default_topic_prefix(false)
}

/// The sale's key in Redis that says whose its keys are.
fn owner_key(cluster: &Cluster) -> String {
    format!("{}owner", id(cluster).redis_prefix(false))
}

async fn mark_in_redis(backends: &Backends, key: &str) -> Result<Option<Value>> {
    let said = backends.redis(&["get", key]).await?;
    Ok(serde_json::from_str(&said).ok())
}

async fn database(cluster: &Cluster) -> Result<Database> {
    let client = mongo::client(&Credentials::from_env()?.mongodb_uri).await?;
    Ok(client.database(&id(cluster).database(false)))
}

/// Waits until the sale says why it may not have its place, and sees that nothing runs for it.
async fn is_refused(cluster: &Cluster, why: &str) -> Result<()> {
    eventually(SOON, &format!("it is told: {why}"), async || {
        let ready = condition(cluster, "TopicsReady").await?;
        Ok(ready.is_some_and(|(status, message)| status == "False" && message.contains(why)))
    })
    .await?;
    let sale = cluster.sale("shoes").await?;
    let phase = sale.status.unwrap_or_default().phase();
    ensure!(phase.as_str() == "Pending", "the sale is {phase}");
    let made = cluster.api::<Deployment>().list(&ListParams::default()).await?;
    ensure!(
        made.items.is_empty(),
        "services were made for a sale without a place"
    );
    Ok(())
}

async fn topics_are_gone(cluster: &Cluster) -> Result<()> {
    let prefix = topic_prefix(cluster);
    eventually(SOON, "the topics and their mark are gone", async || {
        Ok(topics(&prefix).await?.is_empty())
    })
    .await
}

/// Redis may lose the mark at any moment, so each look puts it there again; it ends by itself where nobody takes it away.
#[tokio::test]
async fn the_mark_in_redis_comes_with_the_claim_comes_back_and_goes_with_the_sale() -> Result<()> {
    installed().await?;
    let cluster = Cluster::with_namespace("cached").await?;
    let (backends, key) = (Backends::shared()?, owner_key(&cluster));
    let system = Api::<Namespace>::all(cluster.client.clone())
        .get("kube-system")
        .await?;
    let owner = |uid: Option<String>| {
        let (cluster, namespace) = (system.uid(), &cluster.namespace);
        json!({"cluster": cluster, "namespace": namespace, "name": "shoes", "uid": uid})
    };
    // A sale of the same name was there before, and its mark has not run out.
    let before = owner(Some("before".to_owned())).to_string();
    backends.redis(&["set", &key, &before]).await?;
    cluster.sell("shoes", &passing_sale()).await?;
    services_are_deployed(&cluster).await?;
    let ours = owner(cluster.sale("shoes").await?.uid());
    let found = mark_in_redis(&backends, &key).await?;
    ensure!(found.as_ref() == Some(&ours), "{found:?}");
    backends.redis(&["del", &key]).await?;
    eventually(SOON, "the mark is back", async || {
        Ok(mark_in_redis(&backends, &key).await?.as_ref() == Some(&ours))
    })
    .await?;
    let seconds: i64 = backends.redis(&["ttl", &key]).await?.trim().parse()?;
    ensure!(seconds > 0, "the mark has no end: {seconds}");
    deleted(&cluster).await?;
    let left = mark_in_redis(&backends, &key).await?;
    ensure!(left.is_none(), "{left:?}");
    cluster.leave().await
}

/// A Redis that two clusters share: the later sale gets nothing, and deletes nothing of the other's.
#[tokio::test]
async fn keys_of_another_cluster_in_redis_are_left_alone() -> Result<()> {
    installed().await?;
    let cluster = Cluster::with_namespace("crowded").await?;
    let (backends, key) = (Backends::shared()?, owner_key(&cluster));
    let theirs =
        json!({"cluster": "another", "namespace": cluster.namespace, "name": "shoes", "uid": "theirs"});
    backends.redis(&["set", &key, &theirs.to_string()]).await?;
    cluster.sell("shoes", &passing_sale()).await?;
    let whose = format!(
        "in Redis belong to the sale shoes in {} of another cluster",
        cluster.namespace
    );
    is_refused(&cluster, &whose).await?;
    deleted(&cluster).await?;
    let left = mark_in_redis(&backends, &key).await?;
    ensure!(left.as_ref() == Some(&theirs), "{left:?}");
    // What it had marked elsewhere before it was refused has gone with it.
    topics_are_gone(&cluster).await?;
    let collections = database(&cluster).await?.list_collection_names().await?;
    ensure!(collections.is_empty(), "{collections:?}");
    backends.redis(&["del", &key]).await?;
    cluster.leave().await
}

async fn take_over(cluster: &Cluster) -> Result<()> {
    let asked = json!({"metadata": {"annotations": {"quicksale.io/take-over": "true"}}});
    cluster
        .api::<FlashSale>()
        .patch("shoes", &PatchParams::default(), &Patch::Merge(&asked))
        .await?;
    Ok(())
}

/// Somebody's topics are neither used nor deleted until the sale is told to take them over; from then on they are its own.
#[tokio::test]
async fn topics_without_a_mark_are_taken_over_on_request_only() -> Result<()> {
    installed().await?;
    let cluster = Cluster::with_namespace("topics").await?;
    let prefix = topic_prefix(&cluster);
    let made = all_names(&prefix).into_iter().next().context("no topic")?;
    let client = Credentials::from_env()?.kafka.connect().await?;
    let controller = client.controller_client()?;
    let partitions = 2;
    kafka::within(
        Duration::from_secs(10),
        controller.create_topic(&made, partitions, 1, 5_000),
    )
    .await?;
    let why = format!("a topic of {prefix}* is there already and carries no mark");
    cluster.sell("shoes", &passing_sale()).await?;
    is_refused(&cluster, &why).await?;
    is_refused(&cluster, "quicksale.io/take-over=true").await?;
    deleted(&cluster).await?;
    let left = topics(&prefix).await?;
    ensure!(left == [made], "{left:?}");

    cluster.sell("shoes", &passing_sale()).await?;
    is_refused(&cluster, &why).await?;
    take_over(&cluster).await?;
    services_are_deployed(&cluster).await?;
    eventually(SOON, "all topics and the mark are there", async || {
        Ok(topics(&prefix).await?.len() == TOPICS)
    })
    .await?;
    deleted(&cluster).await?;
    topics_are_gone(&cluster).await?;
    cluster.leave().await
}

/// The same for a database, whose content stays as it is until the sale that has taken it over is deleted.
#[tokio::test]
async fn a_database_without_a_mark_is_taken_over_on_request_only() -> Result<()> {
    installed().await?;
    let cluster = Cluster::with_namespace("notes").await?;
    let database = database(&cluster).await?;
    let notes = database.collection::<Document>("notes");
    let theirs = doc! {"_id": "theirs"};
    notes.insert_one(&theirs).await?;
    let is_there = async || -> Result<()> {
        let found = notes.find_one(doc! {}).await?;
        ensure!(found.as_ref() == Some(&theirs), "{found:?}");
        Ok(())
    };
    let why = format!(
        "the database {} is there already and carries no mark",
        database.name()
    );
    cluster.sell("shoes", &passing_sale()).await?;
    is_refused(&cluster, &why).await?;
    deleted(&cluster).await?;
    is_there().await?;

    cluster.sell("shoes", &passing_sale()).await?;
    is_refused(&cluster, &why).await?;
    take_over(&cluster).await?;
    services_are_deployed(&cluster).await?;
    is_there().await?;
    let mark = database
        .collection::<Document>("ownership")
        .find_one(doc! {"_id": "owner"})
        .await?
        .context("the database carries no mark")?;
    let uid = cluster.sale("shoes").await?.uid().context("no uid")?;
    ensure!(mark.get_str("uid")? == uid, "{mark}");
    deleted(&cluster).await?;
    let left = database.list_collection_names().await?;
    ensure!(left.is_empty(), "{left:?}");
    cluster.leave().await
}

/// A way to Redis that can be shut: whoever comes then is let in and never answered.
struct Door {
    port: u16,
    is_shut: watch::Sender<bool>,
    kept: Arc<AtomicUsize>,
}

impl Door {
    async fn to_redis() -> Result<Self> {
        let url = Url::parse(&std::env::var("REDIS_URL").context("REDIS_URL is not set")?)?;
        let host = url.host_str().context("REDIS_URL has no host")?;
        let redis = format!("{host}:{}", url.port().unwrap_or(6_379));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let door = Self {
            port: listener.local_addr()?.port(),
            is_shut: watch::Sender::new(false),
            kept: Arc::new(AtomicUsize::new(0)),
        };
        let (is_shut, kept) = (door.is_shut.subscribe(), Arc::clone(&door.kept));
        tokio::spawn(async move {
            let mut waiting = Vec::new();
            while let Ok((mut here, _)) = listener.accept().await {
                if *is_shut.borrow() {
                    kept.fetch_add(1, Ordering::Relaxed);
                    waiting.push(here);
                    continue;
                }
                let (redis, mut is_shut) = (redis.clone(), is_shut.clone());
                tokio::spawn(async move {
                    if let Ok(mut there) = TcpStream::connect(redis).await {
                        tokio::select! {
                            _one_has_hung_up = tokio::io::copy_bidirectional(&mut here, &mut there) => {}
                            _shut = is_shut.wait_for(|shut| *shut) => {}
                        }
                    }
                });
            }
        });
        Ok(door)
    }

    fn shut(&self) {
        self.is_shut.send_replace(true);
    }

    /// Those who have come since it was shut.
    fn kept(&self) -> usize {
        self.kept.load(Ordering::Relaxed)
    }
}

/// A look ends by making the topics that it misses. One that was under way when the sale was deleted must be over before
/// they are deleted. A silent Redis makes the look last: it waits for that for seconds, and makes the topics of a sale
/// that has begun all the same. The deletion asks the same silent Redis later and waits as long for it, so what the look
/// makes is there before the sale is gone.
#[tokio::test]
async fn a_look_that_was_under_way_brings_no_topic_of_a_deleted_sale_back() -> Result<()> {
    installed().await?;
    let cluster = Cluster::with_namespace("looks").await?;
    let door = Door::to_redis().await?;
    let here = |name: &str| std::env::var(name).with_context(|| format!("{name} is not set"));
    let secret = json!({"metadata": {"name": "mine"}, "stringData": {
        "MONGODB_URI": here("MONGODB_URI")?, "KAFKA_BROKERS": here("KAFKA_BROKERS")?, "KAFKA_TLS": "false",
        "REDIS_URL": format!("redis://127.0.0.1:{}", door.port),
    }});
    cluster
        .api::<Secret>()
        .create(&PostParams::default(), &serde_json::from_value(secret)?)
        .await?;
    let mut spec = passing_sale();
    spec["backendsSecretRef"] = json!({"name": "mine"});
    cluster.sell("shoes", &spec).await?;
    services_are_deployed(&cluster).await?;
    let prefix = topic_prefix(&cluster);
    eventually(SOON, "the topics and their mark exist", async || {
        Ok(topics(&prefix).await?.len() == TOPICS)
    })
    .await?;
    door.shut();
    // The first comes back from the look before; who comes after it is a new one.
    eventually(SOON, "a look is under way", async || Ok(door.kept() > 1)).await?;
    deleted(&cluster).await?;
    topics_are_gone(&cluster).await?;
    // The deletion did not get through to this one.
    Backends::shared()?.redis(&["del", &owner_key(&cluster)]).await?;
    cluster.leave().await
}
