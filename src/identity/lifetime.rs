//! How long a token serves: until when it is handed out, and from when on it is renewed meanwhile.
//!
//! Times are tokio's, so that a test can pause them. A token ends a little early, because it must
//! still be good when it arrives and when it is looked at by a clock that goes ahead of ours.

use std::time::Duration;

use secrecy::SecretString;
use tokio::time::Instant;

/// A token is renewed for at least this long before its end, so that a slow Entra delays no poll.
const RENEWED_BEFORE: Duration = Duration::from_secs(300);

/// It is not handed out this shortly before its end.
const NOT_USED_BEFORE: Duration = Duration::from_secs(60);

/// When a renewal has failed, the next may begin after this long.
const RENEWED_AGAIN: Duration = Duration::from_secs(30);

/// What an exchange gives.
pub(super) struct Granted {
    pub(super) secret: SecretString,
    /// How long it is good from now on; not zero.
    pub(super) life: Duration,
}

/// The life of one token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TokenLifetime {
    renew_at: Instant,
    use_until: Instant,
}

impl TokenLifetime {
    /// For a token that has `life` to go. The last quarter is for renewing, for shorter ones up to
    /// a half.
    pub(super) fn new(now: Instant, life: Duration) -> TokenLifetime {
        let renewing = (life / 4).max(RENEWED_BEFORE.min(life / 2));
        let unused = NOT_USED_BEFORE.min(life / 10);
        TokenLifetime { renew_at: now + (life - renewing), use_until: now + (life - unused) }
    }

    pub(super) fn is_good(&self, now: Instant) -> bool {
        now < self.use_until
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.renew_at <= now
    }

    /// After a renewal that failed.
    pub(super) fn put_off(&mut self, now: Instant) {
        self.renew_at = now + RENEWED_AGAIN;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_renewed_well_before_its_end() {
        let minutes = |count: u64| Duration::from_secs(60 * count);
        let rows = [
            ("an hour", minutes(60), minutes(45), minutes(59)),
            ("a day", minutes(24 * 60), minutes(18 * 60), minutes(24 * 60 - 1)),
            ("sixteen minutes", minutes(16), minutes(11), minutes(15)),
            ("six minutes", minutes(6), minutes(3), Duration::from_secs(324)),
            (
                "ten seconds",
                Duration::from_secs(10),
                Duration::from_secs(5),
                Duration::from_secs(9),
            ),
        ];
        let now = Instant::now();
        let before = |time: Duration| now + time - Duration::from_millis(1);
        for (case, life, renewed, used) in rows {
            let lease = TokenLifetime::new(now, life);
            assert!(
                !lease.is_due(before(renewed)) && lease.is_due(now + renewed),
                "{case}: {lease:?}"
            );
            assert!(lease.is_good(before(used)) && !lease.is_good(now + used), "{case}: {lease:?}");
        }
    }
}
