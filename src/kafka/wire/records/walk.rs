//! Which records follow each other in the bytes of a batch, compressed or not?
//!
//! [`drive`] goes on from record to record. What is compressed is decompressed a piece at a time,
//! and a record is read once all of it is there.

use std::ops::ControlFlow;

use super::codec::Codec;
use super::cursor::{Cursor, VARINT_BYTES};
use super::decompress::{Scratch, Stream};
use super::error::BatchError;
use super::record::{MAX_RECORD, Parts, Record, timestamp};
use crate::kafka::names::Offset;

/// Reads one record after the other, in one of Kafka's formats.
pub(super) trait Steps {
    /// The first record in these bytes, which begin where the one before ended.
    fn step<'a>(&mut self, bytes: &'a [u8]) -> Result<Step<'a>, BatchError>;

    /// Whether the batch may end here, where this many bytes are left.
    fn end(&self, left: usize) -> Result<(), BatchError>;
}

/// What is at the beginning of some bytes.
pub(super) enum Step<'a> {
    /// A record, and how many bytes it takes.
    Record(Record<'a>, usize),
    /// The beginning of a record, for which this many bytes have to be there at least.
    Needs(usize),
    /// The end: the batch has no more records.
    End,
}

/// The records of a batch of magic 2 that are still to come.
#[derive(Debug, Clone)]
pub(super) struct Frame {
    base_offset: Offset,
    last_delta: u32,
    base_timestamp: i64,
    fixed_timestamp: Option<i64>,
    left: u32,
    /// The lowest offset that the next record may have, from the base on.
    lowest: u32,
}

impl Frame {
    pub(super) fn new(
        base_offset: Offset,
        last_delta: u32,
        base_timestamp: i64,
        fixed_timestamp: Option<i64>,
        count: u32,
    ) -> Self {
        Self { base_offset, last_delta, base_timestamp, fixed_timestamp, left: count, lowest: 0 }
    }

    #[inline]
    fn record<'a>(&mut self, body: &'a [u8]) -> Result<Record<'a>, BatchError> {
        let parts = Parts::read(body)?;
        let delta = u32::try_from(parts.offset_delta).ok();
        let Some(delta) = delta.filter(|delta| (self.lowest..=self.last_delta).contains(delta))
        else {
            return Err(self.misplaced(parts.offset_delta));
        };
        // The delta is below 2³¹, so this does not wrap.
        self.lowest = delta.wrapping_add(1);
        let millis = match self.fixed_timestamp {
            Some(millis) => millis,
            None => self.base_timestamp.wrapping_add(parts.timestamp_delta),
        };
        Ok(Record {
            offset: self.base_offset.wrapping_add(delta.into()),
            timestamp: timestamp(millis),
            key: parts.key,
            value: parts.value,
            headers: parts.headers,
        })
    }

    #[cold]
    fn misplaced(&self, delta: i32) -> BatchError {
        let base = i64::try_from(self.base_offset).unwrap_or(i64::MAX);
        let offset = base.saturating_add(delta.into());
        match u32::try_from(delta) {
            Ok(delta) if delta < self.lowest => BatchError::OffsetOrder { offset },
            _ => {
                let last = self.base_offset.saturating_add(self.last_delta.into());
                BatchError::OffsetOutside { offset, last }
            }
        }
    }
}

impl Steps for Frame {
    #[inline]
    fn step<'a>(&mut self, bytes: &'a [u8]) -> Result<Step<'a>, BatchError> {
        if self.left == 0 {
            return Ok(Step::End);
        }
        let mut from = Cursor(bytes);
        let Some(length) = from.varint() else {
            if bytes.len() >= VARINT_BYTES {
                return Err(BatchError::Record { what: "length" });
            }
            return Ok(Step::Needs(bytes.len().saturating_add(1)));
        };
        let negative = |_| BatchError::Negative { what: "record length", value: length.into() };
        let length = usize::try_from(length).map_err(negative)?;
        if length > MAX_RECORD {
            return Err(BatchError::RecordTooLong { bytes: length, max: MAX_RECORD });
        }
        let used = bytes.len().saturating_sub(from.0.len()).saturating_add(length);
        let Some(body) = from.take(length) else { return Ok(Step::Needs(used)) };
        let record = self.record(body)?;
        self.left = self.left.saturating_sub(1);
        Ok(Step::Record(record, used))
    }

    fn end(&self, left: usize) -> Result<(), BatchError> {
        match (self.left, left) {
            (0, 0) => Ok(()),
            (0, bytes) => Err(BatchError::Trailing { bytes }),
            _ => Err(BatchError::Cut),
        }
    }
}

/// Calls `each` with every record, until it breaks.
#[inline]
pub(super) fn drive<S: Steps, F>(
    codec: Option<Codec>,
    body: &[u8],
    scratch: &mut Scratch,
    steps: &mut S,
    each: &mut F,
) -> Result<(), BatchError>
where
    F: FnMut(&Record<'_>) -> ControlFlow<()>,
{
    match codec {
        None => in_place(body, steps, each),
        Some(codec) => {
            let driven = streamed(codec, body, scratch, steps, each);
            scratch.shrink();
            driven
        }
    }
}

fn in_place<S: Steps, F>(body: &[u8], steps: &mut S, each: &mut F) -> Result<(), BatchError>
where
    F: FnMut(&Record<'_>) -> ControlFlow<()>,
{
    let mut rest = body;
    loop {
        match steps.step(rest)? {
            Step::Record(record, used) => {
                if each(&record).is_break() {
                    return Ok(());
                }
                rest = rest.get(used..).unwrap_or_default();
            }
            Step::Needs(_) | Step::End => return steps.end(rest.len()),
        }
    }
}

fn streamed<S: Steps, F>(
    codec: Codec,
    body: &[u8],
    scratch: &mut Scratch,
    steps: &mut S,
    each: &mut F,
) -> Result<(), BatchError>
where
    F: FnMut(&Record<'_>) -> ControlFlow<()>,
{
    let (mut stream, window) = Stream::open(codec, body, scratch);
    loop {
        let needs = match steps.step(window.filled())? {
            Step::Record(record, used) => {
                if each(&record).is_break() {
                    return Ok(());
                }
                window.consume(used);
                continue;
            }
            Step::Needs(bytes) => bytes,
            Step::End if window.filled().is_empty() => 1,
            Step::End => return steps.end(window.filled().len()),
        };
        while window.filled().len() < needs {
            if !stream.fill(window)? {
                return steps.end(window.filled().len());
            }
        }
    }
}
