//! What the operator makes of a FlashSale, keeps, and takes away. There are no nodes, so its Deployments never get
//! ready and no sale opens here; `e2e` goes on from there.

use super::{
    chart::{installed, operator_command},
    statuses,
};
use anyhow::{Context, Result, ensure};
use k8s_openapi::ByteString;
use k8s_openapi::api::{
    apps::v1::Deployment,
    coordination::v1::Lease,
    core::v1::{ConfigMap, Event, Secret, Service},
    networking::v1::{Ingress, NetworkPolicy},
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use platform::backends::{Credentials, kafka};
use quicksale_tests::{
    cluster::{Cluster, command, small_sale},
    ports,
    world::eventually,
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// How long the operator may take for what needs no pods.
const SOON: Duration = Duration::from_secs(30);
/// The topics of a sale: two for each of three messages, and the mark of their owner.
pub(crate) const TOPICS: usize = 7;
const COMPONENTS: [&str; 6] = ["auth", "gateway", "inventory", "notifier", "order", "processor"];

/// A sale whose objects have been made.
pub(crate) async fn sale_in_the_making(prefix: &str, spec: &Value) -> Result<Cluster> {
    installed().await?;
    let cluster = Cluster::with_namespace(prefix).await?;
    cluster.sell("shoes", spec).await?;
    services_are_deployed(&cluster).await?;
    Ok(cluster)
}

/// Waits until the one sale of a namespace has its services.
pub(crate) async fn services_are_deployed(cluster: &Cluster) -> Result<()> {
    eventually(SOON, "the services are deployed", async || {
        let deployments = cluster.api::<Deployment>();
        let made = deployments.list(&ListParams::default()).await?;
        Ok(made.items.len() == COMPONENTS.len())
    })
    .await
}

/// The names of all objects of a kind.
async fn names<K>(api: Api<K>) -> Result<BTreeSet<String>>
where
    K: kube::Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    let list = api.list(&ListParams::default()).await?;
    Ok(list.items.iter().map(ResourceExt::name_any).collect())
}

pub(crate) async fn condition(cluster: &Cluster, kind: &str) -> Result<Option<(String, String)>> {
    let status = cluster.sale("shoes").await?.status.unwrap_or_default();
    let found = status.conditions.into_iter().find(|c| c.type_ == kind);
    Ok(found.map(|c| (c.status, c.message)))
}

/// Names of the topics that Kafka has.
pub(crate) async fn topics(prefix: &str) -> Result<Vec<String>> {
    let client = Credentials::from_env()?.kafka.connect().await?;
    let all = kafka::topics(&client).await?;
    Ok(all.into_keys().filter(|name| name.starts_with(prefix)).collect())
}

#[tokio::test]
async fn a_sale_gets_all_it_needs() -> Result<()> {
    let mut spec = small_sale();
    spec["ingress"] = json!({"host": "shoes.example.com", "className": "traefik"});
    let cluster = sale_in_the_making("makes", &spec).await?;
    let deployments = cluster.api::<Deployment>();
    for component in COMPONENTS {
        let deployment = deployments.get(&format!("shoes-{component}")).await?;
        let pod = deployment
            .spec
            .context("no spec")?
            .template
            .spec
            .context("no pod")?;
        let container = &pod.containers[0];
        let security = container
            .security_context
            .as_ref()
            .context("no security context")?;
        ensure!(security.read_only_root_filesystem == Some(true), "{component}");
        ensure!(security.allow_privilege_escalation == Some(false), "{component}");
        ensure!(
            pod.security_context
                .is_some_and(|c| c.run_as_non_root == Some(true)),
            "{component}"
        );
        ensure!(pod.automount_service_account_token == Some(false), "{component}");
        ensure!(
            container.liveness_probe.is_some() && container.readiness_probe.is_some(),
            "{component}"
        );
        ensure!(
            container.resources.as_ref().is_some_and(|r| r.requests.is_some()),
            "{component}"
        );
    }
    let expected: BTreeSet<_> = ["auth", "gateway", "inventory", "notifier", "order"]
        .map(|component| format!("shoes-{component}"))
        .into();
    eventually(
        SOON,
        "the services, policies and the ingress are there",
        async || {
            Ok(names(cluster.api::<Service>()).await? == expected
                && names(cluster.api::<NetworkPolicy>()).await?.len() == COMPONENTS.len()
                && names(cluster.api::<Ingress>()).await? == BTreeSet::from(["shoes-ingress".to_owned()]))
        },
    )
    .await?;
    let maps = names(cluster.api::<ConfigMap>()).await?;
    ensure!(
        maps.contains("shoes-config") && maps.contains("shoes-control"),
        "{maps:?}"
    );
    let secrets = names(cluster.api::<Secret>()).await?;
    ensure!(secrets.contains("shoes-signing-keys"), "{secrets:?}");
    let prefix = format!("{}.shoes.", cluster.namespace);
    eventually(SOON, "the topics exist", async || {
        Ok(topics(&prefix).await?.len() == TOPICS)
    })
    .await?;
    eventually(
        SOON,
        "the conditions say what is there and what is not",
        async || {
            let is = async |kind, value: &str| {
                Ok::<_, anyhow::Error>(
                    condition(&cluster, kind)
                        .await?
                        .is_some_and(|(status, _)| status == value),
                )
            };
            Ok(is("BackendsReachable", "True").await?
                && is("TopicsReady", "True").await?
                && is("WorkloadsReady", "False").await?
                && is("Ready", "False").await?)
        },
    )
    .await?;
    eventually(SOON, "an event says so", async || {
        let events = cluster.api::<Event>().list(&ListParams::default()).await?;
        Ok(events
            .items
            .iter()
            .any(|event| event.reason.as_deref() == Some("Warming")))
    })
    .await
}

/// An event's sentence cannot change, so that another one is another event; and the same one again is one more of a series.
#[tokio::test]
async fn each_sentence_is_an_event_of_its_own() -> Result<()> {
    installed().await?;
    let cluster = Cluster::with_namespace("sentences").await?;
    // What looks like a network and is none is found by the operator alone.
    let spec = |range: &str| json!({"loadBalancer": {"sourceRanges": [range]}});
    let mut first = small_sale();
    first["loadBalancer"] = spec(":::::/1")["loadBalancer"].clone();
    cluster.sell("shoes", &first).await?;
    let told = async |range: &str| {
        let events = cluster.api::<Event>().list(&ListParams::default()).await?.items;
        let of_it = events
            .into_iter()
            .filter(|event| event.message.as_deref().is_some_and(|note| note.contains(range)));
        Ok::<_, anyhow::Error>(of_it.collect::<Vec<_>>())
    };
    for range in [":::::/1", "::::::/2"] {
        cluster.edit("shoes", &spec(range)).await?;
        eventually(SOON, &format!("an event names {range}"), async || {
            Ok(told(range).await?.len() == 1)
        })
        .await?;
    }
    cluster.edit("shoes", &spec(":::::/1")).await?;
    eventually(SOON, "the first event is one of a series", async || {
        let events = told(":::::/1").await?;
        Ok(events.len() == 1
            && events[0]
                .series
                .as_ref()
                .is_some_and(|series| series.count == Some(2)))
    })
    .await
}

#[tokio::test]
async fn what_is_deleted_or_edited_by_hand_comes_back() -> Result<()> {
    let cluster = sale_in_the_making("repairs", &small_sale()).await?;
    let (deployments, services, maps, secrets) = (
        cluster.api::<Deployment>(),
        cluster.api::<Service>(),
        cluster.api::<ConfigMap>(),
        cluster.api::<Secret>(),
    );
    eventually(SOON, "all is made", async || {
        Ok(services.get_opt("shoes-order").await?.is_some())
    })
    .await?;
    let background = DeleteParams::background();
    let gone = [
        deployments
            .delete("shoes-order", &background)
            .await?
            .left()
            .and_then(|o| o.metadata.uid),
        services
            .delete("shoes-order", &background)
            .await?
            .left()
            .and_then(|o| o.metadata.uid),
        maps.delete("shoes-control", &background)
            .await?
            .left()
            .and_then(|o| o.metadata.uid),
        secrets
            .delete("shoes-backends", &background)
            .await?
            .left()
            .and_then(|o| o.metadata.uid),
    ];
    let image =
        json!({"spec": {"template": {"spec": {"containers": [{"name": "auth", "image": "evil:1"}]}}}});
    deployments
        .patch("shoes-auth", &PatchParams::default(), &Patch::Strategic(&image))
        .await?;
    eventually(SOON, "the deleted ones are back", async || {
        let back = [
            deployments
                .get_opt("shoes-order")
                .await?
                .and_then(|o| o.metadata.uid),
            services
                .get_opt("shoes-order")
                .await?
                .and_then(|o| o.metadata.uid),
            maps.get_opt("shoes-control").await?.and_then(|o| o.metadata.uid),
            secrets
                .get_opt("shoes-backends")
                .await?
                .and_then(|o| o.metadata.uid),
        ];
        Ok(back
            .iter()
            .zip(&gone)
            .all(|(new, old)| new.is_some() && new != old))
    })
    .await?;
    eventually(SOON, "the edited one is as it was", async || {
        let auth = deployments.get("shoes-auth").await?;
        let pod = auth.spec.and_then(|spec| spec.template.spec).context("no pod")?;
        Ok(pod
            .containers
            .iter()
            .all(|c| c.image.as_deref() == Some("quicksale:test")))
    })
    .await
}

#[tokio::test]
async fn edits_of_the_sale_are_carried_out() -> Result<()> {
    let mut spec = small_sale();
    spec["ingress"] = json!({"host": "edits.example.com"});
    let cluster = sale_in_the_making("edits", &spec).await?;
    let control = async || -> Result<Value> {
        let map = cluster.api::<ConfigMap>().get("shoes-control").await?;
        let text = map
            .data
            .unwrap_or_default()
            .remove("control.json")
            .context("no control.json")?;
        Ok(serde_json::from_str(&text)?)
    };
    let orders_limit = |document: &Value| -> Result<u64> {
        let limits = document["rateLimits"].as_array().context("no rateLimits")?;
        let orders = limits.iter().find(|limit| limit["route"] == "/api/orders");
        orders
            .and_then(|l| l["limit"].as_u64())
            .context("no limit of orders")
    };
    let before = control().await?;
    ensure!(orders_limit(&before)? == 10, "{before}");
    let change = json!({
        "services": {"gateway": {"replicas": {"min": 3}}},
        "rateLimits": [{"route": "/api/orders", "limit": 77, "window": "30s"}],
        "ingress": null,
    });
    eventually(SOON, "the ingress is made", async || {
        Ok(!names(cluster.api::<Ingress>()).await?.is_empty())
    })
    .await?;
    cluster.edit("shoes", &change).await?;
    eventually(
        SOON,
        "replicas and limit are changed and the ingress is pruned",
        async || {
            let gateway = cluster.api::<Deployment>().get("shoes-gateway").await?;
            let now = control().await?;
            Ok(gateway.spec.and_then(|spec| spec.replicas) == Some(3)
                && orders_limit(&now)? == 77
                && now["version"].as_u64() > before["version"].as_u64()
                && names(cluster.api::<Ingress>()).await?.is_empty())
        },
    )
    .await?;
    Ok(())
}

/// The operator of these tests publishes a key for two seconds before it signs.
#[tokio::test]
async fn a_new_signing_key_is_published_first_and_starts_nothing_anew() -> Result<()> {
    let cluster = sale_in_the_making("keys", &small_sale()).await?;
    let secret = async || -> Result<BTreeMap<String, String>> {
        let data = cluster.api::<Secret>().get("shoes-signing-keys").await?.data;
        let text = |(key, value): (String, ByteString)| Some((key, String::from_utf8(value.0).ok()?));
        Ok(data.unwrap_or_default().into_iter().filter_map(text).collect())
    };
    let templates = async || -> Result<Vec<_>> {
        let all = cluster.api::<Deployment>().list(&ListParams::default()).await?;
        Ok(all
            .items
            .into_iter()
            .map(|d| (d.name_any(), d.spec.map(|spec| spec.template)))
            .collect())
    };
    let published = |data: &BTreeMap<String, String>| data["jwks.json"].matches("\"kid\"").count();
    let (before, deployed) = (secret().await?, templates().await?);
    assert_eq!(published(&before), 1);
    let asked = json!({"metadata": {"annotations": {"quicksale.io/rotate-signing-key": "a leak"}}});
    cluster
        .api::<crds::FlashSale>()
        .patch("shoes", &PatchParams::default(), &Patch::Merge(&asked))
        .await?;
    eventually(SOON, "the new key is published", async || {
        Ok(published(&secret().await?) == 2)
    })
    .await?;
    let seen = secret().await?;
    ensure!(
        seen["signing-key.pem"] == before["signing-key.pem"] || seen["rotation.json"].contains("previous"),
        "it signed before it was published"
    );
    eventually(SOON, "the new key signs", async || {
        Ok(secret().await?["signing-key.pem"] != before["signing-key.pem"])
    })
    .await?;
    let after = secret().await?;
    assert_eq!(published(&after), 2, "the last key stays published");
    ensure!(
        !after.contains_key("next-signing-key.pem"),
        "the next key is the current one now"
    );
    assert_eq!(templates().await?, deployed, "a pod would be started anew");
    Ok(())
}

#[tokio::test]
async fn a_deleted_sale_takes_what_it_made_with_it() -> Result<()> {
    for policy in ["Retain", "Delete"] {
        let mut spec = small_sale();
        spec["deletionPolicy"] = json!(policy);
        let cluster = sale_in_the_making("goes", &spec).await?;
        let prefix = format!("{}.shoes.", cluster.namespace);
        eventually(SOON, "the topics exist", async || {
            Ok(topics(&prefix).await?.len() == TOPICS)
        })
        .await?;
        let sale = cluster.sale("shoes").await?;
        ensure!(sale.finalizers().iter().any(|name| name == "quicksale.io/drain"));
        cluster
            .api::<crds::FlashSale>()
            .delete("shoes", &DeleteParams::default())
            .await?;
        eventually(SOON, "the sale is gone", async || {
            Ok(cluster.api::<crds::FlashSale>().get_opt("shoes").await?.is_none())
        })
        .await?;
        ensure!(names(cluster.api::<Deployment>()).await?.is_empty());
        ensure!(names(cluster.api::<Service>()).await?.is_empty());
        ensure!(
            names(cluster.api::<ConfigMap>())
                .await?
                .iter()
                .all(|name| !name.starts_with("shoes"))
        );
        ensure!(names(cluster.api::<Secret>()).await?.is_empty());
        let left = if policy == "Delete" { 0 } else { TOPICS };
        eventually(SOON, "the topics are as the policy says", async || {
            Ok(topics(&prefix).await?.len() == left)
        })
        .await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_missing_secret_is_named_and_stops_no_other_sale() -> Result<()> {
    let mut spec = small_sale();
    spec["backendsSecretRef"] = json!({"name": "not-there"});
    installed().await?;
    let cluster = Cluster::with_namespace("secretless").await?;
    cluster.sell("shoes", &spec).await?;
    eventually(SOON, "the condition says what to do", async || {
        Ok(condition(&cluster, "BackendsReachable")
            .await?
            .is_some_and(|(status, message)| {
                status == "False" && message.contains("create it, or name another in spec.backendsSecretRef")
            }))
    })
    .await?;
    sale_in_the_making("beside", &small_sale()).await.map(drop)
}

/// How long after the death of the leader another one leads.
const TAKE_OVER: Duration = Duration::from_secs(15);

/// Whether an operator says that it is ready, by the port of its metrics.
async fn is_ready(port: u16) -> Result<bool> {
    let answer = reqwest::get(format!("http://127.0.0.1:{port}/readyz")).await;
    Ok(answer.is_ok_and(|answer| answer.status() == 200))
}

#[tokio::test]
async fn a_standby_takes_over_when_the_leader_dies() -> Result<()> {
    installed().await?;
    let cluster = Cluster::with_namespace("leads").await?;
    let kubeconfig = std::env::var("KUBECONFIG").context("KUBECONFIG is not set")?;
    let start = |identity: &str, port: u16| {
        let mut command = operator_command(kubeconfig.as_ref(), identity, port);
        command
            .env("POD_NAMESPACE", &cluster.namespace)
            .env("QUICKSALE_WATCH_NAMESPACES", &cluster.namespace);
        anyhow::Ok(command.spawn()?)
    };
    let holder = async || {
        let lease = cluster.api::<Lease>().get_opt("quicksale-operator").await?;
        Ok::<_, anyhow::Error>(
            lease
                .and_then(|lease| lease.spec)
                .and_then(|spec| spec.holder_identity),
        )
    };
    let [first_port] = ports::free()?;
    let mut first = start("first", first_port)?;
    eventually(SOON, "the first leads", async || {
        Ok(holder().await?.as_deref() == Some("first"))
    })
    .await?;
    let [second_port] = ports::free()?;
    let mut second = start("second", second_port)?;
    eventually(SOON, "the second waits", async || is_ready(second_port).await).await?;
    first.kill()?;
    first.wait()?;
    let taken = eventually(TAKE_OVER, "the second leads", async || {
        Ok(holder().await?.as_deref() == Some("second"))
    })
    .await;
    second.kill()?;
    second.wait()?;
    taken
}

#[tokio::test]
async fn two_sales_never_share_topics() -> Result<()> {
    let cluster = sale_in_the_making("shares", &small_sale()).await?;
    let prefix = format!("{}.shoes.", cluster.namespace);
    eventually(SOON, "the topics exist", async || {
        Ok(topics(&prefix).await?.len() == TOPICS)
    })
    .await?;
    let mut spec = small_sale();
    spec["kafka"] = json!({"partitions": 2, "topicPrefix": prefix});
    spec["deletionPolicy"] = json!("Delete");
    cluster.sell("thief", &spec).await?;
    eventually(SOON, "the second is told whose topics they are", async || {
        let status = cluster.sale("thief").await?.status.unwrap_or_default();
        Ok(status.message.is_some_and(|m| {
            m.contains("spec.kafka.topicPrefix") && m.contains("shares") && m.contains("shoes")
        }))
    })
    .await?;
    let sales = cluster.api::<crds::FlashSale>();
    sales.delete("thief", &DeleteParams::default()).await?;
    eventually(SOON, "the second is gone", async || {
        Ok(sales.get_opt("thief").await?.is_none())
    })
    .await?;
    ensure!(
        topics(&prefix).await?.len() == TOPICS,
        "the topics of the first are gone"
    );
    Ok(())
}

#[tokio::test]
async fn an_object_of_somebody_else_is_left_alone() -> Result<()> {
    installed().await?;
    let cluster = Cluster::with_namespace("stranger").await?;
    let theirs = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "shoes-config"}, "data": {"theirs": "1"}});
    let maps = cluster.api::<ConfigMap>();
    maps.create(&PostParams::default(), &serde_json::from_value(theirs)?)
        .await?;
    cluster.sell("shoes", &small_sale()).await?;
    eventually(SOON, "the sale says whose name is taken", async || {
        Ok(condition(&cluster, "Degraded")
            .await?
            .is_some_and(|(status, message)| {
                status == "True" && message.contains("shoes-config is there already")
            }))
    })
    .await?;
    let data = maps.get("shoes-config").await?.data.unwrap_or_default();
    ensure!(data.len() == 1 && data.contains_key("theirs"), "{data:?}");
    Ok(())
}

