//! Which batches are in these bytes, and what does each say of itself?
//!
//! A broker sends whole segments of its log, so the last batch may be cut. The bytes of every
//! batch are compared with its checksum before anything of it is believed.
//!
//! # References
//! - [Record batch](https://kafka.apache.org/documentation/#recordbatch)

use std::ops::ControlFlow;

use super::codec::Codec;
use super::cursor::{Cursor, PREFIX_BYTES};
use super::decompress::Scratch;
use super::error::BatchError;
use super::legacy::{self, LegacyBatch};
use super::record::{Record, timestamp};
use super::walk::{Frame, drive};
use crate::kafka::names::Offset;

/// Bytes from the length up to the first record.
const HEADER_BYTES: usize = 49;

/// Bytes before the format's number, in every format.
const BEFORE_MAGIC: usize = 16;

/// The highest offset that is taken for one.
const MAX_OFFSET: i64 = i64::MAX / 2;

/// Bytes between the format of a batch and its last offset.
const CHECKSUM_AND_ATTRIBUTES: usize = 6;

const TIMESTAMP_TYPE: i16 = 0x08;
const TRANSACTIONAL: i16 = 0x10;
const CONTROL: i16 = 0x20;

/// Goes through the batches of one partition's bytes. After an error comes nothing.
#[derive(Debug, Clone)]
pub struct Batches<'a> {
    rest: &'a [u8],
    /// Whether a batch was whole.
    any: bool,
    /// The bytes of a batch that is cut, as it states them.
    cut: Option<usize>,
}

/// A batch whose checksum fits. Before Kafka 0.11 it is one message, or those that were compressed
/// together.
#[derive(Debug, Clone)]
pub struct Batch<'a> {
    /// The offset that its first record had when it was written. `None` where several messages of
    /// magic 0 or 1 are compressed together, whose first offset only they tell.
    pub base_offset: Option<Offset>,
    /// The offset that its last record had when it was written. The next batch begins after it,
    /// whatever compaction has left of this one.
    pub last_offset: Offset,
    /// The epoch of the leader that took it, if known.
    pub leader_epoch: Option<i32>,
    /// Who wrote it, where that is an idempotent or transactional producer.
    pub producer_id: Option<i64>,
    /// The epoch of that producer.
    pub producer_epoch: i16,
    /// The number of the first record among the producer's, −1 without such a producer.
    pub base_sequence: i32,
    /// The timestamp that those of records are told from, in milliseconds since 1970.
    pub base_timestamp: Option<i64>,
    /// The latest timestamp, or the time of writing where that is every record's.
    pub max_timestamp: Option<i64>,
    /// How many records are left of it, if it says so.
    pub count: Option<u32>,
    attributes: i16,
    codec: Option<Codec>,
    content: Content<'a>,
}

/// The records as they are encoded.
#[derive(Debug, Clone)]
enum Content<'a> {
    Current(Frame, &'a [u8]),
    Legacy(LegacyBatch<'a>),
}

/// What the heads of one partition's batches say, without a look at what is in them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heads {
    /// The offset after the last batch.
    pub next: Offset,
    /// The epoch of the leader that took that, if known.
    pub leader_epoch: Option<i32>,
}

/// Why there is no batch among bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeadsError {
    /// The first one is not whole; it states so many bytes, or 0 where it does not come to that.
    #[error("a batch of {0} bytes, which is more than is read")]
    Cut(usize),
    /// They are none.
    #[error("bytes that are no records")]
    Nonsense,
}

impl Heads {
    /// Of all batches that are whole, as far as their heads make sense.
    ///
    /// # Errors
    /// There is none.
    pub fn of(bytes: &[u8]) -> Result<Self, HeadsError> {
        let mut from = Cursor(bytes);
        let mut last = None;
        while !from.0.is_empty() {
            match Self::next(&mut from) {
                Ok(head) => last = Some(head),
                Err(error) => return last.ok_or(error),
            }
        }
        last.ok_or(HeadsError::Cut(0))
    }

