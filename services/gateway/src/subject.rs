//! Whom a request counts against: its user where there is a good token, else its address.

use axum::extract::{ConnectInfo, Request};
use platform::http::{
    authorization::{Authority, bearer_token},
    client_address::{self, Network},
};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// The subject of a request, as it stands in a Redis key.
pub fn of(request: &Request, authority: &Authority, trusted: &[Network]) -> String {
    let user = bearer_token(request.headers()).and_then(|token| authority.identify(token).ok());
    match user {
        Some(identity) => format!("user:{}", identity.user),
        None => format!("address:{}", address(request, trusted)),
    }
}

/// The address that a request came from.
pub fn address(request: &Request, trusted: &[Network]) -> IpAddr {
    let peer = request
        .extensions()
        .get::<ConnectInfo<SocketAddr>>()
        .map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |ConnectInfo(peer)| peer.ip());
    let forwarded: Vec<&str> = request
        .headers()
        .get_all("x-forwarded-for")
        .iter()
        .filter_map(|v| v.to_str().ok())
        .collect();
    let forwarded = (!forwarded.is_empty()).then(|| forwarded.join(","));
    client_address::resolve(peer, forwarded.as_deref(), trusted)
}
