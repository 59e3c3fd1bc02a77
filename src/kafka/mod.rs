//! The Kafka source: how many selected messages a group has waiting in its topics.
//!
//! - `trigger`, `security`, `sasl`, `names`: what a trigger says
//! - `source`: what the scaler has of all this
//! - `poll`: the way of a poll
//! - `follower`: the way of a poll · `lag`: its arithmetic
//! - `wire`: TLS and logins
//! - `clusters`, `cluster`, `asking`: what is asked of the brokers · `bearer`: the token they are shown, where a login is one
//! - `tail`: a topic as it has been read · `index`: what was found, `record`: what a selection sees of it · `reader`, `threads`: the reading
//! - `wire`: Kafka's protocol, as we ask brokers
//! - `bare`: a yardstick for benchmarks
//! - `librdkafka`: what rust-rdkafka does not wrap · `trouble`, `error`: what can go wrong
//!
//! A message is a record that a consumer under `read_committed` is given: commit markers, aborted,
//! compacted and deleted records are none.

mod asking;
pub mod bare;
mod bearer;
mod cluster;
mod clusters;
mod error;
pub mod index;
mod librdkafka;
pub mod names;
mod poll;
mod reader;
mod record;
mod sasl;
pub mod security;
mod source;
mod tail;
mod threads;
pub mod trigger;
mod trouble;
pub mod wire;

pub use bearer::Logins;
pub use error::Error;
pub use names::{Group, Offset, Partition, Topic};
pub use poll::TriggerPoller;
pub use security::ClusterConfig;
pub use source::{Kafka, Options};
pub use trigger::{
    CountBy, CountFrom, Decoded, FILTER_VARIABLES, KafkaTrigger, OffsetReset, PartitionList, Spread,
};
