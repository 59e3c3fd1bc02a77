//! No bytes make a reply panic or take much memory, and each fault is told.

use proptest::prelude::*;
use zeroize::Zeroizing;

use super::*;
use crate::kafka::wire::requests::metadata::{MAX_BROKERS, MAX_PARTITIONS};

/// The bytes that a reply keeps on the heap.
trait Weigh {
    fn heap(&self) -> usize;
}

impl<T: Weigh> Weigh for Vec<T> {
    fn heap(&self) -> usize {
        self.capacity() * size_of::<T>() + self.iter().map(Weigh::heap).sum::<usize>()
    }
}

impl<T: Weigh> Weigh for Option<T> {
    fn heap(&self) -> usize {
        self.as_ref().map_or(0, Weigh::heap)
    }
}

impl<T: Weigh, E: Weigh> Weigh for Result<T, E> {
    fn heap(&self) -> usize {
        self.as_ref().map_or_else(Weigh::heap, Weigh::heap)
    }
}

impl<A, B: Weigh> Weigh for (A, B) {
    fn heap(&self) -> usize {
        self.1.heap()
    }
}

macro_rules! weighs {
    ($($of:ty: $reply:ident => $heap:expr),* $(,)?) => {
        $(impl Weigh for $of {
            fn heap(&self) -> usize {
                let $reply = self;
                $heap
            }
        })*
    };
}

weighs! {
    u64: _n => 0,
    String: text => text.capacity(),
    ErrorCode: _code => 0,
    Refusal: refusal => refusal.message.heap(),
    Broker: broker => broker.host.heap(),
    PartitionMetadata: _partition => 0,
    TopicMetadata: topic => topic.partitions.heap(),
    MetadataReply: reply => reply.brokers.heap() + reply.topics.heap(),
    ListedOffset: _listed => 0,
    FetchReply: reply => reply.partitions.heap(),
    FetchedPartition: fetched => fetched.aborted.heap(),
    AbortedTransaction: _aborted => 0,
    // The name is shared and counted: two counters and the text.
    TopicOffsets: topic => 16 + topic.topic.as_str().len() + topic.partitions.heap(),
    GroupOffsets: offsets => match offsets {
        GroupOffsets::Asked(topics) => topics.heap(),
        GroupOffsets::All(topics) => topics.heap(),
    },
    ApiVersionsReply: _reply => ApiKey::ALL.len() * 8,
    IsShareGroup: _it => 0,
    SaslHandshakeReply: reply => reply.mechanisms.heap(),
    SaslAuthenticateReply: reply => reply.refusal.heap() + reply.auth_bytes.capacity(),
}

type Decode = dyn Fn(&[u8]) -> Result<usize, DecodeError>;

/// A question in one version, and a good reply to it.
struct Sample {
    name: String,
    payload: Vec<u8>,
    question_bytes: usize,
    /// What a payload weighs once it is decoded, or why it is not.
    decode: Box<Decode>,
}

impl Sample {
    fn new<R: Request<Reply: Weigh> + 'static>(request: R, version: i16, payload: Vec<u8>) -> Self {
        let frame = request_frame(&request, version, CORRELATION, CLIENT).unwrap();
        Self {
            name: format!("{} {version}", R::KEY),
            payload,
            question_bytes: frame.as_bytes().len(),
            decode: Box::new(move |payload| {
                decode_frame(&request, version, payload).map(|decoded| decoded.reply.heap())
            }),
        }
    }
}