    fn next(from: &mut Cursor<'_>) -> Result<Self, HeadsError> {
        let nonsense = HeadsError::Nonsense;
        let prefix = from.array().map(i64::from_be_bytes).zip(from.array().map(i32::from_be_bytes));
        let (base, size) = prefix.ok_or(HeadsError::Cut(0))?;
        let size = usize::try_from(size).map_err(|_| nonsense)?;
        let cut = HeadsError::Cut(PREFIX_BYTES.saturating_add(size));
        let mut body = from.take(size).map(Cursor).ok_or(cut)?;
        let base = u64::try_from(base).ok().filter(|base| *base <= MAX_OFFSET.cast_unsigned());
        let base = base.ok_or(nonsense)?;
        let epoch = body.array().map(i32::from_be_bytes).ok_or(nonsense)?;
        let magic = body.array().map(i8::from_be_bytes).ok_or(nonsense)?;
        if magic < 2 {
            return Ok(Self { next: base.saturating_add(1), leader_epoch: None });
        }
        body.take(CHECKSUM_AND_ATTRIBUTES).ok_or(nonsense)?;
        let last = body.array().map(i32::from_be_bytes).ok_or(nonsense)?;
        let last = u64::try_from(last).map_err(|_| nonsense)?;
        let next = base.saturating_add(last).saturating_add(1);
        Ok(Self { next, leader_epoch: (epoch >= 0).then_some(epoch) })
    }
}

impl<'a> Batches<'a> {
    /// Over what a broker has of one partition.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, any: false, cut: None }
    }

    /// After the last batch: how many bytes the first one takes, where it did not fit into those
    /// that are there, and so no batch came. As many have to be asked for. It is what the broker
    /// states, up to two gigabytes; where even that is cut, it is the size of the shortest batch.
    pub fn larger_than_asked(&self) -> Option<usize> {
        self.cut.filter(|_| !self.any)
    }

    /// Bytes that have not been looked at.
    pub fn left(&self) -> usize {
        self.rest.len()
    }

    fn read(&mut self) -> Option<Result<Batch<'a>, BatchError>> {
        let bytes = std::mem::take(&mut self.rest);
        if bytes.is_empty() {
            return None;
        }
        let mut from = Cursor(bytes);
        let prefix = from.array().map(i64::from_be_bytes).zip(from.array().map(i32::from_be_bytes));
        let Some((offset, length)) = prefix else {
            self.cut = Some(PREFIX_BYTES.saturating_add(HEADER_BYTES));
            return None;
        };
        let too_short = Some(Err(BatchError::Length { length }));
        let Some(size) = usize::try_from(length).ok().filter(|size| *size >= legacy::SHORTEST)
        else {
            return too_short;
        };
        let Some(body) = from.take(size) else {
            self.cut = Some(PREFIX_BYTES.saturating_add(size));
            return None;
        };
        let magic = bytes.get(BEFORE_MAGIC).copied()?.cast_signed();
        let offset = match u64::try_from(offset) {
            Ok(base) if offset <= MAX_OFFSET => base,
            _ => return Some(Err(BatchError::Offset { offset })),
        };
        let batch = match magic {
            2 if size < HEADER_BYTES => return too_short,
            2 => Batch::current(offset, body),
            0 | 1 => Batch::legacy(magic, offset, length, body),
            _ => Err(BatchError::Magic { magic }),
        };
        if batch.is_ok() {
            self.rest = from.0;
            self.any = true;
        }
        Some(batch)
    }
}

impl<'a> Iterator for Batches<'a> {
    type Item = Result<Batch<'a>, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read()
    }
}

impl<'a> Batch<'a> {
    /// Whether its records are markers of Kafka's own, which no consumer is shown.
    pub fn is_control(&self) -> bool {
        self.attributes & CONTROL != 0
    }

