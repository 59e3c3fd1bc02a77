//! Is there a reply to any request, in any version, that makes decoding panic, hang, or take memory
//! beyond its size?

#![no_main]

use std::alloc::System;
use std::hint::black_box;
use std::time::Duration;

use keda_sift_fuzz::kafka::names::{Group, Topic};
use keda_sift_fuzz::kafka::wire::requests::{
    ApiVersions, DescribeConfigs, Fetch, FetchPartition, FetchSession, FetchTopic, FindCoordinator,
    GroupQuestion, Isolation, ListOffsets, Metadata, OffsetFetch, PartitionPosition, Position,
    SaslAuthenticate, SaslHandshake, ShareGroupDescribe,
};
use keda_sift_fuzz::kafka::wire::{Request, correlation_id, decode_frame};
use libfuzzer_sys::fuzz_target;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

/// Counts what decoding takes: libFuzzer counts only where a sanitizer is linked.
#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// What a question may take, whatever the reply: its places for answers, and a map of them.
const QUESTION_BYTES: usize = 2 * 1024;

/// Bytes that decoding may take in all for each byte of the reply.
const PER_BYTE: usize = 16;

fuzz_target!(|input: &[u8]| {
    let Some(([request, version], payload)) = input.split_first_chunk() else { return };
    let _ = correlation_id(payload);
    let topics = || vec![Topic::from("a"), Topic::from("bb")];
    let groups = || ["g", "hh"].map(Group::from);
    match request % 11 {
        0 => decode(&Metadata { topics: topics() }, *version, payload),
        1 => decode(&FindCoordinator { groups: groups().into() }, *version, payload),
        2 => {
            let named = topics().into_iter().map(|topic| (topic, vec![0, 1, 2])).collect();
            offset_fetch(groups(), Some(named), *version, payload);
        }
        3 => offset_fetch(groups(), None, *version, payload),
        4 => {
            let position = |partition| PartitionPosition {
                partition,
                leader_epoch: None,
                position: Position::Latest,
            };
            let named = |topic| (topic, [0, 1, 2].map(position).into());
            let topics = topics().into_iter().map(named).collect();
            decode(&ListOffsets { isolation: Isolation::ReadCommitted, topics }, *version, payload);
        }
        5 => {
            let request = DescribeConfigs { topics: topics(), setting: "x" };
            decode(&request, *version, payload);
        }
        6 => decode(&ApiVersions, *version, payload),
        7 => decode(&SaslHandshake { mechanism: "PLAIN".to_owned() }, *version, payload),
        8 => fetch(*version, payload),
        9 => decode(&ShareGroupDescribe { groups: groups().into() }, *version, payload),
        _ => decode(&SaslAuthenticate { auth_bytes: vec![0; 4].into() }, *version, payload),
    }
});

fn fetch(version: u8, payload: &[u8]) {
    let partition = |partition| FetchPartition {
        partition,
        leader_epoch: None,
        fetch_offset: 0,
        last_fetched_epoch: None,
        max_bytes: 1,
    };
    let topics = [("a", 0), ("bb", 1)].map(|(name, id)| FetchTopic {
        name: Topic::from(name),
        id: Some([id; 16]),
        partitions: [0, 1, 2].map(partition).into(),
    });
    let request = Fetch {
        max_wait: Duration::ZERO,
        min_bytes: 1,
        max_bytes: 1,
        isolation: Isolation::ReadCommitted,
        session: FetchSession::NONE,
        topics: topics.into(),
        forgotten: Vec::new(),
        in_session: None,
    };
    decode(&request, version, payload);
}

fn offset_fetch(
    groups: [Group; 2],
    topics: Option<Vec<(Topic, Vec<i32>)>>,
    version: u8,
    payload: &[u8],
) {
    let questions = groups.map(|group| GroupQuestion { group, topics: topics.clone() });
    for groups in [&questions[..], &questions[..1]] {
        let request = OffsetFetch { groups: groups.to_vec(), require_stable: true };
        decode(&request, version, payload);
    }
}

fn decode<R: Request>(request: &R, version: u8, payload: &[u8]) {
    let versions = R::KEY.versions();
    let spoken = i16::try_from(versions.clone().count()).unwrap();
    let version = versions.start() + i16::from(version) % spoken;
    let region = Region::new(ALLOCATOR);
    let decoded = black_box(decode_frame(request, version, payload));
    let taken = region.change().bytes_allocated;
    assert!(taken <= QUESTION_BYTES + PER_BYTE * payload.len(), "{} {version}: {taken}", R::KEY);
    // An error's text is made of the broker's bytes.
    if let Err(error) = decoded {
        assert!(error.to_string().len() <= 200);
    }
}
