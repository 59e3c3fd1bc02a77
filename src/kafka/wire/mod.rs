//! How is a Kafka broker asked, that nobody vouched for?
//!
//! - `endpoint`, `resolve`, `dial`, `tls`, `pem`, `sasl`: how a connection comes about
//! - `connection`, `frames`: one connection, on which many questions are under way
//! - `requests`, `versions`, `frame`, `reader`, `writer`, `error_code`: questions and replies as
//!   bytes
//! - `records`: the record batches that a reply has of a partition
//!
//! A question is a [`Request`]: [`request_frame`] encodes it in a version
//! that [`BrokerVersions::choose`] gave, and [`decode_frame`] decodes the reply.
//!
//! A broker is not trusted: tenants name it. So:
//! - No bytes make decoding panic, recurse, or take more memory than a small multiple of the frame
//!   and of the question.
//! - A count is checked against the bytes that are there before memory is taken for it.
//! - A reply is checked against its question. What was not asked for is an error, and so is
//!   anything that comes twice. What the broker left out is a `None` in its place.
//! - The protocol's −1 and zero id are `None` in a reply, and never leave this module.
//! - What a broker wrote is escaped and cut before it becomes part of an error.
//!
//! # References
//! - [Kafka protocol guide](https://kafka.apache.org/protocol)
//! - Kafka's message definitions: `clients/src/main/resources/common/message` in apache/kafka
//! - KIP-482: flexible versions and tagged fields · KIP-511: ApiVersions and the client's name

mod connection;
mod connection_error;
mod dial;
mod endpoint;
pub mod error_code;
pub mod frame;
mod frames;
pub(in crate::kafka) mod pem;
pub mod reader;
pub mod records;
pub mod requests;
mod resolve;
pub(in crate::kafka) mod sasl;
pub(in crate::kafka) mod tls;
pub mod versions;
pub mod writer;

pub(in crate::kafka) use connection::{Connection, Credentials};
pub(in crate::kafka) use connection_error::ConnectionError;
pub(in crate::kafka) use dial::{Dialer, Network};
pub(in crate::kafka) use endpoint::Endpoint;
pub use error_code::{ErrorCode, ErrorKind};
pub use frame::{Decoded, Frame, correlation_id, decode_frame, request_frame};
pub(in crate::kafka) use frames::{Received, Traffic};
pub use reader::{DecodeError, Reader};
pub use requests::{Answer, BrokerId, Refusal, Request};
pub(in crate::kafka) use resolve::Resolver;
pub use versions::{ApiKey, BrokerVersions};
pub use writer::{EncodeError, Writer};
