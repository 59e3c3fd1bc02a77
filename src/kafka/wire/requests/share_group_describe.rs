//! Which of these groups are share groups?
//!
//! Their coordinator is asked. It takes the right that [`OffsetFetch`](super::OffsetFetch) takes,
//! Describe on the group. A group that is not there, or is of another type, is GROUP_ID_NOT_FOUND.
//!
//! # References
//! - `ShareGroupDescribeRequest.json`, `ShareGroupDescribeResponse.json` · KIP-932: share groups.
//!   Version 0 was that of Kafka 4.0's early access, and no other Kafka has it

use super::aligned::{Asked, left_out, put};
use super::{Answer, Request, error};
use crate::kafka::names::Group;
use crate::kafka::wire::error_code::ErrorCode;
use crate::kafka::wire::reader::{DecodeError, Reader};
use crate::kafka::wire::versions::ApiKey;
use crate::kafka::wire::writer::Writer;

/// Bytes of the shortest group in a reply.
const GROUP_BYTES: usize = 20;

/// Bytes of the shortest member.
const MEMBER_BYTES: usize = 12;

/// Bytes of the shortest topic that a member is assigned partitions of.
const ASSIGNED_BYTES: usize = 19;

/// Asks about share groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareGroupDescribe {
    /// The groups, each once.
    pub groups: Vec<Group>,
}

/// A group is a share group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IsShareGroup;

impl Request for ShareGroupDescribe {
    const KEY: ApiKey = ApiKey::ShareGroupDescribe;

    /// In the order of the groups whether each is a share group, or an error.
    type Reply = Vec<Answer<IsShareGroup>>;

    fn encode(&self, _version: i16, to: &mut Writer) {
        to.count(self.groups.len());
        for group in &self.groups {
            to.string(group.as_str());
        }
        to.bool(false); // Not what we may do with them.
        to.tags();
    }

    fn decode(&self, _version: i16, from: &mut Reader<'_>) -> Result<Self::Reply, DecodeError> {
        from.throttle()?;
        let mut asked = Asked::new(&self.groups, Group::as_str);
        let mut answers = left_out(self.groups.len());
        for _ in 0..from.count("groups", GROUP_BYTES)? {
            let error = error(from)?;
            from.nullable_string("error message")?;
            let name = from.string("group")?;
            let (place, _) =
                asked.find(name).ok_or_else(|| DecodeError::not_asked("group", name))?;
            from.string("state")?;
            from.i32("group epoch")?;
            from.i32("assignment epoch")?;
            from.string("assignor")?;
            for _ in 0..from.count("members", MEMBER_BYTES)? {
                skip_member(from)?;
            }
            from.i32("authorized operations")?;
            from.tags()?;
            let answer = match error {
                // Only the members of a share group have topics that we may not see.
                None | Some(ErrorCode::TOPIC_AUTHORIZATION_FAILED) => Ok(IsShareGroup),
                Some(code) => Err(code),
            };
            put(&mut answers, place, answer)
                .ok_or_else(|| DecodeError::duplicate("group", name))?;
        }
        from.tags()?;
        Ok(answers)
    }
}

fn skip_member(from: &mut Reader<'_>) -> Result<(), DecodeError> {
    from.string("member")?;
    from.nullable_string("rack")?;
    from.i32("member epoch")?;
    from.string("client")?;
    from.string("client host")?;
    for _ in 0..from.count("topics of a member", 1)? {
        from.string("topic")?;
    }
    for _ in 0..from.count("assigned topics", ASSIGNED_BYTES)? {
        from.uuid("topic id")?;
        from.string("topic")?;
        from.skip_array("partitions", 4)?;
        from.tags()?;
    }
    from.tags()?; // Of the assignment.
    from.tags()
}
