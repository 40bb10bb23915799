//! The reconciliation of one FlashSale.
//!
//! ```text
//! fetch ─> validate ─> plan ─> apply + push ─> prune ─> bring ─> evidence ─> phase ─> story ─> status
//! ```
//! Objects are built for the phase that the status names, then evidence decides on the next one, which is written
//! down before anything is built for it. So a reconciliation can end anywhere, and the next one goes on from what is
//! written. Nothing else remembers anything: the memory of the process holds only caches.
//!
//! - [`reconcile`] is that loop, [`pace`] how often it turns, [`story`] what it tells;
//! - [`fetch`] gathers what is [`observed`] of it and its [`pods`]; [`apply`], [`prune`] and [`status`] write to it;
//! - [`validate`] and [`unreadable`] answer a spec that makes no sense;
//! - [`build`] makes the objects, [`control`] the control document, [`pin`] says what an open sale keeps, [`rollout`] brings all of it
//!   about;
//! - [`bring`] makes what lies outside of the API server, [`evidence`] reads what is there, [`conditions`] says so;
//! - [`deletion`], [`ending`] and [`cleanup`] are the end of a sale, [`trail`] what is audited of it.

pub mod apply;
pub mod backends_secret;
pub mod bring;
pub mod build;
pub mod cleanup;
pub mod closing;
pub mod conditions;
pub mod context;
pub mod control;
pub mod deletion;
pub mod ending;
pub mod error;
pub mod evidence;
pub mod fetch;
pub mod host;
pub mod observed;
pub mod obstacle;
pub mod pace;
pub mod pin;
pub mod pods;
pub mod prepared;
pub mod prune;
pub mod reconcile;
pub mod rollout;
pub mod status;
pub mod story;
pub mod trail;
pub mod unreadable;
pub mod validate;
