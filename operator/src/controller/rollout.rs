//! One round of building, applying, pushing and pruning.

use super::{
    apply::{ApplyError, apply},
    backends_secret,
    build::{self, Child, Kind, Plan, backend_ports::BackendPorts},
    context::Context,
    control,
    error::Error,
    fetch::Observed,
    pin::{self, Doors},
    prune::prune,
};
use crate::{
    phase::Schedule,
    push::{self, Receipts},
    signing_keys::KeyRing,
};
use crds::{FlashSaleStatus, ValidSale};
use jiff::Timestamp;
use platform::tokens::Signer;
use sale::{control::ControlDocument, phase::Phase};
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
    /// What [`ROTATE`](crate::signing_keys::ROTATE) says.
    pub asked_for_key: Option<&'a str>,
}

/// What is to be brought about.
pub struct Rollout {
    /// The objects, in order.
    pub objects: Vec<Child>,
    /// The hash of the backends Secret.
    pub backends_hash: String,
    /// A token for calls to the sale's services.
    pub token: String,
    /// The document that belongs to the sale now.
    pub control: ControlDocument,
    /// Whether what is not wanted is taken away.
    prunes: bool,
    namespace: String,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Who goes by the control document.
    pub receipts: Receipts,
    /// Whether a Deployment was written.
    pub deployments_changed: bool,
    /// The first object that could not be applied; those after it were tried all the same.
    pub failure: Option<ApplyError>,
}

impl Rollout {
    /// Decides on everything.
    ///
    /// # Errors
    /// [`Error::Keys`].
    pub fn prepare(
        context: &Context,
        aim: &Aim<'_>,
        observed: &Observed,
        now: Timestamp,
    ) -> Result<Self, Error> {
        let Aim {
            sale,
            status,
            schedule,
            deleting,
            asked_for_key,
        } = *aim;
        let name = &sale.id.name;
        let keys = match observed.keys(name, now) {
            Some(keys) => keys.advance(asked_for_key, context.settings.key_pace(), now)?,
            None => KeyRing::generate(asked_for_key, now)?,
        };
        let token = Signer::from_pem(keys.signing_pem())?.service_token("operator", now)?;
        let key_data = keys.data()?;
        let control = control::document(
            sale,
            status,
            schedule,
            deleting,
            observed.control(name).as_ref(),
            now,
        );
        let backends_hash = backends_hash(sale, observed);
        let copy = observed
            .backends
            .as_ref()
            .filter(|_| sale.backends_secret.is_none());
        let backends_copy = copy.map(backends_secret::for_pods);
        let backends_keys = observed.backends_keys(name);
        let doors = Doors::of(status);
        let ports_before = pin::ports_before(name, doors, observed);
        let plaintext_senders = pin::plaintext_senders(&context.settings, sale, doors, observed);
        let plan = Plan {
            sale,
            phase: status.phase(),
            retention_over: retention_over(sale, status, now),
            platform: pin::platform(&context.settings, sale, doors, observed),
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
        };
        let mut objects = build::objects(&plan);
        if status.phase() == Phase::Ended {
            objects.push(build::report::report(sale, status));
        }
        Ok(Self {
            objects,
            backends_hash,
            token,
            control,
            prunes: true,
            namespace: sale.id.namespace.clone(),
        })
    }

    /// Leaves everything as it is but the control document, and what depends on nobody's spec.
    pub fn only_steer(&mut self, observed: &Observed) {
        self.objects.truncate(1);
        self.objects
            .retain(|control| observed.child(control.kind, &control.name).is_some());
        self.prunes = false;
    }

    /// Brings it about: the control document first and to everybody, then the rest in order.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn carry_out(&self, context: &Context, observed: &Observed) -> Result<Outcome, Error> {
        let mut outcome = Outcome::default();
        if let Some((control, rest)) = self.objects.split_first() {
            apply(&context.client, &self.namespace, observed, control).await?;
            let push = push::push(&context.http, &self.token, &observed.pods, &self.control);
            let (receipts, applied) = tokio::join!(push, self.apply_all(context, observed, rest));
            outcome = Outcome { receipts, ..applied };
        }
        if self.prunes {
            prune(&context.client, &self.namespace, observed, &self.objects).await?;
        }
        Ok(outcome)
    }

    /// Applies in order. An object that the API server refuses must not hold up the rest of the sale.
    async fn apply_all(&self, context: &Context, observed: &Observed, objects: &[Child]) -> Outcome {
        let mut outcome = Outcome::default();
        for child in objects {
            match apply(&context.client, &self.namespace, observed, child).await {
                Ok(changed) => outcome.deployments_changed |= changed && child.kind == Kind::Deployment,
                Err(error) => {
                    tracing::warn!(%error, "not applied");
                    outcome.failure.get_or_insert(error);
                }
            }
        }
        outcome
    }
}

fn retention_over(sale: &ValidSale, status: &FlashSaleStatus, now: Timestamp) -> bool {
    // Nobody reads the orders of a rehearsal, and its data can be wiped only when its services are gone.
    sale.is_rehearsal()
        || status
            .ended_at
            .is_some_and(|at| now >= at && now.duration_since(at).unsigned_abs() >= sale.retain_for)
}

/// A hash of the credentials in use. Where they cannot be read now, what the pods were started with still holds.
fn backends_hash(sale: &ValidSale, observed: &Observed) -> String {
    let known = observed.backends.as_ref().map(backends_secret::hash);
    known
        .or_else(|| observed.backends_hash(&sale.id.name))
        .unwrap_or_else(|| "none".to_owned())
}
