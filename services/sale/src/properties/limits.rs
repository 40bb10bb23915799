//! Rate limits: nobody has less than the one that was set, and whoever waits as told waits long enough.

use super::holds;
use crate::limits::{LimitedRoute, RateLimit, RateLimits, Verdict};
use proptest::{collection::vec, prelude::*, sample::select};
use std::time::Duration;

fn limits() -> impl Strategy<Value = RateLimit> {
    let number = prop_oneof![1..200_u32, 1..=u32::MAX];
    let window = prop_oneof![1..200_000_u64, 1..=u64::MAX];
    (select(&LimitedRoute::ALL), number, window).prop_map(|(route, limit, window_ms)| RateLimit {
        route,
        limit,
        window_ms,
    })
}

#[test]
fn the_last_override_of_a_route_counts_and_the_others_keep_their_defaults() {
    holds(vec(limits(), 0..12), |overrides| {
        let limits = RateLimits::with_overrides(overrides.clone());
        for route in LimitedRoute::ALL {
            let last = overrides.iter().rev().find(|limit| limit.route == route).copied();
            let wanted = last.unwrap_or(RateLimits::default().get(route));
            prop_assert_eq!(limits.get(route), wanted);
        }
        Ok(())
    });
}

/// A list of a stored document may lack a route that is newer than it.
#[test]
fn every_route_has_its_limit_in_whatever_list_was_read() {
    holds(vec(limits(), 0..12), |listed| {
        let json = serde_json::to_string(&listed).unwrap();
        let read: RateLimits = serde_json::from_str(&json).unwrap();
        for route in LimitedRoute::ALL {
            let found = read.get(route);
            prop_assert_eq!(found.route, route);
            let named = listed.iter().any(|limit| limit.route == route);
            let known = listed.contains(&found) || found == RateLimits::default().get(route) && !named;
            prop_assert!(known, "{:?}", found);
        }
        Ok(())
    });
}

#[test]
fn services_and_wider_networks_never_have_less() {
    holds((limits(), limits()), |(one, other)| {
        let more = RateLimit {
            limit: one.limit.max(other.limit),
            ..one
        };
        for wider in [RateLimit::for_a_service, RateLimit::for_a_wider_network] {
            prop_assert!(wider(one).limit >= one.limit);
            prop_assert!(wider(more).limit >= wider(one).limit);
            prop_assert_eq!(
                (wider(one).route, wider(one).window_ms),
                (one.route, one.window_ms)
            );
        }
        Ok(())
    });
}

/// In whole milliseconds, which is what the limiter counts in.
#[test]
fn whoever_obeys_retry_after_comes_late_enough_and_less_than_a_second_later() {
    let waits = prop_oneof![1..5_000_u64, 1..=u64::MAX];
    holds((limits(), waits), |(limit, ms)| {
        let refused = Verdict {
            limit,
            remaining: 0,
            retry_after: Duration::from_millis(ms),
        };
        prop_assert!(!refused.allowed());
        let told = u128::from(refused.retry_after_seconds()) * 1_000;
        prop_assert!(
            (u128::from(ms)..u128::from(ms) + 1_000).contains(&told),
            "{}",
            told
        );
        Ok(())
    });
}
