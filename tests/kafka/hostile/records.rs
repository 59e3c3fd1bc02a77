//! Lies about records.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::fetch_request::FetchPartition;
use kafka_protocol::messages::fetch_response::{
    AbortedTransaction, EpochEndOffset, FetchResponse, LeaderIdAndEpoch, NodeEndpoint,
    PartitionData,
};
use kafka_protocol::messages::{ApiKey, BrokerId, ProducerId};
use sift_harness::hostile::batches::{
    ATTRIBUTES, Batch, CHECKSUM, COUNT, LAST_DELTA, PRODUCER, Packed, checked, record, varint,
};
use sift_harness::hostile::{COMMITTED, END, Scenario, TYPE, log};

use super::lie::{Counts, Lie, Must, lie_to_reader, text};
use super::replies::of_frames_of;

pub(super) fn of_fetch_frames() -> Vec<Lie> {
    of_frames_of("records", ApiKey::Fetch, Counts::Type)
}

/// Bends what is said of each partition.
pub(super) fn each(
    bend: impl Fn(&FetchPartition, &mut PartitionData) + Send + Sync + 'static,
) -> Scenario {
    Scenario::Fetch(Arc::new(move |request, reply| {
        for (asked, told) in request.topics.iter().zip(&mut reply.responses) {
            for (asked, told) in asked.partitions.iter().zip(&mut told.partitions) {
                bend(asked, told);
            }
        }
    }))
}

/// Bends the records of each partition, where there are some.
pub(super) fn records(bend: impl Fn(Bytes) -> Bytes + Send + Sync + 'static) -> Scenario {
    each(move |_, told| {
        if let Some(bytes) = told.records.take_if(|bytes| !bytes.is_empty()) {
            told.records = Some(bend(bytes));
        }
    })
}

/// Bends the reply as a whole.
pub(super) fn whole(bend: impl Fn(&mut FetchResponse) + Send + Sync + 'static) -> Scenario {
    Scenario::Fetch(Arc::new(move |_, reply| bend(reply)))
}

/// Overwrites what is at a place of the first batch, whose checksum is made to fit again.
pub(super) fn overwritten(at: usize, with: &'static [u8]) -> Scenario {
    records(move |bytes| {
        let mut bytes = bytes.to_vec();
        bytes[at..at + with.len()].copy_from_slice(with);
        checked(bytes)
    })
}

/// Says that the first partition holds these bytes from where the group has committed on, and then
/// nothing.
fn holding(bytes: &Bytes) -> Scenario {
    let bytes = bytes.clone();
    each(move |asked, told| {
        if asked.partition == 0 {
            let is_there = asked.fetch_offset <= COMMITTED;
            told.records = Some(if is_there { bytes.clone() } else { Bytes::new() });
        }
    })
}

