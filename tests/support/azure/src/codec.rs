//! What AMQP 1.0 values look like as bytes.
//!
//! The product speaks AMQP through `fe2o3-amqp`. What judges it must not share its codec, or a
//! fault in there would cancel out, and must be free to write what a well-behaved library refuses
//! to. So this one is its own, and small: decoding takes every encoding of a type, encoding writes
//! the shortest.
//!
//! # References
//! - OASIS AMQP 1.0, part 1: Types

use bytes::{Buf, BufMut};
use uuid::Uuid;

/// A value of AMQP's type system. Decimals and chars are kept as their bytes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Ubyte(u8),
    Ushort(u16),
    Uint(u32),
    Ulong(u64),
    Byte(i8),
    Short(i16),
    Int(i32),
    Long(i64),
    Float(f32),
    Double(f64),
    /// Milliseconds since 1970.
    Timestamp(i64),
    Uuid(Uuid),
    Binary(Vec<u8>),
    String(String),
    Symbol(String),
    List(Vec<Value>),
    Map(Vec<(Value, Value)>),
    Array(Vec<Value>),
    Described(Box<Value>, Box<Value>),
    /// A fixed-width type nobody here looks into: its constructor and its bytes.
    Opaque(u8, Vec<u8>),
}

/// The bytes are not AMQP, or end too soon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed;

type Decoded<T> = Result<T, Malformed>;

impl Value {
    /// What the map has under this key, string or symbol alike.
    pub(crate) fn get(&self, key: &str) -> Option<&Value> {
        match self {
            Self::Map(entries) => {
                entries.iter().find(|(name, _)| name.text() == Some(key)).map(|(_, value)| value)
            }
            _ => None,
        }
    }

