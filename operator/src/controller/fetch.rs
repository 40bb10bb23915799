//! Reads what the API server knows about a sale: the only reads of a reconciliation.

use super::build::{
    ADMIN, ADMIN_EMAIL_FILE, ADMIN_HASH_FILE, BACKENDS, BACKENDS_HASH, COMPONENT_LABEL, FAREWELL, Image,
    Kind, MANAGER, PodShape, SECRETS, SIGNING_KEYS, config_map, control_map, object_name, port,
    sale_selector,
};
use super::context::Context;
use crate::{
    administrator::Administrator,
    deadline::{ApiError, within},
    phase::Doors,
    settings::Settings,
    signing_keys::KeyRing,
};
use crds::{Component, FlashSale, Readable};
use futures::{StreamExt, TryStreamExt, future::try_join_all, stream};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::{
    apps::v1::ReplicaSet,
    core::v1::{ContainerStateWaiting, Namespace, Pod, PodCondition, Secret},
};
use kube::{
    Api, Client, ResourceExt,
    api::ListParams,
    core::{DynamicObject, PartialObjectMeta},
};
use platform::{backends::PLAINTEXT_PASSWORDS, config::Config};
use sale::control::ControlDocument;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
};

/// The label of a namespace whose sales may use the platform's own backends.
pub const SHARED_LABEL: &str = "quicksale.io/backends";
/// The value of that label.
const SHARED: &str = "shared";

/// What a Secret holds.
pub type SecretData = BTreeMap<String, Vec<u8>>;

/// What the API server knows.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    /// Every object that the operator made for this sale (and not for one of the same name before it).
    pub children: Vec<(Kind, DynamicObject)>,
    /// The sale's pods.
    pub pods: Vec<ObservedPod>,
    /// The backends Secret that the sale uses.
    pub backends: Option<SecretData>,
    /// Why the platform's backends are not for this sale, if it asks for them and may not have them.
    pub backends_refused: Option<String>,
    /// The platform's administrator.
    pub administrator: Option<Administrator>,
}

/// A pod of the sale.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedPod {
    /// Its name.
    pub name: String,
    /// What it runs.
    pub component: String,
    /// Where it is, once it runs.
    pub address: Option<IpAddr>,
    /// Whether it takes requests.
    pub ready: bool,
    /// Whether its process runs, also on its way out.
    pub alive: bool,
    /// Why its container does not run, if its node has said so.
    pub waits: Option<String>,
    /// Whether it is ours.
    pub ownership: Ownership,
}

/// Whether a pod belongs to a Deployment of the sale. Labels prove nothing: everybody may write them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ownership {
    /// It is controlled by a ReplicaSet of a Deployment that the operator made for this sale.
    Proven,
    /// It is controlled by a ReplicaSet that is gone, or whose Deployment is, as after a Deployment was deleted. It may
    /// still finish what it has begun, so it is waited for; it is told nothing.
    Orphaned,
}

/// What controls an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Controller {
    uid: String,
    name: String,
}

/// Whose a ReplicaSet is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum ReplicaSetOf {
    /// With the sale's labels, and of this Deployment.
    Deployment(Controller),
    /// With the sale's labels, and of nobody. A Deployment of ours that is there takes it on within moments, whoever
    /// has made it.
    Nobody {
        /// Its name.
        name: String,
    },
    /// Without the sale's labels, which those that our Deployments make have.
    Unlabelled(Option<Controller>),
    /// It is gone.
    Gone,
}

/// The ReplicaSets of a sale's pods, by uid.
type ReplicaSets = BTreeMap<String, ReplicaSetOf>;

