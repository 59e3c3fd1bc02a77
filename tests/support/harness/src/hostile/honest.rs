//! What a broker with one topic would answer. What it answers is bent afterwards.

use std::iter;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult,
};
use kafka_protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use kafka_protocol::messages::share_group_describe_response::DescribedGroup;
use kafka_protocol::messages::{
    ApiKey, ApiVersionsResponse, BrokerId, DescribeConfigsRequest, DescribeConfigsResponse,
    FetchRequest, FetchResponse, FindCoordinatorRequest, FindCoordinatorResponse,
    ListOffsetsRequest, ListOffsetsResponse, MetadataRequest, MetadataResponse, OffsetFetchRequest,
    OffsetFetchResponse, RequestHeader, SaslAuthenticateRequest, SaslAuthenticateResponse,
    SaslHandshakeRequest, SaslHandshakeResponse, ShareGroupDescribeRequest,
    ShareGroupDescribeResponse, TopicName,
};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use uuid::Uuid;

use super::batches::Batch;
use super::login::Session;
use super::{Asked, framed};

/// The only topic.
pub const TOPIC: &str = "orders";

/// How many partitions it has.
pub const PARTITIONS: i32 = 3;

/// How many messages wait in it for any group.
pub const TRUTH: i64 = (END - COMMITTED) * PARTITIONS as i64;

/// A text that is null in the bytes of a reply, also where the protocol has no null.
pub const NULL: &str = "\u{1}null\u{1}";

/// The end offset of each partition.
pub const END: i64 = 10;

/// A group that has committed nothing.
pub const NEW: &str = "new";

/// What any other group has committed in each, and where a batch begins.
pub const COMMITTED: i64 = 4;

/// The type of every second message, the first one's.
pub const TYPE: &str = "a";

/// The type of the others.
const OTHER_TYPE: &str = "b";

/// How many messages of [`TYPE`] wait in each partition for any group.
pub const OF_TYPE: i64 = (END - COMMITTED) / 2;

const EARLIEST: i64 = -2;
const ID: Uuid = Uuid::from_u128(0x1234_5678_9abc_4def_8123_4567_89ab_cdef);
const BROKER: BrokerId = BrokerId(1);
const OUT_OF_RANGE: i16 = 1;
const UNKNOWN_TOPIC: i16 = 3;
const UNSUPPORTED_VERSION: i16 = 35;
const GROUP_NOT_FOUND: i16 = 69;

/// The newest version of ApiVersions that it knows.
const NEWEST_VERSIONS: i16 = 4;

/// What it offers: what is answered, and what a client may look for to tell how old it is.
const OFFERED: [(ApiKey, i16, i16); 15] = [
    (ApiKey::Produce, 3, 11),
    (ApiKey::Fetch, 4, 16),
    (ApiKey::ListOffsets, 1, 9),
    (ApiKey::Metadata, 0, 12),
    (ApiKey::OffsetCommit, 2, 8),
    (ApiKey::OffsetFetch, 1, 9),
    (ApiKey::FindCoordinator, 0, 6),
    (ApiKey::JoinGroup, 0, 9),
    (ApiKey::Heartbeat, 0, 4),
    (ApiKey::SyncGroup, 0, 5),
    (ApiKey::SaslHandshake, 0, 1),
    (ApiKey::ApiVersions, 0, NEWEST_VERSIONS),
    (ApiKey::DescribeConfigs, 1, 4),
    (ApiKey::SaslAuthenticate, 0, 2),
    (ApiKey::ShareGroupDescribe, 1, 1),
];

/// A reply that is not bytes yet.
pub enum Answer {
    /// To ApiVersions.
    Versions(ApiVersionsResponse),
    /// To Metadata.
    Metadata(MetadataResponse),
    /// To Fetch.
    Fetch(FetchResponse),
    /// To ListOffsets.
    ListOffsets(ListOffsetsResponse),
    /// To OffsetFetch.
    OffsetFetch(OffsetFetchResponse),
    /// To FindCoordinator.
    Coordinator(FindCoordinatorResponse),
    /// To DescribeConfigs.
    Configs(DescribeConfigsResponse),
    /// To ShareGroupDescribe.
    ShareGroups(ShareGroupDescribeResponse),
    /// To SaslHandshake.
    Handshake(SaslHandshakeResponse),
    /// To SaslAuthenticate.
    Authenticate(SaslAuthenticateResponse),
}

