//! Inventory: what is sold, how many units are left, and who holds them.
//!
//! - [`plan`] decides, without IO, what a batch of messages does to reservations and stock;
//! - [`store`] reads and writes products and reservations;
//! - [`settle`] is the lane handler that joins the two in one transaction;
//! - [`expiry`] ends holds that were made by hand, and [`unsettled`] asks after those that last too long;
//! - [`ledger`] is what every movement of units is written down in;
//! - [`audit`] checks the books against each other;
//! - [`gate`] keeps the counts in Redis that turn buyers away early, and `markers` says whether Redis still knows every order's key;
//! - [`routes`] is the HTTP API.

pub mod audit;
pub mod expiry;
pub mod gate;
pub mod hold;
pub mod ledger;
mod markers;
pub mod on_the_way;
pub mod plan;
pub mod product;
mod recent;
pub mod routes;
pub mod settle;
pub mod store;
pub mod unsettled;

use axum::Router;
use events::lanes::{LaneWorker, Settings};
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
    http::authorization::Authority,
    metrics::Metric,
};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// What the service counts.
pub fn metrics() -> Vec<Metric> {
    let mut all = audit::watch::metrics();
    all.extend(gate::metrics());
    all.extend(unsettled::metrics());
    all.extend(events::metrics(settle::GROUP));
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
    /// Redis.
    pub redis: fred::clients::Client,
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
    let store = store::Store::new(&deps.database, deps.transactions.clone());
    let gate = gate::Gate::new(deps.redis, &deps.config.redis_prefix);
    let terms = hold::Terms::of(&deps.config);
    let watch = audit::watch::Watch::new(store.clone(), &deps.database, &deps.instance, deps.clock.clone());
    let on_the_way = on_the_way::OnTheWay::new(&deps.database, deps.kafka.clone(), &deps.config);
    let audits = audit::full::Audits::new(
        store.clone(),
        &deps.database,
        on_the_way.clone(),
        deps.clock.clone(),
    );
    let state = routes::Inventory {
        watch: watch.clone(),
        audits: audits.clone(),
        store: store.clone(),
        gate: gate.clone(),
        currency: deps.config.currency,
        terms,
        authority: deps.authority,
        clock: deps.clock.clone(),
    };
    let handler = Arc::new(settle::Settle::new(
        store.clone(),
        gate.clone(),
        terms,
        deps.clock.clone(),
    ));
    let settings = Settings::of(&deps.config, deps.kafka, deps.instance, deps.clock.clone());
    let worker = LaneWorker::new(
        settings,
        deps.database,
        deps.transactions,
        handler,
        deps.health.clone(),
    );
    let (indexes, ready) = (store.clone(), deps.health.gate("inventory indexes"));
    let clock = deps.clock.clone();
    let prepare = mongo::prepare(
        move || {
            let (store, now) = (indexes.clone(), clock.now());
            async move { store.prepare(now).await }
        },
        ready,
        deps.stop.clone(),
    );
    let tasks = vec![
        ("inventory indexes", prepare.boxed()),
        ("inventory lanes", worker.run(deps.stop.clone()).boxed()),
        (
            "inventory expiry",
            expiry::run(store.clone(), gate.clone(), deps.clock.clone(), deps.stop.clone()).boxed(),
        ),
        (
            "inventory questions",
            unsettled::run(store.clone(), deps.clock.clone(), deps.stop.clone()).boxed(),
        ),
        ("inventory ledger", watch.run(deps.stop.clone()).boxed()),
        ("inventory audits", audits.run(deps.stop.clone()).boxed()),
        (
            "inventory gate",
            gate::keep(gate, store, on_the_way, deps.stop).boxed(),
        ),
    ];
    Service {
        router: routes::router(state),
        tasks,
    }
}
