//! Why a connection to a broker cannot be had, or ended, in one line for the trigger's user.

use std::io;
use std::time::Duration;

use super::Endpoint;
use super::error_code::ErrorCode;
use super::reader::DecodeError;
use super::sasl::SaslError;
use super::tls::TlsFault;
use super::writer::EncodeError;
use crate::metadata::one_line;

/// What most often is behind a broker that closes the connection.
const WANTS_MORE: &str =
    "where that stays, this port wants TLS or a login: give tls and sasl, or another port";

const CHECK_LOGIN: &str = "check sasl, usernameFromEnv and passwordFromEnv";

const CHECK_CLIENT: &str = "check the client's rights and scopes";

/// Why there is no connection, or none any more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(in crate::kafka) enum ConnectionError {
    /// The name has no address.
    #[error("no address is found for {host}: {reason}")]
    Resolve {
        /// The broker's name.
        host: String,
        /// The resolver's word.
        reason: String,
    },
    /// The name servers say that there is no such name.
    #[error("no address is found for {host}: there is no such name")]
    NoSuchName {
        /// The broker's name.
        host: String,
    },
    /// Every address refuses a connection.
    #[error("connect to {endpoint} failed: Connection refused")]
    NothingListens {
        /// The broker.
        endpoint: Endpoint,
    },
    /// No address takes a connection.
    #[error("connect to {endpoint} failed: {reason}")]
    Connect {
        /// The broker.
        endpoint: Endpoint,
        /// The system's word.
        reason: String,
    },
    /// TLS does not come about, or ends.
    #[error(transparent)]
    Tls(#[from] TlsFault),
    /// The broker does not let us in, or we do not trust how it does.
    #[error("{}", login_text(.0))]
    Login(SaslError),
    /// The broker takes no logins, or none of this kind.
    #[error("the broker takes no {mechanism} login{}: {code}; {CHECK_LOGIN}", offered_text(.offered))]
    NotOffered {
        /// What was to be shown.
        mechanism: &'static str,
        /// The broker's word.
        code: ErrorCode,
        /// The mechanisms that it takes.
        offered: Vec<String>,
    },
    /// The broker goes on asking.
    #[error("the broker's login does not come to an end")]
    EndlessLogin,
    /// The peer closed the connection.
    #[error("connection closed by the broker; {WANTS_MORE}")]
    Closed,
    /// The system says that the connection is broken.
    #[error("connection broken: {0}")]
    Broken(String),
    /// What answers is no Kafka broker.
    #[error(transparent)]
    Foreign(#[from] Foreign),
    /// A reply of a size that none to this question has.
    #[error("the broker announces a reply of {announced} bytes, where at most {limit} are taken")]
    FrameSize {
        /// The size announced.
        announced: i32,
        /// The largest that is taken.
        limit: usize,
    },
    /// A reply that is not what was asked for.
    #[error("the broker's reply to {api} cannot be read: {reason}")]
    Reply {
        /// What was asked.
        api: &'static str,
        /// What is wrong with it.
        reason: DecodeError,
    },
    /// A reply to another question than the next one.
    #[error("the broker's replies are out of order")]
    OutOfOrder,
    /// A reply to no question.
    #[error("the broker sends what nobody asked for")]
    Unasked,
    /// The broker does not speak a version that we do.
    #[error("the broker offers no version of {api} that keda-sift speaks")]
    Unsupported {
        /// What was to be asked.
        api: &'static str,
    },
    /// The version that the broker speaks has no words for this, or there is a name too long for
    /// it.
    #[error("{api} cannot be asked: {reason}")]
    Unaskable {
        /// What was to be asked.
        api: &'static str,
        /// Why it cannot.
        reason: EncodeError,
    },
    /// Nothing came in time.
    #[error("no answer in time")]
    Silent,
    /// Nothing came in time on another question, so that the connection was given up.
    #[error("no answer in time")]
    GivenUp,
    /// The broker asks to be left alone for longer than the call has.
    #[error("the broker throttles this client for longer than a poll may take")]
    Throttled(Duration),
    /// Nobody needed the connection.
    #[error("connection closed as idle")]
    Idle,
    /// This program has ended it.
    #[error("keda-sift has closed its connections")]
    Ended,
}

/// What else than a Kafka broker answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(in crate::kafka) enum Foreign {
    /// TLS where none was begun.
    #[error("this port speaks TLS: give tls: enable, or another port")]
    Tls,
    /// HTTP.
    #[error("this port speaks HTTP and not Kafka: give another port")]
    Http,
    /// Text of some other protocol.
    #[error("this port speaks another protocol than Kafka: give another port")]
    Text,
}

