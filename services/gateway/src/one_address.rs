//! Notices when nearly all requests seem to come from one address: then it is not the buyers' addresses that are
//! counted but that of a proxy or node in front, and all buyers share one budget.

use platform::{
    metrics::{Metric, must},
    rounds::Rounds,
};
use prometheus::{Gauge, register_gauge};
use std::{
    net::IpAddr,
    sync::{Arc, LazyLock, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

/// How long requests are counted before they are judged.
const WINDOW: Duration = Duration::from_secs(60);
/// Fewer requests say nothing.
const LEAST: u64 = 200;
/// The part of all requests that is called nearly all.
const NEARLY_ALL: f64 = 0.9;
/// Between two warnings.
const WARN_EVERY: Duration = Duration::from_secs(600);

static SHARE: LazyLock<Gauge> = LazyLock::new(|| {
    must(register_gauge!(
        "quicksale_requests_from_one_address_ratio",
        "The part of the last minute's requests that came from the one address with the most; 0 below 200 requests."
    ))
});

/// What is counted here.
pub(crate) fn metrics() -> Vec<Metric> {
    vec![&*SHARE]
}

/// Counts requests by address, in the space of two addresses.
#[derive(Debug)]
pub struct OneAddress {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    began: Instant,
    all: u64,
    /// The address that was the most frequent in the window before, and its requests in this one.
    watched: Option<(IpAddr, u64)>,
    /// A majority vote (Boyer and Moore): whoever has more than half of the requests is left over.
    candidate: Option<IpAddr>,
    votes: u64,
    warned: Option<Instant>,
}

/// What a finished window says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Finding {
    /// The address with the most requests.
    pub address: IpAddr,
    /// Its part of all requests.
    pub share: f64,
    /// Whether people should be told.
    pub warn: bool,
}

impl OneAddress {
    /// Begins to count.
    pub fn new(now: Instant) -> Self {
        Self {
            state: Mutex::new(State {
                began: now,
                all: 0,
                watched: None,
                candidate: None,
                votes: 0,
                warned: None,
            }),
        }
    }

    /// Counts a request, and says so once if nearly all come from one address.
    pub fn count(&self, address: IpAddr) {
        let Some(finding) = self.note(address, Instant::now()) else {
            return;
        };
        SHARE.set(finding.share);
        if finding.warn {
            tracing::warn!(
                address = %finding.address,
                share = finding.share,
                "nearly all requests come from one address, so all buyers share its rate limits: if it belongs to a \
                 proxy or load balancer, name its network in the chart's trustedProxies, or let it keep the \
                 client's address (externalTrafficPolicy: Local)"
            );
        }
    }

    /// Sees to it that what was found is not said for ever, until the process ends: a window ends with the next request only.
    pub async fn forget(self: Arc<Self>, stop: CancellationToken) {
        let mut rounds = Rounds::every(WINDOW, &stop);
        while rounds.another().await {
            if self.is_over(Instant::now()) {
                SHARE.set(0.0);
            }
        }
    }

    /// Whether nobody has come for a whole window after the last one.
    fn is_over(&self, now: Instant) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        now.saturating_duration_since(state.began) >= WINDOW * 2
    }

    fn note(&self, address: IpAddr, now: Instant) -> Option<Finding> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let finding = (now.duration_since(state.began) >= WINDOW).then(|| state.finish(now));
        state.all += 1;
        if let Some((watched, requests)) = &mut state.watched
            && *watched == address
        {
            *requests += 1;
        }
        if state.candidate == Some(address) {
            state.votes += 1;
        } else if state.votes == 0 {
            (state.candidate, state.votes) = (Some(address), 1);
        } else {
            state.votes -= 1;
        }
        finding
    }
}

impl State {
    fn finish(&mut self, now: Instant) -> Finding {
        #[expect(clippy::cast_precision_loss, reason = "a share for people")]
        let share = |requests: u64| requests as f64 / self.all as f64;
        let (address, share) = match self.watched {
            Some((address, requests)) if self.all >= LEAST => (address, share(requests)),
            _ => (IpAddr::from([0; 4]), 0.0),
        };
        // Without anything in front, a loopback address is the developer's own.
        let nearly_all = share >= NEARLY_ALL && !address.is_loopback();
        let warn = nearly_all && self.warned.is_none_or(|at| now.duration_since(at) >= WARN_EVERY);
        *self = Self {
            began: now,
            all: 0,
            watched: self.candidate.map(|candidate| (candidate, 0)),
            candidate: None,
            votes: 0,
            warned: if warn { Some(now) } else { self.warned },
        };
        Finding { address, share, warn }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_found_is_over_when_nobody_comes_any_more() {
        let begun = Instant::now();
        let counter = OneAddress::new(begun);
        counter.note(IpAddr::from([203, 0, 113, 9]), begun + WINDOW);
        assert!(!counter.is_over(begun + WINDOW * 2), "its window is not yet over");
        assert!(counter.is_over(begun + WINDOW * 3));
    }

    /// One minute in which every n-th request is somebody else's; what is found at its end.
    fn minute(counter: &OneAddress, now: &mut Instant, every: u64) -> Option<Finding> {
        let proxy = IpAddr::from([203, 0, 113, 9]);
        *now += WINDOW;
        let mut finding = None;
        for n in 1..=1_000_u64 {
            let buyer = IpAddr::from([
                10,
                0,
                u8::try_from(n / 256).unwrap(),
                u8::try_from(n % 256).unwrap(),
            ]);
            let address = if n % every == 0 { buyer } else { proxy };
            finding = finding.or(counter.note(address, *now));
        }
        finding
    }

    #[test]
    fn one_address_with_nearly_all_requests_is_told_of_once_in_a_while() {
        let mut now = Instant::now();
        let counter = OneAddress::new(now);
        minute(&counter, &mut now, 100);
        minute(&counter, &mut now, 100);
        let found = minute(&counter, &mut now, 100).unwrap();
        assert_eq!(found.address, IpAddr::from([203, 0, 113, 9]));
        assert!((found.share - 0.99).abs() < 0.001 && found.warn, "{found:?}");
        let again = minute(&counter, &mut now, 100).unwrap();
        assert!(again.share > 0.9 && !again.warn, "{again:?}");
        now += WARN_EVERY;
        assert!(minute(&counter, &mut now, 100).unwrap().warn);
    }

    #[test]
    fn many_addresses_are_nothing_to_tell_of() {
        let mut now = Instant::now();
        let counter = OneAddress::new(now);
        for _ in 0..4 {
            let found = minute(&counter, &mut now, 3);
            assert!(found.is_none_or(|found| !found.warn), "{found:?}");
        }
    }
}
