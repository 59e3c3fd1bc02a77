//! How are the fields of a reply read, whatever bytes a broker sent?
//!
//! - Every step is checked. A [`Reader`] never reads past its frame and never panics.
//! - Text and bytes are slices of the frame. The reader itself takes no memory.
//! - In a flexible version lengths are varints of one more than the length, 0 is null, and each
//!   struct ends in tagged fields. Those that nobody asks for are skipped.
//! - Each method takes the name of the field, which an error tells.
//!
//! # References
//! - [Protocol primitive types](https://kafka.apache.org/protocol#protocol_types)

use std::ops::Range;
use std::time::Duration;

use crate::metadata::one_line;

/// Bytes of a broker's text that an error shows.
const SHOWN_BYTES: usize = 80;

/// A checked reader over the bytes of one reply.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    rest: &'a [u8],
    /// How many bytes there were at first.
    length: usize,
    flexible: bool,
    throttle: Duration,
}

/// Why bytes are no reply to the question.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The frame ends before the field does.
    #[error("the reply ends within its {what}")]
    Truncated {
        /// The field.
        what: &'static str,
    },
    /// More elements are stated than the rest of the frame could hold.
    #[error("the reply states {count} {what}, more than its bytes can hold")]
    CountBeyondFrame {
        /// The array.
        what: &'static str,
        /// How many elements were stated.
        count: u32,
    },
    /// A variable-length number that does not fit 32 bits.
    #[error("the reply's {what} is no 32-bit number")]
    Varint {
        /// The field.
        what: &'static str,
    },
    /// A null where the protocol has none.
    #[error("the reply's {what} is null")]
    Null {
        /// The field.
        what: &'static str,
    },
    /// A length, count, id or offset below zero.
    #[error("the reply's {what} is negative: {value}")]
    Negative {
        /// The field.
        what: &'static str,
        /// Its value.
        value: i64,
    },
    /// Text that is not UTF-8.
    #[error("the reply's {what} is not UTF-8")]
    NotUtf8 {
        /// The field.
        what: &'static str,
    },
    /// Bytes after the end of the reply.
    #[error("the reply has {bytes} bytes after its end")]
    Trailing {
        /// How many.
        bytes: usize,
    },
    /// A topic, partition, group or setting that the question does not have.
    #[error("the reply has a {what} that was not asked for: {name}")]
    NotAsked {
        /// What kind of thing.
        what: &'static str,
        /// Its name, escaped and cut.
        name: String,
    },
    /// The same thing twice.
    #[error("the reply has a {what} twice: {name}")]
    Duplicate {
        /// What kind of thing.
        what: &'static str,
        /// Its name, escaped and cut.
        name: String,
    },
    /// More of something than this client handles.
    #[error("the reply has {count} {what}; at most {max} are handled")]
    Limit {
        /// What there is too much of.
        what: &'static str,
        /// How many there are.
        count: usize,
        /// How many are handled.
        max: usize,
    },
    /// A value that this field cannot have.
    #[error("the reply's {what} is not possible: {value}")]
    NotAllowed {
        /// The field.
        what: &'static str,
        /// Its value, escaped and cut.
        value: String,
    },
}

impl<'a> Reader<'a> {
    /// A reader over these bytes, in a flexible version or in one that is not.
    pub fn new(bytes: &'a [u8], flexible: bool) -> Self {
        Self { rest: bytes, length: bytes.len(), flexible, throttle: Duration::ZERO }
    }

    /// How many bytes are left.
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// Passes over all that is left.
    pub fn skip_rest(&mut self) {
        self.rest = &[];
    }

    /// Reads a whole number of one byte.
    ///
    /// # Errors
    /// The frame ends before it.
    pub fn i8(&mut self, what: &'static str) -> Result<i8, DecodeError> {
        self.array(what).map(i8::from_be_bytes)
    }

    /// Reads a whole number of two bytes.
    ///
    /// # Errors
    /// The frame ends before it.
    pub fn i16(&mut self, what: &'static str) -> Result<i16, DecodeError> {
        self.array(what).map(i16::from_be_bytes)
    }

