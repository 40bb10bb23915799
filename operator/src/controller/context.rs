//! What every reconciliation works with.

use super::{closing::Closing, fetch::SecretData};
use crate::{
    administrator::Administrator,
    backends::Backends,
    calls,
    event_recorder::{EventRecorder, Occurrence},
    ownership::{Known, Owner},
    push::Receipts,
    refused::Refused,
    rehearsal::limits::Reading,
    settings::Settings,
    switches::Told,
    watched::{Watched, named::Named, version},
};
use crds::{FlashSale, Readable};
use kube::{
    Client, Resource, ResourceExt,
    core::DeserializeGuard,
    runtime::{
        events::EventType,
        reflector::{ObjectRef, Store},
    },
};
use platform::{clock::Clock, retry::Backoff};
use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// The first and the longest wait after an error.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(60));

/// How often to look whether a sale was edited while it is reconciled.
const EDIT_POLL: Duration = Duration::from_millis(50);

/// Shared by all reconciliations.
pub struct Context {
    /// The API server.
    pub client: Client,
    /// What the operator is told by its chart.
    pub settings: Settings,
    /// Calls to services.
    pub http: reqwest::Client,
    /// What is known about backends.
    pub backends: Backends,
    /// The objects of the sales.
    pub watched: Arc<Watched>,
    /// What is read by name.
    pub named: Named,
    /// What the doors of the sales were told.
    pub told: Told,
    /// The clock.
    pub clock: Clock,
    cluster: String,
    sales: Store<Readable>,
    memories: Mutex<HashMap<String, Memory>>,
    gone: Mutex<VecDeque<String>>,
    administrator: tokio::sync::Mutex<Option<(SecretData, Administrator)>>,
    events: EventRecorder,
}

/// What is remembered of one sale from look to look. All of it can be lost: a process that starts knows none of it.
#[derive(Default)]
struct Memory {
    /// What leads to its backends.
    backends: Option<SecretData>,
    /// How long to wait after an error.
    backoff: Option<Backoff>,
    /// How often that began anew after a round that had failed in parts.
    headstarts: u8,
    /// When its status was written, and the sale as it was then, until the watch shows it.
    written: Option<(Instant, Option<Box<Readable>>)>,
    /// Since when something has been missing from it.
    missing_since: Option<Instant>,
    /// What was asked for its report.
    closing: Option<Box<Closing>>,
    /// How many orders it has refused.
    refused: Refused,
    /// What the processes of a rehearsal had counted while it was under load.
    looks: Vec<Reading>,
}

/// The schedule of waits begins anew so often for what was made in rounds that failed in parts: what somebody else takes away each time
/// must not do so for ever.
const HEADSTARTS: u8 = 20;
/// As many sales that were let go are remembered, by their uids.
const GONE: usize = 500;
/// As many readings of a load are remembered, the newest: those of some ten minutes. What was too much came last.
const LOOKS: usize = 200;

