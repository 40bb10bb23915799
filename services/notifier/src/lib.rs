//! The notifier: tells every buyer what became of the order.
//!
//! - [`store`] keeps notifications; [`record`] is the lane handler that writes them, once;
//! - [`tail`] reads every partition in every replica, from where it is stored up to, and feeds [`hub`], which pushes to
//!   the sockets of this process;
//! - [`socket`] is one buyer's WebSocket: what was missed first, then what happens;
//! - [`tickets`] open one without a token in its address; [`pace`] bounds how often a user may try, and [`networks`] what all
//!   users of one network may have;
//! - [`routes`] is the HTTP API.

pub mod hub;
pub mod networks;
pub mod pace;
pub mod record;
pub mod routes;
pub mod socket;
pub mod store;
pub mod tail;
pub mod tickets;

use axum::Router;
use events::lanes::{LaneStore, LaneWorker, Settings};
use futures::{FutureExt, future::BoxFuture};
use mongodb::Database;
use platform::{
    backends::{
        kafka::KafkaCredentials,
        mongo::{self, Transactions},
    },
    clock::Clock,
    config::Config,
    health::Health,
    http::{authorization::Authority, https},
    metrics::Metric,
};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// What the service counts.
pub fn metrics() -> Vec<Metric> {
    let mut all = hub::metrics();
    all.extend(tail::metrics());
    all.extend(events::metrics(record::GROUP));
    all
}

/// What the service is built from.
pub struct Dependencies {
    /// The sale's configuration.
    pub config: Config,
    /// The sale's own database.
    pub database: Database,
    /// Transactions on it.
    pub transactions: Transactions,
    /// Kafka.
    pub kafka: KafkaCredentials,
    /// Verifies tokens.
    pub authority: Authority,
    /// The clock.
    pub clock: Clock,
    /// Health of the process.
    pub health: Health,
    /// Cancelled when the process ends.
    pub stop: CancellationToken,
    /// Name of this process among the workers of the sale.
    pub instance: String,
}

/// The routes of the service and the tasks that must run beside them.
pub struct Service {
    /// Routes.
    pub router: Router,
    /// Named tasks that last as long as the process.
    pub tasks: Vec<(&'static str, BoxFuture<'static, ()>)>,
}

/// Puts the service together. Nothing is awaited: backends may come later.
pub fn build(deps: Dependencies) -> Service {
    let database = deps.database;
    let store = store::Store::new(&database);
    let hub = Arc::new(hub::Hub::default());
    let settings = Settings::of(
        &deps.config,
        deps.kafka.clone(),
        deps.instance,
        deps.clock.clone(),
    );
    let recorder = Arc::new(record::Record::new(store.clone(), deps.clock.clone()));
    let worker = LaneWorker::new(
        settings,
        database.clone(),
        deps.transactions,
        recorder,
        deps.health.clone(),
    );
    let tickets = tickets::Tickets::new(&database);
    let indexes = (store.clone(), tickets.clone());
    // Two that store for one buyer at the same time are kept apart by an index.
    let (prepared, stop_storing) = (CancellationToken::new(), deps.stop.clone());
    let is_prepared = prepared.clone();
    let storing = async move {
        tokio::select! {
            () = stop_storing.cancelled() => {}
            () = is_prepared.cancelled() => worker.run(stop_storing).await,
        }
    };
    let prepare = mongo::prepare(
        move || {
            let (notifications, tickets) = indexes.clone();
            let prepared = prepared.clone();
            async move {
                notifications.create_indexes().await?;
                tickets.create_index().await?;
                prepared.cancel();
                Ok::<_, mongodb::error::Error>(())
            }
        },
        deps.health.gate("notification indexes"),
        deps.stop.clone(),
    );
    let tail = tail::Tail {
        hub: Arc::clone(&hub),
        store: store.clone(),
        lanes: LaneStore::new(&database),
        credentials: deps.kafka,
        config: deps.config.kafka.clone(),
        clock: deps.clock.clone(),
    };
    let tail = tail.run(
        deps.health.gate("where order.status is stored up to"),
        deps.stop.clone(),
    );
    // Their tasks are nobody's once the connection is a WebSocket.
    let (stop, sockets) = (deps.stop.clone(), Arc::clone(&hub));
    let farewells = async move {
        stop.cancelled().await;
        sockets.all_left().await;
    };
    let state = routes::Notifier {
        store,
        hub,
        tickets,
        pace: Arc::new(pace::Pace::new(routes::MOST_IN_A_MINUTE)),
        networks: Arc::new(networks::Networks::new(deps.config.http.trusted_networks())),
        origins: Arc::new(deps.config.http.cors_origins.clone()),
        authority: deps.authority,
        clock: deps.clock.clone(),
        stop: deps.stop.clone(),
    };
    let tasks = vec![
        ("notification indexes", prepare.boxed()),
        ("notification lanes", storing.boxed()),
        ("notification tail", tail.boxed()),
        ("farewells to sockets", farewells.boxed()),
    ];
    Service {
        router: https::require_if(routes::router(state), deps.config.http.https_host.as_deref()),
        tasks,
    }
}
