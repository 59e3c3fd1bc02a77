//! What can a broker be asked, and what does it answer?
//!
//! One file per request. A question holds what is asked for; its reply has the answers in the same
//! order. [`Answer`] tells apart what was answered, what was refused, and what was left out.

mod aligned;
pub mod api_versions;
pub mod describe_configs;
pub mod fetch;
pub mod find_coordinator;
pub mod list_offsets;
pub mod metadata;
pub mod offset_fetch;
pub mod sasl;
pub mod share_group_describe;
#[cfg(test)]
mod tests;

pub use api_versions::{ApiVersions, ApiVersionsReply};
pub use describe_configs::DescribeConfigs;
pub use fetch::{
    AbortedTransaction, CurrentLeader, EpochEnd, Fetch, FetchPartition, FetchReply, FetchSession,
    FetchTopic, FetchedPartition, ForgottenTopic, InSession, TopicId,
};
pub use find_coordinator::FindCoordinator;
pub use list_offsets::{Isolation, ListOffsets, ListedOffset, PartitionPosition, Position};
pub use metadata::{Broker, Metadata, MetadataReply, PartitionMetadata, TopicMetadata};
pub use offset_fetch::{
    CommittedOffset, GroupOffsets, GroupQuestion, OffsetFetch, PartitionOffset, TopicOffsets,
};
pub use sasl::{SaslAuthenticate, SaslAuthenticateReply, SaslHandshake, SaslHandshakeReply};
pub use share_group_describe::{IsShareGroup, ShareGroupDescribe};

use std::fmt;

use super::error_code::ErrorCode;
use super::reader::{DecodeError, Reader};
use super::versions::ApiKey;
use super::writer::Writer;
use crate::kafka::names::Offset;
use crate::metadata::one_line;

/// Bytes of a broker's message that are kept.
const MESSAGE_BYTES: usize = 200;

/// A question that a broker can be asked.
pub trait Request {
    /// Its kind.
    const KEY: ApiKey;

    /// What answers it.
    type Reply;

    /// The highest version that has words for this question; the versions that we speak bound it
    /// further.
    fn highest(&self) -> i16 {
        i16::MAX
    }

    /// Writes its fields in this version. What the version has no words for is
    /// [failed](Writer::fail).
    fn encode(&self, version: i16, to: &mut Writer);

    /// Reads the reply to it in this version, and checks that it is one.
    ///
    /// # Errors
    /// The bytes are no reply to this question.
    fn decode(&self, version: i16, from: &mut Reader<'_>) -> Result<Self::Reply, DecodeError>;
}

/// What a broker says to one part of a question: an answer or an error, or `None` where it left
/// that part out.
pub type Answer<T, E = ErrorCode> = Option<Result<T, E>>;

/// The number of a broker in its cluster, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BrokerId(pub i32);

/// An error with the broker's own words for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The error.
    pub code: ErrorCode,
    /// The broker's words, in one line and cut.
    pub message: Option<String>,
}

impl BrokerId {
    /// The broker of this number, where the protocol's −1 is none.
    fn from_wire(id: i32) -> Option<Self> {
        (id >= 0).then_some(Self(id))
    }
}

impl fmt::Display for BrokerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Refusal {
    fn new(code: ErrorCode, message: Option<&str>) -> Self {
        let message = message.filter(|message| !message.is_empty());
        Self { code, message: message.map(|message| one_line(message, MESSAGE_BYTES)) }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.message {
            Some(message) => write!(f, "{}: {message}", self.code),
            None => self.code.fmt(f),
        }
    }
}

/// An error code, where 0 is none.
fn error(from: &mut Reader<'_>) -> Result<Option<ErrorCode>, DecodeError> {
    from.i16("error code").map(ErrorCode::from_wire)
}

/// The epoch of a leader, where −1 is unknown.
fn leader_epoch(from: &mut Reader<'_>) -> Result<Option<i32>, DecodeError> {
    from.i32("leader epoch").map(|epoch| (epoch >= 0).then_some(epoch))
}

/// The highest offset that is taken for one: a log that is written ten million times a second gets
/// there after fourteen thousand years.
const MAX_OFFSET: i64 = i64::MAX / 2;

/// An offset, where −1 is none.
fn offset(value: i64) -> Result<Option<Offset>, DecodeError> {
    match value {
        -1 => Ok(None),
        MAX_OFFSET.. => Err(DecodeError::not_allowed("offset", &value.to_string())),
        value => match Offset::try_from(value) {
            Ok(offset) => Ok(Some(offset)),
            Err(_) => Err(DecodeError::Negative { what: "offset", value }),
        },
    }
}