/// An autoscaler rests at zero, and nobody else would bring the service back.
#[tokio::test]
async fn a_service_that_was_scaled_to_zero_comes_back() -> Result<()> {
    let mut spec = small_sale();
    spec["services"]["processor"] = json!({"replicas": {"min": 2, "max": 4}});
    let cluster = sale_in_the_making("zero", &spec).await?;
    let deployments = cluster.api::<Deployment>();
    let scale = async |replicas: i32| {
        let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
        // As `kubectl scale` does, and an autoscaler.
        let by = PatchParams {
            field_manager: Some("somebody".to_owned()),
            ..PatchParams::default()
        };
        deployments.patch_scale("shoes-processor", &by, &patch).await
    };
    let replicas = async || -> Result<Option<i32>> {
        Ok(deployments
            .get("shoes-processor")
            .await?
            .spec
            .and_then(|spec| spec.replicas))
    };
    scale(3).await?;
    scale(0).await?;
    eventually(SOON, "there are as many again as there should be", async || {
        Ok(replicas().await? == Some(2))
    })
    .await?;
    scale(4).await?;
    // What an autoscaler may do stays; another object that is put back shows that the operator has looked.
    let maps = cluster.api::<ConfigMap>();
    maps.delete("shoes-config", &DeleteParams::default()).await?;
    eventually(SOON, "the operator has looked", async || {
        Ok(maps.get_opt("shoes-config").await?.is_some())
    })
    .await?;
    ensure!(replicas().await? == Some(4), "an autoscaler's number was changed");
    Ok(())
}

