//! Which offset has each of these partitions at its start, at its end, or at a point in time?
//!
//! A partition may be asked for once in a question: start and end are two questions.
//!
//! # References
//! - `ListOffsetsRequest.json`, `ListOffsetsResponse.json` · KIP-79, KIP-207, KIP-320
//! - KIP-1075: the time-out for offsets in remote storage

use super::aligned::{Asked, left_out, put};
use super::{Answer, Request, error, leader_epoch, offset};
use crate::kafka::names::{Offset, Partition, Topic};
use crate::kafka::wire::reader::{DecodeError, Reader};
use crate::kafka::wire::versions::ApiKey;
use crate::kafka::wire::writer::Writer;

/// The id of a client, which is no replica.
const NO_REPLICA: i32 = -1;

/// How long a broker may look in remote storage, in milliseconds.
const REMOTE_TIMEOUT: i32 = 5_000;

/// Asks for offsets of partitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListOffsets {
    /// Which end is meant by [`Position::Latest`].
    pub isolation: Isolation,
    /// The partitions, by topic. Each topic, and in it each partition, once.
    pub topics: Vec<(Topic, Vec<PartitionPosition>)>,
}

/// Which records count as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// All: the latest offset is the high watermark.
    ReadUncommitted,
    /// Those of no open transaction: the latest offset is the last stable offset. Before version 2
    /// it is the high watermark nevertheless.
    ReadCommitted,
}

/// Asks for one offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionPosition {
    /// The partition.
    pub partition: Partition,
    /// Its leader's epoch, if known. A broker that knows another one says so, from version 4 on.
    pub leader_epoch: Option<i32>,
    /// Where.
    pub position: Position,
}

/// A place in a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Position {
    /// The log start offset.
    Earliest,
    /// The end offset.
    Latest,
    /// The first record of this time or later, in milliseconds since 1970.
    Since(u64),
}

/// An offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListedOffset {
    /// The offset; none where no record is of the time asked for or later.
    pub offset: Option<Offset>,
    /// The epoch of the leader, if it is known, from version 4 on.
    pub leader_epoch: Option<i32>,
}

impl Position {
    fn timestamp(self) -> i64 {
        match self {
            Self::Earliest => -2,
            Self::Latest => -1,
            Self::Since(millis) => i64::try_from(millis).unwrap_or(i64::MAX),
        }
    }
}

impl Request for ListOffsets {
    const KEY: ApiKey = ApiKey::ListOffsets;

    /// The offsets in the order of the topics and their partitions.
    type Reply = Vec<Vec<Answer<ListedOffset>>>;

    fn encode(&self, version: i16, to: &mut Writer) {
        to.i32(NO_REPLICA);
        if version >= 2 {
            to.i8((self.isolation == Isolation::ReadCommitted).into());
        }
        to.count(self.topics.len());
        for (topic, partitions) in &self.topics {
            to.string(topic.as_str());
            to.count(partitions.len());
            for asked in partitions {
                to.i32(asked.partition);
                if version >= 4 {
                    to.i32(asked.leader_epoch.unwrap_or(-1));
                }
                to.i64(asked.position.timestamp());
                to.tags();
            }
            to.tags();
        }
        if version >= 10 {
            to.i32(REMOTE_TIMEOUT);
        }
        to.tags();
    }

    fn decode(&self, version: i16, from: &mut Reader<'_>) -> Result<Self::Reply, DecodeError> {
        if version >= 2 {
            from.throttle()?;
        }
        let mut asked = Asked::new(&self.topics, |(topic, _)| topic.as_str());
        let mut answers = left_out(self.topics.len());
        for _ in 0..from.count("topics", 2)? {
            let name = from.string("topic")?;
            let (place, (_, partitions)) =
                asked.find(name).ok_or_else(|| DecodeError::not_asked("topic", name))?;
            let offsets = offsets(version, partitions, from)?;
            put(&mut answers, place, offsets)
                .ok_or_else(|| DecodeError::duplicate("topic", name))?;
        }
        from.tags()?;
        let with_question = answers.into_iter().zip(&self.topics);
        let whole = with_question
            .map(|(answer, (_, partitions))| answer.unwrap_or_else(|| left_out(partitions.len())));
        Ok(whole.collect())
    }
}

/// A topic after its name.
fn offsets(
    version: i16,
    partitions: &[PartitionPosition],
    from: &mut Reader<'_>,
) -> Result<Vec<Answer<ListedOffset>>, DecodeError> {
    let mut asked = Asked::new(partitions, |asked| asked.partition);
    let mut answers = left_out(partitions.len());
    for _ in 0..from.count("partitions", 22)? {
        let index = from.i32("partition")?;
        let error = error(from)?;
        from.i64("timestamp")?;
        let value = from.i64("offset")?;
        let leader_epoch = if version >= 4 { leader_epoch(from)? } else { None };
        from.tags()?;
        let (place, _) = asked
            .find(&index)
            .ok_or_else(|| DecodeError::not_asked("partition", &index.to_string()))?;
        let answer = match error {
            Some(code) => Err(code),
            None => Ok(ListedOffset { offset: offset(value)?, leader_epoch }),
        };
        put(&mut answers, place, answer)
            .ok_or_else(|| DecodeError::duplicate("partition", &index.to_string()))?;
    }
    from.tags()?;
    Ok(answers)
}
