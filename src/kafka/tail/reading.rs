//! What a tail has others read of a partition, and for which of its epochs.
//!
//! A [`Reading`] that is dropped before it is over, for whatever reason, says so to its tail, and
//! the next poll has the partition read anew.

use std::sync::Arc;

use super::{Epoch, Judging, SelectorVersion, TopicTail};
use crate::kafka::broker::TopicId;
use crate::kafka::names::{Offset, Partition, Topic};
use crate::selection::Judge;

/// What a partition is read for: its topic's tail, and the epoch that the reading belongs to.
#[derive(Clone)]
pub(in crate::kafka) struct ReadTicket {
    tail: Arc<TopicTail>,
    partition: Partition,
    epoch: Epoch,
}

/// Something to read. Its tail hears of it when it is dropped.
pub(in crate::kafka) struct Reading {
    ticket: ReadTicket,
    /// Whose records: a topic that is made again has another id.
    id: TopicId,
    from: Offset,
    /// For a backfill what it is judged with. Its tail knows where it ends.
    backfill: Option<Arc<Judging>>,
}

impl ReadTicket {
    pub(in crate::kafka) fn new(
        tail: Arc<TopicTail>,
        partition: Partition,
        epoch: Epoch,
    ) -> ReadTicket {
        ReadTicket { tail, partition, epoch }
    }

    pub(in crate::kafka) fn partition(&self) -> Partition {
        self.partition
    }

    pub(in crate::kafka) fn epoch(&self) -> Epoch {
        self.epoch
    }
}

impl Reading {
    /// Reading on from an offset, without end.
    pub(in crate::kafka) fn following(ticket: ReadTicket, id: TopicId, from: Offset) -> Reading {
        Reading { ticket, id, from, backfill: None }
    }

    /// Reading a stretch once.
    pub(in crate::kafka) fn backfill(
        ticket: ReadTicket,
        id: TopicId,
        from: Offset,
        judge: Judge,
        by_key: bool,
    ) -> Reading {
        let judging =
            Judging { judge: Arc::new(judge), by_key, version: SelectorVersion::default() };
        Reading { ticket, id, from, backfill: Some(Arc::new(judging)) }
    }

    /// Whether this is a stretch before the tail, for the reader of those.
    pub(in crate::kafka) fn is_backfill(&self) -> bool {
        self.backfill.is_some()
    }

    pub(in crate::kafka) fn tail(&self) -> &Arc<TopicTail> {
        &self.ticket.tail
    }

    pub(in crate::kafka) fn ticket(&self) -> &ReadTicket {
        &self.ticket
    }

    pub(in crate::kafka) fn topic(&self) -> &Topic {
        self.ticket.tail.topic()
    }

    pub(in crate::kafka) fn partition(&self) -> Partition {
        self.ticket.partition
    }

    /// What the next records are judged with.
    pub(in crate::kafka) fn judging(&self) -> Arc<Judging> {
        match &self.backfill {
            Some(judging) => Arc::clone(judging),
            None => Arc::new(self.ticket.tail.judging()),
        }
    }

    /// The id of the topic as it was when this began.
    pub(in crate::kafka) fn id(&self) -> TopicId {
        self.id
    }

    /// Where it begins.
    pub(in crate::kafka) fn from(&self) -> Offset {
        self.from
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.ticket.tail.let_go(&self.ticket);
    }
}