    /// Reads a whole number of four bytes.
    ///
    /// # Errors
    /// The frame ends before it.
    pub fn i32(&mut self, what: &'static str) -> Result<i32, DecodeError> {
        self.array(what).map(i32::from_be_bytes)
    }

    /// Reads a whole number of eight bytes.
    ///
    /// # Errors
    /// The frame ends before it.
    pub fn i64(&mut self, what: &'static str) -> Result<i64, DecodeError> {
        self.array(what).map(i64::from_be_bytes)
    }

    /// Reads a truth value. As in Kafka's own clients, all but 0 is true.
    ///
    /// # Errors
    /// The frame ends before it.
    pub fn bool(&mut self, what: &'static str) -> Result<bool, DecodeError> {
        self.i8(what).map(|byte| byte != 0)
    }

    /// Reads a UUID.
    ///
    /// # Errors
    /// The frame ends before it.
    pub fn uuid(&mut self, what: &'static str) -> Result<[u8; 16], DecodeError> {
        self.array(what)
    }

    /// Reads an unsigned number of variable length.
    ///
    /// # Errors
    /// The frame ends before it, or it has more than 32 bits.
    pub fn unsigned_varint(&mut self, what: &'static str) -> Result<u32, DecodeError> {
        let mut value = 0;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.array(what)?;
            let bits = u32::from(byte & 0x7f);
            if shift == 28 && bits > 0x0f {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(DecodeError::Varint { what })
    }

    /// Reads text.
    ///
    /// # Errors
    /// It is null or not UTF-8, or the frame ends before it does.
    pub fn string(&mut self, what: &'static str) -> Result<&'a str, DecodeError> {
        self.nullable_string(what)?.ok_or(DecodeError::Null { what })
    }

    /// Reads text that may be null.
    ///
    /// # Errors
    /// It is not UTF-8, or the frame ends before it does.
    pub fn nullable_string(&mut self, what: &'static str) -> Result<Option<&'a str>, DecodeError> {
        let length = if self.flexible {
            self.varint_length(what)?
        } else {
            not_negative(what, self.i16(what)?.into())?
        };
        let Some(length) = length else { return Ok(None) };
        let text = str::from_utf8(self.take(what, length)?);
        text.map(Some).map_err(|_| DecodeError::NotUtf8 { what })
    }

    /// Reads bytes.
    ///
    /// # Errors
    /// They are null, or the frame ends before they do.
    pub fn bytes(&mut self, what: &'static str) -> Result<&'a [u8], DecodeError> {
        let length = if self.flexible {
            self.varint_length(what)?
        } else {
            not_negative(what, self.i32(what)?.into())?
        };
        self.take(what, length.ok_or(DecodeError::Null { what })?)
    }

    /// Passes over bytes, and says where they are, counted from the first byte of the reader. Null
    /// is no bytes.
    ///
    /// # Errors
    /// The frame ends before they do.
    pub fn range(&mut self, what: &'static str) -> Result<Range<usize>, DecodeError> {
        let length = if self.flexible {
            self.varint_length(what)?
        } else {
            not_negative(what, self.i32(what)?.into())?
        };
        let start = self.length.saturating_sub(self.rest.len());
        let taken = self.take(what, length.unwrap_or(0))?;
        Ok(start..start.saturating_add(taken.len()))
    }

    /// Reads how many elements an array has, each of which takes at least `element` bytes.
    ///
    /// # Errors
    /// It is null, the frame ends before it, or the elements do not fit into the rest of the frame.
    pub fn count(&mut self, what: &'static str, element: usize) -> Result<usize, DecodeError> {
        self.nullable_count(what, element)?.ok_or(DecodeError::Null { what })
    }

    /// Reads how many elements an array has that may be null, as [`count`](Self::count) does.
    ///
    /// # Errors
    /// The frame ends before it, or the elements do not fit into the rest of the frame.
    pub fn nullable_count(
        &mut self,
        what: &'static str,
        element: usize,
    ) -> Result<Option<usize>, DecodeError> {
        let count = if self.flexible {
            self.varint_length(what)?
        } else {
            not_negative(what, self.i32(what)?.into())?
        };
        if let Some(count) = count
            && count > self.rest.len() / element.max(1)
        {
            let count = u32::try_from(count).unwrap_or(u32::MAX);
            return Err(DecodeError::CountBeyondFrame { what, count });
        }
        Ok(count)
    }

    /// Skips an array whose elements all take `element` bytes.
    ///
    /// # Errors
    /// It is null, or the frame ends before it does.
    pub fn skip_array(&mut self, what: &'static str, element: usize) -> Result<(), DecodeError> {
        let count = self.count(what, element)?;
        self.take(what, count.saturating_mul(element)).map(|_| ())
    }

    /// Skips the tagged fields at the end of a struct, which only a flexible version has.
    ///
    /// # Errors
    /// The frame ends before they do.
    pub fn tags(&mut self) -> Result<(), DecodeError> {
        self.each_tag(&mut |_, field| {
            field.skip_rest();
            Ok(())
        })
    }

    /// Reads the tagged fields at the end of a struct, which only a flexible version has. `read`
    /// gets the tag and a reader over the field alone, of which it leaves nothing: what it does not
    /// know it [skips](Self::skip_rest).
    ///
    /// # Errors
    /// The frame ends before they do, `read` fails, or it leaves something.
    pub fn each_tag(
        &mut self,
        read: &mut dyn FnMut(u32, &mut Reader<'a>) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError> {
        const WHAT: &str = "tagged fields";
        if !self.flexible {
            return Ok(());
        }
        // Each takes two bytes or more, so this ends with the frame at the latest.
        for _ in 0..self.unsigned_varint(WHAT)? {
            let tag = self.unsigned_varint(WHAT)?;
            let size = self.unsigned_varint(WHAT)?;
            let field = self.take(WHAT, usize::try_from(size).unwrap_or(usize::MAX))?;
            let mut field = Reader::new(field, true);
            read(tag, &mut field)?;
            field.finish()?;
        }
        Ok(())
    }

    /// Reads how long the broker wants to be left alone on this connection, and keeps it for
    /// [`throttled`](Self::throttled).
    ///
    /// # Errors
    /// The frame ends before it.
    pub fn throttle(&mut self) -> Result<(), DecodeError> {
        // Below zero means no more than zero to Kafka's own clients.
        let millis = u64::try_from(self.i32("throttle time")?).unwrap_or(0);
        self.throttle = Duration::from_millis(millis);
        Ok(())
    }

    /// How long the broker wants to be left alone, if that was read.
    pub fn throttled(&self) -> Duration {
        self.throttle
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// Bytes are left.
    pub fn finish(self) -> Result<(), DecodeError> {
        match self.rest.len() {
            0 => Ok(()),
            bytes => Err(DecodeError::Trailing { bytes }),
        }
    }

    fn take(&mut self, what: &'static str, bytes: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) =
            self.rest.split_at_checked(bytes).ok_or(DecodeError::Truncated { what })?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], DecodeError> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(DecodeError::Truncated { what })?;
        self.rest = rest;
        Ok(*taken)
    }

    /// A length in a flexible version: `None` is null.
    fn varint_length(&mut self, what: &'static str) -> Result<Option<usize>, DecodeError> {
        let length = self.unsigned_varint(what)?.checked_sub(1);
        Ok(length.map(|length| usize::try_from(length).unwrap_or(usize::MAX)))
    }
}

impl DecodeError {
    pub(super) fn not_asked(what: &'static str, name: &str) -> Self {
        Self::NotAsked { what, name: one_line(name, SHOWN_BYTES) }
    }

    pub(super) fn duplicate(what: &'static str, name: &str) -> Self {
        Self::Duplicate { what, name: one_line(name, SHOWN_BYTES) }
    }

    pub(super) fn not_allowed(what: &'static str, value: &str) -> Self {
        Self::NotAllowed { what, value: one_line(value, SHOWN_BYTES) }
    }
}

/// The protocol's optional length: −1 is null, anything else below zero an error.
fn not_negative(what: &'static str, value: i64) -> Result<Option<usize>, DecodeError> {
    match value {
        -1 => Ok(None),
        value => match usize::try_from(value) {
            Ok(length) => Ok(Some(length)),
            Err(_) => Err(DecodeError::Negative { what, value }),
        },
    }
}

#[cfg(test)]
mod tests;
