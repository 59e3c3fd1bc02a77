//! Records are aborted from a transaction's first offset to its marker.

use super::*;
use crate::kafka::wire::requests::AbortedTransaction;

const TRANSACTIONAL: i16 = 0x10;
const CONTROL: i16 = 0x20;

/// Two records of a producer from this offset on.
fn data(base: i64, producer: i64) -> Made {
    let records = [record(0, None, None), record(1, None, None)];
    Made { base, producer, attributes: TRANSACTIONAL, ..Made::of(&records) }
}

/// A producer's marker at this offset.
fn marker(base: i64, producer: i64, key: &[u8]) -> Made {
    let records = [record(0, Some(key), Some(&[0; 6]))];
    Made { base, producer, attributes: TRANSACTIONAL | CONTROL, ..Made::of(&records) }
}

const ABORT: &[u8] = &[0, 0, 0, 0];
const COMMIT: &[u8] = &[0, 0, 0, 1];

#[test]
fn a_transaction_is_aborted_up_to_its_marker() {
    let plain = |base, producer| Made { attributes: 0, ..data(base, producer) };
    let compacted = |base| Made { count: 0, body: vec![], ..marker(base, 1, ABORT) };
    let packed = {
        let body = pack(Codec::Lz4, &record(0, Some(ABORT), None));
        Made { body, attributes: TRANSACTIONAL | CONTROL | 3, ..marker(4, 1, ABORT) }
    };
    let rows = [
        ("nothing listed", vec![], vec![data(0, 1), marker(2, 1, COMMIT)], vec![false, false]),
        (
            "aborted",
            vec![(1, 0)],
            vec![data(0, 1), data(2, 1), marker(4, 1, ABORT), data(5, 1)],
            vec![true, true, false, false],
        ),
        (
            "a compressed marker",
            vec![(1, 0)],
            vec![data(0, 1), data(2, 1), packed, data(5, 1)],
            vec![true, true, false, false],
        ),
        (
            "aborted, committed, aborted",
            vec![(1, 6), (1, 0)],
            vec![
                data(0, 1),
                marker(2, 1, ABORT),
                data(3, 1),
                marker(5, 1, COMMIT),
                data(6, 1),
                marker(8, 1, ABORT),
            ],
            vec![true, false, false, false, true, false],
        ),
        (
            "two producers, one of them aborted",
            vec![(2, 2)],
            vec![data(0, 1), data(2, 2), data(4, 1), marker(6, 2, ABORT), data(7, 2)],
            vec![false, true, false, false, false],
        ),
        (
            "another producer's marker",
            vec![(1, 0)],
            vec![data(0, 1), marker(2, 2, ABORT), data(3, 1)],
            vec![true, false, true],
        ),
        (
            "begun before what was asked for",
            vec![(1, 5)],
            vec![data(100, 1), marker(102, 1, ABORT)],
            vec![true, false],
        ),
        ("begun within the batch", vec![(1, 1)], vec![data(0, 1)], vec![true]),
        ("begun after the batch", vec![(1, 2)], vec![data(0, 1), data(2, 1)], vec![false, true]),
        (
            "no transaction of the producer's",
            vec![(1, 0)],
            vec![plain(0, 1), plain(2, -1)],
            vec![false, false],
        ),
        (
            "a marker that was compacted away",
            vec![(1, 0)],
            vec![data(0, 1), compacted(2), data(3, 1)],
            vec![true, false, true],
        ),
        (
            "a marker of something else",
            vec![(1, 0)],
            vec![data(0, 1), marker(2, 1, &[0, 0, 0, 2, 9]), data(3, 1)],
            vec![true, false, true],
        ),
    ];
    for (name, listed, batches, expected) in rows {
        let listed = listed
            .into_iter()
            .map(|(producer_id, first_offset)| AbortedTransaction { producer_id, first_offset });
        let mut aborted = Aborted::new(listed.collect());
        let bytes: Vec<u8> = batches.iter().flat_map(Made::bytes).collect();
        let mut scratch = Scratch::default();
        let judged: Result<Vec<_>, _> = Batches::new(&bytes)
            .map(|batch| aborted.is_aborted(&batch.unwrap(), &mut scratch))
            .collect();
        assert_eq!(judged, Ok(expected), "{name}");
    }
}

#[test]
fn a_marker_says_what_it_is() {
    let rows = [
        ("abort", marker(0, 1, ABORT), Ok(Some(Marker::Abort))),
        ("commit", marker(0, 1, COMMIT), Ok(Some(Marker::Commit))),
        ("a later version", marker(0, 1, &[0, 7, 0, 1, 9, 9]), Ok(Some(Marker::Commit))),
        ("a new leader", marker(0, 1, &[0, 0, 0, 2]), Ok(Some(Marker::Other))),
        ("a version below zero", marker(0, 1, &[0xff, 0xff, 0, 1]), Err(BatchError::Control)),
        ("a short key", marker(0, 1, &[0, 0, 0]), Err(BatchError::Control)),
        ("records", data(0, 1), Ok(None)),
    ];
    for (name, made, expected) in rows {
        let bytes = made.bytes();
        let batch = Batches::new(&bytes).next().unwrap().unwrap();
        assert_eq!(batch.marker(&mut Scratch::default()), expected, "{name}");
    }
}