impl Context {
    /// Nothing is known yet.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub fn new(
        client: Client,
        cluster: String,
        settings: Settings,
        clock: Clock,
        sales: Store<Readable>,
        watched: Arc<Watched>,
    ) -> Result<Self, reqwest::Error> {
        Ok(Self {
            events: EventRecorder::default(),
            client,
            settings,
            http: calls::client()?,
            backends: Backends::default(),
            watched,
            named: Named::default(),
            told: Told::default(),
            clock,
            cluster,
            sales,
            memories: Mutex::default(),
            gone: Mutex::default(),
            administrator: tokio::sync::Mutex::default(),
        })
    }

    /// Every FlashSale that the operator looks after, as the watch knows them.
    pub fn sales(&self) -> Vec<Arc<Readable>> {
        self.sales.state()
    }

    /// A sale as the backends know it.
    pub fn owner(&self, sale: &impl ResourceExt) -> Owner {
        owner(&self.cluster, sale)
    }

    /// Names the sale of this cluster that a mark belongs to.
    pub fn known(&self) -> Known {
        let (sales, cluster) = (self.sales.clone(), self.cluster.clone());
        Arc::new(move |mark| {
            let sales = sales.state();
            let mut owners = sales.iter().map(|sale| owner(&cluster, sale.as_ref()));
            owners
                .find(|owner| owner.mark() == mark)
                .map(|owner| owner.to_string())
        })
    }

    /// The platform's administrator as sales get to know it. Hashing takes some 30 ms of a core, so it is done beside the
    /// reconciliations, and once for each version of the Secret.
    pub async fn administrator(&self, secret: &SecretData) -> Option<Administrator> {
        // One at a time: hashing takes megabytes, and after a start hundreds of sales ask at once.
        let mut known = self.administrator.lock().await;
        if let Some((_, administrator)) = known.as_ref().filter(|(of, _)| of == secret) {
            return Some(administrator.clone());
        }
        let (data, cluster) = (secret.clone(), self.cluster.clone());
        let hashed = tokio::task::spawn_blocking(move || Administrator::read(&data, &cluster)).await;
        let administrator = match hashed {
            Ok(Ok(administrator)) => administrator,
            Ok(Err(problem)) => {
                tracing::error!(problem, "the administrator's Secret is not usable");
                return None;
            }
            Err(error) => {
                tracing::error!(%error, "the administrator's password was not hashed");
                return None;
            }
        };
        *known = Some((secret.clone(), administrator.clone()));
        Some(administrator)
    }

    fn memory<R>(&self, sale: &impl ResourceExt, with: impl FnOnce(&mut Memory) -> R) -> R {
        self.memory_of(key(sale), with)
    }

    /// The same of a sale of which something is remembered: a look alone remembers nothing.
    fn recall<R>(&self, sale: &impl ResourceExt, with: impl FnOnce(&mut Memory) -> Option<R>) -> Option<R> {
        let mut memories = self.memories.lock().unwrap_or_else(PoisonError::into_inner);
        memories.get_mut(&key(sale)).and_then(with)
    }

    fn memory_of<R>(&self, uid: String, with: impl FnOnce(&mut Memory) -> R) -> R {
        let mut memories = self.memories.lock().unwrap_or_else(PoisonError::into_inner);
        with(memories.entry(uid).or_default())
    }

    /// Keeps the credentials of a sale: a namespace that is deleted takes the Secret first, a sale that is deleted its copy,
    /// and the sale's data could not be deleted any more.
    pub fn remember(&self, sale: &impl ResourceExt, backends: &SecretData) {
        self.memory(sale, |memory| {
            if memory.backends.as_ref() != Some(backends) {
                memory.backends = Some(backends.clone());
            }
        });
    }

    /// What was remembered.
    pub fn remembered(&self, sale: &impl ResourceExt) -> Option<SecretData> {
        self.recall(sale, |memory| memory.backends.clone())
    }

    /// What has been asked so far for the report of a sale; it is given back with [`Self::keep_closing`].
    pub fn take_closing(&self, sale: &impl ResourceExt) -> Closing {
        let kept = self.recall(sale, |memory| memory.closing.take());
        kept.map_or_else(Closing::default, |closing| *closing)
    }

    /// Keeps it until the next look.
    pub fn keep_closing(&self, sale: &impl ResourceExt, closing: Closing) {
        self.memory(sale, |memory| memory.closing = Some(Box::new(closing)));
    }

    /// How many orders a sale has refused, by what was known and by what its processes say.
    pub fn refused(&self, sale: &impl ResourceExt, known: u64, receipts: &Receipts) -> u64 {
        let all_answered = receipts.unheard == 0;
        self.memory(sale, |memory| {
            memory.refused.count(known, &receipts.refused, all_answered)
        })
    }

    /// Adds a look at a load to those before, and returns all.
    pub fn looked(&self, sale: &impl ResourceExt, look: Option<Reading>) -> Vec<Reading> {
        self.memory(sale, |memory| {
            memory.looks.extend(look);
            let too_many = memory.looks.len().saturating_sub(LOOKS);
            memory.looks.drain(..too_many);
            memory.looks.clone()
        })
    }

    /// Whether the sale was let go. A watch shows it for a moment longer, and whoever cleaned up once more would have to mark its place in the
    /// backends anew.
    pub fn has_gone(&self, sale: &impl ResourceExt) -> bool {
        let gone = self.gone.lock().unwrap_or_else(PoisonError::into_inner);
        gone.contains(&key(sale))
    }

    /// Forgets a sale that is gone.
    pub fn forget(&self, sale: &impl ResourceExt) {
        self.told.forget(&key(sale));
        let mut gone = self.gone.lock().unwrap_or_else(PoisonError::into_inner);
        gone.push_back(key(sale));
        if gone.len() > GONE {
            gone.pop_front();
        }
        drop(gone);
        let mut memories = self.memories.lock().unwrap_or_else(PoisonError::into_inner);
        memories.remove(&key(sale));
    }

    /// Waits until the sale was edited after it was read.
    pub async fn edited_since(&self, read: &FlashSale) {
        let reference = ObjectRef::new(&read.name_any()).within(&read.namespace().unwrap_or_default());
        let edited = || {
            let newest = self.sales.get(&reference);
            newest.is_some_and(|newest| newest.meta().generation > read.metadata.generation)
        };
        while !edited() {
            tokio::time::sleep(EDIT_POLL).await;
        }
    }

    /// How long to wait after an error of this sale. Each has a schedule of its own: a sale that fails for hours
    /// must not slow down the others, nor the next one that fails for the first time.
    pub fn wait_after_error(&self, sale: &impl ResourceExt) -> Duration {
        self.memory(sale, |memory| {
            let backoff = memory
                .backoff
                .get_or_insert_with(|| Backoff::new(BACKOFF.0, BACKOFF.1));
            backoff.next_wait()
        })
    }

    /// Starts the schedule over.
    pub fn succeeded(&self, sale: &impl ResourceExt) {
        self.recall(sale, |memory| {
            memory.headstarts = 0;
            memory.backoff.take()
        });
    }

    /// Starts the schedule over although the round failed: it has made what was not there before, so the rest may go through soon.
    pub fn progressed(&self, uid: &str) {
        self.memory_of(uid.to_owned(), |memory| {
            if memory.headstarts < HEADSTARTS {
                memory.headstarts += 1;
                memory.backoff = None;
            }
        });
    }

    /// Remembers a sale as it is after it was written: the watch shows that a moment later.
    pub fn saw(&self, sale: Readable) {
        let sale = without_fields(sale);
        let of = key(&sale);
        self.memory_of(of, |memory| {
            let at = memory.written.as_ref().map_or_else(Instant::now, |(at, _)| *at);
            memory.written = Some((at, Some(Box::new(sale))));
        });
    }

    /// The same, of a status that was written now.
    pub fn wrote(&self, sale: FlashSale) {
        let sale = without_fields(DeserializeGuard(Ok(sale)));
        let of = key(&sale);
        self.memory_of(of, |memory| {
            memory.written = Some((Instant::now(), Some(Box::new(sale))));
        });
    }

    /// How long ago the status of a sale was written, if it was since this process leads.
    pub fn written_ago(&self, sale: &impl ResourceExt) -> Option<Duration> {
        self.recall(sale, |memory| memory.written.as_ref().map(|(at, _)| at.elapsed()))
    }

    /// The newest that is known of a sale: as the watch shows it, or as it was after it was written. `None` where that cannot be told
    /// from what is known.
    pub fn newest(&self, shown: &Readable) -> Option<Readable> {
        let mut memories = self.memories.lock().unwrap_or_else(PoisonError::into_inner);
        let written = memories
            .get_mut(&key(shown))
            .and_then(|memory| memory.written.as_mut());
        let Some((_, Some(written))) = written.as_deref() else {
            return Some(shown.clone());
        };
        let (shown_at, written_at) = (version(shown), version(written.as_ref()));
        if shown_at == 0 || written_at == 0 {
            return None;
        }
        if written_at > shown_at {
            return Some(written.as_ref().clone());
        }
        // The watch has caught up.
        if let Some(memory) = memories.get_mut(&key(shown))
            && let Some((_, kept)) = &mut memory.written
        {
            *kept = None;
        }
        Some(shown.clone())
    }

    /// A sale as the watch shows it now.
    pub fn shown(&self, sale: &impl ResourceExt) -> Option<Arc<Readable>> {
        let reference = ObjectRef::new(&sale.name_any()).within(&sale.namespace().unwrap_or_default());
        self.sales.get(&reference)
    }

    /// For how long something has been missing from a sale, told at each look whether it is.
    pub fn missing_for(&self, sale: &impl ResourceExt, is_missing: bool) -> Duration {
        self.memory(sale, |memory| {
            if is_missing {
                memory.missing_since.get_or_insert_with(Instant::now).elapsed()
            } else {
                memory.missing_since = None;
                Duration::ZERO
            }
        })
    }

    /// Tells whoever runs `kubectl describe`. Events are a courtesy: one that is lost changes nothing.
    pub async fn event<K>(&self, sale: &K, type_: EventType, action: &str, reason: &str, note: String)
    where
        K: Resource<DynamicType = ()>,
    {
        let occurrence = Occurrence {
            type_,
            action,
            reason,
            note: &note,
        };
        let (instance, now) = (&self.settings.identity, self.clock.now());
        let publish = self
            .events
            .publish(&self.client, instance, sale.object_ref(&()), &occurrence, now);
        let published = tokio::time::timeout(Duration::from_secs(2), publish).await;
        if !matches!(published, Ok(Ok(()))) {
            tracing::debug!(
                sale = sale.meta().name,
                reason,
                "event not published: {published:?}"
            );
        }
    }
}

fn owner(cluster: &str, sale: &impl ResourceExt) -> Owner {
    Owner {
        cluster: cluster.to_owned(),
        namespace: sale.namespace().unwrap_or_default(),
        name: sale.name_any(),
        uid: sale.uid().unwrap_or_default(),
    }
}

/// Who has written which field is half of what there is to keep, and nobody reads it.
fn without_fields(mut sale: Readable) -> Readable {
    sale.managed_fields_mut().clear();
    sale
}

fn key(sale: &impl ResourceExt) -> String {
    sale.uid().unwrap_or_default()
}
