//! What the handshake of a WebSocket brings along: who it is, and which page it comes from. Gateway and notifier both
//! read it here, so that they never take one handshake for two different users.

use super::authorization::bearer_token;
use axum::http::{HeaderMap, header};
use std::time::Duration;

/// The close code of a server that restarts ("Service Restart", <https://www.iana.org/assignments/websocket/websocket.xhtml>) and what it
/// says: clients connect again at once.
pub const RESTART: (u16, &str) = (1012, "restarting; connect again");

/// How long a frame may take to be sent to a client.
pub const SEND_DEADLINE: Duration = Duration::from_secs(10);

/// Who opens a WebSocket, by word of the handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pass<'a> {
    /// An access token.
    Token(&'a str),
    /// A ticket of `POST /api/ws-ticket`.
    Ticket(&'a str),
}

/// The pass of a handshake. A header counts before the query, since whoever can set one means it, and a ticket before
/// a token. None of them has characters that a query would have to escape.
pub fn pass<'a>(headers: &'a HeaderMap, query: Option<&'a str>) -> Option<Pass<'a>> {
    let parameter = |name: &str| {
        query?
            .split('&')
            .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
    };
    bearer_token(headers)
        .map(Pass::Token)
        .or_else(|| parameter("ticket").map(Pass::Ticket))
        .or_else(|| parameter("token").map(Pass::Token))
}

/// Whether the page that opens a WebSocket may: browsers let every page open one to any host and leave it to the
/// server. Pages of the same host may, pages of the listed origins (`*` for any), and whatever is no browser.
pub fn origin_may_connect(headers: &HeaderMap, origins: &[String]) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else {
        return true;
    };
    let Ok(origin) = origin.to_str() else {
        return false;
    };
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let of_the_same_host = origin
        .split_once("://")
        .is_some_and(|(_, authority)| host.is_some_and(|host| host.eq_ignore_ascii_case(authority)));
    of_the_same_host || origins.iter().any(|known| known == "*" || known == origin)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(all: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in all {
            headers.insert(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn a_header_counts_before_a_ticket_and_a_ticket_before_a_token() {
        let none = headers(&[]);
        let bearer = headers(&[("authorization", "Bearer h")]);
        assert_eq!(pass(&bearer, Some("token=q&ticket=t")), Some(Pass::Token("h")));
        assert_eq!(pass(&none, Some("token=q&ticket=t")), Some(Pass::Ticket("t")));
        assert_eq!(pass(&none, Some("lastEventId=1&token=q")), Some(Pass::Token("q")));
        assert_eq!(pass(&none, Some("tokens=q")), None);
        assert_eq!(pass(&none, None), None);
    }

    #[test]
    fn pages_of_other_sites_may_not_connect() {
        let listed = ["https://shop.example.com".to_owned()];
        for (origin, may) in [
            (None, true),
            (Some("https://shop.example.com"), true),
            (Some("http://laptops.localhost:8080"), true),
            (Some("http://laptops.localhost"), false),
            (Some("https://shop.example.com.evil.net"), false),
            (Some("null"), false),
        ] {
            let mut all = vec![("host", "laptops.localhost:8080")];
            all.extend(origin.map(|origin| ("origin", origin)));
            assert_eq!(origin_may_connect(&headers(&all), &listed), may, "{origin:?}");
        }
        let foreign = headers(&[("origin", "https://elsewhere.example.com")]);
        assert!(origin_may_connect(&foreign, &["*".to_owned()]));
        assert!(!origin_may_connect(&foreign, &[]));
    }
}