    /// Whether it is part of a transaction.
    pub fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL != 0
    }

    /// Whether every record has the time at which the broker wrote it.
    pub fn is_log_append_time(&self) -> bool {
        self.attributes & TIMESTAMP_TYPE != 0
    }

    /// How its records are compressed, if they are.
    pub fn codec(&self) -> Option<Codec> {
        self.codec
    }

    /// Calls `each` with every record in ascending order of offsets, until it breaks. The first may
    /// lie before the offset that was asked for.
    ///
    /// # Errors
    /// [`BatchError`]; `each` was called with the records before.
    pub fn for_each<F>(&self, scratch: &mut Scratch, mut each: F) -> Result<(), BatchError>
    where
        F: FnMut(&Record<'_>) -> ControlFlow<()>,
    {
        match &self.content {
            Content::Current(frame, body) => {
                drive(self.codec, body, scratch, &mut frame.clone(), &mut each)
            }
            Content::Legacy(batch) => batch.for_each(self.codec, scratch, &mut each),
        }
    }

    /// Of what comes after the length.
    fn current(base_offset: Offset, body: &'a [u8]) -> Result<Self, BatchError> {
        // The caller has looked that the header is there.
        let cut = || BatchError::Cut;
        let mut from = Cursor(body);
        let leader_epoch = i32::from_be_bytes(from.array().ok_or_else(cut)?);
        from.take(1).ok_or_else(cut)?; // The format.
        let checksum = u32::from_be_bytes(from.array().ok_or_else(cut)?);
        if crc32c::crc32c(from.0) != checksum {
            return Err(BatchError::Checksum { offset: base_offset });
        }
        let attributes = i16::from_be_bytes(from.array().ok_or_else(cut)?);
        let last_delta = i32::from_be_bytes(from.array().ok_or_else(cut)?);
        let base_timestamp = i64::from_be_bytes(from.array().ok_or_else(cut)?);
        let max_timestamp = i64::from_be_bytes(from.array().ok_or_else(cut)?);
        let producer_id = i64::from_be_bytes(from.array().ok_or_else(cut)?);
        let producer_epoch = i16::from_be_bytes(from.array().ok_or_else(cut)?);
        let base_sequence = i32::from_be_bytes(from.array().ok_or_else(cut)?);
        let count = i32::from_be_bytes(from.array().ok_or_else(cut)?);
        let not_negative = |what, value: i32| {
            u32::try_from(value).map_err(|_| BatchError::Negative { what, value: value.into() })
        };
        let last = not_negative("last offset", last_delta)?;
        let count = not_negative("number of records", count)?;
        let fixed_timestamp = (attributes & TIMESTAMP_TYPE != 0).then_some(max_timestamp);
        Ok(Self {
            base_offset: Some(base_offset),
            last_offset: base_offset.saturating_add(last.into()),
            leader_epoch: (leader_epoch >= 0).then_some(leader_epoch),
            producer_id: (producer_id >= 0).then_some(producer_id),
            producer_epoch,
            base_sequence,
            base_timestamp: timestamp(base_timestamp),
            max_timestamp: timestamp(max_timestamp),
            count: Some(count),
            attributes,
            codec: Codec::of(attributes, 2)?,
            content: Content::Current(
                Frame::new(base_offset, last, base_timestamp, fixed_timestamp, count),
                from.0,
            ),
        })
    }

    fn legacy(
        magic: i8,
        offset: Offset,
        length: i32,
        message: &'a [u8],
    ) -> Result<Self, BatchError> {
        let (batch, attributes) = LegacyBatch::read(magic, offset, length, message)?;
        let codec = Codec::of(attributes, magic)?;
        let time = timestamp(batch.timestamp);
        Ok(Self {
            base_offset: codec.is_none().then_some(offset),
            last_offset: offset,
            leader_epoch: None,
            producer_id: None,
            producer_epoch: -1,
            base_sequence: -1,
            base_timestamp: time,
            max_timestamp: time,
            count: codec.is_none().then_some(1),
            // Of the flags those formats had the timestamp's type alone.
            attributes: attributes & TIMESTAMP_TYPE,
            codec,
            content: Content::Legacy(batch),
        })
    }
}
