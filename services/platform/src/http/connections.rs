//! How many connections a server takes, and how patient it is with each. docs/limits.md has the numbers for people.

use super::client_address::{Network, network_of};
use crate::metrics::{Metric, must};
use prometheus::{IntCounterVec, IntGaugeVec, register_int_counter_vec, register_int_gauge_vec};
use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, LazyLock, Mutex, PoisonError},
    time::Duration,
};

/// Connections of a server. A WebSocket is none any more once it is open: the notifier has bounds for those.
pub const MOST: usize = 4_096;
/// Connections from one peer to a server that strangers reach: a quarter of all.
const MOST_FROM_ONE_PEER: usize = 1_024;
/// From the first byte of a request's head (or from the connection's begin) to its last.
const HEAD: Duration = Duration::from_secs(5);
/// Between two requests. Longer than the 60 s of the usual load balancers and the 90 s of Traefik, so that it is they
/// who close an idle connection: one that closes while a request is on its way to it costs a buyer that request.
const IDLE: Duration = Duration::from_secs(95);
/// From when a client stops taking an answer until it has taken what is buffered of it.
const WRITE: Duration = Duration::from_secs(30);

static ACTIVE: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    must(register_int_gauge_vec!(
        "quicksale_http_connections",
        "Open HTTP connections; WebSockets are not among them.",
        &["service"]
    ))
});
static REFUSED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    must(register_int_counter_vec!(
        "quicksale_http_connections_refused_total",
        "Connections closed at once (peer: too many from one address), and times when all places were taken by requests that are worked on (full).",
        &["service", "reason"]
    ))
});

static MADE_ROOM: LazyLock<IntCounterVec> = LazyLock::new(|| {
    must(register_int_counter_vec!(
        "quicksale_http_connections_made_room_total",
        "Connections that waited for their client and were closed, since nearly all places were taken and somebody else came.",
        &["service"]
    ))
});

/// What is counted here.
pub(crate) fn metrics() -> Vec<Metric> {
    vec![&*ACTIVE, &*REFUSED, &*MADE_ROOM]
}

/// Shows a server that nobody has come to yet.
pub(crate) fn show(service: &str) {
    ACTIVE.with_label_values(&[service]);
    for reason in ["peer", "full"] {
        REFUSED.with_label_values(&[service, reason]);
    }
    MADE_ROOM.with_label_values(&[service]);
}

/// The bounds of a server.
#[derive(Debug, Clone)]
pub struct Bounds {
    /// Connections in all; when there are nearly as many, the one that has waited longest for its client makes room.
    pub in_all: usize,
    /// Connections from one address (one /64 of IPv6); more are closed at once. `None` for any number.
    pub from_one_peer: Option<usize>,
    /// Peers that may have any number: proxies.
    pub exempt: Vec<Network>,
    /// How long a request's head may take.
    pub head: Duration,
    /// How long a connection may be idle.
    pub idle: Duration,
    /// How long a client may take nothing of an answer.
    pub write: Duration,
}

impl Default for Bounds {
    /// For servers that only services of the sale reach: few peers with many connections each.
    fn default() -> Self {
        Self {
            in_all: MOST,
            from_one_peer: None,
            exempt: Vec::new(),
            head: HEAD,
            idle: IDLE,
            write: WRITE,
        }
    }
}

impl Bounds {
    /// For servers that anybody may reach. Trusted proxies speak for many, and so does a mesh's sidecar, which calls
    /// from loopback.
    pub fn among_strangers(trusted_proxies: &[Network]) -> Self {
        let loopback = ["127.0.0.0/8", "::1"].into_iter().filter_map(Network::parse);
        Self {
            from_one_peer: Some(MOST_FROM_ONE_PEER),
            exempt: trusted_proxies.iter().copied().chain(loopback).collect(),
            ..Self::default()
        }
    }
}

/// Counts connections by peer.
#[derive(Debug, Clone)]
pub(super) struct Peers {
    service: &'static str,
    most: Option<usize>,
    exempt: Arc<Vec<Network>>,
    /// No more entries than there are connections.
    open: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// One connection's place among those of its peer; given back when it is dropped.
#[derive(Debug)]
pub(super) struct PeerPlace {
    peers: Peers,
    peer: Option<IpAddr>,
}

impl Peers {
    pub(super) fn new(service: &'static str, bounds: &Bounds) -> Self {
        Self {
            service,
            most: bounds.from_one_peer,
            exempt: Arc::new(bounds.exempt.clone()),
            open: Arc::default(),
        }
    }

    /// A place for a connection from this address, or `None` if its peer has too many.
    pub(super) fn enter(&self, address: IpAddr) -> Option<PeerPlace> {
        let counted = self
            .most
            .filter(|_| !self.exempt.iter().any(|network| network.contains(address)));
        let peer = counted.map(|_| network_of(address, 64));
        if let (Some(most), Some(peer)) = (counted, peer) {
            let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            let count = open.entry(peer).or_default();
            if *count >= most {
                REFUSED.with_label_values(&[self.service, "peer"]).inc();
                return None;
            }
            *count += 1;
        }
        ACTIVE.with_label_values(&[self.service]).inc();
        Some(PeerPlace {
            peers: self.clone(),
            peer,
        })
    }

    /// Somebody was told to make room.
    pub(super) fn made_room(&self) {
        MADE_ROOM.with_label_values(&[self.service]).inc();
    }

    /// All places were taken, and nobody could make room.
    pub(super) fn were_full(&self) {
        REFUSED.with_label_values(&[self.service, "full"]).inc();
    }
}

impl Drop for PeerPlace {
    fn drop(&mut self) {
        ACTIVE.with_label_values(&[self.peers.service]).dec();
        let Some(peer) = self.peer else { return };
        let mut open = self.peers.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&peer) {
            *count -= 1;
            if *count == 0 {
                open.remove(&peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_peer_has_a_share_and_its_neighbours_of_ipv6_have_the_same_one() {
        let bounds = Bounds {
            from_one_peer: Some(2),
            exempt: vec![Network::parse("10.0.0.0/8").unwrap()],
            ..Bounds::default()
        };
        let peers = Peers::new("test", &bounds);
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let first = peers.enter(ip("2001:db8:1:2::1")).unwrap();
        let _second = peers.enter(ip("2001:db8:1:2::2")).unwrap();
        assert!(peers.enter(ip("2001:db8:1:2:ffff::3")).is_none());
        let _other = peers.enter(ip("2001:db8:1:3::1")).unwrap();
        drop(first);
        let _third = peers.enter(ip("2001:db8:1:2::3")).unwrap();
        let proxy: Vec<_> = (0..5).map(|_| peers.enter(ip("10.1.1.1")).unwrap()).collect();
        drop(proxy);
        assert_eq!(peers.open.lock().unwrap().len(), 2);
    }
}
