//! No bytes make reading panic, and none make it take much memory.

use proptest::prelude::*;
use proptest::sample::Index;

use super::super::decompress::Stream;
use super::super::window::KEPT_BYTES;
use super::*;

/// What reading any of these may keep: a record of the samples is short.
const HELD_BYTES: usize = 512 * 1024;

/// Good batches in every form, with their bodies unchecked: a checksum is made of what is changed.
fn samples() -> Vec<Made> {
    let header = [varint(1), sized(Some(b"ce_type")), sized(Some(b"made"))].concat();
    let records: Vec<_> = (0..40)
        .map(|delta| {
            with_headers(delta, Some(b"key"), Some(&[delta.to_le_bytes()[0]; 90]), &header)
        })
        .collect();
    let mut samples = vec![Made::of(&records)];
    samples.extend(CODECS.map(|codec| Made::packed(codec, &records)));
    let body = records.concat();
    let blocks: Vec<_> = body.chunks(1_000).collect();
    samples.push(Made { attributes: 2, body: xerial(&blocks), ..Made::of(&records) });
    samples
}

/// Sets of old messages, compressed, before they are in a message.
fn legacy_samples() -> Vec<(i8, Option<i64>, Vec<u8>)> {
    let samples = [None, Some(5)].map(|time| {
        let set: Vec<_> =
            (0..20).flat_map(|at| message(at, 0, time, None, Some(&[9; 50]))).collect();
        [Codec::Gzip, Codec::Snappy, Codec::Lz4]
            .map(|codec| (i8::try_from(number(codec)).unwrap(), time, pack(codec, &set)))
    });
    samples.concat()
}

fn holds_little(bytes: &[u8]) -> Result<(), TestCaseError> {
    let mut scratch = Scratch::default();
    let (mut last, mut all) = (None, true);
    let heads = Heads::of(bytes);
    for batch in Batches::new(bytes) {
        let Ok(batch) = batch else {
            all = false;
            break;
        };
        let (next, leader_epoch) = (batch.last_offset + 1, batch.leader_epoch);
        last = Some(Heads { next, leader_epoch });
        let mut before = None;
        let read = batch.for_each(&mut scratch, |record| {
            assert!(before.is_none_or(|before| before < record.offset));
            assert!(record.offset <= batch.last_offset);
            before = Some(record.offset);
            let walked = record.each_header(&mut |_, _| ());
            assert!(walked.is_ok() || record.header("ce_type").is_err());
            ControlFlow::Continue(())
        });
        if let Err(error) = read {
            prop_assert!(error.to_string().len() <= 200);
        }
        prop_assert!(scratch.held() <= HELD_BYTES, "{}", scratch.held());
        let marker = batch.marker(&mut scratch);
        prop_assert!(marker != Ok(Some(Marker::Other)) || batch.is_control());
    }
    if all {
        prop_assert_eq!(heads.ok(), last, "the heads say what the batches say");
    }
    Ok(())
}

fn edits() -> impl Strategy<Value = Vec<(Index, u8)>> {
    prop::collection::vec((any::<Index>(), any::<u8>()), 1..8)
}

fn edit(bytes: &mut Vec<u8>, edits: &[(Index, u8)], cut: &Option<Index>) {
    for (at, byte) in edits {
        let at = at.index(bytes.len());
        bytes[at] = *byte;
    }
    if let Some(cut) = cut {
        bytes.truncate(cut.index(bytes.len()));
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        magic in 0..3_u8,
    ) {
        holds_little(&bytes)?;
        let mut bytes = bytes;
        // A length and a format that fit, so that more is looked at.
        if let Some(size) = bytes.len().checked_sub(12).filter(|size| *size > 4) {
            bytes[..8].copy_from_slice(&7_u64.to_be_bytes());
            bytes[8..12].copy_from_slice(&u32::try_from(size).unwrap().to_be_bytes());
            bytes[16] = magic;
            holds_little(&bytes)?;
        }
    }

    #[test]
    fn any_body_is_read_or_refused(
        body in prop::collection::vec(any::<u8>(), 0..300),
        attributes in 0..64_i16,
        count in 0..50_i32,
    ) {
        let made = Made { attributes, count, last_delta: 9, body: body.clone(), ..Made::of(&[]) };
        holds_little(&made.bytes())?;
        let attributes = i8::try_from(attributes & 7).unwrap();
        holds_little(&message(9, attributes, Some(5), None, Some(&body)))?;
    }

    #[test]
    fn a_changed_batch_is_read_or_refused(
        edits in edits(),
        cut in prop::option::of(any::<Index>()),
    ) {
        for sample in samples() {
            let mut made = sample.clone();
            edit(&mut made.body, &edits, &cut);
            holds_little(&made.bytes())?;
            let mut bytes = sample.bytes();
            edit(&mut bytes, &edits, &cut);
            holds_little(&bytes)?;
        }
        for (attributes, time, mut set) in legacy_samples() {
            edit(&mut set, &edits, &cut);
            holds_little(&message(25, attributes, time, None, Some(&set)))?;
        }
    }

    #[test]
    fn a_changed_batch_is_compressed_again_and_read_or_refused(edits in edits()) {
        let mut body = samples().swap_remove(0).body;
        edit(&mut body, &edits, &None);
        let plain = Made { body: body.clone(), ..Made::of(&vec![vec![]; 40]) };
        let expected = read(&plain.bytes());
        for codec in CODECS {
            let attributes = number(codec);
            let made = Made { attributes, body: pack(codec, &body), ..plain.clone() };
            match (read(&made.bytes()), &expected) {
                // Without an end of its own the rest is not counted to the end.
                (Err(BatchError::Trailing { .. }), Err(BatchError::Trailing { .. })) => {}
                (read, expected) => prop_assert_eq!(&read, expected, "{}", codec),
            }
        }
    }
}

