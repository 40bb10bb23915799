//! The console: what an installation's sales are doing, for the people who run them, and the switches.
//!
//! - [`sales`] knows the sales: all those of a cluster, or one that goes by files; [`place`] leads to the data of one;
//! - [`watch`] asks the processes for their metrics ([`scrape`]), makes numbers of them ([`measure`]), and keeps these ([`history`]);
//! - [`orders`], [`ledger`], [`records`], [`lanes`] and [`products`] look into databases and topics, and change nothing there;
//! - [`session`] knows who is logged in, [`deeds`] writes down what they do;
//! - [`routes`] is the HTTP API of the pages, which are in `services/console/pages`.
//!
//! What it shows it has looked at. Halting and stock it changes where everybody else does: in the FlashSale, or in the control document of
//! a sale without an operator; dead letters and audits it writes as the order service and inventory do. It is no part of the way of an order: without it sales go on.

pub mod deeds;
pub mod history;
pub mod lanes;
pub mod ledger;
pub mod measure;
pub mod orders;
mod pages;
pub mod place;
pub mod problems;
pub mod products;
pub mod records;
pub mod routes;
pub mod sales;
pub mod scrape;
pub mod session;
pub mod watch;

use auth::{
    guesses::Guesses, password::Passwords, proof::Prover, seed::Seeder, service_account::ServiceAccounts,
};
use axum::{Router, middleware};
use deeds::Deeds;
use futures::{FutureExt, future::BoxFuture};
use mongodb::Database;
use platform::{
    backends::mongo, clock::Clock, health::Health, http::client_address::Network, metrics::Metric,
};
use sale::SaleId;
use sales::Sales;
use scrape::Scraper;
use session::{CookieScope, Sessions};
use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
};
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use watch::Watched;

/// What the console counts.
pub fn metrics() -> Vec<Metric> {
    vec![deeds::metric()]
}

/// Whether administrators may change anything here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Switches {
    /// They may.
    Allowed,
    /// They may only look.
    Withheld,
}

/// What the console is built from.
pub struct Dependencies {
    /// The sales.
    pub sales: Sales,
    /// The platform's database of accounts.
    pub accounts: Database,
    /// Where the first administrator is declared; the services of sales declare theirs as well.
    pub admin: auth::AdminSource,
    /// Whether administrators may change anything here.
    pub switches: Switches,
    /// Where browsers may send the cookie.
    pub cookies: CookieScope,
    /// Networks of proxies whose `X-Forwarded-For` is believed.
    pub trusted: Vec<Network>,
    /// The clock.
    pub clock: Clock,
    /// Health of the process.
    pub health: Health,
    /// Cancelled when the process ends.
    pub stop: CancellationToken,
}

/// What the routes work with.
#[derive(Clone)]
pub struct Console {
    pub(crate) sales: Sales,
    pub(crate) watched: Watched,
    pub(crate) sessions: Sessions,
    pub(crate) prover: Prover,
    pub(crate) deeds: Deeds,
    pub(crate) switches: Switches,
    pub(crate) cookies: CookieScope,
    pub(crate) trusted: Arc<Vec<Network>>,
    pub(crate) clock: Clock,
    /// Sales whose books are being audited here, or are to be.
    pub(crate) auditing: Arc<Mutex<HashSet<SaleId>>>,
    /// For one of them at a time.
    pub(crate) one_audit: Arc<Semaphore>,
    /// Deeds and audits that go on though nobody waits for them.
    pub(crate) under_way: TaskTracker,
}

/// The routes of the console and the tasks that must run beside them.
pub struct Service {
    /// Routes.
    pub router: Router,
    /// Named tasks that last as long as the process.
    pub tasks: Vec<(&'static str, BoxFuture<'static, ()>)>,
}

/// Puts the console together. Nothing is awaited: backends and sales may come later.
///
/// # Errors
/// When there can be no HTTP client.
pub fn build(deps: Dependencies) -> Result<Service, reqwest::Error> {
    let users = auth::store::Store::new(&deps.accounts);
    let guesses = Guesses::new(&deps.accounts);
    let passwords = Passwords::default();
    let deeds = Deeds::new(&deps.accounts);
    let console = Console {
        sales: deps.sales.clone(),
        watched: Watched::default(),
        sessions: Sessions::new(users.clone()),
        prover: Prover::new(users.clone(), guesses.clone(), passwords.clone()),
        deeds: deeds.clone(),
        switches: deps.switches,
        cookies: deps.cookies,
        trusted: Arc::new(deps.trusted),
        clock: deps.clock.clone(),
        auditing: Arc::default(),
        one_audit: Arc::new(Semaphore::new(1)),
        under_way: TaskTracker::new(),
    };
    let watching = watch::run(
        deps.sales,
        console.watched.clone(),
        Scraper::new()?,
        deps.clock,
        deps.stop.clone(),
    );
    let prepare = mongo::prepare(
        move || deeds.clone().create_index(),
        deps.health.gate("deeds"),
        deps.stop.clone(),
    );
    let under_way = console.under_way.clone();
    let stop = deps.stop.clone();
    let finish = async move {
        stop.cancelled().await;
        under_way.close();
        under_way.wait().await;
    };
    let mut tasks = vec![
        ("console watch", watching.boxed()),
        ("console deeds", prepare.boxed()),
        ("console deeds under way", finish.boxed()),
    ];
    if !matches!(deps.admin, auth::AdminSource::None) {
        let seeder = Seeder {
            users,
            sessions: auth::session_store::SessionStore::new(&deps.accounts),
            service_accounts: ServiceAccounts::new(&deps.accounts),
            guesses,
            passwords,
            source: deps.admin,
            sale: "console".to_owned(),
        };
        let ready = deps.health.gate("accounts");
        tasks.push(("console accounts", seeder.run(ready, deps.stop).boxed()));
    }
    let router = routes::router(console)
        .merge(pages::router())
        .layer(middleware::from_fn(routes::from_here));
    Ok(Service { router, tasks })
}
