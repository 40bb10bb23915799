//! Rate limits: which limit a request counts against, and what an answer says about it.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How many times as much as one user's, and how much at the least, a part of QuickSale or of the shop may ask for in a
/// minute: a payment service confirms the orders of a whole crowd.
const SERVICE_FACTOR: u32 = 60;
const SERVICE_A_MINUTE: u32 = 6_000;
/// How many times the limit of one /64 of IPv6 the /56 around it has. A household has one or the other and cannot be
/// told from outside; whoever has a /56 could be 256 clients otherwise.
const WIDER_NETWORK_FACTOR: u32 = 4;

/// The routes that have a limit of their own. Whatever is not listed counts against [`LimitedRoute::Default`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum LimitedRoute {
    /// `POST /api/auth/login`
    #[serde(rename = "/api/auth/login")]
    Login,
    /// `POST /api/auth/register`
    #[serde(rename = "/api/auth/register")]
    Register,
    /// `POST /api/orders`
    #[serde(rename = "/api/orders")]
    Orders,
    /// `POST /api/inventory/reserve`
    #[serde(rename = "/api/inventory/reserve")]
    Reserve,
    /// Everything else.
    #[serde(rename = "*")]
    Default,
}

impl LimitedRoute {
    /// Every route that a FlashSale may name, in the order of the defaults.
    pub const ALL: [Self; 5] = [
        Self::Login,
        Self::Register,
        Self::Orders,
        Self::Reserve,
        Self::Default,
    ];

    /// The route as a FlashSale writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Login => "/api/auth/login",
            Self::Register => "/api/auth/register",
            Self::Orders => "/api/orders",
            Self::Reserve => "/api/inventory/reserve",
            Self::Default => "*",
        }
    }

    /// Reads a route as a FlashSale writes it.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|route| route.as_str() == text)
    }

    /// The limit that a request counts against.
    pub fn of(method: &str, path: &str) -> Self {
        if method != "POST" {
            return Self::Default;
        }
        let path = path.strip_suffix('/').unwrap_or(path);
        Self::parse(path)
            .filter(|route| *route != Self::Default)
            .unwrap_or(Self::Default)
    }

    /// Whether requests count for their address whatever token they carry: accounts are free, so a token that was made
    /// a moment ago must not open another budget for passwords and accounts.
    pub fn is_open_to_guessing(method: &str, path: &str) -> bool {
        let path = path.strip_suffix('/').unwrap_or(path);
        method == "POST"
            && matches!(
                path,
                "/api/auth/login" | "/api/auth/register" | "/api/auth/refresh"
            )
    }

    /// The limit when a FlashSale names none, in requests for each minute.
    pub fn default_limit(self) -> u32 {
        match self {
            Self::Login => 5,
            Self::Register => 3,
            Self::Orders => 10,
            Self::Reserve => 50,
            Self::Default => 100,
        }
    }
}

/// At most `limit` requests in any `window`, for one user or address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RateLimit {
    /// What it applies to.
    pub route: LimitedRoute,
    /// Requests in a window, at least 1.
    pub limit: u32,
    /// Length of the window in milliseconds, at least 1.
    pub window_ms: u64,
}

impl RateLimit {
    /// The limit of a part of QuickSale or of the shop, where this is the one of a user. Never lower than that.
    #[must_use]
    pub fn for_a_service(self) -> Self {
        let minutes = self.window_ms.div_ceil(60_000);
        let least = u64::from(SERVICE_A_MINUTE) * minutes;
        let least = u32::try_from(least).unwrap_or(u32::MAX);
        self.with_limit(self.limit.saturating_mul(SERVICE_FACTOR).max(least))
    }

    /// The limit of a wider network, where this is the one of a network that counts as one client.
    #[must_use]
    pub fn for_a_wider_network(self) -> Self {
        self.with_limit(self.limit.saturating_mul(WIDER_NETWORK_FACTOR))
    }

    fn with_limit(self, limit: u32) -> Self {
        Self { limit, ..self }
    }
}

/// The limits of a sale: one for each route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<WrittenLimit>", into = "Vec<RateLimit>")]
pub struct RateLimits(Vec<RateLimit>);

/// A limit as it is written, perhaps of a route that only a newer version knows.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenLimit {
    route: String,
    limit: u32,
    window_ms: u64,
}

impl From<Vec<WrittenLimit>> for RateLimits {
    fn from(written: Vec<WrittenLimit>) -> Self {
        let known = |written: WrittenLimit| {
            Some(RateLimit {
                route: LimitedRoute::parse(&written.route)?,
                limit: written.limit,
                window_ms: written.window_ms,
            })
        };
        Self(written.into_iter().filter_map(known).collect())
    }
}

