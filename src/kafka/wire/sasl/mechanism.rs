//! What each way to log in is, and what can go wrong with it.

use std::fmt;
use std::time::Duration;

use zeroize::Zeroizing;

use crate::metadata::one_line;

/// The longest message of a broker that is looked at. Real ones take some hundred bytes.
const MAX_CHALLENGE: usize = 16 * 1024;

/// Bytes of a broker's reason that are shown.
const REASON_BYTES: usize = 100;

/// One login as it goes on. It serves for one: to log in again, on the same connection too, make
/// another one.
pub(in crate::kafka) trait Mechanism: Send {
    /// Its name, as a broker lists it.
    fn name(&self) -> &'static str;

    /// How long after a login the next one on a connection comes at the soonest, whatever the
    /// broker says of its sessions. Kafka's brokers refuse one within a second (`KafkaChannel`).
    fn rest(&self) -> Duration {
        Duration::from_millis(1_100)
    }

    /// The answer to what the broker said. The first call gives the client's first message, and its
    /// `challenge` is empty.
    ///
    /// # Errors
    /// The broker's message is not one that belongs here, or says that the login is refused. The
    /// login is over then.
    fn respond(&mut self, challenge: &[u8]) -> Result<Step, SaslError>;
}

/// What to do next. Its `Debug` does not show messages.
#[derive(PartialEq, Eq)]
pub(in crate::kafka) enum Step {
    /// Send this, and hand the broker's answer to the next call.
    Send(Zeroizing<Vec<u8>>),
    /// The login is good.
    Done,
    /// Send this, because the broker waits for it. Whatever it answers, the login is refused.
    Refused {
        /// The last message.
        last: &'static [u8],
        /// Why the login is refused.
        error: SaslError,
    },
}

/// Why a login came to nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(in crate::kafka) enum SaslError {
    /// The broker says no.
    #[error("the broker refused the {mechanism} login: {reason}")]
    Refused {
        /// The mechanism's name.
        mechanism: &'static str,
        /// The broker's reason, shortened and escaped.
        reason: String,
    },
    /// The broker could not show that it knows the password.
    #[error(
        "the broker does not prove that it knows the password: its {mechanism} signature is wrong"
    )]
    Signature {
        /// The mechanism's name.
        mechanism: &'static str,
    },
    /// The broker wants fewer rounds than are safe, or more than are done for it.
    #[error("the broker asks for {rounds} rounds of {mechanism}, and {fits} are taken")]
    Rounds {
        /// The mechanism's name.
        mechanism: &'static str,
        /// The number of rounds that it wants, cut where it is long.
        rounds: String,
        /// The numbers that are taken.
        fits: &'static str,
    },
    /// The broker's message is not one of the mechanism's.
    #[error("the broker's {mechanism} message is not understood: {problem}")]
    Challenge {
        /// The mechanism's name.
        mechanism: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// What is to be sent would be read as something else.
    #[error("the {what} has a character that {mechanism} cannot carry")]
    Unfit {
        /// The mechanism's name.
        mechanism: &'static str,
        /// What has it.
        what: &'static str,
    },
    /// The system gives no random numbers.
    #[error("the system gives no random numbers, which a login needs")]
    Random,
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Send(_) => f.write_str("Send([secret])"),
            Self::Done => f.write_str("Done"),
            Self::Refused { error, .. } => f.debug_tuple("Refused").field(error).finish(),
        }
    }
}

impl SaslError {
    /// Whether name and password, or token, are what to look at. All else is the broker's doing.
    pub(in crate::kafka) fn is_refusal(&self) -> bool {
        match self {
            Self::Refused { .. } | Self::Signature { .. } | Self::Unfit { .. } => true,
            Self::Rounds { .. } | Self::Challenge { .. } | Self::Random => false,
        }
    }
}

/// A broker's own words, fit to be shown.
pub(super) fn reason(words: &[u8]) -> String {
    // Cut before it is copied: a reason may be long, and each byte may become four.
    let start = words.get(..REASON_BYTES * 4).unwrap_or(words);
    one_line(&String::from_utf8_lossy(start), REASON_BYTES)
}

/// A broker's message as text, of a length that real ones have.
pub(super) fn text<'a>(mechanism: &'static str, challenge: &'a [u8]) -> Result<&'a str, SaslError> {
    if challenge.len() > MAX_CHALLENGE {
        return Err(SaslError::Challenge { mechanism, problem: "it is too long" });
    }
    std::str::from_utf8(challenge)
        .map_err(|_| SaslError::Challenge { mechanism, problem: "it is not text" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_brokers_words_are_cut_and_escaped() {
        let shown = reason(&[b'\x1b'; 5_000]);
        assert!(shown.len() <= REASON_BYTES + 3 && shown.starts_with("\\u{1b}"), "{shown}");
        let error = SaslError::Refused { mechanism: "SCRAM-SHA-512", reason: shown };
        assert!(error.to_string().len() <= 200, "{error}");
    }
}
