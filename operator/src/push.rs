//! Brings the control document to every replica that decides by it.
//!
//! A mounted ConfigMap takes up to a minute to change; buyers should not wait so long for a halt. So the operator
//! sends the document to each pod and counts the receipts.

use crate::{
    calls::ServiceCalls,
    controller::fetch::{ObservedPod, Ownership},
    metrics::{CONTROL_PUSH_SECONDS, CONTROL_PUSHES},
};
use crds::Component;
use futures::future::join_all;
use platform::{admin::ControlReceipt, config::ports};
use reqwest::Method;
use sale::control::ControlDocument;
use std::{net::SocketAddr, time::Instant};

/// Who decides by the control document.
const AUDIENCE: [Component; 2] = [Component::Gateway, Component::Order];

/// What the replicas answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Receipts {
    /// Replicas that take requests and have this version or a newer one.
    pub in_force: usize,
    /// Replicas that take requests.
    pub audience: usize,
    /// Replicas that run, ready or not, and have not answered.
    pub unheard: usize,
    /// Order processes that are alive and have not answered, on their way out or not.
    pub silent_orders: usize,
    /// Orders that the replicas refused since they started.
    pub refused: u64,
    /// Whether each of the services has a replica that takes requests.
    pub complete: bool,
}

impl Receipts {
    /// Whether every replica that takes requests goes by the document.
    pub fn everywhere(&self) -> bool {
        self.complete && self.in_force == self.audience
    }
}

/// Sends the document to every replica at once.
pub async fn push(
    http: &reqwest::Client,
    token: &str,
    pods: &[ObservedPod],
    document: &ControlDocument,
) -> Receipts {
    let began = Instant::now();
    // Only a pod that is proven to be ours is sent a token.
    let audience = pods.iter().filter(|pod| pod.ownership == Ownership::Proven);
    let answers = join_all(audience.filter_map(|pod| {
        let component = AUDIENCE
            .into_iter()
            .find(|component| component.as_str() == pod.component)?;
        let address = SocketAddr::new(pod.address?, ports::ADMIN);
        let calls = ServiceCalls::new(http, component, Some(address), token);
        Some(async move {
            (
                pod,
                calls
                    .send::<_, ControlReceipt>(Method::PUT, "/control", document, None)
                    .await,
            )
        })
    }))
    .await;
    let mut receipts = Receipts {
        complete: true,
        ..Receipts::default()
    };
    for component in AUDIENCE {
        receipts.complete &= answers
            .iter()
            .any(|(pod, _)| pod.ready && pod.component == component.as_str());
    }
    let is_order = |pod: &ObservedPod| pod.component == Component::Order.as_str();
    receipts.silent_orders = pods.iter().filter(|pod| pod.alive && is_order(pod)).count();
    for (pod, answer) in &answers {
        receipts.audience += usize::from(pod.ready);
        match answer {
            Ok(receipt) => {
                receipts.refused += receipt.refused;
                receipts.silent_orders -= usize::from(pod.alive && is_order(pod));
                receipts.in_force += usize::from(pod.ready && receipt.version >= document.version);
                CONTROL_PUSHES.with_label_values(&["delivered"]).inc();
            }
            Err(error) => {
                receipts.unheard += 1;
                CONTROL_PUSHES.with_label_values(&["failed"]).inc();
                tracing::debug!(pod = pod.name, %error, "control document not delivered");
            }
        }
    }
    if !answers.is_empty() {
        CONTROL_PUSH_SECONDS.observe(began.elapsed().as_secs_f64());
    }
    receipts
}