/// What can be wrong around the records.
pub(super) fn of_fetches() -> Vec<Lie> {
    use Must::{Fail, FailOrTell, Name, Say, Tell};
    fn partitions(reply: &mut FetchResponse) -> &mut Vec<PartitionData> {
        &mut reply.responses[0].partitions
    }
    let of = |name: &str, must, scenario| lie_to_reader(&format!("fetch: {name}"), must, scenario);
    let errors: [(i16, Must); 16] = [
        (i16::MIN, Fail),
        (-1, Fail),
        (1, Fail),
        (2, Fail),
        (3, Fail),
        (5, Fail),
        (6, Fail),
        (9, Fail),
        (29, Name("TOPIC_AUTHORIZATION_FAILED")),
        (56, Fail),
        (74, Fail),
        (76, Fail),
        (78, Fail),
        (100, Fail),
        (103, Fail),
        (999, Fail),
    ];
    let mut lies: Vec<Lie> = errors
        .into_iter()
        .flat_map(|(code, must)| {
            let partition = each(move |_, told| told.error_code = code);
            let empty = each(move |_, told| {
                (told.error_code, told.records) = (code, None);
                (told.high_watermark, told.last_stable_offset) = (-1, -1);
            });
            let all = whole(move |reply| reply.error_code = code);
            let must_all = if code == 29 { Fail } else { must };
            [
                of(&format!("error {code} beside records"), must, partition),
                of(&format!("error {code}"), must, empty),
                of(&format!("error {code} of all"), must_all, all),
            ]
        })
        .collect();
    let epoch = |epoch, end| EpochEndOffset::default().with_epoch(epoch).with_end_offset(end);
    lies.extend([
        of(
            "no records, at once, for ever",
            Fail,
            each(|_, told| told.records = Some(Bytes::new())),
        ),
        of("null for records, at once, for ever", Fail, each(|_, told| told.records = None)),
        of("no topic", Fail, whole(|reply| reply.responses.clear())),
        of("no partition", Fail, whole(|reply| partitions(reply).clear())),
        // The others count.
        of("a partition is missing", FailOrTell, whole(|reply| drop(partitions(reply).pop()))),
        of(
            "a partition that was not asked for",
            Fail,
            whole(|reply| {
                partitions(reply)[0].partition_index = 77;
            }),
        ),
        of("a partition of −1", Fail, whole(|reply| partitions(reply)[0].partition_index = -1)),
        of(
            "a partition twice",
            Fail,
            whole(|reply| {
                let again = partitions(reply)[0].clone();
                partitions(reply).push(again);
            }),
        ),
        of(
            "the topic in two parts",
            Tell,
            whole(|reply| {
                let mut part = reply.responses[0].clone();
                part.partitions = partitions(reply).split_off(1);
                reply.responses.push(part);
            }),
        ),
        of(
            "another topic",
            Fail,
            whole(|reply| {
                reply.responses[0].topic_id = uuid::Uuid::from_u128(7);
            }),
        ),
        of("a session", Tell, whole(|reply| reply.session_id = 7)),
        of("another session each time", Tell, {
            let last = AtomicI32::new(0);
            whole(move |reply| reply.session_id = 1 + last.fetch_add(1, Ordering::Relaxed))
        }),
        of("a session that ends at once", Tell, {
            let last = AtomicI32::new(0);
            whole(move |reply| {
                reply.session_id = 7;
                if last.fetch_add(1, Ordering::Relaxed) % 2 == 1 {
                    (reply.error_code, reply.responses) = (70, Vec::new());
                }
            })
        }),
        of("throttled for 24 days", FailOrTell, whole(|reply| reply.throttle_time_ms = i32::MAX)),
        of(
            "throttled for less than nothing",
            FailOrTell,
            whole(|reply| {
                reply.throttle_time_ms = i32::MIN;
            }),
        ),
        of(
            "20,000 brokers",
            FailOrTell,
            whole(|reply| {
                let broker = |id| {
                    NodeEndpoint::default().with_node_id(BrokerId(id)).with_host(text(
                        "a
b",
                    ))
                };
                reply.node_endpoints = (0..20_000).map(broker).collect();
            }),
        ),
        of(
            "another replica is preferred",
            Tell,
            each(|_, told| {
                told.preferred_read_replica = BrokerId(99);
            }),
        ),
        of(
            "the leader is elsewhere",
            Fail,
            each(|_, told| {
                let leader = LeaderIdAndEpoch::default().with_leader_id(BrokerId(99));
                (told.error_code, told.current_leader) = (6, leader.with_leader_epoch(i32::MAX));
            }),
        ),
        of("a log that was cut, beside records", Fail, {
            each(move |_, told| told.diverging_epoch = epoch(0, 3))
        }),
        of("a log that was cut to i64::MAX", Fail, {
            each(move |_, told| {
                (told.diverging_epoch, told.records) = (epoch(i32::MAX, i64::MAX), None);
            })
        }),
        of(
            "watermarks of i64::MIN",
            FailOrTell,
            each(|_, told| {
                (told.high_watermark, told.last_stable_offset) = (i64::MIN, i64::MIN);
                told.log_start_offset = i64::MIN;
            }),
        ),
        of(
            "watermarks of i64::MAX",
            FailOrTell,
            each(|_, told| {
                (told.high_watermark, told.last_stable_offset) = (i64::MAX, i64::MAX);
                told.log_start_offset = i64::MAX;
            }),
        ),
        of(
            "nothing said of transactions",
            Tell,
            each(|_, told| {
                told.aborted_transactions = None;
            }),
        ),
        of(
            "300,000 aborted transactions",
            FailOrTell,
            each(|_, told| {
                let one = |n| {
                    AbortedTransaction::default()
                        .with_producer_id(ProducerId(n))
                        .with_first_offset(n)
                };
                told.aborted_transactions = Some((0..300_000).map(one).collect());
            }),
        ),
        of(
            "an aborted transaction from −1 on",
            Fail,
            each(|_, told| {
                let one = AbortedTransaction::default().with_first_offset(-1);
                told.aborted_transactions = Some(vec![one]);
            }),
        ),
        of(
            "all was aborted",
            Say(0),
            each(|asked, told| {
                let mut batch = Batch::of_types(COMMITTED, [TYPE; (END - COMMITTED) as usize]);
                (batch.attributes, batch.producer) = (0x10, 7);
                if asked.fetch_offset == COMMITTED {
                    told.records = Some(batch.bytes());
                }
                let one = AbortedTransaction::default().with_producer_id(ProducerId(7));
                told.aborted_transactions = Some(vec![one.with_first_offset(0)]);
            }),
        ),
    ]);
    lies
}

