//! Questions and replies mean the same to both implementations, in all versions.

use std::fmt::Debug;
use std::ops::RangeInclusive;
use std::sync::Arc;

use kafka_protocol::protocol::StrBytes;
use proptest::prelude::*;
use zeroize::Zeroizing;

use super::*;
use crate::kafka::wire::{BrokerVersions, EncodeError};

/// Partitions by topic, as they are asked for.
type NamedPartitions = Vec<(String, Vec<Partition>)>;

proptest! {
    #[test]
    fn metadata_says_what_the_broker_said(
        question in named(topic_name(), answer(topic_metadata()), 0..=5),
        brokers in brokers(),
        error in prop::option::of(code()),
        order in order(),
    ) {
        let (names, topics): (Vec<_>, Vec<_>) =
            question.into_iter().map(|(name, answer)| (topic(&name), answer)).unzip();
        let request = Metadata { topics: names };
        let whole = MetadataReply { error, brokers, topics };
        for version in Metadata::KEY.versions() {
            let asked: theirs::MetadataRequest = read_back(&request, version);
            let named: Vec<_> = asked.topics.unwrap();
            prop_assert_eq!(named.len(), request.topics.len());
            for (named, topic) in named.iter().zip(&request.topics) {
                prop_assert_eq!(named.name.as_ref().unwrap().0.as_str(), topic.as_str());
                prop_assert!(named.topic_id.is_nil());
            }
            // Before version 4 a broker creates topics as it is configured to.
            prop_assert_eq!(asked.allow_auto_topic_creation, version < 4);
            prop_assert!(!asked.include_topic_authorized_operations);

            let mut expected = whole.clone();
            expected.error = error.filter(|_| version >= 13);
            for metadata in expected.topics.iter_mut().flatten().flatten() {
                metadata.id = metadata.id.filter(|_| version >= 10);
                for partition in &mut metadata.partitions {
                    partition.leader_epoch = partition.leader_epoch.filter(|_| version >= 7);
                }
            }
            let reply = metadata_reply(version, &request.topics, &whole, &order);
            prop_assert_eq!(decoded(&request, version, &reply), Ok(expected), "{}", version);
        }
    }

    #[test]
    fn find_coordinator_says_what_the_broker_said(
        question in named(
            group_name(),
            prop_oneof![
                3 => (0..=i32::MAX).prop_flat_map(broker).prop_map(|broker| Some(Ok(broker))),
                1 => (code(), prop::option::of("[a-z ]{1,9}"))
                    .prop_map(|(code, message)| Some(Err(Refusal { code, message }))),
                1 => Just(None),
            ],
            1..=5,
        ),
        order in order(),
    ) {
        let (mut groups, mut answers): (Vec<_>, Vec<Answer<Broker, Refusal>>) = question
            .into_iter()
            .map(|(name, answer)| (Group::from(name.as_str()), answer))
            .unzip();
        for version in FindCoordinator::KEY.versions().rev() {
            if !FindCoordinator::is_batched(version) {
                groups.truncate(1);
                answers.truncate(1);
                let silent = Refusal { code: ErrorCode::NOT_COORDINATOR, message: None };
                answers[0].get_or_insert(Err(silent));
            }
            if version < 1 && let Some(Err(refusal)) = &mut answers[0] {
                refusal.message = None;
            }
            let request = FindCoordinator { groups: groups.clone() };
            let asked: theirs::FindCoordinatorRequest = read_back(&request, version);
            let keys: Vec<_> = if FindCoordinator::is_batched(version) {
                asked.coordinator_keys
            } else {
                vec![asked.key]
            };
            let named: Vec<_> = keys.iter().map(StrBytes::as_str).collect();
            prop_assert_eq!(named, groups.iter().map(Group::as_str).collect::<Vec<_>>());
            prop_assert_eq!(asked.key_type, 0);

            let reply = coordinators_reply(version, &groups, &answers, &order);
            let expected = answers.clone();
            prop_assert_eq!(decoded(&request, version, &reply), Ok(expected), "{}", version);
        }
    }

    #[test]
    fn offset_fetch_says_what_the_broker_said(
        question in named(group_name(), result(committed()), 1..=4),
        left_out_group: bool,
        require_stable: bool,
        order in order(),
    ) {
        let mut question = question;
        for version in OffsetFetch::KEY.versions().rev() {
            let batched = OffsetFetch::is_batched(version);
            if !batched {
                question.truncate(1);
            }
            if version < 2 && let Err(_) = &question[0].1 {
                question[0].1 = Ok(Vec::new());
            }
            let groups = question.iter().map(|(group, result)| {
                let topics = result.as_ref().unwrap_or(&Vec::new()).iter().map(
                    |(name, partitions)| {
                        let indexes = partitions.iter().map(|(index, _)| *index).collect();
                        (topic(name), indexes)
                    },
                ).collect();
                GroupQuestion { group: Group::from(group.as_str()), topics: Some(topics) }
            });
            let request = OffsetFetch { groups: groups.collect(), require_stable };
            let asked: theirs::OffsetFetchRequest = read_back(&request, version);
            prop_assert_eq!(asked.require_stable, require_stable && version >= 7);
            let asked_groups: Vec<(String, NamedPartitions)> = if batched {
                asked.groups.into_iter().map(|group| {
                    assert_eq!((group.member_id, group.member_epoch), (None, -1));
                    let topics = group.topics.unwrap().into_iter();
                    let topics = topics.map(|t| (t.name.0.to_string(), t.partition_indexes));
                    (group.group_id.0.to_string(), topics.collect())
                }).collect()
            } else {
                let topics = asked.topics.unwrap().into_iter();
                let topics = topics.map(|t| (t.name.0.to_string(), t.partition_indexes));
                vec![(asked.group_id.0.to_string(), topics.collect())]
            };
            let ours: Vec<(String, NamedPartitions)> = request.groups.iter().map(|q| {
                let topics = q.topics.iter().flatten();
                let topics = topics.map(|(t, indexes)| (t.as_str().to_owned(), indexes.clone()));
                (q.group.as_str().to_owned(), topics.collect())
            }).collect();
            prop_assert_eq!(asked_groups, ours);

            let answered = if batched && left_out_group { &question[1..] } else { &question };
            let reply = offsets_reply(version, answered, &order);
            let mut expected: Vec<_> = question.iter().map(|(_, result)| {
                let offsets = result.as_ref().map_err(|code| *code).map(|topics| {
                    let topic = |(_, partitions): &(String, ByPartition<CommittedOffset>)| {
                        partitions.iter().map(|(_, answer)| *answer).collect()
                    };
                    GroupOffsets::Asked(topics.iter().map(topic).collect())
                });
                Some(offsets)
            }).collect();
            if batched && left_out_group {
                expected[0] = None;
            }
            prop_assert_eq!(decoded(&request, version, &reply), Ok(expected), "{}", version);
        }
    }

    #[test]
    fn offset_fetch_says_all_that_a_group_committed(
        question in named(group_name(), result(committed()), 1..=4),
        order in order(),
    ) {
        let mut question = question;
        for version in (2..=*OffsetFetch::KEY.versions().end()).rev() {
            if !OffsetFetch::is_batched(version) {
                question.truncate(1);
            }
            // A broker lists what was committed alone.
            let topics = question.iter_mut().filter_map(|(_, result)| result.as_mut().ok());
            for (_, partitions) in topics.flatten() {
                partitions.retain(|(index, answer)| answer.is_some() && *index >= 0);
            }
            let groups = question.iter().map(|(group, _)| GroupQuestion {
                group: Group::from(group.as_str()),
                topics: None,
            });
            let request = OffsetFetch { groups: groups.collect(), require_stable: false };
            let asked: theirs::OffsetFetchRequest = read_back(&request, version);
            prop_assert_eq!(asked.topics, if version < 8 { None } else { Some(Vec::new()) });
            prop_assert!(asked.groups.iter().all(|group| group.topics.is_none()));

            let reply = offsets_reply(version, &question, &order);
            let expected: Vec<_> = question.iter().map(|(_, result)| {
                let offsets = result.as_ref().map_err(|code| *code).map(|topics| {
                    let topics = topics.iter().filter(|(_, partitions)| !partitions.is_empty());
                    let topics = topics.map(|(name, partitions)| {
                        let mut partitions: Vec<_> = partitions
                            .iter()
                            .filter_map(|(index, answer)| Some((*index, (*answer)?)))
                            .collect();
                        partitions.sort_by_key(|(index, _)| *index);
                        TopicOffsets { topic: topic(name), partitions }
                    });
                    GroupOffsets::All(reordered_topics(topics.collect()))
                });
                Some(offsets)
            }).collect();
            let decoded = decoded(&request, version, &reply).map(|mut answers| {
                for offsets in answers.iter_mut().flatten().flatten() {
                    if let GroupOffsets::All(topics) = offsets {
                        *topics = reordered_topics(std::mem::take(topics));
                    }
                }
                answers
            });
            prop_assert_eq!(decoded, Ok(expected), "{}", version);
        }
    }

    #[test]
    fn list_offsets_says_what_the_broker_said(
        question in named(
            topic_name(),
            by_partition((
                known_epoch(),
                prop_oneof![
                    Just(Position::Earliest),
                    Just(Position::Latest),
                    (0..=i64::MAX.unsigned_abs()).prop_map(Position::Since),
                ],
                answer((any_offset(), known_epoch())
                    .prop_map(|(offset, leader_epoch)| ListedOffset { offset, leader_epoch })),
            )),
            0..=4,
        ),
        committed: bool,
        order in order(),
    ) {
        let isolation =
            if committed { Isolation::ReadCommitted } else { Isolation::ReadUncommitted };
        let topics = question.iter().map(|(name, partitions)| {
            let asked = partitions.iter().map(|(partition, (leader_epoch, position, _))| {
                PartitionPosition {
                    partition: *partition,
                    leader_epoch: *leader_epoch,
                    position: *position,
                }
            });
            (topic(name), asked.collect())
        });
        let request = ListOffsets { isolation, topics: topics.collect() };
        let answered: Vec<_> = question.iter().map(|(name, partitions)| {
            let answers = partitions.iter().map(|(index, (_, _, answer))| (*index, *answer));
            (name.clone(), answers.collect::<Vec<_>>())
        }).collect();
        for version in ListOffsets::KEY.versions() {
            let asked: theirs::ListOffsetsRequest = read_back(&request, version);
            prop_assert_eq!(asked.replica_id.0, -1);
            prop_assert_eq!(asked.isolation_level, i8::from(committed && version >= 2));
            prop_assert_eq!(asked.topics.len(), request.topics.len());
            for (theirs, (topic, partitions)) in asked.topics.iter().zip(&request.topics) {
                prop_assert_eq!(theirs.name.0.as_str(), topic.as_str());
                prop_assert_eq!(theirs.partitions.len(), partitions.len());
                for (theirs, ours) in theirs.partitions.iter().zip(partitions) {
                    let epoch = ours.leader_epoch.filter(|_| version >= 4).unwrap_or(-1);
                    let timestamp = match ours.position {
                        Position::Earliest => -2,
                        Position::Latest => -1,
                        Position::Since(millis) => i64::try_from(millis).unwrap(),
                    };
                    prop_assert_eq!(theirs.partition_index, ours.partition);
                    prop_assert_eq!(theirs.current_leader_epoch, epoch);
                    prop_assert_eq!(theirs.timestamp, timestamp);
                }
            }
            let expected: Vec<Vec<_>> = answered.iter().map(|(_, partitions)| {
                let answers = partitions.iter().map(|(_, answer)| answer.map(|result| {
                    result.map(|mut listed| {
                        listed.leader_epoch = listed.leader_epoch.filter(|_| version >= 4);
                        listed
                    })
                }));
                answers.collect()
            }).collect();
            let reply = list_offsets_reply(version, &answered, &order);
            prop_assert_eq!(decoded(&request, version, &reply), Ok(expected), "{}", version);
        }
    }

    #[test]
    fn fetch_says_what_the_broker_said(
        question in named(topic_name(), by_partition(fetched()), 0..=4),
        in_session: bool,
        (committed, millis, session) in any::<(bool, u32, (i32, i32))>(),
        error in prop::option::of(code()),
        order in order(),
    ) {
        let topics: Vec<_> = (1..).zip(&question).map(|(id, (name, partitions))| FetchTopic {
            name: topic(name),
            id: Some([id; 16]),
            partitions: partitions.iter().map(|(partition, (asked, _, _))| {
                FetchPartition { partition: *partition, ..*asked }
            }).collect(),
        }).collect();
        let forgotten = topics.iter().map(|topic| ForgottenTopic {
            name: topic.name.clone(),
            id: topic.id,
            partitions: topic.partitions.iter().map(|asked| asked.partition).collect(),
        });
        let (id, epoch) = session;
        let request = Fetch {
            max_wait: Duration::from_millis(millis.into()),
            min_bytes: 1,
            max_bytes: u32::MAX,
            isolation:
                if committed { Isolation::ReadCommitted } else { Isolation::ReadUncommitted },
            session: FetchSession { id, epoch: epoch.min(0) },
            topics: topics.clone(),
            forgotten: forgotten.collect(),
            in_session: in_session.then(|| Arc::new(InSession::of(&topics))),
        };
        let answered: Vec<_> = question.iter().enumerate().flat_map(|(place, (_, partitions))| {
            partitions.iter().filter_map(move |(partition, (_, fetched, records))| {
                let mut fetched = fetched.clone()?;
                fetched.topic = place;
                fetched.partition = *partition;
                Some((fetched, records.clone()))
            })
        }).collect();
        let answered = reordered(answered, &order);
        for version in Fetch::KEY.versions() {
            let asked: theirs::FetchRequest = read_back(&request, version);
            prop_assert_eq!(asked.replica_id.0, -1);
            prop_assert_eq!(asked.replica_state.replica_id.0, -1);
            prop_assert_eq!(asked.max_wait_ms, i32::try_from(millis).unwrap_or(i32::MAX));
            prop_assert_eq!((asked.min_bytes, asked.max_bytes), (1, i32::MAX));
            prop_assert_eq!(asked.isolation_level, i8::from(committed));
            let session = if version >= 7 { (id, epoch.min(0)) } else { (0, -1) };
            prop_assert_eq!((asked.session_id, asked.session_epoch), session);
            prop_assert!(asked.rack_id.is_empty());
            prop_assert_eq!(asked.topics.len(), topics.len());
            for (theirs, ours) in asked.topics.iter().zip(&topics) {
                let name = if version < 13 { ours.name.as_str() } else { "" };
                let id = if version < 13 { [0; 16] } else { ours.id.unwrap() };
                prop_assert_eq!(theirs.topic.0.as_str(), name);
                prop_assert_eq!(*theirs.topic_id.as_bytes(), id);
                prop_assert_eq!(theirs.partitions.len(), ours.partitions.len());
                for (theirs, ours) in theirs.partitions.iter().zip(&ours.partitions) {
                    let since = |first, epoch: Option<i32>| {
                        epoch.filter(|_| version >= first).unwrap_or(-1)
                    };
                    prop_assert_eq!(theirs.partition, ours.partition);
                    prop_assert_eq!(theirs.current_leader_epoch, since(9, ours.leader_epoch));
                    prop_assert_eq!(theirs.fetch_offset, wire_offset(Some(ours.fetch_offset)));
                    prop_assert_eq!(theirs.last_fetched_epoch, since(12, ours.last_fetched_epoch));
                    prop_assert_eq!(theirs.log_start_offset, -1);
                    let max = i32::try_from(ours.max_bytes).unwrap_or(i32::MAX);
                    prop_assert_eq!(theirs.partition_max_bytes, max);
                }
            }
            let forgotten = if version >= 7 { &request.forgotten[..] } else { &[] };
            prop_assert_eq!(asked.forgotten_topics_data.len(), forgotten.len());
            for (theirs, ours) in asked.forgotten_topics_data.iter().zip(forgotten) {
                let name = if version < 13 { ours.name.as_str() } else { "" };
                let id = if version < 13 { [0; 16] } else { ours.id.unwrap() };
                prop_assert_eq!(theirs.topic.0.as_str(), name);
                prop_assert_eq!(*theirs.topic_id.as_bytes(), id);
                prop_assert_eq!(&theirs.partitions, &ours.partitions);
            }
            let whole = (error.map_or(0, |code| code.0), id);
            let reply = payload(&fetch_reply(version, &topics, whole, &answered), version);
            let decoded = decode_frame(&request, version, &reply).unwrap();
            prop_assert_eq!(decoded.throttle, Duration::from_millis(31));
            let decoded = decoded.reply;
            prop_assert_eq!(decoded.error, error.filter(|_| version >= 7));
            prop_assert_eq!(decoded.session, Some(id).filter(|id| version >= 7 && *id != 0));
            prop_assert_eq!(decoded.partitions.len(), answered.len());
            for (ours, (theirs, records)) in decoded.partitions.iter().zip(&answered) {
                prop_assert_eq!(&reply[ours.records.clone()], &records[..]);
                let mut expected = theirs.clone();
                expected.records = ours.records.clone();
                expected.log_start_offset = expected.log_start_offset.filter(|_| version >= 5);
                expected.diverging = expected.diverging.filter(|_| version >= 12);
                expected.leader = expected.leader.filter(|_| version >= 12);
                if expected.error.is_some() {
                    expected.high_watermark = None;
                    expected.last_stable_offset = None;
                    expected.log_start_offset = None;
                }
                prop_assert_eq!(ours, &expected);
            }
        }
    }

    #[test]
    fn describe_configs_says_what_the_broker_said(
        question in named(topic_name(), answer(prop::option::of("[a-z,]{0,20}")), 0..=5),
        order in order(),
    ) {
        let topics: Vec<_> = question.iter().map(|(name, _)| topic(name)).collect();
        let request = DescribeConfigs { topics, setting: "cleanup.policy" };
        for version in 1..=*DescribeConfigs::KEY.versions().end() {
            let asked: theirs::DescribeConfigsRequest = read_back(&request, version);
            prop_assert!(!asked.include_synonyms && !asked.include_documentation);
            prop_assert_eq!(asked.resources.len(), request.topics.len());
            for (theirs, topic) in asked.resources.iter().zip(&request.topics) {
                prop_assert_eq!(theirs.resource_type, 2);
                prop_assert_eq!(theirs.resource_name.as_str(), topic.as_str());
                let keys = theirs.configuration_keys.as_ref().unwrap();
                prop_assert_eq!(keys, &[text("cleanup.policy")]);
            }
            let expected: Vec<_> = question.iter().map(|(_, answer)| answer.clone()).collect();
            let reply = configs_reply(version, &question, &order);
            prop_assert_eq!(decoded(&request, version, &reply), Ok(expected), "{}", version);
        }
    }

    #[test]
    fn share_group_describe_says_what_the_broker_said(
        question in named(group_name(), answer(Just(IsShareGroup)), 0..=5),
        members in 0..3_usize,
        order in order(),
    ) {
        let groups = question.iter().map(|(name, _)| Group::from(name.as_str())).collect();
        let request = ShareGroupDescribe { groups };
        for version in ShareGroupDescribe::KEY.versions() {
            let asked: theirs::ShareGroupDescribeRequest = read_back(&request, version);
            prop_assert!(!asked.include_authorized_operations);
            prop_assert_eq!(asked.group_ids.len(), request.groups.len());
            for (theirs, group) in asked.group_ids.iter().zip(&request.groups) {
                prop_assert_eq!(theirs.as_str(), group.as_str());
            }
            let expected: Vec<_> = question.iter().map(|(_, answer)| match answer {
                // Of topics that only a share group's members have.
                Some(Err(ErrorCode::TOPIC_AUTHORIZATION_FAILED)) => Some(Ok(IsShareGroup)),
                answer => *answer,
            }).collect();
            let reply = share_groups_reply(&question, members, &order);
            prop_assert_eq!(decoded(&request, version, &reply), Ok(expected), "{}", version);
        }
    }

    #[test]
    fn api_versions_says_what_the_broker_said(
        ranges in prop::collection::btree_map(
            prop_oneof![0..100_i16, any::<i16>()], any::<(i16, i16)>(), 0..60,
        ),
        code in prop_oneof![Just(0), any::<i16>()],
    ) {
        let ranges: Vec<_> =
            ranges.into_iter().map(|(key, (low, high))| (key, low, high)).collect();
        let versions: BrokerVersions = ranges.iter().filter_map(|(number, low, high)| {
            Some((ApiKey::from_number(*number)?, *low..=*high))
        }).collect();
        let expected = ApiVersionsReply { error: ErrorCode::from_wire(code), versions };
        for version in ApiVersions::KEY.versions() {
            let asked: theirs::ApiVersionsRequest = read_back(&ApiVersions, version);
            if version >= 3 {
                prop_assert_eq!(asked.client_software_name.as_str(), "keda-sift");
                let ours = env!("CARGO_PKG_VERSION");
                prop_assert_eq!(asked.client_software_version.as_str(), ours);
            }
            let unknown = ErrorCode(code) == ErrorCode::UNSUPPORTED_VERSION;
            let form = if unknown { 0 } else { version };
            let payload = payload(&api_versions_reply(code, &ranges), form);
            let reply = decode_frame(&ApiVersions, version, &payload).unwrap().reply;
            prop_assert_eq!(reply.error, expected.error);
            if !unknown || version == 0 {
                prop_assert_eq!(&reply.versions, &expected.versions);
            }
        }
    }

    #[test]
    fn a_login_says_what_the_broker_said(
        secret in prop::collection::vec(any::<u8>(), 0..600),
        code in prop_oneof![Just(0), any::<i16>()],
        message in prop::option::of("[a-z ]{1,9}"),
        millis in prop_oneof![Just(0), any::<i64>()],
    ) {
        let request = SaslAuthenticate { auth_bytes: Zeroizing::new(secret.clone()) };
        for version in SaslAuthenticate::KEY.versions() {
            let asked: theirs::SaslAuthenticateRequest = read_back(&request, version);
            prop_assert_eq!(&asked.auth_bytes[..], &secret);
            let millis = if version >= 1 { millis } else { 0 };
            let message = message.as_deref();
            let reply = tagged!(theirs::SaslAuthenticateResponse::default())
                .with_error_code(code)
                .with_error_message(message.map(text))
                .with_auth_bytes(secret.clone().into())
                .with_session_lifetime_ms(millis);
            let expected = SaslAuthenticateReply {
                refusal: ErrorCode::from_wire(code)
                    .map(|code| Refusal { code, message: message.map(str::to_owned) }),
                auth_bytes: Zeroizing::new(secret.clone()),
                session_lifetime: (millis > 0)
                    .then(|| Duration::from_millis(millis.unsigned_abs())),
            };
            prop_assert_eq!(decoded(&request, version, &reply), Ok(expected));
        }
    }

    #[test]
    fn a_handshake_says_what_the_broker_said(
        mechanism in "[A-Z0-9-]{1,20}",
        mechanisms in prop::collection::vec("[A-Z0-9-]{0,20}", 0..6),
        code: i16,
    ) {
        let request = SaslHandshake { mechanism: mechanism.clone() };
        let asked: theirs::SaslHandshakeRequest = read_back(&request, 1);
        prop_assert_eq!(asked.mechanism.as_str(), mechanism);
        let reply = theirs::SaslHandshakeResponse::default()
            .with_error_code(code)
            .with_mechanisms(mechanisms.iter().map(|name| text(name)).collect());
        let expected = SaslHandshakeReply { error: ErrorCode::from_wire(code), mechanisms };
        prop_assert_eq!(decoded(&request, 1, &reply), Ok(expected));
    }
}