impl Answer {
    /// The reply as it goes over the wire, in the version that was asked for.
    pub(super) fn frame(mut self, asked: &Asked) -> Vec<u8> {
        let mut version = asked.version;
        self.fit(version);
        let mut body = BytesMut::new();
        let encoded = match &self {
            Self::Versions(reply) => {
                if version > NEWEST_VERSIONS {
                    version = 0;
                }
                reply.encode(&mut body, version)
            }
            Self::Metadata(reply) => reply.encode(&mut body, version),
            Self::Fetch(reply) => reply.encode(&mut body, version),
            Self::ListOffsets(reply) => reply.encode(&mut body, version),
            Self::OffsetFetch(reply) => reply.encode(&mut body, version),
            Self::Coordinator(reply) => reply.encode(&mut body, version),
            Self::Configs(reply) => reply.encode(&mut body, version),
            Self::ShareGroups(reply) => reply.encode(&mut body, version),
            Self::Handshake(reply) => reply.encode(&mut body, version),
            Self::Authenticate(reply) => reply.encode(&mut body, version),
        };
        encoded.expect("a reply that can be written");
        let tagged = asked.api.response_header_version(version) > 0;
        framed(asked.correlation, tagged, &with_nulls(body))
    }

    /// Leaves out what a version has no room for.
    fn fit(&mut self, version: i16) {
        match self {
            Self::Metadata(reply) if version < 10 => {
                reply.topics.iter_mut().for_each(|topic| topic.topic_id = Uuid::nil());
            }
            Self::Fetch(reply) => fit_fetched(reply, version),
            Self::ListOffsets(reply) if version < 4 => {
                let topics = reply.topics.iter_mut();
                let partitions = topics.flat_map(|topic| &mut topic.partitions);
                partitions.for_each(|partition| partition.leader_epoch = -1);
            }
            Self::OffsetFetch(reply) if version < 8 => reply.groups.clear(),
            Self::OffsetFetch(reply) => {
                reply.topics.clear();
                reply.error_code = 0;
            }
            Self::Coordinator(reply) if version < 4 => reply.coordinators.clear(),
            Self::Coordinator(reply) => {
                let FindCoordinatorResponse { throttle_time_ms, coordinators, .. } = reply;
                *reply = FindCoordinatorResponse::default()
                    .with_throttle_time_ms(*throttle_time_ms)
                    .with_coordinators(std::mem::take(coordinators));
            }
            _ => {}
        }
    }
}

fn fit_fetched(reply: &mut FetchResponse, version: i16) {
    if version < 7 {
        (reply.error_code, reply.session_id) = (0, 0);
    }
    if version < 16 {
        reply.node_endpoints.clear();
    }
    for partition in reply.responses.iter_mut().flat_map(|topic| &mut topic.partitions) {
        if version < 5 {
            partition.log_start_offset = -1;
        }
        if version < 11 {
            partition.preferred_read_replica = BrokerId(-1);
        }
        if version < 12 {
            let known = PartitionData::default();
            partition.diverging_epoch = known.diverging_epoch;
            partition.current_leader = known.current_leader;
        }
    }
}

/// A request out of its frame; none if it is not one that is answered.
pub(super) fn read(mut frame: Bytes) -> Option<Asked> {
    let api = ApiKey::try_from(i16::from_be_bytes(frame.get(..2)?.try_into().ok()?)).ok()?;
    let version = i16::from_be_bytes(frame.get(2..4)?.try_into().ok()?);
    let header = api.request_header_version(version);
    let header = RequestHeader::decode(&mut frame, header).ok()?;
    Some(Asked { api, version, correlation: header.correlation_id, body: frame })
}

/// The honest reply; none if the broker does not know the request.
pub(super) fn answer(asked: &Asked, port: u16, login: &mut Session) -> Option<Answer> {
    let Asked { api, version, .. } = *asked;
    let mut body = asked.body.clone();
    Some(match api {
        ApiKey::ApiVersions => Answer::Versions(versions(version)),
        ApiKey::Metadata => {
            Answer::Metadata(metadata(MetadataRequest::decode(&mut body, version).ok()?, port))
        }
        ApiKey::Fetch => Answer::Fetch(fetch(&asked.fetch()?)),
        ApiKey::ListOffsets => {
            Answer::ListOffsets(list_offsets(ListOffsetsRequest::decode(&mut body, version).ok()?))
        }
        ApiKey::OffsetFetch => {
            let request = OffsetFetchRequest::decode(&mut body, version).ok()?;
            Answer::OffsetFetch(offset_fetch(request, version))
        }
        ApiKey::FindCoordinator => {
            let request = FindCoordinatorRequest::decode(&mut body, version).ok()?;
            Answer::Coordinator(coordinator(request, port))
        }
        ApiKey::DescribeConfigs => {
            Answer::Configs(configs(DescribeConfigsRequest::decode(&mut body, version).ok()?))
        }
        ApiKey::ShareGroupDescribe => {
            let request = ShareGroupDescribeRequest::decode(&mut body, version).ok()?;
            Answer::ShareGroups(share_groups(request))
        }
        ApiKey::SaslHandshake => {
            let request = SaslHandshakeRequest::decode(&mut body, version).ok()?;
            Answer::Handshake(login.handshake(&request))
        }
        ApiKey::SaslAuthenticate => {
            let request = SaslAuthenticateRequest::decode(&mut body, version).ok()?;
            Answer::Authenticate(login.authenticate(&request))
        }
        _ => return None,
    })
}

