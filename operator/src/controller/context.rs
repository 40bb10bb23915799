//! What every reconciliation works with.

use crate::{backends::Backends, settings::Settings};
use crds::FlashSale;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Client, Resource, ResourceExt,
    runtime::{
        events::{Event, EventType, Recorder, Reporter},
        reflector::{ObjectRef, Store},
    },
};
use platform::{clock::Clock, retry::Backoff};
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
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
    /// The clock.
    pub clock: Clock,
    sales: Store<FlashSale>,
    recorder: Recorder,
    backoffs: Mutex<HashMap<String, Backoff>>,
}

impl Context {
    /// Nothing is known yet.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub fn new(
        client: Client,
        settings: Settings,
        clock: Clock,
        sales: Store<FlashSale>,
    ) -> Result<Self, reqwest::Error> {
        let reporter = Reporter {
            controller: "quicksale-operator".into(),
            instance: Some(settings.identity.clone()),
        };
        // A connection that is kept stays with the replica it was made to, or with whatever answered before the
        // Service had any; a new one for each of the few calls goes to a replica that is there now.
        let http = reqwest::Client::builder().pool_max_idle_per_host(0).build()?;
        Ok(Self {
            recorder: Recorder::new(client.clone(), reporter),
            client,
            settings,
            http,
            backends: Backends::default(),
            clock,
            sales,
            backoffs: Mutex::default(),
        })
    }

    /// Waits until the sale was edited after it was read.
    pub async fn edited_since(&self, read: &FlashSale) {
        let reference = ObjectRef::from_obj(read);
        let edited = || {
            let newest = self.sales.get(&reference);
            newest.is_some_and(|newest| newest.metadata.generation > read.metadata.generation)
        };
        while !edited() {
            tokio::time::sleep(EDIT_POLL).await;
        }
    }

    /// The sales of a namespace as the watch last saw them.
    pub fn last_seen_in(&self, namespace: &str) -> Vec<FlashSale> {
        let sales = self.sales.state();
        let here = sales
            .iter()
            .filter(|sale| sale.namespace().as_deref() == Some(namespace));
        here.map(|sale| FlashSale::clone(sale)).collect()
    }

    /// How long to wait after an error of this sale. Each has a schedule of its own: a sale that fails for hours
    /// must not slow down the others, nor the next one that fails for the first time.
    pub fn wait_after_error(&self, sale: &FlashSale) -> Duration {
        let mut backoffs = self.backoffs.lock().unwrap_or_else(PoisonError::into_inner);
        backoffs
            .entry(key(sale))
            .or_insert_with(|| Backoff::new(BACKOFF.0, BACKOFF.1))
            .next_wait()
    }

    /// Starts the schedule over.
    pub fn succeeded(&self, sale: &FlashSale) {
        self.backoffs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&key(sale));
    }

    /// Tells whoever runs `kubectl describe`. Events are a courtesy: one that is lost changes nothing.
    pub async fn event(&self, sale: &FlashSale, type_: EventType, action: &str, reason: &str, note: String) {
        let event = Event {
            type_,
            reason: reason.to_owned(),
            // The API server takes at most 1024 bytes.
            note: Some(note.chars().take(250).collect()),
            action: action.to_owned(),
            secondary: None,
        };
        let reference: ObjectReference = sale.object_ref(&());
        let published =
            tokio::time::timeout(Duration::from_secs(2), self.recorder.publish(&event, &reference)).await;
        if !matches!(published, Ok(Ok(()))) {
            tracing::debug!(
                sale = sale.name_any(),
                reason,
                "event not published: {published:?}"
            );
        }
    }
}

fn key(sale: &FlashSale) -> String {
    sale.uid().unwrap_or_default()
}
