//! From where on one partition's messages wait for a group: what a poll learns of a partition, and
//! what it does next.
//!
//! [`step`] takes what is remembered of a partition, what its brokers were seen to say, the rules
//! of the trigger, and the time. It gives what to remember from now on, and the next [`Step`].
//! Nothing here does I/O.
//!
//! - Messages wait from the committed offset on, and never before the log start.
//! - A committed offset that is lower than before, or gone, is believed once it has stood so for a
//!   second. Until then it is asked for again.
//! - A committed offset may lie past the end: a group that reads uncommitted records commits so
//!   while a transaction is open, and one that reads on commits between two questions. An offset
//!   past a high watermark that was asked for *after* it is not valid: the log was cut or made
//!   again, and a consumer would be reset. It counts as if nothing were committed.
//! - Without a committed offset the trigger's [`Rules`] decide. Where they say "from when the
//!   trigger was first seen", what the group has passed since then does not wait, even after the
//!   group is forgotten.
//!
//! Offsets count records, and all ends are exclusive.
//!
//! # References
//! - KEDA 2.20.2, `pkg/scalers/kafka_scaler.go`: what a partition without a committed offset counts
//! - Kafka's `auto.offset.reset`: what a consumer does with an offset that is not valid
//! - KIP-98: under `read_committed` a partition ends at the last stable offset

use std::time::Duration;

use tokio::time::Instant;

use crate::kafka::names::{Offset, Partition, Topic};
use crate::kafka::trigger::{KafkaTrigger, OffsetReset};

/// How long a committed offset must have stood lower than it was, or have been gone, before that is
/// believed. A coordinator that has just moved to another broker answers, without an error, with
/// what it knows to be replicated there, which may be less than what it knew before (Kafka 4.1).
pub(super) const BELIEVE_AFTER: Duration = Duration::from_secs(1);

/// What is remembered of one partition between polls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Remembered {
    pub(super) group: GroupOffset,
    /// Where the partition ended when the trigger first saw it, or what the group has committed
    /// since. 0 where the rules do not ask for it.
    pub(super) first_seen: Offset,
    /// The valid committed offset of the last poll for the metric.
    pub(super) last_metric: Option<Offset>,
}

/// What is known of a group's committed offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum GroupOffset {
    /// Nothing was ever committed, as far as is known.
    Unknown,
    At(Offset),
    /// It stood at `from`, and is said since then to stand further back, or to be gone.
    Regressed {
        from: Offset,
        since: Instant,
    },
}

/// What the brokers were seen to say of one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Observed {
    /// The log start offset.
    pub(super) start: Offset,
    /// The end offset up to which is counted.
    pub(super) end: Offset,
    pub(super) committed: Committed,
    /// The high watermark, if it was asked for after the committed offset.
    pub(super) high_watermark: Option<Offset>,
    /// The first record of the time from which on the trigger's object counts, if that was asked
    /// for and there is one.
    pub(super) since: Option<Offset>,
}

/// What the coordinator said of a group and a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Committed {
    /// Nothing: the partition was not known yet when the committed offsets were asked for.
    NotAsked,
    /// The group has none.
    Absent,
    At(Offset),
}

/// What a trigger says of partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rules {
    pub(super) without_offset: WithoutOffset,
    /// Whether a partition in which the group stands still does not count in the metric.
    pub(super) exclude_persistent_lag: bool,
}

/// What waits in a partition without a valid committed offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WithoutOffset {
    /// `scaleToZeroOnInvalidOffset`.
    Nothing,
    /// `earliest`.
    FromLogStart,
    /// `latest` without a selection. KEDA's made-up 1 starts a consumer, whose first commit ends
    /// this state.
    One,
    /// `latest` with a selection.
    FromFirstSeen,
}

/// What a poll does next about a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// It is known from where on to count.
    Count(Waiting),
    /// The offset to count from lies past the end: ask whether the log reaches as far.
    AskHighWatermark,
    /// The answers do not fit together, or are not believed yet.
    AskAgain,
}

/// From where on a partition's messages wait for a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waiting {
    /// All from this offset on; never before the log start.
    From(Offset),
    /// A number that is not measured but set, by KEDA's rule.
    Fixed(u64),
}

/// A partition that a poll counts, with all that the poll knows of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Polled {
    pub(super) topic: Topic,
    pub(super) partition: Partition,
    /// The log start offset.
    pub(super) start: Offset,
    /// The end offset up to which is counted.
    pub(super) end: Offset,
    /// The committed offset, if there is a valid one.
    pub(super) committed: Option<Offset>,
    pub(super) waiting: Waiting,
    /// Whether this counts for being active only: the group has stood still since the last poll for
    /// the metric, and the trigger excludes that.
    pub(super) persistent: bool,
    /// How many messages wait, as far as they have been counted.
    pub(super) count: u64,
}

/// Decides what to do about a partition whose committed offset has just been asked for, and what to
/// remember of it.
///
/// The committed offset is weighed first: nothing follows from one that is not believed.
pub(super) fn step(
    remembered: Remembered,
    observed: &Observed,
    rules: Rules,
    now: Instant,
) -> (Remembered, Step) {
    let committed = match observed.committed {
        Committed::NotAsked => return (remembered, Step::AskAgain),
        Committed::Absent => None,
        Committed::At(committed) => Some(committed),
    };
    let group = remembered.group.heard(committed, now);
    let remembered = Remembered { group, ..remembered };
    if matches!(group, GroupOffset::Regressed { .. }) {
        return (remembered, Step::AskAgain);
    }
    count_from(remembered, observed, rules)
}

