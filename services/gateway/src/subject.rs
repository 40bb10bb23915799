//! Whom a request counts against: its user where there is a good token, else its address.

use axum::extract::{ConnectInfo, Request};
use platform::http::{
    authorization::{Authority, bearer_token},
    client_address::{self, Network},
};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// The subject of a request, as it stands in a Redis key.
pub fn of(request: &Request, authority: &Authority, trusted: &[Network]) -> String {
    let token = bearer_token(request.headers()).or_else(|| socket_token(request));
    let user = token.and_then(|token| authority.identify(token).ok());
    match user {
        Some(identity) => format!("user:{}", identity.user),
        None => format!("address:{}", address(request, trusted)),
    }
}

/// The token in the address of a WebSocket: browsers send no headers of their own with one.
fn socket_token(request: &Request) -> Option<&str> {
    let query = request.uri().query().filter(|_| request.uri().path() == "/ws")?;
    query.split('&').find_map(|pair| pair.strip_prefix("token="))
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
