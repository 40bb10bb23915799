//! What the process has on its heap and does not use.

use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often it is given back.
const EVERY: Duration = Duration::from_secs(10);

/// Gives the kernel back what rounds have freed, every [`EVERY`]. malloc keeps it where anything above it is still in use; with 500 sales
/// that is as much as all that is known of them (bench/RESULTS.md).
pub async fn give_back(stop: CancellationToken) {
    let mut rounds = tokio::time::interval(EVERY);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = rounds.tick() => trim(),
        }
    }
}

#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "a call into C")]
fn trim() {
    // SAFETY: malloc_trim(3) takes malloc's own locks, touches no memory that is in use, and may be called at any time.
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(not(target_env = "gnu"))]
fn trim() {}
