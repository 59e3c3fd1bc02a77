//! Each fault of a batch is told by its name, in one short line.

use super::*;

type Row = (&'static str, Vec<u8>, BatchError);

/// The bytes with those at a place replaced.
fn set(mut bytes: Vec<u8>, at: usize, with: &[u8]) -> Vec<u8> {
    bytes.splice(at..at + with.len(), with.iter().copied());
    bytes
}

#[test]
fn each_fault_of_a_batch_is_told() {
    let good = || Made::of(&[record(0, None, Some(b"v"))]);
    let bytes = good().bytes();
    let negative = |what, value| BatchError::Negative { what, value };
    let most = i64::MAX / 2 + 1;
    let rows: [Row; 13] = [
        (
            "a length below zero",
            set(bytes.clone(), 8, &[0xff; 4]),
            BatchError::Length { length: -1 },
        ),
        (
            "a short length",
            set(bytes.clone(), 8, &[0, 0, 0, 48]),
            BatchError::Length { length: 48 },
        ),
        ("a shorter one", set(bytes.clone(), 8, &[0, 0, 0, 13]), BatchError::Length { length: 13 }),
        ("another format", Made { magic: 3, ..good() }.bytes(), BatchError::Magic { magic: 3 }),
        (
            "a format below zero",
            Made { magic: -1, ..good() }.bytes(),
            BatchError::Magic { magic: -1 },
        ),
        (
            "an offset below zero",
            Made { base: -1, ..good() }.bytes(),
            BatchError::Offset { offset: -1 },
        ),
        (
            "an offset of no log",
            Made { base: most, ..good() }.bytes(),
            BatchError::Offset { offset: most },
        ),
        (
            "a changed byte",
            set(bytes.clone(), bytes.len() - 2, b"w"),
            BatchError::Checksum { offset: 100 },
        ),
        (
            "a last offset below the first",
            Made { last_delta: -1, ..good() }.bytes(),
            negative("last offset", -1),
        ),
        (
            "a count below zero",
            Made { count: -1, ..good() }.bytes(),
            negative("number of records", -1),
        ),
        (
            "another codec",
            Made { attributes: 5, ..good() }.bytes(),
            BatchError::UnknownCodec { codec: 5, magic: 2 },
        ),
        (
            "zstd before there was zstd",
            message(1, 4, Some(1), None, Some(b"")),
            BatchError::UnknownCodec { codec: 4, magic: 1 },
        ),
        (
            "a short message of magic 1",
            set(message(1, 0, None, None, Some(b"v")), 16, &[1]),
            BatchError::Length { length: 15 },
        ),
    ];
    for (name, bytes, expected) in rows {
        let mut batches = Batches::new(&bytes);
        assert_eq!(batches.next().unwrap().unwrap_err(), expected, "{name}");
        assert!(batches.next().is_none() && batches.larger_than_asked().is_none(), "{name}");
        assert!(expected.to_string().len() <= 200, "{expected}");
    }
}

#[test]
fn each_fault_of_a_record_is_told_compressed_or_not() {
    let fault = |what| BatchError::Record { what };
    let negative = |what, value| BatchError::Negative { what, value };
    let good = record(0, None, None);
    let two = |second: Vec<u8>| vec![good.clone(), second];
    let outside = |offset| BatchError::OffsetOutside { offset, last: 101 };
    let longest = i64::try_from(MAX_RECORD).unwrap() + 1;
    let rows = [
        ("a length that has no end", two(vec![0x80; 6]), fault("length")),
        ("a length below zero", two(varint(-1)), negative("record length", -1)),
        (
            "a record that is too long",
            two(varint(longest)),
            BatchError::RecordTooLong { bytes: MAX_RECORD + 1, max: MAX_RECORD },
        ),
        ("a record beyond the batch", two([varint(9), vec![0; 8]].concat()), BatchError::Cut),
        ("a record that is missing", two(vec![]), BatchError::Cut),
        ("no attributes", two(framed(&[])), fault("attributes")),
        ("no time", two(framed(&[0])), fault("timestamp")),
        ("no offset", two(framed(&[0, 0])), fault("offset")),
        ("no key", two(framed(&[0, 0, 2])), fault("key")),
        ("a key beyond the record", two(framed(&[0, 0, 2, 4, 9])), fault("key")),
        ("a key below none", two(framed(&[0, 0, 2, 3])), negative("key", -2)),
        ("a value beyond the record", two(framed(&[0, 0, 2, 1, 4, 9])), fault("value")),
        ("no headers", two(framed(&[0, 0, 2, 1, 1])), fault("headers")),
        ("headers below none", two(framed(&[0, 0, 2, 1, 1, 1])), negative("number of headers", -1)),
        ("bytes after no headers", two(framed(&[0, 0, 2, 1, 1, 0, 9])), fault("headers")),
        ("bytes after a header", two(framed(&[0, 0, 2, 1, 1, 2, 0, 1, 9])), fault("headers")),
        (
            "a header without a name",
            two(framed(&[0, 0, 2, 1, 1, 2, 1, 1])),
            negative("header name", -1),
        ),
        ("a header that is missing", two(framed(&[0, 0, 2, 1, 1, 4, 0, 1])), fault("header name")),
        ("a header beyond", two(framed(&[0, 0, 2, 1, 1, 2, 0, 4, 9])), fault("header value")),
        ("the same offset", two(record(0, None, None)), BatchError::OffsetOrder { offset: 100 }),
        ("an offset before the first", two(record(-3, None, None)), outside(97)),
        ("an offset after the last", two(record(2, None, None)), outside(102)),
        (
            "more records",
            vec![good.clone(), record(1, None, None), vec![0]],
            BatchError::Trailing { bytes: 1 },
        ),
    ];
    for (name, records, expected) in rows {
        let made = Made { count: 2, last_delta: 1, ..Made::of(&records) };
        assert_eq!(read(&made.bytes()), Err(expected.clone()), "{name}");
        for codec in CODECS {
            let packed = Made::packed(codec, &records);
            let packed = Made { count: 2, last_delta: 1, ..packed };
            assert_eq!(read(&packed.bytes()), Err(expected.clone()), "{name} in {codec}");
        }
        assert!(expected.to_string().len() <= 200, "{expected}");
    }
}

#[test]
fn each_fault_of_compressed_bytes_is_told() {
    let records = [record(0, None, Some(&[7; 3_000]))];
    let lz4 = pack(Codec::Lz4, &records[0]);
    let zstd = pack(Codec::Zstd, &records[0]);
    let gzip = pack(Codec::Gzip, &records[0]);
    let snappy = pack(Codec::Snappy, &records[0]);
    let cut = |bytes: &[u8], by: usize| bytes[..bytes.len() - by].to_vec();
    let at = |codec: Codec, what| codec.fault(what);
    let window = |descriptor| [0x28, 0xb5, 0x2f, 0xfd, 0, descriptor, 1, 0, 0].to_vec();
    let far = BatchError::Window { bytes: 9 * 1024 * 1024, max: MAX_WINDOW };
    let huge = BatchError::Window { bytes: 1 << 63, max: MAX_WINDOW };
    let single =
        [&[0x28, 0xb5, 0x2f, 0xfd, 0xe0][..], &[0, 0, 0, 0, 0, 0, 0, 0x80], &[1, 0, 0]].concat();
    let rows = [
        ("gzip", 1, b"no gzip".to_vec(), at(Codec::Gzip, "they are damaged or cut")),
        ("gzip, cut", 1, cut(&gzip, 1), at(Codec::Gzip, "they are damaged or cut")),
        ("snappy", 2, vec![3, 0xff, 0xff], at(Codec::Snappy, "a block is damaged")),
        ("snappy, cut", 2, cut(&snappy, 1), at(Codec::Snappy, "a block is damaged")),
        (
            "snappy that states much",
            2,
            vec![0xff, 0xff, 0xff, 0xff, 0x0f, 0],
            at(Codec::Snappy, "a block states more than can come out of it"),
        ),
        (
            "snappy in a cut frame",
            2,
            cut(&xerial(&[b"abc"]), 1),
            at(Codec::Snappy, "a block is cut"),
        ),
        ("lz4", 3, b"no lz4, but bytes".to_vec(), at(Codec::Lz4, "there is no frame")),
        (
            "lz4 of another version",
            3,
            set(lz4.clone(), 4, &[0xa0]),
            at(Codec::Lz4, "the frame is of another version"),
        ),
        (
            "lz4 with a dictionary",
            3,
            set(lz4.clone(), 4, &[0x61]),
            at(Codec::Lz4, "the frame needs a dictionary"),
        ),
        (
            "lz4 with odd blocks",
            3,
            set(lz4.clone(), 5, &[0x30]),
            at(Codec::Lz4, "the frame's blocks are of no known size"),
        ),
        (
            "lz4 with a long block",
            3,
            set(lz4.clone(), 7, &[0xff; 4]),
            at(Codec::Lz4, "a block is longer than its frame allows"),
        ),
        (
            "lz4, cut in its head",
            3,
            lz4[..6].to_vec(),
            at(Codec::Lz4, "the head of a frame is cut"),
        ),
        ("lz4, cut in a block", 3, lz4[..20].to_vec(), at(Codec::Lz4, "a block is cut")),
        ("lz4, cut at its end", 3, cut(&lz4, 1), at(Codec::Lz4, "a block is missing")),
        (
            "lz4 with a changed block",
            3,
            set(lz4.clone(), 11, &[0xff; 3]),
            at(Codec::Lz4, "a block is damaged"),
        ),
        ("zstd", 4, b"no zstd".to_vec(), at(Codec::Zstd, "there is no frame")),
        ("zstd, cut", 4, cut(&zstd, 1), at(Codec::Zstd, "a block is damaged or cut")),
        (
            "zstd, cut before a block",
            4,
            zstd[..6].to_vec(),
            at(Codec::Zstd, "a block is damaged or cut"),
        ),
        ("zstd, cut in its head", 4, zstd[..4].to_vec(), at(Codec::Zstd, "there is no frame")),
        (
            "zstd with a dictionary",
            4,
            vec![0x28, 0xb5, 0x2f, 0xfd, 0x21, 9, 1, 1, 0, 0],
            at(Codec::Zstd, "the head of a frame is damaged, or needs a dictionary"),
        ),
        (
            "zstd with a frame to skip, cut",
            4,
            b"\x50\x2a\x4d\x18\x03\0\0\0ab".to_vec(),
            at(Codec::Zstd, "a frame to skip is cut"),
        ),
        ("zstd that looks back far", 4, window(13 << 3 | 1), far),
        ("zstd in one segment", 4, single, huge),
    ];
    for (name, attributes, body, expected) in rows {
        let made = Made { attributes, body, ..Made::of(&records) };
        assert_eq!(read(&made.bytes()), Err(expected.clone()), "{name}");
        assert!(expected.to_string().len() <= 200, "{expected}");
    }
}

#[test]
fn each_fault_of_an_old_message_is_told() {
    let gzip = |bytes: &[u8]| pack(Codec::Gzip, bytes);
    let one = |offset, time| message(offset, 0, time, None, Some(b"v"));
    let outer = |time, set: &[u8]| message(9, 1, time, None, Some(&gzip(set)));
    let sum = |mut bytes: Vec<u8>| {
        let sum = crc32fast::hash(&bytes[16..]);
        bytes[12..16].copy_from_slice(&sum.to_be_bytes());
        bytes
    };
    let length = |mut bytes: Vec<u8>, more: u8| {
        bytes[11] += more;
        bytes.extend(vec![0; more.into()]);
        sum(bytes)
    };
    let fault = |what| BatchError::Record { what };
    let rows: [Row; 18] = [
        ("a changed byte", set(one(3, None), 26, b"w"), BatchError::Checksum { offset: 3 }),
        ("a key beyond it", sum(set(one(3, None), 18, &[0, 0, 0, 9])), fault("key")),
        ("a value beyond it", sum(set(one(3, None), 22, &[0, 0, 0, 9])), fault("value")),
        (
            "a value below none",
            sum(set(one(3, None), 22, &[0xff, 0xff, 0xff, 0xfe])),
            BatchError::Negative { what: "value", value: -2 },
        ),
        ("bytes after it", length(one(3, None), 2), BatchError::Trailing { bytes: 2 }),
        ("no set", message(9, 1, None, None, None), Codec::Gzip.fault("there are none")),
        (
            "no gzip",
            message(9, 1, None, None, Some(b"x")),
            Codec::Gzip.fault("they are damaged or cut"),
        ),
        ("a cut set", outer(None, &one(8, None)[..20]), BatchError::Cut),
        ("a set cut early", outer(None, &one(8, None)[..5]), BatchError::Cut),
        ("a set of sets", outer(None, &outer(None, &one(8, None))), BatchError::Nested),
        (
            "magic 1 in magic 0",
            outer(None, &one(8, Some(1))),
            BatchError::InnerMagic { inner: 1, outer: 0 },
        ),
        (
            "magic 0 in magic 1",
            outer(Some(1), &one(8, None)),
            BatchError::InnerMagic { inner: 0, outer: 1 },
        ),
        (
            "magic 2 within",
            outer(None, &sum(set(one(8, None), 16, &[2]))),
            BatchError::Magic { magic: 2 },
        ),
        (
            "an offset after the last",
            outer(None, &one(10, None)),
            BatchError::OffsetOutside { offset: 10, last: 9 },
        ),
        (
            "a number above the last offset",
            outer(Some(1), &one(10, Some(1))),
            BatchError::OffsetOutside { offset: 10, last: 9 },
        ),
        ("an offset below zero", outer(None, &one(-1, None)), BatchError::Offset { offset: -1 }),
        (
            "the same offset",
            outer(None, &[one(8, None), one(8, None)].concat()),
            BatchError::OffsetOrder { offset: 8 },
        ),
        (
            "a changed byte within",
            outer(None, &set(one(8, None), 26, b"w")),
            BatchError::Checksum { offset: 9 },
        ),
    ];
    for (name, bytes, expected) in rows {
        assert_eq!(read(&bytes), Err(expected), "{name}");
    }
}