/// Every request in every version that the other implementation has too.
fn samples() -> Vec<Sample> {
    let (a, b) = (topic("a"), topic("b.b"));
    let at = |partition| PartitionPosition {
        partition,
        leader_epoch: Some(1),
        position: Position::Latest,
    };
    let host = |id| Broker { id: BrokerId(id), host: "kafka.svc".to_owned(), port: 9_092 };
    let mut samples = Vec::new();
    for version in Metadata::KEY.versions() {
        let request = Metadata { topics: vec![a.clone(), b.clone()] };
        let partition =
            PartitionMetadata { leader: Some(BrokerId(1)), leader_epoch: Some(2), error: None };
        let metadata = TopicMetadata { id: Some([1; 16]), partitions: vec![partition; 3] };
        let reply = MetadataReply {
            error: None,
            brokers: vec![host(1), host(2)],
            topics: vec![Some(Ok(metadata)), Some(Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION))],
        };
        let reply = metadata_reply(version, &request.topics, &reply, &[]);
        samples.push(Sample::new(request, version, payload(&reply, version)));
    }
    for version in FindCoordinator::KEY.versions() {
        let request = FindCoordinator { groups: vec![Group::from("jobs")] };
        let reply = coordinators_reply(version, &request.groups, &[Some(Ok(host(3)))], &[]);
        samples.push(Sample::new(request, version, payload(&reply, version)));
    }
    let partitions: ByPartition<CommittedOffset> =
        vec![(0, Some(Ok(Some(7)))), (1, Some(Ok(None))), (2, Some(Err(ErrorCode(88))))];
    let committed = vec![("a".to_owned(), partitions.clone()), ("b.b".to_owned(), partitions)];
    for version in OffsetFetch::KEY.versions() {
        for all in [false, true] {
            if all && version < 2 {
                continue;
            }
            let named = vec![(a.clone(), vec![0, 1, 2]), (b.clone(), vec![0, 1, 2])];
            let question =
                GroupQuestion { group: Group::from("jobs"), topics: (!all).then_some(named) };
            let request = OffsetFetch { groups: vec![question], require_stable: true };
            let reply = offsets_reply(version, &[("jobs".to_owned(), Ok(committed.clone()))], &[]);
            samples.push(Sample::new(request, version, payload(&reply, version)));
        }
    }
    for version in ListOffsets::KEY.versions() {
        let request = ListOffsets {
            isolation: Isolation::ReadCommitted,
            topics: vec![(a.clone(), vec![at(0), at(1)]), (b.clone(), vec![at(5)])],
        };
        let listed = ListedOffset { offset: Some(9), leader_epoch: Some(1) };
        let answered = [
            ("a".to_owned(), vec![(0, Some(Ok(listed))), (1, Some(Err(ErrorCode(6))))]),
            ("b.b".to_owned(), vec![(5, Some(Ok(listed)))]),
        ];
        let reply = list_offsets_reply(version, &answered, &[]);
        samples.push(Sample::new(request, version, payload(&reply, version)));
    }
    for version in Fetch::KEY.versions() {
        let topics = vec![fetched_topic("a", 1, &[0, 1]), fetched_topic("b.b", 2, &[5])];
        let fetched = |topic, partition, error| FetchedPartition {
            error,
            aborted: vec![AbortedTransaction { producer_id: 7, first_offset: 8 }],
            diverging: Some(EpochEnd { epoch: 2, end_offset: 9 }),
            leader: Some(CurrentLeader { id: BrokerId(2), epoch: Some(3) }),
            ..fetched_nothing(topic, partition)
        };
        let answered = [
            (fetched(0, 0, None), vec![1, 2, 3]),
            (fetched(1, 5, Some(ErrorCode(6))), vec![]),
            (fetched(0, 1, None), vec![]),
        ];
        let reply = fetch_reply(version, &topics, (0, 5), &answered);
        samples.push(Sample::new(fetch(topics), version, payload(&reply, version)));
    }
    for version in 1..=*DescribeConfigs::KEY.versions().end() {
        let request =
            DescribeConfigs { topics: vec![a.clone(), b.clone()], setting: "cleanup.policy" };
        let answered = [
            ("a".to_owned(), Some(Ok(Some("compact".to_owned())))),
            ("b.b".to_owned(), Some(Err(ErrorCode::TOPIC_AUTHORIZATION_FAILED))),
        ];
        let reply = configs_reply(version, &answered, &[]);
        samples.push(Sample::new(request, version, payload(&reply, version)));
    }
    for version in ShareGroupDescribe::KEY.versions() {
        let request = ShareGroupDescribe { groups: ["jobs", "others"].map(Group::from).into() };
        let answered = [
            ("jobs".to_owned(), Some(Ok(IsShareGroup))),
            ("others".to_owned(), Some(Err(ErrorCode(69)))),
        ];
        let reply = share_groups_reply(&answered, 2, &[]);
        samples.push(Sample::new(request, version, payload(&reply, version)));
    }
    for version in ApiVersions::KEY.versions() {
        let reply = api_versions_reply(0, &[(3, 0, 12), (9, 1, 9), (99, 0, 1)]);
        samples.push(Sample::new(ApiVersions, version, payload(&reply, version)));
    }
    for version in SaslAuthenticate::KEY.versions() {
        let request = SaslAuthenticate { auth_bytes: Zeroizing::new(vec![1; 9]) };
        let reply = theirs::SaslAuthenticateResponse::default()
            .with_error_code(58)
            .with_error_message(Some(text("no")))
            .with_auth_bytes(vec![2; 9].into());
        samples.push(Sample::new(request, version, payload(&reply, version)));
    }
    let request = SaslHandshake { mechanism: "PLAIN".to_owned() };
    let reply = theirs::SaslHandshakeResponse::default().with_mechanisms(vec![text("PLAIN")]);
    samples.push(Sample::new(request, 1, payload(&reply, 1)));
    samples
}

