//! The address a request really came from. A forwarded header counts only as far as trusted proxies vouch for it.

use axum::http::HeaderMap;
use std::net::{IpAddr, Ipv6Addr};

/// A network in CIDR notation. IPv4 addresses written as IPv6 (`::ffff:10.0.0.1`, as a listener on `::` sees them) are in
/// the networks that they are in as IPv4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network(ipnet::IpNet);

impl Network {
    /// Reads `10.0.0.0/8`, `fd00::/8` or a single address.
    pub fn parse(text: &str) -> Option<Self> {
        let network = text.parse().or_else(|_| text.parse::<IpAddr>().map(Into::into));
        network.ok().map(|network| Self(as_ipv4(network)))
    }

    /// Whether the address is inside.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }
}

/// A network of IPv4 addresses written as IPv6 is that IPv4 network.
fn as_ipv4(network: ipnet::IpNet) -> ipnet::IpNet {
    match (
        network.addr().to_canonical(),
        network.prefix_len().checked_sub(96),
    ) {
        (IpAddr::V4(v4), Some(length)) if network.addr().is_ipv6() => {
            ipnet::Ipv4Net::new(v4, length).map_or(network, Into::into)
        }
        _ => network,
    }
}

/// The network of an address that limits count: all of an IPv4 address, also of one written as IPv6; the first `bits`
/// of an IPv6 address, since its client chooses the rest as it likes.
pub fn network_of(address: IpAddr, bits: u32) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let kept = u128::MAX.checked_shl(128 - bits.min(128)).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from(u128::from(v6) & kept))
        }
        v4 => v4,
    }
}

/// The client's address: the rightmost one of `X-Forwarded-For` that is not a trusted proxy, as far as the chain
/// from the peer on is trusted. Anything the client wrote itself stands further left and is never reached. A socket of
/// both families shows an IPv4 address as an IPv6 one; here it is what it is, or all of IPv4 would be one IPv6 network.
pub fn resolve(peer: IpAddr, forwarded_for: Option<&str>, trusted: &[Network]) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(address));
    let mut client = peer.to_canonical();
    for hop in forwarded_for.unwrap_or("").rsplit(',').map(str::trim) {
        if !is_trusted(client) {
            break;
        }
        match hop.parse::<IpAddr>() {
            Ok(address) => client = address.to_canonical(),
            Err(_) => break,
        }
    }
    client
}

/// What the `X-Forwarded-For` lines of a request say, as one.
pub fn forwarded_for(headers: &HeaderMap) -> Option<String> {
    // What a client wrote in odd bytes stands before what a proxy has added to the same line.
    let lines: Vec<_> = headers
        .get_all("x-forwarded-for")
        .iter()
        .map(|value| String::from_utf8_lossy(value.as_bytes()))
        .collect();
    (!lines.is_empty()).then(|| lines.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_is_the_same_on_sockets_of_one_family_and_of_both() {
        let trusted = [Network::parse("10.0.0.0/8").unwrap()];
        assert_eq!(
            resolve(ip("::ffff:203.0.113.9"), None, &trusted),
            ip("203.0.113.9")
        );
        let forwarded = Some("::ffff:203.0.113.9");
        assert_eq!(
            resolve(ip("::ffff:10.1.1.1"), forwarded, &trusted),
            ip("203.0.113.9")
        );
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        let trusted = [Network::parse("10.0.0.0/8").unwrap()];
        let of = |peer, header| resolve(ip(peer), header, &trusted);
        assert_eq!(of("203.0.113.9", Some("1.2.3.4")), ip("203.0.113.9"));
        assert_eq!(of("10.1.1.1", Some("1.2.3.4")), ip("1.2.3.4"));
        assert_eq!(of("10.1.1.1", Some("6.6.6.6, 1.2.3.4, 10.2.2.2")), ip("1.2.3.4"));
        assert_eq!(of("10.1.1.1", Some("spoof")), ip("10.1.1.1"));
        assert_eq!(of("10.1.1.1", None), ip("10.1.1.1"));
    }

    #[test]
    fn an_ipv4_address_in_the_clothes_of_ipv6_is_that_ipv4_address() {
        let trusted = [Network::parse("10.0.0.0/8").unwrap()];
        let of = |peer, header| resolve(ip(peer), header, &trusted);
        assert_eq!(of("::ffff:203.0.113.9", None), ip("203.0.113.9"));
        assert_eq!(of("::ffff:10.1.1.1", Some("::ffff:1.2.3.4")), ip("1.2.3.4"));
    }

    #[test]
    fn the_part_of_an_address_that_its_client_chooses_does_not_count() {
        let of = |address, bits| network_of(ip(address), bits);
        assert_eq!(of("2001:db8:1:2:3:4:5:6", 64), ip("2001:db8:1:2::"));
        assert_eq!(of("2001:db8:1:2ff::1", 56), ip("2001:db8:1:200::"));
        assert_eq!(of("2001:db8::1", 0), ip("::"));
        assert_eq!(of("2001:db8::1", 128), ip("2001:db8::1"));
        assert_eq!(of("203.0.113.9", 64), ip("203.0.113.9"));
        assert_eq!(of("::ffff:203.0.113.9", 64), ip("203.0.113.9"));
    }

    #[test]
    fn networks_are_read_and_compared() {
        assert!(Network::parse("10.0.0.0/33").is_none());
        assert!(Network::parse("everyone").is_none());
        assert!(Network::parse("127.0.0.1").unwrap().contains(ip("127.0.0.1")));
        assert!(!Network::parse("127.0.0.1").unwrap().contains(ip("127.0.0.2")));
        assert!(Network::parse("fd00::/8").unwrap().contains(ip("fd12::1")));
        assert!(Network::parse("0.0.0.0/0").unwrap().contains(ip("8.8.8.8")));
        assert!(!Network::parse("0.0.0.0/0").unwrap().contains(ip("fd12::1")));
        assert!(Network::parse("10.1.2.3/8").unwrap().contains(ip("10.9.9.9")));
        assert!(
            Network::parse("10.0.0.0/8")
                .unwrap()
                .contains(ip("::ffff:10.9.9.9"))
        );
        assert!(
            Network::parse("::ffff:10.0.0.0/104")
                .unwrap()
                .contains(ip("10.9.9.9"))
        );
        assert!(
            !Network::parse("::ffff:10.0.0.0/104")
                .unwrap()
                .contains(ip("11.9.9.9"))
        );
    }
}
