//! AMQP 1.0 values as they lie in a message, read where they are and copied nowhere.
//!
//! A selection looks at one or two fields of a message, so nothing is decoded before it is asked for, and
//! what is passed over costs a step whatever its size. Input comes from outside: what is cut short or of
//! a type there is not gives `None`.
//!
//! # References
//! - OASIS AMQP 1.0, part 1, section 1.2 (type encodings) and 1.6 (type definitions)

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, Visitor};

/// What tells serde_amqp to give a value as it came; its own name for it is private.
const LAZY_VALUE: &str = "__LAZY_VALUE";
/// The sections of a message by the names that may stand for their numbers.
const SECTIONS: &[(&str, u64)] = &[
    ("amqp:header:list", 0x70),
    ("amqp:delivery-annotations:map", 0x71),
    ("amqp:message-annotations:map", 0x72),
    ("amqp:properties:list", 0x73),
    ("amqp:application-properties:map", 0x74),
    ("amqp:data:binary", 0x75),
    ("amqp:amqp-sequence:list", 0x76),
    ("amqp:amqp-value:*", 0x77),
    ("amqp:footer:map", 0x78),
];
/// How deep a described value may stand in another: each costs a step without a size to it.
const MAX_DESCRIBED: usize = 8;

/// A value as it came. The library's own `LazyValue` cannot be read from what a link receives.
pub(super) struct Raw(Vec<u8>);

struct RawVisitor;

/// Encoded values, one after another.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Values<'a>(&'a [u8]);