#[test]
fn each_sample_is_a_reply_and_no_shorter_or_longer_one_is() {
    let samples = samples();
    let versions: usize = ApiKey::ALL.iter().map(|key| key.versions().count()).sum();
    // Twice for all but one version of OffsetFetch; DescribeConfigs 0 has no judge.
    assert_eq!(samples.len(), versions + 8 - 1);
    for sample in samples {
        let name = &sample.name;
        assert!((sample.decode)(&sample.payload).is_ok(), "{name}");
        for end in 0..sample.payload.len() {
            assert!((sample.decode)(&sample.payload[..end]).is_err(), "{name} cut to {end}");
        }
        let mut longer = sample.payload.clone();
        longer.extend([0, 0, 0]);
        let trailing = Err(DecodeError::Trailing { bytes: 3 });
        assert_eq!((sample.decode)(&longer), trailing, "{name}");
    }
}

/// One change to a reply.
#[derive(Debug, Clone)]
enum Edit {
    Set(Index, u8),
    Number(Index, i32),
    Insert(Index, Vec<u8>),
    Remove(Index, Index),
    Repeat(Index, Index),
}

fn edit() -> impl Strategy<Value = Edit> {
    let telling = prop_oneof![
        Just(-1),
        Just(-2),
        Just(0),
        Just(1),
        Just(i32::MIN),
        Just(i32::MAX),
        any::<i32>(),
    ];
    prop_oneof![
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Edit::Set(at, byte)),
        (any::<Index>(), telling).prop_map(|(at, number)| Edit::Number(at, number)),
        (any::<Index>(), prop::collection::vec(any::<u8>(), 1..40))
            .prop_map(|(at, bytes)| Edit::Insert(at, bytes)),
        any::<(Index, Index)>().prop_map(|(from, to)| Edit::Remove(from, to)),
        any::<(Index, Index)>().prop_map(|(from, to)| Edit::Repeat(from, to)),
    ]
}

impl Edit {
    fn apply(&self, payload: &mut Vec<u8>) {
        let length = payload.len() + 1;
        let range = |from: &Index, to: &Index| {
            let (from, to) = (from.index(length), to.index(length));
            from.min(to)..from.max(to)
        };
        match self {
            Self::Set(at, byte) => {
                payload.iter_mut().skip(at.index(length)).take(1).for_each(|slot| *slot = *byte);
            }
            Self::Number(at, number) => {
                let at = payload.iter_mut().skip(at.index(length));
                at.zip(number.to_be_bytes()).for_each(|(slot, byte)| *slot = byte);
            }
            Self::Insert(at, bytes) => {
                let at = at.index(length);
                payload.splice(at..at, bytes.iter().copied());
            }
            Self::Remove(from, to) => drop(payload.drain(range(from, to))),
            Self::Repeat(from, to) => payload.extend_from_within(range(from, to)),
        }
    }
}

fn weighs_little(sample: &Sample, payload: &[u8]) -> Result<(), TestCaseError> {
    if let Ok(heap) = (sample.decode)(payload) {
        let most = 16 * (payload.len() + sample.question_bytes);
        prop_assert!(heap <= most, "{}: {heap} bytes of {}", sample.name, payload.len());
    }
    Ok(())
}

proptest! {
    #[test]
    fn no_bytes_make_a_reply_panic_or_weigh_much(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        small in prop::collection::vec(0..4_u8, 0..200),
    ) {
        for sample in samples() {
            weighs_little(&sample, &bytes)?;
            weighs_little(&sample, &small)?;
        }
    }

    #[test]
    fn no_change_to_a_reply_makes_it_panic_or_weigh_much(
        edits in prop::collection::vec(edit(), 1..6),
    ) {
        for sample in samples() {
            let mut payload = sample.payload.clone();
            for edit in &edits {
                edit.apply(&mut payload);
                weighs_little(&sample, &payload)?;
            }
        }
    }
}

