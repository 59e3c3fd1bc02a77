//! AMQP 1.0 values as they lie in a message, read where they are and copied nowhere.
//!
//! A selection looks at one or two fields of a message, so nothing is decoded before it is asked
//! for, and what is passed over costs a step whatever its size. Input comes from outside: what is
//! cut short or of a type there is not gives `None`.
//!
//! # References
//! - OASIS AMQP 1.0, part 1, section 1.2 (type encodings) and 1.6 (type definitions); decimals are
//!   encoded by their binary integer (IEEE 754-2008, section 3.5.2)
//! - "AMQP 1.0 in Azure Service Bus and Event Hubs protocol guide": .NET's types that AMQP has not,
//!   described by `com.microsoft:…`

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
/// .NET's and Java's types that AMQP does not have, by what describes them.
const DATE_TIME_OFFSET: &str = "com.microsoft:datetime-offset";
const TIME_SPAN: &str = "com.microsoft:timespan";
/// How deep a described value may stand in another: each costs a step without a size to it.
const MAX_DESCRIBED: usize = 8;

/// Encoded values, one after another.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Values<'a>(&'a [u8]);

/// One value, by its AMQP type as far as a message needs it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Value<'a> {
    Null,
    Boolean(bool),
    /// Of any unsigned type.
    Unsigned(u64),
    /// Of any signed type.
    Signed(i64),
    Float(f32),
    Double(f64),
    Decimal(Decimal),
    Char(char),
    /// Milliseconds since 1970.
    Timestamp(i64),
    /// .NET's `DateTimeOffset`: steps of 100 ns since the year 1, UTC.
    DateTimeOffset(i64),
    /// .NET's `TimeSpan`: steps of 100 ns.
    TimeSpan(i64),
    Uuid([u8; 16]),
    Binary(&'a [u8]),
    /// A string or a symbol.
    Text(&'a str),
    /// The elements.
    List(Values<'a>),
    /// Keys and values in turn.
    Map(Values<'a>),
    Array(Array<'a>),
    /// A decimal that is no number.
    Other,
}

/// `±digits × 10^exponent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Decimal {
    pub(crate) negative: bool,
    pub(crate) digits: u128,
    pub(crate) exponent: i32,
}

/// Values of one type, each without the code of its own.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Array<'a> {
    code: u8,
    left: u32,
    values: Values<'a>,
}

impl<'a> Values<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next value; a described one without its descriptor, unless that makes another type of
    /// it.
    pub(crate) fn next(&mut self) -> Option<Value<'a>> {
        let mut descriptor = Value::Null;
        for _ in 0..MAX_DESCRIBED {
            match self.byte()? {
                0x00 => descriptor = self.next_plain()?,
                code => return Some(self.value(code)?.described(descriptor)),
            }
        }
        None
    }

    /// The one value that these bytes are, and nothing after it.
    pub(crate) fn sole(mut self) -> Option<Value<'a>> {
        self.next().filter(|_| self.is_empty())
    }

    /// The next value, which must be described: by what, and the value. A name is taken for the
    /// number that it stands for; 0 if that is not known.
    pub(crate) fn next_described(&mut self) -> Option<(u64, Value<'a>)> {
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
            0x72 => Value::Float(f32::from_be_bytes(self.array()?)),
            0x82 => Value::Double(f64::from_be_bytes(self.array()?)),
            0x73 => Value::Char(char::from_u32(u32::from_be_bytes(self.array()?))?),
            0x83 => Value::Timestamp(i64::from_be_bytes(self.array()?)),
            0x98 => Value::Uuid(self.array()?),
            0x74 => decimal32(u32::from_be_bytes(self.array()?)),
            0x84 => decimal64(u64::from_be_bytes(self.array()?)),
            0x94 => decimal128(u128::from_be_bytes(self.array()?)),
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
                let mut values = Values(self.sized8()?);
                let left = values.byte()?;
                Array::value(left.into(), values)?
            }
            0xf0 => {
                let mut values = Values(self.sized32()?);
                let left = u32::from_be_bytes(values.array()?);
                Array::value(left, values)?
            }
            _ => return None,
        })
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

impl<'a> Array<'a> {
    /// An array of as many values as `left` says. `None` where its type takes no bytes: so many
    /// could be in it that no memory holds them, and no client writes one.
    fn value(left: u32, mut values: Values<'a>) -> Option<Value<'a>> {
        let mut code = values.byte()?;
        for _ in 0..MAX_DESCRIBED {
            if code != 0x00 {
                break;
            }
            values.next_plain()?;
            code = values.byte()?;
        }
        let takes_none = code & 0xf0 == 0x40 || code == 0x00;
        (!takes_none || left == 0).then_some(Value::Array(Array { code, left, values }))
    }

    /// The next value; `None` after the last one.
    pub(crate) fn next(&mut self) -> Option<Value<'a>> {
        self.left = self.left.checked_sub(1)?;
        self.values.value(self.code)
    }

    /// Whether all of its values have been read.
    pub(crate) fn is_empty(&self) -> bool {
        self.left == 0
    }
}

/// A decimal of 32 bits, of 23 or 24 of which the number is made.
fn decimal32(bits: u32) -> Value<'static> {
    let bits = u128::from(bits);
    decimal(bits, 31, 8, 101)
}

fn decimal64(bits: u64) -> Value<'static> {
    decimal(bits.into(), 63, 10, 398)
}

fn decimal128(bits: u128) -> Value<'static> {
    decimal(bits, 127, 14, 6_176)
}

/// A decimal whose top bit is `sign`, with an exponent of `width` bits after it, or behind two
/// ones: then the number begins with the bits 100, which are left out.
fn decimal(bits: u128, sign: u32, width: u32, bias: i32) -> Value<'static> {
    let ones = |count: u32| (1_u128 << count) - 1;
    let is_large = bits >> (sign - 2) & 0b11 == 0b11;
    if is_large && bits >> (sign - 4) & 0b1111 == 0b1111 {
        return Value::Other;
    }
    let low = if is_large { sign - width - 2 } else { sign - width };
    let digits = bits & ones(low) | if is_large { 0b100 << low } else { 0 };
    let exponent = (bits >> low & ones(width)) as i32 - bias;
    Value::Decimal(Decimal { negative: bits >> sign & 1 == 1, digits, exponent })
}

impl<'a> Value<'a> {
    /// What a descriptor makes of this value.
    fn described(self, descriptor: Value<'_>) -> Self {
        match (self, descriptor) {
            (Value::Signed(ticks), Value::Text(DATE_TIME_OFFSET)) => Value::DateTimeOffset(ticks),
            (Value::Signed(ticks), Value::Text(TIME_SPAN)) => Value::TimeSpan(ticks),
            (value, _) => value,
        }
    }

    /// What a map has under this key.
    pub(crate) fn get(self, key: &str) -> Option<Value<'a>> {
        let Value::Map(mut entries) = self else { return None };
        while let (Some(name), Some(value)) = (entries.next(), entries.next()) {
            if name.text() == Some(key) {
                return Some(value);
            }
        }
        None
    }

    pub(crate) fn text(self) -> Option<&'a str> {
        match self {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A whole number of any type, that an `i64` holds; a timestamp too.
    pub(crate) fn integer(self) -> Option<i64> {
        match self {
            Value::Signed(number) | Value::Timestamp(number) => Some(number),
            Value::Unsigned(number) => i64::try_from(number).ok(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
