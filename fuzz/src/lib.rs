//! The modules that decode what brokers send, without the rest of the program.
//!
//! They are taken in by their paths, because the program's library links librdkafka.

#![allow(dead_code, reason = "the modules' other users are not here")]

#[path = "../../src/metadata.rs"]
pub mod metadata;
#[path = "../../src/secret.rs"]
mod secret;

/// Kafka's names, and what is read of a broker.
#[path = "../../src/kafka"]
pub mod kafka {
    pub mod names;

    /// Questions and replies as bytes: of `src/kafka/wire` what does no I/O.
    pub mod wire {
        pub mod error_code;
        pub mod frame;
        pub mod reader;
        pub mod records;
        pub mod requests;
        pub mod versions;
        pub mod writer;

        pub use frame::{correlation_id, decode_frame, request_frame};
        pub use requests::Request;
        pub use versions::ApiKey;
    }
}