/// One value, by its AMQP type as far as a message needs it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Value<'a> {
    Null,
    Boolean(bool),
    /// Of any unsigned type.
    Unsigned(u64),
    /// Of any signed type.
    Signed(i64),
    /// Of type float or double.
    Double(f64),
    Char(char),
    /// Milliseconds since 1970.
    Timestamp(i64),
    Uuid([u8; 16]),
    Binary(&'a [u8]),
    /// A string or a symbol.
    Text(&'a str),
    /// The elements.
    List(Values<'a>),
    /// Keys and values in turn.
    Map(Values<'a>),
    /// A decimal or an array.
    Other,
}

impl Raw {
    pub(super) fn as_slice(&self) -> &[u8] {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(LAZY_VALUE, RawVisitor)
    }
}

impl Visitor<'_> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an encoded value")
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Raw, E> {
        Ok(Raw(bytes.to_vec()))
    }

    fn visit_byte_buf<E: Error>(self, bytes: Vec<u8>) -> Result<Raw, E> {
        Ok(Raw(bytes))
    }
}

impl<'a> Values<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next value; a described one without its descriptor.
    pub(super) fn next(&mut self) -> Option<Value<'a>> {
        for _ in 0..MAX_DESCRIBED {
            match self.byte()? {
                0x00 => {
                    self.next_plain()?;
                }
                code => return self.value(code),
            }
        }
        None
    }

    /// The next value, which must be described: by what, and the value. A name is taken for the number that it
    /// stands for; 0 if that is not known.
    pub(super) fn next_described(&mut self) -> Option<(u64, Value<'a>)> {
        match self.byte()? {
            0x00 => match self.next_plain()? {
                Value::Unsigned(descriptor) => Some((descriptor, self.next()?)),
                Value::Text(name) => {
                    let known = SECTIONS.iter().find(|(known, _)| *known == name);
                    Some((known.map_or(0, |(_, descriptor)| *descriptor), self.next()?))
                }
                _ => None,
            },
            _ => None,
        }
    }

    /// The next value, which must not be described.
    fn next_plain(&mut self) -> Option<Value<'a>> {
        match self.byte()? {
            0x00 => None,
            code => self.value(code),
        }
    }

    /// The value that follows its type's code.
    fn value(&mut self, code: u8) -> Option<Value<'a>> {
        Some(match code {
            0x40 => Value::Null,
            0x41 => Value::Boolean(true),
            0x42 => Value::Boolean(false),
            0x56 => Value::Boolean(self.byte()? != 0),
            0x50 | 0x52 | 0x53 => Value::Unsigned(self.byte()?.into()),
            0x43 | 0x44 => Value::Unsigned(0),
            0x60 => Value::Unsigned(u16::from_be_bytes(self.array()?).into()),
            0x70 => Value::Unsigned(u32::from_be_bytes(self.array()?).into()),
            0x80 => Value::Unsigned(u64::from_be_bytes(self.array()?)),
            0x51 | 0x54 | 0x55 => Value::Signed(i8::from_be_bytes(self.array()?).into()),
            0x61 => Value::Signed(i16::from_be_bytes(self.array()?).into()),
            0x71 => Value::Signed(i32::from_be_bytes(self.array()?).into()),
            0x81 => Value::Signed(i64::from_be_bytes(self.array()?)),
            0x72 => Value::Double(f32::from_be_bytes(self.array()?).into()),
            0x82 => Value::Double(f64::from_be_bytes(self.array()?)),
            0x73 => Value::Char(char::from_u32(u32::from_be_bytes(self.array()?))?),
            0x83 => Value::Timestamp(i64::from_be_bytes(self.array()?)),
            0x98 => Value::Uuid(self.array()?),
            0x74 => self.other(4)?,
            0x84 => self.other(8)?,
            0x94 => self.other(16)?,
            0xa0 => Value::Binary(self.sized8()?),
            0xb0 => Value::Binary(self.sized32()?),
            0xa1 | 0xa3 => Value::Text(str::from_utf8(self.sized8()?).ok()?),
            0xb1 | 0xb3 => Value::Text(str::from_utf8(self.sized32()?).ok()?),
            0x45 => Value::List(Values(&[])),
            0xc0 => Value::List(Values(self.sized8()?.get(1..)?)),
            0xd0 => Value::List(Values(self.sized32()?.get(4..)?)),
            0xc1 => Value::Map(Values(self.sized8()?.get(1..)?)),
            0xd1 => Value::Map(Values(self.sized32()?.get(4..)?)),
            0xe0 => {
                self.sized8()?;
                Value::Other
            }
            0xf0 => {
                self.sized32()?;
                Value::Other
            }
            _ => return None,
        })
    }

    fn other(&mut self, size: usize) -> Option<Value<'a>> {
        self.take(size).map(|_| Value::Other)
    }

    fn sized8(&mut self) -> Option<&'a [u8]> {
        let size = self.byte()?;
        self.take(size.into())
    }

    fn sized32(&mut self) -> Option<&'a [u8]> {
        let size = u32::from_be_bytes(self.array()?);
        self.take(usize::try_from(size).ok()?)
    }

    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn take(&mut self, size: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(size)?;
        self.0 = rest;
        Some(taken)
    }
}