/// Reads it.
///
/// # Errors
/// [`ApiError`]: a part that could not be read is not the same as a part that is not there.
pub async fn fetch(context: &Context, sale: &FlashSale, now: Timestamp) -> Result<Observed, ApiError> {
    let (client, settings) = (&context.client, &context.settings);
    let namespace = sale.namespace().unwrap_or_default();
    let own = sale.spec.backends_secret_ref.as_ref();
    let name = sale.name_any();
    let (children, (pods, replica_sets), backends, admin) = tokio::try_join!(
        children(client, sale),
        pods_and_replica_sets(client, &namespace, &name, now),
        backends(
            client,
            settings,
            &namespace,
            own.map(|reference| reference.name.as_str())
        ),
        secret(client, &settings.namespace, &settings.admin_secret),
    )?;
    let pods = owned(&name, pods, &replica_sets, &children);
    let mut observed = Observed {
        children,
        pods,
        backends: backends.as_ref().ok().cloned().flatten(),
        backends_refused: backends.err(),
        administrator: None,
    };
    // A Secret that went away must neither take its copies with it nor restart anything.
    if sale.spec.backends_secret_ref.is_none() {
        observed.backends = observed
            .backends
            .take()
            .or_else(|| observed.copied(&name, BACKENDS));
    }
    // Only where the platform's backends may be used; and a Secret that is gone or broken changes nothing for sales that
    // know the administrator: somebody may be half-way through an edit.
    let known = observed.known_administrator(&name);
    let shared = observed.backends_refused.is_none();
    observed.administrator = match admin.filter(|_| shared) {
        Some(secret) => context.administrator(&secret).await.or(known),
        None => known,
    };
    Ok(observed)
}

/// Reads the FlashSale itself: the one in the watch's cache may be older than the last status that we wrote.
///
/// # Errors
/// [`ApiError`].
pub async fn newest(client: &Client, sale: &impl ResourceExt) -> Result<Option<Readable>, ApiError> {
    let api: Api<Readable> = Api::namespaced(client.clone(), &sale.namespace().unwrap_or_default());
    within(api.get_opt(&sale.name_any())).await
}

/// Whether the namespace of a sale is being deleted.
///
/// # Errors
/// [`ApiError`].
pub async fn namespace_goes(client: &Client, sale: &impl ResourceExt) -> Result<bool, ApiError> {
    let api: Api<Namespace> = Api::all(client.clone());
    let found = within(api.get_metadata_opt(&sale.namespace().unwrap_or_default())).await?;
    Ok(found.is_none_or(|found| found.metadata.deletion_timestamp.is_some()))
}

/// Reads the objects that the operator made for a sale, and not for one of the same name before it.
///
/// # Errors
/// [`ApiError`].
pub async fn children(
    client: &Client,
    sale: &impl ResourceExt,
) -> Result<Vec<(Kind, DynamicObject)>, ApiError> {
    let namespace = sale.namespace().unwrap_or_default();
    let selected = ListParams::default().labels(&sale_selector(&sale.name_any()));
    let uid = sale.uid().unwrap_or_default();
    let lists = stream::iter(Kind::ALL).map(|kind| {
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &namespace, &kind.api_resource());
        let selected = &selected;
        let name = sale.name_any();
        async move {
            let items = match kind {
                Kind::Secret => named(&api, &name, &SECRETS).await?,
                _ => within(api.list(selected)).await?.items,
            };
            Ok::<_, ApiError>((kind, items))
        }
    });
    let lists: Vec<_> = lists.buffer_unordered(Kind::ALL.len()).try_collect().await?;
    let objects = lists
        .into_iter()
        .flat_map(|(kind, items)| items.into_iter().map(move |item| (kind, item)));
    Ok(objects
        .filter(|(_, object)| object.owner_references().iter().any(|owner| owner.uid == uid))
        .collect())
}

/// Reads Secrets by name: the right to list those of a sale would be the right to list everybody's.
async fn named(
    api: &Api<DynamicObject>,
    sale: &str,
    suffixes: &[&str],
) -> Result<Vec<DynamicObject>, ApiError> {
    let names: Vec<_> = suffixes.iter().map(|suffix| object_name(sale, suffix)).collect();
    let found = try_join_all(names.iter().map(|name| within(api.get_opt(name)))).await?;
    // Whose they are their owner says, whatever became of their labels.
    Ok(found.into_iter().flatten().collect())
}

/// The most ReplicaSets that are looked up by name in one look. The pods of those beyond belong to nobody: so many that carry no
/// labels are not the work of a Deployment of ours.
const UNKNOWN_SETS: usize = 20;

