//! The fast way of a switch to the doors of a sale: from the watch, by what is known already, and past everything else.
//!
//! A halt must not wait for its turn among hundreds of reconciliations, nor for an API server that is slow to take the new control
//! document. So what an edit comes to is sent to the gateways and order services in the moment in which the watch shows it. The
//! reconciliation that follows writes the same document down, with the same version, and looks after whoever did not answer.

use crate::{
    controller::{context::Context, control, deletion, fetch, known, pods::ObservedPod},
    metrics::SWITCH_SECONDS,
    push,
    watched::version,
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
    /// The version of the sale that the document was decided by: who knows only an older one decides nothing any more.
    pub of: u64,
    /// Signs for calls to them.
    pub signer: Arc<Signer>,
}

impl Told {
    /// What a sale's doors were told last, by its uid.
    pub fn last(&self, uid: &str) -> Option<Steering> {
        self.lock().get(uid).cloned()
    }

    /// Decides, in a reconciliation, on the document that belongs to a sale of this version, and remembers it. `None` where it was
    /// decided by a newer version of the sale already: the reconciliation has to look again.
    pub fn settle(
        &self,
        uid: &str,
        of: u64,
        signer: Signer,
        decide: impl FnOnce(Option<&Steering>) -> ControlDocument,
    ) -> Option<ControlDocument> {
        let mut sales = self.lock();
        let known = sales.get(uid);
        if known.is_some_and(|known| known.of > of) {
            return None;
        }
        let steering = Steering {
            document: decide(known),
            beyond: known.map_or(0, |known| known.beyond),
            of,
            signer: Arc::new(signer),
        };
        let document = steering.document.clone();
        sales.insert(uid.to_owned(), steering);
        Some(document)
    }

    /// Remembers that one of them has a version that nobody here knows of.
    pub fn raise_beyond(&self, uid: &str, version: u64) {
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
    fn change(
        &self,
        uid: &str,
        of: u64,
        decide: impl FnOnce(&Steering) -> ControlDocument,
    ) -> Option<Steering> {
        let mut sales = self.lock();
        let known = sales.get_mut(uid).filter(|known| known.of <= of)?;
        let document = decide(known);
        known.of = of;
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
                let shown = store.get(&reference);
                // What was written is known before the watch shows it: an older status would say that a closed sale is open.
                let newest = shown.and_then(|shown| context.newest(&shown));
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
    let status = known::known_status(context, sale, &observed, now);
    let doors = known::doors(context, sale, &observed);
    let schedule = known::schedule(&valid, &status, &doors, now);
    let deleting = deletion::is_asked_for(sale);
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
    let Some(steering) = context.told.change(&uid, version(sale), decide) else {
        return;
    };
    let token = match steering.signer.service_token("operator", now) {
        Ok(token) => token,
        Err(error) => {
            tracing::warn!(%error, sale = %valid.id, "nothing can be signed for the doors");
            return;
        }
    };
    let send = async |pods: &[ObservedPod]| {
        push::push(&context.http, &token, pods, &steering.document, &context.clock).await
    };
    let mut receipts = send(&observed.pods).await;
    for _ in 1..TRIES {
        let newest = context.told.last(&uid).map(|last| last.document.version);
        if receipts.everywhere() || newest != Some(steering.document.version) {
            break;
        }
        tokio::time::sleep(AGAIN).await;
        let observed = fetch::glance(context, sale, context.clock.now());
        receipts = send(&observed.pods).await;
    }
    if receipts.everywhere() {
        SWITCH_SECONDS.observe(seen.elapsed().as_secs_f64());
    }
    tracing::info!(
        sale = %valid.id, version = steering.document.version, in_force = receipts.in_force(),
        audience = receipts.audience, "the doors were told of an edit"
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use sale::SaleId;

    fn document(version: u64, halted: bool) -> ControlDocument {
        let sale = SaleId {
            namespace: "shop".into(),
            name: "shoes".into(),
        };
        ControlDocument {
            version,
            halted,
            ..ControlDocument::open_now(sale, Timestamp::UNIX_EPOCH)
        }
    }

    fn signer() -> Signer {
        let keys = crate::signing_keys::KeyRing::generate(None, Timestamp::UNIX_EPOCH).unwrap();
        Signer::from_pem(keys.signing_pem()).unwrap()
    }

    /// A reconciliation that began before a halt must not take it back.
    #[test]
    fn what_was_decided_by_a_newer_version_of_a_sale_stands() {
        let told = Told::default();
        let settle = |of, halted, version| {
            let decided = told.settle("u", of, signer(), |_| document(version, halted));
            decided.map(|document| document.version)
        };
        assert_eq!(settle(100, false, 1), Some(1));
        let halt = told.change("u", 101, |known| {
            assert_eq!(known.document.version, 1);
            document(2, true)
        });
        assert_eq!(halt.map(|steering| steering.document.version), Some(2));
        assert_eq!(settle(100, false, 3), None, "it has an older copy of the sale");
        assert!(told.last("u").unwrap().document.halted);
        assert!(told.change("u", 100, |_| document(3, false)).is_none());
        assert_eq!(settle(101, true, 2), Some(2));
        assert_eq!(settle(102, false, 4), Some(4));
        assert!(
            told.change("v", 1, |_| document(1, false)).is_none(),
            "nobody was told anything"
        );
    }
}
