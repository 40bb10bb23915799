//! Brings the control document to every replica that decides by it.
//!
//! A mounted ConfigMap takes up to a minute to change; buyers should not wait so long for a halt. So the operator
//! sends the document to each pod and counts the receipts.

use crate::{
    calls::ServiceCalls,
    controller::pods::{ObservedPod, Ownership},
    metrics::{CONTROL_PUSH_SECONDS, CONTROL_PUSHES},
};
use crds::Component;
use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};
use platform::{admin::ControlReceipt, clock::Clock, config::ports};
use reqwest::Method;
use sale::control::ControlDocument;
use std::{net::SocketAddr, time::Instant};

/// Who decides by the control document.
const AUDIENCE: [Component; 2] = [Component::Gateway, Component::Order];

/// What the replicas answered.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Receipts {
    /// Those of the gateways.
    pub gateways: Heard,
    /// Those of the order services.
    pub orders: Heard,
    /// Replicas that take requests.
    pub audience: usize,
    /// Replicas that run, ready or not, and have not answered.
    pub unheard: usize,
    /// The names of those.
    pub silent: Vec<String>,
    /// Order processes that are alive and have not answered, on their way out or not.
    pub silent_orders: usize,
    /// Orders that each replica refused since it started, by its pod.
    pub refused: Vec<(String, u64)>,
    /// The newest version that any of them has.
    pub newest: u64,
    /// What those that answered cannot do, each with its name.
    pub failing: Vec<String>,
    /// How far the clocks of those that said the time are ahead of the operator's, beyond what [`CLOCKS_AGREE`] allows.
    pub wrong_clocks: Vec<(String, SignedDuration)>,
    /// How many said the time.
    pub clocks: usize,
}

/// How far the clock of a process may be from the operator's: nodes that NTP keeps agree to within a few hundredths of a second, and
/// what an opening is off by more than a second everybody sees.
pub const CLOCKS_AGREE: SignedDuration = SignedDuration::from_secs(1);

/// How many replicas of a service have a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Heard {
    /// Replicas that take requests and go by this document.
    pub in_force: usize,
    /// Replicas that take requests.
    pub audience: usize,
    /// Of these, those that cannot do some of their work.
    pub failing: usize,
}

impl Receipts {
    /// Replicas that take requests and have this version or a newer one.
    pub fn in_force(&self) -> usize {
        self.gateways.in_force + self.orders.in_force
    }

    /// Whether every replica that takes requests goes by the document, and there is one of each service.
    pub fn everywhere(&self) -> bool {
        self.gateways.audience > 0 && self.orders.audience > 0 && self.in_force() == self.audience
    }

    /// Whether there is a gateway and an order service that can do all of their work, as far as they have said.
    pub fn can_decide(&self) -> bool {
        [self.gateways, self.orders]
            .iter()
            .all(|heard| heard.audience == 0 || heard.failing < heard.audience)
    }

    fn of(&mut self, component: Component) -> &mut Heard {
        match component {
            Component::Gateway => &mut self.gateways,
            _ => &mut self.orders,
        }
    }
}

/// Sends the document to every replica at once.
pub async fn push(
    http: &reqwest::Client,
    token: &str,
    pods: &[ObservedPod],
    document: &ControlDocument,
    clock: &Clock,
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
            let asked = clock.now();
            let answer = calls
                .send::<_, ControlReceipt>(Method::PUT, "/control", document, None)
                .await;
            (pod, component, answer, [asked, clock.now()])
        })
    }))
    .await;
    let mut receipts = Receipts::default();
    let is_order = |pod: &ObservedPod| pod.component == Component::Order.as_str();
    receipts.silent_orders = pods.iter().filter(|pod| pod.alive && is_order(pod)).count();
    // As on a node that is lost: nobody can be asked, and nobody knows that it has ended.
    let unreachable = |pod: &&ObservedPod| pod.alive && is_order(pod) && pod.address.is_none();
    let unreachable = pods.iter().filter(unreachable);
    receipts.silent = unreachable.map(|pod| pod.name.clone()).collect();
    for (pod, component, answer, between) in &answers {
        receipts.audience += usize::from(pod.ready);
        receipts.of(*component).audience += usize::from(pod.ready);
        match answer {
            Ok(receipt) => {
                receipts.refused.push((pod.name.clone(), receipt.refused));
                receipts.newest = receipts.newest.max(receipt.version);
                receipts.of(*component).failing += usize::from(pod.ready && !receipt.failing.is_empty());
                let says = |work: &String| format!("{}: {work}", pod.name);
                receipts.failing.extend(receipt.failing.iter().map(says));
                receipts.silent_orders -= usize::from(pod.alive && is_order(pod));
                // One that goes by a newer document was told that by somebody else, and what it says is not known here.
                let has_it = pod.ready && receipt.version == document.version;
                receipts.of(*component).in_force += usize::from(has_it);
                if let Some(now) = receipt.now {
                    receipts.clocks += 1;
                    let wrong = wrong_by(now, *between).map(|by| (pod.name.clone(), by));
                    receipts.wrong_clocks.extend(wrong);
                }
                CONTROL_PUSHES.with_label_values(&["delivered"]).inc();
            }
            Err(error) => {
                receipts.unheard += 1;
                receipts.silent.push(pod.name.clone());
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

/// How far a clock that was read between two moments is ahead of the operator's, or behind where that is less than zero; `None` where it
/// may agree.
fn wrong_by(said: Timestamp, [asked, answered]: [Timestamp; 2]) -> Option<SignedDuration> {
    let (ahead, behind) = (said.duration_since(answered), asked.duration_since(said));
    if ahead > CLOCKS_AGREE {
        Some(ahead)
    } else {
        (behind > CLOCKS_AGREE).then(|| -behind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_answer_is_no_wrong_clock() {
        let at = |millis| Timestamp::from_millisecond(millis).unwrap();
        let by = |said, answered| wrong_by(at(said), [at(0), at(answered)]).map(|by| by.as_millis());
        assert_eq!(by(500, 3_000), None);
        assert_eq!(by(4_000, 3_000), None);
        assert_eq!(by(4_001, 3_000), Some(1_001));
        assert_eq!(by(-5_000, 10), Some(-5_000));
    }
}
