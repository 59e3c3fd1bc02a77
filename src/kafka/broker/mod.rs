//! A Kafka cluster as one login sees it: what its topics look like, where their partitions begin and
//! end, and what groups have committed, each asked after the poll that needs it came.
//!
//! - `cluster`: what polls ask, one function a question · `registry`: all clusters, each once
//! - `topics`: what topics look like · `offsets`: where partitions begin and end · `groups`: committed offsets
//! - `connections`: which connection a question takes, and what becomes of one that fails
//! - `health`: what connections last complained of · `token`: the token that a login shows
//!
//! Nothing here knows of polls, and nothing of the bytes on the wire.

mod cluster;
mod connections;
mod groups;
mod health;
mod offsets;
mod registry;
mod token;
mod topics;

pub(super) use cluster::{Cluster, TopicOffsets};
pub(super) use connections::{Connections, Lane};
pub(super) use groups::CommittedOffsets;
pub(super) use health::ConnectionHealth;
pub(super) use offsets::{End, OffsetRange};
pub(super) use registry::Clusters;
pub use token::Logins;
pub(super) use topics::{Leader, TopicId, TopicShape, Topics};