#[test]
fn each_fault_of_a_reply_is_told() {
    let host = |id: i32, host: &str, port: i32| {
        metadata_response::MetadataResponseBroker::default()
            .with_node_id(id.into())
            .with_host(text(host))
            .with_port(port)
    };
    let partition =
        |index| metadata_response::MetadataResponsePartition::default().with_partition_index(index);
    let described = |name: Option<&str>, partitions: Vec<_>| {
        metadata_response::MetadataResponseTopic::default()
            .with_name(name.map(topic_text))
            .with_partitions(partitions)
    };
    let brokers = |brokers| theirs::MetadataResponse::default().with_brokers(brokers);
    let topics = |topics| theirs::MetadataResponse::default().with_topics(topics);
    let negative = |what, value| DecodeError::Negative { what, value };
    let limit = |what, max| DecodeError::Limit { what, count: max + 1, max };
    let long = "h".repeat(256);
    let many = i32::try_from(MAX_BROKERS).unwrap();
    let request = Metadata { topics: vec![topic("a"), topic("b")] };
    let rows = [
        (
            "a broker twice",
            brokers(vec![host(1, "x", 1), host(2, "x", 1), host(1, "x", 1)]),
            DecodeError::duplicate("broker", "1"),
        ),
        ("a broker below zero", brokers(vec![host(-1, "x", 1)]), negative("broker id", -1)),
        ("no host", brokers(vec![host(1, "", 1)]), DecodeError::not_allowed("host", "")),
        ("a long host", brokers(vec![host(1, &long, 1)]), DecodeError::not_allowed("host", &long)),
        ("port 0", brokers(vec![host(1, "x", 0)]), DecodeError::not_allowed("port", "0")),
        ("port -1", brokers(vec![host(1, "x", -1)]), DecodeError::not_allowed("port", "-1")),
        (
            "a port above the highest",
            brokers(vec![host(1, "x", 65_536)]),
            DecodeError::not_allowed("port", "65536"),
        ),
        (
            "too many brokers",
            brokers((0..=many).map(|id| host(id, "x", 1)).collect()),
            limit("brokers", MAX_BROKERS),
        ),
        (
            "another topic",
            topics(vec![described(Some("b"), vec![]), described(Some("c"), vec![])]),
            DecodeError::not_asked("topic", "c"),
        ),
        (
            "a topic twice",
            topics(vec![described(Some("b"), vec![]), described(Some("b"), vec![])]),
            DecodeError::duplicate("topic", "b"),
        ),
        (
            "a topic without a name",
            topics(vec![described(None, vec![])]),
            DecodeError::Null { what: "topic" },
        ),
        (
            "a partition twice",
            topics(vec![described(Some("a"), vec![partition(0), partition(0)])]),
            DecodeError::duplicate("partition", "0"),
        ),
        (
            "a partition that leaves a gap",
            topics(vec![described(Some("a"), vec![partition(0), partition(2)])]),
            DecodeError::not_allowed("partition", "2"),
        ),
        (
            "a partition below zero",
            topics(vec![described(Some("a"), vec![partition(-1)])]),
            DecodeError::not_allowed("partition", "-1"),
        ),
        (
            "too many partitions",
            topics(vec![described(Some("a"), vec![partition(0); MAX_PARTITIONS + 1])]),
            limit("partitions", MAX_PARTITIONS),
        ),
    ];
    for (name, reply, expected) in rows {
        assert_eq!(decoded(&request, 12, &reply), Err(expected), "{name}");
    }

    let request = FindCoordinator { groups: vec![Group::from("g"), Group::from("h")] };
    let found = |group: &str, id: i32| {
        find_coordinator_response::Coordinator::default()
            .with_key(text(group))
            .with_node_id(id.into())
            .with_host(text("x"))
            .with_port(1)
    };
    let rows = [
        ("another group", vec![found("i\n", 1)], DecodeError::not_asked("group", "i ")),
        ("a group twice", vec![found("h", 1), found("h", 1)], DecodeError::duplicate("group", "h")),
        ("no broker", vec![found("g", -1)], negative("broker id", -1)),
    ];
    for (name, coordinators, expected) in rows {
        let reply = theirs::FindCoordinatorResponse::default().with_coordinators(coordinators);
        assert_eq!(decoded(&request, 6, &reply), Err(expected), "{name}");
    }

    let group = |name: &str, topic: &str, offsets: &ByPartition<CommittedOffset>| {
        (name.to_owned(), Ok(vec![(topic.to_owned(), offsets.clone())]))
    };
    let one: ByPartition<CommittedOffset> = vec![(0, Some(Ok(Some(1))))];
    let twice: ByPartition<CommittedOffset> = vec![(0, Some(Ok(Some(1)))), (0, Some(Ok(Some(1))))];
    let below: ByPartition<CommittedOffset> = vec![(-7, Some(Ok(Some(1))))];
    let mut topic_twice = group("g", "a", &one);
    topic_twice.1 = topic_twice.1.map(|topics: Committed| [topics.clone(), topics].concat());
    let named = Some(vec![(topic("a"), vec![0]), (topic("b"), vec![])]);
    let both = [named.clone(), None];
    let rows = [
        (
            "another group",
            &both[..],
            vec![group("h", "a", &one)],
            DecodeError::not_asked("group", "h"),
        ),
        (
            "a group twice",
            &both,
            vec![group("g", "a", &one), group("g", "a", &one)],
            DecodeError::duplicate("group", "g"),
        ),
        ("a topic twice", &both, vec![topic_twice], DecodeError::duplicate("topic", "a")),
        (
            "another topic",
            &both[..1],
            vec![group("g", "c", &one)],
            DecodeError::not_asked("topic", "c"),
        ),
        (
            "what is no topic",
            &both[1..],
            vec![group("g", "a b", &one)],
            DecodeError::not_allowed("topic", "a b"),
        ),
        (
            "another partition",
            &both[..1],
            vec![group("g", "b", &one)],
            DecodeError::not_asked("partition", "0"),
        ),
        (
            "a partition twice",
            &both,
            vec![group("g", "a", &twice)],
            DecodeError::duplicate("partition", "0"),
        ),
        (
            "a partition below zero",
            &both[1..],
            vec![group("g", "a", &below)],
            negative("partition", -7),
        ),
    ];
    for (name, questions, groups, expected) in rows {
        for topics in questions {
            let question = GroupQuestion { group: Group::from("g"), topics: topics.clone() };
            let request = OffsetFetch { groups: vec![question], require_stable: true };
            let reply = offsets_reply(8, &groups, &[]);
            assert_eq!(decoded(&request, 8, &reply), Err(expected.clone()), "{name}");
        }
    }

    let asked = PartitionPosition { partition: 0, leader_epoch: None, position: Position::Latest };
    let request = ListOffsets {
        isolation: Isolation::ReadCommitted,
        topics: vec![(topic("a"), vec![asked])],
    };
    let listed = |name: &str, partitions: &[(i32, i64)]| {
        let partitions = partitions.iter().map(|(index, offset)| {
            list_offsets_response::ListOffsetsPartitionResponse::default()
                .with_partition_index(*index)
                .with_offset(*offset)
        });
        list_offsets_response::ListOffsetsTopicResponse::default()
            .with_name(topic_text(name))
            .with_partitions(partitions.collect())
    };
    let rows = [
        ("another topic", vec![listed("b", &[])], DecodeError::not_asked("topic", "b")),
        (
            "a topic twice",
            vec![listed("a", &[(0, 1)]), listed("a", &[])],
            DecodeError::duplicate("topic", "a"),
        ),
        (
            "another partition",
            vec![listed("a", &[(0, 1), (1, 1)])],
            DecodeError::not_asked("partition", "1"),
        ),
        (
            "a partition twice",
            vec![listed("a", &[(0, 1), (0, 1)])],
            DecodeError::duplicate("partition", "0"),
        ),
        ("an offset below -1", vec![listed("a", &[(0, -2)])], negative("offset", -2)),
    ];
    for (name, topics, expected) in rows {
        let reply = theirs::ListOffsetsResponse::default().with_topics(topics);
        assert_eq!(decoded(&request, 9, &reply), Err(expected), "{name}");
    }

    let topics = || vec![fetched_topic("a", 1, &[0, 3]), fetched_topic("b", 2, &[0])];
    let fetched = |topic, partition| (fetched_nothing(topic, partition), vec![]);
    let odd = |high_watermark, first_offset| {
        let aborted = AbortedTransaction { producer_id: 1, first_offset };
        let high_watermark = Some(high_watermark);
        (FetchedPartition { high_watermark, aborted: vec![aborted], ..fetched(0, 0).0 }, vec![])
    };
    let most = i64::MAX.unsigned_abs() / 2;
    let too_high = DecodeError::not_allowed("offset", &most.to_string());
    let other = vec![fetched_topic("c", 255, &[0])];
    let id = "ff".repeat(16);
    let rows = [
        (
            "another topic",
            12,
            other.clone(),
            vec![fetched(0, 0)],
            DecodeError::not_asked("topic", "c"),
        ),
        ("another id", 13, other, vec![fetched(0, 0)], DecodeError::not_asked("topic id", &id)),
        (
            "another topic's partition",
            12,
            topics(),
            vec![fetched(1, 3)],
            DecodeError::not_asked("partition", "3"),
        ),
        (
            "a partition below zero",
            12,
            topics(),
            vec![fetched(1, -1)],
            DecodeError::not_asked("partition", "-1"),
        ),
        (
            "a partition twice",
            13,
            topics(),
            vec![fetched(0, 3), fetched(0, 3)],
            DecodeError::duplicate("partition", "3"),
        ),
        (
            "a partition twice, and another topic between",
            4,
            topics(),
            vec![fetched(0, 3), fetched(1, 0), fetched(0, 3)],
            DecodeError::duplicate("partition", "3"),
        ),
        ("an offset that no log has", 4, topics(), vec![odd(most, 1)], too_high.clone()),
        ("a transaction that no log has", 4, topics(), vec![odd(1, most)], too_high),
    ];
    for (name, version, theirs, answered, expected) in rows {
        let reply = fetch_reply(version, &theirs, (0, 0), &answered);
        assert_eq!(decoded(&fetch(topics()), version, &reply), Err(expected), "{name}");
    }

    let request = DescribeConfigs { topics: vec![topic("a")], setting: "cleanup.policy" };
    let configured = |kind: i8, name: &str, settings: &[&str]| {
        let settings = settings.iter().map(|name| {
            describe_configs_response::DescribeConfigsResourceResult::default()
                .with_name(text(name))
        });
        describe_configs_response::DescribeConfigsResult::default()
            .with_resource_type(kind)
            .with_resource_name(text(name))
            .with_configs(settings.collect())
    };
    let setting = "cleanup.policy";
    let rows = [
        ("another topic", vec![configured(2, "b", &[])], DecodeError::not_asked("topic", "b")),
        (
            "a broker's settings",
            vec![configured(4, "a", &[])],
            DecodeError::not_asked("kind of resource", "4"),
        ),
        (
            "another setting",
            vec![configured(2, "a", &[setting, "x"])],
            DecodeError::not_asked("setting", "x"),
        ),
        (
            "a setting twice",
            vec![configured(2, "a", &[setting, setting])],
            DecodeError::duplicate("setting", setting),
        ),
        (
            "a topic twice",
            vec![configured(2, "a", &[]), configured(2, "a", &[])],
            DecodeError::duplicate("topic", "a"),
        ),
    ];
    for (name, results, expected) in rows {
        let reply = theirs::DescribeConfigsResponse::default().with_results(results);
        assert_eq!(decoded(&request, 4, &reply), Err(expected), "{name}");
    }

    let request = ShareGroupDescribe { groups: vec![Group::from("jobs")] };
    let described = |names: &[&str]| {
        let groups: Vec<_> =
            names.iter().map(|name| ((*name).to_owned(), Some(Ok(IsShareGroup)))).collect();
        share_groups_reply(&groups, 1, &[])
    };
    let rows = [
        ("another group", described(&["others"]), DecodeError::not_asked("group", "others")),
        ("a group twice", described(&["jobs", "jobs"]), DecodeError::duplicate("group", "jobs")),
    ];
    for (name, reply, expected) in rows {
        assert_eq!(decoded(&request, 1, &reply), Err(expected), "{name}");
    }

    let reply = api_versions_reply(0, &[(3, 0, 1), (4, 0, 1), (4, 0, 1), (3, 0, 1)]);
    let twice = DecodeError::duplicate("api key", "Metadata");
    assert_eq!(decoded(&ApiVersions, 3, &reply), Err(twice));
    let request = SaslHandshake { mechanism: "PLAIN".to_owned() };
    let reply = theirs::SaslHandshakeResponse::default().with_mechanisms(vec![text("A"); 33]);
    assert_eq!(decoded(&request, 1, &reply), Err(limit("mechanisms", 32)));
}
