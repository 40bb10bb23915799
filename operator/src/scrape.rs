//! Asks the processes of a sale for all that they have counted.

use crate::{
    calls::{self, CALL_DEADLINE},
    controller::pods::{ObservedPod, Ownership},
};
use futures::future::join_all;
use platform::config::ports;
use std::net::SocketAddr;

/// Processes that are asked at the same time: an answer may take half a megabyte.
const AT_ONCE: usize = 8;
/// The most processes of a sale that are asked in one look.
const MOST: usize = 120;

/// What one process says: the text format of Prometheus, or why nothing, which is for the log and not for tenants.
pub type Said<'a> = (&'a ObservedPod, Result<String, String>);

/// The processes that are proven to be the sale's own, in parts that are asked one after the other.
pub fn in_parts(pods: &[ObservedPod]) -> Vec<Vec<&ObservedPod>> {
    let own = pods
        .iter()
        .filter(|pod| pod.ownership == Ownership::Proven && pod.alive);
    let own: Vec<&ObservedPod> = own.take(MOST).collect();
    own.chunks(AT_ONCE).map(<[_]>::to_vec).collect()
}

/// Asks the processes of a part at once.
pub async fn ask<'a>(http: &reqwest::Client, part: &[&'a ObservedPod]) -> Vec<Said<'a>> {
    let answers = join_all(part.iter().map(|pod| text(http, pod))).await;
    part.iter().copied().zip(answers).collect()
}

async fn text(http: &reqwest::Client, pod: &ObservedPod) -> Result<String, String> {
    let address = pod.address.ok_or_else(|| "it has no address".to_owned())?;
    let address = SocketAddr::new(address, ports::ADMIN);
    calls::text(http, &format!("http://{address}/metrics"), CALL_DEADLINE).await
}
