//! The modules that decode what brokers send, without the rest of the program.
//!
//! They are taken in by their paths, so that nothing else of the program is built with what fuzzing
//! adds.

#![allow(dead_code, reason = "the modules' other users are not here")]

#[path = "../../src/ledger.rs"]
pub mod ledger;
#[path = "../../src/lock.rs"]
mod lock;
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
