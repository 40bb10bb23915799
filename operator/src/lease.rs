//! One leader among the operator's replicas, by a Lease.
//!
//! The holder renews every 2 s. A Lease is free for others once they have seen no renewal for 9 s by their own clocks: two wall clocks
//! need not agree. Whoever cannot renew for 6 s stops before that, and its [`Fence`] lets no write pass from then
//! on, whatever is still under way. It goes on as a candidate: an API server that is away is no reason to start anew.

use crate::{deadline::ApiError, fence::Fence};
use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use kube::{
    Api, Client, Resource,
    api::PostParams,
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use platform::clock::Clock;
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

/// How long a Lease is good for without renewal.
pub const LEASE: Duration = Duration::from_secs(9);
/// How often it is renewed or asked for.
pub const RENEW_EVERY: Duration = Duration::from_secs(2);
/// How long the leader goes on without a successful renewal. What is left of the Lease is for whatever is on its way.
const GIVE_UP_AFTER: Duration = Duration::from_secs(6);
/// How long one call may take: several fit before the leader gives up.
const CALL_DEADLINE: Duration = Duration::from_secs(3);

/// A claim to lead.
pub struct Leadership {
    api: Api<Lease>,
    name: String,
    identity: String,
    clock: Clock,
    fence: Arc<Fence>,
    seen: Mutex<Seen>,
}

/// What was seen of the Lease.
#[derive(Debug, Default)]
struct Seen {
    /// As it was written or read last.
    lease: Option<Lease>,
    /// Since when it has been as it is, by our own observation.
    unchanged_since: Option<Instant>,
    /// Who had it before us, if it was given back or taken from somebody.
    predecessor: Option<String>,
}

impl Seen {
    /// For how long nobody has renewed the Lease, as far as we have looked.
    fn look(&mut self, lease: &Lease, now: Instant) -> Duration {
        let version = |lease: &Lease| lease.metadata.resource_version.clone();
        let same = self
            .lease
            .as_ref()
            .is_some_and(|known| version(known) == version(lease));
        if !same {
            self.lease = Some(lease.clone());
            self.unchanged_since = None;
        }
        let since = *self.unchanged_since.get_or_insert(now);
        now.saturating_duration_since(since)
    }
}

/// What a look at the Lease means for us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Claim {
    /// It is ours already.
    Renew,
    /// Nobody holds it.
    Take,
    /// Somebody else leads.
    Wait,
}

impl Leadership {
    /// A claim under a name that no other replica uses.
    /// `fence` is open for as long as the Lease is held for sure.
    pub fn new(
        client: &Client,
        namespace: &str,
        name: &str,
        identity: &str,
        clock: Clock,
        fence: Arc<Fence>,
    ) -> Self {
        Self {
            api: Api::namespaced(client.clone(), namespace),
            name: name.to_owned(),
            identity: identity.to_owned(),
            clock,
            fence,
            seen: Mutex::default(),
        }
    }

    /// Tries once to take or renew the Lease; returns whether it is ours.
    ///
    /// # Errors
    /// [`ApiError`] when that is not known.
    pub async fn try_hold(&self) -> Result<bool, ApiError> {
        let asked = Instant::now();
        let held = match tokio::time::timeout(CALL_DEADLINE, self.try_hold_unbounded()).await {
            Ok(held) => held,
            Err(_) => Err(ApiError::Deadline),
        };
        match held {
            // Counted from before the question: the answer may have been on its way for long.
            Ok(true) => self.fence.open_until(asked + GIVE_UP_AFTER),
            Ok(false) => self.fence.close(),
            Err(_) => {}
        }
        held
    }

