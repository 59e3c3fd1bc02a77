//! The requests of a client, to have lies told without one.

use bytes::BytesMut;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::{
    ApiKey, ApiVersionsRequest, FetchRequest, FindCoordinatorRequest, GroupId, ListOffsetsRequest,
    MetadataRequest, OffsetFetchRequest, RequestHeader, SaslAuthenticateRequest,
    SaslHandshakeRequest, ShareGroupDescribeRequest,
};
use kafka_protocol::protocol::Encodable;
use sift_harness::hostile::{COMMITTED, NEW, PARTITIONS, TOPIC};

use super::lie::{text, topic_name};

/// A request of each kind about the topic, in the newest version that is offered or an old one.
pub(super) fn requests(newest: bool) -> Vec<Vec<u8>> {
    let partitions = 0..PARTITIONS;
    let name = || topic_name(TOPIC);
    let listed = partitions
        .clone()
        .map(|n| ListOffsetsPartition::default().with_partition_index(n).with_timestamp(-1));
    let listed = ListOffsetsTopic::default().with_name(name()).with_partitions(listed.collect());
    let old = OffsetFetchRequestTopic::default().with_name(name());
    let old = old.with_partition_indexes(partitions.clone().collect());
    let new = OffsetFetchRequestTopics::default().with_name(name());
    let new = new.with_partition_indexes(partitions.collect());
    let group = OffsetFetchRequestGroup::default().with_topics(Some(vec![new]));
    let group = group.with_group_id(GroupId(text("billing")));
    let fetch = OffsetFetchRequest::default();
    let metadata = MetadataRequestTopic::default().with_name(Some(name()));
    let coordinator = FindCoordinatorRequest::default();
    let records = (0..PARTITIONS)
        .map(|n| FetchPartition::default().with_partition(n).with_fetch_offset(COMMITTED));
    let records = FetchTopic::default().with_topic(name()).with_partitions(records.collect());
    let login = SaslAuthenticateRequest::default().with_auth_bytes("n,,n=alice,r=nonce".into());
    let scram = SaslHandshakeRequest::default().with_mechanism(text("SCRAM-SHA-256"));
    let plain = SaslHandshakeRequest::default().with_mechanism(text("PLAIN"));
    vec![
        request(ApiKey::ApiVersions, if newest { 4 } else { 0 }, &ApiVersionsRequest::default()),
        request(ApiKey::SaslHandshake, 1, if newest { &scram } else { &plain }),
        request(ApiKey::SaslAuthenticate, if newest { 2 } else { 0 }, &login),
        request(
            ApiKey::Metadata,
            if newest { 12 } else { 1 },
            &MetadataRequest::default().with_topics(Some(vec![metadata])),
        ),
        request(
            ApiKey::ListOffsets,
            if newest { 9 } else { 1 },
            &ListOffsetsRequest::default().with_topics(vec![listed]),
        ),
        request(
            ApiKey::Fetch,
            if newest { 16 } else { 4 },
            &FetchRequest::default().with_topics(vec![records]),
        ),
        request(
            ApiKey::FindCoordinator,
            if newest { 6 } else { 0 },
            &if newest {
                coordinator.with_coordinator_keys(vec![text("billing")])
            } else {
                coordinator.with_key(text("billing"))
            },
        ),
        request(
            ApiKey::ShareGroupDescribe,
            1,
            &ShareGroupDescribeRequest::default().with_group_ids(vec![GroupId(text(NEW))]),
        ),
        request(
            ApiKey::OffsetFetch,
            if newest { 9 } else { 1 },
            &if newest {
                fetch.with_groups(vec![group])
            } else {
                fetch.with_group_id(GroupId(text("billing"))).with_topics(Some(vec![old]))
            },
        ),
    ]
}

fn request(api: ApiKey, version: i16, body: &impl Encodable) -> Vec<u8> {
    let header = RequestHeader::default()
        .with_request_api_key(api as i16)
        .with_request_api_version(version)
        .with_client_id(Some(text("told")));
    let mut bytes = BytesMut::new();
    header.encode(&mut bytes, api.request_header_version(version)).expect("a header");
    body.encode(&mut bytes, version).expect("a request");
    let length = u32::try_from(bytes.len()).expect("a length");
    [&length.to_be_bytes()[..], &bytes].concat()
}