/// By name, as a broker lists topics in any order.
fn reordered_topics(mut topics: Vec<TopicOffsets>) -> Vec<TopicOffsets> {
    topics.sort_by(|a, b| a.topic.cmp(&b.topic));
    topics
}

/// A broker says so in the form of version 0, since Kafka 2.4 with its versions; librdkafka's mock
/// cluster in a form of its own.
#[test]
fn whatever_a_broker_says_that_does_not_know_the_version_it_does_not_know_it() {
    let odd = [&[0, 0, 0, 7, 0, 35][..], &[1, 0, 18, 0, 0, 0, 2, 0, 0, 0, 0]].concat();
    let rows = [
        ("before Kafka 2.4", payload(&api_versions_reply(35, &[]), 0)),
        ("since Kafka 2.4", payload(&api_versions_reply(35, &[(18, 0, 2), (3, 0, 8)]), 0)),
        ("the mock cluster", odd),
    ];
    for (name, reply) in rows {
        let reply = decode_frame(&ApiVersions, 4, &reply).unwrap().reply;
        assert_eq!(reply.error, Some(ErrorCode::UNSUPPORTED_VERSION), "{name}");
        assert_eq!(reply.versions, BrokerVersions::default(), "{name}");
    }
}

#[test]
fn a_reply_says_how_long_to_wait() {
    for sample in [(Metadata::KEY, 4, 31), (Metadata::KEY, 13, 31)] {
        let (_, version, millis) = sample;
        let request = Metadata { topics: Vec::new() };
        let reply = MetadataReply { error: None, brokers: Vec::new(), topics: Vec::new() };
        let reply = payload(&metadata_reply(version, &[], &reply, &[]), version);
        let decoded = decode_frame(&request, version, &reply).unwrap();
        assert_eq!(decoded.throttle, Duration::from_millis(millis), "{version}");
    }
}

