//! Lies about what is asked.

use kafka_protocol::messages::metadata_response::{
    MetadataResponse, MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::share_group_describe_response::Member;
use kafka_protocol::messages::{
    ApiKey, ApiVersionsResponse, BrokerId, FindCoordinatorResponse, ListOffsetsResponse,
    OffsetFetchResponse, ShareGroupDescribeResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use sift_harness::hostile::{Login, NULL, PARTITIONS, Scenario};

use super::lie::{Counts, Lie, Must, Way, lie, lie_on, text, topic_name};

/// Bends what is said of the topic, where something is: a client may ask for the brokers alone.
fn topic(reply: &mut MetadataResponse, bend: impl Fn(&mut MetadataResponseTopic)) {
    reply.topics.iter_mut().take(1).for_each(bend);
}

/// Likewise of its partitions.
fn partitions(reply: &mut MetadataResponse, bend: impl Fn(&mut Vec<MetadataResponsePartition>)) {
    topic(reply, |topic| bend(&mut topic.partitions));
}

/// So many brokers, all at the address of the first.
fn brokers(reply: &mut MetadataResponse, count: i32) {
    let first = reply.brokers[0].clone();
    reply.brokers.extend(
        (2..=count).map(|id| MetadataResponseBroker::clone(&first).with_node_id(BrokerId(id))),
    );
}

/// Sets the error of every partition of the start and end offsets.
fn list_error(reply: &mut ListOffsetsResponse, code: i16) {
    for partition in reply.topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
        partition.error_code = code;
    }
}

fn list_offset(reply: &mut ListOffsetsResponse, offset: impl Fn(i64) -> i64) {
    for partition in reply.topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
        partition.offset = offset(partition.offset);
    }
}

/// Does the same to the offsets of either form of the reply.
fn committed(reply: &mut OffsetFetchResponse, offset: i64, code: i16) {
    for partition in reply.topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
        (partition.committed_offset, partition.error_code) = (offset, code);
    }
    let groups = reply.groups.iter_mut().flat_map(|group| &mut group.topics);
    for partition in groups.flat_map(|topic| &mut topic.partitions) {
        (partition.committed_offset, partition.error_code) = (offset, code);
    }
}

/// Sets where the coordinator is, in either form of the reply.
fn coordinator(
    reply: &mut FindCoordinatorResponse,
    id: i32,
    host: &'static str,
    port: i32,
    code: i16,
) {
    (reply.node_id, reply.host, reply.port, reply.error_code) =
        (BrokerId(id), text(host), port, code);
    for it in &mut reply.coordinators {
        (it.node_id, it.host, it.port, it.error_code) = (BrokerId(id), text(host), port, code);
    }
}

/// Replaces the length before a reply.
fn with_length(mut frame: Vec<u8>, length: u32) -> Vec<u8> {
    frame[..4].copy_from_slice(&length.to_be_bytes());
    frame
}

/// Adds to the correlation id of a reply.
fn with_correlation(mut frame: Vec<u8>, add: u8) -> Vec<u8> {
    frame[7] = frame[7].wrapping_add(add);
    frame
}

/// Adds bytes to a reply, and to its length.
fn with_more(mut frame: Vec<u8>, more: &[u8]) -> Vec<u8> {
    frame.extend_from_slice(more);
    let length = frame.len() as u32 - 4;
    with_length(frame, length)
}

/// Names of 32,000 bytes.
fn long_names() -> impl Iterator<Item = TopicName> {
    (0..400).map(|n| topic_name(&format!("{n:032000}")))
}

/// Every kind of reply that a plain poll by offsets may need.
pub(super) const KINDS: [(&str, ApiKey); 5] = [
    ("versions", ApiKey::ApiVersions),
    ("metadata", ApiKey::Metadata),
    ("offsets", ApiKey::ListOffsets),
    ("coordinator", ApiKey::FindCoordinator),
    ("committed", ApiKey::OffsetFetch),
];