impl<'a> Value<'a> {
    /// What a map has under this key.
    pub(super) fn get(self, key: &str) -> Option<Value<'a>> {
        let Value::Map(mut entries) = self else { return None };
        while let (Some(name), Some(value)) = (entries.next(), entries.next()) {
            if name.text() == Some(key) {
                return Some(value);
            }
        }
        None
    }

    pub(super) fn text(self) -> Option<&'a str> {
        match self {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A whole number of any type, that an `i64` holds; a timestamp too.
    pub(super) fn integer(self) -> Option<i64> {
        match self {
            Value::Signed(number) | Value::Timestamp(number) => Some(number),
            Value::Unsigned(number) => i64::try_from(number).ok(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_amqp::primitives::{Array, Dec32, OrderedMap, Symbol, Timestamp, Uuid};
    use serde_amqp::{Value as Amqp, to_vec};

    use super::*;

    #[test]
    fn each_type_is_read_as_another_library_writes_it() {
        let rows = [
            (Amqp::Null, Value::Null),
            (Amqp::Bool(true), Value::Boolean(true)),
            (Amqp::Ubyte(200), Value::Unsigned(200)),
            (Amqp::Ushort(60_000), Value::Unsigned(60_000)),
            (Amqp::Uint(0), Value::Unsigned(0)),
            (Amqp::Uint(200), Value::Unsigned(200)),
            (Amqp::Uint(70_000), Value::Unsigned(70_000)),
            (Amqp::Ulong(0), Value::Unsigned(0)),
            (Amqp::Ulong(u64::MAX), Value::Unsigned(u64::MAX)),
            (Amqp::Byte(-3), Value::Signed(-3)),
            (Amqp::Short(-300), Value::Signed(-300)),
            (Amqp::Int(-3), Value::Signed(-3)),
            (Amqp::Int(-70_000), Value::Signed(-70_000)),
            (Amqp::Long(-3), Value::Signed(-3)),
            (Amqp::Long(i64::MIN), Value::Signed(i64::MIN)),
            (Amqp::Float(1.5.into()), Value::Double(1.5)),
            (Amqp::Double(2.5.into()), Value::Double(2.5)),
            (Amqp::Char('ä'), Value::Char('ä')),
            (Amqp::Timestamp(Timestamp::from_milliseconds(5)), Value::Timestamp(5)),
            (Amqp::Uuid(Uuid::from([7; 16])), Value::Uuid([7; 16])),
            (Amqp::Binary(vec![1, 2].into()), Value::Binary(&[1, 2])),
            (Amqp::String("ä".into()), Value::Text("ä")),
            (Amqp::Symbol(Symbol::from("s")), Value::Text("s")),
            (Amqp::Decimal32(Dec32::from([0; 4])), Value::Other),
            (Amqp::Array(Array::from(vec![Amqp::Int(1)])), Value::Other),
        ];
        for (written, expected) in rows {
            let mut bytes = to_vec(&written).expect("a value");
            bytes.push(0x40);
            let mut values = Values::new(&bytes);
            assert_eq!(values.next(), Some(expected), "{written:?}");
            assert_eq!(values.next(), Some(Value::Null), "what follows {written:?}");
            assert!(values.is_empty());
        }
    }

    #[test]
    fn lists_and_maps_give_their_values_in_turn() {
        let long = "x".repeat(300);
        let list = Amqp::List(vec![Amqp::Int(1), Amqp::String(long.clone())]);
        let mut map = OrderedMap::new();
        map.insert(Amqp::String("list".into()), list);
        map.insert(Amqp::String("empty".into()), Amqp::List(Vec::new()));
        let bytes = to_vec(&Amqp::Map(map)).expect("a map");
        let Some(Value::Map(mut entries)) = Values::new(&bytes).next() else { panic!("no map") };
        assert_eq!(entries.next().and_then(Value::text), Some("list"));
        let Some(Value::List(mut list)) = entries.next() else { panic!("no list") };
        assert_eq!(list.next(), Some(Value::Signed(1)));
        assert_eq!(list.next().and_then(Value::text), Some(&*long));
        assert!(list.is_empty());
        assert_eq!(entries.next().and_then(Value::text), Some("empty"));
        assert_eq!(entries.next(), Some(Value::List(Values::new(&[]))));
        assert!(entries.is_empty());
    }

    #[test]
    fn described_values_nest_to_a_bound() {
        let nested = [[0x00, 0x53, 0x75].repeat(7), vec![0x41]].concat();
        assert_eq!(Values::new(&nested).next(), Some(Value::Boolean(true)));
        let bottomless = [0x00, 0x53, 0x75].repeat(1_000_000);
        assert_eq!(Values::new(&bottomless).next(), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_values_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut values = Values::new(&bytes);
            for _ in 0..=bytes.len() {
                match values.next() {
                    Some(Value::List(mut inner) | Value::Map(mut inner)) => { let _inner = inner.next(); }
                    Some(_) => {}
                    None => return Ok(()),
                }
            }
            prop_assert!(values.is_empty(), "each value takes a byte");
        }
    }
}