#[test]
fn a_share_group_whose_topics_may_not_be_seen_is_one() {
    let request = ShareGroupDescribe { groups: ["g", "h"].map(Group::from).into() };
    let refused = |name: &str, code| (name.to_owned(), Some(Err(code)));
    let reply = [
        refused("g", ErrorCode::TOPIC_AUTHORIZATION_FAILED),
        refused("h", ErrorCode::GROUP_AUTHORIZATION_FAILED),
    ];
    let expected = vec![Some(Ok(IsShareGroup)), Some(Err(ErrorCode::GROUP_AUTHORIZATION_FAILED))];
    assert_eq!(decoded(&request, 1, &share_groups_reply(&reply, 0, &[])), Ok(expected));
}

#[test]
fn describe_configs_0_is_read_as_kafka_defines_it() {
    let request = DescribeConfigs { topics: vec![topic("a")], setting: "x" };
    let frame = request_frame(&request, 0, 1, "c").unwrap();
    let question = b"\0\0\0\x1a\0\x20\0\0\0\0\0\x01\0\x01c\0\0\0\x01\x02\0\x01a\0\0\0\x01\0\x01x";
    assert_eq!(frame.as_bytes(), question);
    let reply = b"\0\0\0\x01\0\0\0\0\0\0\0\x01\0\0\xff\xff\x02\0\x01a\0\0\0\x01\
        \0\x01x\0\x02on\0\x01\0";
    let reply = decode_frame(&request, 0, reply).unwrap().reply;
    assert_eq!(reply, [Some(Ok(Some("on".to_owned())))]);
}

