//! Batches of another implementation, and bytes that are known, mean the same here.

use kafka_protocol::indexmap::IndexMap;
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records::{
    Compression as Theirs, Record as TheirRecord, RecordBatchEncoder, RecordEncodeOptions,
    TimestampType,
};
use proptest::prelude::*;

use super::*;

const COMPRESSIONS: [Theirs; 5] =
    [Theirs::None, Theirs::Gzip, Theirs::Snappy, Theirs::Lz4, Theirs::Zstd];

fn theirs(kept: &Kept, transactional: bool) -> TheirRecord {
    let headers = kept.headers.iter().map(|(name, value)| {
        let name = StrBytes::from_utf8(name.clone().into()).unwrap();
        (name, value.clone().map(Into::into))
    });
    TheirRecord {
        transactional,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: 4,
        producer_id: 9,
        producer_epoch: 2,
        // Its encoder never writes the other type.
        timestamp_type: TimestampType::Creation,
        offset: i64::try_from(kept.offset).unwrap(),
        sequence: i32::try_from(kept.offset % 1_000_000).unwrap(),
        timestamp: kept.timestamp.unwrap_or(-1),
        key: kept.key.clone().map(Into::into),
        value: kept.value.clone().map(Into::into),
        headers: headers.collect::<IndexMap<_, _>>(),
    }
}

fn bytes() -> impl Strategy<Value = Option<Vec<u8>>> {
    let plain = prop::collection::vec(any::<u8>(), 0..300);
    let long = (any::<u8>(), 0..200_000_usize).prop_map(|(byte, count)| vec![byte; count]);
    prop::option::of(prop_oneof![9 => plain, 1 => long])
}