pub(super) fn of_metadata() -> Vec<Lie> {
    use Must::{Fail, FailOrCount, FailOrTell};
    let of =
        |name: &str, must, bend| lie(&format!("metadata: {name}"), must, Scenario::Metadata(bend));
    vec![
        of("a broker without a host", Fail, |it| it.brokers[0].host = text(NULL)),
        of("a broker with an empty host", Fail, |it| it.brokers[0].host = text("")),
        of("a host with a line break", Fail, |it| it.brokers[0].host = text("a\r\nb\u{1b}[31m")),
        of("a host that is a path", Fail, |it| it.brokers[0].host = text("../../etc/passwd")),
        of("port 0", Fail, |it| it.brokers[0].port = 0),
        of("port 70000", Fail, |it| it.brokers[0].port = 70_000),
        of("port −1", Fail, |it| it.brokers[0].port = -1),
        of("a host that refuses", Fail, |it| it.brokers[0].port = 1),
        of("a host that nobody answers at", Fail, |it| it.brokers[0].host = text("192.0.2.1")),
        of("a host without an address", Fail, |it| it.brokers[0].host = text("nowhere.invalid")),
        of("a host of 30,000 bytes", Fail, |it| {
            it.brokers[0].host = StrBytes::from_string("h".repeat(30_000));
        }),
        of("no brokers", Fail, |it| it.brokers.clear()),
        of("2,000 brokers", FailOrTell, |it| brokers(it, 2_000)),
        of("100,000 brokers", FailOrTell, |it| brokers(it, 100_000)),
        of("a broker's id twice", FailOrTell, |it| {
            let mut again = it.brokers[0].clone();
            again.port = 1;
            it.brokers.push(again);
        }),
        of("a broker's id is −1", Fail, |it| it.brokers[0].node_id = BrokerId(-1)),
        of("a leader that is no broker", Fail, |it| {
            partitions(it, |all| all[1].leader_id = BrokerId(99));
        }),
        of("a leader of −7", Fail, |it| partitions(it, |all| all[1].leader_id = BrokerId(-7))),
        of("a leader epoch of −9", FailOrTell, |it| {
            partitions(it, |all| all[0].leader_epoch = -9);
        }),
        of("a topic without a name", Fail, |it| {
            topic(it, |topic| topic.name = Some(topic_name(NULL)));
        }),
        of("a topic with another name", Fail, |it| {
            topic(it, |topic| topic.name = Some(topic_name("others")));
        }),
        of("no topic", Fail, |it| it.topics.clear()),
        of("the topic twice", FailOrTell, |it| it.topics.extend(it.topics.first().cloned())),
        of("the topic twice, differently", FailOrTell, |it| {
            it.topics.extend(it.topics.first().cloned());
            if let Some(last) = it.topics.last_mut() {
                last.partitions.pop();
            }
        }),
        of("no partitions", Fail, |it| partitions(it, Vec::clear)),
        of("a partition of −1", Fail, |it| partitions(it, |all| all[1].partition_index = -1)),
        of("a partition of i32::MIN", Fail, |it| {
            partitions(it, |all| all[1].partition_index = i32::MIN);
        }),
        of("a partition of i32::MAX", Fail, |it| {
            partitions(it, |all| all[1].partition_index = i32::MAX);
        }),
        of("a partition twice", Fail, |it| partitions(it, |all| all[1].partition_index = 0)),
        of("a gap in the partitions", Fail, |it| {
            partitions(it, |all| all[2].partition_index = 3);
        }),
        // It may have as many, and say what waits in each.
        of("300,000 partitions", FailOrCount, |it| {
            partitions(it, |all| {
                let first = all[0].clone();
                all.extend((PARTITIONS..300_000).map(|n| first.clone().with_partition_index(n)));
            });
        }),
        of("a million replicas", FailOrTell, |it| {
            partitions(it, |all| all[0].replica_nodes = (0..1_000_000).map(BrokerId).collect());
        }),
        of("throttled for 24 days", FailOrTell, |it| it.throttle_time_ms = i32::MAX),
        of("throttled for less than nothing", FailOrTell, |it| it.throttle_time_ms = i32::MIN),
        of("error 999 of a topic", Fail, |it| topic(it, |topic| topic.error_code = 999)),
        of("error −32768 of a topic", Fail, |it| topic(it, |topic| topic.error_code = i16::MIN)),
        of("error −1 of a topic", Fail, |it| topic(it, |topic| topic.error_code = -1)),
        of("error 999 of a partition", FailOrTell, |it| {
            partitions(it, |all| all[0].error_code = 999);
        }),
        of("no leader, for ever", Fail, |it| {
            partitions(it, |all| (all[0].leader_id, all[0].error_code) = (BrokerId(-1), 5));
        }),
    ]
}

