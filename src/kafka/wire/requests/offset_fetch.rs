//! Which offsets has each of these groups committed?
//!
//! From version 8 on one question has many groups; before, exactly one. A group may be asked for
//! partitions by name, or for all that it has committed.
//!
//! A group that does not exist is no error: it has committed nothing.
//!
//! # References
//! - `OffsetFetchRequest.json`, `OffsetFetchResponse.json` · KIP-709: many groups
//! - KIP-447: offsets that an open transaction is about to commit

use std::collections::HashSet;

use super::aligned::{Asked, left_out, put};
use super::{Answer, Request, error};
use crate::kafka::names::{Group, Offset, Partition, Topic};
use crate::kafka::wire::error_code::ErrorCode;
use crate::kafka::wire::reader::{DecodeError, Reader};
use crate::kafka::wire::versions::ApiKey;
use crate::kafka::wire::writer::{EncodeError, Writer};

/// The first version that takes many groups.
const BATCHED: i16 = 8;

/// Bytes of the shortest partition in a reply.
const PARTITION_BYTES: usize = 16;

/// Topics that a group can have committed on, of which all are asked for.
pub const MAX_TOPICS: usize = 10_000;

/// Asks for committed offsets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OffsetFetch {
    /// The groups, each once; exactly one where the version is not
    /// [batched](OffsetFetch::is_batched).
    pub groups: Vec<GroupQuestion>,
    /// Whether an offset that an open transaction is about to move is an error, which is
    /// UNSTABLE_OFFSET_COMMIT. Before version 7 it never is.
    pub require_stable: bool,
}

/// Asks for what one group committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupQuestion {
    /// The group.
    pub group: Group,
    /// The partitions by topic, each topic, and in it each partition, once. `None` is all that the
    /// group committed, from version 2 on.
    pub topics: Option<Vec<(Topic, Vec<Partition>)>>,
}

/// What one group committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GroupOffsets {
    /// The offsets in the order of the topics and partitions that were asked for.
    Asked(Vec<Vec<Answer<CommittedOffset>>>),
    /// All there is, in the broker's order of topics.
    All(Vec<TopicOffsets>),
}

/// The committed offset of a partition, which is the next that the group will read; `None` if the
/// group committed none.
pub type CommittedOffset = Option<Offset>;

/// A partition, and what a group committed there.
pub type PartitionOffset = (Partition, Result<CommittedOffset, ErrorCode>);

/// What a group committed on one topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicOffsets {
    /// The topic.
    pub topic: Topic,
    /// Its partitions in ascending order.
    pub partitions: Vec<PartitionOffset>,
}

impl OffsetFetch {
    /// Whether one question may have many groups in this version.
    pub const fn is_batched(version: i16) -> bool {
        version >= BATCHED
    }
}

impl Request for OffsetFetch {
    const KEY: ApiKey = ApiKey::OffsetFetch;

    /// The offsets in the order of the groups.
    type Reply = Vec<Answer<GroupOffsets>>;

    fn encode(&self, version: i16, to: &mut Writer) {
        if Self::is_batched(version) {
            to.count(self.groups.len());
            for question in &self.groups {
                to.string(question.group.as_str());
                if version >= 9 {
                    // We are no member of the group.
                    to.null_string();
                    to.i32(-1);
                }
                question.encode_topics(version, to);
                to.tags();
            }
        } else if let [question] = self.groups.as_slice() {
            to.string(question.group.as_str());
            question.encode_topics(version, to);
        } else {
            let what = "other than one group";
            to.fail(EncodeError::NotInVersion { key: Self::KEY, version, what });
        }
        if version >= 7 {
            to.bool(self.require_stable);
        }
        to.tags();
    }

    fn decode(&self, version: i16, from: &mut Reader<'_>) -> Result<Self::Reply, DecodeError> {
        if version >= 3 {
            from.throttle()?;
        }
        let mut answers = left_out(self.groups.len());
        if Self::is_batched(version) {
            let mut asked = Asked::new(&self.groups, |question| question.group.as_str());
            for _ in 0..from.count("groups", 5)? {
                let name = from.string("group")?;
                let (place, question) =
                    asked.find(name).ok_or_else(|| DecodeError::not_asked("group", name))?;
                let offsets = question.decode_topics(version, from)?;
                let error = error(from)?;
                from.tags()?;
                put(&mut answers, place, error.map_or(Ok(offsets), Err))
                    .ok_or_else(|| DecodeError::duplicate("group", name))?;
            }
        } else if let [question] = self.groups.as_slice() {
            let offsets = question.decode_topics(version, from)?;
            let error = if version >= 2 { error(from)? } else { None };
            answers = vec![Some(error.map_or(Ok(offsets), Err))];
        }
        from.tags()?;
        Ok(answers)
    }
}

