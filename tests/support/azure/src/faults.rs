//! What can go wrong, when a test asks for it.
//!
//! A fault stands until it is taken back, unless it says "next".

use std::time::Duration;

/// How many messages a reply to a peek holds at most, and how many bytes.
const REPLY: (usize, usize) = (250, 256 * 1024);

/// The faults that stand.
#[derive(Debug)]
pub(crate) struct Faults {
    /// What peeks are answered with instead of messages.
    pub(crate) busy: Option<Busy>,
    /// Peeks are counted and not answered.
    pub(crate) stall_peeks: bool,
    /// So for one entity.
    pub(crate) stalled: Option<String>,
    /// The next reply to a peek ends half way, and the socket with it.
    pub(crate) cut_next_reply: bool,
    pub(crate) reply_limit: usize,
    pub(crate) reply_bytes: usize,
    /// What links to a node say that a message may have at most.
    pub(crate) node_bytes: u64,
    pub(crate) management: Option<Management>,
    pub(crate) empty: Empty,
    /// Peeks from this number on find no entity; and whether all are silent after that.
    pub(crate) missing_from: Option<(i64, bool)>,
}

/// How a peek that finds no message is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Empty {
    /// With status 204.
    #[default]
    NoContent,
    /// With status 202.
    Accepted,
    /// With status 404 and the condition `com.microsoft:message-not-found`.
    MessageNotFound,
}

/// What a throttled namespace says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Busy {
    /// The reply has status 503 and the condition `com.microsoft:server-busy`.
    Reply,
    /// The link is detached with `com.microsoft:server-busy`.
    Detach,
}

/// What the management endpoint answers with instead of the truth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Management {
    /// This status with these headers.
    Refuse(u16, Vec<(&'static str, String)>),
    /// 200 with a feed that has no entry: how the service may say that there is no such entity.
    EmptyFeed,
    /// Entries as a throttled namespace may give them.
    WithoutCounts,
    /// The connection ends half way through the body.
    CutShort,
    /// To the same path at this base, `https://elsewhere.example`.
    Redirect(String),
    /// The truth, after this long.
    Slow(Duration),
}

impl Default for Faults {
    fn default() -> Self {
        let (reply_limit, reply_bytes) = REPLY;
        Self {
            busy: None,
            stall_peeks: false,
            stalled: None,
            cut_next_reply: false,
            reply_limit,
            reply_bytes,
            node_bytes: u64::MAX,
            management: None,
            empty: Empty::default(),
            missing_from: None,
        }
    }
}