#[test]
fn what_a_version_cannot_ask_is_not_sent() {
    fn refused<R: Request>(request: &R, version: i16) -> EncodeError {
        request_frame(request, version, 1, CLIENT).unwrap_err()
    }
    let group = |name: &str, topics| GroupQuestion { group: Group::from(name), topics };
    let committed = |groups| OffsetFetch { groups, require_stable: false };
    let (g, h) = (Group::from("g"), Group::from("h"));
    let nameless = |mut topic: FetchTopic| {
        topic.id = None;
        topic
    };
    let incremental = Fetch { session: FetchSession::begun(5), ..fetch(vec![]) };
    let not_in = |key, version, what| EncodeError::NotInVersion { key, version, what };
    let one = "other than one group";
    let long = "g".repeat(32_768);
    let rows = [
        (
            refused(&committed(vec![group("g", None), group("h", None)]), 7),
            not_in(ApiKey::OffsetFetch, 7, one),
        ),
        (refused(&committed(vec![]), 7), not_in(ApiKey::OffsetFetch, 7, one)),
        (
            refused(&committed(vec![group("g", None)]), 1),
            not_in(ApiKey::OffsetFetch, 1, "all offsets of a group"),
        ),
        (
            refused(&FindCoordinator { groups: vec![g, h] }, 3),
            not_in(ApiKey::FindCoordinator, 3, one),
        ),
        (
            refused(&fetch(vec![nameless(fetched_topic("a", 1, &[0]))]), 13),
            not_in(ApiKey::Fetch, 13, "a topic whose id is not known"),
        ),
        (refused(&incremental, 6), not_in(ApiKey::Fetch, 6, "what is new in a session")),
        (refused(&ApiVersions, 5), EncodeError::Version { key: ApiKey::ApiVersions, version: 5 }),
        (
            refused(&FindCoordinator { groups: vec![Group::from(long.as_str())] }, 4),
            EncodeError::TooLong { bytes: 32_768, max: 32_767 },
        ),
    ];
    for (error, expected) in rows {
        assert_eq!(error, expected);
    }
}

