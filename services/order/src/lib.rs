//! Orders: accepting them, following them to their end, and showing them to their buyers.
//!
//! - [`accept`] gathers requests and writes a whole batch of them in one transaction, in which it passes the [`fence`];
//! - [`follow`] is the lane handler that moves orders on by what inventory says;
//! - [`reminder`] asks inventory again where no answer came, and [`resend`] says again what a broker has lost;
//! - [`decide`] ends an order that is called off, paid or not paid, and [`expiry`] one whose hold has run out;
//! - `batcher` gathers what [`accept`] and [`decide`] are asked, and `steps` writes where orders have come to;
//! - [`catalogue`] keeps the products and prices that acceptance looks at in memory;
//! - [`tally`] counts the orders by their end;
//! - [`store`] is the collections, [`routes`] the HTTP API, [`settlement`] the evidence that a sale is settled.

pub mod accept;
pub mod account;
mod batcher;
pub mod catalogue;
pub mod decide;
pub mod document;
mod ended;
pub mod expiry;
pub mod fence;
pub mod follow;
mod pending;
pub mod reminder;
pub mod resend;
pub mod routes;
pub mod settlement;
mod steps;
pub mod store;
pub mod tally;
pub mod turns;
mod unasked;

pub use routes::dead_letters::LetterView;

use axum::Router;
use events::{
    dead_letters::DeadLetters,
    lanes::{LaneWorker, Settings},
};
use futures::{FutureExt, future::BoxFuture};
use mongodb::Database;
use platform::{
    backends::{
        kafka::KafkaCredentials,
        mongo::{self, Transactions},
    },
    clock::Clock,
    config::Config,
    control::Control,
    health::Health,
    http::authorization::Authority,
    metrics::Metric,
    standstill::Standstill,
};
use std::{sync::Arc, time::Instant};
use tokio_util::sync::CancellationToken;

/// What the service counts.
pub fn metrics() -> Vec<Metric> {
    let mut all = accept::metrics();
    all.extend(ended::metrics());
    all.extend(pending::metrics());
    all.extend(batcher::metrics());
    all.extend(reminder::metrics());
    all.extend(resend::metrics());
    all.push(routes::trail());
    all.extend(events::metrics(follow::GROUP));
    all
}

/// What the service is built from.
pub struct Dependencies {
    /// The sale's configuration.
    pub config: Config,
    /// Times and switches of the sale.
    pub control: Control,
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
    let store = store::Store::new(&deps.database, deps.transactions.clone(), &deps.instance);
    let catalogue = catalogue::Catalogue::new(deps.config.upstreams.inventory.clone(), deps.config.currency);
    let fence = fence::Fence::new(&deps.database, deps.transactions.clone(), &deps.instance);
    let (acceptor, accepting) = accept::start(
        store.clone(),
        fence.clone(),
        deps.control.clone(),
        deps.health.work("accepting orders"),
        deps.stop.clone(),
    );
    let (decider, deciding) = decide::start(
        store.clone(),
        deps.clock.clone(),
        deps.health.work("deciding about orders"),
        deps.stop.clone(),
    );
    let handler = Arc::new(follow::Follow::new(
        store.clone(),
        &deps.config,
        deps.clock.clone(),
    ));
    let resend = resend::Resend::new(
        store.clone(),
        &deps.database,
        &deps.instance,
        deps.config.kafka.partitions,
        deps.clock.clone(),
    );
    let settings = Settings::of(
        &deps.config,
        deps.kafka.clone(),
        deps.instance,
        deps.clock.clone(),
    );
    let worker = LaneWorker::new(
        settings,
        deps.database.clone(),
        deps.transactions,
        handler,
        deps.health.clone(),
    );
    let (indexes, unanswered, unpaid) = (store.clone(), store.clone(), store.clone());
    let prepare = mongo::prepare(
        move || indexes.clone().create_indexes(),
        deps.health.gate("order indexes"),
        deps.stop.clone(),
    );
    let refresh = catalogue
        .clone()
        .refresh_until(deps.health.gate("catalogue"), deps.stop.clone());
    let letters = DeadLetters::new(&deps.database);
    let standstill = Standstill::new(Instant::now());
    let pending = pending::run(store.clone(), fence.clone(), deps.stop.clone());
    let settlement = settlement::Settlement::new(
        store.clone(),
        fence,
        deps.control.clone(),
        deps.database,
        deps.kafka,
        deps.config.kafka.topic_prefix.clone(),
    );
    let accounts = account::Accounts::new(store.clone(), deps.control.clone(), deps.clock.clone());
    let state = routes::Orders {
        accounts,
        store,
        catalogue,
        acceptor,
        decider,
        letters,
        settlement,
        currency: deps.config.currency,
        authority: deps.authority,
        clock: deps.clock.clone(),
        standstill: standstill.clone(),
    };
    let tasks = vec![
        ("standstill", standstill.watch(deps.stop.clone()).boxed()),
        ("order indexes", prepare.boxed()),
        ("order acceptance", accepting.boxed()),
        ("order decisions", deciding.boxed()),
        (
            "order reminders",
            reminder::run(unanswered, deps.clock.clone(), deps.stop.clone()).boxed(),
        ),
        (
            "order expiry",
            expiry::run(unpaid, deps.clock.clone(), deps.stop.clone()).boxed(),
        ),
        ("order resending", resend.run(deps.stop.clone()).boxed()),
        ("order lanes", worker.run(deps.stop).boxed()),
        ("orders pending", pending.boxed()),
        ("order catalogue", refresh.boxed()),
    ];
    Service {
        router: routes::router(state),
        tasks,
    }
}
