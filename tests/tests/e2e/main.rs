//! Sales on a real cluster, through its ingress: `hack/test.sh e2e` brings the cluster up first.
//!
//! `KUBECONFIG` leads to the cluster and `INGRESS_PORT` to its ingress on loopback. Run with one thread: the sales share
//! a small machine.

mod browser;
#[path = "../chromium/mod.rs"]
mod chromium;
mod console;
mod killed;
mod life;
mod monitoring;
mod neighbour;
mod nodes;
mod plugin;
mod rehearsal;
mod sale;
mod selling;
mod stuck;
mod watching;
mod ways_in;
