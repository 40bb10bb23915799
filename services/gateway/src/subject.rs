//! Whom a request counts against: its user where there is a good token, else its address. Where passwords and
//! accounts can be tried it is always the address.

use crate::limiter::Count;
use axum::extract::{ConnectInfo, Request};
use platform::{
    http::{
        authorization::{Authority, bearer_token},
        client_address::{self, Network, network_of},
        handshake::{self, Pass},
    },
    tokens::{Identity, Role},
};
use sale::limits::{LimitedRoute, RateLimit};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Whom a request counts for.
#[derive(Debug)]
pub struct Subject {
    /// The count that its answer tells of.
    pub first: Count,
    /// What it counts against as well.
    pub others: Vec<Count>,
    /// Who sends it, where it is that.
    pub caller: Option<Identity>,
}

/// The counts that a request of this limit goes by.
pub fn counts(request: &Request, authority: &Authority, trusted: &[Network], limit: RateLimit) -> Subject {
    let by_address = LimitedRoute::is_open_to_guessing(request.method().as_str(), request.uri().path());
    let token = token(request).filter(|_| !by_address);
    match token.and_then(|token| authority.identify(token).ok()) {
        Some(identity) => {
            let limit = if identity.role == Role::Service {
                limit.for_a_service()
            } else {
                limit
            };
            let subject = format!("user:{}", identity.user);
            Subject {
                first: Count { subject, limit },
                others: Vec::new(),
                caller: Some(identity),
            }
        }
        None => {
            let address = address(request, trusted);
            // Whoever looks around without a token must not keep others of the same address from staying logged in.
            let apart = if request.uri().path() == "/api/auth/refresh" {
                "refresh:"
            } else {
                ""
            };
            let (first, others) = of_address(apart, address, limit);
            Subject {
                first,
                others,
                caller: None,
            }
        }
    }
}

/// The counts of an address. One /64 of IPv6 is one client, which may call itself by any of its addresses; the /56
/// around it has a limit as well, since many clients are given that much.
fn of_address(apart: &str, address: IpAddr, limit: RateLimit) -> (Count, Vec<Count>) {
    let narrow = network_of(address, 64);
    let count = |subject, limit| Count { subject, limit };
    match narrow {
        IpAddr::V4(v4) => (count(format!("{apart}address:{v4}"), limit), Vec::new()),
        IpAddr::V6(v6) => {
            let wide = network_of(address, 56);
            let around = count(format!("{apart}address:{wide}/56"), limit.for_a_wider_network());
            (count(format!("{apart}address:{v6}/64"), limit), vec![around])
        }
    }
}

/// The token of a request; that of a WebSocket may stand in its address.
fn token(request: &Request) -> Option<&str> {
    if request.uri().path() != "/ws" {
        return bearer_token(request.headers());
    }
    match handshake::pass(request.headers(), request.uri().query()) {
        Some(Pass::Token(token)) => Some(token),
        // Whose ticket it is only the notifier knows.
        Some(Pass::Ticket(_)) | None => None,
    }
}

/// The address that a request came from.
pub fn address(request: &Request, trusted: &[Network]) -> IpAddr {
    let peer = request
        .extensions()
        .get::<ConnectInfo<SocketAddr>>()
        .map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |ConnectInfo(peer)| peer.ip());
    let forwarded = client_address::forwarded_for(request.headers());
    client_address::resolve(peer, forwarded.as_deref(), trusted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_network_of_ipv6_is_one_client_and_its_surroundings_count_as_well() {
        let limit = RateLimit {
            route: LimitedRoute::Login,
            limit: 5,
            window_ms: 60_000,
        };
        let of = |text: &str| {
            let (first, others) = of_address("", text.parse().unwrap(), limit);
            let shown = |count: Count| (count.subject, count.limit.limit);
            (shown(first), others.into_iter().map(shown).collect::<Vec<_>>())
        };
        assert_eq!(of("203.0.113.9"), (("address:203.0.113.9".to_owned(), 5), vec![]));
        assert_eq!(of("::ffff:203.0.113.9"), of("203.0.113.9"));
        let expected = (
            ("address:2001:db8:1:2ff::/64".to_owned(), 5),
            vec![("address:2001:db8:1:200::/56".to_owned(), 20)],
        );
        assert_eq!(of("2001:db8:1:2ff::1"), expected);
        assert_eq!(of("2001:db8:1:2ff:9::2"), expected);
    }
}
