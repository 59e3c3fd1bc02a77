//! Which brokers does the cluster have, and which of them leads each partition of these topics?
//!
//! Topics are asked for by name and never created by asking. No topics is a question for the
//! brokers alone.
//!
//! # References
//! - `MetadataRequest.json`, `MetadataResponse.json` · KIP-516: ids of topics

use std::collections::HashSet;

use super::aligned::{Asked, left_out, put};
use super::{Answer, BrokerId, Request, error, leader_epoch};
use crate::kafka::names::Topic;
use crate::kafka::wire::error_code::ErrorCode;
use crate::kafka::wire::reader::{DecodeError, Reader};
use crate::kafka::wire::versions::ApiKey;
use crate::kafka::wire::writer::Writer;

/// The most brokers of a cluster.
pub const MAX_BROKERS: usize = 4_096;

/// The most partitions of a topic.
pub const MAX_PARTITIONS: usize = 20_000;

/// Bytes of the longest host name that DNS allows.
const MAX_HOST_BYTES: usize = 255;

/// Asks for the brokers, and for these topics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// The topics, each once.
    pub topics: Vec<Topic>,
}

/// What a broker knows of its cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetadataReply {
    /// What is wrong with the question as a whole.
    pub error: Option<ErrorCode>,
    /// The brokers that are alive, each once.
    pub brokers: Vec<Broker>,
    /// The topics in the order they were asked for.
    pub topics: Vec<Answer<TopicMetadata>>,
}

/// Where a broker is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broker {
    /// Its number.
    pub id: BrokerId,
    /// Its name or address as it advertises it, of 1 to 255 bytes. Any text otherwise.
    pub host: String,
    /// Its port, not 0.
    pub port: u16,
}

/// A topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicMetadata {
    /// Its id, where the brokers have ids and the version tells them.
    pub id: Option<[u8; 16]>,
    /// Its partitions, each at its own number.
    pub partitions: Vec<PartitionMetadata>,
}

/// A partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionMetadata {
    /// Its leader, if it has one. It may be missing among the brokers.
    pub leader: Option<BrokerId>,
    /// The leader's epoch, from version 7 on.
    pub leader_epoch: Option<i32>,
    /// What is wrong with the partition.
    pub error: Option<ErrorCode>,
}

impl Request for Metadata {
    const KEY: ApiKey = ApiKey::Metadata;

    type Reply = MetadataReply;

    fn encode(&self, version: i16, to: &mut Writer) {
        to.count(self.topics.len());
        for topic in &self.topics {
            if version >= 10 {
                to.uuid([0; 16]);
            }
            to.string(topic.as_str());
            to.tags();
        }
        if version >= 4 {
            to.bool(false); // Create no topics.
        }
        if (8..=10).contains(&version) {
            to.bool(false); // No rights on the cluster.
        }
        if version >= 8 {
            to.bool(false); // No rights on topics.
        }
        to.tags();
    }

    fn decode(&self, version: i16, from: &mut Reader<'_>) -> Result<Self::Reply, DecodeError> {
        if version >= 3 {
            from.throttle()?;
        }
        let brokers = brokers(from)?;
        if version >= 2 {
            from.nullable_string("cluster id")?;
        }
        from.i32("controller id")?;
        let mut asked = Asked::new(&self.topics, Topic::as_str);
        let mut topics = left_out(self.topics.len());
        for _ in 0..from.count("topics", 5)? {
            let error = error(from)?;
            let name = from.string("topic")?;
            let (place, _) =
                asked.find(name).ok_or_else(|| DecodeError::not_asked("topic", name))?;
            let topic = topic(version, from)?;
            put(&mut topics, place, error.map_or(Ok(topic), Err))
                .ok_or_else(|| DecodeError::duplicate("topic", name))?;
        }
        if (8..=10).contains(&version) {
            from.i32("rights on the cluster")?;
        }
        let error = if version >= 13 { error(from)? } else { None };
        from.tags()?;
        Ok(MetadataReply { error, brokers, topics })
    }
}

impl Broker {
    /// Checks what a broker advertises.
    pub(super) fn checked(id: i32, host: &str, port: i32) -> Result<Self, DecodeError> {
        let negative = || DecodeError::Negative { what: "broker id", value: id.into() };
        let id = BrokerId::from_wire(id).ok_or_else(negative)?;
        if host.is_empty() || host.len() > MAX_HOST_BYTES {
            return Err(DecodeError::not_allowed("host", host));
        }
        let port = u16::try_from(port)
            .ok()
            .filter(|port| *port != 0)
            .ok_or_else(|| DecodeError::not_allowed("port", &port.to_string()))?;
        Ok(Self { id, host: host.to_owned(), port })
    }
}

fn brokers(from: &mut Reader<'_>) -> Result<Vec<Broker>, DecodeError> {
    const WHAT: &str = "brokers";
    let count = from.count(WHAT, 10)?;
    if count > MAX_BROKERS {
        return Err(DecodeError::Limit { what: WHAT, count, max: MAX_BROKERS });
    }
    let mut brokers = Vec::with_capacity(count);
    let mut ids = HashSet::with_capacity(count);
    for _ in 0..count {
        let id = from.i32("broker id")?;
        let host = from.string("host")?;
        let port = from.i32("port")?;
        from.nullable_string("rack")?;
        from.tags()?;
        if !ids.insert(id) {
            return Err(DecodeError::duplicate("broker", &id.to_string()));
        }
        brokers.push(Broker::checked(id, host, port)?);
    }
    Ok(brokers)
}

/// A topic after its name.
fn topic(version: i16, from: &mut Reader<'_>) -> Result<TopicMetadata, DecodeError> {
    const WHAT: &str = "partitions";
    let id = if version >= 10 { from.uuid("topic id")? } else { [0; 16] };
    from.bool("internal")?;
    let count = from.count(WHAT, 18)?;
    if count > MAX_PARTITIONS {
        return Err(DecodeError::Limit { what: WHAT, count, max: MAX_PARTITIONS });
    }
    // As many partitions as places, each in another place: then none is missing.
    let mut partitions = left_out(count);
    for _ in 0..count {
        let error = error(from)?;
        let index = from.i32("partition")?;
        let leader = BrokerId::from_wire(from.i32("leader")?);
        let leader_epoch = if version >= 7 { leader_epoch(from)? } else { None };
        from.skip_array("replicas", 4)?;
        from.skip_array("in-sync replicas", 4)?;
        if version >= 5 {
            from.skip_array("offline replicas", 4)?;
        }
        from.tags()?;
        let not_allowed = || DecodeError::not_allowed("partition", &index.to_string());
        let place = usize::try_from(index).ok().filter(|place| *place < count);
        let place = place.ok_or_else(not_allowed)?;
        put(&mut partitions, place, PartitionMetadata { leader, leader_epoch, error })
            .ok_or_else(|| DecodeError::duplicate("partition", &index.to_string()))?;
    }
    if version >= 8 {
        from.i32("rights on the topic")?;
    }
    from.tags()?;
    let partitions = partitions.into_iter().flatten().collect();
    Ok(TopicMetadata { id: (id != [0; 16]).then_some(id), partitions })
}