fn kept() -> impl Strategy<Value = Kept> {
    let headers = prop::collection::btree_map("\\PC{0,9}", bytes(), 0..4);
    (prop::option::of(0..=i64::MAX / 4), bytes(), bytes(), headers).prop_map(
        |(timestamp, key, value, headers)| Kept {
            offset: 0,
            timestamp,
            key,
            value,
            headers: headers.into_iter().map(|(name, value)| (name.into_bytes(), value)).collect(),
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn records_are_those_that_were_written(
        mut records in prop::collection::vec(kept(), 1..40),
        base in 0..1_000_000_u64,
        transactional: bool,
    ) {
        for (offset, record) in (base..).zip(&mut records) {
            record.offset = offset;
        }
        let latest = records.iter().map(|record| record.timestamp).max().unwrap();
        let given: Vec<_> =
            records.iter().map(|record| theirs(record, transactional)).collect();
        for compression in COMPRESSIONS {
            let mut bytes = Vec::new();
            let options = RecordEncodeOptions { version: 2, compression };
            RecordBatchEncoder::encode(&mut bytes, &given, &options).unwrap();
            let batches: Result<Vec<_>, _> = Batches::new(&bytes).collect();
            let batches = batches.unwrap();
            prop_assert_eq!(batches.len(), 1);
            let batch = &batches[0];
            prop_assert_eq!(batch.base_offset, Some(base));
            prop_assert_eq!(batch.last_offset, base + records.len() as u64 - 1);
            prop_assert_eq!(batch.leader_epoch, Some(4));
            prop_assert_eq!((batch.producer_id, batch.producer_epoch), (Some(9), 2));
            prop_assert_eq!(batch.base_sequence, i32::try_from(base).unwrap());
            prop_assert_eq!(batch.max_timestamp, latest);
            prop_assert_eq!(batch.count, Some(u32::try_from(records.len()).unwrap()));
            prop_assert_eq!(batch.is_transactional(), transactional);
            prop_assert_eq!(batch.is_log_append_time(), false);
            prop_assert!(!batch.is_control());
            prop_assert_eq!(batch.codec().is_none(), matches!(compression, Theirs::None));
            let read = kept_of(batch, &mut Scratch::default());
            prop_assert_eq!(read, Ok(records.clone()));
        }
    }
}

#[test]
fn a_batch_is_read_whatever_its_blocks_and_frames() {
    let records: Vec<_> =
        (0..400).map(|delta| record(delta, None, Some(&[delta.to_le_bytes()[0]; 999]))).collect();
    let body = records.concat();
    let (one, two) = body.split_at(150_000);
    let expected = read(&Made::of(&records).bytes()).unwrap();
    assert_eq!(expected.len(), 400);
    let gzip = |bytes| pack(Codec::Gzip, bytes);
    let lz4 = |bytes| pack(Codec::Lz4, bytes);
    let zstd = |bytes| pack(Codec::Zstd, bytes);
    let skipped = b"\x50\x2a\x4d\x18\x03\0\0\0abc".to_vec();
    let plain: Vec<_> = {
        let mut frame = vec![0x04, 0x22, 0x4d, 0x18, 0x60, 0x70, 0];
        frame.extend((0x8000_0000 | u32::try_from(body.len()).unwrap()).to_le_bytes());
        frame.extend(&body);
        frame.extend([0; 4]);
        frame
    };
    let mut sums = vec![0x04, 0x22, 0x4d, 0x18, 0x7c, 0x70];
    sums.extend(u64::try_from(body.len()).unwrap().to_le_bytes());
    sums.push(0);
    for block in body.chunks(100_000) {
        let packed = lz4_flex::block::compress(block);
        sums.extend(u32::try_from(packed.len()).unwrap().to_le_bytes());
        sums.extend(packed);
        sums.extend([1, 2, 3, 4]);
    }
    sums.extend([0, 0, 0, 0, 5, 6, 7, 8]);
    let mut linked = vec![0x04, 0x22, 0x4d, 0x18, 0x40, 0x40, 0];
    for (place, block) in body.chunks(50_000).enumerate() {
        let before = (place * 50_000).saturating_sub(64 * 1024);
        let dictionary = &body[before..place * 50_000];
        let packed = lz4_flex::block::compress_with_dict(block, dictionary);
        linked.extend(u32::try_from(packed.len()).unwrap().to_le_bytes());
        linked.extend(packed);
    }
    linked.extend([0; 4]);
    let blocks: Vec<_> = body.chunks(32 * 1024).collect();
    let rows = [
        ("gzip in two members", Codec::Gzip, [gzip(one), gzip(two)].concat()),
        ("snappy by Java", Codec::Snappy, xerial(&blocks)),
        ("snappy by Java, twice", Codec::Snappy, [xerial(&[one]), xerial(&[two])].concat()),
        ("lz4 in two frames", Codec::Lz4, [lz4(one), lz4(two)].concat()),
        ("lz4 after other data", Codec::Lz4, [skipped.clone(), lz4(&body)].concat()),
        ("lz4 that did not get smaller", Codec::Lz4, plain),
        ("lz4 with all checksums and the size", Codec::Lz4, sums),
        ("lz4 with blocks that look back", Codec::Lz4, linked),
        ("lz4 with large blocks", Codec::Lz4, lz4_frame(0x60, 7, [&body[..]])),
        ("zstd in two frames", Codec::Zstd, [zstd(one), zstd(two)].concat()),
        ("zstd after other data", Codec::Zstd, [skipped, zstd(&body)].concat()),
    ];
    for (name, codec, body) in rows {
        let made = Made { body, attributes: number(codec), ..Made::of(&records) };
        assert_eq!(read(&made.bytes()), Ok(expected.clone()), "{name}");
    }
}

#[test]
fn a_batch_says_its_last_offset_whatever_is_left_of_it() {
    let rows = [
        ("nothing", Made { last_delta: 9, ..Made::of(&[]) }, vec![]),
        (
            "nothing of a compressed one",
            Made { attributes: 3, last_delta: 9, ..Made::of(&[]) },
            vec![],
        ),
        ("the middle", Made { last_delta: 9, ..Made::of(&[record(4, None, None)]) }, vec![104]),
        (
            "some of it",
            Made {
                last_delta: 9,
                ..Made::packed(Codec::Lz4, &[record(1, None, None), record(8, None, None)])
            },
            vec![101, 108],
        ),
    ];
    for (name, made, expected) in rows {
        let bytes = made.bytes();
        let batch = Batches::new(&bytes).next().unwrap().unwrap();
        assert_eq!((batch.base_offset, batch.last_offset), (Some(100), 109), "{name}");
        let offsets: Vec<_> = read(&bytes).unwrap().iter().map(|record| record.offset).collect();
        assert_eq!(offsets, expected, "{name}");
    }
}

#[test]
fn the_end_may_be_cut() {
    let whole = Made::of(&[record(0, None, Some(b"abc"))]).bytes();
    let two = [whole.clone(), whole.clone()].concat();
    for end in 0..two.len() {
        let bytes = &two[..end];
        let mut batches = Batches::new(bytes);
        let read: Result<Vec<_>, _> = (&mut batches).collect();
        assert_eq!(read.unwrap().len(), end / whole.len(), "{end}");
        let expected = match end {
            0 => None,
            1..12 => Some(61),
            _ => Some(whole.len()).filter(|size| end < *size),
        };
        assert_eq!(batches.larger_than_asked(), expected, "{end}");
    }
}

#[test]
fn reading_stops_where_it_is_told_to() {
    let records: Vec<_> = (0..5).map(|delta| record(delta, None, None)).collect();
    let legacy = message(7, 0, None, None, None);
    let packed = CODECS.map(|codec| Made::packed(codec, &records).bytes());
    for bytes in packed.iter().chain([&Made::of(&records).bytes(), &legacy]) {
        let batch = Batches::new(bytes).next().unwrap().unwrap();
        let mut seen = 0;
        let read = batch.for_each(&mut Scratch::default(), |_| {
            seen += 1;
            if seen < 3 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        assert_eq!((read, seen), (Ok(()), if bytes == &legacy { 1 } else { 3 }));
    }
}

#[test]
fn times_are_those_of_the_record_or_of_the_batch() {
    let records = [record(0, None, None), record(1, None, None)];
    let made = |attributes, timestamps| Made { attributes, timestamps, ..Made::of(&records) };
    let rows = [
        ("given", made(0, (1_000, 2_000)), [Some(1_000), Some(1_001)]),
        ("given by the broker", made(8, (1_000, 2_000)), [Some(2_000), Some(2_000)]),
        ("none", made(0, (-1, -1)), [None, Some(0)]),
        ("none by the broker", made(8, (5, -1)), [None, None]),
        ("beyond what fits", made(0, (i64::MAX, 0)), [Some(i64::MAX), Some(i64::MIN)]),
    ];
    for (name, made, expected) in rows {
        let times: Vec<_> =
            read(&made.bytes()).unwrap().iter().map(|record| record.timestamp).collect();
        assert_eq!(times, expected, "{name}");
    }
}

/// As librdkafka has it, which read topics before.
#[test]
fn a_header_is_the_last_of_its_name_and_a_null_value_is_none() {
    let header = |name: &[u8], value| [sized(Some(name)), sized(value)].concat();
    let headers = [
        varint(6),
        header(b"a", Some(b"1")),
        header(b"b", Some(b"2")),
        header(b"a", Some(b"3")),
        header(b"b", None),
        header(b"\xff", Some(b"4")),
        header(b"", Some(b"")),
    ]
    .concat();
    let bytes = Made::of(&[with_headers(0, None, None, &headers)]).bytes();
    let batch = Batches::new(&bytes).next().unwrap().unwrap();
    let mut seen = false;
    batch
        .for_each(&mut Scratch::default(), |record| {
            seen = true;
            let rows = [
                ("a", Some(&b"3"[..])),
                ("b", None),
                ("", Some(b"")),
                ("c", None),
                ("\u{fffd}", None),
            ];
            for (name, expected) in rows {
                assert_eq!(record.header(name), Ok(expected), "{name}");
            }
            let mut each = Vec::new();
            record.each_header(&mut |name, value| each.push((name, value))).unwrap();
            let expected = [
                ("a", Some(&b"1"[..])),
                ("b", Some(b"2")),
                ("a", Some(b"3")),
                ("b", None),
                ("", Some(b"")),
            ];
            assert_eq!(each, expected);
            assert_eq!(record.headers.count(), 6);
            ControlFlow::Continue(())
        })
        .unwrap();
    assert!(seen);
}

/// The first as Kafka's documentation lays it out, with a checksum by another implementation.
#[test]
fn messages_of_magic_0_and_1_are_read() {
    let plain = b"\0\0\0\0\0\0\0\x07\0\0\0\x11\x96\xb1\xd0\xff\0\0\0\0\0\x01k\0\0\0\x02ab";
    let made = message(7, 0, None, Some(b"k"), Some(b"ab"));
    assert_eq!(made, plain);
    let kept = |offset, timestamp, value: &[u8]| Kept {
        offset,
        timestamp,
        key: None,
        value: Some(value.to_vec()),
        headers: vec![],
    };
    let set = |base: i64, time: Option<i64>| {
        let inner = |place: i64, value: &[u8]| {
            message(base + place, 0, time.map(|time| time + place), None, Some(value))
        };
        [inner(0, b"a"), inner(1, b"b"), inner(4, b"c")].concat()
    };
    let outer = |attributes, time, set: &[u8]| message(24, attributes, time, None, Some(set));
    let times = |times: [Option<i64>; 3]| {
        vec![kept(20, times[0], b"a"), kept(21, times[1], b"b"), kept(24, times[2], b"c")]
    };
    let none = times([None; 3]);
    let given = times([Some(5), Some(6), Some(9)]);
    let written = times([Some(99); 3]);
    let gzip = |bytes: &[u8]| pack(Codec::Gzip, bytes);
    let snappy = xerial(&[&set(0, Some(5))]);
    let lz4 = pack(Codec::Lz4, &set(20, None));
    let rows = [
        ("magic 0", message(3, 0, None, None, Some(b"v")), vec![kept(3, None, b"v")]),
        ("magic 1", message(3, 0, Some(8), None, Some(b"v")), vec![kept(3, Some(8), b"v")]),
        ("no time", message(3, 0, Some(-1), None, Some(b"v")), vec![kept(3, None, b"v")]),
        ("magic 0 in gzip", outer(1, None, &gzip(&set(20, None))), none.clone()),
        ("magic 0 in lz4", outer(3, None, &lz4), none),
        ("magic 1 in gzip", outer(1, Some(99), &gzip(&set(0, Some(5)))), given.clone()),
        ("magic 1 in snappy", outer(2, Some(99), &snappy), given.clone()),
        ("magic 1 from another number on", outer(1, Some(99), &gzip(&set(3, Some(5)))), given),
        ("magic 1 with the broker's time", outer(9, Some(99), &gzip(&set(0, Some(5)))), written),
        ("no messages", outer(1, Some(99), &gzip(b"")), vec![]),
    ];
    for (name, bytes, expected) in rows {
        let batch = Batches::new(&bytes).next().unwrap().unwrap();
        assert!(batch.base_offset.is_none() == batch.codec().is_some(), "{name}");
        assert!([3, 24].contains(&batch.last_offset), "{name}");
        assert_eq!(read(&bytes), Ok(expected), "{name}");
    }
    let all = [&made[..], &Made::of(&[record(0, None, None)]).bytes()].concat();
    let offsets: Vec<_> = read(&all).unwrap().iter().map(|record| record.offset).collect();
    assert_eq!(offsets, [7, 100]);
}