fn versions(version: i16) -> ApiVersionsResponse {
    let entry = |(api, min, max): (ApiKey, i16, i16)| {
        ApiVersion::default().with_api_key(api as i16).with_min_version(min).with_max_version(max)
    };
    let error = if version > NEWEST_VERSIONS { UNSUPPORTED_VERSION } else { 0 };
    ApiVersionsResponse::default()
        .with_error_code(error)
        .with_api_keys(OFFERED.into_iter().map(entry).collect())
}

fn metadata(request: MetadataRequest, port: u16) -> MetadataResponse {
    let topic = |name: TopicName| {
        let topic = MetadataResponseTopic::default().with_name(Some(name.clone()));
        if name.as_str() != TOPIC {
            return topic.with_error_code(UNKNOWN_TOPIC);
        }
        let partition = |index| {
            MetadataResponsePartition::default()
                .with_partition_index(index)
                .with_leader_id(BROKER)
                .with_leader_epoch(0)
                .with_replica_nodes(vec![BROKER])
                .with_isr_nodes(vec![BROKER])
        };
        topic.with_topic_id(ID).with_partitions((0..PARTITIONS).map(partition).collect())
    };
    let names: Vec<TopicName> = match request.topics {
        None => vec![name(TOPIC)],
        Some(topics) => {
            topics.into_iter().map(|topic| topic.name.unwrap_or_else(|| name(TOPIC))).collect()
        }
    };
    let broker = MetadataResponseBroker::default()
        .with_node_id(BROKER)
        .with_host(StrBytes::from_static_str("127.0.0.1"))
        .with_port(port.into());
    MetadataResponse::default()
        .with_brokers(vec![broker])
        .with_cluster_id(Some(StrBytes::from_static_str("a2VkYS1zaWZ0LXRlc3RzLg")))
        .with_controller_id(BROKER)
        .with_topics(names.into_iter().map(topic).collect())
}

impl Asked {
    /// The request, if it is a fetch.
    pub(super) fn fetch(&self) -> Option<FetchRequest> {
        let mut body = self.body.clone();
        let is_fetch = self.api == ApiKey::Fetch;
        is_fetch.then(|| FetchRequest::decode(&mut body, self.version).ok()).flatten()
    }
}

/// What a partition holds from an offset on.
pub fn log(from: i64) -> Bytes {
    let types = |range: std::ops::Range<i64>| {
        range.map(|offset| if offset % 2 == 0 { TYPE } else { OTHER_TYPE })
    };
    let mut bytes = BytesMut::new();
    for range in [0..COMMITTED, COMMITTED..END].into_iter().filter(|range| range.end > from) {
        bytes.extend_from_slice(&Batch::of_types(range.start, types(range)).bytes());
    }
    bytes.freeze()
}

fn fetch(request: &FetchRequest) -> FetchResponse {
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|asked| {
            let partition = PartitionData::default()
                .with_partition_index(asked.partition)
                .with_high_watermark(END)
                .with_last_stable_offset(END)
                .with_log_start_offset(0)
                .with_aborted_transactions(Some(Vec::new()))
                .with_preferred_read_replica(BrokerId(-1));
            match asked.fetch_offset {
                0..=END => partition.with_records(Some(log(asked.fetch_offset))),
                _ => partition.with_error_code(OUT_OF_RANGE).with_records(Some(Bytes::new())),
            }
        });
        FetchableTopicResponse::default()
            .with_topic(topic.topic.clone())
            .with_topic_id(topic.topic_id)
            .with_partitions(partitions.collect())
    });
    FetchResponse::default().with_responses(topics.collect())
}

fn list_offsets(request: ListOffsetsRequest) -> ListOffsetsResponse {
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.into_iter().map(|partition| {
            let offset = if partition.timestamp == EARLIEST { 0 } else { END };
            ListOffsetsPartitionResponse::default()
                .with_partition_index(partition.partition_index)
                .with_timestamp(-1)
                .with_offset(offset)
                .with_leader_epoch(0)
        });
        ListOffsetsTopicResponse::default()
            .with_name(topic.name)
            .with_partitions(partitions.collect())
    });
    ListOffsetsResponse::default().with_topics(topics.collect())
}