pub(super) fn of_offsets() -> Vec<Lie> {
    use Must::{Fail, FailOrCount, FailOrTell};
    let of = |name: &str, must, bend| {
        lie(&format!("offsets: {name}"), must, Scenario::ListOffsets(bend))
    };
    vec![
        of("no topic", Fail, |it| it.topics.clear()),
        of("a topic without a name", Fail, |it| it.topics[0].name = topic_name(NULL)),
        of("another topic", Fail, |it| it.topics[0].name = topic_name("others")),
        of("400 more topics with long names", FailOrTell, |it| {
            let more = long_names().map(|name| it.topics[0].clone().with_name(name));
            it.topics.splice(0..0, more.collect::<Vec<_>>());
        }),
        of("the topic a thousand times", FailOrTell, |it| {
            let more = vec![it.topics[0].clone(); 1_000];
            it.topics.extend(more);
        }),
        of("no partitions", Fail, |it| it.topics[0].partitions.clear()),
        of("a partition is missing", Fail, |it| drop(it.topics[0].partitions.pop())),
        of("a partition of −1", Fail, |it| it.topics[0].partitions[0].partition_index = -1),
        of("a partition that was not asked for", Fail, |it| {
            it.topics[0].partitions[0].partition_index = 77;
        }),
        of("a partition twice, differently", FailOrTell, |it| {
            let mut again = it.topics[0].partitions[0].clone();
            again.offset += 5;
            it.topics[0].partitions.push(again);
        }),
        of("offsets of −1", Fail, |it| list_offset(it, |_| -1)),
        of("offsets of −2", Fail, |it| list_offset(it, |_| -2)),
        of("offsets of i64::MIN", Fail, |it| list_offset(it, |_| i64::MIN)),
        of("ends of i64::MAX", FailOrCount, |it| {
            list_offset(it, |offset| if offset > 0 { i64::MAX } else { 0 });
        }),
        of("all are i64::MAX", Fail, |it| list_offset(it, |_| i64::MAX)),
        of("the start is after the end", Fail, |it| {
            list_offset(it, |offset| if offset > 0 { 1 } else { 20 });
        }),
        of("error 999", Fail, |it| list_error(it, 999)),
        of("error −32768", Fail, |it| list_error(it, i16::MIN)),
        of("never the leader", Fail, |it| list_error(it, 6)),
        of("always an old epoch", Fail, |it| list_error(it, 74)),
        of("throttled for 24 days", FailOrTell, |it| it.throttle_time_ms = i32::MAX),
        of("throttled for less than nothing", FailOrTell, |it| it.throttle_time_ms = i32::MIN),
    ]
}

pub(super) fn of_committed() -> Vec<Lie> {
    use Must::{Fail, FailOrTell};
    let of = |name: &str, must, bend| {
        lie(&format!("committed: {name}"), must, Scenario::OffsetFetch(bend))
    };
    vec![
        of("nothing", Fail, |it| {
            it.topics.clear();
            it.groups.clear();
        }),
        of("another group", Fail, |it| {
            for group in &mut it.groups {
                group.group_id.0 = text("others");
            }
            // The older form names no group.
            it.topics.clear();
        }),
        of("a group without a name", Fail, |it| {
            for group in &mut it.groups {
                group.group_id.0 = text(NULL);
            }
            it.topics.clear();
        }),
        of("400 more topics with long names", FailOrTell, |it| {
            for topics in it.groups.iter_mut().map(|group| &mut group.topics) {
                let more = long_names().map(|name| topics[0].clone().with_name(name));
                topics.splice(0..0, more.collect::<Vec<_>>());
            }
        }),
        of("a partition is missing", Fail, |it| {
            for topic in it.groups.iter_mut().flat_map(|group| &mut group.topics) {
                topic.partitions.pop();
            }
            for topic in &mut it.topics {
                topic.partitions.pop();
            }
        }),
        of("a partition twice, differently", FailOrTell, |it| {
            for topic in it.groups.iter_mut().flat_map(|group| &mut group.topics) {
                let again = topic.partitions[0].clone().with_committed_offset(9);
                topic.partitions.push(again);
            }
            for topic in &mut it.topics {
                let again = topic.partitions[0].clone().with_committed_offset(9);
                topic.partitions.push(again);
            }
        }),
        of("offsets of −2", Fail, |it| committed(it, -2, 0)),
        of("offsets of i64::MIN", Fail, |it| committed(it, i64::MIN, 0)),
        of("error 999", Fail, |it| committed(it, 4, 999)),
        of("error −32768", Fail, |it| committed(it, 4, i16::MIN)),
        of("never stable", Fail, |it| committed(it, -1, 88)),
        of("error 999 of the group", Fail, |it| {
            it.error_code = 999;
            it.groups.iter_mut().for_each(|group| group.error_code = 999);
        }),
        of("never the coordinator", Fail, |it| {
            it.error_code = 16;
            it.groups.iter_mut().for_each(|group| group.error_code = 16);
        }),
        of("the coordinator always loads", Fail, |it| {
            it.error_code = 14;
            it.groups.iter_mut().for_each(|group| group.error_code = 14);
        }),
        of("throttled for 24 days", FailOrTell, |it| it.throttle_time_ms = i32::MAX),
        of("throttled for less than nothing", FailOrTell, |it| it.throttle_time_ms = i32::MIN),
    ]
}

