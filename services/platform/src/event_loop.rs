//! How long tasks of this process wait until it is their turn: a handler that computes for too long, or a CPU that is not there, shows
//! here before anywhere else.

use crate::metrics::{Metric, must};
use prometheus::{Histogram, register_histogram};
use std::{sync::LazyLock, time::Duration};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How often it is measured.
const EVERY: Duration = Duration::from_millis(100);

static LAG: LazyLock<Histogram> = LazyLock::new(|| {
    must(register_histogram!(
        "quicksale_event_loop_lag_seconds",
        "Seconds by which a task that asked to be woken after 100 ms was woken too late; a timer alone takes up to 2 ms.",
        vec![0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0]
    ))
});

/// What is measured here.
pub fn metrics() -> Vec<Metric> {
    vec![&*LAG]
}

/// Measures until the process ends.
pub async fn measure(stop: CancellationToken) {
    loop {
        let due = Instant::now() + EVERY;
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep_until(due) => {}
        }
        LAG.observe(due.elapsed().as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_computes_for_long_makes_others_late() {
        let stop = CancellationToken::new();
        let late = || LAG.get_sample_sum();
        let before = late();
        let measuring = tokio::spawn(measure(stop.clone()));
        tokio::task::yield_now().await;
        // The one thread of this runtime has no time for anything else.
        std::thread::sleep(EVERY * 3);
        let deadline = Instant::now() + Duration::from_secs(10);
        while late() - before < 0.15 {
            assert!(Instant::now() < deadline, "{}", late() - before);
            tokio::task::yield_now().await;
        }
        stop.cancel();
        measuring.await.unwrap();
    }
}
