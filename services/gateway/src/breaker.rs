//! Circuit breakers, one for each service: where a service gives no answers, nobody waits for it for a while, and it gets a moment without
//! requests in which it can come back.
//!
//! What counts is that there was no answer, whether for want of a connection or in time. An answer is one, whatever it says: a service that
//! answers `busy` at once is not in need of rest.

use platform::metrics::{Metric, must};
use prometheus::{IntCounterVec, IntGaugeVec, register_int_counter_vec, register_int_gauge_vec};
use recloser::{AsyncRecloser, Error, Recloser};
use std::{future::Future, sync::LazyLock, time::Duration};

/// So many of the last calls are looked at. Fewer say nothing: one of several replicas may be restarting.
const LAST_CALLS: usize = 100;
/// The part of them without an answer from which on the circuit is open.
const OPENS_AT: f32 = 0.5;
/// How long it is open before somebody may try.
const OPEN_FOR: Duration = Duration::from_secs(1);
/// How long at the most, where tries fail again and again. Not long: calls that began before it opened fail late, and count as tries of a
/// service that may be back by then.
const OPEN_FOR_AT_MOST: Duration = Duration::from_secs(2);
/// So many answers, or none, decide whether it is closed again. Until then everybody may try.
const TRIES: usize = 10;

static OPEN: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    must(register_int_gauge_vec!(
        "quicksale_gateway_circuit_open",
        "1 once a request was not sent on because its service gave no answers, until the next one is answered.",
        &["service"]
    ))
});
static TURNED_AWAY: LazyLock<IntCounterVec> = LazyLock::new(|| {
    must(register_int_counter_vec!(
        "quicksale_gateway_circuit_refused_total",
        "Requests that were told to come back (busy) and not sent on, because their service gave no answers.",
        &["service"]
    ))
});

/// A service behind the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Service {
    Auth,
    Inventory,
    Order,
    Notifier,
}

impl Service {
    const ALL: [Self; 4] = [Self::Auth, Self::Inventory, Self::Order, Self::Notifier];

    fn as_str(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::Inventory => "inventory",
            Self::Order => "order",
            Self::Notifier => "notifier",
        }
    }
}

/// What is counted here.
pub(crate) fn metrics() -> Vec<Metric> {
    for service in Service::ALL.map(Service::as_str) {
        OPEN.with_label_values(&[service]);
        TURNED_AWAY.with_label_values(&[service]);
    }
    vec![&*OPEN, &*TURNED_AWAY]
}

/// The breaker of one service.
#[derive(Debug, Clone)]
pub(crate) struct Breaker {
    service: &'static str,
    calls: AsyncRecloser,
}

/// There was no answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Broken<E> {
    /// The call was made, and failed.
    Failed(E),
    /// It was not made.
    Open,
}

impl Breaker {
    /// Of a service.
    pub(crate) fn new(service: Service) -> Self {
        let calls = Recloser::custom()
            .error_rate(OPENS_AT)
            .closed_len(LAST_CALLS)
            .half_open_len(TRIES)
            .open_wait(OPEN_FOR)
            .open_wait_strategy(|failures: u32, wait: Duration| {
                let doubled = wait.saturating_mul(2_u32.saturating_pow(failures));
                doubled.min(OPEN_FOR_AT_MOST)
            })
            .build();
        Self {
            service: service.as_str(),
            calls: calls.into(),
        }
    }

    /// Makes a call, unless the service is left alone.
    pub(crate) async fn call<T, E>(&self, call: impl Future<Output = Result<T, E>>) -> Result<T, Broken<E>> {
        let answer = self.calls.call(call).await;
        let open = OPEN.with_label_values(&[self.service]);
        if answer.is_ok() {
            open.set(0);
        }
        answer.map_err(|error| match error {
            Error::Inner(error) => Broken::Failed(error),
            Error::Rejected => {
                open.set(1);
                TURNED_AWAY.with_label_values(&[self.service]).inc();
                Broken::Open
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn fails(breaker: &Breaker) -> Result<(), Broken<()>> {
        breaker.call(async { Err(()) }).await
    }

    async fn answers(breaker: &Breaker) -> Result<(), Broken<()>> {
        breaker.call(async { Ok(()) }).await
    }

    #[tokio::test]
    async fn a_service_without_answers_is_left_alone_and_tried_again() {
        let breaker = Breaker::new(Service::Auth);
        // One of two replicas is away, nearly.
        for call in 0..300 {
            let tried = if call % 5 < 2 {
                fails(&breaker).await
            } else {
                answers(&breaker).await
            };
            assert_ne!(tried, Err(Broken::Open), "{call}");
        }
        let mut calls = 0;
        while fails(&breaker).await != Err(Broken::Open) {
            calls += 1;
            assert!(calls <= LAST_CALLS, "it is never left alone");
        }
        let open = OPEN.with_label_values(&["auth"]);
        assert_eq!(open.get(), 1);
        assert_eq!(
            answers(&breaker).await,
            Err(Broken::Open),
            "nobody is let through yet"
        );
        let deadline = tokio::time::Instant::now() + OPEN_FOR_AT_MOST * 4;
        while answers(&breaker).await.is_err() {
            assert!(tokio::time::Instant::now() < deadline, "nobody may try");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        for _ in 0..LAST_CALLS {
            assert_eq!(answers(&breaker).await, Ok(()));
        }
        assert_eq!(open.get(), 0);
    }
}