/// The pods that carry the sale's labels, and what controls them.
async fn pods_and_replica_sets(
    client: &Client,
    namespace: &str,
    sale: &str,
    now: Timestamp,
) -> Result<(Vec<(Option<Controller>, ObservedPod)>, ReplicaSets), ApiError> {
    let (pods, mut sets) = tokio::try_join!(
        pods(client, namespace, sale, now),
        replica_sets(client, namespace, sale)
    )?;
    // Not among those with labels: it is gone, or it never had them.
    let unknown: BTreeSet<&Controller> = pods
        .iter()
        .filter_map(|(set, _)| set.as_ref())
        .filter(|set| !sets.contains_key(&set.uid))
        .collect();
    let api: Api<ReplicaSet> = Api::namespaced(client.clone(), namespace);
    let found = unknown.into_iter().enumerate().map(|(n, set)| {
        let api = &api;
        async move {
            let found = match n < UNKNOWN_SETS {
                true => within(api.get_metadata_opt(&set.name)).await?,
                false => None,
            };
            let same = found.filter(|found| found.uid().as_deref() == Some(&*set.uid));
            let known = match same {
                Some(found) => ReplicaSetOf::Unlabelled(controller(&found, "Deployment")),
                None if n < UNKNOWN_SETS => ReplicaSetOf::Gone,
                None => ReplicaSetOf::Unlabelled(None),
            };
            Ok::<_, ApiError>((set.uid.clone(), known))
        }
    });
    let found = try_join_all(found).await?;
    sets.extend(found);
    Ok((pods, sets))
}

/// The pods that carry the sale's labels, each with the ReplicaSet that controls it.
async fn pods(
    client: &Client,
    namespace: &str,
    sale: &str,
    now: Timestamp,
) -> Result<Vec<(Option<Controller>, ObservedPod)>, ApiError> {
    let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let list = within(api.list(&ListParams::default().labels(&sale_selector(sale)))).await?;
    let controlled = |pod: &Pod| (controller(pod, "ReplicaSet"), observed_pod(pod, now));
    Ok(list.items.iter().map(controlled).collect())
}

/// The ReplicaSets that carry the sale's labels.
async fn replica_sets(client: &Client, namespace: &str, sale: &str) -> Result<ReplicaSets, ApiError> {
    let api: Api<ReplicaSet> = Api::namespaced(client.clone(), namespace);
    let list = within(api.list_metadata(&ListParams::default().labels(&sale_selector(sale)))).await?;
    let controlled = |set: &PartialObjectMeta<ReplicaSet>| {
        let of = match controller(set, "Deployment") {
            Some(deployment) => ReplicaSetOf::Deployment(deployment),
            None => ReplicaSetOf::Nobody { name: set.name_any() },
        };
        Some((set.uid()?, of))
    };
    Ok(list.items.iter().filter_map(controlled).collect())
}

/// An object's controller of this kind.
fn controller(object: &impl ResourceExt, kind: &str) -> Option<Controller> {
    object
        .owner_references()
        .iter()
        .find(|owner| owner.controller == Some(true) && owner.kind == kind && owner.api_version == "apps/v1")
        .map(|owner| Controller {
            uid: owner.uid.clone(),
            name: owner.name.clone(),
        })
}

/// Keeps the pods that are or may have been the sale's, and says of each which. A ReplicaSet without labels that no
/// Deployment of ours controls, or one of a Deployment of a name that the operator gives to none of the sale's, is a
/// stranger's: nothing waits for its pods.
fn owned(
    sale: &str,
    pods: Vec<(Option<Controller>, ObservedPod)>,
    replica_sets: &ReplicaSets,
    children: &[(Kind, DynamicObject)],
) -> Vec<ObservedPod> {
    let is_ours = |deployment: &Controller| {
        children.iter().any(|(kind, object)| {
            *kind == Kind::Deployment && object.uid().as_deref() == Some(&*deployment.uid)
        })
    };
    let was_ours = |deployment: &Controller| {
        Component::ALL
            .iter()
            .any(|component| deployment.name == object_name(sale, component.as_str()))
    };
    // As after the deletion of a Deployment with --cascade=orphan: its pods go on.
    let is_named_like_ours = |name: &str| {
        Component::ALL.iter().any(|component| {
            let rest = name.strip_prefix(&object_name(sale, component.as_str()));
            rest.is_some_and(|rest| rest.starts_with('-'))
        })
    };
    let ownership = |set: &Controller| match replica_sets.get(&set.uid)? {
        ReplicaSetOf::Deployment(deployment) | ReplicaSetOf::Unlabelled(Some(deployment))
            if is_ours(deployment) =>
        {
            Some(Ownership::Proven)
        }
        ReplicaSetOf::Deployment(deployment) => was_ours(deployment).then_some(Ownership::Orphaned),
        ReplicaSetOf::Nobody { name } => is_named_like_ours(name).then_some(Ownership::Orphaned),
        ReplicaSetOf::Unlabelled(_) => None,
        // The API server deletes a pod whose ReplicaSet is gone, so this lasts no longer than its farewell.
        ReplicaSetOf::Gone => Some(Ownership::Orphaned),
    };
    pods.into_iter()
        .filter_map(|(replica_set, pod)| {
            let ownership = ownership(&replica_set?)?;
            Some(ObservedPod { ownership, ..pod })
        })
        .collect()
}