/// Decompresses all, and drops it at once; and what was held at most.
fn drained(codec: Codec, body: &[u8]) -> (Result<usize, BatchError>, usize) {
    let mut scratch = Scratch::default();
    let mut bytes = 0;
    let drained = {
        let (mut stream, window) = Stream::open(codec, body, &mut scratch);
        loop {
            let more = stream.fill(window);
            bytes += window.filled().len();
            window.consume(usize::MAX);
            match more {
                Ok(true) => {}
                Ok(false) => break Ok(bytes),
                Err(error) => break Err(error),
            }
        }
    };
    (drained, scratch.held())
}

#[test]
fn no_more_comes_out_than_may() {
    let zeros = vec![0; 4 * 1024 * 1024];
    let frame = pack(Codec::Gzip, &zeros);
    // 128 KiB from each block of four bytes.
    let mut blocks = vec![0x28, 0xb5, 0x2f, 0xfd, 0, 0x38];
    for _ in 0..1_000 {
        blocks.extend([0x02, 0, 0x10, 7]);
    }
    blocks.extend([1, 0, 0]);
    let block = pack(Codec::Snappy, &zeros);
    let mut framed = xerial(&[]);
    for _ in 0..65 {
        framed.extend(u32::try_from(block.len()).unwrap().to_be_bytes());
        framed.extend(&block);
    }
    let lz4 = lz4_frame(0x60, 7, vec![&zeros[..]; 65]);
    let gzip = frame.repeat(65);
    let rows = [
        (Codec::Gzip, gzip, MAX_BATCH, 64 * 1024),
        (Codec::Snappy, framed, MAX_BATCH, zeros.len()),
        (Codec::Lz4, lz4, MAX_BATCH, zeros.len()),
        (Codec::Zstd, blocks.clone(), 8 * 1024 * 1024 + 1_100 * blocks.len(), 64 * 1024),
    ];
    for (codec, body, max, most) in rows {
        let (read, held) = drained(codec, &body);
        assert_eq!(read, Err(BatchError::Bomb { codec, bytes: body.len(), max }));
        assert!(held <= most, "{codec}: {held}");
    }
    let (read, _) = drained(Codec::Lz4, &lz4_frame(0x60, 7, vec![&zeros[..]; 64]));
    assert_eq!(read, Ok(MAX_BATCH));
}

#[test]
fn what_a_long_record_takes_is_given_back() {
    let long = vec![7; MAX_RECORD - 100];
    for codec in CODECS {
        let bytes = Made::packed(codec, &[record(0, None, Some(&long))]).bytes();
        let batch = Batches::new(&bytes).next().unwrap().unwrap();
        let mut scratch = Scratch::default();
        let mut seen = 0;
        let read = batch.for_each(&mut scratch, |record| {
            seen = record.value.map_or(0, <[u8]>::len);
            ControlFlow::Continue(())
        });
        match codec {
            // More comes out of the few bytes than may, where a codec is as good as that.
            Codec::Gzip | Codec::Zstd if matches!(read, Err(BatchError::Bomb { .. })) => {}
            _ => assert_eq!((read, seen), (Ok(()), long.len()), "{codec}"),
        }
        assert!(scratch.held() <= KEPT_BYTES, "{codec}");
    }
}