#[tokio::test]
async fn amounts_are_understood_however_they_are_written() -> Result<()> {
    let mut spec = small_sale();
    spec["services"]["auth"] = json!({"resources": {"requests": {"cpu": "0.5", "memory": "1024Mi"}}});
    let cluster = sale_in_the_making("amounts", &spec).await?;
    let auth = cluster.api::<Deployment>().get("shoes-auth").await?;
    let pod = auth.spec.and_then(|spec| spec.template.spec).context("no pod")?;
    let resources = pod.containers[0].resources.clone().context("no resources")?;
    ensure!(resources.requests.unwrap_or_default()["memory"].0 == "1Gi");
    ensure!(resources.limits.unwrap_or_default()["memory"].0 == "1Gi");
    Ok(())
}

/// Which version a manifest says makes no difference: the API server shows the sale in either.
#[tokio::test]
async fn a_sale_of_the_newer_version_is_the_same_sale() -> Result<()> {
    installed().await?;
    let cluster = Cluster::with_namespace("versions").await?;
    let manifest = json!({
        "apiVersion": "quicksale.io/v1beta1", "kind": "FlashSale",
        "metadata": {"name": "shoes", "namespace": cluster.namespace}, "spec": small_sale(),
    });
    command("kubectl", &["apply", "--filename", "-"], &manifest.to_string()).await?;
    services_are_deployed(&cluster).await?;
    let shown = async |version: &str| -> Result<Value> {
        let arguments = [
            "--namespace",
            &cluster.namespace,
            "get",
            &format!("flashsales.{version}.quicksale.io/shoes"),
            "--output",
            "json",
        ];
        Ok(serde_json::from_str(&command("kubectl", &arguments, "").await?)?)
    };
    eventually(SOON, "its status is written", async || {
        Ok(shown("v1beta1").await?["status"]["phase"] == "Warming")
    })
    .await?;
    let (mut older, mut newer) = (shown("v1alpha1").await?, shown("v1beta1").await?);
    ensure!(older["apiVersion"] == "quicksale.io/v1alpha1" && newer["apiVersion"] == "quicksale.io/v1beta1");
    for sale in [&mut older, &mut newer] {
        sale["apiVersion"] = Value::Null;
        // It goes on, and its manager writes in a version of its own.
        (sale["status"], sale["metadata"]) = (Value::Null, Value::Null);
    }
    ensure!(older == newer, "{older} {newer}");
    cluster.edit("shoes", &json!({"halted": true})).await?;
    eventually(
        SOON,
        "an edit in the older version is seen in the newer",
        async || Ok(shown("v1beta1").await?["spec"]["halted"] == true),
    )
    .await?;
    cluster.leave().await
}