fn observed_pod(pod: &Pod, now: Timestamp) -> ObservedPod {
    let status = pod.status.clone().unwrap_or_default();
    let runs = status.phase.as_deref() == Some("Running") && !has_bidden_farewell(pod, now);
    let containers = status.container_statuses.unwrap_or_default();
    let mut states = containers.iter().filter_map(|container| container.state.as_ref());
    let alive = states.clone().any(|state| state.running.is_some());
    let conditions = status.conditions.unwrap_or_default();
    let waits = states
        .find_map(|state| said(state.waiting.as_ref()?))
        .or_else(|| no_node(&conditions));
    let ready = conditions
        .iter()
        .any(|c| c.type_ == "Ready" && c.status == "True");
    ObservedPod {
        name: pod.name_any(),
        component: pod.labels().get(COMPONENT_LABEL).cloned().unwrap_or_default(),
        address: status.pod_ip.and_then(|ip| ip.parse().ok()).filter(|_| runs),
        ready: ready && runs,
        alive,
        waits,
        ownership: Ownership::Orphaned,
    }
}

/// What the scheduler says of a pod that no node has room for.
fn no_node(conditions: &[PodCondition]) -> Option<String> {
    let scheduled = conditions
        .iter()
        .find(|c| c.type_ == "PodScheduled" && c.status == "False")?;
    let reason = scheduled.reason.as_deref().unwrap_or("Unschedulable");
    Some(match &scheduled.message {
        Some(message) => format!("{reason}: {message}"),
        None => reason.to_owned(),
    })
}

/// What a node says of a container that does not run; a short wait at every start is nothing to tell of.
fn said(waiting: &ContainerStateWaiting) -> Option<String> {
    let reason = waiting.reason.clone()?;
    if ["ContainerCreating", "PodInitializing"].contains(&&*reason) {
        return None;
    }
    Some(match &waiting.message {
        Some(message) => format!("{reason}: {message}"),
        None => reason,
    })
}

/// Whether a pod that was told to go has been told long enough ago to take no more requests.
fn has_bidden_farewell(pod: &Pod, now: Timestamp) -> bool {
    let grace = SignedDuration::from_secs(pod.metadata.deletion_grace_period_seconds.unwrap_or(0));
    pod.metadata
        .deletion_timestamp
        .as_ref()
        // The timestamp is when the grace is over.
        .is_some_and(|killed_at| now.duration_since(killed_at.0) + grace >= FAREWELL)
}

/// The Secret that leads to the backends of a sale, or why the platform's is not for it.
async fn backends(
    client: &Client,
    settings: &Settings,
    namespace: &str,
    own: Option<&str>,
) -> Result<Result<Option<SecretData>, String>, ApiError> {
    if let Some(own) = own {
        return secret(client, namespace, own).await.map(Ok);
    }
    if !may_share(client, settings, namespace).await? {
        return Ok(Err(format!(
            "the platform's backends are not for the namespace {namespace}: name a Secret of your own in \
             spec.backendsSecretRef, or ask the platform to label the namespace {SHARED_LABEL}={SHARED}"
        )));
    }
    secret(
        client,
        &settings.backends_secret_namespace,
        &settings.backends_secret,
    )
    .await
    .map(Ok)
}

/// Whether the platform lets a namespace use its own backends. Only who may write Namespaces can label one, and whoever
/// may edit what is in it cannot.
async fn may_share(client: &Client, settings: &Settings, namespace: &str) -> Result<bool, ApiError> {
    if settings
        .shared_with
        .iter()
        .any(|name| name == namespace || name == "*")
    {
        return Ok(true);
    }
    let api: Api<Namespace> = Api::all(client.clone());
    let found = within(api.get_metadata_opt(namespace)).await?;
    Ok(found.is_some_and(|found| {
        found
            .labels()
            .get(SHARED_LABEL)
            .is_some_and(|value| value == SHARED)
    }))
}