impl From<RateLimits> for Vec<RateLimit> {
    fn from(limits: RateLimits) -> Self {
        limits.0
    }
}

impl Default for RateLimits {
    fn default() -> Self {
        Self::with_overrides([])
    }
}

impl RateLimits {
    /// The defaults, with some of them replaced.
    pub fn with_overrides(overrides: impl IntoIterator<Item = RateLimit>) -> Self {
        let mut limits: Vec<_> = LimitedRoute::ALL
            .into_iter()
            .map(|route| RateLimit {
                route,
                limit: route.default_limit(),
                window_ms: 60_000,
            })
            .collect();
        for new in overrides {
            if let Some(old) = limits.iter_mut().find(|old| old.route == new.route) {
                *old = new;
            }
        }
        Self(limits)
    }

    /// The limit of a route.
    pub fn get(&self, route: LimitedRoute) -> RateLimit {
        self.0
            .iter()
            .copied()
            .find(|limit| limit.route == route)
            .unwrap_or(RateLimit {
                route,
                limit: route.default_limit(),
                window_ms: 60_000,
            })
    }
}

/// What the limiter counted for a request, and therefore what the answer's headers say
/// (draft-ietf-httpapi-ratelimit-headers).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// The limit that applied.
    pub limit: RateLimit,
    /// Requests left in the current window.
    pub remaining: u32,
    /// How long until a refused request could succeed; zero when this one was allowed.
    pub retry_after: Duration,
}

impl Verdict {
    /// Whether the request may go on.
    pub fn allowed(&self) -> bool {
        self.retry_after.is_zero()
    }

    /// Whole seconds for a `Retry-After` header: rounded up, so that whoever obeys it is let in.
    pub fn retry_after_seconds(&self) -> u64 {
        u64::try_from(self.retry_after.as_nanos().div_ceil(1_000_000_000))
            .unwrap_or(u64::MAX)
            .max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_find_their_limit() {
        assert_eq!(LimitedRoute::of("POST", "/api/orders"), LimitedRoute::Orders);
        assert_eq!(LimitedRoute::of("POST", "/api/orders/"), LimitedRoute::Orders);
        assert_eq!(LimitedRoute::of("GET", "/api/orders"), LimitedRoute::Default);
        assert_eq!(
            LimitedRoute::of("POST", "/api/orders/1/cancel"),
            LimitedRoute::Default
        );
        assert_eq!(LimitedRoute::of("POST", "*"), LimitedRoute::Default);
    }

    #[test]
    fn passwords_and_accounts_cannot_be_tried_with_more_tokens() {
        for path in ["/api/auth/login", "/api/auth/register/", "/api/auth/refresh"] {
            assert!(LimitedRoute::is_open_to_guessing("POST", path), "{path}");
            assert!(!LimitedRoute::is_open_to_guessing("GET", path), "{path}");
        }
        assert!(!LimitedRoute::is_open_to_guessing("POST", "/api/auth/logout"));
        assert!(!LimitedRoute::is_open_to_guessing("POST", "/api/orders"));
    }

    #[test]
    fn services_and_wider_networks_have_more() {
        let of = |limit, window_ms| RateLimit {
            route: LimitedRoute::Default,
            limit,
            window_ms,
        };
        assert_eq!(of(100, 60_000).for_a_service(), of(6_000, 60_000));
        assert_eq!(of(3, 60_000).for_a_service().limit, 6_000);
        assert_eq!(of(3, 600_000).for_a_service().limit, 60_000);
        assert_eq!(of(1_000, 60_000).for_a_service().limit, 60_000);
        assert_eq!(of(1_000_000_000, u64::MAX).for_a_service().limit, u32::MAX);
        assert_eq!(of(100, 60_000).for_a_wider_network(), of(400, 60_000));
    }

    #[test]
    fn overrides_replace_only_their_route() {
        let limits = RateLimits::with_overrides([RateLimit {
            route: LimitedRoute::Orders,
            limit: 2,
            window_ms: 1_000,
        }]);
        assert_eq!(limits.get(LimitedRoute::Orders).limit, 2);
        assert_eq!(limits.get(LimitedRoute::Login).limit, 5);
        assert_eq!(LimitedRoute::parse("/api/nothing"), None);
    }

    #[test]
    fn retry_after_never_sends_a_client_back_too_early() {
        let limit = RateLimits::default().get(LimitedRoute::Orders);
        let verdict = |ms| Verdict {
            limit,
            remaining: 0,
            retry_after: Duration::from_millis(ms),
        };
        assert_eq!(verdict(1).retry_after_seconds(), 1);
        assert_eq!(verdict(1_001).retry_after_seconds(), 2);
        assert!(verdict(0).allowed());
    }
}
