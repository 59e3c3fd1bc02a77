//! What came in place of an answer: from a broker, from the way to it, or from us; and what to make
//! of it.

use std::fmt::Display;

use super::names::{Offset, Partition};
use super::wire::{ConnectionError, ErrorCode, ErrorKind};
use crate::ledger::Exhausted;
use crate::metadata::one_line;

/// Bytes of a broker's own text that are shown.
const SHOWN: usize = 300;

/// Why a question has no answer. The reason reads the same each time for the same cause.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub(super) struct Fault {
    pub(super) kind: Kind,
    pub(super) reason: String,
}

/// What to make of a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Leaders, coordinators or connections are in motion; asking again soon may give an answer.
    Passing,
    /// Nobody takes connections there: nothing listens, or there is no such name. Another broker
    /// may.
    Absent,
    /// The same of every broker that there is to ask.
    AllAbsent,
    /// Login or certificate.
    Refused,
    /// Rights.
    Denied,
    /// There is no such topic or partition.
    Missing,
    /// The log does not hold the position any more.
    Gone,
    /// No answer.
    Silent,
    /// Whoever answers does not speak Kafka as we know it.
    Foreign,
    /// The broker's version has no words for the question.
    Unaskable,
    /// Records that are none, or that take more than they may.
    Unreadable,
    /// There is no memory for it now.
    Exhausted,
    /// Anything else that a broker says.
    Other,
}

impl Fault {
    pub(super) fn new(kind: Kind, reason: impl Into<String>) -> Fault {
        Fault { kind, reason: reason.into() }
    }

    /// A broker's error, with what it says besides.
    pub(super) fn of_broker(code: ErrorCode, message: Option<&str>) -> Fault {
        let kind = match code.kind() {
            ErrorKind::Moving => Kind::Passing,
            ErrorKind::Denied => Kind::Denied,
            ErrorKind::Refused => Kind::Refused,
            ErrorKind::Missing => Kind::Missing,
            ErrorKind::Unsupported | ErrorKind::Other => Kind::Other,
        };
        match message.filter(|message| !message.is_empty()) {
            Some(message) => Fault::new(kind, format!("{code}: {}", one_line(message, SHOWN))),
            None => Fault::new(kind, code.to_string()),
        }
    }

    /// What is said where nobody answers in time.
    pub(super) fn silent() -> Fault {
        Fault::from(ConnectionError::Silent)
    }

    /// What is said of something that a reply leaves out.
    pub(super) fn left_out(what: &str) -> Fault {
        Fault::new(Kind::Passing, format!("the brokers' replies leave {what} out"))
    }

    /// What is said of records that could not be judged because judging them panicked.
    pub(super) fn panicked() -> Fault {
        let reason = "judging a record failed, which is a fault of keda-sift's";
        Fault::new(Kind::Other, reason)
    }

    /// A broker's error about the records of a partition.
    pub(super) fn of_fetch(code: ErrorCode) -> Fault {
        let fault = Fault::of_broker(code, None);
        match code {
            ErrorCode::OFFSET_OUT_OF_RANGE => Fault { kind: Kind::Gone, ..fault },
            // Such as damaged records: whoever waits for them is to know.
            _ if fault.kind == Kind::Other => Fault { kind: Kind::Unreadable, ..fault },
            _ => fault,
        }
    }

    /// What is said of records that cannot be read, which begin at this offset.
    pub(super) fn unreadable(partition: Partition, from: Offset, why: impl Display) -> Fault {
        let reason = format!("from offset {from} of partition {partition} on: {why}");
        Fault::new(Kind::Unreadable, reason)
    }

    /// What is said where memory is short.
    pub(super) fn exhausted(why: &Exhausted) -> Fault {
        Fault::new(Kind::Exhausted, why.to_string())
    }

    /// Whether reading cannot go on from where it was.
    pub(super) fn loses_position(&self) -> bool {
        self.kind == Kind::Gone
    }

    /// Whether waiting would not help.
    pub(super) fn is_lasting(&self) -> bool {
        matches!(self.kind, Kind::Denied | Kind::Unreadable)
    }
}

impl From<ConnectionError> for Fault {
    fn from(error: ConnectionError) -> Fault {
        let kind = match &error {
            error if error.is_refusal() => Kind::Refused,
            error if error.is_violation() => Kind::Foreign,
            error if error.is_absence() => Kind::Absent,
            ConnectionError::Unaskable { .. } => Kind::Unaskable,
            ConnectionError::Silent | ConnectionError::GivenUp | ConnectionError::Throttled(_) => {
                Kind::Silent
            }
            _ => Kind::Passing,
        };
        Fault::new(kind, error.to_string())
    }
}