/// The rest of [`step`], for a committed offset that was believed when it was asked for, with what
/// else has been asked for since.
pub(super) fn count_from(
    remembered: Remembered,
    observed: &Observed,
    rules: Rules,
) -> (Remembered, Step) {
    let mut next = remembered;
    let first_seen = next.first_seen;
    let counted_from = match observed.committed {
        Committed::NotAsked => return (next, Step::AskAgain),
        Committed::Absent => first_seen,
        Committed::At(committed) => committed,
    };
    if counted_from > observed.end && observed.high_watermark.is_none() {
        return (next, Step::AskHighWatermark);
    }
    if rules.without_offset == WithoutOffset::FromFirstSeen {
        next.first_seen = observed.first_seen(first_seen);
    }
    let start = observed.start;
    let waiting = match (observed.valid_committed(), rules.without_offset) {
        (Some(committed), _) => Waiting::From(committed.max(start)),
        (None, WithoutOffset::Nothing) => Waiting::Fixed(0),
        (None, WithoutOffset::FromLogStart) => Waiting::From(start),
        (None, WithoutOffset::One) => Waiting::Fixed(1),
        (None, WithoutOffset::FromFirstSeen) => Waiting::From(next.first_seen.max(start)),
    };
    (next, Step::Count(waiting))
}

impl Remembered {
    /// A partition that ended here when the trigger first saw it. One that was added later, or
    /// whose topic was made again, is seen from 0 on.
    pub(super) fn new(first_seen: Offset) -> Remembered {
        Remembered { group: GroupOffset::Unknown, first_seen, last_metric: None }
    }

    /// Whether the group has stood still since the last poll for the metric, and that is excluded.
    pub(super) fn is_persistent(&self, committed: Option<Offset>, rules: Rules) -> bool {
        rules.exclude_persistent_lag && committed.is_some() && committed == self.last_metric
    }
}

impl GroupOffset {
    /// What is known once a coordinator has said this.
    fn heard(self, committed: Option<Offset>, now: Instant) -> GroupOffset {
        let said = committed.map_or(GroupOffset::Unknown, GroupOffset::At);
        let (from, since) = match self {
            GroupOffset::Unknown => return said,
            GroupOffset::At(from) => (from, now),
            GroupOffset::Regressed { from, since } => (from, since),
        };
        let is_back = committed.is_none_or(|committed| committed < from);
        if is_back && now.saturating_duration_since(since) < BELIEVE_AFTER {
            return GroupOffset::Regressed { from, since };
        }
        said
    }
}

impl Observed {
    /// The committed offset, unless the log does not reach as far.
    pub(super) fn valid_committed(&self) -> Option<Offset> {
        match self.committed {
            Committed::NotAsked | Committed::Absent => None,
            Committed::At(committed) => {
                Some(committed).filter(|at| self.high_watermark.is_none_or(|high| *at <= high))
            }
        }
    }

    /// From where on what came is new to the trigger.
    fn first_seen(&self, mut first_seen: Offset) -> Offset {
        let committed = self.valid_committed();
        if committed.is_none() && self.high_watermark.is_some_and(|high| first_seen > high) {
            // The log was cut: nothing that it holds now was there before.
            first_seen = self.start;
        }
        // A time only ever adds what came before the trigger was first seen.
        first_seen = self.since.map_or(first_seen, |since| since.min(first_seen));
        // What the group has passed does not wait for it, even once it is forgotten.
        committed.map_or(first_seen, |committed| committed.max(first_seen))
    }
}

impl Rules {
    pub(super) fn of(trigger: &KafkaTrigger) -> Rules {
        let selects_all = trigger.selection.is_all();
        let without_offset = match trigger.offset_reset {
            _ if trigger.scale_to_zero_on_invalid_offset => WithoutOffset::Nothing,
            OffsetReset::Earliest => WithoutOffset::FromLogStart,
            OffsetReset::Latest if selects_all => WithoutOffset::One,
            OffsetReset::Latest => WithoutOffset::FromFirstSeen,
        };
        Rules { without_offset, exclude_persistent_lag: trigger.exclude_persistent_lag }
    }
}

impl Polled {
    /// A partition of which it is known what waits, with nothing counted yet but what is set.
    pub(super) fn new(
        (topic, partition): (Topic, Partition),
        observed: &Observed,
        waiting: Waiting,
        persistent: bool,
    ) -> Polled {
        let count = match waiting {
            Waiting::From(_) => 0,
            Waiting::Fixed(count) => count,
        };
        let Observed { start, end, .. } = *observed;
        let committed = observed.valid_committed();
        Polled { topic, partition, start, end, committed, waiting, persistent, count }
    }

    /// Whether what waits is measured, and not set.
    pub(super) fn is_measured(&self) -> bool {
        matches!(self.waiting, Waiting::From(_))
    }

    /// Counts offsets, as KEDA's scaler does.
    pub(super) fn count_offsets(&mut self) {
        if let Waiting::From(from) = self.waiting {
            self.count = self.end.saturating_sub(from);
        }
    }
}

#[cfg(test)]
mod tests;
