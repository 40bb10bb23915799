//! One leader among the operator's replicas, by a Lease.
//!
//! The holder renews every 5 s; a Lease that nobody renewed for 15 s is free. Whoever cannot renew stops before its
//! Lease is free for others, and the process ends with it: a reconciliation that is under way elsewhere in the
//! process cannot outlive the right to make it.

use crate::deadline::ApiError;
use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use kube::{Api, Client, api::PostParams};
use platform::clock::Clock;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How long a Lease is good for without renewal.
pub const LEASE: Duration = Duration::from_secs(15);
/// How often it is renewed or asked for.
pub const RENEW_EVERY: Duration = Duration::from_secs(5);
/// How long the leader goes on without a successful renewal. What is left of the Lease is for clocks that differ.
const GIVE_UP_AFTER: Duration = Duration::from_secs(10);
/// How long one call may take: several fit before the leader gives up.
const CALL_DEADLINE: Duration = Duration::from_secs(3);

/// A claim to lead.
#[derive(Clone)]
pub struct Leadership {
    api: Api<Lease>,
    name: String,
    identity: String,
    clock: Clock,
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
    pub fn new(client: &Client, namespace: &str, name: &str, identity: &str, clock: Clock) -> Self {
        Self {
            api: Api::namespaced(client.clone(), namespace),
            name: name.to_owned(),
            identity: identity.to_owned(),
            clock,
        }
    }

    /// Tries once to take or renew the Lease; returns whether it is ours.
    ///
    /// # Errors
    /// [`ApiError`] when that is not known.
    pub async fn try_hold(&self) -> Result<bool, ApiError> {
        match tokio::time::timeout(CALL_DEADLINE, self.try_hold_unbounded()).await {
            Ok(held) => held,
            Err(_) => Err(ApiError::Deadline),
        }
    }

    async fn try_hold_unbounded(&self) -> Result<bool, ApiError> {
        let now = self.clock.now();
        let found = self.api.get_opt(&self.name).await.map_err(Box::new)?;
        let written = match found {
            None => {
                self.api
                    .create(&PostParams::default(), &self.held(None, now))
                    .await
            }
            Some(lease) => match claim(&lease, &self.identity, now) {
                Claim::Wait => return Ok(false),
                // The version that was read goes with it: of two who write at once, one is refused.
                Claim::Renew | Claim::Take => {
                    self.api
                        .replace(&self.name, &PostParams::default(), &self.held(Some(&lease), now))
                        .await
                }
            },
        };
        match written {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
            Err(error) => Err(Box::new(error).into()),
        }
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

    /// Waits until the Lease is ours, or `stop`; `tried` is called after every try that the API server answered.
    pub async fn acquire(&self, stop: &CancellationToken, tried: impl Fn()) -> bool {
        let mut tick = tokio::time::interval(RENEW_EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return false,
                _ = tick.tick() => {}
            }
            match self.try_hold().await {
                Ok(true) => {
                    tracing::info!(identity = self.identity, "leading");
                    return true;
                }
                Ok(false) => tried(),
                Err(error) => tracing::warn!(%error, "cannot ask for the lease"),
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
            match self.try_hold().await {
                Ok(true) => {
                    last = tokio::time::Instant::now();
                    renewed();
                }
                Ok(false) => {
                    tracing::error!("the lease was lost to another replica");
                    return;
                }
                Err(error) if last.elapsed() >= GIVE_UP_AFTER => {
                    tracing::error!(%error, "the lease could not be renewed in time");
                    return;
                }
                Err(error) => {
                    tracing::warn!(%error, "the lease could not be renewed; trying again");
                    tick.reset_after(Duration::from_secs(1));
                }
            }
        }
    }

    /// Gives the Lease back, so that the next leader need not wait for its end.
    pub async fn release(&self) {
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

fn claim(lease: &Lease, identity: &str, now: Timestamp) -> Claim {
    let spec = lease.spec.clone().unwrap_or_default();
    match spec.holder_identity.as_deref() {
        None | Some("") => Claim::Take,
        Some(holder) if holder == identity => Claim::Renew,
        Some(_) => {
            let seconds = i64::from(spec.lease_duration_seconds.unwrap_or(0));
            let ends = spec.renew_time.map_or(0, |time| time.0.as_second() + seconds);
            if now.as_second() > ends {
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

    fn lease(holder: Option<&str>, renewed_at: i64) -> Lease {
        Lease {
            spec: Some(LeaseSpec {
                holder_identity: holder.map(str::to_owned),
                lease_duration_seconds: Some(15),
                renew_time: Some(MicroTime(Timestamp::from_second(renewed_at).unwrap())),
                ..LeaseSpec::default()
            }),
            ..Lease::default()
        }
    }

    #[test]
    fn a_lease_is_taken_only_when_nobody_holds_it() {
        let at = |s| Timestamp::from_second(s).unwrap();
        assert_eq!(claim(&lease(Some("a"), 100), "a", at(500)), Claim::Renew);
        assert_eq!(claim(&lease(Some("b"), 100), "a", at(115)), Claim::Wait);
        assert_eq!(claim(&lease(Some("b"), 100), "a", at(116)), Claim::Take);
        assert_eq!(claim(&lease(None, 100), "a", at(101)), Claim::Take);
        assert_eq!(claim(&Lease::default(), "a", at(0)), Claim::Take);
    }
}
