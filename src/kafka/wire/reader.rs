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
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WHAT: &str = "field";

    #[test]
    fn each_fault_of_a_field_is_told() {
        type Read = fn(&mut Reader<'_>) -> Result<(), DecodeError>;
        let i64: Read = |from| from.i64(WHAT).map(|_| ());
        let varint: Read = |from| from.unsigned_varint(WHAT).map(|_| ());
        let string: Read = |from| from.string(WHAT).map(|_| ());
        let bytes: Read = |from| from.bytes(WHAT).map(|_| ());
        let count: Read = |from| from.count(WHAT, 4).map(|_| ());
        let skip: Read = |from| from.skip_array(WHAT, 4);
        let tags: Read = |from| from.tags();
        let truncated = DecodeError::Truncated { what: WHAT };
        let null = DecodeError::Null { what: WHAT };
        let too_many = |count| DecodeError::CountBeyondFrame { what: WHAT, count };
        let negative = |value| DecodeError::Negative { what: WHAT, value };
        let not_utf8 = DecodeError::NotUtf8 { what: WHAT };
        let wide = DecodeError::Varint { what: WHAT };
        let tags_cut = DecodeError::Truncated { what: "tagged fields" };
        let rows: [(&str, bool, Read, &[u8], DecodeError); 25] = [
            ("a number cut short", false, i64, &[0; 7], truncated.clone()),
            ("no varint", true, varint, &[], truncated.clone()),
            ("a varint cut short", true, varint, &[0x80; 4], truncated.clone()),
            ("a varint of 33 bits", true, varint, &[0xff, 0xff, 0xff, 0xff, 0x1f], wide.clone()),
            ("a varint of six bytes", true, varint, &[0x80, 0x80, 0x80, 0x80, 0x80, 0], wide),
            ("no text", false, string, &[0], truncated.clone()),
            ("text cut short", false, string, b"\0\x03ab", truncated.clone()),
            ("compact text cut short", true, string, b"\x04ab", truncated.clone()),
            (
                "the longest text",
                true,
                string,
                &[0xff, 0xff, 0xff, 0xff, 0xf, 0],
                truncated.clone(),
            ),
            ("null text", false, string, &[0xff, 0xff], null.clone()),
            ("null compact text", true, string, &[0], null.clone()),
            ("text of length -2", false, string, &[0xff, 0xfe], negative(-2)),
            ("text that is not UTF-8", false, string, b"\0\x01\xff", not_utf8.clone()),
            ("compact text that is not UTF-8", true, string, b"\x02\xff", not_utf8),
            ("bytes cut short", false, bytes, &[0, 0, 0, 2, 0], truncated.clone()),
            ("null bytes", false, bytes, &[0xff; 4], null.clone()),
            ("bytes of length -128", false, bytes, &[0xff, 0xff, 0xff, 0x80], negative(-128)),
            ("an array cut short", false, count, &[0, 0, 0], truncated),
            ("a null array", true, count, &[0], null),
            ("an array of length -2", false, count, &[0xff, 0xff, 0xff, 0xfe], negative(-2)),
            ("an array beyond the frame", false, count, &[0, 0, 0, 1, 0, 0, 0], too_many(1)),
            (
                "the longest array",
                false,
                skip,
                &[0x7f, 0xff, 0xff, 0xff],
                too_many(i32::MAX as u32),
            ),
            (
                "the longest compact array",
                true,
                skip,
                &[0xff, 0xff, 0xff, 0xff, 0x0f],
                too_many(u32::MAX - 1),
            ),
            ("a tag cut short", true, tags, &[1, 0, 2, 0], tags_cut.clone()),
            ("more tags than bytes", true, tags, &[0xff, 0xff, 0xff, 0xff, 0xf, 0, 0], tags_cut),
        ];
        for (name, flexible, read, bytes, expected) in rows {
            assert_eq!(read(&mut Reader::new(bytes, flexible)), Err(expected), "{name}");
        }
        let trailing = Reader::new(&[0, 0], false).finish();
        assert_eq!(trailing, Err(DecodeError::Trailing { bytes: 2 }));
        assert_eq!(Reader::new(&[], false).finish(), Ok(()));
    }

    #[test]
    fn an_error_is_one_short_line_whatever_the_broker_wrote() {
        let hostile = "\u{7}\n\u{202e}\"".repeat(100);
        let errors = [
            DecodeError::not_asked("topic", &hostile),
            DecodeError::duplicate("group", &hostile),
            DecodeError::not_allowed("host", &hostile),
            DecodeError::Truncated { what: "offline replicas" },
            DecodeError::CountBeyondFrame { what: "offline replicas", count: u32::MAX },
            DecodeError::Negative { what: "broker id", value: i64::MIN },
        ];
        for error in errors {
            let line = error.to_string();
            assert!(line.len() <= 200, "{line}");
            assert!(!line.contains(|c: char| c.is_control() || c == '\u{202e}'), "{line}");
        }
    }

    #[test]
    fn what_is_no_fault_is_read() {
        let flexible = [2, 0x80, 1, 1, 9, 200, 1, 0];
        let mut from = Reader::new(&flexible, true);
        assert_eq!(from.tags(), Ok(()));
        assert_eq!(from.unsigned_varint(WHAT), Err(DecodeError::Truncated { what: WHAT }));
        let mut from = Reader::new(&[0, 0, 0, 2, 1, 2, 3, 4, 5], false);
        assert_eq!(from.skip_array(WHAT, 2), Ok(()));
        assert_eq!(from.tags(), Ok(()));
        assert_eq!(from.i8(WHAT), Ok(5));
        let mut from = Reader::new(&[9, 3, 7, 8, 0, 1], true);
        assert_eq!(from.i8(WHAT), Ok(9));
        assert_eq!(from.range(WHAT), Ok(2..4));
        assert_eq!(from.range(WHAT), Ok(5..5));
        assert_eq!(from.range(WHAT), Ok(6..6));
        let mut from = Reader::new(&[0, 0, 0, 1, 7, 0xff, 0xff, 0xff, 0xff], false);
        assert_eq!(from.range(WHAT), Ok(4..5));
        assert_eq!(from.nullable_count(WHAT, 1), Ok(None));
        let tagged = [2, 3, 1, 7, 5, 2, 8, 9];
        let mut seen = Vec::new();
        let read = Reader::new(&tagged, true).each_tag(&mut |tag, field| {
            seen.push((tag, field.i8(WHAT)?));
            field.skip_rest();
            Ok(())
        });
        assert_eq!((read, seen), (Ok(()), vec![(3, 7), (5, 8)]));
        let left = Reader::new(&tagged, true).each_tag(&mut |_, field| field.i8(WHAT).map(|_| ()));
        assert_eq!(left, Err(DecodeError::Trailing { bytes: 1 }));
        let mut from = Reader::new(&[0xff, 0xff, 0xff, 0xff, 0x0f, 0xac, 0x02], true);
        assert_eq!(from.unsigned_varint(WHAT), Ok(u32::MAX));
        assert_eq!(from.unsigned_varint(WHAT), Ok(300));
        let mut from = Reader::new(&[0xff, 0xff, 0xff, 0xff], false);
        from.throttle().unwrap();
        assert_eq!(from.throttled(), Duration::ZERO);
    }

    proptest! {
        #[test]
        fn no_bytes_make_a_field_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..64),
            steps in prop::collection::vec(0..14_u8, 0..32),
            flexible: bool,
            element in 0..64_usize,
        ) {
            let mut from = Reader::new(&bytes, flexible);
            for step in steps {
                let before = from.remaining();
                let read = match step {
                    0 => from.i8(WHAT).map(|_| ()),
                    1 => from.i16(WHAT).map(|_| ()),
                    2 => from.i32(WHAT).map(|_| ()),
                    3 => from.i64(WHAT).map(|_| ()),
                    4 => from.bool(WHAT).map(|_| ()),
                    5 => from.uuid(WHAT).map(|_| ()),
                    6 => from.unsigned_varint(WHAT).map(|_| ()),
                    7 => from.nullable_string(WHAT).map(|_| ()),
                    8 => from.bytes(WHAT).map(|_| ()),
                    9 => from.skip_array(WHAT, element),
                    10 => from.tags(),
                    11 => from.range(WHAT).map(|range| {
                        assert!(bytes.get(range).is_some());
                    }),
                    12 => from.each_tag(&mut |_, field| field.i8(WHAT).map(|_| ())),
                    _ => from.count(WHAT, element).map(|count| {
                        assert!(count * element.max(1) <= from.remaining());
                    }),
                };
                prop_assert!(from.remaining() <= before);
                if read.is_err() {
                    break;
                }
            }
        }
    }
}
