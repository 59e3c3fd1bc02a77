//! Which broker answers for each of these groups?
//!
//! From version 4 on one question has many groups; before, exactly one.
//!
//! # References
//! - `FindCoordinatorRequest.json`, `FindCoordinatorResponse.json` · KIP-699: many keys

use super::aligned::{Asked, left_out, put};
use super::{Answer, Broker, Refusal, Request};
use crate::kafka::names::Group;
use crate::kafka::wire::error_code::ErrorCode;
use crate::kafka::wire::reader::{DecodeError, Reader};
use crate::kafka::wire::versions::ApiKey;
use crate::kafka::wire::writer::{EncodeError, Writer};

/// The first version that takes many groups.
const BATCHED: i16 = 4;

/// The kind of key that a group is.
const GROUP: i8 = 0;

/// Asks for the coordinators of groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FindCoordinator {
    /// The groups, each once; exactly one where the version is not
    /// [batched](FindCoordinator::is_batched).
    pub groups: Vec<Group>,
}

impl FindCoordinator {
    /// Whether one question may have many groups in this version.
    pub const fn is_batched(version: i16) -> bool {
        version >= BATCHED
    }
}

impl Request for FindCoordinator {
    const KEY: ApiKey = ApiKey::FindCoordinator;

    /// The coordinators in the order of the groups.
    type Reply = Vec<Answer<Broker, Refusal>>;

    fn encode(&self, version: i16, to: &mut Writer) {
        if Self::is_batched(version) {
            to.i8(GROUP);
            to.count(self.groups.len());
            for group in &self.groups {
                to.string(group.as_str());
            }
        } else if let [group] = self.groups.as_slice() {
            to.string(group.as_str());
            if version >= 1 {
                to.i8(GROUP);
            }
        } else {
            let what = "other than one group";
            to.fail(EncodeError::NotInVersion { key: Self::KEY, version, what });
        }
        to.tags();
    }

    fn decode(&self, version: i16, from: &mut Reader<'_>) -> Result<Self::Reply, DecodeError> {
        if version >= 1 {
            from.throttle()?;
        }
        if !Self::is_batched(version) {
            let error = from.i16("error code")?;
            let message = if version >= 1 { from.nullable_string("error message")? } else { None };
            let id = from.i32("broker id")?;
            let host = from.string("host")?;
            let port = from.i32("port")?;
            from.tags()?;
            return Ok(vec![Some(coordinator(error, message, id, host, port)?)]);
        }
        let mut asked = Asked::new(&self.groups, Group::as_str);
        let mut answers = left_out(self.groups.len());
        for _ in 0..from.count("coordinators", 14)? {
            let name = from.string("group")?;
            let id = from.i32("broker id")?;
            let host = from.string("host")?;
            let port = from.i32("port")?;
            let error = from.i16("error code")?;
            let message = from.nullable_string("error message")?;
            from.tags()?;
            let (place, _) =
                asked.find(name).ok_or_else(|| DecodeError::not_asked("group", name))?;
            put(&mut answers, place, coordinator(error, message, id, host, port)?)
                .ok_or_else(|| DecodeError::duplicate("group", name))?;
        }
        from.tags()?;
        Ok(answers)
    }
}

/// Host and port mean something only where there is no error.
fn coordinator(
    error: i16,
    message: Option<&str>,
    id: i32,
    host: &str,
    port: i32,
) -> Result<Result<Broker, Refusal>, DecodeError> {
    match ErrorCode::from_wire(error) {
        Some(code) => Ok(Err(Refusal::new(code, message))),
        None => Broker::checked(id, host, port).map(Ok),
    }
}