impl ConnectionError {
    /// What the system says of a connection.
    pub(super) fn of_io(error: &io::Error) -> Self {
        if let Some(fault) = super::tls::fault_of(error) {
            return Self::Tls(fault);
        }
        match error.kind() {
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe => Self::Closed,
            _ => Self::Broken(system_text(error)),
        }
    }

    /// Whether broker or we refused the other: its answer to the same again would be the same.
    pub(in crate::kafka) fn is_refusal(&self) -> bool {
        match self {
            Self::Tls(fault) => fault.is_refusal(),
            Self::Login(error) => error.is_refusal(),
            Self::NotOffered { .. } => true,
            _ => false,
        }
    }

    /// Whether it is certain that nobody takes connections there.
    pub(in crate::kafka) fn is_absence(&self) -> bool {
        matches!(self, Self::NoSuchName { .. } | Self::NothingListens { .. })
    }

    /// Whether the peer said something that no Kafka broker says.
    pub(in crate::kafka) fn is_violation(&self) -> bool {
        match self {
            Self::Login(error) => !error.is_refusal(),
            Self::EndlessLogin
            | Self::Foreign(_)
            | Self::FrameSize { .. }
            | Self::Reply { .. }
            | Self::OutOfOrder
            | Self::Unasked
            | Self::Unsupported { .. } => true,
            _ => false,
        }
    }

    /// Whether it says nothing of the connection, which goes on: the call gave up, or never began.
    pub(in crate::kafka) fn is_ours(&self) -> bool {
        matches!(
            self,
            Self::Silent | Self::Throttled(_) | Self::Unsupported { .. } | Self::Unaskable { .. }
        )
    }

    /// Whether the connection may only have been an old one, so that the same question on a new one
    /// may be answered.
    pub(in crate::kafka) fn is_stale(&self) -> bool {
        matches!(self, Self::Closed | Self::Broken(_) | Self::Idle | Self::GivenUp)
    }
}

impl Foreign {
    /// What the first bytes of a reply tell, where they are no size of any.
    pub(super) fn of_prefix(prefix: [u8; 4]) -> Option<Self> {
        match prefix {
            // A record of TLS: its type, and a version from SSL 3.0 to TLS 1.3.
            [20..=23, 3, 0..=4, _] => Some(Self::Tls),
            _ if prefix == *b"HTTP" => Some(Self::Http),
            _ if prefix.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ') => {
                Some(Self::Text)
            }
            _ => None,
        }
    }
}

impl From<SaslError> for ConnectionError {
    fn from(error: SaslError) -> Self {
        Self::Login(error)
    }
}

fn login_text(error: &SaslError) -> String {
    match error {
        SaslError::Refused { mechanism: "OAUTHBEARER", .. } => format!("{error}; {CHECK_CLIENT}"),
        error if error.is_refusal() => format!("{error}; {CHECK_LOGIN}"),
        error => error.to_string(),
    }
}

fn offered_text(offered: &[String]) -> String {
    if offered.is_empty() {
        String::new()
    } else {
        format!(" but {}", one_line(&offered.join(", "), 100))
    }
}

/// The system's words, without the number that it has for them.
pub(super) fn system_text(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split_once(" (os error ").map_or(&*text, |(text, _)| text);
    one_line(text, 200)
}
