//! One round of building, applying, pushing and pruning.

use super::{
    apply::{ApplyErrors, apply},
    backends_secret,
    build::{self, Child, Kind, Plan, backend_ports::BackendPorts},
    context::Context,
    control::{self, Before},
    error::Error,
    fetch,
    observed::Observed,
    pin::{self, Buyers, Pinned, Pins},
    prune::prune,
    standing,
};
use crate::{
    phase::Schedule,
    push::{self, Receipts},
    signing_keys::KeyRing,
    switches::Steering,
    watched::SaleKey,
};
use crds::{Component, FlashSaleStatus, ValidSale};
use jiff::{SignedDuration, Timestamp};
use platform::tokens::Signer;
use sale::{control::ControlDocument, phase::Phase};
use sha2::{Digest, Sha256};
use std::time::Duration;

/// What it is to be brought about for.
#[derive(Debug, Clone, Copy)]
pub struct Aim<'a> {
    /// The checked sale.
    pub sale: &'a ValidSale,
    /// What is known of it.
    pub status: &'a FlashSaleStatus,
    /// Its times.
    pub schedule: &'a Schedule,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// What [`ROTATE_ANNOTATION`](crds::names::ROTATE_ANNOTATION) says.
    pub asked_for_key: Option<&'a str>,
    /// Whether pods of an open sale may start anew.
    pub may_roll_out: bool,
    /// Whether the host belongs to another sale.
    pub host_is_taken: bool,
    /// Whether the load of a rehearsal has to wait for another sale.
    pub load_waits: bool,
    /// The version of the FlashSale that all of this is read from.
    pub version: u64,
}

/// What is to be brought about.
pub struct Rollout {
    /// The objects, in order.
    pub objects: Vec<Child>,
    /// A token for calls to the sale's services.
    pub token: String,
    /// The document that belongs to the sale now.
    pub control: ControlDocument,
    /// The services whose pods keep what the sale was opened with.
    pub held: Vec<Component>,
    /// The hash of what an open sale keeps.
    pub pinned: Option<String>,
    /// What nobody can guess who may not read the sale's keys: its report is named after it.
    pub seal: String,
    /// Whether what is not wanted is taken away.
    prunes: bool,
    sale: SaleKey,
    uid: String,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Who goes by the control document.
    pub receipts: Receipts,
    /// Whether anything was written or deleted.
    pub changed: bool,
    /// Whether a Deployment was written.
    pub deployments_changed: bool,
    /// What could not be applied; the rest was.
    pub failure: Option<ApplyErrors>,
}

impl Rollout {
    /// Decides on everything; `None` where a newer version of the sale was acted on meanwhile.
    ///
    /// # Errors
    /// [`Error::Keys`].
    pub fn prepare(
        context: &Context,
        aim: &Aim<'_>,
        observed: &Observed,
        now: Timestamp,
    ) -> Result<Option<Self>, Error> {
        let Aim {
            sale,
            status,
            schedule,
            deleting,
            asked_for_key,
            may_roll_out,
            host_is_taken,
            load_waits,
            version,
        } = *aim;
        let name = &sale.id.name;
        let keys = match observed.keys(name, now) {
            Some(keys) => keys.advance(asked_for_key, context.settings.key_pace(), now)?,
            None => KeyRing::generate(asked_for_key, now)?,
        };
        let signer = Signer::from_pem(keys.signing_pem())?;
        let token = signer.service_token("operator", now)?;
        let key_data = keys.data()?;
        // What was sent by the fast way may not be written down yet.
        let written = observed.control(name);
        let decide = |told: Option<&Steering>| {
            let newest = [written.as_ref(), told.map(|told| &told.document)];
            let before = Before {
                document: newest
                    .into_iter()
                    .flatten()
                    .max_by_key(|document| document.version),
                beyond: told.map_or(0, |told| told.beyond),
            };
            control::document(sale, status, schedule, deleting, before, now)
        };
        let decided = match status.phase() {
            // Nobody is there to be told anything.
            Phase::Pending => Some(decide(None)),
            _ => context.told.settle(&sale.uid, version, signer, decide),
        };
        let Some(control) = decided else {
            return Ok(None);
        };
        let backends_hash = backends_hash(sale, observed);
        let copy = observed
            .backends
            .as_ref()
            .filter(|_| sale.backends_secret.is_none());
        let backends_copy = copy.map(backends_secret::for_pods);
        let backends_keys = observed.backends_keys(name);
        let buyers = Buyers::of(status);
        let ports_before = pin::ports_before(name, buyers, observed);
        let plaintext_senders = pin::plaintext_senders(&context.settings, sale, observed);
        let plan = Plan {
            sale,
            phase: status.phase(),
            retention_over: retention_over(sale, status, now),
            platform: pin::platform(&context.settings, sale, buyers, observed),
            first_key: keys.first(),
            keys: &key_data,
            backends_copy: backends_copy.as_ref(),
            backends_keys: &backends_keys,
            backends_hash: &backends_hash,
            plaintext_senders: &plaintext_senders,
            backend_ports: &BackendPorts::of_all(observed.backends.as_ref()),
            ports_before: &ports_before,
            // A sale with backends of its own has other accounts.
            admin: observed
                .administrator
                .as_ref()
                .filter(|_| sale.backends_secret.is_none()),
            control: &control,
            scaled_by_others: &observed.scaled_by_others(name),
            current_replicas: &observed.replicas(name),
            opening: is_opening(status, now),
            // One that has begun goes on.
            load: !load_waits || observed.children.iter().any(|(kind, _)| *kind == Kind::Job),
            has_its_host: !host_is_taken || standing::keeps_its_host(sale, buyers, observed),
            load_balancer: standing::may_have_its_load_balancer(
                sale,
                buyers,
                observed,
                context.settings.entrances.load_balancers,
            ),
            standing_annotations: &standing::annotations(sale, buyers, observed),
        };
        let pins = Pins {
            buyers,
            allowed: may_roll_out,
            first_key: keys.first(),
            hash: status.pinned.as_deref(),
        };
        let Pinned {
            objects,
            held,
            hash: pinned,
        } = pin::pin(build::objects(&plan), sale, &pins, observed);
        Ok(Some(Self {
            objects,
            token,
            control,
            prunes: true,
            held,
            pinned,
            seal: seal(keys.signing_pem()),
            sale: SaleKey {
                namespace: sale.id.namespace.clone(),
                name: sale.id.name.clone(),
            },
            uid: sale.uid.clone(),
        }))
    }

