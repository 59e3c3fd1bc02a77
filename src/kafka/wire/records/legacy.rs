//! Which messages are in a message set of magic 0 or 1?
//!
//! Kafka wrote these before 0.11, and Kafka before 4.0 still sends what it kept. A message stands
//! alone, or its value is a compressed set of messages, whose offsets are absolute in magic 0. In
//! magic 1 they count up to that of the message around them. How far the last one is up to is only
//! known at the end, so such a message is decompressed twice.
//!
//! # References
//! - [Old message format](https://kafka.apache.org/documentation/#messageset) · KIP-31, KIP-32

use std::ops::ControlFlow;

use super::codec::Codec;
use super::cursor::{Cursor, PREFIX_BYTES};
use super::decompress::Scratch;
use super::error::BatchError;
use super::record::{Headers, MAX_RECORD, Record, timestamp};
use super::walk::{Step, Steps, drive};
use crate::kafka::names::Offset;

/// Bytes of the shortest message after its length: magic 0 without a time.
pub(super) const SHORTEST: usize = 14;

/// Bytes that a time takes.
const TIME_BYTES: usize = 8;

/// The bit of a message whose time is that of writing, and that of those within it.
const LOG_APPEND_TIME: i16 = 0x08;

/// A message at the outermost level.
#[derive(Debug, Clone)]
pub(super) struct LegacyBatch<'a> {
    magic: i8,
    offset: Offset,
    /// Its time, −1 for none.
    pub(super) timestamp: i64,
    is_log_append_time: bool,
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
}

/// The messages that are compressed in another one.
struct Inner {
    magic: i8,
    /// What is added to their offsets; `None` while that is being found out.
    shift: Option<Offset>,
    /// The offset of the message around them.
    last: Offset,
    /// The time of all of them, if that is the time of writing.
    fixed_timestamp: Option<i64>,
    /// The lowest offset that the next one may have, before the shift.
    lowest: Offset,
}

/// What is in a message after its checksum.
struct Message<'a> {
    magic: i8,
    attributes: i16,
    timestamp: i64,
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
}

impl<'a> LegacyBatch<'a> {
    /// Of the bytes after the length; and the attributes.
    pub(super) fn read(
        magic: i8,
        offset: Offset,
        length: i32,
        bytes: &'a [u8],
    ) -> Result<(Self, i16), BatchError> {
        let times = if magic == 0 { 0 } else { TIME_BYTES };
        if bytes.len() < SHORTEST.saturating_add(times) {
            return Err(BatchError::Length { length });
        }
        let message = Message::read(bytes, offset)?;
        let batch = Self {
            magic,
            offset,
            timestamp: message.timestamp,
            is_log_append_time: magic > 0 && message.attributes & LOG_APPEND_TIME != 0,
            key: message.key,
            value: message.value,
        };
        Ok((batch, message.attributes))
    }

    pub(super) fn for_each<F>(
        &self,
        codec: Option<Codec>,
        scratch: &mut Scratch,
        each: &mut F,
    ) -> Result<(), BatchError>
    where
        F: FnMut(&Record<'_>) -> ControlFlow<()>,
    {
        let Some(codec) = codec else {
            let record = Record {
                offset: self.offset,
                timestamp: timestamp(self.timestamp),
                key: self.key,
                value: self.value,
                headers: Headers::default(),
            };
            let _stopped_or_not: ControlFlow<()> = each(&record);
            return Ok(());
        };
        let set = self.value.ok_or_else(|| codec.fault("there are none"))?;
        let shift = if self.magic == 0 {
            0
        } else {
            let mut inner = self.inner(None);
            let mut last = None;
            drive(Some(codec), set, scratch, &mut inner, &mut |record: &Record<'_>| {
                last = Some(record.offset);
                ControlFlow::Continue(())
            })?;
            let last = last.unwrap_or(self.offset);
            self.offset.checked_sub(last).ok_or_else(|| outside(last, self.offset))?
        };
        drive(Some(codec), set, scratch, &mut self.inner(Some(shift)), each)
    }

