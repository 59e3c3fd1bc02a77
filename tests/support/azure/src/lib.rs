//! Azure as far as tests need it, on loopback.
//!
//! [`ServiceBus`] is a namespace that Microsoft's own SDKs cannot tell from the emulator: AMQP 1.0, plain, over TLS and over
//! WebSocket, and the Atom management endpoint, all on one port. Tests create entities in it, put messages in, and make it fail.

mod access;
mod atom;
mod bus;
mod codec;
mod connection;
mod entity;
pub mod entra;
mod faults;
pub mod judges;
mod jwt;
mod listener;
mod message;
mod namespace;
mod node;
#[cfg(test)]
mod peer;

pub use access::Rights;
pub use bus::{Builder, Connections, EntityBuilder, Handling, ServiceBus, TopicBuilder};
pub use entity::{Counters, Depth};
pub use faults::{Busy, Management};
pub use message::{Message, Property};
