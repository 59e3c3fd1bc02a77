//! The modules that decode what brokers send, without the rest of the program.
//!
//! They are taken in by their paths, because the program's library links librdkafka.

#![allow(dead_code, reason = "the modules' other users are not here")]

#[path = "../../src/metadata.rs"]
pub mod metadata;
#[path = "../../src/secret.rs"]
mod secret;

/// Kafka's names and protocol.
#[path = "../../src/kafka"]
pub mod kafka {
    pub mod names;
    pub mod wire;
}