    /// The text of a string or symbol.
    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::String(text) | Self::Symbol(text) => Some(text),
            _ => None,
        }
    }

    /// A whole number of any width.
    pub(crate) fn number(&self) -> Option<i64> {
        Some(match *self {
            Self::Ubyte(n) => n.into(),
            Self::Ushort(n) => n.into(),
            Self::Uint(n) => n.into(),
            Self::Ulong(n) => n.try_into().ok()?,
            Self::Byte(n) => n.into(),
            Self::Short(n) => n.into(),
            Self::Int(n) => n.into(),
            Self::Long(n) | Self::Timestamp(n) => n,
            _ => return None,
        })
    }

    /// The items of a list or an array; one value alone counts as a list of it.
    pub(crate) fn items(&self) -> &[Value] {
        match self {
            Self::List(items) | Self::Array(items) => items,
            Self::Null => &[],
            one => std::slice::from_ref(one),
        }
    }

    /// The fields of a described list.
    pub(crate) fn fields(&self) -> &[Value] {
        match self {
            Self::Described(_, value) => value.items(),
            other => other.items(),
        }
    }

    /// The numeric descriptor of a described value.
    pub(crate) fn descriptor(&self) -> Option<u64> {
        match self {
            Self::Described(descriptor, _) => {
                descriptor.number().and_then(|code| code.try_into().ok())
            }
            _ => None,
        }
    }

    /// A described list, without the nulls at its end.
    pub(crate) fn composite(descriptor: u64, mut fields: Vec<Value>) -> Self {
        while fields.last() == Some(&Self::Null) {
            fields.pop();
        }
        Self::Described(Box::new(Self::Ulong(descriptor)), Box::new(Self::List(fields)))
    }

    /// A map with symbols for keys.
    pub(crate) fn symbols<'k>(entries: impl IntoIterator<Item = (&'k str, Value)>) -> Self {
        Self::Map(entries.into_iter().map(|(key, value)| (Self::symbol(key), value)).collect())
    }

    /// A map with strings for keys.
    pub(crate) fn strings<'k>(entries: impl IntoIterator<Item = (&'k str, Value)>) -> Self {
        Self::Map(entries.into_iter().map(|(key, value)| (Self::string(key), value)).collect())
    }

    pub(crate) fn symbol(text: impl Into<String>) -> Self {
        Self::Symbol(text.into())
    }

    pub(crate) fn string(text: impl Into<String>) -> Self {
        Self::String(text.into())
    }

    pub(crate) fn encoded(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode(&mut out);
        out
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Null => out.put_u8(0x40),
            Self::Bool(value) => out.put_u8(if *value { 0x41 } else { 0x42 }),
            Self::Ubyte(n) => out.put_slice(&[0x50, *n]),
            Self::Byte(n) => out.put_slice(&[0x51, n.to_be_bytes()[0]]),
            Self::Ushort(n) => fixed(out, 0x60, &n.to_be_bytes()),
            Self::Short(n) => fixed(out, 0x61, &n.to_be_bytes()),
            Self::Uint(0) => out.put_u8(0x43),
            Self::Uint(n) => match u8::try_from(*n) {
                Ok(small) => out.put_slice(&[0x52, small]),
                Err(_) => fixed(out, 0x70, &n.to_be_bytes()),
            },
            Self::Ulong(0) => out.put_u8(0x44),
            Self::Ulong(n) => match u8::try_from(*n) {
                Ok(small) => out.put_slice(&[0x53, small]),
                Err(_) => fixed(out, 0x80, &n.to_be_bytes()),
            },
            Self::Int(n) => match i8::try_from(*n) {
                Ok(small) => out.put_slice(&[0x54, small.to_be_bytes()[0]]),
                Err(_) => fixed(out, 0x71, &n.to_be_bytes()),
            },
            Self::Long(n) => match i8::try_from(*n) {
                Ok(small) => out.put_slice(&[0x55, small.to_be_bytes()[0]]),
                Err(_) => fixed(out, 0x81, &n.to_be_bytes()),
            },
            Self::Float(n) => fixed(out, 0x72, &n.to_be_bytes()),
            Self::Double(n) => fixed(out, 0x82, &n.to_be_bytes()),
            Self::Timestamp(n) => fixed(out, 0x83, &n.to_be_bytes()),
            Self::Uuid(uuid) => fixed(out, 0x98, uuid.as_bytes()),
            Self::Binary(bytes) => variable(out, 0xa0, bytes),
            Self::String(text) => variable(out, 0xa1, text.as_bytes()),
            Self::Symbol(text) => variable(out, 0xa3, text.as_bytes()),
            Self::List(items) if items.is_empty() => out.put_u8(0x45),
            Self::List(items) => {
                let mut body = Vec::new();
                items.iter().for_each(|item| item.encode(&mut body));
                compound(out, 0xc0, items.len(), &body);
            }
            Self::Map(entries) => {
                let mut body = Vec::new();
                for (key, value) in entries {
                    key.encode(&mut body);
                    value.encode(&mut body);
                }
                compound(out, 0xc1, entries.len() * 2, &body);
            }
            Self::Array(items) => array(out, items),
            Self::Described(descriptor, value) => {
                out.put_u8(0x00);
                descriptor.encode(out);
                value.encode(out);
            }
            Self::Opaque(constructor, bytes) => fixed(out, *constructor, bytes),
        }
    }

    /// The first value in the bytes; they are moved past it.
    pub(crate) fn decode(from: &mut &[u8]) -> Decoded<Self> {
        let constructor = byte(from)?;
        if constructor == 0 {
            let descriptor = Self::decode(from)?;
            return Ok(Self::Described(Box::new(descriptor), Box::new(Self::decode(from)?)));
        }
        Self::decode_as(constructor, from)
    }

    fn decode_as(constructor: u8, from: &mut &[u8]) -> Decoded<Self> {
        Ok(match constructor {
            0x40 => Self::Null,
            0x41 => Self::Bool(true),
            0x42 => Self::Bool(false),
            0x43 => Self::Uint(0),
            0x44 => Self::Ulong(0),
            0x45 => Self::List(Vec::new()),
            0x50 => Self::Ubyte(byte(from)?),
            0x51 => Self::Byte(i8::from_be_bytes([byte(from)?])),
            0x52 => Self::Uint(byte(from)?.into()),
            0x53 => Self::Ulong(byte(from)?.into()),
            0x54 => Self::Int(i8::from_be_bytes([byte(from)?]).into()),
            0x55 => Self::Long(i8::from_be_bytes([byte(from)?]).into()),
            0x56 => Self::Bool(byte(from)? != 0),
            0x60 => Self::Ushort(u16::from_be_bytes(exactly(from)?)),
            0x61 => Self::Short(i16::from_be_bytes(exactly(from)?)),
            0x70 => Self::Uint(u32::from_be_bytes(exactly(from)?)),
            0x71 => Self::Int(i32::from_be_bytes(exactly(from)?)),
            0x72 => Self::Float(f32::from_be_bytes(exactly(from)?)),
            0x80 => Self::Ulong(u64::from_be_bytes(exactly(from)?)),
            0x81 => Self::Long(i64::from_be_bytes(exactly(from)?)),
            0x82 => Self::Double(f64::from_be_bytes(exactly(from)?)),
            0x83 => Self::Timestamp(i64::from_be_bytes(exactly(from)?)),
            0x98 => Self::Uuid(Uuid::from_bytes(exactly(from)?)),
            0x73 | 0x74 => Self::Opaque(constructor, take(from, 4)?.to_vec()),
            0x84 => Self::Opaque(constructor, take(from, 8)?.to_vec()),
            0x94 => Self::Opaque(constructor, take(from, 16)?.to_vec()),
            0xa0 | 0xb0 => Self::Binary(sized(constructor, from)?.to_vec()),
            0xa1 | 0xb1 => Self::String(text(sized(constructor, from)?)?),
            0xa3 | 0xb3 => Self::Symbol(text(sized(constructor, from)?)?),
            0xc0 | 0xd0 => {
                let (count, mut body) = counted(constructor, from)?;
                Self::List((0..count).map(|_| Self::decode(&mut body)).collect::<Decoded<_>>()?)
            }
            0xc1 | 0xd1 => {
                let (count, mut body) = counted(constructor, from)?;
                let entry = |_| Ok((Self::decode(&mut body)?, Self::decode(&mut body)?));
                Self::Map((0..count / 2).map(entry).collect::<Decoded<_>>()?)
            }
            0xe0 | 0xf0 => {
                let (count, mut body) = counted(constructor, from)?;
                let mut of = byte(&mut body)?;
                let descriptor = if of == 0 {
                    let descriptor = Self::decode(&mut body)?;
                    of = byte(&mut body)?;
                    Some(descriptor)
                } else {
                    None
                };
                let item = |_| {
                    let item = Self::decode_as(of, &mut body)?;
                    Ok(match &descriptor {
                        Some(descriptor) => {
                            Self::Described(Box::new(descriptor.clone()), Box::new(item))
                        }
                        None => item,
                    })
                };
                Self::Array((0..count).map(item).collect::<Decoded<_>>()?)
            }
            _ => return Err(Malformed),
        })
    }
}

