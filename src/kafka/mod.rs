//! The Kafka source: how many selected messages a group has waiting in its topics.
//!
//! - `source`: what the scaler holds · `trigger`, `security`, `sasl`, `names`: what a trigger says
//! - `poll`: the way of a poll, and its arithmetic
//! - `clusters`: all clusters, each once · `cluster`: what polls ask of one, and what is tailed on
//!   it
//! - `broker`: what brokers are asked, through a client of our own, `wire`
//! - `tail`: a topic as it has been read · `index`: what was found, `record`: what a selection sees
//!   of it · `reader`, `judges`: what fetches records, and where they are judged · `by_partition`:
//!   a map · `pause`: before another attempt
//! - `survey`: what there is, read once for a person
//! - `baseline`: a yardstick for benchmarks · `fault`, `error`: what can go wrong
//!
//! A message is a record that a consumer under `read_committed` is given: commit markers, aborted,
//! compacted and deleted records are not counted.

pub mod baseline;
mod broker;
mod by_partition;
mod cluster;
mod clusters;
mod error;
mod fault;
pub mod index;
mod judges;
pub mod names;
mod parameters;
mod pause;
mod poll;
mod reader;
mod record;
mod sasl;
pub mod security;
mod source;
mod survey;
mod tail;
pub mod trigger;
pub mod wire;

pub use broker::Logins;
pub use error::Error;
pub use names::{Group, Offset, Partition, Topic};
pub use poll::TriggerPoller;
pub use security::ClusterConfig;
pub use source::{Kafka, Options};
pub use trigger::{CountBy, CountFrom, KafkaTrigger, OffsetReset, PartitionList, Spread};
