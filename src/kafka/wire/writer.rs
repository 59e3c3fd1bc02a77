//! How is a question written as bytes?
//!
//! - A [`Writer`] knows whether its version is flexible, so a request writes its fields once.
//! - What cannot be written is remembered and fails the question: it is sent whole or not at all.
//! - Bytes that held a secret are zeroed when they are dropped, and when the buffer grows.
//!
//! # References
//! - [Protocol primitive types](https://kafka.apache.org/protocol#protocol_types)

use std::fmt;

use zeroize::Zeroize;

use super::versions::ApiKey;

/// Room for a question without lists.
const INITIAL_BYTES: usize = 256;

/// Writes one question.
pub struct Writer {
    buffer: Buffer,
    flexible: bool,
    failed: Option<EncodeError>,
}

/// Bytes that are zeroed on drop once they held a secret.
#[derive(Default)]
pub(super) struct Buffer {
    bytes: Vec<u8>,
    secret: bool,
}

/// Why a question cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// A text that is longer than the version can say.
    #[error("a name of {bytes} bytes is too long for kafka; the longest has {max}")]
    TooLong {
        /// Its length.
        bytes: usize,
        /// The longest length.
        max: usize,
    },
    /// A question of more bytes or elements than the protocol can state.
    #[error("a question to kafka with {count} bytes or elements is too long")]
    TooMany {
        /// How many there are.
        count: usize,
    },
    /// A version that this client does not speak.
    #[error("{key} {version} is not spoken here")]
    Version {
        /// The request.
        key: ApiKey,
        /// The version asked for.
        version: i16,
    },
    /// A question that this version has no words for.
    #[error("{key} {version} cannot ask for {what}")]
    NotInVersion {
        /// The request.
        key: ApiKey,
        /// The version asked for.
        version: i16,
        /// What it cannot ask for.
        what: &'static str,
    },
}

impl Writer {
    /// A writer for a flexible version or for one that is not.
    pub fn new(flexible: bool) -> Self {
        let buffer = Buffer { bytes: Vec::with_capacity(INITIAL_BYTES), secret: false };
        Self { buffer, flexible, failed: None }
    }

    /// Writes a whole number of one byte.
    pub fn i8(&mut self, value: i8) {
        self.buffer.put(&value.to_be_bytes());
    }

    /// Writes a whole number of two bytes.
    pub fn i16(&mut self, value: i16) {
        self.buffer.put(&value.to_be_bytes());
    }

    /// Writes a whole number of four bytes.
    pub fn i32(&mut self, value: i32) {
        self.buffer.put(&value.to_be_bytes());
    }

    /// Writes a whole number of eight bytes.
    pub fn i64(&mut self, value: i64) {
        self.buffer.put(&value.to_be_bytes());
    }

    /// Writes a truth value.
    pub fn bool(&mut self, value: bool) {
        self.i8(value.into());
    }

    /// Writes a UUID.
    pub fn uuid(&mut self, value: [u8; 16]) {
        self.buffer.put(&value);
    }

    /// Writes an unsigned number of variable length.
    pub fn unsigned_varint(&mut self, mut value: u32) {
        loop {
            let [low, ..] = value.to_le_bytes();
            value >>= 7;
            if value == 0 {
                return self.buffer.put(&[low & 0x7f]);
            }
            self.buffer.put(&[low | 0x80]);
        }
    }

    /// Writes text.
    pub fn string(&mut self, text: &str) {
        if self.flexible { self.compact_string(text) } else { self.plain_string(text) }
    }

    /// Writes text in the form that is not flexible, as a header has it in every version.
    pub fn plain_string(&mut self, text: &str) {
        match i16::try_from(text.len()) {
            Ok(length) => {
                self.i16(length);
                self.buffer.put(text.as_bytes());
            }
            Err(_) => self.too_long(text),
        }
    }

    /// Writes a null in place of text.
    pub fn null_string(&mut self) {
        if self.flexible { self.unsigned_varint(0) } else { self.i16(-1) }
    }

    /// Writes bytes that are a secret. From here on all that was written is zeroed on drop.
    pub fn secret(&mut self, bytes: &[u8]) {
        self.buffer.secret = true;
        self.count(bytes.len());
        self.buffer.put(bytes);
    }

    /// Writes how many elements an array has, or how many bytes follow.
    pub fn count(&mut self, count: usize) {
        // One more than the length is stated in a flexible version, and an i32 in the others.
        match i32::try_from(count) {
            Ok(length) if self.flexible => self.unsigned_varint(length.unsigned_abs() + 1),
            Ok(length) => self.i32(length),
            Err(_) => self.fail(EncodeError::TooMany { count }),
        }
    }

    /// Writes a null in place of an array.
    pub fn null_array(&mut self) {
        if self.flexible { self.unsigned_varint(0) } else { self.i32(-1) }
    }

    /// Ends a struct: a flexible version has tagged fields there, of which we send none.
    pub fn tags(&mut self) {
        if self.flexible {
            self.unsigned_varint(0);
        }
    }

    /// Remembers that the question cannot be written; the first reason is kept.
    pub fn fail(&mut self, error: EncodeError) {
        self.failed.get_or_insert(error);
    }