    fn inner(&self, shift: Option<Offset>) -> Inner {
        Inner {
            magic: self.magic,
            shift,
            last: self.offset,
            fixed_timestamp: self.is_log_append_time.then_some(self.timestamp),
            lowest: 0,
        }
    }
}

impl Steps for Inner {
    fn step<'a>(&mut self, bytes: &'a [u8]) -> Result<Step<'a>, BatchError> {
        let mut from = Cursor(bytes);
        let prefix = from.array().map(i64::from_be_bytes).zip(from.array().map(i32::from_be_bytes));
        let Some((stated, length)) = prefix else { return Ok(Step::Needs(PREFIX_BYTES)) };
        let size = usize::try_from(length).ok().filter(|size| *size >= SHORTEST);
        let size = size.ok_or(BatchError::Length { length })?;
        if size > MAX_RECORD {
            return Err(BatchError::RecordTooLong { bytes: size, max: MAX_RECORD });
        }
        let used = PREFIX_BYTES.saturating_add(size);
        let Some(body) = from.take(size) else { return Ok(Step::Needs(used)) };
        let negative = |_| BatchError::Offset { offset: stated };
        let relative = Offset::try_from(stated).map_err(negative)?;
        if relative < self.lowest {
            return Err(BatchError::OffsetOrder { offset: stated });
        }
        self.lowest = relative.saturating_add(1);
        let offset = relative.saturating_add(self.shift.unwrap_or(0));
        if self.shift.is_some() && offset > self.last {
            return Err(outside(offset, self.last));
        }
        let message = Message::read(body, self.last)?;
        if message.magic != self.magic {
            return Err(BatchError::InnerMagic { inner: message.magic, outer: self.magic });
        }
        if Codec::of(message.attributes, message.magic)?.is_some() {
            return Err(BatchError::Nested);
        }
        let record = Record {
            offset,
            timestamp: timestamp(self.fixed_timestamp.unwrap_or(message.timestamp)),
            key: message.key,
            value: message.value,
            headers: Headers::default(),
        };
        Ok(Step::Record(record, used))
    }

    fn end(&self, left: usize) -> Result<(), BatchError> {
        if left == 0 { Ok(()) } else { Err(BatchError::Cut) }
    }
}

impl<'a> Message<'a> {
    /// Of the bytes after the length. An error names the batch by this offset.
    fn read(bytes: &'a [u8], offset: Offset) -> Result<Self, BatchError> {
        let fault = |what| BatchError::Record { what };
        let mut from = Cursor(bytes);
        let checksum = from.array().map(u32::from_be_bytes).ok_or_else(|| fault("checksum"))?;
        if crc32fast::hash(from.0) != checksum {
            return Err(BatchError::Checksum { offset });
        }
        let [magic, attributes] = from.array().ok_or_else(|| fault("attributes"))?;
        let magic = magic.cast_signed();
        let timestamp = match magic {
            0 => -1,
            1 => from.array().map(i64::from_be_bytes).ok_or_else(|| fault("timestamp"))?,
            _ => return Err(BatchError::Magic { magic }),
        };
        let key = field(&mut from, "key")?;
        let value = field(&mut from, "value")?;
        match from.0.len() {
            0 => Ok(Self { magic, attributes: attributes.into(), timestamp, key, value }),
            bytes => Err(BatchError::Trailing { bytes }),
        }
    }
}

/// Bytes after their length, where −1 is null.
fn field<'a>(from: &mut Cursor<'a>, what: &'static str) -> Result<Option<&'a [u8]>, BatchError> {
    let fault = || BatchError::Record { what };
    let length = from.array().map(i32::from_be_bytes).ok_or_else(fault)?;
    match usize::try_from(length) {
        Ok(length) => from.take(length).map(Some).ok_or_else(fault),
        Err(_) if length == -1 => Ok(None),
        Err(_) => Err(BatchError::Negative { what, value: length.into() }),
    }
}

fn outside(offset: Offset, last: Offset) -> BatchError {
    BatchError::OffsetOutside { offset: i64::try_from(offset).unwrap_or(i64::MAX), last }
}