#[test]
fn a_question_says_which_versions_have_words_for_it() {
    let named = || fetched_topic("a", 1, &[0]);
    let nameless = || FetchTopic { id: None, ..named() };
    let session = |id| {
        let topics = [(topic("a"), id, [0, 1])];
        Some(Arc::new(InSession::new(topics)))
    };
    let forgotten = |id| vec![ForgottenTopic { name: topic("a"), id, partitions: vec![0] }];
    let rows = [
        ("nothing", fetch(vec![]), i16::MAX),
        ("ids", fetch(vec![named(), named()]), i16::MAX),
        ("a topic without one", fetch(vec![named(), nameless()]), 12),
        ("one to forget", Fetch { forgotten: forgotten(None), ..fetch(vec![]) }, 12),
        (
            "one to forget by id",
            Fetch { forgotten: forgotten(named().id), ..fetch(vec![]) },
            i16::MAX,
        ),
        ("a session", Fetch { in_session: session(None), ..fetch(vec![]) }, 12),
        ("a session by id", Fetch { in_session: session(named().id), ..fetch(vec![]) }, i16::MAX),
    ];
    for (name, request, expected) in rows {
        assert_eq!(request.highest(), expected, "{name}");
    }
    assert_eq!(Metadata { topics: vec![] }.highest(), i16::MAX);
}

