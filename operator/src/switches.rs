//! The fast way of a switch to the doors of a sale: from the watch, by what is known already, and past everything else.
//!
//! A halt must not wait for its turn among hundreds of reconciliations, nor for an API server that is slow to take the new control
//! document. So what an edit comes to is sent to the gateways and order services in the moment in which the watch shows it. The
//! reconciliation that follows writes the same document down, with the same version, and looks after whoever did not answer.

use crate::{
    controller::{context::Context, control, fetch, reconcile},
    metrics::SWITCH_SECONDS,
    push,
};
use crds::{FlashSale, Readable, ValidSale};
use futures::StreamExt;
use kube::{
    ResourceExt,
    runtime::reflector::{ObjectRef, Store},
};
use platform::tokens::Signer;
use sale::control::ControlDocument;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::mpsc;

/// Sales whose doors are told something at the same time.
const CONCURRENCY: usize = 64;
/// How many edits may wait; more are left to the reconciliations.
const AHEAD: usize = 1_024;
/// How often somebody who does not answer is told again before that is left to the reconciliation.
const TRIES: u32 = 8;
/// The wait between two tries.
const AGAIN: Duration = Duration::from_millis(250);

/// What the doors of each sale were told last.
#[derive(Debug, Default)]
pub struct Told {
    sales: Mutex<HashMap<String, Steering>>,
}

/// What it takes to tell the doors of a sale something.
#[derive(Debug, Clone)]
pub struct Steering {
    /// The document that they were sent last.
    pub document: ControlDocument,
    /// A version that one of them has beyond that: whatever is sent next must be newer.
    pub beyond: u64,
    /// Signs for calls to them.
    pub signer: Arc<Signer>,
}

impl Told {
    /// What a sale's doors were told last, by its uid.
    pub fn last(&self, uid: &str) -> Option<Steering> {
        self.lock().get(uid).cloned()
    }

    /// Remembers what they are told now, unless that is older.
    pub fn is_told(&self, uid: &str, steering: Steering) {
        let mut sales = self.lock();
        let newer = sales
            .get(uid)
            .is_none_or(|known| known.document.version <= steering.document.version);
        if newer {
            sales.insert(uid.to_owned(), steering);
        }
    }

    /// Remembers that one of them has a version that nobody here knows of.
    pub fn has_beyond(&self, uid: &str, version: u64) {
        if let Some(known) = self.lock().get_mut(uid) {
            known.beyond = known.beyond.max(version);
        }
    }

    /// Forgets a sale that is gone.
    pub fn forget(&self, uid: &str) {
        self.lock().remove(uid);
    }

    /// Decides on the document that belongs to a sale now, and remembers it, at once: of two who do this at the same time, the second
    /// goes on from what the first has decided. `None` where nothing changes, or nobody was told anything yet.
    fn change(&self, uid: &str, decide: impl FnOnce(&Steering) -> ControlDocument) -> Option<Steering> {
        let mut sales = self.lock();
        let known = sales.get_mut(uid)?;
        let document = decide(known);
        if document == known.document {
            return None;
        }
        known.document = document;
        Some(known.clone())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Steering>> {
        self.sales.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where the watch puts what it sees.
#[derive(Debug, Clone)]
pub struct Edits {
    seen: mpsc::Sender<(ObjectRef<Readable>, Instant)>,
}

impl Edits {
    /// A sale was made or edited. Where too many wait already, its reconciliation will tell the doors.
    pub fn saw(&self, sale: &Readable) {
        let reference = ObjectRef::new(&sale.name_any()).within(&sale.namespace().unwrap_or_default());
        if self.seen.try_send((reference, Instant::now())).is_err() {
            tracing::debug!(sale = sale.name_any(), "too many edits at once for the fast way");
        }
    }
}

/// The way, and its entrance.
pub fn way() -> (Edits, mpsc::Receiver<(ObjectRef<Readable>, Instant)>) {
    let (seen, edits) = mpsc::channel(AHEAD);
    (Edits { seen }, edits)
}

/// Tells the doors what edits come to, for as long as there are any.
pub async fn carry(
    context: Arc<Context>,
    store: Store<Readable>,
    mut edits: mpsc::Receiver<(ObjectRef<Readable>, Instant)>,
) {
    let edits = futures::stream::poll_fn(move |task| edits.poll_recv(task));
    edits
        .for_each_concurrent(CONCURRENCY, |(reference, seen)| {
            let (context, store) = (Arc::clone(&context), store.clone());
            async move {
                // The newest: of two edits in a moment the second counts.
                let newest = store.get(&reference);
                if let Some(Ok(sale)) = newest.as_ref().map(|sale| sale.0.as_ref()) {
                    tell(&context, sale, seen).await;
                }
            }
        })
        .await;
}

/// Tells the doors of one sale what its spec says now, if that is anything new to them.
async fn tell(context: &Context, sale: &FlashSale, seen: Instant) {
    let uid = sale.uid().unwrap_or_default();
    let Some(valid) = ValidSale::try_from(sale)
        .ok()
        .or_else(|| ValidSale::salvaged(sale))
    else {
        return;
    };
    let now = context.clock.now();
    let observed = fetch::glance(context, sale, now);
    let status = reconcile::known_status(sale, &observed, now);
    let schedule = reconcile::schedule(&valid, &status, &observed.doors(&valid.id.name), now);
    let deleting = sale.metadata.deletion_timestamp.is_some();
    let decide = |known: &Steering| {
        control::document(
            &valid,
            &status,
            &schedule,
            deleting,
            control::Before::of(&known.document, known.beyond),
            now,
        )
    };
    let Some(steering) = context.told.change(&uid, decide) else {
        return;
    };
    let token = match steering.signer.service_token("operator", now) {
        Ok(token) => token,
        Err(error) => {
            tracing::warn!(%error, sale = %valid.id, "nothing can be signed for the doors");
            return;
        }
    };
    let mut receipts = push::push(&context.http, &token, &observed.pods, &steering.document).await;
    for _ in 1..TRIES {
        let newest = context.told.last(&uid).map(|last| last.document.version);
        if receipts.everywhere() || newest != Some(steering.document.version) {
            break;
        }
        tokio::time::sleep(AGAIN).await;
        let observed = fetch::glance(context, sale, context.clock.now());
        receipts = push::push(&context.http, &token, &observed.pods, &steering.document).await;
    }
    if receipts.everywhere() {
        SWITCH_SECONDS.observe(seen.elapsed().as_secs_f64());
    }
    tracing::info!(
        sale = %valid.id, version = steering.document.version, in_force = receipts.in_force(),
        audience = receipts.audience, "the doors were told of an edit"
    );
}