fn offset_fetch(request: OffsetFetchRequest, version: i16) -> OffsetFetchResponse {
    let every = || (name(TOPIC), (0..PARTITIONS).collect::<Vec<i32>>());
    let committed = |group: &str| if group == NEW { -1 } else { COMMITTED };
    if version < 8 {
        let offset = committed(&request.group_id);
        let asked: Vec<_> = match request.topics {
            None => vec![every()],
            Some(topics) => topics.into_iter().map(|it| (it.name, it.partition_indexes)).collect(),
        };
        let topics = asked.into_iter().map(|(name, partitions)| {
            let partitions = partitions.into_iter().map(|index| {
                OffsetFetchResponsePartition::default()
                    .with_partition_index(index)
                    .with_committed_offset(offset)
                    .with_metadata(Some(StrBytes::new()))
            });
            OffsetFetchResponseTopic::default()
                .with_name(name)
                .with_partitions(partitions.collect())
        });
        return OffsetFetchResponse::default().with_topics(topics.collect());
    }
    let groups = request.groups.into_iter().map(|group| {
        let offset = committed(&group.group_id);
        let asked: Vec<_> = match group.topics {
            None => vec![every()],
            Some(topics) => topics.into_iter().map(|it| (it.name, it.partition_indexes)).collect(),
        };
        let topics = asked.into_iter().map(|(name, partitions)| {
            let partitions = partitions.into_iter().map(|index| {
                OffsetFetchResponsePartitions::default()
                    .with_partition_index(index)
                    .with_committed_offset(offset)
                    .with_metadata(Some(StrBytes::new()))
            });
            OffsetFetchResponseTopics::default()
                .with_name(name)
                .with_partitions(partitions.collect())
        });
        OffsetFetchResponseGroup::default()
            .with_group_id(group.group_id)
            .with_topics(topics.collect())
    });
    OffsetFetchResponse::default().with_groups(groups.collect())
}

fn coordinator(request: FindCoordinatorRequest, port: u16) -> FindCoordinatorResponse {
    let host = StrBytes::from_static_str("127.0.0.1");
    let coordinators = request.coordinator_keys.into_iter().map(|key| {
        Coordinator::default()
            .with_key(key)
            .with_node_id(BROKER)
            .with_host(host.clone())
            .with_port(port.into())
    });
    // Older versions have room for the first of these alone, newer ones for the last.
    FindCoordinatorResponse::default()
        .with_node_id(BROKER)
        .with_host(host.clone())
        .with_port(port.into())
        .with_coordinators(coordinators.collect())
}

fn configs(request: DescribeConfigsRequest) -> DescribeConfigsResponse {
    let results = request.resources.into_iter().map(|resource| {
        let policy = DescribeConfigsResourceResult::default()
            .with_name(StrBytes::from_static_str("cleanup.policy"))
            .with_value(Some(StrBytes::from_static_str("delete")))
            .with_config_source(5);
        DescribeConfigsResult::default()
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name)
            .with_configs(vec![policy])
    });
    DescribeConfigsResponse::default().with_results(results.collect())
}

fn share_groups(request: ShareGroupDescribeRequest) -> ShareGroupDescribeResponse {
    let groups = request.group_ids.into_iter().map(|group| {
        DescribedGroup::default().with_group_id(group).with_error_code(GROUP_NOT_FOUND)
    });
    ShareGroupDescribeResponse::default().with_groups(groups.collect())
}

/// Puts nulls where [`NULL`] stands.
fn with_nulls(body: BytesMut) -> BytesMut {
    let null = NULL.as_bytes();
    let plain: Vec<u8> =
        (null.len() as i16).to_be_bytes().into_iter().chain(null.iter().copied()).collect();
    let compact: Vec<u8> = iter::once(null.len() as u8 + 1).chain(null.iter().copied()).collect();
    // What is as large as this is made of records, and looking through it takes long.
    if body.len() > 1 << 20 || !body.windows(null.len()).any(|window| window == null) {
        return body;
    }
    let mut with = BytesMut::with_capacity(body.len());
    let mut at = 0;
    while at < body.len() {
        if body[at..].starts_with(&plain) {
            with.extend_from_slice(&(-1_i16).to_be_bytes());
            at += plain.len();
        } else if body[at..].starts_with(&compact) {
            with.extend_from_slice(&[0]);
            at += compact.len();
        } else {
            with.extend_from_slice(&body[at..=at]);
            at += 1;
        }
    }
    with
}

fn name(text: &'static str) -> TopicName {
    TopicName(StrBytes::from_static_str(text))
}
