//! An AMQP value as text, and as JSON: the one spelling of each, wherever it came from.
//!
//! Numbers and booleans are spelt as in JSON, times as in RFC 3339 with a `Z` and no more digits
//! than they have, spans of time as CEL spells them (`90s`, `1.5s`), decimals with the digits they
//! came with (`1.50`).

use std::borrow::Cow;
use std::fmt::Write;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};

use super::values::{Array, Decimal, Value, Values};

/// Steps of 100 ns in a second.
const TICKS: i64 = 10_000_000;
/// Seconds from the year 1 to 1970.
const YEAR_1: i64 = -62_135_596_800;
/// How deep a list or map may stand in another for its JSON: writing it recurses.
const MAX_DEPTH: usize = 64;
/// The most digits a decimal is written out with, before or behind the dot.
const MAX_ZEROS: i32 = 28;

/// A value as text; `None` for null, lists, maps and what is out of range.
pub(crate) fn text(value: Value<'_>) -> Option<Cow<'_, [u8]>> {
    let spelt = match value {
        Value::Text(text) => return Some(text.as_bytes().into()),
        Value::Binary(bytes) => return Some(bytes.into()),
        Value::Boolean(answer) => answer.to_string(),
        Value::Unsigned(number) => number.to_string(),
        Value::Signed(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Double(number) => number.to_string(),
        Value::Decimal(number) => decimal(number),
        Value::Char(character) => character.to_string(),
        Value::Timestamp(_) | Value::DateTimeOffset(_) => {
            date_time(value)?.to_rfc3339_opts(SecondsFormat::AutoSi, true)
        }
        Value::TimeSpan(ticks) => span(ticks),
        Value::Uuid(id) => hyphenated(id),
        Value::Null | Value::List(_) | Value::Map(_) | Value::Array(_) | Value::Other => {
            return None;
        }
    };
    Some(spelt.into_bytes().into())
}

/// A number with a fraction, or that could have one, as a double. A float is what its shortest
/// spelling says, so that 0.1 is 0.1 and not 0.10000000149011612.
pub(crate) fn number(value: Value<'_>) -> Option<f64> {
    match value {
        Value::Double(number) => Some(number),
        Value::Float(number) => number.to_string().parse().ok(),
        Value::Decimal(number) => decimal(number).parse().ok(),
        _ => None,
    }
}

/// A point in time; `None` where it is none, or one that no calendar has.
pub(crate) fn date_time(value: Value<'_>) -> Option<DateTime<Utc>> {
    match value {
        Value::Timestamp(milliseconds) => DateTime::from_timestamp_millis(milliseconds),
        Value::DateTimeOffset(ticks) => {
            let (seconds, nanoseconds) = split(ticks);
            DateTime::from_timestamp(seconds + YEAR_1, nanoseconds)
        }
        _ => None,
    }
}

/// A span of time.
pub(crate) fn time_delta(value: Value<'_>) -> Option<TimeDelta> {
    let Value::TimeSpan(ticks) = value else { return None };
    let (seconds, nanoseconds) = split(ticks);
    TimeDelta::new(seconds, nanoseconds)
}

/// A value as JSON; `None` where something in it cannot be read, or it is too deep. Bytes that are
/// no UTF-8 are null. It takes at most ten times as many bytes as the value.
pub(crate) fn json(value: Value<'_>) -> Option<String> {
    let mut json = String::new();
    write(value, &mut json, 0)?;
    Some(json)
}

/// The values of several lists as one list of JSON.
pub(crate) fn json_of_list(lists: &[Values<'_>]) -> Option<String> {
    let mut json = String::from("[");
    for list in lists {
        write_list(*list, &mut json, 0)?;
    }
    json.push(']');
    Some(json)
}

fn write(value: Value<'_>, json: &mut String, depth: usize) -> Option<()> {
    if depth > MAX_DEPTH {
        return None;
    }
    match value {
        Value::Null | Value::Other => json.push_str("null"),
        Value::Boolean(answer) => json.push_str(if answer { "true" } else { "false" }),
        Value::Unsigned(number) => write!(json, "{number}").ok()?,
        Value::Signed(number) => write!(json, "{number}").ok()?,
        Value::Float(number) => write_float(number.into(), &format!("{number:?}"), json),
        Value::Double(number) => write_float(number, &format!("{number:?}"), json),
        Value::Decimal(number) => json.push_str(&decimal(number)),
        Value::List(list) => {
            json.push('[');
            write_list(list, json, depth)?;
            json.push(']');
        }
        Value::Array(mut array) => {
            json.push('[');
            write_array(&mut array, json, depth)?;
            json.push(']');
        }
        Value::Map(mut entries) => {
            json.push('{');
            while !entries.is_empty() {
                let (name, value) = (entries.next()?, entries.next()?);
                separate(json, '{');
                write_string(&text(name)?, json);
                json.push(':');
                write(value, json, depth + 1)?;
            }
            json.push('}');
        }
        value => match text(value) {
            Some(text) => write_string(&text, json),
            None => json.push_str("null"),
        },
    }
    Some(())
}

fn write_list(mut list: Values<'_>, json: &mut String, depth: usize) -> Option<()> {
    while !list.is_empty() {
        let value = list.next()?;
        separate(json, '[');
        write(value, json, depth + 1)?;
    }
    Some(())
}

fn write_array(array: &mut Array<'_>, json: &mut String, depth: usize) -> Option<()> {
    while !array.is_empty() {
        let value = array.next()?;
        separate(json, '[');
        write(value, json, depth + 1)?;
    }
    Some(())
}

/// A comma, but for the first after the bracket.
fn separate(json: &mut String, open: char) {
    if !json.ends_with(open) {
        json.push(',');
    }
}

fn write_string(text: &[u8], json: &mut String) {
    let quoted = str::from_utf8(text).ok().and_then(|text| serde_json::to_string(text).ok());
    json.push_str(quoted.as_deref().unwrap_or("null"));
}

/// As it is spelt, with JSON's names, so to say, for what is no number there.
fn write_float(number: f64, spelt: &str, json: &mut String) {
    json.push_str(match number {
        f64::INFINITY => "Infinity",
        f64::NEG_INFINITY => "-Infinity",
        _ => spelt,
    });
}

fn decimal(Decimal { negative, digits, exponent }: Decimal) -> String {
    let sign = if negative { "-" } else { "" };
    match exponent {
        0 => format!("{sign}{digits}"),
        ..0 if exponent >= -MAX_ZEROS => {
            let places = exponent.unsigned_abs() as usize;
            let padded = format!("{digits:0>width$}", width = places + 1);
            let (whole, fraction) = padded.split_at(padded.len() - places);
            format!("{sign}{whole}.{fraction}")
        }
        _ => format!("{sign}{digits}e{exponent}"),
    }
}

/// Seconds and the nanoseconds after them.
fn split(ticks: i64) -> (i64, u32) {
    let nanoseconds = ticks.rem_euclid(TICKS) * 100;
    (ticks.div_euclid(TICKS), u32::try_from(nanoseconds).unwrap_or(0))
}

fn span(ticks: i64) -> String {
    let sign = if ticks < 0 { "-" } else { "" };
    let ticks = ticks.unsigned_abs();
    let (seconds, rest) = (ticks / TICKS.unsigned_abs(), ticks % TICKS.unsigned_abs());
    let fraction = format!(".{rest:07}");
    format!("{sign}{seconds}{}s", fraction.trim_end_matches('0').trim_end_matches('.'))
}

/// A UUID as it is written.
pub(crate) fn hyphenated(id: [u8; 16]) -> String {
    let digits = format!("{:032x}", u128::from_be_bytes(id));
    let (a, rest) = digits.split_at(8);
    let (b, rest) = rest.split_at(4);
    let (c, rest) = rest.split_at(4);
    let (d, e) = rest.split_at(4);
    format!("{a}-{b}-{c}-{d}-{e}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn spelt(value: Value<'_>) -> Option<String> {
        text(value).map(|text| String::from_utf8_lossy(&text).into_owned())
    }

    #[test]
    fn each_value_has_one_spelling() {
        let fixed =
            |negative, digits, exponent| Value::Decimal(Decimal { negative, digits, exponent });
        let rows = [
            (Value::Text("a"), Some("a")),
            (Value::Boolean(true), Some("true")),
            (Value::Unsigned(u64::MAX), Some("18446744073709551615")),
            (Value::Signed(-3), Some("-3")),
            (Value::Float(0.1), Some("0.1")),
            (Value::Double(0.1), Some("0.1")),
            (Value::Double(3.0), Some("3")),
            (fixed(false, 150, -2), Some("1.50")),
            (fixed(true, 5, -3), Some("-0.005")),
            (fixed(false, 15, 0), Some("15")),
            (fixed(false, 15, 3), Some("15e3")),
            (fixed(false, 15, -60), Some("15e-60")),
            (Value::Timestamp(1_700_000_000_000), Some("2023-11-14T22:13:20Z")),
            (Value::Timestamp(1_700_000_000_500), Some("2023-11-14T22:13:20.500Z")),
            (Value::Timestamp(i64::MAX), None),
            (Value::DateTimeOffset(639_028_224_000_000_000), Some("2026-01-01T00:00:00Z")),
            (
                Value::DateTimeOffset(639_028_224_000_000_001),
                Some("2026-01-01T00:00:00.000000100Z"),
            ),
            (Value::TimeSpan(900_000_000), Some("90s")),
            (Value::TimeSpan(-15_000_000), Some("-1.5s")),
            (Value::TimeSpan(0), Some("0s")),
            (Value::TimeSpan(i64::MIN), Some("-922337203685.4775808s")),
            (Value::Uuid([7; 16]), Some("07070707-0707-0707-0707-070707070707")),
            (Value::Null, None),
        ];
        for (value, expected) in rows {
            assert_eq!(spelt(value).as_deref(), expected, "{value:?}");
        }
        assert_eq!(number(Value::Float(0.1)), Some(0.1));
        assert_eq!(number(fixed(false, 110, -2)), Some(1.1));
        let span = time_delta(Value::TimeSpan(-1)).expect("a span");
        assert_eq!(span.num_nanoseconds(), Some(-100));
    }

    #[test]
    fn lists_and_maps_are_json() {
        // {"kind": "a\"b", 1: [true, null, 1.5], "bytes": ff}
        let mut map = vec![0xa1, 4, b'k', b'i', b'n', b'd', 0xa1, 3, b'a', b'"', b'b', 0x54, 1];
        map.extend([0xc0, 12, 3, 0x41, 0x40, 0x82]);
        map.extend(1.5_f64.to_be_bytes());
        map.extend([0xa1, 5, b'b', b'y', b't', b'e', b's', 0xa0, 1, 0xff]);
        let body = Value::Map(Values::new(&map));
        let expected = r#"{"kind":"a\"b","1":[true,null,1.5],"bytes":null}"#;
        assert_eq!(json(body).as_deref(), Some(expected));
        let lists = [&[0x41][..], &[], &[0x54, 2, 0x72, 0x7f, 0x80, 0, 0]].map(Values::new);
        assert_eq!(json_of_list(&lists).as_deref(), Some("[true,2,Infinity]"));
        assert_eq!(json(Value::Map(Values::new(&map[..7]))), None, "cut short");
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |levels: usize| {
            let list = |inner: Vec<u8>| {
                let size = u32::try_from(inner.len() + 4).expect("small").to_be_bytes();
                [&[0xd0][..], &size, &[0, 0, 0, 1], &inner].concat()
            };
            (0..levels).fold(vec![0x45], |inner, _| list(inner))
        };
        let json_of = |bytes: &[u8]| json(Values::new(bytes).sole().expect("a list"));
        assert!(json_of(&nested(60)).is_some());
        assert_eq!(json_of(&nested(70)), None);
    }

    proptest! {
        #[test]
        fn any_value_is_json_of_bounded_length_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut values = Values::new(&bytes);
            while let Some(value) = values.next() {
                let _text = text(value);
                if let Some(json) = json(value) {
                    prop_assert!(json.len() <= 10 * bytes.len(), "{json}");
                }
            }
        }
    }
}
