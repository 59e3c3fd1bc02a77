//! What must hold for every request, judged by another implementation of the protocol.
//!
//! - `agreement`: questions and replies mean the same to both
//! - `hostile`: replies that a broker should not send
//!
//! `theirs` is what the other implementation says.

/// A tagged field that nobody knows; a version without tags leaves it out.
macro_rules! tagged {
    ($message:expr) => {
        $message.with_unknown_tagged_field(9_000, vec![1, 2, 3].into())
    };
}

mod agreement;
mod hostile;

use std::time::Duration;

use kafka_protocol::messages::{
    self as theirs, RequestHeader, ResponseHeader, api_versions_response,
    describe_configs_response, fetch_response, find_coordinator_response, list_offsets_response,
    metadata_response, offset_fetch_response, share_group_describe_response,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, StrBytes};
use proptest::sample::Index;

use super::*;
use crate::kafka::names::{Group, Partition, Topic};
use crate::kafka::wire::{correlation_id, decode_frame, request_frame};

const CORRELATION: i32 = 77;
const CLIENT: &str = "keda-sift/1";
const THROTTLE: i32 = 31;

/// What is answered per partition of a topic.
type ByPartition<T> = Vec<(Partition, Answer<T>)>;

/// What is answered per topic, in every form of OffsetFetch.
type Committed = Vec<(String, ByPartition<CommittedOffset>)>;

/// A request's number, its lowest and its highest version.
type Range = (i16, i16, i16);

/// What the question is, as the other implementation reads it.
fn read_back<R: Request, M: Decodable + HeaderVersion>(request: &R, version: i16) -> M {
    let frame = request_frame(request, version, CORRELATION, CLIENT).unwrap();
    let (length, mut payload) = frame.as_bytes().split_first_chunk().unwrap();
    assert_eq!(u32::from_be_bytes(*length) as usize, payload.len());
    let header = RequestHeader::decode(&mut payload, M::header_version(version)).unwrap();
    assert_eq!(header.request_api_key, R::KEY.number());
    assert_eq!(header.request_api_version, version);
    assert_eq!(header.correlation_id, CORRELATION);
    assert_eq!(header.client_id.as_deref(), Some(CLIENT));
    let message = M::decode(&mut payload, version).unwrap();
    assert!(payload.is_empty(), "{} {version}", R::KEY);
    message
}

/// The reply as the other implementation sends it, without its length.
fn payload<M: Encodable + HeaderVersion>(message: &M, version: i16) -> Vec<u8> {
    let mut payload = Vec::new();
    let header = ResponseHeader::default().with_correlation_id(CORRELATION);
    header.encode(&mut payload, M::header_version(version)).unwrap();
    message.encode(&mut payload, version).unwrap();
    payload
}

fn decoded<R: Request, M: Encodable + HeaderVersion>(
    request: &R,
    version: i16,
    message: &M,
) -> Result<R::Reply, DecodeError> {
    let payload = payload(message, version);
    assert_eq!(correlation_id(&payload), Ok(CORRELATION));
    decode_frame(request, version, &payload).map(|decoded| decoded.reply)
}