/// What can be wrong with a batch whose checksum fits, and with one whose does not.
pub(super) fn of_batches() -> Vec<Lie> {
    use Must::{Fail, FailOrCount, FailOrTell, Name, Tell};
    /// What an error about a batch says before what is wrong with it.
    const HERE: Must = Name(": from offset ");
    let of = |name: &str, must, scenario| lie_to_reader(&format!("batch: {name}"), must, scenario);
    let at =
        |name: &str, must, at: usize, with: &'static [u8]| of(name, must, overwritten(at, with));
    let joined = |first: Bytes, second: Bytes| Bytes::from([first, second].concat());
    let typed = |base| Batch::of_types(base, [TYPE, "b", TYPE, "b", TYPE, "b"]).bytes();
    vec![
        // Offset and length are not covered by the checksum.
        at("from offset −1 on", HERE, 0, &[0xff; 8]),
        at("from offset i64::MIN on", HERE, 0, &[0x80, 0, 0, 0, 0, 0, 0, 0]),
        at("from offset i64::MAX on", HERE, 0, &[0x7f, 255, 255, 255, 255, 255, 255, 255]),
        at("from offset 2^61 on", FailOrTell, 0, &[0x20, 0, 0, 0, 0, 0, 0, 0]),
        at("from offset 100 on", FailOrTell, 0, &[0, 0, 0, 0, 0, 0, 0, 100]),
        at("from offset 1 on, again and again", FailOrTell, 0, &[0, 0, 0, 0, 0, 0, 0, 1]),
        at("a length of 0", HERE, 8, &[0; 4]),
        at("a length of −1", HERE, 8, &[0xff; 4]),
        at("a length of i32::MIN", HERE, 8, &[0x80, 0, 0, 0]),
        at("a length of i32::MAX", HERE, 8, &[0x7f, 0xff, 0xff, 0xff]),
        at("a length of 16 MiB", HERE, 8, &[1, 0, 0, 0]),
        at("a length of 1 MB", Fail, 8, &[0, 0xf, 0, 0]),
        at("a length of 48", HERE, 8, &[0, 0, 0, 48]),
        at("an epoch of −5", Tell, 12, &[0xff, 0xff, 0xff, 0xfb]),
        at("an epoch of i32::MAX", FailOrTell, 12, &[0x7f, 0xff, 0xff, 0xff]),
        at("format 3", HERE, 16, &[3]),
        at("format −1", HERE, 16, &[0xff]),
        at("format 0", HERE, 16, &[0]),
        at("format 1", HERE, 16, &[1]),
        of(
            "a wrong checksum",
            HERE,
            records(|bytes| {
                let mut bytes = bytes.to_vec();
                bytes[CHECKSUM] ^= 1;
                bytes.into()
            }),
        ),
        at("gzip that is none", HERE, ATTRIBUTES, &[0, 1]),
        at("Snappy that is none", HERE, ATTRIBUTES, &[0, 2]),
        at("LZ4 that is none", HERE, ATTRIBUTES, &[0, 3]),
        at("zstd that is none", HERE, ATTRIBUTES, &[0, 4]),
        at("codec 5", HERE, ATTRIBUTES, &[0, 5]),
        at("codec 7", HERE, ATTRIBUTES, &[0, 7]),
        at("the broker's time", Tell, ATTRIBUTES, &[0, 0x08]),
        at("a transaction of nobody", Tell, ATTRIBUTES, &[0, 0x10]),
        // Nobody's markers are passed over: the broker's own way of saying that nothing is there.
        at("all are markers of nobody", Must::Say(0), ATTRIBUTES, &[0, 0x20]),
        of(
            "all are markers",
            HERE,
            records(|bytes| {
                let mut bytes = bytes.to_vec();
                bytes[ATTRIBUTES + 1] = 0x30;
                bytes[PRODUCER..PRODUCER + 8].copy_from_slice(&7_i64.to_be_bytes());
                checked(bytes)
            }),
        ),
        at("flags to come", Tell, ATTRIBUTES, &[0xff, 0xc0]),
        at("a last offset of −1", HERE, LAST_DELTA, &[0xff; 4]),
        at("a last offset before the last one", HERE, LAST_DELTA, &[0, 0, 0, 4]),
        at("a last offset as the first one's", HERE, LAST_DELTA, &[0; 4]),
        at("a last offset past the end", FailOrTell, LAST_DELTA, &[0, 0, 0, 20]),
        at("a last offset of i32::MAX", FailOrTell, LAST_DELTA, &[0x7f, 0xff, 0xff, 0xff]),
        at("times of i64::MIN", Tell, LAST_DELTA + 4, &[0x80, 0, 0, 0, 0, 0, 0, 0]),
        at("a producer of i64::MAX", Tell, PRODUCER, &[0x7f, 255, 255, 255, 255, 255, 255, 255]),
        at("no records", HERE, COUNT, &[0; 4]),
        at("a record less", HERE, COUNT, &[0, 0, 0, 5]),
        at("a record more", FailOrTell, COUNT, &[0, 0, 0, 7]),
        at("−1 records", HERE, COUNT, &[0xff; 4]),
        at("i32::MAX records", FailOrTell, COUNT, &[0x7f, 0xff, 0xff, 0xff]),
        of("half of it", Fail, records(|bytes| bytes.slice(..bytes.len() / 2))),
        of("a byte of it", Fail, records(|bytes| bytes.slice(..1))),
        of(
            "and half of the next",
            Tell,
            records(move |bytes| {
                let next = typed(END);
                joined(bytes, next.slice(..next.len() / 2))
            }),
        ),
        // What came before counts.
        of(
            "and garbage",
            FailOrTell,
            records(move |bytes| joined(bytes, Bytes::from_static(&[0xa5; 200]))),
        ),
        of("all of it twice", Tell, records(move |bytes| joined(bytes.clone(), bytes))),
        of("and one that overlaps", FailOrCount, records(move |bytes| joined(bytes, typed(6)))),
        of("and one from before", Tell, records(move |bytes| joined(bytes, log(0)))),
        of(
            "all from before",
            Fail,
            each(|asked, told| {
                if asked.fetch_offset == COMMITTED {
                    let before = Batch::of_types(0, [TYPE; COMMITTED as usize]);
                    told.records = Some(before.bytes());
                }
            }),
        ),
        of(
            "the same for ever",
            FailOrTell,
            each(|_, told| {
                (told.error_code, told.records) = (0, Some(log(COMMITTED)));
            }),
        ),
        of(
            "offsets without end",
            FailOrCount,
            each(|asked, told| {
                let batch = Batch::of_types(asked.fetch_offset, [TYPE; 6]);
                (told.error_code, told.records) = (0, Some(batch.bytes()));
            }),
        ),
        of(
            "steps of 2^31 without end",
            FailOrCount,
            each(|asked, told| {
                let mut batch = Batch::of_types(asked.fetch_offset, [TYPE]);
                batch.last_delta = i32::MAX;
                (told.error_code, told.records) = (0, Some(batch.bytes()));
            }),
        ),
        of("4 MiB of nothing", HERE, holding(&vec![0; 4 << 20].into())),
        of("16,000 batches without records", FailOrTell, {
            let empty = |n| {
                let batch = Batch::of_records(COMMITTED + n, 0, Bytes::new());
                Batch { last_delta: 0, ..batch }.bytes()
            };
            let mut all: Vec<u8> = (0..16_000).flat_map(empty).collect();
            all.extend_from_slice(&typed(COMMITTED + 16_000));
            holding(&all.into())
        }),
    ]
}