/// Moves past one value without looking into it; how many bytes it took.
pub(crate) fn skip(from: &mut &[u8]) -> Decoded<usize> {
    let before = from.len();
    let mut constructor = byte(from)?;
    if constructor == 0 {
        skip(from)?;
        constructor = byte(from)?;
        if constructor == 0 {
            return Err(Malformed);
        }
    }
    match constructor >> 4 {
        0x4 => {}
        0x5 => drop(take(from, 1)?),
        0x6 => drop(take(from, 2)?),
        0x7 => drop(take(from, 4)?),
        0x8 => drop(take(from, 8)?),
        0x9 => drop(take(from, 16)?),
        0xa..=0xf => drop(sized(constructor, from)?),
        _ => return Err(Malformed),
    }
    Ok(before - from.len())
}

/// Writes a string, without making a value of it first.
pub(crate) fn put_string(out: &mut Vec<u8>, text: &str) {
    variable(out, 0xa1, text.as_bytes());
}

/// Writes a binary, without making a value of it first.
pub(crate) fn put_binary(out: &mut Vec<u8>, bytes: &[u8]) {
    variable(out, 0xa0, bytes);
}

/// Writes the head of a list of `count` items that take `bytes` bytes.
pub(crate) fn put_list_head(out: &mut Vec<u8>, count: usize, bytes: usize) {
    out.put_u8(0xd0);
    out.put_u32(wide(bytes + 4));
    out.put_u32(wide(count));
}

fn fixed(out: &mut Vec<u8>, constructor: u8, bytes: &[u8]) {
    out.put_u8(constructor);
    out.put_slice(bytes);
}

fn variable(out: &mut Vec<u8>, constructor: u8, bytes: &[u8]) {
    match u8::try_from(bytes.len()) {
        Ok(length) => out.put_slice(&[constructor, length]),
        Err(_) => {
            out.put_u8(constructor + 0x10);
            out.put_u32(wide(bytes.len()));
        }
    }
    out.put_slice(bytes);
}

fn compound(out: &mut Vec<u8>, constructor: u8, count: usize, body: &[u8]) {
    match (u8::try_from(count), u8::try_from(body.len() + 1)) {
        (Ok(count), Ok(size)) => out.put_slice(&[constructor, size, count]),
        _ => {
            out.put_u8(constructor + 0x10);
            out.put_u32(wide(body.len() + 4));
            out.put_u32(wide(count));
        }
    }
    out.put_slice(body);
}