    /// What was written, its length in four bytes before it.
    pub(super) fn finish(mut self) -> Result<Buffer, EncodeError> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let mut framed = Buffer { bytes: Vec::new(), secret: self.buffer.secret };
        let count = self.buffer.bytes.len();
        let length = i32::try_from(count).map_err(|_| EncodeError::TooMany { count })?;
        framed.bytes.reserve_exact(count.saturating_add(size_of::<i32>()));
        framed.put(&length.to_be_bytes());
        framed.put(&self.buffer.bytes);
        Ok(framed)
    }

    fn compact_string(&mut self, text: &str) {
        // Kafka's brokers hold the length of any text in an i16, and read no longer one.
        if i16::try_from(text.len()).is_err() {
            return self.too_long(text);
        }
        self.count(text.len());
        self.buffer.put(text.as_bytes());
    }

    fn too_long(&mut self, text: &str) {
        let max = usize::from(i16::MAX.unsigned_abs());
        self.fail(EncodeError::TooLong { bytes: text.len(), max });
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer")
            .field("buffer", &self.buffer)
            .field("flexible", &self.flexible)
            .field("failed", &self.failed)
            .finish()
    }
}

impl Buffer {
    pub(super) fn as_slice(&self) -> &[u8] {
        &self.bytes
    }

    /// Appends. Growing copies, and the copy left behind by a `Vec` would not be zeroed.
    fn put(&mut self, bytes: &[u8]) {
        let needed = self.bytes.len().saturating_add(bytes.len());
        if self.secret && needed > self.bytes.capacity() {
            let mut grown = Vec::with_capacity(needed.saturating_mul(2));
            grown.extend_from_slice(&self.bytes);
            self.bytes.zeroize();
            self.bytes = grown;
        }
        self.bytes.extend_from_slice(bytes);
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.secret {
            self.bytes.zeroize();
        }
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.secret {
            return f.write_str("[secret]");
        }
        write!(f, "[{} bytes]", self.bytes.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::wire::reader::Reader;

    fn written(flexible: bool, write: impl FnOnce(&mut Writer)) -> Result<Vec<u8>, EncodeError> {
        let mut to = Writer::new(flexible);
        write(&mut to);
        to.finish().map(|buffer| buffer.as_slice().to_vec())
    }

    #[test]
    fn a_reader_reads_what_was_written() {
        for flexible in [false, true] {
            let bytes = written(flexible, |to| {
                to.i8(-2);
                to.i16(-3);
                to.i32(-4);
                to.i64(-5);
                to.bool(true);
                to.uuid([7; 16]);
                to.unsigned_varint(u32::MAX);
                to.string("läuft");
                to.null_string();
                to.secret(&[1; 300]);
                to.count(3);
                to.null_array();
                to.plain_string("a");
                to.tags();
            })
            .unwrap();
            let (length, bytes) = bytes.split_first_chunk().unwrap();
            assert_eq!(u32::from_be_bytes(*length) as usize, bytes.len());
            let mut from = Reader::new(bytes, flexible);
            assert_eq!(from.i8(""), Ok(-2));
            assert_eq!(from.i16(""), Ok(-3));
            assert_eq!(from.i32(""), Ok(-4));
            assert_eq!(from.i64(""), Ok(-5));
            assert_eq!(from.bool(""), Ok(true));
            assert_eq!(from.uuid(""), Ok([7; 16]));
            assert_eq!(from.unsigned_varint(""), Ok(u32::MAX));
            assert_eq!(from.string(""), Ok("läuft"));
            assert_eq!(from.nullable_string(""), Ok(None));
            assert_eq!(from.bytes(""), Ok(&[1; 300][..]));
            assert_eq!(from.count("", 1), Ok(3));
            assert!(from.count("", 1).is_err());
            assert_eq!(from.i16(""), Ok(1));
            assert_eq!(from.i8(""), Ok(b'a'.cast_signed()));
            from.tags().unwrap();
            assert_eq!(from.finish(), Ok(()));
        }
    }

    #[test]
    fn a_name_that_is_too_long_is_not_cut() {
        let longest = "a".repeat(32_767);
        let longer = "a".repeat(32_768);
        for flexible in [false, true] {
            assert!(written(flexible, |to| to.string(&longest)).is_ok());
            let error = written(flexible, |to| {
                to.string(&longer);
                to.fail(EncodeError::TooMany { count: 1 });
            });
            assert_eq!(error, Err(EncodeError::TooLong { bytes: 32_768, max: 32_767 }));
        }
    }

    #[test]
    fn what_holds_a_secret_is_not_shown_and_grows_by_hand() {
        let mut to = Writer::new(false);
        to.secret(b"hunter2");
        // Beyond the room that it begins with, so the bytes move.
        to.secret(&[0; 1_000]);
        assert!(to.buffer.secret && to.buffer.bytes.starts_with(b"\0\0\0\x07hunter2"));
        assert!(format!("{to:?}").contains("buffer: [secret]"), "{to:?}");
        let framed = to.finish().unwrap();
        assert!(framed.secret);
        assert_eq!(format!("{framed:?}"), "[secret]");
        assert_eq!(format!("{:?}", Writer::new(false).finish().unwrap()), "[4 bytes]");
    }
}
