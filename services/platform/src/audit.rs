//! The trail of what people did that matters for security: one log line an event, on the target `audit`, and a counter.
//!
//! A line says who did what, to whose account, when, from where, how it ended, and in which request. It never holds a
//! password, a token or a whole address of a person: write e-mail addresses by [`masked_email`]; the network address is
//! masked here.

use crate::metrics::{Metric, must};
use prometheus::{IntCounterVec, register_int_counter_vec};
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::LazyLock,
};

/// The target of the log lines, for filters and collectors.
pub const TARGET: &str = "audit";

/// Events so far. A burst of `login` with `refused` or `throttled` is somebody guessing passwords.
static EVENTS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    must(register_int_counter_vec!(
        "quicksale_audit_events_total",
        "Events in the audit trail, by action and outcome: done, refused, throttled, failed.",
        &["action", "outcome"]
    ))
});

/// How an action ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was done.
    Done,
    /// It was not: the proof was wrong, the rights were missing, or it cannot be done as it was asked for.
    Refused,
    /// It was not looked at: too many tries.
    Throttled,
    /// Something broke, and it may have been done.
    Failed,
}

impl Outcome {
    const ALL: [Self; 4] = [Self::Done, Self::Refused, Self::Throttled, Self::Failed];

    /// One of the three that the Elastic Common Schema knows.
    fn in_ecs(self) -> &'static str {
        match self {
            Self::Done => "success",
            Self::Refused | Self::Throttled => "failure",
            Self::Failed => "unknown",
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Refused => "refused",
            Self::Throttled => "throttled",
            Self::Failed => "failed",
        }
    }
}

/// What is counted here, with actions that nobody has tried yet as zero.
pub fn metric(actions: impl IntoIterator<Item = &'static str>) -> Metric {
    for action in actions {
        for outcome in Outcome::ALL {
            EVENTS.with_label_values(&[action, outcome.as_str()]);
        }
    }
    &*EVENTS
}

/// One event. The time is that of the log line.
#[derive(Debug, Clone, Copy)]
pub struct Event<'a> {
    /// What was done or tried, such as `login`.
    pub action: &'static str,
    /// How it ended.
    pub outcome: Outcome,
    /// Who did it: a user's id, `anonymous`, or a part of QuickSale.
    pub who: &'a str,
    /// Whose account it was done to: a user's id, or a masked e-mail address where there is no account; for what is no
    /// account, its path.
    pub whose: &'a str,
    /// Where the request came from.
    pub from: Option<IpAddr>,
    /// The request's id.
    pub request_id: Option<&'a str>,
}

/// Writes an event down.
pub fn record(event: Event<'_>) {
    let outcome = event.outcome.as_str();
    EVENTS.with_label_values(&[event.action, outcome]).inc();
    let from = event.from.map(masked_address);
    tracing::info!(
        target: TARGET,
        request_id = event.request_id,
        event.dataset = "quicksale.audit",
        event.action = event.action,
        event.outcome = event.outcome.in_ecs(),
        user.id = event.who,
        client.address = from,
        outcome,
        whose = event.whose,
        "audit"
    );
}

/// An e-mail address of which only the first letter and the domain are left.
pub fn masked_email(email: &str) -> String {
    let (local, domain) = email.split_once('@').unwrap_or((email, "?"));
    let first = local.chars().next().map(String::from).unwrap_or_default();
    format!("{first}***@{domain}")
}

/// The network that an address is in: /24 for IPv4, /48 for IPv6.
pub fn masked_address(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            format!("{}/24", Ipv4Addr::new(a, b, c, 0))
        }
        IpAddr::V6(v6) => {
            let [a, b, c, ..] = v6.segments();
            format!("{}/48", Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_cannot_be_told_from_their_masks() {
        assert_eq!(masked_email("ada@example.com"), "a***@example.com");
        assert_eq!(masked_email("@"), "***@");
        assert_eq!(masked_email("nonsense"), "n***@?");
        for (address, mask) in [
            ("203.0.113.77", "203.0.113.0/24"),
            ("::ffff:203.0.113.77", "203.0.113.0/24"),
            ("2001:db8:1:2::3", "2001:db8:1::/48"),
        ] {
            assert_eq!(masked_address(address.parse().unwrap()), mask);
        }
    }

    #[test]
    fn events_are_counted() {
        let event = Event {
            action: "audit_test",
            outcome: Outcome::Throttled,
            who: "anonymous",
            whose: "u1",
            from: None,
            request_id: None,
        };
        record(event);
        let page = crate::metrics::render();
        let line = r#"quicksale_audit_events_total{action="audit_test",outcome="throttled"} 1"#;
        assert!(page.contains(line), "{page}");
    }
}
