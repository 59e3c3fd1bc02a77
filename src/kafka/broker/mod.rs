//! What the brokers of a cluster are asked: what topics look like, where their partitions begin and
//! end, and what groups have committed.
//!
//! - `topics`: what topics look like · `offsets`: where partitions begin and end · `groups`:
//!   committed offsets
//! - `connections`: which connection a question takes, and what becomes of one that fails
//! - `health`: what connections last complained of · `token`: the token that a login shows
//!
//! Nothing here knows of polls, and nothing of the bytes on the wire.

mod connections;
mod groups;
mod health;
pub(super) mod offsets;
pub(super) mod token;
mod topics;

pub(super) use connections::{Connections, Lane};
pub(super) use groups::{CommittedOffsets, Groups};
pub(super) use health::ConnectionHealth;
pub(super) use offsets::{End, OffsetRange};
pub use token::Logins;
pub(super) use topics::{Description, Descriptions, Leader, TopicId, TopicShape, Topics};
