//! What the tests and benchmarks run against: real brokers of Apache Kafka to start, break and
//! count on, brokers that lie, and the scaler itself; and what a test does to them, in words that
//! read as sentences.
//!
//! ```ignore
//! use sift_harness::{Broker, Message};
//!
//! let broker = Broker::shared();
//! broker.topic("orders").partitions(3).create().await;
//! broker.produce("orders", Message::new().header("ce_type", "order.placed").body("{}")).await;
//! broker.commit("billing", "orders", [(0, 1)]).await;
//! ```
//!
//! - One broker serves all tests of a binary, so every test uses topics and groups of its own.
//! - What cannot be had (Java, Maven, a broker that starts) fails the test and says why; nothing is
//!   skipped.
//! - Helpers panic instead of returning errors: a test has no use for them.
//! - No broker outlives the test binary, whatever ends it: see `kafka/Lifeline.java`.
//! - It holds the scaler as its tests and benchmarks meet it, from outside. Unit tests in `src/`
//!   are a compilation of their own, to whose types nothing here fits; what they share with others
//!   is in `test-basics`.
//!
//! | file | job |
//! |---|---|
//! | `version.rs` | which Kafka it is: the newest, or an older one |
//! | `install.rs` | the jars, resolved by Maven once a checkout |
//! | `node.rs` | one Kafka process: its properties, start and end |
//! | `cluster.rs` | nodes that belong together; the tests kill, stop and restart them |
//! | `broker.rs` | a cluster of one: shared by a binary, secured, or a test's own |
//! | `rights.rs` | what a user of a secured broker may do |
//! | `certificates.rs` | authorities and certificates as PEM |
//! | `client.rs` | the harness's own clients of a cluster |
//! | `topics.rs`, `messages.rs`, `groups.rs` | what a test does through them |
//! | `writer.rs` | records of every form, by two producers |
//! | `wire.rs` | Kafka's protocol, where librdkafka is too slow |
//! | `requests.rs` | which requests a broker has answered |
//! | `sift.rs` | the scaler in this process, and triggers that are polled over gRPC |
//! | `program.rs` | the program itself, as a process |
//! | `cloud.rs` | a namespace of Azure's and an Entra, both stand-ins |
//! | `narrow.rs` | a broker that offers less than Apache's |
//! | `hostile/` | a broker that lies |
//! | `proxy.rs` | what stands before a broker, or in its place, and misbehaves |

mod broker;
mod certificates;
mod client;
pub mod cloud;
mod cluster;
mod groups;
pub mod hostile;
mod install;
mod messages;
mod narrow;
mod node;
pub mod program;
mod proxy;
mod requests;
mod rights;
mod sift;
mod topics;
mod version;
mod wire;
mod writer;

pub use broker::{Broker, Listener, Security, User};
pub use certificates::{Authority, Identity, Locked};
pub use client::Client;
pub use cluster::{Cluster, Shape};
pub use groups::Commit;
pub use messages::{Message, Transaction};
pub use narrow::Offer;
pub use node::Properties;
pub use proxy::{LIST_OFFSETS, Mute, Proxy, Replies};
pub use requests::{Request, Requests};
pub use rights::{Operation, Resource};
pub use sift::{Poll, Settings, Sift, Trigger};
pub use test_basics::{LOOK, PATIENCE, Rows, free_port, holds_within, metadata, until};
pub use version::KafkaVersion;
pub use writer::Target;