/// What can be wrong with records in a batch that is right.
pub(super) fn of_records() -> Vec<Lie> {
    use Must::{Fail, FailOrTell, Name};
    const HERE: Must = Name("from offset 4 of partition 0 on");
    let of = |name: &str, must, count, body: &[&[u8]]| {
        let batch = Batch::of_records(COMMITTED, count, body.concat().into());
        let batch = Batch { last_delta: 5, ..batch };
        lie_to_reader(&format!("record: {name}"), must, holding(&batch.bytes()))
    };
    let a = |delta| record(delta, TYPE, b"{}");
    let number = |value| {
        let mut bytes = BytesMut::new();
        varint(&mut bytes, value);
        bytes.freeze()
    };
    // One that is right, but for what follows attributes, time and offset.
    let with = |rest: &[u8]| {
        let body = [&[0, 0, 0], rest].concat();
        [&number(body.len() as i64)[..], &body].concat()
    };
    let headers = [
        &[1, 1],
        &number(400_001)[..],
        &[2, b'a', 0].repeat(400_000),
        &[14],
        b"ce_type",
        &[2],
        TYPE.as_bytes(),
    ]
    .concat();
    vec![
        of("offsets that stand still", Name("from offset 5"), 2, &[&a(0), &a(0)]),
        of("offsets that go back", Name("from offset 6"), 3, &[&a(0), &a(1), &a(0)]),
        of("an offset past the last one", Name("from offset 5"), 2, &[&a(0), &a(6)]),
        of("an offset of −1", HERE, 1, &[&a(-1)]),
        of("an offset of i32::MAX", HERE, 1, &[&a(i32::MAX)]),
        of("an offset of i32::MIN", HERE, 1, &[&a(i32::MIN)]),
        of("a length of 0", HERE, 1, &[&[0]]),
        of("a length of −1", HERE, 1, &[&number(-1), &a(0)]),
        of("a length of i32::MAX", HERE, 1, &[&number(i32::MAX.into()), &a(0)]),
        of("a length of 40 MB", HERE, 1, &[&number(40 << 20), &a(0)]),
        of("a length of 20 MB", HERE, 1, &[&number(20 << 20), &a(0)]),
        of("a number that does not end", HERE, 1, &[&[0xff; 40]]),
        of("a key past the end", HERE, 1, &[&with(&[0x7e, 0, 0])]),
        of("a key of −2", HERE, 1, &[&with(&[3, 0, 0])]),
        of("a value of i32::MAX", HERE, 1, &[&with(&[1, 0xfe, 0xff, 0xff, 0xff, 0xf, 0])]),
        of("−1 headers", HERE, 1, &[&with(&[1, 1, 1])]),
        of("i32::MAX headers", HERE, 1, &[&with(&[1, 1, 0xfe, 0xff, 0xff, 0xff, 0xf])]),
        of("a header without a name", HERE, 1, &[&with(&[1, 1, 2, 1, 0])]),
        of("a header past the end", HERE, 1, &[&with(&[1, 1, 2, 2, b'a', 0x7e])]),
        of("more after the headers", HERE, 1, &[&with(&[1, 1, 2, 2, b'a', 0, 9, 9])]),
        // The last of them is the type.
        of("400,000 headers", FailOrTell, 1, &[&with(&headers)]),
        of("40,000 records where 1 is told", Fail, 1, &[&a(0).repeat(40_000)]),
    ]
}

