//! The FlashSale resource: its types, the rules the API server enforces, and the type that the operator trusts.
//!
//! - [`flashsale`] is the resource as people write it; the custom resource definition is generated from it;
//! - [`rules`] holds the CEL rules, each with the sentence that its refusal shows;
//! - [`status`] is what the operator reports, [`names`] are the labels and annotations that mean something;
//! - [`mod@reference`] writes all of them down as `docs/flashsale.md`;
//! - [`offline`] says what the API server would refuse, without one;
//! - [`valid`] checks the same rules once more in Rust and turns the strings into values, such as [`by_host`]. An object
//!   may be older than a rule, so the operator never builds from an unchecked spec.
//!
//! A new field gets a doc comment (it becomes `kubectl explain` and a line of the reference), a default, a rule with a
//! sentence where it can be wrong, its counterpart in [`valid`], and `make generate`.

// What is written at fields is shown by `kubectl explain` as plain text, where an address is one and <name> stands for a name.
#![allow(rustdoc::bare_urls, rustdoc::invalid_html_tags)]
#![allow(
    unreachable_pub,
    reason = "the KubeSchema derive repeats each type, pub as it is, inside of a function"
)]

pub mod by_host;
pub mod compatible;
pub mod component;
pub mod definition;
pub mod duration;
pub mod flashsale;
pub mod names;
pub mod offline;
pub mod product;
pub mod reference;
pub mod rehearsal;
pub mod rules;
pub mod status;
pub mod time;
pub mod traffic;
pub mod valid;

/// A FlashSale of an API server, or what is wrong with one that cannot be read. Whatever is watched and listed is of
/// this type: one object of an older or newer version must not hide the others.
pub type Readable = kube::core::DeserializeGuard<FlashSale>;

pub use component::Component;
pub use flashsale::{FlashSale, FlashSaleSpec, PlaintextPasswords};
pub use status::FlashSaleStatus;
pub use valid::ValidSale;
