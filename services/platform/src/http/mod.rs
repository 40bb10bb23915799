//! HTTP as every service speaks it: JSON bodies that name the field they dislike, problem documents, bearer tokens,
//! request ids, cursors, and a server that finishes its requests before it ends.

pub mod authorization;
pub mod client_address;
pub mod connections;
mod extract;
pub mod handshake;
pub mod https;
pub mod idempotency;
pub mod line;
mod listen;
pub mod page;
pub mod pages;
mod patience;
pub mod problem;
pub mod server;
pub mod together;
mod waiting;

pub use extract::{Json, Path, Query, is_json, parse_json};

/// The header that carries a request's id through every service and back to the caller.
pub const REQUEST_ID: &str = "x-request-id";
