//! The pods of a sale, and which of them are proven to be its own.

use super::{
    build::{FAREWELL, Kind, LOAD, object_name},
    obstacle::Obstacle,
};
use crate::{
    deadline::{ApiError, within},
    watched::{Item, SaleKey, Thing},
};
use crds::{
    Component,
    names::{COMPONENT_LABEL, SALE_LABEL},
};
use futures::future::try_join_all;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::{
        apps::v1::ReplicaSet,
        core::v1::{ContainerStatus, Pod},
    },
    apimachinery::pkg::apis::meta::v1::OwnerReference,
};
use kube::{Api, Client, ResourceExt, core::DynamicObject};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

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
    /// Since when it has run.
    pub since: Option<Timestamp>,
    /// How often its container was started anew.
    pub restarts: u32,
    /// Why its container does not run, if its node has said so.
    pub waits: Option<Obstacle>,
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

/// Whose a pod or a ReplicaSet says that it is.
pub fn labelled(object: &impl ResourceExt) -> Option<SaleKey> {
    Some(SaleKey {
        namespace: object.namespace().unwrap_or_default(),
        name: object.labels().get(SALE_LABEL)?.clone(),
    })
}

/// How the pod of a rehearsal's load has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
struct LoadEnd {
    exit_code: i32,
    last_words: String,
}

/// What a pod says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodFacts {
    name: String,
    component: String,
    controller: Option<Controller>,
    address: Option<IpAddr>,
    runs: bool,
    ready: bool,
    /// Since when its process has run, if it does.
    running: Option<Timestamp>,
    restarts: u32,
    waits: Option<Obstacle>,
    /// The Job that controls it, if one does.
    job: Option<Box<Controller>>,
    load: Option<Box<LoadEnd>>,
    /// From when on it takes no requests any more, if it was told to go.
    farewell: Option<Timestamp>,
}

impl PodFacts {
    /// Reads them.
    pub fn of(pod: &Pod) -> Self {
        let status = pod.status.clone().unwrap_or_default();
        let containers = status.container_statuses.unwrap_or_default();
        let running = containers.iter().find_map(running);
        let conditions = status.conditions.unwrap_or_default();
        let waits = containers
            .iter()
            .find_map(waits)
            .or_else(|| Obstacle::of_conditions(&conditions));
        let ready = conditions
            .iter()
            .any(|c| c.type_ == "Ready" && c.status == "True");
        Self {
            name: pod.name_any(),
            component: pod.labels().get(COMPONENT_LABEL).cloned().unwrap_or_default(),
            controller: controller(pod, "ReplicaSet"),
            address: status.pod_ip.and_then(|ip| ip.parse().ok()),
            runs: status.phase.as_deref() == Some("Running"),
            ready,
            running,
            restarts: containers
                .iter()
                .map(|container| container.restart_count.unsigned_abs())
                .sum(),
            waits,
            job: job(pod).map(Box::new),
            load: load_end(pod, &containers).map(Box::new),
            farewell: farewell(pod),
        }
    }

    pub(super) fn observed(&self, now: Timestamp, ownership: Ownership) -> ObservedPod {
        let runs = self.runs && self.farewell.is_none_or(|over| now < over);
        ObservedPod {
            name: self.name.clone(),
            component: self.component.clone(),
            address: self.address.filter(|_| runs),
            ready: self.ready && runs,
            alive: self.running.is_some(),
            since: self.running,
            restarts: self.restarts,
            waits: self.waits.clone(),
            ownership,
        }
    }
}

/// A ReplicaSet with the sale's labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetFacts {
    uid: String,
    of: ReplicaSetOf,
}

impl SetFacts {
    /// Reads them; `None` for one without a uid, which no API server shows.
    pub fn of(set: &impl ResourceExt) -> Option<Self> {
        let of = match controller(set, "Deployment") {
            Some(deployment) => ReplicaSetOf::Deployment(deployment),
            None => ReplicaSetOf::Nobody { name: set.name_any() },
        };
        Some(Self { uid: set.uid()?, of })
    }
}

/// The most ReplicaSets that are looked up by name in one look. The pods of those beyond belong to nobody: so many that carry no
/// labels are not the work of a Deployment of ours.
const UNKNOWN_SETS: usize = 20;

/// What is known of a sale's pods, and what controls them.
#[derive(Debug, Clone, Default)]
pub struct KnownPods {
    pods: Vec<PodFacts>,
    sets: ReplicaSets,
}

impl KnownPods {
    /// Among what is known of the sale.
    pub fn among(items: &[Arc<Item>]) -> Self {
        let mut known = Self::default();
        for item in items {
            match &item.thing {
                Thing::Pod(pod) => known.pods.push(PodFacts::clone(pod)),
                Thing::Set(set) => {
                    known.sets.insert(set.uid.clone(), set.of.clone());
                }
                Thing::Child(_) => {}
            }
        }
        known
    }

