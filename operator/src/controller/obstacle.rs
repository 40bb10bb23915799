//! What keeps the pods of a service from running: whoever refuses or cannot start them says why, and here it is told apart what people
//! can do about it.

use crds::Component;
use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStateWaiting, PodCondition};
use std::collections::BTreeMap;

/// The most characters of what the cluster says: such sentences name pods, images and quotas at length.
const SAID: usize = 300;

/// Kinds of obstacles, those that nobody but people can remove first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// A quota or a limit range of the namespace is in the way.
    Quota,
    /// An admission webhook or policy refuses the pod, or does not answer.
    Admission,
    /// No node takes the pod.
    NoNode,
    /// The image cannot be pulled.
    Image,
    /// The container cannot be made of what the pod refers to.
    Container,
    /// The process needs more memory than it may have.
    Memory,
    /// The process ends again and again.
    Crash,
    /// The process runs and says that it is not ready.
    NotReady,
    /// The process runs, is not ready, and does not answer the operator.
    Silent,
    /// Anything else.
    Other,
}

/// One obstacle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Obstacle {
    /// Of which kind.
    pub cause: Cause,
    /// In the words of whoever found it.
    pub says: Box<str>,
}

impl Cause {
    /// One word for the condition.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Quota => "QuotaExceeded",
            Self::Admission => "PodsRefused",
            Self::NoNode => "Unschedulable",
            Self::Image => "ImageNotPulled",
            Self::Container => "ContainerNotMade",
            Self::Memory => "OutOfMemory",
            Self::Crash => "Crashing",
            Self::NotReady => "NotReady",
            Self::Silent => "PodsSilent",
            Self::Other => "Hindered",
        }
    }

    fn what(self) -> &'static str {
        match self {
            Self::Quota => "the namespace's quota or limit range allows no pod",
            Self::Admission => "a webhook or a policy of the cluster refuses the pods",
            Self::NoNode => "no node takes the pod",
            Self::Image => "the image cannot be pulled",
            Self::Container => "the container cannot be made",
            Self::Memory => "the process needs more memory than its limit",
            Self::Crash => "the process ends again and again",
            Self::NotReady => "the process runs and is not ready",
            Self::Silent => "the process runs, is not ready and does not answer",
            Self::Other => "something is in the way",
        }
    }

    fn remedy(self) -> &'static str {
        match self {
            Self::Quota => "raise it, or ask for less in spec.services",
            Self::Admission => "let the sale's pods through there, or get the webhook to answer",
            Self::NoNode => "add nodes, or ask for less in spec.services.<name>.resources",
            Self::Image => {
                "correct image in the operator's chart, or name a pull secret in its salePods.imagePullSecrets"
            }
            Self::Container => "put right what is named",
            Self::Memory => "raise spec.services.<name>.resources.limits.memory",
            Self::Crash => "its last words are in kubectl logs --previous",
            Self::NotReady => {
                "get what it waits for to answer, and let the pods reach it (network policies, Secret)"
            }
            Self::Silent => {
                "let the operator reach port 9090 of the sale's pods (network policies, service mesh), or look at the pod's log"
            }
            Self::Other => "see kubectl describe of its pods",
        }
    }
}

impl Obstacle {
    /// An obstacle, with as much of the sentence as there is room for.
    pub fn new(cause: Cause, says: &str) -> Self {
        Self {
            cause,
            says: says.chars().take(SAID).collect::<String>().into(),
        }
    }

    /// In one sentence, of whom it keeps from running.
    pub fn sentence(&self, of: &str) -> String {
        format!(
            "{of}: {} ({}); {}",
            self.cause.what(),
            self.says,
            self.cause.remedy()
        )
    }

    /// Why no pod is made, as the ReplicaFailure of a Deployment says.
    pub fn of_refused_pods(message: &str) -> Self {
        const LIMITS: [&str; 5] = [
            "exceeded quota",
            "failed quota",
            "usage per Pod",
            "usage per Container",
            "limit to request ratio",
        ];
        const ADMISSION: [&str; 4] = ["webhook", "ValidatingAdmissionPolicy", "PodSecurity", "denied"];
        let has = |words: &[&str]| words.iter().any(|words| message.contains(words));
        let cause = match () {
            () if has(&LIMITS) => Cause::Quota,
            () if has(&ADMISSION) => Cause::Admission,
            () => Cause::Other,
        };
        Self::new(cause, message)
    }

    /// Why a container does not run, as its node says; a short wait at every start is none.
    pub fn of_container(
        waiting: &ContainerStateWaiting,
        before: Option<&ContainerStateTerminated>,
    ) -> Option<Self> {
        let reason = waiting.reason.as_deref()?;
        let mut says = match &waiting.message {
            Some(message) => format!("{reason}: {message}"),
            None => reason.to_owned(),
        };
        let cause = match reason {
            "ContainerCreating" | "PodInitializing" => return None,
            "ErrImagePull"
            | "ImagePullBackOff"
            | "InvalidImageName"
            | "ErrImageNeverPull"
            | "RegistryUnavailable"
            | "ImageInspectError"
            | "SignatureValidationFailed" => Cause::Image,
            "CreateContainerConfigError"
            | "CreateContainerError"
            | "RunContainerError"
            | "PreCreateHookError"
            | "PreStartHookError"
            | "PostStartHookError" => Cause::Container,
            "CrashLoopBackOff" => match before {
                Some(before) => {
                    let why = before.reason.as_deref().unwrap_or("Error");
                    let last_words = before.message.as_deref().and_then(|text| text.lines().last());
                    let last_words = last_words.map_or_else(String::new, |words| format!(": {words}"));
                    says = format!("{why}, exit code {}{last_words}", before.exit_code);
                    if why == "OOMKilled" {
                        Cause::Memory
                    } else {
                        Cause::Crash
                    }
                }
                None => Cause::Crash,
            },
            _ => Cause::Other,
        };
        Some(Self::new(cause, &says))
    }