#[test]
fn a_reply_may_name_what_the_session_has_and_is_told_its_place() {
    let session = [("a", 1, vec![0, 1]), ("b", 2, vec![7, 3, 7]), ("c", 3, vec![0])];
    let session = InSession::new(
        session.map(|(name, id, partitions)| (topic(name), Some([id; 16]), partitions)),
    );
    let topics = vec![
        fetched_topic("a", 1, &[0, 1]),
        fetched_topic("b", 2, &[3, 7]),
        fetched_topic("c", 3, &[0]),
    ];
    let request = Fetch {
        session: FetchSession::begun(5).next(),
        in_session: Some(Arc::new(session)),
        ..fetch(vec![])
    };
    let answered = [(1, 7), (0, 1), (1, 3), (2, 0)];
    let answered = answered.map(|(topic, index)| (fetched_nothing(topic, index), vec![]));
    for version in 7..=*Fetch::KEY.versions().end() {
        let asked: theirs::FetchRequest = read_back(&request, version);
        assert_eq!((asked.session_id, asked.session_epoch), (5, 2));
        let reply = fetch_reply(version, &topics, (0, 5), &answered);
        let reply = decoded(&request, version, &reply).unwrap();
        let places: Vec<_> =
            reply.partitions.iter().map(|fetched| (fetched.topic, fetched.partition)).collect();
        assert_eq!(places, [(1, 7), (0, 1), (1, 3), (2, 0)], "{version}");
        let twice = [&answered[..], &answered[..1]].concat();
        let twice = decoded(&request, version, &fetch_reply(version, &topics, (0, 5), &twice));
        assert_eq!(twice, Err(DecodeError::duplicate("partition", "7")), "{version}");
    }
    let name = request.in_session.unwrap().topic(1).map(ToString::to_string);
    assert_eq!(name.as_deref(), Some("b"));
}

