//! Accounts: who somebody is, and the tokens that prove it.
//!
//! - [`account`] checks what people send, [`password`] hashes, [`store`] keeps users and refresh tokens;
//! - [`session`] hands out token pairs and rotates them;
//! - [`routes`] is the HTTP API; [`seed`] makes the first admin.

pub mod account;
pub mod password;
pub mod routes;
pub mod seed;
pub mod session;
pub mod store;

use axum::Router;
use futures::{FutureExt, future::BoxFuture};
use mongodb::Database;
use platform::{clock::Clock, health::Health, http::authorization::Authority, tokens::Signer};
use secrecy::SecretString;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// What the service is built from.
pub struct Dependencies {
    /// The platform's database of accounts.
    pub accounts: Database,
    /// Signs access tokens.
    pub signer: Signer,
    /// Verifies them.
    pub authority: Authority,
    /// The first admin, if one is to be made.
    pub admin: Option<Admin>,
    /// Health of the process.
    pub health: Health,
    /// Cancelled when the process ends.
    pub stop: CancellationToken,
}

/// The first admin.
#[derive(Debug, Clone)]
pub struct Admin {
    /// Address to log in with.
    pub email: String,
    /// Password; the account follows when it changes.
    pub password: SecretString,
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
    let store = store::Store::new(&deps.accounts);
    let passwords = password::Passwords::default();
    let state = routes::Auth {
        store: store.clone(),
        sessions: session::Sessions::new(store.clone(), Arc::new(deps.signer)),
        passwords: passwords.clone(),
        authority: deps.authority,
        clock: Clock::System,
    };
    let ready = deps.health.gate("accounts");
    let prepare = seed::prepare(store, passwords, deps.admin, ready, deps.stop);
    Service {
        router: routes::router(state),
        tasks: vec![("auth accounts", prepare.boxed())],
    }
}
