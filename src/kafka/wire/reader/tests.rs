//! What is read of whole fields, and what is said of cut and wrong ones.

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
        ("the longest text", true, string, &[0xff, 0xff, 0xff, 0xff, 0xf, 0], truncated.clone()),
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
        ("the longest array", false, skip, &[0x7f, 0xff, 0xff, 0xff], too_many(i32::MAX as u32)),
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
