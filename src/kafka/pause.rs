//! How long to wait before another attempt: twice as long each time, and never for more than a
//! second.

use std::time::Duration;

/// The first pause after a failure.
pub(super) const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// The longest one.
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// A pause that was doubled so many times.
pub(super) fn doubled(first: Duration, times: u32) -> Duration {
    let factor = 1_u32.checked_shl(times).unwrap_or(u32::MAX);
    first.saturating_mul(factor).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_second() {
        for (times, millis) in [(0, 50), (1, 100), (4, 800), (5, 1_000), (u32::MAX, 1_000)] {
            assert_eq!(doubled(FIRST_PAUSE, times), Duration::from_millis(millis), "{times}");
        }
    }
}
