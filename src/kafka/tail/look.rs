//! What polls and readers bring to a tail, and how complete what a poll sees is.

use tokio::time::Instant;

use super::times::Timestamp;
use crate::kafka::broker::TopicShape;
use crate::kafka::fault::Fault;
use crate::kafka::index::KeyHash;
use crate::kafka::names::{Offset, Partition};
use crate::selection::{Reason, Slot};

/// What a poll needs of one partition.
#[derive(Debug, Clone, Copy)]
pub(in crate::kafka) struct Need {
    pub(in crate::kafka) partition: Partition,
    /// Matches at or after this count.
    pub(in crate::kafka) from: Offset,
    /// The log start offset.
    pub(in crate::kafka) start: Offset,
    /// The end offset: everything before it must have been judged.
    pub(in crate::kafka) end: Offset,
    /// How far the tail had come before the end was asked for.
    pub(in crate::kafka) seen: Offset,
}

/// What a poll knows of a topic when it looks.
#[derive(Debug, Clone, Copy)]
pub(in crate::kafka) struct View {
    pub(in crate::kafka) shape: TopicShape,
    /// Whether records may vanish from the middle of the log.
    pub(in crate::kafka) compacted: bool,
    /// When the ends were asked for.
    pub(in crate::kafka) asked: Instant,
}

/// How complete what was seen is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::kafka) enum Progress {
    Complete,
    /// Offsets judged and offsets to go, and what keeps them from being judged now, if anything
    /// does.
    Reading {
        judged: Offset,
        behind: Offset,
        fault: Option<Fault>,
    },
    /// What the poll brought is older than what has happened since: ask again.
    Outdated,
    /// Reading fails, and this poll need not wait for it.
    Failed(Fault),
}

/// A match that a reader found.
pub(in crate::kafka) type Match = (Slot, Offset, KeyHash);

/// What a record cannot be judged for, the record's offset, and why.
pub(in crate::kafka) type Indeterminate = (Slot, Offset, Reason);

/// What was found among records that were judged one after another.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::kafka) struct Judged<'a> {
    /// In rising order.
    pub(in crate::kafka) found: &'a [Match],
    pub(in crate::kafka) indeterminate: &'a [Indeterminate],
    /// When the first of those found was written.
    pub(in crate::kafka) first_at: Option<Timestamp>,
}