fn topic(name: &str) -> Topic {
    Topic::from(name)
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn topic_text(name: &str) -> theirs::TopicName {
    theirs::TopicName(text(name))
}

/// The wire's form of an error.
fn wire<T>(result: &Result<T, ErrorCode>) -> i16 {
    result.as_ref().err().map_or(0, |code| code.0)
}

fn wire_offset(offset: Option<Offset>) -> i64 {
    offset.map_or(-1, |offset| i64::try_from(offset).unwrap())
}

/// Reorders what a broker replies with, as long as `order` has something to say.
fn reordered<T>(mut parts: Vec<T>, order: &[Index]) -> Vec<T> {
    for (place, other) in order.iter().enumerate().take(parts.len()) {
        let other = other.index(parts.len());
        parts.swap(place, other);
    }
    parts
}

fn metadata_reply(
    version: i16,
    names: &[Topic],
    reply: &MetadataReply,
    order: &[Index],
) -> theirs::MetadataResponse {
    let brokers = reply.brokers.iter().map(|broker| {
        tagged!(metadata_response::MetadataResponseBroker::default())
            .with_node_id(broker.id.0.into())
            .with_host(text(&broker.host))
            .with_port(broker.port.into())
            .with_rack((broker.port % 2 == 0).then(|| text("rack")))
    });
    let partition = |(index, partition): (usize, &PartitionMetadata)| {
        tagged!(metadata_response::MetadataResponsePartition::default())
            .with_error_code(partition.error.map_or(0, |code| code.0))
            .with_partition_index(i32::try_from(index).unwrap())
            .with_leader_id(partition.leader.map_or(-1, |leader| leader.0).into())
            .with_leader_epoch(partition.leader_epoch.unwrap_or(-1))
            .with_replica_nodes(vec![1.into(), 2.into()])
            .with_isr_nodes(vec![1.into()])
            .with_offline_replicas(if version >= 5 { vec![2.into()] } else { vec![] })
    };
    let answered = names.iter().zip(&reply.topics).filter_map(|(name, answer)| {
        let result = answer.as_ref()?;
        let topic = tagged!(metadata_response::MetadataResponseTopic::default())
            .with_error_code(wire(result))
            .with_name(Some(topic_text(name.as_str())))
            .with_is_internal(version >= 1);
        let Ok(metadata) = result else { return Some(topic) };
        let partitions = metadata.partitions.iter().enumerate().map(partition).collect();
        let id = metadata.id.unwrap_or_default().to_vec();
        Some(
            topic
                .with_topic_id(id.try_into().unwrap())
                .with_partitions(reordered(partitions, order)),
        )
    });
    tagged!(theirs::MetadataResponse::default())
        .with_throttle_time_ms(THROTTLE)
        .with_brokers(brokers.collect())
        .with_cluster_id(Some(text("cluster")))
        .with_controller_id(1.into())
        .with_topics(reordered(answered.collect(), order))
        .with_error_code(if version >= 13 { reply.error.map_or(0, |code| code.0) } else { 0 })
}

fn coordinators_reply(
    version: i16,
    groups: &[Group],
    answers: &[Answer<Broker, Refusal>],
    order: &[Index],
) -> theirs::FindCoordinatorResponse {
    let reply = tagged!(theirs::FindCoordinatorResponse::default())
        .with_throttle_time_ms(if version >= 1 { THROTTLE } else { 0 });
    let parts = |answer: &Result<Broker, Refusal>| match answer {
        Ok(broker) => (broker.id.0, broker.host.clone(), broker.port.into(), 0, None),
        Err(refusal) => (-1, String::new(), -1, refusal.code.0, refusal.message.clone()),
    };
    if !FindCoordinator::is_batched(version) {
        let (id, host, port, code, message) = parts(answers[0].as_ref().unwrap());
        return reply
            .with_node_id(id.into())
            .with_host(text(&host))
            .with_port(port)
            .with_error_code(code)
            .with_error_message(message.filter(|_| version >= 1).map(|message| text(&message)));
    }
    let answered = groups.iter().zip(answers).filter_map(|(group, answer)| {
        let (id, host, port, code, message) = parts(answer.as_ref()?);
        let coordinator = tagged!(find_coordinator_response::Coordinator::default())
            .with_key(text(group.as_str()))
            .with_node_id(id.into())
            .with_host(text(&host))
            .with_port(port)
            .with_error_code(code)
            .with_error_message(message.map(|message| text(&message)));
        Some(coordinator)
    });
    reply.with_coordinators(reordered(answered.collect(), order))
}

fn offsets_reply(
    version: i16,
    groups: &[(String, Result<Committed, ErrorCode>)],
    order: &[Index],
) -> theirs::OffsetFetchResponse {
    use offset_fetch_response as r;
    let reply = tagged!(theirs::OffsetFetchResponse::default())
        .with_throttle_time_ms(if version >= 3 { THROTTLE } else { 0 });
    let none = Vec::new();
    if !OffsetFetch::is_batched(version) {
        let result = &groups[0].1;
        let topics = result.as_ref().unwrap_or(&none).iter().map(|(name, partitions)| {
            let answered = partitions.iter().filter_map(|(index, answer)| {
                let result = answer.as_ref()?;
                let partition = tagged!(r::OffsetFetchResponsePartition::default())
                    .with_partition_index(*index)
                    .with_committed_offset(wire_offset(result.unwrap_or_default()))
                    .with_committed_leader_epoch(if version >= 5 { 3 } else { -1 })
                    .with_metadata((index % 2 == 0).then(|| text("m")))
                    .with_error_code(wire(result));
                Some(partition)
            });
            tagged!(r::OffsetFetchResponseTopic::default())
                .with_name(topic_text(name))
                .with_partitions(reordered(answered.collect(), order))
        });
        return reply
            .with_topics(reordered(topics.collect(), order))
            .with_error_code(if version >= 2 { wire(result) } else { 0 });
    }
    let groups = groups.iter().map(|(group, result)| {
        let topics = result.as_ref().unwrap_or(&none).iter().map(|(name, partitions)| {
            let answered = partitions.iter().filter_map(|(index, answer)| {
                let result = answer.as_ref()?;
                let partition = tagged!(r::OffsetFetchResponsePartitions::default())
                    .with_partition_index(*index)
                    .with_committed_offset(wire_offset(result.unwrap_or_default()))
                    .with_committed_leader_epoch(3)
                    .with_metadata((index % 2 == 0).then(|| text("m")))
                    .with_error_code(wire(result));
                Some(partition)
            });
            tagged!(r::OffsetFetchResponseTopics::default())
                .with_name(topic_text(name))
                .with_partitions(reordered(answered.collect(), order))
        });
        tagged!(r::OffsetFetchResponseGroup::default())
            .with_group_id(theirs::GroupId(text(group)))
            .with_topics(reordered(topics.collect(), order))
            .with_error_code(wire(result))
    });
    reply.with_groups(reordered(groups.collect(), order))
}

fn list_offsets_reply(
    version: i16,
    topics: &[(String, ByPartition<ListedOffset>)],
    order: &[Index],
) -> theirs::ListOffsetsResponse {
    use list_offsets_response as r;
    let topics = topics.iter().map(|(name, partitions)| {
        let answered = partitions.iter().filter_map(|(index, answer)| {
            let result = answer.as_ref()?;
            let listed = result.ok();
            let epoch = listed.and_then(|listed| listed.leader_epoch).unwrap_or(-1);
            let partition = tagged!(r::ListOffsetsPartitionResponse::default())
                .with_partition_index(*index)
                .with_error_code(wire(result))
                .with_timestamp(-1)
                .with_offset(wire_offset(listed.and_then(|listed| listed.offset)))
                .with_leader_epoch(if version >= 4 { epoch } else { -1 });
            Some(partition)
        });
        tagged!(r::ListOffsetsTopicResponse::default())
            .with_name(topic_text(name))
            .with_partitions(reordered(answered.collect(), order))
    });
    tagged!(theirs::ListOffsetsResponse::default())
        .with_throttle_time_ms(if version >= 2 { THROTTLE } else { 0 })
        .with_topics(reordered(topics.collect(), order))
}

/// A question without a session.
fn fetch(topics: Vec<FetchTopic>) -> Fetch {
    Fetch {
        max_wait: Duration::from_millis(100),
        min_bytes: 1,
        max_bytes: 1_000,
        isolation: Isolation::ReadCommitted,
        session: FetchSession::NONE,
        topics,
        forgotten: Vec::new(),
        in_session: None,
    }
}

/// A topic, asked for from offset 9 on, whose id has this byte sixteen times.
fn fetched_topic(name: &str, id: u8, partitions: &[Partition]) -> FetchTopic {
    let partitions = partitions.iter().map(|partition| FetchPartition {
        partition: *partition,
        leader_epoch: Some(3),
        fetch_offset: 9,
        last_fetched_epoch: Some(2),
        max_bytes: 100,
    });
    FetchTopic { name: topic(name), id: Some([id; 16]), partitions: partitions.collect() }
}

/// A partition without records and without anything else to say.
fn fetched_nothing(topic: usize, partition: Partition) -> FetchedPartition {
    FetchedPartition {
        topic,
        partition,
        error: None,
        high_watermark: Some(9),
        last_stable_offset: Some(8),
        log_start_offset: None,
        aborted: Vec::new(),
        diverging: None,
        leader: None,
        records: 0..0,
    }
}

/// As a broker lists them: a topic comes again where another was between.
fn fetch_reply(
    version: i16,
    topics: &[FetchTopic],
    (error, session): (i16, i32),
    answered: &[(FetchedPartition, Vec<u8>)],
) -> theirs::FetchResponse {
    use fetch_response as r;
    let since = |first, value: i64| if version >= first { value } else { -1 };
    let mut responses: Vec<r::FetchableTopicResponse> = Vec::new();
    let mut last = None;
    for (fetched, records) in answered {
        let aborted = fetched.aborted.iter().map(|aborted| {
            tagged!(r::AbortedTransaction::default())
                .with_producer_id(aborted.producer_id.into())
                .with_first_offset(wire_offset(Some(aborted.first_offset)))
        });
        let mut partition = tagged!(r::PartitionData::default())
            .with_partition_index(fetched.partition)
            .with_error_code(fetched.error.map_or(0, |code| code.0))
            .with_high_watermark(wire_offset(fetched.high_watermark))
            .with_last_stable_offset(wire_offset(fetched.last_stable_offset))
            .with_log_start_offset(since(5, wire_offset(fetched.log_start_offset)))
            .with_aborted_transactions(
                Some(aborted.collect()).filter(|aborted: &Vec<_>| !aborted.is_empty()),
            )
            .with_records(Some(records.clone().into()).filter(|_| !records.is_empty()));
        if version >= 12 {
            let snapshot = r::SnapshotId::default().with_end_offset(3).with_epoch(1);
            partition = partition.with_snapshot_id(snapshot);
        }
        if let Some(end) = fetched.diverging.filter(|_| version >= 12) {
            let end = tagged!(r::EpochEndOffset::default())
                .with_epoch(end.epoch)
                .with_end_offset(wire_offset(Some(end.end_offset)));
            partition = partition.with_diverging_epoch(end);
        }
        if let Some(leader) = fetched.leader.filter(|_| version >= 12) {
            let leader = tagged!(r::LeaderIdAndEpoch::default())
                .with_leader_id(leader.id.0.into())
                .with_leader_epoch(leader.epoch.unwrap_or(-1));
            partition = partition.with_current_leader(leader);
        }
        if last.replace(fetched.topic) != Some(fetched.topic) {
            let asked = &topics[fetched.topic];
            let topic = tagged!(r::FetchableTopicResponse::default());
            responses.push(if version >= 13 {
                topic.with_topic_id(asked.id.unwrap().to_vec().try_into().unwrap())
            } else {
                topic.with_topic(topic_text(asked.name.as_str()))
            });
        }
        responses.last_mut().unwrap().partitions.push(partition);
    }
    let reply = tagged!(theirs::FetchResponse::default())
        .with_throttle_time_ms(THROTTLE)
        .with_responses(responses);
    let reply = if version >= 16 {
        let node = tagged!(r::NodeEndpoint::default()).with_host(text("kafka.svc")).with_port(1);
        reply.with_node_endpoints(vec![node])
    } else {
        reply
    };
    if version < 7 { reply } else { reply.with_error_code(error).with_session_id(session) }
}

fn configs_reply(
    version: i16,
    topics: &[(String, Answer<Option<String>>)],
    order: &[Index],
) -> theirs::DescribeConfigsResponse {
    use describe_configs_response as r;
    let answered = topics.iter().filter_map(|(name, answer)| {
        let result = answer.as_ref()?;
        let setting = result.as_ref().ok().map(|value| {
            let synonym = tagged!(r::DescribeConfigsSynonym::default())
                .with_name(text("log.cleanup.policy"))
                .with_value(None)
                .with_source(5);
            tagged!(r::DescribeConfigsResourceResult::default())
                .with_name(text("cleanup.policy"))
                .with_value(value.as_deref().map(text))
                .with_config_source(5)
                .with_synonyms(vec![synonym])
                .with_config_type(if version >= 3 { 7 } else { 0 })
                .with_documentation((version >= 3).then(|| text("words")))
        });
        let resource = tagged!(r::DescribeConfigsResult::default())
            .with_error_code(wire(result))
            .with_error_message(result.as_ref().err().map(|_| text("no")))
            .with_resource_type(2)
            .with_resource_name(text(name))
            .with_configs(setting.into_iter().collect());
        Some(resource)
    });
    tagged!(theirs::DescribeConfigsResponse::default())
        .with_throttle_time_ms(THROTTLE)
        .with_results(reordered(answered.collect(), order))
}

fn share_groups_reply(
    groups: &[(String, Answer<IsShareGroup>)],
    members: usize,
    order: &[Index],
) -> theirs::ShareGroupDescribeResponse {
    use share_group_describe_response as r;
    let member = |number: usize| {
        let topic = |name| {
            tagged!(r::TopicPartitions::default())
                .with_topic_name(topic_text(name))
                .with_partitions((0..3).collect())
        };
        let assigned =
            tagged!(r::Assignment::default()).with_topic_partitions(vec![topic("a"), topic("b")]);
        tagged!(r::Member::default())
            .with_member_id(text("member"))
            .with_rack_id(number.is_multiple_of(2).then(|| text("rack")))
            .with_member_epoch(7)
            .with_client_id(text("client"))
            .with_client_host(text("/10.0.0.1"))
            .with_subscribed_topic_names(vec![topic_text("a"), topic_text("b")])
            .with_assignment(assigned)
    };
    let described = groups.iter().filter_map(|(name, answer)| {
        let result = answer.as_ref()?;
        let group = tagged!(r::DescribedGroup::default())
            .with_error_code(wire(result))
            .with_error_message(result.is_err().then(|| text("no")))
            .with_group_id(theirs::GroupId(text(name)));
        let members = (0..members).map(member).collect();
        Some(if result.is_ok() {
            group
                .with_group_state(text("Stable"))
                .with_assignor_name(text("simple"))
                .with_members(members)
        } else {
            group
        })
    });
    tagged!(theirs::ShareGroupDescribeResponse::default())
        .with_throttle_time_ms(THROTTLE)
        .with_groups(reordered(described.collect(), order))
}

fn api_versions_reply(error: i16, ranges: &[Range]) -> theirs::ApiVersionsResponse {
    use api_versions_response as r;
    let ranges = ranges.iter().map(|(key, low, high)| {
        tagged!(r::ApiVersion::default())
            .with_api_key(*key)
            .with_min_version(*low)
            .with_max_version(*high)
    });
    let feature = tagged!(r::SupportedFeatureKey::default())
        .with_name(text("metadata.version"))
        .with_max_version(20);
    tagged!(theirs::ApiVersionsResponse::default())
        .with_error_code(error)
        .with_api_keys(ranges.collect())
        .with_throttle_time_ms(THROTTLE)
        .with_supported_features(vec![feature])
        .with_finalized_features_epoch(5)
}