    /// Leaves everything as it is but the control document.
    pub fn only_steer(&mut self, observed: &Observed) {
        self.objects.truncate(1);
        self.objects
            .retain(|control| observed.child(control.kind, &control.name).is_some());
        self.prunes = false;
        // What describes the pins is not written either.
        self.pinned = None;
    }

    /// Brings it about: the control document first and to everybody, then the rest in order.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn carry_out(&mut self, context: &Context, observed: &Observed) -> Result<Outcome, Error> {
        let push = push::push(
            &context.http,
            &self.token,
            &observed.pods,
            &self.control,
            &context.clock,
        );
        // Whoever decides about orders is told whatever becomes of the rest: the API server may be unwell.
        let (receipts, applied) = tokio::join!(push, self.apply_all(context, observed));
        if receipts.newest > self.control.version {
            context.told.raise_beyond(&self.uid, receipts.newest);
        }
        let mut outcome = Outcome { receipts, ..applied };
        let mut changed = outcome.changed;
        if self.prunes {
            changed |= prune(context, &self.sale.namespace, observed, &self.objects).await? > 0;
        }
        if changed {
            // Whoever has changed one thing by hand may have changed a Secret as well.
            fetch::forget_secrets(context, &self.sale);
        }
        outcome.changed = changed;
        // A megabyte, which nobody reads in the slow part of a round, which is still to come.
        self.objects = Vec::new();
        Ok(outcome)
    }

    /// Applies in order. An object that the API server refuses must not hold up the rest of the sale.
    async fn apply_all(&self, context: &Context, observed: &Observed) -> Outcome {
        let mut outcome = Outcome::default();
        let (mut made, mut failed) = (false, Vec::new());
        for child in &self.objects {
            match apply(context, &self.sale.namespace, observed, child).await {
                Ok(changed) => {
                    outcome.changed |= changed;
                    made |= changed && observed.child(child.kind, &child.name).is_none();
                    outcome.deployments_changed |= changed && child.kind == Kind::Deployment;
                }
                Err(error) => {
                    tracing::warn!(%error, "not applied");
                    failed.push(error);
                }
            }
        }
        if made {
            context.progressed(&self.uid);
        }
        outcome.failure = ApplyErrors::of(failed);
        outcome
    }
}

/// How long after its opening a sale keeps the replicas that it opened with.
const OPENING: SignedDuration = SignedDuration::from_mins(10);

/// Whether a sale is about to open, or has just done so.
fn is_opening(status: &FlashSaleStatus, now: Timestamp) -> bool {
    match status.phase() {
        Phase::Warming => true,
        Phase::Live => status.opened_at.is_none_or(|at| now.duration_since(at) < OPENING),
        Phase::Pending | Phase::Draining | Phase::Ended => false,
    }
}

fn seal(key: &str) -> String {
    let mut hash = Sha256::new();
    hash.update("report");
    hash.update(key);
    hex::encode(&hash.finalize()[..4])
}

/// How long the services of a rehearsal wait for its report.
const REPORTED: Duration = Duration::from_secs(600);

fn retention_over(sale: &ValidSale, status: &FlashSaleStatus, now: Timestamp) -> bool {
    // Nobody reads the orders of a rehearsal once it is reported, and its data can be wiped only when its services are gone.
    let kept = match (sale.is_rehearsal(), &status.report_ref) {
        (true, Some(_)) => return true,
        (true, None) => REPORTED,
        (false, _) => sale.retain_for,
    };
    let since = status.ended_at.filter(|at| now >= *at);
    since.is_some_and(|at| now.duration_since(at).unsigned_abs() >= kept)
}

/// A hash of the credentials in use. Where they cannot be read now, what the pods were started with still holds.
fn backends_hash(sale: &ValidSale, observed: &Observed) -> String {
    let known = observed.backends.as_ref().map(backends_secret::hash);
    known
        .or_else(|| observed.backends_hash(&sale.id.name))
        .unwrap_or_else(|| "none".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use sale::SaleId;

    /// Pins that do not match their hash are not believed, so a hash without them would have an open sale keep what is found of it.
    #[test]
    fn where_only_the_doors_are_steered_no_pins_are_noted() {
        let id = SaleId {
            namespace: "shop".to_owned(),
            name: "laptops".to_owned(),
        };
        let mut rollout = Rollout {
            objects: Vec::new(),
            token: String::new(),
            control: ControlDocument::open_now(id, Timestamp::UNIX_EPOCH),
            held: Vec::new(),
            pinned: Some("of what is wanted".to_owned()),
            seal: String::new(),
            prunes: true,
            sale: SaleKey {
                namespace: "shop".to_owned(),
                name: "laptops".to_owned(),
            },
            uid: String::new(),
        };
        rollout.only_steer(&Observed::default());
        assert_eq!((rollout.pinned, rollout.prunes), (None, false));
    }
}