    /// Looks the ReplicaSets up that do not carry the sale's labels: such a one is gone, or it never had them.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn look_up_the_unknown(&mut self, client: &Client, namespace: &str) -> Result<(), ApiError> {
        let unknown: BTreeSet<&Controller> = self
            .pods
            .iter()
            .filter_map(|pod| pod.controller.as_ref())
            .filter(|set| !self.sets.contains_key(&set.uid))
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
        self.sets.extend(found);
        Ok(())
    }

    /// Whether any of them is on its way: it starts, or waits for something.
    pub fn settle(&self) -> bool {
        self.pods.iter().any(|pod| !pod.ready && pod.farewell.is_none())
    }

    /// How the load of a rehearsal has ended, as the pod of its Job says: the exit code and the last words.
    pub fn load_end(&self, children: &[(Kind, DynamicObject)]) -> Option<(i32, String)> {
        let ours = |pod: &&PodFacts| pod.job.as_ref().is_some_and(|job| is_child(children, job));
        let end = self
            .pods
            .iter()
            .filter(ours)
            .find_map(|pod| pod.load.as_deref())?;
        Some((end.exit_code, end.last_words.clone()))
    }

    /// Why the load of a rehearsal does not start, if its node or the scheduler has said so.
    pub fn load_waits(&self, children: &[(Kind, DynamicObject)]) -> Option<Obstacle> {
        let of_a_job = |pod: &&PodFacts| {
            pod.component == LOAD && pod.job.as_ref().is_some_and(|job| is_child(children, job))
        };
        self.pods
            .iter()
            .filter(of_a_job)
            .find_map(|pod| pod.waits.clone())
    }

    /// The pods that are or may have been the sale's.
    pub fn owned(self, sale: &str, children: &[(Kind, DynamicObject)], now: Timestamp) -> Vec<ObservedPod> {
        owned(sale, self.pods, &self.sets, children, now)
    }
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
    pods: Vec<PodFacts>,
    replica_sets: &ReplicaSets,
    children: &[(Kind, DynamicObject)],
    now: Timestamp,
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
        .filter_map(|pod| {
            let ownership = ownership(pod.controller.as_ref()?)?;
            Some(pod.observed(now, ownership))
        })
        .collect()
}

fn load_end(pod: &Pod, containers: &[ContainerStatus]) -> Option<LoadEnd> {
    // A proxy may be beside it.
    let load = containers.iter().find(|container| container.name == LOAD)?;
    let ended = load.state.as_ref()?.terminated.as_ref()?;
    let is_load = pod
        .labels()
        .get(COMPONENT_LABEL)
        .is_some_and(|component| component == LOAD);
    is_load.then(|| LoadEnd {
        exit_code: ended.exit_code,
        last_words: ended.message.clone().unwrap_or_default(),
    })
}

/// The Job that controls a pod.
fn job(pod: &Pod) -> Option<Controller> {
    let of_a_job = |owner: &&OwnerReference| {
        owner.controller == Some(true) && owner.kind == "Job" && owner.api_version == "batch/v1"
    };
    pod.owner_references()
        .iter()
        .find(of_a_job)
        .map(|owner| Controller {
            uid: owner.uid.clone(),
            name: owner.name.clone(),
        })
}

fn is_child(children: &[(Kind, DynamicObject)], job: &Controller) -> bool {
    let mut jobs = children.iter().filter(|(kind, _)| *kind == Kind::Job);
    jobs.any(|(_, object)| object.uid().as_deref() == Some(&*job.uid))
}

/// Since when a container has run; the beginning of time where its node does not say.
fn running(container: &ContainerStatus) -> Option<Timestamp> {
    let running = container.state.as_ref()?.running.as_ref()?;
    Some(
        running
            .started_at
            .as_ref()
            .map_or(Timestamp::UNIX_EPOCH, |at| at.0),
    )
}

/// Why a container does not run.
fn waits(container: &ContainerStatus) -> Option<Obstacle> {
    let before = container
        .last_state
        .as_ref()
        .and_then(|state| state.terminated.as_ref());
    Obstacle::of_container(container.state.as_ref()?.waiting.as_ref()?, before)
}

/// When a pod that was told to go has been told long enough ago to take no more requests.
fn farewell(pod: &Pod) -> Option<Timestamp> {
    let grace = SignedDuration::from_secs(pod.metadata.deletion_grace_period_seconds.unwrap_or(0));
    // The timestamp is when the grace is over.
    let killed_at = pod.metadata.deletion_timestamp.as_ref()?.0;
    Some(killed_at - grace + FAREWELL)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn labels_make_no_pod_ours() {
        let deployment = |uid: &str| {
            let json = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "shoes-gateway", "uid": uid}});
            (
                Kind::Deployment,
                serde_json::from_value::<DynamicObject>(json).unwrap(),
            )
        };
        let pod = |name: &str, owner: serde_json::Value| {
            let pod = json!({"metadata": {"name": name, "ownerReferences": owner}});
            PodFacts::of(&serde_json::from_value(pod).unwrap())
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
        let owned = owned(
            "shoes",
            pods,
            &replica_sets,
            &[deployment("deployment")],
            Timestamp::UNIX_EPOCH,
        );
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
        let seen = |pod: &Pod, now| PodFacts::of(pod).observed(now, Ownership::Proven);
        // Told at 12:00:00, killed thirty seconds later.
        let going = pod(json!({"name": "p", "deletionTimestamp": "2026-12-01T12:00:30Z",
            "deletionGracePeriodSeconds": 30}));
        let at = |time: &str| -> Timestamp { format!("2026-12-01T{time}Z").parse().unwrap() };
        assert!(seen(&pod(json!({"name": "p"})), at("12:00:20")).ready);
        assert!(seen(&going, at("12:00:03")).ready);
        let gone = seen(&going, at("12:00:04"));
        assert_eq!((gone.ready, gone.address, gone.alive), (false, None, true));
    }
}
