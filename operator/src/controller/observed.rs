//! What the API server knows about a sale, and what can be read from it.

use super::{
    build::{
        ADMIN, ADMIN_EMAIL_FILE, ADMIN_HASH_FILE, BACKENDS_HASH, Kind, MANAGER, SIGNING_KEYS, config_map,
        control_map, object_name, port,
    },
    fetch::{self, SecretData},
    obstacle::Obstacle,
    pods::{ObservedPod, Ownership},
};
use crate::{administrator::Administrator, phase::Doors, rehearsal::Progress, signing_keys::KeyRing};
use crds::Component;
use jiff::Timestamp;
use kube::{ResourceExt, core::DynamicObject};
use platform::backends::PLAINTEXT_PASSWORDS;
use sale::{SaleId, control::ControlDocument};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

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
    /// How the load of a rehearsal has ended: its exit code and its last words.
    pub load_end: Option<(i32, String)>,
    /// Why it does not start.
    pub load_waits: Option<Obstacle>,
    /// Whether the cluster has no definition of HTTPRoutes, though they are allowed.
    pub knows_no_routes: bool,
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

    /// What the doors of a sale were told, as far as it is written down, and whether there are any. `was_complete` says that all
    /// services were rolled out once: of a Deployment that is gone nothing else is known.
    pub fn doors(&self, sale: &str, was_complete: bool) -> Doors {
        let document = self.control(sale);
        let has_run = |component| self.has_run(sale, component, was_complete);
        Doors {
            told: document.as_ref().and_then(|document| document.opens_at),
            closed: document.is_some_and(|document| document.closed),
            exist: has_run(Component::Gateway) && has_run(Component::Order),
        }
    }

    /// Whether a service runs, or has run before. A Deployment says of itself that it was complete once.
    fn has_run(&self, sale: &str, component: Component, was_complete: bool) -> bool {
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
        runs || self.deployment(sale, component).map_or(was_complete, ran)
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

    /// The configuration, as it is in the cluster.
    pub fn config_text(&self, sale: &str) -> Option<&str> {
        self.child(Kind::ConfigMap, &config_map(sale))?.data["data"]["config.json"].as_str()
    }

    /// The data of a Secret that was made for the sale.
    pub(super) fn copied(&self, sale: &str, suffix: &str) -> Option<SecretData> {
        let secret = self.child(Kind::Secret, &object_name(sale, suffix))?;
        fetch::data(secret)
    }

    /// The administrator that the sale has been told of.
    pub(super) fn known_administrator(&self, sale: &str) -> Option<Administrator> {
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

    /// Whether any of the services is there.
    pub fn has_services(&self, sale: &str) -> bool {
        Component::ALL
            .into_iter()
            .any(|component| self.deployment(sale, component).is_some())
    }

    /// The template of a service's pods, as it is in the cluster.
    pub fn template(&self, sale: &str, component: Component) -> Option<Value> {
        let template = self.deployment(sale, component)?.data["spec"]["template"].clone();
        (!template.is_null()).then_some(template)
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
    pub fn hindered(&self, sale: &str) -> BTreeMap<Component, Obstacle> {
        let refused = |component| {
            let deployment = self.deployment(sale, component)?;
            let mut conditions = deployment.data["status"]["conditions"].as_array()?.iter();
            let failure = conditions.find(|c| c["type"] == "ReplicaFailure" && c["status"] == "True")?;
            failure["message"].as_str().map(Obstacle::of_refused_pods)
        };
        let waits = |component: Component| {
            let mut pods = self
                .pods
                .iter()
                .filter(|pod| pod.ownership == Ownership::Proven && pod.component == component.as_str());
            pods.find_map(|pod| pod.waits.clone())
        };
        Component::ALL
            .into_iter()
            .filter_map(|c| Some((c, refused(c).or_else(|| waits(c))?)))
            .collect()
    }

    /// How the load of a rehearsal stands.
    pub fn load(&self, waits_for: Option<&SaleId>) -> Progress {
        let has_begun = self.children.iter().any(|(kind, _)| *kind == Kind::Job);
        if let Some(sale) = waits_for.filter(|_| !has_begun) {
            return Progress::Waiting(sale.clone());
        }
        match &self.load_end {
            None => match self.failed_job() {
                Some(why) => Progress::Failed(why),
                None => Progress::UnderWay(self.load_waits.clone()),
            },
            Some((0, words)) => match serde_json::from_str(words) {
                Ok(found) => Progress::Ended(Box::new(found)),
                Err(error) => Progress::Failed(format!("what it said cannot be read: {error}")),
            },
            Some((code, words)) => {
                let words: String = words.chars().take(300).collect();
                Progress::Failed(format!("it ended with {code}: {words}"))
            }
        }
    }

    /// Why the Job of a rehearsal's load is given up, where its pod cannot say it any more.
    fn failed_job(&self) -> Option<String> {
        let jobs = self.children.iter().filter(|(kind, _)| *kind == Kind::Job);
        let mut conditions =
            jobs.flat_map(|(_, job)| job.data["status"]["conditions"].as_array().into_iter().flatten());
        // One that is complete and whose pod is gone has said nothing to anybody.
        let failed = conditions
            .find(|c| (c["type"] == "Failed" || c["type"] == "Complete") && c["status"] == "True")?;
        let part = |name: &str| failed[name].as_str().unwrap_or_default().to_owned();
        Some(format!("{}: {}", part("reason"), part("message")))
    }

    /// How often containers of its pods were started anew, by service.
    pub fn restarts(&self) -> BTreeMap<String, u32> {
        let mut restarts = BTreeMap::new();
        for pod in self.pods.iter().filter(|pod| pod.ownership == Ownership::Proven) {
            *restarts.entry(pod.component.clone()).or_default() += pod.restarts;
        }
        restarts
    }

    /// The image of each service.
    pub fn images(&self, sale: &str) -> BTreeMap<String, String> {
        let image = |component: Component| {
            let template = self.template(sale, component)?;
            let image = template["spec"]["containers"][0]["image"].as_str()?.to_owned();
            Some((component.as_str().to_owned(), image))
        };
        Component::ALL.into_iter().filter_map(image).collect()
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
    use super::super::{obstacle::Cause, pods::PodFacts};
    use super::*;
    use crds::names::COMPONENT_LABEL;
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
        let observed = |pod, ownership| {
            let facts = PodFacts::of(&serde_json::from_value(pod).unwrap());
            facts.observed(Timestamp::UNIX_EPOCH, ownership)
        };
        let pod = |component: &str, waiting: serde_json::Value| {
            let json = json!({"metadata": {"name": "p", "labels": {COMPONENT_LABEL: component}},
                "status": {"containerStatuses": [{"name": "c", "image": "", "imageID": "", "ready": false,
                    "restartCount": 0, "state": {"waiting": waiting}}]}});
            observed(json, Ownership::Proven)
        };
        let unscheduled = |component: &str| {
            let json = json!({"metadata": {"name": "p", "labels": {COMPONENT_LABEL: component}},
                "status": {"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
                    "message": "0/1 nodes are available"}]}});
            json
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
                observed(unscheduled("inventory"), Ownership::Proven),
                // Of somebody else: whose sentence it is would go into the status.
                observed(unscheduled("processor"), Ownership::Orphaned),
            ],
            ..Observed::default()
        };
        let expected = BTreeMap::from([
            (
                Component::Gateway,
                Obstacle::new(Cause::Image, "ImagePullBackOff: no such image"),
            ),
            (Component::Order, Obstacle::new(Cause::Quota, "exceeded quota: q")),
            (
                Component::Inventory,
                Obstacle::new(Cause::NoNode, "Unschedulable: 0/1 nodes are available"),
            ),
        ]);
        assert_eq!(observed.hindered("shoes"), expected);
    }

    /// Its pod may be gone by then, as when its time is over.
    #[test]
    fn a_load_whose_job_is_given_up_has_failed() {
        let job = |conditions: serde_json::Value| {
            let json = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "shoes-load-1"},
                "status": {"conditions": conditions}});
            let observed = Observed {
                children: vec![(Kind::Job, serde_json::from_value(json).unwrap())],
                ..Observed::default()
            };
            observed.load(None)
        };
        assert_eq!(job(json!([])), Progress::UnderWay(None));
        let late = json!([{"type": "Failed", "status": "True", "reason": "DeadlineExceeded", "message": "too long"}]);
        assert_eq!(
            job(late),
            Progress::Failed("DeadlineExceeded: too long".to_owned())
        );
        let done =
            json!([{"type": "Complete", "status": "True", "reason": "CompletionsReached", "message": ""}]);
        assert!(matches!(job(done), Progress::Failed(_)));
        let ended = |code, words: &str| Observed {
            load_end: Some((code, words.to_owned())),
            ..Observed::default()
        };
        assert!(matches!(ended(0, "{}").load(None), Progress::Failed(_)));
        assert_eq!(
            ended(1, "no gateway").load(None),
            Progress::Failed("it ended with 1: no gateway".to_owned())
        );
    }

    /// Doors that nobody was behind did not open, and a Deployment that is gone has taken what is known of them with it.
    #[test]
    fn doors_are_there_once_both_services_behind_them_have_run() {
        let deployment = |component: &str, status: serde_json::Value| {
            let json = json!({"apiVersion": "apps/v1", "kind": "Deployment",
                "metadata": {"name": format!("shoes-{component}")}, "status": status});
            (Kind::Deployment, serde_json::from_value(json).unwrap())
        };
        let there = |gateway: serde_json::Value, order: serde_json::Value| {
            let observed = Observed {
                children: vec![deployment("gateway", gateway), deployment("order", order)],
                ..Observed::default()
            };
            observed.doors("shoes", true).exist
        };
        let never = json!({"conditions": [{"type": "Progressing", "reason": "ReplicaSetUpdated"}]});
        let now = json!({"availableReplicas": 1});
        // It has crashed since.
        let once = json!({"conditions": [{"type": "Progressing", "reason": "NewReplicaSetAvailable"}]});
        assert!(there(now.clone(), once.clone()));
        assert!(!there(now, never.clone()));
        assert!(!there(never.clone(), once));
        let gone = Observed {
            children: vec![deployment("gateway", json!({"availableReplicas": 1}))],
            ..Observed::default()
        };
        assert!(gone.doors("shoes", true).exist);
        // One that the API server has refused so far has let nobody in.
        assert!(!gone.doors("shoes", false).exist);
        let pod = json!({"metadata": {"name": "p", "labels": {COMPONENT_LABEL: "order"}}, "status": {"containerStatuses": [
            {"name": "c", "image": "", "imageID": "", "ready": false, "restartCount": 3, "state": {"running": {}}}]}});
        let pod = PodFacts::of(&serde_json::from_value(pod).unwrap());
        let running = Observed {
            children: vec![
                deployment("gateway", json!({"availableReplicas": 1})),
                deployment("order", never),
            ],
            pods: vec![pod.observed(Timestamp::UNIX_EPOCH, Ownership::Orphaned)],
            ..Observed::default()
        };
        assert!(running.doors("shoes", false).exist);
    }
}