async fn secret(client: &Client, namespace: &str, name: &str) -> Result<Option<SecretData>, ApiError> {
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let found = within(api.get_opt(name)).await?;
    Ok(found.map(|secret| {
        secret
            .data
            .unwrap_or_default()
            .into_iter()
            .map(|(k, v)| (k, v.0))
            .collect()
    }))
}

impl Observed {
    /// An object by kind and name.
    pub fn child(&self, kind: Kind, name: &str) -> Option<&DynamicObject> {
        self.children
            .iter()
            .find(|(k, object)| *k == kind && object.name_any() == name)
            .map(|(_, object)| object)
    }

    /// Where a replica of a component that takes requests is reached.
    pub fn replica(&self, component: Component) -> Option<SocketAddr> {
        let port = port(component)?;
        let ready = |pod: &&ObservedPod| {
            pod.ready && pod.ownership == Ownership::Proven && pod.component == component.as_str()
        };
        let address = self.pods.iter().find(ready)?.address?;
        Some(SocketAddr::new(address, port))
    }

    /// The services that have a replica that takes requests.
    pub fn serving(&self) -> BTreeSet<Component> {
        let ready = |component: &Component| {
            let mut pods = self.pods.iter();
            pods.any(|pod| {
                pod.ready && pod.ownership == Ownership::Proven && pod.component == component.as_str()
            })
        };
        Component::ALL.into_iter().filter(ready).collect()
    }

    /// What the doors of a sale were told, and whether there are any.
    pub fn doors(&self, sale: &str) -> Doors {
        let document = self.control(sale);
        let has_run = |component| self.has_run(sale, component);
        Doors {
            told: document.as_ref().and_then(|document| document.opens_at),
            closed: document.is_some_and(|document| document.closed),
            exist: has_run(Component::Gateway) && has_run(Component::Order),
        }
    }

    /// Whether a service runs, or may have run before. A Deployment says of itself that it was complete once; of one that is
    /// gone nobody knows.
    fn has_run(&self, sale: &str, component: Component) -> bool {
        let runs = self
            .pods
            .iter()
            .any(|pod| pod.alive && pod.component == component.as_str());
        let ran = |deployment: &DynamicObject| {
            let status = &deployment.data["status"];
            let mut conditions = status["conditions"].as_array().into_iter().flatten();
            let available = status["availableReplicas"].as_i64().unwrap_or(0) > 0;
            available
                || conditions.any(|c| c["type"] == "Progressing" && c["reason"] == "NewReplicaSetAvailable")
        };
        runs || self.deployment(sale, component).is_none_or(ran)
    }

    fn deployment(&self, sale: &str, component: Component) -> Option<&DynamicObject> {
        self.child(Kind::Deployment, &object_name(sale, component.as_str()))
    }

    fn config_map_value<T: serde::de::DeserializeOwned>(&self, name: &str, key: &str) -> Option<T> {
        let text = self.child(Kind::ConfigMap, name)?.data["data"][key].as_str()?;
        serde_json::from_str(text).ok()
    }

    /// The control document that was applied last.
    pub fn control(&self, sale: &str) -> Option<ControlDocument> {
        self.config_map_value(&control_map(sale), "control.json")
    }

    /// The configuration that was applied last.
    pub fn config(&self, sale: &str) -> Option<Config> {
        self.config_map_value(&config_map(sale), "config.json")
    }

    /// The data of a Secret that was made for the sale.
    fn copied(&self, sale: &str, suffix: &str) -> Option<SecretData> {
        let secret = self.child(Kind::Secret, &object_name(sale, suffix))?;
        let data: BTreeMap<String, k8s_openapi::ByteString> =
            serde_json::from_value(secret.data["data"].clone()).ok()?;
        Some(data.into_iter().map(|(key, value)| (key, value.0)).collect())
    }

    /// The administrator that the sale has been told of.
    fn known_administrator(&self, sale: &str) -> Option<Administrator> {
        let data = self.copied(sale, ADMIN)?;
        let text = |key: &str| String::from_utf8(data.get(key)?.clone()).ok();
        Some(Administrator {
            email: text(ADMIN_EMAIL_FILE)?,
            password_hash: text(ADMIN_HASH_FILE)?,
        })
    }