pub(super) fn of_coordinators() -> Vec<Lie> {
    use Must::{Fail, FailOrTell};
    let of = |name: &str, must, bend| {
        lie(&format!("coordinator: {name}"), must, Scenario::Coordinator(bend))
    };
    vec![
        of("none at all", Fail, |it| {
            it.coordinators.clear();
            coordinator(it, -1, "", -1, 0);
        }),
        of("−1 at nowhere", Fail, |it| coordinator(it, -1, "", -1, 0)),
        of("an empty host", FailOrTell, |it| coordinator(it, 1, "", 9_092, 0)),
        of("a null host", FailOrTell, |it| coordinator(it, 1, NULL, 9_092, 0)),
        of("a broker that nobody knows", Fail, |it| coordinator(it, 99, "127.0.0.1", 1, 0)),
        of("port 70000", FailOrTell, |it| coordinator(it, 1, "127.0.0.1", 70_000, 0)),
        of("a host that refuses", FailOrTell, |it| coordinator(it, 1, "127.0.0.1", 1, 0)),
        of("a host with a line break", FailOrTell, |it| coordinator(it, 1, "a\nb", 1, 0)),
        of("error 999", Fail, |it| coordinator(it, -1, "", -1, 999)),
        of("error −32768", Fail, |it| coordinator(it, -1, "", -1, i16::MIN)),
        of("not yet, for ever", Fail, |it| coordinator(it, -1, "", -1, 15)),
        of("the key of another group", FailOrTell, |it| {
            it.coordinators.iter_mut().for_each(|it| it.key = text("others"));
        }),
        of("throttled for 24 days", FailOrTell, |it| it.throttle_time_ms = i32::MAX),
    ]
}

/// What is said of whether a group is a share group: that it is makes the poll fail, and whatever
/// cannot be read is as if it were not said.
pub(super) fn of_share_groups() -> Vec<Lie> {
    use Must::{Fail, FailOrTell, Name, Tell};
    fn error(reply: &mut ShareGroupDescribeResponse, code: i16) {
        reply.groups.iter_mut().for_each(|group| group.error_code = code);
    }
    let of = |name: &str, must, bend| {
        let lie = lie(&format!("share groups: {name}"), must, Scenario::ShareGroups(bend));
        Lie { counts: Counts::New, ..lie }
    };
    let mut lies = vec![
        of("it is one", Name("group new is a share group"), |it| error(it, 0)),
        of("it is one of 100,000 members", Name("is a share group"), |it| {
            it.groups[0].error_code = 0;
            it.groups[0].members = vec![Member::default(); 100_000];
        }),
        of("it is one whose topics are hidden", Name("is a share group"), |it| error(it, 29)),
        of("it is hidden", Tell, |it| error(it, 30)),
        of("there are none", Tell, |it| error(it, 35)),
        of("error 999", Tell, |it| error(it, 999)),
        of("error −32768", Tell, |it| error(it, i16::MIN)),
        of("never the coordinator", Fail, |it| error(it, 16)),
        of("the coordinator always loads", Fail, |it| error(it, 14)),
        of("nothing", Fail, |it| it.groups.clear()),
        of("another group", Tell, |it| {
            it.groups[0].error_code = 0;
            it.groups[0].group_id.0 = text("others");
        }),
        of("the group twice, differently", Tell, |it| {
            let again = it.groups[0].clone().with_error_code(0);
            it.groups.push(again);
        }),
        of("throttled for 24 days", FailOrTell, |it| it.throttle_time_ms = i32::MAX),
        of("throttled for less than nothing", Tell, |it| it.throttle_time_ms = i32::MIN),
    ];
    let frames = of_frames_of("share groups", ApiKey::ShareGroupDescribe, Counts::New);
    lies.extend(frames.into_iter().map(|lie| match lie.must {
        Fail => Lie { must: FailOrTell, ..lie },
        _ => lie,
    }));
    lies
}

