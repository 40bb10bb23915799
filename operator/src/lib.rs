//! The operator: makes of each FlashSale what it says.
//!
//! - [`controller`] reconciles one FlashSale: fetch, validate, build, apply, push, prune, evidence, status;
//! - [`phase`] decides, purely, when a sale goes from one phase to the next;
//! - [`topics`], [`backends`], [`catalogue`] and [`push`] reach what lies outside of the API server;
//! - [`ownership`] says whose topics, databases and keys are, and keeps one sale's hands off another's;
//! - [`watched`] is what the API server knows of the sales' objects, [`switches`] the fast way of a switch to the doors;
//! - [`lease`] makes one of the replicas the leader, and [`fence`] keeps the others from writing; [`staleness`] notices a watch that hangs;
//! - [`scope`] is where it looks, [`network`] whom its sales may talk to, [`administrator`] the first account;
//! - [`metrics`] is what it counts, [`sale_metrics`] what it shows of the sales;
//! - [`run`] wires all of it up.
//!
//! Another kind of object gets a file in `controller/build`, an entry in its `Kind`, which [`watched`] follows, and a rule in
//! the chart's RBAC.

pub mod administrator;
pub mod allowed_entrances;
pub mod api_client;
pub mod backends;
pub mod calls;
pub mod catalogue;
pub mod check;
pub mod controller;
pub mod deadline;
pub mod event_recorder;
pub mod fence;
pub mod heap;
pub mod lease;
pub mod metrics;
pub mod network;
pub mod ownership;
pub mod phase;
pub mod pod_template;
pub mod push;
pub mod refused;
pub mod rehearsal;
pub mod report;
pub mod run;
pub mod sale_metrics;
pub mod scope;
pub mod scrape;
pub mod settings;
pub mod signing_keys;
pub mod staleness;
pub mod switches;
pub mod topics;
pub mod unready;
pub mod watched;