    /// The keys of the backends Secret that the pods read.
    pub fn backends_keys(&self, sale: &str) -> BTreeSet<String> {
        if let Some(data) = &self.backends {
            return data.keys().cloned().collect();
        }
        // A Secret that is gone for a moment restarts nothing.
        let keys = |component| {
            let deployment = self.deployment(sale, component)?;
            let container = &deployment.data["spec"]["template"]["spec"]["containers"][0];
            let volumes = deployment.data["spec"]["template"]["spec"]["volumes"].as_array();
            let mounted = volumes
                .into_iter()
                .flatten()
                .filter(|volume| volume["name"] == "backends")
                .filter_map(|volume| volume["secret"]["items"].as_array())
                .flatten()
                .map(|item| &item["key"]);
            let variables = container["env"].as_array()?.iter();
            let keys = variables.map(|variable| &variable["valueFrom"]["secretKeyRef"]["key"]);
            let keys = keys
                .chain(mounted)
                .filter_map(|key| key.as_str().map(str::to_owned));
            Some(keys.collect::<Vec<_>>())
        };
        Component::ALL.into_iter().filter_map(keys).flatten().collect()
    }

    /// The sale's keys, if they were made and are whole.
    pub fn keys(&self, sale: &str, now: Timestamp) -> Option<KeyRing> {
        KeyRing::read(&self.copied(sale, SIGNING_KEYS)?, now)
    }

    /// The image that each component runs.
    pub fn images(&self, sale: &str) -> BTreeMap<Component, Image> {
        let image = |component| {
            let deployment = self.deployment(sale, component)?;
            let container = &deployment.data["spec"]["template"]["spec"]["containers"][0];
            let text = |field: &str| container[field].as_str().map(str::to_owned);
            Some(Image {
                name: text("image")?,
                pull_policy: text("imagePullPolicy")?,
            })
        };
        Component::ALL
            .into_iter()
            .filter_map(|c| image(c).map(|image| (c, image)))
            .collect()
    }

    /// What the pods of each component that is there were made like: the limit of local storage tells.
    pub fn pod_shapes(&self, sale: &str) -> BTreeMap<Component, PodShape> {
        let shape = |component| {
            let deployment = self.deployment(sale, component)?;
            let container = &deployment.data["spec"]["template"]["spec"]["containers"][0];
            Some(
                match container["resources"]["limits"]["ephemeral-storage"].is_null() {
                    true => PodShape::First,
                    false => PodShape::Bounded,
                },
            )
        };
        let all = Component::ALL.into_iter();
        all.filter_map(|c| Some((c, shape(c)?))).collect()
    }

    /// The components whose pods have been told that passwords may go in plain text.
    pub fn plaintext_senders(&self, sale: &str) -> BTreeSet<Component> {
        let told = |component: &Component| {
            let container = self
                .deployment(sale, *component)
                .map(|deployment| &deployment.data["spec"]["template"]["spec"]["containers"][0]);
            let variables = container.and_then(|container| container["env"].as_array());
            variables
                .into_iter()
                .flatten()
                .any(|variable| variable["name"] == PLAINTEXT_PASSWORDS)
        };
        Component::ALL.into_iter().filter(told).collect()
    }

    /// The hash of the backends Secret that the pods were started with.
    pub fn backends_hash(&self, sale: &str) -> Option<String> {
        let hash = |component| {
            let deployment = self.deployment(sale, component)?;
            deployment.data["spec"]["template"]["metadata"]["annotations"][BACKENDS_HASH]
                .as_str()
                .map(str::to_owned)
        };
        Component::ALL.into_iter().find_map(hash)
    }

    /// The replicas that each Deployment asks for.
    pub fn replicas(&self, sale: &str) -> BTreeMap<Component, i32> {
        let replicas = |component| {
            let replicas = self.deployment(sale, component)?.data["spec"]["replicas"].as_i64()?;
            i32::try_from(replicas).ok()
        };
        Component::ALL
            .into_iter()
            .filter_map(|c| replicas(c).map(|n| (c, n)))
            .collect()
    }

    /// The components whose replicas somebody else has written.
    pub fn scaled_by_others(&self, sale: &str) -> BTreeSet<Component> {
        let by_others = |component: &Component| {
            self.deployment(sale, *component).is_some_and(|deployment| {
                deployment.managed_fields().iter().any(|entry| {
                    let fields = entry.fields_v1.as_ref().map(|fields| &fields.0["f:spec"]);
                    entry.manager.as_deref() != Some(MANAGER)
                        && fields.is_some_and(|spec| spec.get("f:replicas").is_some())
                })
            })
        };
        Component::ALL.into_iter().filter(by_others).collect()
    }