    /// Why no node takes a pod, as the scheduler says.
    pub fn of_conditions(conditions: &[PodCondition]) -> Option<Self> {
        let scheduled = conditions
            .iter()
            .find(|c| c.type_ == "PodScheduled" && c.status == "False")?;
        let reason = scheduled.reason.as_deref().unwrap_or("Unschedulable");
        let says = match &scheduled.message {
            Some(message) => format!("{reason}: {message}"),
            None => reason.to_owned(),
        };
        Some(Self::new(Cause::NoNode, &says))
    }
}

/// What keeps services from being rolled out as a reason and a sentence: services that meet the same obstacle are named together, with
/// what the first of them was told.
pub fn tell(obstacles: &BTreeMap<Component, Obstacle>) -> Option<(&'static str, String)> {
    let mut causes: BTreeMap<Cause, (Vec<&str>, &str)> = BTreeMap::new();
    for (component, obstacle) in obstacles {
        let entry = causes
            .entry(obstacle.cause)
            .or_insert_with(|| (Vec::new(), &*obstacle.says));
        entry.0.push(component.as_str());
    }
    let reason = causes.keys().next()?.reason();
    let sentences = causes
        .iter()
        .map(|(cause, (components, says))| Obstacle::new(*cause, says).sentence(&components.join(", ")));
    Some((reason, sentences.collect::<Vec<_>>().join(". ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_pods_are_told_apart_by_who_refuses_them() {
        let cause = |message: &str| Obstacle::of_refused_pods(message).cause;
        for (message, expected) in [
            (
                r#"pods "a-1" is forbidden: exceeded quota: none, requested: pods=1, used: pods=0, limited: pods=0"#,
                Cause::Quota,
            ),
            (
                r#"pods "a-1" is forbidden: failed quota: compute: must specify limits.cpu for: auth"#,
                Cause::Quota,
            ),
            (
                r#"pods "a-1" is forbidden: minimum memory usage per Container is 1Gi, but request is 64Mi"#,
                Cause::Quota,
            ),
            (
                r#"admission webhook "images.example.com" denied the request: no such registry"#,
                Cause::Admission,
            ),
            (
                r#"Internal error occurred: failed calling webhook "w": context deadline exceeded"#,
                Cause::Admission,
            ),
            (
                r#"pods "a-1" is forbidden: violates PodSecurity "restricted:latest": seccompProfile"#,
                Cause::Admission,
            ),
            (
                r#"pods "a-1" is forbidden: error looking up service account shop/default"#,
                Cause::Other,
            ),
        ] {
            assert_eq!(cause(message), expected, "{message}");
        }
    }

    #[test]
    fn a_container_that_ends_is_told_of_with_its_last_words() {
        let waiting = |reason: &str| ContainerStateWaiting {
            reason: Some(reason.into()),
            message: None,
        };
        let ended = |reason: &str, message: Option<&str>| ContainerStateTerminated {
            exit_code: 1,
            reason: Some(reason.into()),
            message: message.map(Into::into),
            ..ContainerStateTerminated::default()
        };
        let of = |reason: &str, before: Option<&ContainerStateTerminated>| {
            Obstacle::of_container(&waiting(reason), before).map(|o| (o.cause, String::from(o.says)))
        };
        assert_eq!(of("ContainerCreating", None), None);
        assert_eq!(
            of("ErrImageNeverPull", None),
            Some((Cause::Image, "ErrImageNeverPull".into()))
        );
        assert_eq!(
            of(
                "CrashLoopBackOff",
                Some(&ended("Error", Some("starting\nquicksale: no MONGODB_URI\n")))
            ),
            Some((
                Cause::Crash,
                "Error, exit code 1: quicksale: no MONGODB_URI".into()
            ))
        );
        assert_eq!(
            of("CrashLoopBackOff", Some(&ended("OOMKilled", None))),
            Some((Cause::Memory, "OOMKilled, exit code 1".into()))
        );
    }

    #[test]
    fn services_with_the_same_obstacle_are_named_together_and_the_worst_gives_the_reason() {
        let quota = Obstacle::new(Cause::Quota, "exceeded quota: q");
        let image = Obstacle::new(Cause::Image, "ImagePullBackOff: no such image");
        let obstacles = BTreeMap::from([
            (Component::Gateway, image),
            (Component::Order, quota.clone()),
            (Component::Auth, quota),
        ]);
        let (reason, sentence) = tell(&obstacles).unwrap();
        assert_eq!(reason, "QuotaExceeded");
        assert!(
            sentence.contains("auth, order: the namespace's quota")
                || sentence.contains("order, auth: the namespace's quota"),
            "{sentence}"
        );
        assert!(
            sentence.contains("(exceeded quota: q); raise it") && sentence.contains("gateway: the image"),
            "{sentence}"
        );
        assert_eq!(tell(&BTreeMap::new()), None);
    }
}
