//! Which records are of transactions that were aborted?
//!
//! With `read_committed` a broker sends them nevertheless, up to the last stable offset, and lists
//! whose transactions were aborted. Such a transaction goes from its first offset to the marker
//! that its producer's log has of it. A producer has one transaction at a time.
//!
//! # References
//! - KIP-98, and `CompletedFetch` of Kafka's consumer, which does the same

use std::collections::HashSet;
use std::ops::ControlFlow;

use super::batches::Batch;
use super::cursor::Cursor;
use super::decompress::Scratch;
use super::error::BatchError;
use crate::kafka::wire::requests::AbortedTransaction;

/// The aborted transactions of one partition of one reply, at a place among its batches.
#[derive(Debug, Clone, Default)]
pub struct Aborted {
    /// Those that begin later, the next one last.
    to_come: Vec<AbortedTransaction>,
    /// The producers that are in one.
    open: HashSet<i64>,
}

/// What a control record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Marker {
    /// The producer's transaction was aborted.
    Abort,
    /// The producer's transaction was committed.
    Commit,
    /// Something about the log itself.
    Other,
}

impl Aborted {
    /// By what a reply lists, in any order.
    pub fn new(mut listed: Vec<AbortedTransaction>) -> Self {
        listed.sort_unstable_by_key(|aborted| std::cmp::Reverse(aborted.first_offset));
        Self { to_come: listed, open: HashSet::new() }
    }

    /// Whether the records of the next batch were aborted. Each batch of the reply is asked about
    /// once, in order.
    ///
    /// # Errors
    /// It is a batch of control records, and they cannot be read.
    pub fn is_aborted(
        &mut self,
        batch: &Batch<'_>,
        scratch: &mut Scratch,
    ) -> Result<bool, BatchError> {
        let Some(producer) = batch.producer_id else { return Ok(false) };
        while let Some(aborted) =
            self.to_come.pop_if(|aborted| aborted.first_offset <= batch.last_offset)
        {
            self.open.insert(aborted.producer_id);
        }
        if batch.is_control() {
            if batch.marker(scratch)? == Some(Marker::Abort) {
                self.open.remove(&producer);
            }
            return Ok(false);
        }
        Ok(batch.is_transactional() && self.open.contains(&producer))
    }
}

impl Batch<'_> {
    /// What the first control record says; `None` if it has none or is none.
    ///
    /// # Errors
    /// The record cannot be read, or its key says nothing.
    pub fn marker(&self, scratch: &mut Scratch) -> Result<Option<Marker>, BatchError> {
        if !self.is_control() {
            return Ok(None);
        }
        let mut marker = None;
        self.for_each(scratch, |record| {
            marker = Some(Marker::of(record.key));
            ControlFlow::Break(())
        })?;
        marker.transpose()
    }
}

impl Marker {
    /// By the key: a version and a type, and perhaps more in a later version.
    fn of(key: Option<&[u8]>) -> Result<Self, BatchError> {
        let mut from = Cursor(key.unwrap_or_default());
        let version = from.array().map(i16::from_be_bytes);
        let kind = from.array().map(i16::from_be_bytes);
        match (version, kind) {
            (Some(0..), Some(0)) => Ok(Self::Abort),
            (Some(0..), Some(1)) => Ok(Self::Commit),
            (Some(0..), Some(_)) => Ok(Self::Other),
            _ => Err(BatchError::Control),
        }
    }
}
