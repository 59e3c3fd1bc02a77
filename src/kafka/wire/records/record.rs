//! What is in one record?
//!
//! Key and value are slices. Headers are parsed when they are asked for, and an error of theirs is
//! told then.
//!
//! # References
//! - [Record](https://kafka.apache.org/documentation/#record) · KIP-82: headers

use super::cursor::Cursor;
use super::error::BatchError;
use crate::kafka::names::Offset;

/// Bytes of the longest record that is read.
pub const MAX_RECORD: usize = 32 * 1024 * 1024;

/// A record, as long as the bytes that it is read from are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// Where it stands in its partition.
    pub offset: Offset,
    /// Milliseconds since 1970, where the record has a time.
    pub timestamp: Option<i64>,
    /// Its key, if it has one.
    pub key: Option<&'a [u8]>,
    /// Its value; a record without one deletes its key.
    pub value: Option<&'a [u8]>,
    /// Its headers.
    pub headers: Headers<'a>,
}

/// The headers of a record, unparsed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Headers<'a> {
    count: u32,
    bytes: &'a [u8],
}

/// Goes through the headers of a record. After an error comes nothing.
#[derive(Debug, Clone)]
struct EachHeader<'a> {
    left: u32,
    rest: Cursor<'a>,
}

/// A header's name, and its value if it has one.
type Header<'a> = (&'a [u8], Option<&'a [u8]>);

impl<'a> Record<'a> {
    /// The value of the last header of this name; a null value is none.
    ///
    /// # Errors
    /// The headers are not well-formed, at whichever place.
    pub fn header(&self, name: &str) -> Result<Option<&'a [u8]>, BatchError> {
        let mut last = None;
        for header in self.headers.iter() {
            let (found, value) = header?;
            if found == name.as_bytes() {
                last = value;
            }
        }
        Ok(last)
    }

    /// Calls `each` with name and value of every header, in order; a name that is not UTF-8 cannot
    /// be asked for.
    ///
    /// # Errors
    /// The headers are not well-formed; `each` was called with those before.
    pub fn each_header(
        &self,
        each: &mut dyn FnMut(&'a str, Option<&'a [u8]>),
    ) -> Result<(), BatchError> {
        for header in self.headers.iter() {
            let (name, value) = header?;
            if let Ok(name) = str::from_utf8(name) {
                each(name, value);
            }
        }
        Ok(())
    }
}

impl<'a> Headers<'a> {
    /// Each name, and its value if it has one, in order. After an error comes nothing.
    pub fn iter(&self) -> impl Iterator<Item = Result<Header<'a>, BatchError>> + use<'a> {
        EachHeader { left: self.count, rest: Cursor(self.bytes) }
    }

    /// How many there are by what the record states.
    pub fn count(&self) -> u32 {
        self.count
    }
}

impl<'a> EachHeader<'a> {
    fn read(&mut self) -> Result<Header<'a>, BatchError> {
        let name = bytes(&mut self.rest, "header name")?;
        let name = name.ok_or(BatchError::Negative { what: "header name", value: -1 })?;
        Ok((name, bytes(&mut self.rest, "header value")?))
    }
}

impl<'a> Iterator for EachHeader<'a> {
    type Item = Result<Header<'a>, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        let Some(left) = self.left.checked_sub(1) else {
            // Said once, after the last header.
            let trailing = std::mem::take(&mut self.rest.0).len();
            return (trailing > 0).then_some(Err(BatchError::Record { what: "headers" }));
        };
        self.left = left;
        let header = self.read();
        if header.is_err() {
            *self = Self { left: 0, rest: Cursor(&[]) };
        }
        Some(header)
    }
}

/// What is left of a record once its attributes are read, in magic 2.
pub(super) struct Parts<'a> {
    pub(super) timestamp_delta: i64,
    pub(super) offset_delta: i32,
    pub(super) key: Option<&'a [u8]>,
    pub(super) value: Option<&'a [u8]>,
    pub(super) headers: Headers<'a>,
}

impl<'a> Parts<'a> {
    /// Of the bytes after the record's length.
    #[inline]
    pub(super) fn read(body: &'a [u8]) -> Result<Self, BatchError> {
        let fault = |what| BatchError::Record { what };
        let mut from = Cursor(body);
        from.take(1).ok_or_else(|| fault("attributes"))?;
        let timestamp_delta = from.varlong().ok_or_else(|| fault("timestamp"))?;
        let offset_delta = from.varint().ok_or_else(|| fault("offset"))?;
        let key = bytes(&mut from, "key")?;
        let value = bytes(&mut from, "value")?;
        let count = from.varint().ok_or_else(|| fault("headers"))?;
        let negative = |_| BatchError::Negative { what: "number of headers", value: count.into() };
        let count = u32::try_from(count).map_err(negative)?;
        if count == 0 && !from.0.is_empty() {
            return Err(fault("headers"));
        }
        let headers = Headers { count, bytes: from.0 };
        Ok(Self { timestamp_delta, offset_delta, key, value, headers })
    }
}

/// Bytes after their length, where −1 is null.
#[inline]
fn bytes<'a>(from: &mut Cursor<'a>, what: &'static str) -> Result<Option<&'a [u8]>, BatchError> {
    let fault = || BatchError::Record { what };
    let length = from.varint().ok_or_else(fault)?;
    match usize::try_from(length) {
        Ok(length) => from.take(length).map(Some).ok_or_else(fault),
        Err(_) if length == -1 => Ok(None),
        Err(_) => Err(BatchError::Negative { what, value: length.into() }),
    }
}

/// A time, where −1 is none.
pub(super) fn timestamp(millis: i64) -> Option<i64> {
    (millis != -1).then_some(millis)
}