/// Somebody works on the sale's objects by hand; what counts for buyers goes on.
#[tokio::test]
async fn a_paused_sale_is_left_alone_and_steered_all_the_same() -> Result<()> {
    let cluster = sale_in_the_making("paused", &small_sale()).await?;
    let sales = cluster.api::<crds::FlashSale>();
    let pause = async |value: Value| {
        let change = json!({"metadata": {"annotations": {"quicksale.io/paused": value}}});
        sales
            .patch("shoes", &PatchParams::default(), &Patch::Merge(&change))
            .await
    };
    pause(json!("true")).await?;
    eventually(SOON, "it says that it is paused", async || {
        let found = condition(&cluster, "UpToDate").await?;
        Ok(found.is_some_and(|(status, message)| {
            status == "False" && message.contains("quicksale.io/paused=true")
        }))
    })
    .await?;
    let deployments = cluster.api::<Deployment>();
    deployments
        .delete("shoes-order", &DeleteParams::background())
        .await?;
    cluster
        .edit(
            "shoes",
            &json!({"halted": true, "services": {"auth": {"replicas": {"min": 2}}}}),
        )
        .await?;
    eventually(SOON, "the halt is written down", async || {
        Ok(statuses::control(&cluster).await?["halted"] == true)
    })
    .await?;
    let replicas = async || {
        Ok::<_, anyhow::Error>(
            deployments
                .get("shoes-auth")
                .await?
                .spec
                .and_then(|spec| spec.replicas),
        )
    };
    ensure!(deployments.get_opt("shoes-order").await?.is_none() && replicas().await? == Some(1));
    pause(Value::Null).await?;
    eventually(SOON, "all is put right", async || {
        Ok(deployments.get_opt("shoes-order").await?.is_some() && replicas().await? == Some(2))
    })
    .await?;
    cluster.leave().await
}

