//! What the clients of one network may have of a process: with accounts as many as one likes, a bound by user is none. A
//! network is an IPv4 address, or a /64 of IPv6.

use crate::pace::Pace;
use platform::http::client_address::{self, Network, network_of};
use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

/// Handshakes of a network in a minute: a school or an office behind one address may come all at once.
pub const MOST_HANDSHAKES: u32 = 600;
/// Sockets of a network in one process, a tenth of all.
pub const MOST_SOCKETS: usize = 2_000;

/// The networks that have sockets here.
#[derive(Debug)]
pub struct Networks {
    trusted: Vec<Network>,
    pace: Pace<IpAddr>,
    /// No more entries than there are sockets.
    open: Mutex<HashMap<IpAddr, usize>>,
}

/// Why a handshake is refused.
#[derive(Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Too many in this minute; so many seconds are left of it.
    Wait(u64),
    /// The network has as many sockets as one may have.
    Full,
}

/// A socket's place among those of its network; given back when it is dropped.
#[derive(Debug)]
pub struct Place {
    networks: Arc<Networks>,
    network: Option<IpAddr>,
}

impl Networks {
    /// Those behind the proxies that are believed.
    pub fn new(trusted: Vec<Network>) -> Self {
        Self {
            trusted,
            pace: Pace::new(MOST_HANDSHAKES),
            open: Mutex::default(),
        }
    }

    /// The network that a proxy names. Who comes without one, or with one that nobody vouches for, may be a gateway, which
    /// speaks for many and has counted them: that is nobody's network.
    pub fn of(&self, peer: IpAddr, forwarded_for: Option<&str>) -> Option<IpAddr> {
        let client = client_address::resolve(peer, forwarded_for, &self.trusted);
        (client != peer.to_canonical()).then(|| network_of(client, 64))
    }

    /// A place for a handshake.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn enter(self: &Arc<Self>, network: Option<IpAddr>, now: Instant) -> Result<Place, Refusal> {
        if let Some(network) = network {
            self.pace.count(&network, now).map_err(Refusal::Wait)?;
            let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            let count = open.entry(network).or_default();
            if *count >= MOST_SOCKETS {
                return Err(Refusal::Full);
            }
            *count += 1;
        }
        Ok(Place {
            networks: Arc::clone(self),
            network,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(network) = self.network else { return };
        let mut open = self.networks.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&network) {
            *count -= 1;
            if *count == 0 {
                open.remove(&network);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn networks() -> Arc<Networks> {
        let trusted = Network::parse("10.0.0.0/8").unwrap();
        Arc::new(Networks::new(vec![trusted]))
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn only_whom_a_trusted_proxy_names_is_a_network() {
        let networks = networks();
        assert_eq!(networks.of(ip("10.1.1.1"), None), None);
        assert_eq!(networks.of(ip("192.0.2.1"), Some("203.0.113.9")), None);
        assert_eq!(
            networks.of(ip("10.1.1.1"), Some("203.0.113.9")),
            Some(ip("203.0.113.9"))
        );
        assert_eq!(
            networks.of(ip("::ffff:10.1.1.1"), Some("2001:db8:1:2:3::4")),
            Some(ip("2001:db8:1:2::"))
        );
    }

    #[test]
    fn a_network_with_any_number_of_users_has_its_share_and_gets_it_back() {
        let (networks, mut now) = (networks(), Instant::now());
        let (crowded, other) = (Some(ip("203.0.113.9")), Some(ip("203.0.113.10")));
        let mut places = Vec::new();
        while places.len() < MOST_SOCKETS {
            match networks.enter(crowded, now) {
                Ok(place) => places.push(place),
                Err(Refusal::Wait(seconds)) => {
                    assert_eq!(places.len() % MOST_HANDSHAKES as usize, 0);
                    networks.enter(other, now).unwrap();
                    now += Duration::from_secs(seconds);
                }
                Err(Refusal::Full) => panic!("full with {}", places.len()),
            }
        }
        assert_eq!(networks.enter(crowded, now).unwrap_err(), Refusal::Full);
        networks.enter(other, now).unwrap();
        networks.enter(None, now).unwrap();
        places.pop();
        places.push(networks.enter(crowded, now).unwrap());
        drop(places);
        assert!(networks.open.lock().unwrap().is_empty());
    }
}