    async fn try_hold_unbounded(&self) -> Result<bool, ApiError> {
        let now = self.clock.now();
        // Who holds it writes it as it was written last; only where somebody else has, it has to be read.
        let ours = self.lock().lease.clone().filter(|lease| self.is_ours(lease));
        if let Some(lease) = ours
            && self.write(Some(&lease), now).await?
        {
            return Ok(true);
        }
        let found = self.api.get_opt(&self.name).await.map_err(Box::new)?;
        let Some(lease) = found else {
            return self.write(None, now).await;
        };
        let unrenewed = self.lock().look(&lease, Instant::now());
        match claim(&lease, &self.identity, unrenewed) {
            Claim::Wait => Ok(false),
            Claim::Renew | Claim::Take => self.write(Some(&lease), now).await,
        }
    }

    fn is_ours(&self, lease: &Lease) -> bool {
        let holder = lease
            .spec
            .as_ref()
            .and_then(|spec| spec.holder_identity.as_deref());
        holder == Some(self.identity.as_str())
    }

    /// Writes the Lease as ours; the version that was read goes with it, so that of two who write at once one is refused. Returns
    /// whether it is ours now.
    async fn write(&self, before: Option<&Lease>, now: Timestamp) -> Result<bool, ApiError> {
        let (held, params) = (self.held(before, now), PostParams::default());
        let written = match before {
            None => self.api.create(&params, &held).await,
            Some(_) => self.api.replace(&self.name, &params, &held).await,
        };
        match written {
            Ok(lease) => {
                let mut seen = self.lock();
                let holder = before.and_then(|lease| lease.spec.as_ref()?.holder_identity.clone());
                if holder.as_ref() != Some(&self.identity) {
                    seen.predecessor = holder;
                }
                seen.lease = Some(lease);
                seen.unchanged_since = None;
                Ok(true)
            }
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {
                self.lock().lease = None;
                Ok(false)
            }
            Err(error) => Err(Box::new(error).into()),
        }
    }

    /// Tells whoever runs `kubectl describe lease` who leads now. A courtesy: one that is not told changes nothing.
    pub async fn announce(&self, client: &Client) {
        let (lease, predecessor) = {
            let seen = self.lock();
            (seen.lease.clone().unwrap_or_default(), seen.predecessor.clone())
        };
        let note = match predecessor.filter(|name| !name.is_empty()) {
            Some(before) => format!("{} leads; it has taken over from {before}", self.identity),
            None => format!("{} leads", self.identity),
        };
        let event = Event {
            type_: EventType::Normal,
            reason: "LeaderElection".into(),
            note: Some(note),
            action: "Lead".into(),
            secondary: None,
        };
        let reporter = Reporter {
            controller: "quicksale-operator".into(),
            instance: Some(self.identity.clone()),
        };
        let recorder = Recorder::new(client.clone(), reporter);
        let published =
            tokio::time::timeout(CALL_DEADLINE, recorder.publish(&event, &lease.object_ref(&()))).await;
        if !matches!(published, Ok(Ok(()))) {
            tracing::debug!("event not published: {published:?}");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn held(&self, before: Option<&Lease>, now: Timestamp) -> Lease {
        let spec = before.and_then(|lease| lease.spec.clone()).unwrap_or_default();
        let renewed = spec.holder_identity.as_deref() == Some(self.identity.as_str());
        let transitions = spec.lease_transitions.unwrap_or(0);
        Lease {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                resource_version: before.and_then(|lease| lease.metadata.resource_version.clone()),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(self.identity.clone()),
                lease_duration_seconds: i32::try_from(LEASE.as_secs()).ok(),
                acquire_time: if renewed {
                    spec.acquire_time
                } else {
                    Some(MicroTime(now))
                },
                renew_time: Some(MicroTime(now)),
                lease_transitions: Some(if renewed { transitions } else { transitions + 1 }),
                ..LeaseSpec::default()
            }),
        }
    }