/// What comes to far more than it takes.
pub(super) fn of_bombs() -> Vec<Lie> {
    use Must::{FailOrCount, FailOrTell, Name};
    const HERE: Must = Name("from offset 4 of partition 0 on");
    // Each byte would be a record.
    let nothing = vec![0; 300 << 20];
    // As long as a record may be, and each of those that wait.
    let value = vec![b'x'; 30 << 20];
    let types = [TYPE, "b", TYPE, "b", TYPE, "b"];
    let large = (0..).zip(types).map(|(delta, of)| record(delta, of, &value));
    let large = large.collect::<Vec<_>>().concat();
    let too_large = record(0, TYPE, &vec![b'x'; 40 << 20]);
    let mut lies = Vec::new();
    for codec in Packed::ALL {
        let batch = |count, body: &[u8]| {
            let batch = Batch::of_records(COMMITTED, count, codec.pack(body));
            Batch { last_delta: 5, attributes: codec.attribute(), ..batch }.bytes()
        };
        let mut of = |name: &str, must, bytes: &Bytes| {
            lies.push(lie_to_reader(&format!("{codec:?}: {name}"), must, holding(bytes)));
        };
        of("300 MB of nothing", HERE, &batch(6, &nothing));
        of("records of 30 MB", FailOrTell, &batch(6, &large));
        of("a record of 40 MB", HERE, &batch(1, &too_large));
        of("nothing at all", HERE, &batch(6, &[]));
        // On a busy machine the first record may be all that is known in time.
        of("more than is told", FailOrCount, &batch(1, &large[..value.len() + 4096]));
        let whole = batch(6, &large[..100_000]);
        of("half of it", HERE, &checked(with_size(&whole[..whole.len() / 2])));
        let batch = Batch { count: 6, ..Batch::of_records(COMMITTED, 6, Bytes::new()) };
        let twice = Batch { body: codec.pack(&codec.pack(&large[..value.len()])), ..batch };
        let twice = Batch { attributes: codec.attribute(), ..twice };
        of("packed twice", HERE, &twice.bytes());
    }
    lies
}

/// A batch that states how long it is.
fn with_size(batch: &[u8]) -> Vec<u8> {
    let mut batch = batch.to_vec();
    let length = batch.len() as u32 - 12;
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    batch
}
