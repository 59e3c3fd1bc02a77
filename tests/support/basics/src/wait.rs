//! How a test waits: for a condition, and not for a while.

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// How long a test waits for what should take milliseconds, or seconds, before it fails. Others may
/// be building on the machine.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// How often a condition is looked at again: often enough to catch what goes by.
pub const LOOK: Duration = Duration::from_millis(5);

/// Waits until something holds.
///
/// # Panics
/// If it does not within [`PATIENCE`].
pub async fn until(what: &str, holds: impl AsyncFnMut() -> bool) {
    assert!(holds_within(PATIENCE, holds).await, "waited {PATIENCE:?} until {what}, in vain");
}

/// Looks until something holds; whether it came to that in time.
pub async fn holds_within(timeout: Duration, mut holds: impl AsyncFnMut() -> bool) -> bool {
    let deadline = Instant::now() + timeout;
    while !holds().await {
        if Instant::now() > deadline {
            return false;
        }
        sleep(LOOK).await;
    }
    true
}