    /// Waits until the Lease is ours, or `stop`. `tried` is called after every try, with whether the API server answered it.
    pub async fn acquire(&self, stop: &CancellationToken, mut tried: impl FnMut(bool)) -> bool {
        let mut tick = tokio::time::interval(RENEW_EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return false,
                _ = tick.tick() => {}
            }
            match self.try_hold().await {
                Ok(true) => {
                    tried(true);
                    tracing::info!(identity = self.identity, "leading");
                    return true;
                }
                Ok(false) => tried(true),
                Err(error) => {
                    tried(false);
                    tracing::warn!(%error, "cannot ask for the lease");
                }
            }
        }
    }

    /// Renews the Lease until it is lost or `stop`.
    pub async fn keep(&self, stop: &CancellationToken, renewed: impl Fn()) {
        let mut last = tokio::time::Instant::now();
        let mut tick = tokio::time::interval(RENEW_EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = tick.tick() => {}
            }
            let asked = tokio::time::Instant::now();
            match self.try_hold().await {
                Ok(true) => {
                    last = asked;
                    renewed();
                }
                Ok(false) => {
                    tracing::error!("the lease was lost to another replica");
                    self.fence.close();
                    return;
                }
                Err(error) if last.elapsed() >= GIVE_UP_AFTER => {
                    tracing::error!(%error, "the lease could not be renewed in time");
                    self.fence.close();
                    return;
                }
                Err(error) => {
                    tracing::warn!(%error, "the lease could not be renewed; trying again");
                    tick.reset_after(Duration::from_secs(1));
                }
            }
        }
    }

    /// Gives the Lease back, so that the next leader need not wait for its end. Nothing passes the fence any more.
    pub async fn release(&self) {
        self.fence.close();
        let give_back = async {
            let mut lease = self.api.get(&self.name).await?;
            if let Some(spec) = lease
                .spec
                .as_mut()
                .filter(|s| s.holder_identity.as_deref() == Some(&self.identity))
            {
                spec.holder_identity = None;
                self.api
                    .replace(&self.name, &PostParams::default(), &lease)
                    .await?;
            }
            Ok::<_, kube::Error>(())
        };
        if !matches!(tokio::time::timeout(CALL_DEADLINE, give_back).await, Ok(Ok(()))) {
            tracing::debug!("the lease was not given back; it ends by itself");
        }
    }
}

fn claim(lease: &Lease, identity: &str, unrenewed: Duration) -> Claim {
    let spec = lease.spec.clone().unwrap_or_default();
    match spec.holder_identity.as_deref() {
        None | Some("") => Claim::Take,
        Some(holder) if holder == identity => Claim::Renew,
        Some(_) => {
            let seconds = u64::try_from(spec.lease_duration_seconds.unwrap_or(0)).unwrap_or(0);
            if unrenewed >= Duration::from_secs(seconds) {
                Claim::Take
            } else {
                Claim::Wait
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(holder: Option<&str>, version: &str) -> Lease {
        Lease {
            metadata: ObjectMeta {
                resource_version: Some(version.to_owned()),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: holder.map(str::to_owned),
                lease_duration_seconds: Some(10),
                ..LeaseSpec::default()
            }),
        }
    }

    #[test]
    fn a_lease_is_taken_only_when_nobody_holds_it() {
        let after = Duration::from_secs;
        assert_eq!(claim(&lease(Some("a"), "1"), "a", after(500)), Claim::Renew);
        assert_eq!(claim(&lease(Some("b"), "1"), "a", after(9)), Claim::Wait);
        assert_eq!(claim(&lease(Some("b"), "1"), "a", after(10)), Claim::Take);
        assert_eq!(claim(&lease(None, "1"), "a", after(0)), Claim::Take);
        assert_eq!(claim(&Lease::default(), "a", after(0)), Claim::Take);
    }

    /// The holder's clock may be hours away from ours: what counts is for how long we have seen no change.
    #[test]
    fn a_lease_runs_out_by_what_was_seen_of_it() {
        let (mut seen, start) = (Seen::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(seen.look(&lease(Some("b"), "1"), at(0)), Duration::ZERO);
        assert_eq!(seen.look(&lease(Some("b"), "1"), at(9)), Duration::from_secs(9));
        assert_eq!(seen.look(&lease(Some("b"), "2"), at(10)), Duration::ZERO);
        assert_eq!(seen.look(&lease(Some("b"), "2"), at(20)), Duration::from_secs(10));
    }
}