/// All items of an array have one constructor, the widest of their type.
fn array(out: &mut Vec<u8>, items: &[Value]) {
    let mut body = Vec::new();
    for (position, item) in items.iter().enumerate() {
        let (constructor, bytes): (u8, Vec<u8>) = match item {
            Value::Symbol(text) => (0xb3, prefixed(text.as_bytes())),
            Value::String(text) => (0xb1, prefixed(text.as_bytes())),
            Value::Binary(bytes) => (0xb0, prefixed(bytes)),
            Value::Long(n) => (0x81, n.to_be_bytes().to_vec()),
            Value::Timestamp(n) => (0x83, n.to_be_bytes().to_vec()),
            Value::Uint(n) => (0x70, n.to_be_bytes().to_vec()),
            Value::Int(n) => (0x71, n.to_be_bytes().to_vec()),
            Value::Uuid(uuid) => (0x98, uuid.as_bytes().to_vec()),
            other => unreachable!("no array of {other:?} is ever sent"),
        };
        if position == 0 {
            body.put_u8(constructor);
        }
        body.put_slice(&bytes);
    }
    if items.is_empty() {
        body.put_u8(0x40);
    }
    out.put_u8(0xf0);
    out.put_u32(wide(body.len() + 4));
    out.put_u32(wide(items.len()));
    out.put_slice(&body);
}

fn prefixed(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + 4);
    out.put_u32(wide(bytes.len()));
    out.put_slice(bytes);
    out
}

fn wide(length: usize) -> u32 {
    u32::try_from(length).expect("nothing here is as long as four gigabytes")
}

fn byte(from: &mut &[u8]) -> Decoded<u8> {
    from.try_get_u8().map_err(|_| Malformed)
}

fn take<'a>(from: &mut &'a [u8], length: usize) -> Decoded<&'a [u8]> {
    from.split_off(..length).ok_or(Malformed)
}

fn exactly<const N: usize>(from: &mut &[u8]) -> Decoded<[u8; N]> {
    take(from, N)?.try_into().map_err(|_| Malformed)
}

/// What a size says is there; a size is one byte, or four where the constructor's high bit pair
/// says so.
fn sized<'a>(constructor: u8, from: &mut &'a [u8]) -> Decoded<&'a [u8]> {
    let length = if constructor & 0x10 == 0 {
        byte(from)?.into()
    } else {
        u32::from_be_bytes(exactly(from)?)
    };
    take(from, usize::try_from(length).map_err(|_| Malformed)?)
}

fn counted<'a>(constructor: u8, from: &mut &'a [u8]) -> Decoded<(u32, &'a [u8])> {
    let mut body = sized(constructor, from)?;
    let count = if constructor & 0x10 == 0 {
        byte(&mut body)?.into()
    } else {
        u32::from_be_bytes(exactly(&mut body)?)
    };
    Ok((count, body))
}

fn text(bytes: &[u8]) -> Decoded<String> {
    String::from_utf8(bytes.to_vec()).map_err(|_| Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_again() {
        let uuid = Uuid::from_u128(0x1234_5678_9abc_def0_1122_3344_5566_7788);
        let values = [
            Value::Null,
            Value::Uint(0),
            Value::Uint(255),
            Value::Uint(256),
            Value::Ulong(u64::MAX),
            Value::Int(-129),
            Value::Long(-1),
            Value::Long(1 << 48),
            Value::Timestamp(1_700_000_000_000),
            Value::Uuid(uuid),
            Value::Binary(vec![7; 300]),
            Value::string("x".repeat(255)),
            Value::symbol("amqp:not-found"),
            Value::List(vec![Value::string("y".repeat(254)), Value::Bool(true)]),
            Value::Map((0..200).map(|n| (Value::Int(n), Value::Long(n.into()))).collect()),
            Value::Array(vec![Value::Uuid(uuid), Value::Uuid(uuid)]),
            Value::Array(vec![Value::symbol("ANONYMOUS"), Value::symbol("MSSBCBS")]),
            Value::composite(0x24, vec![Value::Null]),
        ];
        for value in values {
            let bytes = value.encoded();
            let mut rest = &bytes[..];
            assert_eq!(Value::decode(&mut rest), Ok(value.clone()));
            assert!(rest.is_empty(), "{value:?}");
            assert_eq!(skip(&mut &bytes[..]), Ok(bytes.len()), "{value:?}");
            for cut in 0..bytes.len() {
                assert_eq!(
                    Value::decode(&mut &bytes[..cut]),
                    Err(Malformed),
                    "{value:?} cut at {cut}"
                );
            }
        }
    }
}