    /// Why components are not rolled out, as far as the cluster has said so: pods that may not be made, or do not start.
    pub fn hindered(&self, sale: &str) -> BTreeMap<Component, String> {
        let refused = |component| {
            let deployment = self.deployment(sale, component)?;
            let mut conditions = deployment.data["status"]["conditions"].as_array()?.iter();
            let failure = conditions.find(|c| c["type"] == "ReplicaFailure" && c["status"] == "True")?;
            failure["message"].as_str().map(str::to_owned)
        };
        let waits = |component: Component| {
            let mut pods = self.pods.iter();
            pods.find(|pod| {
                pod.ownership == Ownership::Proven
                    && pod.component == component.as_str()
                    && pod.waits.is_some()
            })?
            .waits
            .clone()
        };
        Component::ALL
            .into_iter()
            .filter_map(|c| Some((c, refused(c).or_else(|| waits(c))?)))
            .collect()
    }

    /// The components that are rolled out: the newest template runs in all replicas, and they are available.
    pub fn rolled_out(&self, sale: &str) -> BTreeSet<Component> {
        let done = |component: &Component| self.deployment(sale, *component).is_some_and(is_rolled_out);
        Component::ALL.into_iter().filter(done).collect()
    }
}

fn is_rolled_out(deployment: &DynamicObject) -> bool {
    let status = |field: &str| deployment.data["status"][field].as_i64().unwrap_or(0);
    let wanted = deployment.data["spec"]["replicas"].as_i64().unwrap_or(1);
    status("observedGeneration") >= deployment.metadata.generation.unwrap_or(0)
        && status("updatedReplicas") >= wanted
        && status("availableReplicas") >= wanted
        && status("replicas") == status("updatedReplicas")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_keeps_pods_from_running_is_known() {
        let deployment = |component: &str, condition: serde_json::Value| {
            let json = json!({"apiVersion": "apps/v1", "kind": "Deployment",
                "metadata": {"name": format!("shoes-{component}")}, "status": {"conditions": [condition]}});
            (
                Kind::Deployment,
                serde_json::from_value::<DynamicObject>(json).unwrap(),
            )
        };
        let pod = |component: &str, waiting: serde_json::Value| {
            let json = json!({"metadata": {"name": "p", "labels": {COMPONENT_LABEL: component}},
                "status": {"containerStatuses": [{"name": "c", "image": "", "imageID": "", "ready": false,
                    "restartCount": 0, "state": {"waiting": waiting}}]}});
            ObservedPod {
                ownership: Ownership::Proven,
                ..observed_pod(&serde_json::from_value(json).unwrap(), Timestamp::UNIX_EPOCH)
            }
        };
        let unscheduled = |component: &str| {
            let json = json!({"metadata": {"name": "p", "labels": {COMPONENT_LABEL: component}},
                "status": {"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
                    "message": "0/1 nodes are available"}]}});
            let pod = serde_json::from_value(json).unwrap();
            observed_pod(&pod, Timestamp::UNIX_EPOCH)
        };
        let observed = Observed {
            children: vec![
                deployment(
                    "order",
                    json!({"type": "ReplicaFailure", "status": "True", "message": "exceeded quota: q"}),
                ),
                deployment(
                    "auth",
                    json!({"type": "ReplicaFailure", "status": "False", "message": "that is over"}),
                ),
            ],
            pods: vec![
                pod(
                    "gateway",
                    json!({"reason": "ImagePullBackOff", "message": "no such image"}),
                ),
                pod("notifier", json!({"reason": "ContainerCreating"})),
                ObservedPod {
                    ownership: Ownership::Proven,
                    ..unscheduled("inventory")
                },
                // Of somebody else: whose sentence it is would go into the status.
                unscheduled("processor"),
            ],
            ..Observed::default()
        };
        let expected = BTreeMap::from([
            (Component::Gateway, "ImagePullBackOff: no such image".to_owned()),
            (Component::Order, "exceeded quota: q".to_owned()),
            (
                Component::Inventory,
                "Unschedulable: 0/1 nodes are available".to_owned(),
            ),
        ]);
        assert_eq!(observed.hindered("shoes"), expected);
    }

    #[test]
    fn labels_make_no_pod_ours() {
        let deployment = |uid: &str| {
            let json = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "shoes-gateway", "uid": uid}});
            (
                Kind::Deployment,
                serde_json::from_value::<DynamicObject>(json).unwrap(),
            )
        };
        let pod = |name: &str, owner: serde_json::Value| -> (Option<Controller>, ObservedPod) {
            let pod: Pod =
                serde_json::from_value(json!({"metadata": {"name": name, "ownerReferences": owner}}))
                    .unwrap();
            (
                controller(&pod, "ReplicaSet"),
                observed_pod(&pod, Timestamp::UNIX_EPOCH),
            )
        };
        let by = |kind: &str, uid: &str, controller: bool| json!([{"apiVersion": "apps/v1", "kind": kind, "name": "x", "uid": uid, "controller": controller}]);
        let by_deployment = |uid: &str, name: &str| Controller {
            uid: uid.to_owned(),
            name: name.to_owned(),
        };
        use ReplicaSetOf as Of;
        let nobodys = |name: &str| Of::Nobody {
            name: name.to_owned(),
        };
        let replica_sets = [
            (
                "ours",
                Of::Deployment(by_deployment("deployment", "shoes-gateway")),
            ),
            (
                "before",
                Of::Deployment(by_deployment("deleted", "shoes-gateway")),
            ),
            ("theirs", Of::Deployment(by_deployment("another", "shoes-window"))),
            ("by-hand", nobodys("window-1")),
            ("left", nobodys("shoes-order-5d4f")),
            (
                "stripped",
                Of::Unlabelled(Some(by_deployment("deployment", "shoes-gateway"))),
            ),
            ("hidden", Of::Unlabelled(None)),
            (
                "hidden-of-before",
                Of::Unlabelled(Some(by_deployment("another", "shoes-gateway"))),
            ),
            ("gone", Of::Gone),
        ]
        .map(|(uid, of)| (uid.to_owned(), of))
        .into();
        let pods = vec![
            pod("ours", by("ReplicaSet", "ours", true)),
            pod("of-a-stranger", by("ReplicaSet", "theirs", true)),
            pod("of-a-replica-set-by-hand", by("ReplicaSet", "by-hand", true)),
            pod("of-a-deployment-before", by("ReplicaSet", "before", true)),
            pod("of-nobody-any-more", by("ReplicaSet", "gone", true)),
            pod("left-behind", by("ReplicaSet", "left", true)),
            pod("of-ours-without-labels", by("ReplicaSet", "stripped", true)),
            pod("hidden-1", by("ReplicaSet", "hidden", true)),
            pod("hidden-2", by("ReplicaSet", "hidden-of-before", true)),
            pod("by-hand", json!([])),
            pod("of-a-job", by("Job", "ours", true)),
            pod("not-controlled", by("ReplicaSet", "ours", false)),
        ];
        let owned = owned("shoes", pods, &replica_sets, &[deployment("deployment")]);
        let of = |wanted| -> Vec<_> {
            let pods = owned.iter().filter(|pod| pod.ownership == wanted);
            pods.map(|pod| pod.name.as_str()).collect()
        };
        assert_eq!(of(Ownership::Proven), ["ours", "of-ours-without-labels"]);
        assert_eq!(
            of(Ownership::Orphaned),
            ["of-a-deployment-before", "of-nobody-any-more", "left-behind"]
        );
    }

    #[test]
    fn a_pod_that_is_told_to_go_counts_until_its_farewell_is_over() {
        let pod = |metadata: serde_json::Value| -> Pod {
            let status = json!({"phase": "Running", "podIP": "10.0.0.1",
                "conditions": [{"type": "Ready", "status": "True"}],
                "containerStatuses": [{"name": "order", "image": "", "imageID": "", "ready": true, "restartCount": 0,
                    "state": {"running": {}}}]});
            serde_json::from_value(json!({"metadata": metadata, "status": status})).unwrap()
        };
        // Told at 12:00:00, killed thirty seconds later.
        let going = pod(json!({"name": "p", "deletionTimestamp": "2026-12-01T12:00:30Z",
            "deletionGracePeriodSeconds": 30}));
        let at = |time: &str| -> Timestamp { format!("2026-12-01T{time}Z").parse().unwrap() };
        assert!(observed_pod(&pod(json!({"name": "p"})), at("12:00:20")).ready);
        assert!(observed_pod(&going, at("12:00:03")).ready);
        let gone = observed_pod(&going, at("12:00:04"));
        assert_eq!((gone.ready, gone.address, gone.alive), (false, None, true));
    }
}
