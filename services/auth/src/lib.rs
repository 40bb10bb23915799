//! Accounts: who somebody is, and the tokens that prove it.
//!
//! - [`account`] checks what people send, [`client`] tells where from;
//! - [`password`] hashes, by way of [`hashing`] and within what [`memory`] there is;
//! - [`proof`] lets somebody prove who they are, and [`guesses`] counts the tries;
//! - [`session`] hands out token pairs and exchanges them by the rules of [`refresh`];
//! - [`store`] keeps users, [`session_store`] their sessions, [`service_account`] those of the shop's programs;
//! - [`routes`] is the HTTP API; [`seed`] keeps the administrator that [`admin`] declares.

pub mod account;
pub mod admin;
pub mod client;
pub mod guesses;
pub mod hashing;
pub mod memory;
pub mod password;
pub mod proof;
pub mod refresh;
pub mod routes;
pub mod seed;
pub mod service_account;
pub mod session;
pub mod session_store;
pub mod store;

pub use admin::{Admin, AdminSecret, AdminSource};

use axum::Router;
use futures::{FutureExt, future::BoxFuture};
use mongodb::Database;
use platform::{
    audit, clock::Clock, health::Health, http::authorization::Authority, metrics::Metric, tokens::Signer,
};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// What the service counts: what people do.
pub fn metrics() -> Vec<Metric> {
    let trail = audit::metric([
        proof::Purpose::Login.action(),
        proof::Purpose::PasswordChange.action(),
        proof::Purpose::Deletion.action(),
        "register",
        "logout",
        "logout_all",
        "session_end",
        "service_account.create",
        "service_account.end",
        "service_token",
        "token_reuse",
        "administrator_seed",
        "administrator_password",
        "administrator_promotion",
        "administrator_demotion",
    ]);
    vec![trail]
}

/// What the service is built from.
pub struct Dependencies {
    /// The platform's database of accounts.
    pub accounts: Database,
    /// Signs access tokens.
    pub signer: Arc<Signer>,
    /// Verifies them.
    pub authority: Authority,
    /// Where the administrator is declared.
    pub admin: AdminSource,
    /// The sale whose administrator that is.
    pub sale: String,
    /// The clock.
    pub clock: Clock,
    /// Health of the process.
    pub health: Health,
    /// Cancelled when the process ends.
    pub stop: CancellationToken,
}

/// The routes of the service and the tasks that must run beside them.
pub struct Service {
    /// Routes.
    pub router: Router,
    /// Named tasks that last as long as the process.
    pub tasks: Vec<(&'static str, BoxFuture<'static, ()>)>,
}

/// Puts the service together. Nothing is awaited: the database may come later.
pub fn build(deps: Dependencies) -> Service {
    let users = store::Store::new(&deps.accounts);
    let stored = session_store::SessionStore::new(&deps.accounts);
    let service_accounts = service_account::ServiceAccounts::new(&deps.accounts);
    let guesses = guesses::Guesses::new(&deps.accounts);
    let passwords = password::Passwords::default();
    let state = routes::Auth {
        users: users.clone(),
        service_accounts: service_accounts.clone(),
        sessions: session::Sessions::new(users.clone(), stored.clone(), deps.signer),
        prover: proof::Prover::new(users.clone(), guesses.clone(), passwords.clone()),
        passwords: passwords.clone(),
        authority: deps.authority,
        clock: deps.clock.clone(),
    };
    let seeder = seed::Seeder {
        users,
        sessions: stored,
        service_accounts,
        guesses,
        passwords,
        source: deps.admin,
        sale: deps.sale,
    };
    let ready = deps.health.gate("accounts");
    Service {
        router: routes::router(state),
        tasks: vec![("auth accounts", seeder.run(ready, deps.stop).boxed())],
    }
}
