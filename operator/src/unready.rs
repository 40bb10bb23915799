//! Asks pods that run and take no requests why that is: their nodes know no more of it than "503".

use crate::{
    calls::{self, CALL_DEADLINE},
    controller::{
        obstacle::{Cause, Obstacle},
        pods::{ObservedPod, Ownership},
    },
};
use crds::Component;
use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};
use platform::config::ports;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

/// How long a process may take to start before it is asked: nearly all are ready by then.
const STARTS: SignedDuration = SignedDuration::from_secs(8);

/// Why services have no replica that takes requests, though one runs: one replica of each is asked.
pub async fn ask(
    http: &reqwest::Client,
    pods: &[ObservedPod],
    rolled_out: &BTreeSet<Component>,
    now: Timestamp,
) -> BTreeMap<Component, Obstacle> {
    let late = |component: Component| {
        let mut pods = pods.iter();
        let pod = pods.find(|pod| {
            let runs_long = pod.since.is_some_and(|since| now.duration_since(since) > STARTS);
            let is_of = pod.component == component.as_str() && pod.ownership == Ownership::Proven;
            is_of && !pod.ready && runs_long
        })?;
        Some((component, &*pod.name, SocketAddr::new(pod.address?, ports::ADMIN)))
    };
    let missing = Component::ALL.into_iter().filter(|c| !rolled_out.contains(c));
    let asked = missing
        .filter_map(late)
        .map(|(component, pod, address)| async move {
            let url = format!("http://{address}/readyz");
            let answer = calls::text(http, &url, CALL_DEADLINE).await;
            let obstacle = match answer {
                Ok(text) => Obstacle::new(Cause::NotReady, &said(pod, &text)?),
                Err(error) => {
                    tracing::debug!(pod, %error, "does not say why it is not ready");
                    Obstacle::new(Cause::Silent, pod)
                }
            };
            Some((component, obstacle))
        });
    join_all(asked).await.into_iter().flatten().collect()
}

/// What a process of ours says there, and nothing of what somebody else says in its place. `None` where it has become ready.
fn said(pod: &str, text: &str) -> Option<String> {
    let is_ours = |line: &&str| line.starts_with("waiting for ") || line.contains(" has failed for ");
    // Drivers describe the whole topology, with times that differ at each look.
    let short = |line: &'_ str| line.split(" Topology:").next().unwrap_or_default().to_owned();
    let lines: Vec<String> = text.lines().filter(is_ours).map(short).collect();
    (text.trim_end() != "ok").then(|| format!("{pod}: {}", lines.join("; ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_says_what_it_waits_for_and_nothing_else_is_repeated() {
        let text = "waiting for order indexes: no primary Topology: { Last Update Time: 1 }\nroot:x:0:0\n";
        assert_eq!(
            said("p", text).as_deref(),
            Some("p: waiting for order indexes: no primary")
        );
        assert_eq!(said("p", "ok\n"), None);
    }
}
