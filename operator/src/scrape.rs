//! Asks the processes of a sale for all that they have counted.

use crate::{
    calls::{self, CALL_DEADLINE},
    controller::pods::{ObservedPod, Ownership},
};
use futures::future::join_all;
use platform::config::ports;
use std::net::SocketAddr;

/// What one process said, in the text format of Prometheus, or why nothing.
#[derive(Debug)]
pub struct Said<'a> {
    /// Its pod.
    pub pod: &'a ObservedPod,
    /// What it said; the reason is for the log, not for tenants.
    pub text: Result<String, String>,
}

/// Asks every process that is proven to be the sale's own, all at once.
pub async fn all<'a>(http: &reqwest::Client, pods: &'a [ObservedPod]) -> Vec<Said<'a>> {
    let own = pods
        .iter()
        .filter(|pod| pod.ownership == Ownership::Proven && pod.alive);
    join_all(own.map(|pod| async move {
        let text = match pod.address {
            Some(address) => {
                let address = SocketAddr::new(address, ports::ADMIN);
                calls::text(http, &format!("http://{address}/metrics"), CALL_DEADLINE).await
            }
            None => Err("it has no address".to_owned()),
        };
        Said { pod, text }
    }))
    .await
}