pub(super) fn of_versions() -> Vec<Lie> {
    use Must::{Fail, FailOrTell};
    fn every(reply: &mut ApiVersionsResponse, min: i16, max: i16) {
        for it in &mut reply.api_keys {
            (it.min_version, it.max_version) = (min, max);
        }
    }
    let of =
        |name: &str, must, bend| lie(&format!("versions: {name}"), must, Scenario::Versions(bend));
    vec![
        of("none", Fail, |it| it.api_keys.clear()),
        of("no ListOffsets", Fail, |it| it.api_keys.retain(|it| it.api_key != 2)),
        of("only ones to come", Fail, |it| every(it, 200, 300)),
        of("the lowest is above the highest", Fail, |it| every(it, 9, 1)),
        of("negative ones", Fail, |it| every(it, -9, -1)),
        of("everything there is", FailOrTell, |it| {
            let more = it.api_keys[0].clone();
            let every = (i16::MIN..=i16::MAX).filter(|key| !(0..100).contains(key));
            it.api_keys.extend(every.map(|key| more.clone().with_api_key(key)));
        }),
        of("each twice", FailOrTell, |it| {
            let again = it.api_keys.clone();
            it.api_keys.extend(again);
        }),
        of("error 999", Fail, |it| it.error_code = 999),
        of("unsupported, for ever", Fail, |it| it.error_code = 35),
        of("throttled for 24 days", FailOrTell, |it| it.throttle_time_ms = i32::MAX),
    ]
}

/// What can be wrong with the replies of any kind.
pub(super) fn of_frames() -> Vec<Lie> {
    KINDS.into_iter().flat_map(|(kind, api)| of_frames_of(kind, api, Counts::Offsets)).collect()
}

pub(super) fn of_frames_of(kind: &str, api: ApiKey, counts: Counts) -> Vec<Lie> {
    use Must::{End, Fail, FailOrTell};
    let mut lies = Vec::new();
    {
        let mut of = |name: &str, must, scenario| {
            let lie = lie(&format!("{kind}: {name}"), must, scenario);
            lies.push(Lie { counts, ..lie });
        };
        let frames = |bend| Scenario::Frames(api, bend);
        of("silence", Fail, Scenario::SilentAt(api));
        of("the connection closed", Fail, Scenario::ClosedAt(api));
        of("a byte a second", Fail, Scenario::Trickled(api));
        of("a reply that stalls", Fail, Scenario::Stalled(api, 15 << 20, 100_000));
        of("a length of 2^31−1", Fail, Scenario::Announced(api, i32::MAX as u32));
        of("a length of 1 GB", Fail, Scenario::Announced(api, 1 << 30));
        of("a negative length", Fail, Scenario::Announced(api, u32::MAX));
        of("a length of 0", Fail, frames(|frame| with_length(frame, 0)));
        of("a length of 3", Fail, frames(|frame| with_length(frame, 3)));
        of(
            "a length too long",
            FailOrTell,
            frames(|frame| {
                let length = frame.len() as u32;
                with_length(frame, length + 10)
            }),
        );
        of(
            "a length too short",
            Fail,
            frames(|frame| {
                let length = frame.len() as u32;
                with_length(frame, length - 5)
            }),
        );
        of("another correlation id", Fail, frames(|frame| with_correlation(frame, 1)));
        of("trailing bytes", FailOrTell, frames(|frame| with_more(frame, &[0xff; 100])));
        of(
            "half of a reply",
            Fail,
            frames(|mut frame| {
                frame.truncate(frame.len() / 2);
                let length = frame.len() as u32 - 4;
                with_length(frame, length)
            }),
        );
        of("a reply too many", FailOrTell, frames(|frame| [frame.clone(), frame].concat()));
        // The next reply, as well as it can be told: a broker may say what its own numbers are.
        of(
            "a reply to come",
            End,
            frames(|frame| [frame.clone(), with_correlation(frame, 1)].concat()),
        );
        of("an empty reply", Fail, frames(|frame| with_length(frame[..8].to_vec(), 4)));
        of("replies out of order", FailOrTell, Scenario::Swapped(api));
    }
    lies
}

