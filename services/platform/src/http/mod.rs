//! HTTP as every service speaks it: JSON bodies that name the field they dislike, problem documents, bearer tokens,
//! request ids, cursors, and a server that finishes its requests before it ends.

pub mod authorization;
pub mod client_address;
mod extract;
pub mod page;
pub mod problem;
pub mod server;

pub use extract::{Json, Path, Query};

/// The header that carries a request's id through every service and back to the caller.
pub const REQUEST_ID: &str = "x-request-id";