impl GroupQuestion {
    fn encode_topics(&self, version: i16, to: &mut Writer) {
        let Some(topics) = &self.topics else {
            if version < 2 {
                let what = "all offsets of a group";
                to.fail(EncodeError::NotInVersion { key: OffsetFetch::KEY, version, what });
            }
            return to.null_array();
        };
        to.count(topics.len());
        for (topic, partitions) in topics {
            to.string(topic.as_str());
            to.count(partitions.len());
            for partition in partitions {
                to.i32(*partition);
            }
            to.tags();
        }
    }

    fn decode_topics(
        &self,
        version: i16,
        from: &mut Reader<'_>,
    ) -> Result<GroupOffsets, DecodeError> {
        match &self.topics {
            Some(topics) => asked_topics(version, topics, from).map(GroupOffsets::Asked),
            None => all_topics(version, from).map(GroupOffsets::All),
        }
    }
}

fn asked_topics(
    version: i16,
    topics: &[(Topic, Vec<Partition>)],
    from: &mut Reader<'_>,
) -> Result<Vec<Vec<Answer<CommittedOffset>>>, DecodeError> {
    let mut asked = Asked::new(topics, |(topic, _)| topic.as_str());
    let mut answers = left_out(topics.len());
    for _ in 0..from.count("topics", 3)? {
        let name = from.string("topic")?;
        let (place, (_, partitions)) =
            asked.find(name).ok_or_else(|| DecodeError::not_asked("topic", name))?;
        let offsets = asked_partitions(version, partitions, from)?;
        from.tags()?;
        put(&mut answers, place, offsets).ok_or_else(|| DecodeError::duplicate("topic", name))?;
    }
    let with_question = answers.into_iter().zip(topics);
    let whole = with_question
        .map(|(answer, (_, partitions))| answer.unwrap_or_else(|| left_out(partitions.len())));
    Ok(whole.collect())
}

fn asked_partitions(
    version: i16,
    partitions: &[Partition],
    from: &mut Reader<'_>,
) -> Result<Vec<Answer<CommittedOffset>>, DecodeError> {
    let mut asked = Asked::new(partitions, |partition| *partition);
    let mut answers = left_out(partitions.len());
    for _ in 0..from.count("partitions", PARTITION_BYTES)? {
        let (index, answer) = partition(version, from)?;
        let (place, _) = asked
            .find(&index)
            .ok_or_else(|| DecodeError::not_asked("partition", &index.to_string()))?;
        put(&mut answers, place, answer)
            .ok_or_else(|| DecodeError::duplicate("partition", &index.to_string()))?;
    }
    Ok(answers)
}

fn all_topics(version: i16, from: &mut Reader<'_>) -> Result<Vec<TopicOffsets>, DecodeError> {
    let mut topics = Vec::new();
    let mut names = HashSet::new();
    let count = from.count("topics", 3)?;
    if count > MAX_TOPICS {
        return Err(DecodeError::Limit { what: "topics", count, max: MAX_TOPICS });
    }
    for _ in 0..count {
        let name = from.string("topic")?;
        let partitions = all_partitions(version, from)?;
        from.tags()?;
        // A topic without offsets says nothing, and is not worth the memory it would take.
        if partitions.is_empty() {
            continue;
        }
        let topic = Topic::parse(name).map_err(|_| DecodeError::not_allowed("topic", name))?;
        if !names.insert(name) {
            return Err(DecodeError::duplicate("topic", name));
        }
        topics.push(TopicOffsets { topic, partitions });
    }
    Ok(topics)
}

fn all_partitions(
    version: i16,
    from: &mut Reader<'_>,
) -> Result<Vec<PartitionOffset>, DecodeError> {
    let count = from.count("partitions", PARTITION_BYTES)?;
    let mut partitions = Vec::with_capacity(count);
    for _ in 0..count {
        let (index, answer) = partition(version, from)?;
        if index < 0 {
            return Err(DecodeError::Negative { what: "partition", value: index.into() });
        }
        partitions.push((index, answer));
    }
    partitions.sort_unstable_by_key(|(index, _)| *index);
    for pair in partitions.windows(2) {
        if let [(index, _), (next, _)] = pair
            && index == next
        {
            return Err(DecodeError::duplicate("partition", &index.to_string()));
        }
    }
    Ok(partitions)
}

fn partition(version: i16, from: &mut Reader<'_>) -> Result<PartitionOffset, DecodeError> {
    let index = from.i32("partition")?;
    let value = from.i64("offset")?;
    if version >= 5 {
        from.i32("leader epoch")?;
    }
    from.nullable_string("metadata")?;
    let error = error(from)?;
    from.tags()?;
    let answer = match error {
        Some(code) => Err(code),
        None => Ok(committed(value)?),
    };
    Ok((index, answer))
}

/// A committed offset, where −1 is none. A client may have committed any number.
fn committed(value: i64) -> Result<CommittedOffset, DecodeError> {
    match value {
        -1 => Ok(None),
        value => match Offset::try_from(value) {
            Ok(offset) => Ok(Some(offset)),
            Err(_) => Err(DecodeError::Negative { what: "offset", value }),
        },
    }
}
