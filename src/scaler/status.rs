//! How an error reads in `kubectl describe scaledjob`, and which gRPC code it has.
//!
//! KEDA puts the text of a status into an event of at most 1,024 bytes, `rpc error: code = X desc =
//! ` included, and refuses a longer one, so that the user would see nothing; line breaks spoil its
//! table. So: one line, the cause first, at most [`MAX_BYTES`], and the same words for the same
//! cause, since KEDA only reports the first text of a failing object.
//!
//! # References
//! - Codes: <https://grpc.io/docs/guides/status-codes/>

use std::error::Error as _;
use std::time::Duration;

use tonic::{Code, Status};

use crate::failure::{Class, Failure};
use crate::ledger::Exhausted;
use crate::{kubernetes, metadata, trigger};

/// The longest text of a status.
pub(crate) const MAX_BYTES: usize = 900;

const CUT: &str = " …";

/// Why KEDA gets no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The metadata cannot be read: every complaint about it.
    #[error(transparent)]
    Invalid(#[from] trigger::Invalid),
    /// The request names no namespace, and the trigger needs something of it.
    #[error("the request's namespace, {}, is none; KEDA names that of the ScaledJob", metadata::quoted(.0))]
    Namespace(String),
    /// What the trigger names in Kubernetes could not be read.
    #[error(transparent)]
    Kubernetes(#[from] kubernetes::Error),
    /// The source did not give the count.
    #[error(transparent)]
    Source(#[from] Failure),
    /// A lower bound is known that does not tell whether the trigger is active.
    #[error(
        "still counting: cannot tell yet whether more than {activation} messages wait; ask again"
    )]
    Undecided {
        /// The activation threshold.
        activation: u64,
    },
    /// The source kept to no deadline.
    #[error("no count within the measure timeout of {timeout:?}; see --measure-timeout")]
    Overdue {
        /// The time a measurement may take.
        timeout: Duration,
    },
    /// More triggers than are ever kept.
    #[error("too many triggers: {limit} are polled already, the most that one scaler keeps")]
    Full {
        /// How many are kept.
        limit: usize,
    },
    /// What is kept of the trigger would be more than its namespace's share.
    #[error("no memory for one more trigger: {0}")]
    Memory(#[from] Exhausted),
    /// The trigger was never polled, nor warmed, so that its metadata has not been decoded.
    #[error("nothing has been measured of it yet; KEDA has not asked for its value")]
    NotDecoded,
    /// The server ends; another one, or the next, will answer.
    #[error("keda-sift is shutting down; ask again")]
    ShuttingDown,
}

impl Error {
    /// What mends it.
    pub fn class(&self) -> Class {
        match self {
            Self::Invalid(_) | Self::Namespace(_) => Class::Invalid,
            Self::Kubernetes(error) => error.class(),
            Self::Source(failure) => failure.class(),
            Self::NotDecoded => Class::Precondition,
            Self::Undecided { .. } | Self::Overdue { .. } => Class::Reading,
            Self::ShuttingDown => Class::Unavailable,
            Self::Full { .. } | Self::Memory(_) => Class::Exhausted,
        }
    }

    /// The gRPC code. Only [`Code::InvalidArgument`] says that asking again is useless until the
    /// metadata changes.
    pub fn code(&self) -> Code {
        match self.class() {
            Class::Invalid => Code::InvalidArgument,
            Class::Unauthenticated => Code::Unauthenticated,
            Class::Denied => Code::PermissionDenied,
            Class::NotFound => Code::NotFound,
            Class::Precondition => Code::FailedPrecondition,
            Class::Exhausted => Code::ResourceExhausted,
            Class::Unavailable | Class::Reading => Code::Unavailable,
        }
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        Status::new(error.code(), words(&error))
    }
}

/// The error and what caused it, on one line that fits.
pub(crate) fn words(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    fit(&text)
}

/// Blanks for line breaks and other control characters, and cut where it is too long.
pub(super) fn fit(text: &str) -> String {
    let words = text.split(|c: char| c.is_whitespace() || c.is_control());
    let mut line = String::with_capacity(text.len().min(MAX_BYTES));
    for word in words.filter(|word| !word.is_empty()) {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    if line.len() > MAX_BYTES {
        line.truncate(metadata::cut(&line, MAX_BYTES - CUT.len()).len());
        line.push_str(CUT);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_one_line() {
        assert_eq!(fit("broker:\n  down\r\n\tat\u{0}10:00\u{85}"), "broker: down at 10:00");
    }

    #[test]
    fn a_text_that_fits_is_left_alone() {
        let longest = "x".repeat(MAX_BYTES);
        assert_eq!(fit(&longest), longest);
    }

    #[test]
    fn a_text_that_is_too_long_is_cut_between_characters() {
        for shift in 0..4 {
            let text = "x".repeat(shift) + &"🦀".repeat(400);
            let line = fit(&text);
            assert!(line.len() <= MAX_BYTES && line.len() > MAX_BYTES - 8, "{}", line.len());
            assert!(line.ends_with(CUT));
            assert!(text.starts_with(line.trim_end_matches(CUT)));
        }
    }

    #[test]
    fn an_error_without_answer_asks_to_come_again() {
        let status = Status::from(Error::Undecided { activation: 5 });
        assert_eq!(status.code(), Code::Unavailable);
        assert!(status.message().contains("more than 5 messages"), "{}", status.message());
    }
}
