//! Where a request came from.
//!
//! Only the gateway and the operator reach auth, and the gateway replaces whatever its client wrote into
//! `X-Forwarded-For` with the one address that it found out. So the last value is believed.

use axum::{
    extract::{ConnectInfo, FromRequestParts},
    http::{HeaderMap, header, request::Parts},
};
use platform::http::REQUEST_ID;
use std::{
    convert::Infallible,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

/// The longest name of a program that is kept.
const LONGEST_AGENT: usize = 120;

/// What one customer of a network provider has at least: an IPv4 address, or a /64 of IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network(IpAddr);

impl Network {
    /// The network of an address. IPv4 written as IPv6 is IPv4.
    pub fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V4(v4) => v4.into(),
            IpAddr::V6(v6) => {
                let [a, b, c, d, ..] = v6.segments();
                Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
            }
        })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The sender of a request.
#[derive(Debug, Clone)]
pub struct Client {
    /// Its address.
    pub address: IpAddr,
    /// The request's id.
    pub request_id: Option<String>,
    /// What it calls itself, for the list of sessions.
    pub agent: String,
}

impl Client {
    /// The network that its tries are counted for.
    pub fn network(&self) -> Network {
        Network::of(self.address)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Client {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        let peer = parts
            .extensions
            .get::<ConnectInfo<SocketAddr>>()
            .map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |ConnectInfo(peer)| peer.ip());
        let text = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
        Ok(Self {
            address: forwarded_for(&parts.headers).unwrap_or(peer),
            request_id: text(REQUEST_ID).map(str::to_owned),
            agent: text(header::USER_AGENT.as_str())
                .unwrap_or_default()
                .chars()
                .filter(|c| !c.is_control())
                .take(LONGEST_AGENT)
                .collect(),
        })
    }
}

fn forwarded_for(headers: &HeaderMap) -> Option<IpAddr> {
    let last = headers.get_all("x-forwarded-for").iter().next_back()?;
    last.to_str().ok()?.rsplit(',').next()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn network(text: &str) -> String {
        Network::of(text.parse().unwrap()).to_string()
    }

    #[test]
    fn a_customer_is_one_network() {
        assert_eq!(network("203.0.113.7"), "203.0.113.7");
        assert_eq!(network("::ffff:203.0.113.7"), "203.0.113.7");
        assert_eq!(network("2001:db8:1:2:aaaa::1"), network("2001:db8:1:2:bbbb::2"));
        assert_ne!(network("2001:db8:1:2::1"), network("2001:db8:1:3::1"));
    }

    #[test]
    fn the_last_forwarded_address_counts() {
        let mut headers = HeaderMap::new();
        assert_eq!(forwarded_for(&headers), None);
        headers.append("x-forwarded-for", HeaderValue::from_static("6.6.6.6"));
        headers.append(
            "x-forwarded-for",
            HeaderValue::from_static("5.5.5.5, 203.0.113.7"),
        );
        assert_eq!(forwarded_for(&headers), "203.0.113.7".parse().ok());
        headers.append("x-forwarded-for", HeaderValue::from_static("nobody"));
        assert_eq!(forwarded_for(&headers), None);
    }
}