#[test]
fn a_session_goes_on_with_one_after_its_last_number() {
    let session = FetchSession::begun(5);
    assert!(session.is_incremental() && !FetchSession::NEW.is_incremental());
    assert!(!FetchSession::NONE.is_incremental());
    assert_eq!(session.next(), FetchSession { id: 5, epoch: 2 });
    assert_eq!(FetchSession { id: 5, epoch: i32::MAX }.next(), session);
}

/// What is asked of a partition, and perhaps what a broker has of it, and the records.
fn fetched() -> impl Strategy<Value = (FetchPartition, Option<FetchedPartition>, Vec<u8>)> {
    let asked = (known_epoch(), 0..i64::MAX.unsigned_abs(), known_epoch(), any::<u32>()).prop_map(
        |(leader_epoch, fetch_offset, last_fetched_epoch, max_bytes)| FetchPartition {
            partition: 0,
            leader_epoch,
            fetch_offset,
            last_fetched_epoch,
            max_bytes,
        },
    );
    let known_offset = || 0..i64::MAX.unsigned_abs() / 2;
    let aborted = (any::<i64>(), known_offset())
        .prop_map(|(producer_id, first_offset)| AbortedTransaction { producer_id, first_offset });
    let end = (0..=i32::MAX, known_offset())
        .prop_map(|(epoch, end_offset)| EpochEnd { epoch, end_offset });
    let leader = (0..=i32::MAX, known_epoch())
        .prop_map(|(id, epoch)| CurrentLeader { id: BrokerId(id), epoch });
    let fetched = (
        prop::option::of(code()),
        (any_offset(), any_offset(), any_offset()),
        prop::collection::vec(aborted, 0..4),
        (prop::option::of(end), prop::option::of(leader)),
    );
    let fetched = fetched.prop_map(|(error, offsets, aborted, (diverging, leader))| {
        let (high_watermark, last_stable_offset, log_start_offset) = offsets;
        FetchedPartition {
            error,
            high_watermark,
            last_stable_offset,
            log_start_offset,
            aborted,
            diverging,
            leader,
            ..fetched_nothing(0, 0)
        }
    });
    (asked, prop::option::of(fetched), prop::collection::vec(any::<u8>(), 0..40))
}