/// Days before the warm-up, and before anything is applied.
#[tokio::test]
async fn a_dry_run_says_whether_a_sale_would_open_here() -> Result<()> {
    let host = format!("{}.example.com", uuid::Uuid::new_v4().simple());
    let mut spec = small_sale();
    spec["ingress"] = json!({"host": host});
    let cluster = sale_in_the_making("dry", &spec).await?;
    let [port] = ports::free()?;
    let kubeconfig = std::env::var("KUBECONFIG").context("KUBECONFIG is not set")?;
    let check = |name: &str, namespace: &str, spec: &Value| -> Result<(Option<i32>, String)> {
        // As for `kubectl apply --namespace`.
        let manifest = json!({"apiVersion": "quicksale.io/v1beta1", "kind": "FlashSale",
            "metadata": {"name": name}, "spec": spec});
        let file = tempfile::NamedTempFile::new()?;
        std::fs::write(file.path(), manifest.to_string())?;
        let mut command = operator_command(kubeconfig.as_ref(), "check", port);
        let done = command
            .args(["check", "--namespace", namespace, "--filename"])
            .arg(file.path())
            .stdout(std::process::Stdio::piped())
            .output()?;
        Ok((done.status.code(), String::from_utf8(done.stdout)?))
    };
    let (code, said) = check("hats", &cluster.namespace, &small_sale())?;
    ensure!(
        code == Some(0) && said.contains("hats: it would open here"),
        "{code:?} {said}"
    );
    let mut wrong = spec.clone();
    wrong["backendsSecretRef"] = json!({"name": "nothing"});
    let (code, said) = check("hats", &cluster.namespace, &wrong)?;
    ensure!(
        code == Some(2)
            && said.contains("the Secret nothing with its backends is not in")
            && said.contains(&format!("the host {host} is taken by the sale shoes")),
        "{code:?} {said}"
    );
    let (code, said) = check("hats", "no-such-namespace", &small_sale())?;
    ensure!(
        code == Some(2) && said.contains("there is no namespace no-such-namespace"),
        "{code:?} {said}"
    );
    let mut invalid = small_sale();
    invalid["products"][0]["price"] = json!("cheap");
    let (code, said) = check("hats", &cluster.namespace, &invalid)?;
    ensure!(
        code == Some(2)
            && said.contains("spec.products[0].price: spec.products[].price must be a decimal string"),
        "{code:?} {said}"
    );
    let sales = cluster.api::<crds::FlashSale>();
    ensure!(
        sales.get_opt("hats").await?.is_none(),
        "a dry run has made a sale"
    );
    cluster.leave().await
}
