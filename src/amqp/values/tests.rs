//! Values as another implementation of AMQP writes them, and any other bytes.

use proptest::prelude::*;
use serde_amqp::primitives::{
    Array as AmqpArray, Dec32, Dec64, Dec128, OrderedMap, Symbol, Timestamp, Uuid,
};
use serde_amqp::{Value as Amqp, to_vec};

use super::*;

fn number(digits: u128, exponent: i32) -> Value<'static> {
    Value::Decimal(Decimal { negative: false, digits, exponent })
}

#[test]
fn arrays_give_as_many_values_as_they_say() {
    for written in [vec![1, -2, 70_000], vec![]] {
        let ints: Vec<Amqp> = written.iter().copied().map(Amqp::Int).collect();
        let mut bytes = to_vec(&Amqp::Array(AmqpArray::from(ints))).expect("an array");
        if written.is_empty() {
            // The library gives an empty one no type.
            bytes = vec![0xe0, 2, 0, 0x71];
        }
        let Some(Value::Array(mut array)) = Values::new(&bytes).sole() else {
            panic!("no array: {bytes:x?}")
        };
        for number in written {
            assert_eq!(array.next(), Some(Value::Signed(number.into())));
        }
        assert_eq!((array.next(), array.is_empty()), (None, true));
    }
    let nothings = [0xf0, 0, 0, 0, 5, 0xff, 0xff, 0xff, 0xff, 0x40];
    assert_eq!(Values::new(&nothings).next(), None, "four thousand million nulls");
    let cut_short = [0xe0, 3, 2, 0x51, 7];
    let Some(Value::Array(mut array)) = Values::new(&cut_short).sole() else { panic!("none") };
    assert_eq!((array.next(), array.next()), (Some(Value::Signed(7)), None));
}

#[test]
fn what_describes_a_value_may_make_another_type_of_it() {
    let described = |name: &str, value: &[u8]| {
        [&[0x00, 0xa3, u8::try_from(name.len()).expect("short")], name.as_bytes(), value].concat()
    };
    let ticks = [&[0x81][..], &639_028_224_000_000_000_i64.to_be_bytes()].concat();
    let rows = [
        (DATE_TIME_OFFSET, &ticks[..], Value::DateTimeOffset(639_028_224_000_000_000)),
        (TIME_SPAN, &[0x55, 5][..], Value::TimeSpan(5)),
        ("com.microsoft:uri", &[0xa1, 1, b'u'][..], Value::Text("u")),
        (TIME_SPAN, &[0xa1, 1, b'u'][..], Value::Text("u")),
    ];
    for (name, value, expected) in rows {
        assert_eq!(Values::new(&described(name, value)).sole(), Some(expected), "{name}");
    }
    assert_eq!(Values::new(&[0x40, 0x40]).sole(), None, "two");
}

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
        (Amqp::Float(1.5.into()), Value::Float(1.5)),
        (Amqp::Double(2.5.into()), Value::Double(2.5)),
        (Amqp::Char('ä'), Value::Char('ä')),
        (Amqp::Timestamp(Timestamp::from_milliseconds(5)), Value::Timestamp(5)),
        (Amqp::Uuid(Uuid::from([7; 16])), Value::Uuid([7; 16])),
        (Amqp::Binary(vec![1, 2].into()), Value::Binary(&[1, 2])),
        (Amqp::String("ä".into()), Value::Text("ä")),
        (Amqp::Symbol(Symbol::from("s")), Value::Text("s")),
        (Amqp::Decimal32(Dec32::from([0x32, 0x00, 0x00, 0x96])), number(150, -1)),
        (Amqp::Decimal32(Dec32::from([0xf8, 0, 0, 0])), Value::Other),
        (Amqp::Decimal64(Dec64::from(0x31a0_0000_0000_0096_u64.to_be_bytes())), number(150, -1)),
        (
            Amqp::Decimal128(Dec128::from(((6_174_u128 << 113) | 150).to_be_bytes())),
            number(150, -2),
        ),
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