pub(super) fn of_connections() -> Vec<Lie> {
    use Must::{Fail, FailOrTell};
    const HTTP: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";
    const ALERT: &[u8] = &[0x15, 3, 3, 0, 2, 2, 40];
    const GARBAGE: &[u8] = &[0xa5; 4_096];
    // A reply to ApiVersions that has not been asked for: its length, its id, and no error.
    const UNASKED: &[u8] = &[0, 0, 0, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let greetings: [(&str, &[u8]); 4] = [
        ("an HTTP answer", HTTP),
        ("a TLS alert", ALERT),
        ("garbage", GARBAGE),
        ("a reply unasked", UNASKED),
    ];
    let mut lies = vec![
        lie("closed at once", Fail, Scenario::Closed),
        lie("silent", Fail, Scenario::Silent),
        lie_on(Way::TlsWanted, "TLS wanted: closed at once", Fail, Scenario::Closed),
        lie_on(Way::TlsWanted, "TLS wanted: silent", Fail, Scenario::Silent),
        lie_on(Way::TlsWanted, "TLS wanted: a broker without", Fail, Scenario::Honest),
        lie_on(Way::Tls, "TLS: closed within", Fail, Scenario::Closed),
        lie_on(Way::Tls, "TLS: silent within", Fail, Scenario::Silent),
        lie("a reply unasked, then honest", FailOrTell, Scenario::GreetingFirst(UNASKED)),
    ];
    for (name, bytes) in greetings {
        for way in [Way::Plaintext, Way::TlsWanted, Way::Tls] {
            lies.push(lie_on(way, &format!("{way:?}: {name}"), Fail, Scenario::Greeting(bytes)));
        }
    }
    lies
}

pub(super) fn of_logins() -> Vec<Lie> {
    use Must::{Fail, FailOrTell};
    let rows = [
        ("other mechanisms", Fail, Login::OtherMechanisms),
        ("success at once", Fail, Login::SuccessAtOnce),
        ("the last word first", Fail, Login::LastFirst),
        ("2^31−1 rounds", Fail, Login::Iterations("2147483647")),
        ("2^64 rounds", Fail, Login::Iterations("18446744073709551616")),
        ("one round", Fail, Login::Iterations("1")),
        ("no round", Fail, Login::Iterations("0")),
        ("−1 rounds", Fail, Login::Iterations("-1")),
        ("many rounds in many digits", Fail, Login::Iterations("4096.5e9")),
        ("a nonce that is not ours", Fail, Login::OtherNonce),
        ("a wrong signature", Fail, Login::WrongSignature),
        ("no signature", Fail, Login::NoSignature),
        ("one challenge more", Fail, Login::Challenges),
        ("a refusal inside", Fail, Login::RefusesInside),
        ("a refusal at length", Fail, Login::RefusesAtLength),
        ("no text", Fail, Login::NoText),
        ("holds for 1 ms", FailOrTell, Login::Lifetime(1)),
        ("holds for i64::MAX", FailOrTell, Login::Lifetime(i64::MAX)),
        ("holds for less than nothing", FailOrTell, Login::Lifetime(i64::MIN)),
    ];
    let scram = rows.map(|(name, must, login)| {
        lie_on(Way::Scram, &format!("SCRAM: {name}"), must, Scenario::Login(login))
    });
    let plain = [
        ("a challenge", FailOrTell, Login::LastFirst),
        ("a refusal at length", Fail, Login::RefusesAtLength),
        ("other mechanisms", Fail, Login::OtherMechanisms),
        ("holds for 1 ms", FailOrTell, Login::Lifetime(1)),
    ];
    let plain = plain.map(|(name, must, login)| {
        lie_on(Way::Plain, &format!("PLAIN: {name}"), must, Scenario::Login(login))
    });
    let steps = [ApiKey::SaslHandshake, ApiKey::SaslAuthenticate];
    let steps = steps.into_iter().flat_map(|api| {
        [
            ("silence", Scenario::SilentAt(api)),
            ("the connection closed", Scenario::ClosedAt(api)),
            ("a byte a second", Scenario::Trickled(api)),
            ("a length of 2^31−1", Scenario::Announced(api, i32::MAX as u32)),
            ("another correlation id", Scenario::Frames(api, |frame| with_correlation(frame, 1))),
            ("an empty reply", Scenario::Frames(api, |frame| with_length(frame[..8].to_vec(), 4))),
        ]
        .map(|(name, scenario)| lie_on(Way::Scram, &format!("{api:?}: {name}"), Fail, scenario))
    });
    scram.into_iter().chain(plain).chain(steps).collect()
}