fn code() -> impl Strategy<Value = ErrorCode> {
    any::<i16>().prop_filter_map("no error", ErrorCode::from_wire)
}

fn result<T: Debug + Clone>(
    value: impl Strategy<Value = T>,
) -> impl Strategy<Value = Result<T, ErrorCode>> {
    prop_oneof![4 => value.prop_map(Ok), 1 => code().prop_map(Err)]
}

fn answer<T: Debug + Clone>(value: impl Strategy<Value = T>) -> impl Strategy<Value = Answer<T>> {
    prop_oneof![5 => result(value).prop_map(Some), 1 => Just(None)]
}

fn topic_name() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9_-]{1,12}"
}

fn group_name() -> impl Strategy<Value = String> {
    "\\PC{0,8}"
}

/// Things by name, each once, in any order.
fn named<T: Debug + Clone>(
    name: impl Strategy<Value = String>,
    value: impl Strategy<Value = T>,
    count: RangeInclusive<usize>,
) -> impl Strategy<Value = Vec<(String, T)>> {
    prop::collection::btree_map(name, value, count)
        .prop_map(|map| map.into_iter().collect::<Vec<_>>())
        .prop_shuffle()
}

fn by_partition<T: Debug + Clone>(
    value: impl Strategy<Value = T>,
) -> impl Strategy<Value = Vec<(Partition, T)>> {
    prop::collection::btree_map(any::<i32>(), value, 0..6)
        .prop_map(|map| map.into_iter().collect::<Vec<_>>())
        .prop_shuffle()
}

fn known_epoch() -> impl Strategy<Value = Option<i32>> {
    prop::option::of(0..=i32::MAX)
}

fn any_offset() -> impl Strategy<Value = Option<Offset>> {
    // Larger ones are not offsets of a log.
    prop::option::of(0..i64::MAX.unsigned_abs() / 2)
}

fn committed() -> impl Strategy<Value = Committed> {
    named(topic_name(), by_partition(answer(any_offset())), 0..=4)
}

fn order() -> impl Strategy<Value = Vec<Index>> {
    prop_oneof![Just(Vec::new()), prop::collection::vec(any::<Index>(), 0..8)]
}

fn uuid() -> impl Strategy<Value = Option<[u8; 16]>> {
    prop::option::of(any::<[u8; 16]>().prop_filter("the zero id is none", |id| *id != [0; 16]))
}

fn broker(id: i32) -> impl Strategy<Value = Broker> {
    ("[a-z0-9.:-]{1,20}", 1..=u16::MAX).prop_map(move |(host, port)| Broker {
        id: BrokerId(id),
        host,
        port,
    })
}

fn brokers() -> impl Strategy<Value = Vec<Broker>> {
    prop::collection::btree_set(0..=i32::MAX, 0..5)
        .prop_flat_map(|ids| ids.into_iter().map(broker).collect::<Vec<_>>())
}

fn topic_metadata() -> impl Strategy<Value = TopicMetadata> {
    let partition = (prop::option::of(0..=i32::MAX), known_epoch(), prop::option::of(code()))
        .prop_map(|(leader, leader_epoch, error)| PartitionMetadata {
            leader: leader.map(BrokerId),
            leader_epoch,
            error,
        });
    (uuid(), prop::collection::vec(partition, 0..5))
        .prop_map(|(id, partitions)| TopicMetadata { id, partitions })
}
